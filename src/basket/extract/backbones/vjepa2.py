"""V-JEPA 2 (Assran et al., 2025, arXiv 2506.09985) through transformers: its encoder.

The predictor, which only training needs, is skipped. Positions are rotary, so any even number of
frames runs: 16 by default, a window sampled as densely as most of its training was (about 4 to 8
frames a second), at a seventh of the cost of the 64 that the checkpoints' names speak of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Unpack

from basket.errors import WeightsError
from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import vjepa2_tflop
from basket.extract.backbones.network import load_pretrained
from basket.extract.backbones.opening import LoadOptions, acting_values, open_checkpoint
from basket.extract.backbones.preprocessing import Preprocessing, read_preprocessing
from basket.extract.backbones.tokens import TokenBackbone
from basket.extract.backbones.weights import CheckpointFolder

if TYPE_CHECKING:
    import torch

_NEEDED = ("encoder.embeddings.", "encoder.layer.", "encoder.layernorm.")


class VJEPA2(TokenBackbone):
    """A loaded V-JEPA 2 encoder; streams ``pooled``, ``layer-k`` and ``tubelet<t>``."""

    def __init__(self, model: Any, **options: Any) -> None:
        # A quarter of the parameters of the large one, and no feature depends on them.
        model.predictor = None
        super().__init__(model, blocks=model.encoder.layer, **options)

    def _tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        output = self._network(pixel_values_videos=pixels, skip_predictor=True)
        tokens: torch.Tensor = output.last_hidden_state
        return tokens


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> VJEPA2:
    """Load a V-JEPA 2 checkpoint, self-supervised or with a classifier (which is left out).

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`. The number of frames
    is the catalogue entry's, else the checkpoint's own.

    Raises
    ------
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import VJEPA2Model

    found = open_checkpoint(checkpoint, "vjepa2", options)
    model = load_pretrained(VJEPA2Model, found.folder, needed=_NEEDED, prefix="vjepa2.")
    config = model.config
    frames = checkpoint.frames or config.frames_per_clip
    if frames % config.tubelet_size:
        raise WeightsError(
            f"{found.folder.origin} takes frames in groups of {config.tubelet_size}, and {frames} "
            "are no multiple of it; take another checkpoint"
        )
    preprocessing = _read_preprocessing(found.folder, config.crop_size)
    steps = frames // config.tubelet_size
    names = found.streams(layers=config.num_hidden_layers, time_steps=steps)
    spec = found.spec(
        frames=frames,
        preprocessing=preprocessing,
        streams=dict.fromkeys(names, config.hidden_size),
        pooling="layernorm,mean",
        network=acting_values(
            config,
            "hidden_act",
            "layer_norm_eps",
            "num_attention_heads",
            "patch_size",
            "tubelet_size",
        ),
        tflop_per_clip=vjepa2_tflop(config, frames),
    )
    return VJEPA2(model, time_steps=steps, **found.run_options(spec, preprocessing))


def _read_preprocessing(folder: CheckpointFolder, side_px: int) -> Preprocessing:
    """The file's values, with the shorter side that the processor class always computes anew."""
    size = {"shortest_edge": int(side_px * 256 / 224)}
    preprocessor = {**folder.preprocessor, "size": size}
    return read_preprocessing(
        replace(folder, preprocessor=preprocessor), height_px=side_px, width_px=side_px
    )
