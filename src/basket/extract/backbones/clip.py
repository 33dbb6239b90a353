"""CLIP (Radford et al., 2021, arXiv 2103.00020) through transformers: its image side, per frame."""

from __future__ import annotations

from typing import Unpack

from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.network import load_pretrained
from basket.extract.backbones.opening import LoadOptions, open_checkpoint
from basket.extract.backbones.per_frame import PerFrame, per_frame_backbone

_NEEDED = ("vision_model.", "visual_projection.")


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> PerFrame:
    """Load the image side of a CLIP checkpoint; a frame's embedding is the projected one.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`.

    Raises
    ------
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import CLIPVisionModelWithProjection

    found = open_checkpoint(checkpoint, "clip", options, model_types=("clip", "clip_vision_model"))
    model = load_pretrained(CLIPVisionModelWithProjection, found.folder, needed=_NEEDED)
    return per_frame_backbone(
        found,
        checkpoint,
        model,
        blocks=model.vision_model.encoder.layers,
        dims=model.config.projection_dim,
        prefix=1,
        embedding=lambda output: output.image_embeds,
        pooling="class token,layernorm,projection",
    )
