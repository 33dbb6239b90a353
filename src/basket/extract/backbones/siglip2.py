"""SigLIP 2 (Tschannen et al., 2025, arXiv 2502.14786) through transformers, per frame.

The checkpoints of fixed resolution; they have the architecture of SigLIP, and theirs load too. A
frame's embedding is what its attention pooling returns. The NaFlex ones are another architecture.
"""

from __future__ import annotations

from typing import Unpack

from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.network import load_pretrained
from basket.extract.backbones.opening import LoadOptions, open_checkpoint
from basket.extract.backbones.per_frame import PerFrame, per_frame_backbone

_NEEDED = ("embeddings.", "encoder.", "post_layernorm.", "head.")


def load(checkpoint: Checkpoint, **options: Unpack[LoadOptions]) -> PerFrame:
    """Load the image side of a SigLIP 2 checkpoint.

    Parameters are those of :func:`~basket.extract.backbones.load_backbone`.

    Raises
    ------
    WeightsError
        Missing, damaged or of another kind.
    """
    from transformers import SiglipVisionModel

    found = open_checkpoint(
        checkpoint, "siglip2", options, model_types=("siglip", "siglip_vision_model")
    )
    model = load_pretrained(SiglipVisionModel, found.folder, needed=_NEEDED, prefix="vision_model.")
    return per_frame_backbone(
        found,
        checkpoint,
        model,
        blocks=model.encoder.layers,
        dims=model.config.hidden_size,
        prefix=0,
        embedding=lambda output: output.pooler_output,
        pooling="layernorm,attention pooling",
    )
