"""ViViT (Arnab et al., 2021, arXiv 2103.15691), the joint space-time model, through transformers.

Its processor moves pixels to [-1, 1] and then applies mean and standard deviation on top; both are
read from the checkpoint's file and reproduced.
"""

from __future__ import annotations

from typing import Any, Unpack

from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import pair, vivit_tflop
from basket.extract.backbones.network import load_pretrained
from basket.extract.backbones.opening import LoadOptions, acting_values, open_checkpoint
from basket.extract.backbones.preprocessing import read_preprocessing
from basket.extract.backbones.tokens import TokenBackbone

_NEEDED = ("embeddings.", "encoder.", "layers.", "layernorm.")


class ViViT(TokenBackbone):
    """A loaded ViViT; ``pooled`` is the class token after the last norm.

    Streams: ``pooled``, ``layer-k`` and ``tubelet<t>``.
    """

    prefix = 1

    def __init__(self, model: Any, **options: Any) -> None:
        # transformers before 5.20 kept the blocks one level deeper.
        blocks = model.layers if hasattr(model, "layers") else model.encoder.layer
        super().__init__(model, blocks=blocks, **options)


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> ViViT:
    """Load a ViViT checkpoint; its classifier is left out.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`.

    Raises
    ------
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import VivitModel

    found = open_checkpoint(checkpoint, "vivit", options)
    model = load_pretrained(VivitModel, found.folder, needed=_NEEDED, prefix="vivit.")
    model.pooler = None  # what classifiers saw is the class token before it
    config = model.config
    height_px, width_px = pair(config.image_size)
    preprocessing = read_preprocessing(
        found.folder, height_px=height_px, width_px=width_px, offset=True
    )
    steps = config.num_frames // config.tubelet_size[0]
    names = found.streams(layers=config.num_hidden_layers, time_steps=steps)
    spec = found.spec(
        frames=config.num_frames,
        preprocessing=preprocessing,
        streams=dict.fromkeys(names, config.hidden_size),
        pooling="layernorm,class token",
        network=acting_values(
            config, "hidden_act", "layer_norm_eps", "num_attention_heads", "tubelet_size"
        ),
        tflop_per_clip=vivit_tflop(config),
    )
    return ViViT(model, time_steps=steps, **found.run_options(spec, preprocessing))
