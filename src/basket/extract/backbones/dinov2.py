"""DINOv2 (Oquab et al., 2023, arXiv 2304.07193) through transformers, per frame."""

from __future__ import annotations

from typing import Any, Unpack

from basket.errors import WeightsError
from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import pair
from basket.extract.backbones.network import load_pretrained
from basket.extract.backbones.opening import LoadOptions, open_checkpoint
from basket.extract.backbones.per_frame import PerFrame, per_frame_backbone
from basket.extract.backbones.preprocessing import picture_sides
from basket.extract.backbones.weights import CheckpointFolder

_NEEDED = ("embeddings.", "encoder.", "layernorm.")


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> PerFrame:
    """Load a DINOv2 checkpoint; a frame's embedding is its class token after the last norm.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`.

    Raises
    ------
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import Dinov2Model

    found = open_checkpoint(checkpoint, "dinov2", options)
    model = load_pretrained(Dinov2Model, found.folder, needed=_NEEDED, prefix="dinov2.")
    return per_frame_backbone(
        found,
        checkpoint,
        model,
        blocks=model.encoder.layer,
        dims=model.config.hidden_size,
        prefix=1,
        embedding=lambda output: output.last_hidden_state[:, 0],
        pooling="layernorm,class token",
        sides_px=_sides(found.folder, model.config),
    )


def _sides(folder: CheckpointFolder, config: Any) -> tuple[int, int]:
    """Sides of the picture: the preprocessor's (224), not those it was trained up to (518)."""
    sides = picture_sides(folder) or pair(config.image_size)
    rows, columns = pair(config.patch_size)
    if sides[0] % rows or sides[1] % columns:
        raise WeightsError(
            f"{folder.origin}: its preprocessor makes pictures of {sides[0]} x {sides[1]} pixels, "
            f"which patches of {rows} x {columns} do not fill; copy the checkpoint's own file"
        )
    return sides
