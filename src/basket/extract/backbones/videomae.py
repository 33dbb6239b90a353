"""VideoMAE (Tong et al., 2022, arXiv 2203.12602) through transformers.

No class token: a clip is pooled from its tokens, and how depends on how the checkpoint was
trained. Self-supervised ones end in a layer norm over tokens, then their mean. Fine-tuned ones
have no such norm; their classifier saw ``fc_norm`` of the mean, which transformers' plain
``VideoMAEModel`` leaves out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from basket.errors import WeightsError
from basket.extract.backbones.attention_biases import BIAS, RENAMED, refuse_lost_biases
from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import pair, videomae_tflop
from basket.extract.backbones.network import load_pretrained, wrapper_of
from basket.extract.backbones.opening import LoadOptions, acting_values, open_checkpoint
from basket.extract.backbones.preprocessing import read_preprocessing
from basket.extract.backbones.tensors import StoredTensor
from basket.extract.backbones.tokens import TokenBackbone
from basket.extract.backbones.weights import CheckpointFolder

if TYPE_CHECKING:
    import torch

_NEEDED = ("embeddings.", "encoder.", "layernorm.", "fc_norm.")


class VideoMAE(TokenBackbone):
    """A loaded VideoMAE encoder; streams ``pooled``, ``layer-k`` and ``tubelet<t>``."""

    def __init__(self, encoder: Any, fc_norm: Any, **options: Any) -> None:
        super().__init__(encoder, blocks=encoder.encoder.layer, **options)
        # A plain attribute, which moving the network leaves on the host: every batch would fetch it
        # anew and wait for all work before it.
        embeddings = encoder.embeddings
        embeddings.position_embeddings = embeddings.position_embeddings.to(
            self._device, self._dtype
        )
        self._fc_norm = None if fc_norm is None else fc_norm.to(self._device).float()

    def _finish(self, mean: torch.Tensor) -> torch.Tensor:
        return mean if self._fc_norm is None else self._fc_norm(mean)


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> VideoMAE:
    """Load a VideoMAE checkpoint of either layout.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`.

    Raises
    ------
    WeightsError
        Missing, damaged, of another kind, or its attention biases were lost.
    """
    found = open_checkpoint(checkpoint, "videomae", options)
    encoder, fc_norm = _load_networks(found.folder, found.tensors)
    refuse_lost_biases(found.folder, encoder, found.tensors)
    config = encoder.config
    height_px, width_px = pair(config.image_size)
    preprocessing = read_preprocessing(found.folder, height_px=height_px, width_px=width_px)
    steps = config.num_frames // config.tubelet_size
    names = found.streams(layers=config.num_hidden_layers, time_steps=steps)
    spec = found.spec(
        frames=config.num_frames,
        preprocessing=preprocessing,
        streams=dict.fromkeys(names, config.hidden_size),
        pooling="layernorm,mean" if fc_norm is None else "mean,fc_norm",
        network=acting_values(
            config,
            "hidden_act",
            "layer_norm_eps",
            "num_attention_heads",
            "patch_size",
            "tubelet_size",
        ),
        tflop_per_clip=videomae_tflop(config),
    )
    run_options = found.run_options(spec, preprocessing)
    return VideoMAE(encoder, fc_norm, time_steps=steps, **run_options)


def _load_networks(
    folder: CheckpointFolder, tensors: Mapping[str, StoredTensor]
) -> tuple[Any, Any]:
    """Encoder, and the norm behind the mean where the checkpoint has one.

    The tensors in the file decide: a configuration that contradicts them would drop a norm.
    """
    from transformers import VideoMAEForVideoClassification, VideoMAEModel

    rules: dict[str, Any] = {
        "needed": _NEEDED,
        "prefix": "videomae.",
        "renamed": RENAMED,
        "checked_apart": BIAS,
    }
    wrapper = wrapper_of(tensors, _NEEDED, "videomae.")
    names = {name.removeprefix(wrapper) for name in tensors}
    if "fc_norm.weight" in names:
        model = load_pretrained(VideoMAEForVideoClassification, folder, **rules)
        return model.videomae, model.fc_norm
    if not any(name.removeprefix("videomae.") == "layernorm.weight" for name in names):
        raise WeightsError(
            f"{folder.origin} has neither fc_norm (fine-tuned) nor a final layernorm "
            "(self-supervised): its classifier was cut off, so its tokens cannot be pooled as "
            "they were trained; take the whole checkpoint"
        )
    return load_pretrained(VideoMAEModel, folder, **rules), None
