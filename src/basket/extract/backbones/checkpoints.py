"""Known checkpoints: what they are called, where they live, what they cost and who may use them.

Every fact was read in a source. Licences, frame counts and sizes: the model cards and the
``config.json`` and ``preprocessor_config.json`` files on huggingface.co. Costs are counted from the
architecture with :mod:`basket.extract.backbones.cost`; those of VideoMAE agree with its paper
(arXiv 2203.12602). A commit stands here only where the whole hash was read (a page of that commit
listing ``model.safetensors``), a reference like ``refs/pr/5`` where the hub's proposal to add
safetensors was; the other entries resolve the branch at first use, and what it resolved to is
recorded with the features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Checkpoint:
    """One set of published weights.

    Parameters
    ----------
    name : str
        What users type: ``videomae/base-k400``.
    family : str
        The code that runs it; a key of :data:`~basket.extract.backbones.BACKBONES`.
    repo : str
        Repository on the Hugging Face hub; empty when there are no weights.
    frames : int or None
        T, frames per clip. None: known only when loaded.
    size_px : int or None
        Side of the square picture.
    dims : int or None
        Width of the ``pooled`` stream.
    licence : str
        Of the weights; ``see checkpoint`` where no source that states it was read.
    tflop_per_clip : float or None
        Floating-point operations per clip (a multiply-add counts two), in units of 1e12.
    revision : str
        Commit, 40 hex digits, or a named reference; empty: ``main``. What is not a commit is
        resolved at first use.
    note : str
        What a user should know before choosing it.
    layers, time_steps : int
        How many streams ``layer-k`` and ``tubelet<t>`` there are to choose from.
    """

    name: str
    family: str
    repo: str = ""
    frames: int | None = None
    size_px: int | None = None
    dims: int | None = None
    licence: str = ""
    tflop_per_clip: float | None = None
    revision: str = ""
    note: str = ""
    layers: int = 0
    time_steps: int = 0


def _family(
    family: str, owner: str, licence: str, *, size_px: int = 224, step_frames: int = 1
) -> Callable[..., Checkpoint]:
    """A constructor for the entries of a family, which share most of their facts."""

    def entry(
        name: str,
        repo: str,
        *,
        frames: int,
        dims: int,
        tflop: float,
        layers: int = 0,
        **more: Any,
    ) -> Checkpoint:
        return Checkpoint(
            name=f"{family}/{name}",
            family=family,
            repo=f"{owner}/{repo}",
            frames=frames,
            dims=dims,
            tflop_per_clip=tflop,
            layers=layers,
            time_steps=frames // step_frames if layers else 0,
            **{"size_px": size_px, "licence": licence, **more},
        )

    return entry


_FROM_A_PROPOSAL = (
    "main held pickled weights only when this was written; the revision named here is the hub's "
    "own proposed conversion"
)
_NO_SAFETENSORS = (
    "main held pickled weights only when this was written; name a --revision with safetensors"
)
_PROPOSED = {"note": _FROM_A_PROPOSAL}
_UNSTATED = "see checkpoint"

_videomae = _family("videomae", "MCG-NJU", "CC-BY-NC-4.0", step_frames=2)
_S: dict[str, Any] = {"frames": 16, "dims": 384, "tflop": 0.114, "layers": 12}
_B: dict[str, Any] = {"frames": 16, "dims": 768, "tflop": 0.361, "layers": 12}
_L: dict[str, Any] = {"frames": 16, "dims": 1024, "tflop": 1.19, "layers": 24}
_H: dict[str, Any] = {"frames": 16, "dims": 1280, "tflop": 2.38, "layers": 32}

_VIDEOMAE = (
    _videomae(
        "base-k400",
        "videomae-base-finetuned-kinetics",
        **_B,
        revision="488eb9a0565f257b32866000305c8178965eb9f6",
    ),
    _videomae("base-ssv2", "videomae-base-finetuned-ssv2", **_B, revision="refs/pr/1", **_PROPOSED),
    _videomae(
        "base-ssl",
        "videomae-base",
        **_B,
        revision="dc740ceda42fce44faed2ea03c6d447db72f6af9",
        note="self-supervised: weaker than base-k400 as a frozen backbone",
    ),
    _videomae("base-ssl-ssv2", "videomae-base-ssv2", **_B, note="self-supervised on SSv2"),
    _videomae("small-k400", "videomae-small-finetuned-kinetics", **_S, licence=_UNSTATED),
    _videomae(
        "large-k400",
        "videomae-large-finetuned-kinetics",
        **_L,
        revision="0f6adcd5f6902900aa0281f9daacfe52bb3c4ad4",
    ),
    _videomae("large-ssl", "videomae-large", **_L, note="self-supervised"),
    _videomae(
        "huge-k400",
        "videomae-huge-finetuned-kinetics",
        **_H,
        revision="aa4323bb447450757027054c0e35cf78152e2ae3",
        **_PROPOSED,
    ),
)

_xclip = _family("xclip", "microsoft", "MIT")
_XCLIP = (
    _xclip(
        "base-patch32",
        "xclip-base-patch32",
        frames=8,
        dims=512,
        tflop=0.0716,
        revision="a2e27a78a2b5d802e894b8a1ef14f3a8ce490963",
    ),
    _xclip(
        "base-patch32-16-frames", "xclip-base-patch32-16-frames", frames=16, dims=512, tflop=0.143
    ),
    _xclip(
        "base-patch16",
        "xclip-base-patch16",
        frames=8,
        dims=512,
        tflop=0.282,
        revision="45912a83e977ce2c92ddfe581a6ba031879638cf",
    ),
    _xclip(
        "base-patch16-16-frames", "xclip-base-patch16-16-frames", frames=16, dims=512, tflop=0.564
    ),
    _xclip("large-patch14", "xclip-large-patch14", frames=8, dims=768, tflop=1.30),
    _xclip(
        "large-patch14-16-frames",
        "xclip-large-patch14-16-frames",
        frames=16,
        dims=768,
        tflop=6.12,
        size_px=336,
        note=_NO_SAFETENSORS,
    ),
)

_vjepa2 = _family("vjepa2", "facebook", "Apache-2.0", size_px=256, step_frames=2)
_AS_LAST_TRAINED = (
    "64 frames: what the weights were last trained with, at seven times the cost of 16"
)
_VJEPA2 = (
    _vjepa2(
        "large", "vjepa2-vitl-fpc64-256", frames=16, dims=1024, tflop=1.66, layers=24, licence="MIT"
    ),
    _vjepa2(
        "large-64-frames",
        "vjepa2-vitl-fpc64-256",
        frames=64,
        dims=1024,
        tflop=11.57,
        layers=24,
        licence="MIT",
        note=_AS_LAST_TRAINED,
    ),
    _vjepa2(
        "large-ssv2",
        "vjepa2-vitl-fpc16-256-ssv2",
        frames=16,
        dims=1024,
        tflop=1.66,
        layers=24,
        licence="MIT",
        note="with a classifier for SSv2 on top, which is left out",
    ),
    _vjepa2("huge", "vjepa2-vith-fpc64-256", frames=16, dims=1280, tflop=3.27, layers=32),
    _vjepa2("giant", "vjepa2-vitg-fpc64-256", frames=16, dims=1408, tflop=5.09, layers=40),
    _vjepa2(
        "giant-384",
        "vjepa2-vitg-fpc64-384",
        frames=16,
        dims=1408,
        tflop=14.1,
        layers=40,
        size_px=384,
    ),
)

_timesformer = _family("timesformer", "facebook", "CC-BY-NC-4.0")
_TS: dict[str, Any] = {"frames": 8, "dims": 768, "tflop": 0.392, "layers": 12, **_PROPOSED}
_TIMESFORMER = (
    _timesformer("base-k400", "timesformer-base-finetuned-k400", **_TS, revision="refs/pr/5"),
    _timesformer("base-k600", "timesformer-base-finetuned-k600", **_TS, revision="refs/pr/7"),
    _timesformer("base-ssv2", "timesformer-base-finetuned-ssv2", **_TS, revision="refs/pr/5"),
    _timesformer(
        "hr-k600",
        "timesformer-hr-finetuned-k600",
        **{**_TS, "frames": 16, "tflop": 3.41},
        size_px=448,
        revision="refs/pr/4",
    ),
)

_VIVIT = (
    _family("vivit", "google", "MIT", step_frames=2)(
        "base-k400",
        "vivit-b-16x2-kinetics400",
        frames=32,
        dims=768,
        tflop=0.903,
        layers=12,
        revision="refs/pr/3",
        **_PROPOSED,
    ),
)

_clip = _family("clip", "openai", _UNSTATED)
_CLIP = (
    _clip("large-patch14", "clip-vit-large-patch14", frames=8, dims=768, tflop=1.30, layers=24),
    _clip("base-patch16", "clip-vit-base-patch16", frames=8, dims=512, tflop=0.281, layers=12),
    _clip(
        "base-patch32",
        "clip-vit-base-patch32",
        frames=8,
        dims=512,
        tflop=0.0705,
        layers=12,
        note=_NO_SAFETENSORS,
    ),
)

_siglip2 = _family("siglip2", "google", "Apache-2.0")
_SIGLIP2 = (
    _siglip2("base", "siglip2-base-patch16-224", frames=8, dims=768, tflop=0.283, layers=12),
    _siglip2(
        "large",
        "siglip2-large-patch16-256",
        frames=8,
        dims=1024,
        tflop=1.30,
        layers=24,
        size_px=256,
    ),
    _siglip2(
        "so400m",
        "siglip2-so400m-patch14-384",
        frames=8,
        dims=1152,
        tflop=5.36,
        layers=27,
        size_px=384,
    ),
)

_dinov2 = _family("dinov2", "facebook", "Apache-2.0")
_DINOV2 = (
    _dinov2(
        "base",
        "dinov2-base",
        frames=8,
        dims=768,
        tflop=0.371,
        layers=12,
        revision="369b1309d0ea32e09fdc25ee029917e2e5a2db8f",
    ),
    _dinov2("small", "dinov2-small", frames=8, dims=384, tflop=0.0980, layers=12),
    _dinov2("large", "dinov2-large", frames=8, dims=1024, tflop=1.30, layers=24),
    _dinov2("giant", "dinov2-giant", frames=8, dims=1536, tflop=4.79, layers=40),
)

#: All entries, in the order in which they are listed.
ENTRIES = (
    Checkpoint(
        name="motion",
        family="motion",
        frames=16,
        dims=459,
        licence="Apache-2.0 (part of basket)",
        note="a descriptor without weights: the baseline that any network should beat",
    ),
    *_VIDEOMAE,
    *_XCLIP,
    *_VJEPA2,
    *_TIMESFORMER,
    *_VIVIT,
    *_CLIP,
    *_SIGLIP2,
    *_DINOV2,
)
