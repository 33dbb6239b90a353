"""X-CLIP (Ni et al., 2022, arXiv 2208.02816) through transformers: video embedding and prompts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Unpack

from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import pair, xclip_tflop
from basket.extract.backbones.network import NetworkBackbone, load_pretrained
from basket.extract.backbones.opening import (
    LoadOptions,
    OpenCheckpoint,
    acting_values,
    open_checkpoint,
)
from basket.extract.backbones.preprocessing import read_preprocessing
from basket.extract.backbones.prompt_logits import NEEDED as NEEDED_FOR_PROMPTS
from basket.extract.backbones.prompt_logits import PromptLogits
from basket.extract.backbones.tokenizer import digest_tokenizer, tokenize

if TYPE_CHECKING:
    import torch

    from basket.dataset.prompts import PromptBank

PROMPTS = "prompts"

_NEEDED = ("vision_model.", "visual_projection.", "mit.")


class XCLIP(NetworkBackbone):
    """A loaded X-CLIP.

    Streams: ``pooled`` ``(N, D)``, the video embedding before L2 normalisation (the frames' class
    tokens, projected and integrated over time), and ``prompts`` ``(N, P)``, its logits against a
    prompt bank.
    """

    def __init__(self, model: Any, logits: PromptLogits | None, **options: Any) -> None:
        super().__init__(**options)
        # A third of the parameters, and no video feature depends on them.
        model.text_model = None
        self._model = model.to(self._device, self._dtype)
        self._logits = logits
        self._compile(model.vision_model.encoder.layers)

    def _forward(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        clips, times = pixels.shape[:2]
        vision = self._model.vision_model(pixel_values=pixels.flatten(0, 1))
        frames = self._model.visual_projection(vision[1]).reshape(clips, times, -1)
        video = self._model.mit(frames)[1]
        if self._logits is None:
            return {"pooled": video}
        patches = vision[0][:, 1:].reshape(clips, times, -1, vision[0].shape[-1])
        return {"pooled": video, PROMPTS: self._logits(patches, video)}


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> XCLIP:
    """Load an X-CLIP checkpoint.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`; the bank for the
    stream ``prompts`` is basket's own where none is given.

    Raises
    ------
    UsageError
        A prompt is too long.
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import XCLIPModel

    wanted = PROMPTS in options.get("streams", ())
    found = open_checkpoint(checkpoint, "xclip", options, text=wanted)
    needed = _NEEDED + (NEEDED_FOR_PROMPTS if wanted else ())
    model = load_pretrained(XCLIPModel, found.folder, needed=needed)
    config = model.config
    vision = config.vision_config
    height_px, width_px = pair(vision.image_size)
    preprocessing = read_preprocessing(found.folder, height_px=height_px, width_px=width_px)
    names = found.streams(others=(PROMPTS,))
    bank = _bank(options.get("prompts")) if wanted else None
    widths = {PROMPTS: len(bank.texts) if bank else 0}
    spec = found.spec(
        frames=vision.num_frames,
        preprocessing=preprocessing,
        streams={name: widths.get(name, config.projection_dim) for name in names},
        pooling="video embedding, not normalised",
        network=acting_values(
            vision,
            "hidden_act",
            "layer_norm_eps",
            "num_attention_heads",
            "mit_num_attention_heads",
            "patch_size",
        ),
        tflop_per_clip=xclip_tflop(config),
        **(_text_identity(found, bank) if bank else {}),
    )
    logits = None
    if bank:
        limit = config.text_config.max_position_embeddings
        tokens = tokenize(found.folder, bank.texts, limit=limit)
        logits = PromptLogits(model, tokens, found.device)
    return XCLIP(model, logits, **found.run_options(spec, preprocessing))


def _bank(given: PromptBank | None) -> PromptBank:
    from basket.dataset.prompts import default_bank

    return given or default_bank()


def _text_identity(found: OpenCheckpoint, bank: PromptBank) -> dict[str, Any]:
    return {
        "columns": {PROMPTS: list(bank.columns)},
        "prompts_sha256": bank.sha256,
        "tokenizer_sha256": digest_tokenizer(found.folder),
    }
