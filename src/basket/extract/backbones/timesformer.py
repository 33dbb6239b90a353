"""TimeSformer (Bertasius et al., 2021, arXiv 2102.05095) through transformers."""

from __future__ import annotations

from typing import Any, Unpack

from basket.errors import WeightsError
from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import pair, timesformer_tflop
from basket.extract.backbones.network import load_pretrained
from basket.extract.backbones.opening import LoadOptions, acting_values, open_checkpoint
from basket.extract.backbones.preprocessing import read_preprocessing
from basket.extract.backbones.tokens import TokenBackbone

_NEEDED = ("embeddings.", "encoder.", "layernorm.")


class TimeSformer(TokenBackbone):
    """A loaded TimeSformer; ``pooled`` is the class token after the last norm.

    Streams: ``pooled``, ``layer-k`` and ``tubelet<t>``, here the mean of the patches of frame t.
    """

    prefix = 1
    time_first = False

    def __init__(self, model: Any, **options: Any) -> None:
        super().__init__(model, blocks=model.encoder.layer, **options)


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> TimeSformer:
    """Load a TimeSformer checkpoint; its classifier is left out.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`.

    Raises
    ------
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import TimesformerModel

    found = open_checkpoint(checkpoint, "timesformer", options)
    # The architecture's divided attention is code of its own: transformers offers no SDPA for it.
    model = load_pretrained(
        TimesformerModel, found.folder, needed=_NEEDED, prefix="timesformer.", attention="eager"
    )
    config = model.config
    if config.attention_type == "space_only":
        raise WeightsError(
            f"{found.folder.origin} attends within frames only and gives no clip embedding; take a "
            "checkpoint with divided or joint attention, or an image model such as dinov2"
        )
    height_px, width_px = pair(config.image_size)
    preprocessing = read_preprocessing(found.folder, height_px=height_px, width_px=width_px)
    names = found.streams(layers=config.num_hidden_layers, time_steps=config.num_frames)
    spec = found.spec(
        frames=config.num_frames,
        preprocessing=preprocessing,
        streams=dict.fromkeys(names, config.hidden_size),
        pooling="layernorm,class token",
        network=acting_values(
            config,
            "attention_type",
            "hidden_act",
            "layer_norm_eps",
            "num_attention_heads",
            "patch_size",
        ),
        tflop_per_clip=timesformer_tflop(config),
    )
    run_options = found.run_options(spec, preprocessing)
    return TimeSformer(model, time_steps=config.num_frames, **run_options)
