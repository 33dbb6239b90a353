"""What ``basket models`` says: a row per known checkpoint, and everything about one of them.

From the catalogue alone: no network, no weights, no torch.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from basket.extract.backbones.base import BackboneSpec
from basket.extract.backbones.catalogue import ALIASES, BACKBONES, CATALOGUE, Checkpoint, resolve


@dataclass(frozen=True)
class _Family:
    """What the checkpoints of a family have in common, in words."""

    title: str
    geometry: str
    pixels: str
    pooled: str
    tubelet: str = ""
    others: tuple[tuple[str, str], ...] = ()


_CENTRE = "shorter side to {size}, centre {size} x {size}"
_IMAGENET = "ImageNet mean and standard deviation"
_FROM_FILE = "read from the checkpoint's own preprocessor file; published ones: "
_TOKENS = "mean of the final tokens of time step t alone"
_PATCHES = "mean of the final patch tokens of time step t"
_FRAME = "the embedding of frame t alone"

_FAMILIES = {
    "motion": _Family(
        "motion energy, directions, edges and colours without weights",
        "whole frame to 128 x 72, bilinear",
        "as decoded, counted in whole numbers",
        "all 459 columns, named",
        others=(
            ("colour", "36 columns of colour layout"),
            ("palette", "64 columns of colours without places: a control that knows no motion"),
        ),
    ),
    "videomae": _Family(
        "VideoMAE",
        _CENTRE + ", bilinear",
        _IMAGENET,
        "fine-tuned: fc_norm of the mean token; self-supervised: mean after the layer norm",
        _TOKENS,
    ),
    "xclip": _Family(
        "X-CLIP",
        _CENTRE + ", bilinear",
        _IMAGENET,
        "the video embedding before L2 normalisation",
        others=(
            ("prompts", "logits against a bank of phrases, conditioned on the clip; named columns"),
        ),
    ),
    "vjepa2": _Family(
        "V-JEPA 2, encoder",
        "shorter side to {resized}, centre {size} x {size}, bilinear",
        _IMAGENET,
        "mean token after the layer norm",
        _TOKENS,
    ),
    "timesformer": _Family(
        "TimeSformer",
        _CENTRE + ", bilinear",
        "mean 0.45, standard deviation 0.225",
        "class token after the layer norm",
        _PATCHES,
    ),
    "vivit": _Family(
        "ViViT, joint space-time attention",
        "shorter side to 256, centre {size} x {size}, bilinear",
        "to [-1, 1], then mean 0.5, standard deviation 0.5",
        "class token after the layer norm",
        _PATCHES,
    ),
    "clip": _Family(
        "CLIP, image side, frame by frame",
        _CENTRE + ", bicubic",
        "CLIP's mean and standard deviation",
        "mean of the frames' projected embeddings",
        _FRAME,
    ),
    "siglip2": _Family(
        "SigLIP 2, image side, frame by frame",
        "whole frame squeezed to {size} x {size}",
        "mean 0.5, standard deviation 0.5",
        "mean of the frames' attention-pooled embeddings",
        _FRAME,
    ),
    "dinov2": _Family(
        "DINOv2, frame by frame",
        "shorter side to 256, centre {size} x {size}, bicubic",
        _IMAGENET,
        "mean of the frames' class tokens after the layer norm",
        _FRAME,
    ),
}


def model_table() -> list[dict[str, Any]]:
    """One row per known checkpoint, then one per family that another package registered.

    Returns
    -------
    list of dict
        ``name``, ``alias``, ``checkpoint``, ``dims``, ``frames``, ``size_px``, ``tflop_per_clip``,
        ``licence``, ``streams`` (names and shorthands) and ``note``; None where unknown.

    Examples
    --------
    >>> row = model_table()[1]
    >>> row["name"], row["dims"], row["streams"]
    ('videomae/base-k400', 768, ['pooled', 'layers', 'tubelets'])
    """
    ours = {entry.family for entry in CATALOGUE.values()}
    theirs = [Checkpoint(name=name, family=name) for name in BACKBONES if name not in ours]
    return [_row(entry) for entry in (*CATALOGUE.values(), *theirs)]


def model_details(name: str) -> dict[str, Any]:
    """Everything known about one model.

    Parameters
    ----------
    name : str
        As for :func:`~basket.extract.backbones.load_backbone`.

    Returns
    -------
    dict
        The row of :func:`model_table`, and ``family``, ``revision``, ``preprocessing`` (mapping)
        and ``streams`` as a mapping from stream to its width and what it holds.

    Raises
    ------
    UsageError
        An unknown model.

    Examples
    --------
    >>> model_details("dinov2")["preprocessing"]["geometry"]
    'shorter side to 256, centre 224 x 224, bicubic'
    """
    checkpoint = resolve(name)
    known = _FAMILIES.get(checkpoint.family)
    details = {
        **_row(checkpoint),
        "family": checkpoint.family,
        "revision": checkpoint.revision or ("main" if checkpoint.repo else ""),
        "preprocessing": {},
        "streams": {},
    }
    if known is None:
        return details
    size = checkpoint.size_px or 0
    values = _FROM_FILE if checkpoint.repo else ""
    details["preprocessing"] = {
        "geometry": known.geometry.format(size=size, resized=int(size * 256 / 224)),
        "pixels": values + known.pixels,
        "pooling": known.pooled,
    }
    details["title"] = known.title
    details["streams"] = _stream_texts(checkpoint, known)
    return details


def _row(entry: Checkpoint) -> dict[str, Any]:
    aliases = [short for short, full in ALIASES.items() if full == entry.name]
    known = _FAMILIES.get(entry.family)
    streams = ["pooled"]
    streams += ["layers"] if entry.layers else []
    streams += ["tubelets"] if entry.time_steps else []
    streams += [name for name, _text in known.others] if known else []
    return {
        "name": entry.name,
        "alias": aliases[0] if aliases else "",
        "checkpoint": entry.repo,
        "dims": entry.dims,
        "frames": entry.frames,
        "size_px": entry.size_px,
        "tflop_per_clip": entry.tflop_per_clip,
        "licence": entry.licence,
        "streams": streams,
        "note": entry.note,
    }


def _stream_texts(entry: Checkpoint, known: _Family) -> dict[str, str]:
    texts = {"pooled": f"{entry.dims} columns: {known.pooled}"}
    if entry.layers:
        texts[f"layer-1 ... layer-{entry.layers}"] = (
            "mean patch token of the k-th last block, not normalised; layers:-4,-3 asks for two"
        )
    if entry.time_steps:
        last = entry.time_steps - 1
        texts[f"tubelet0 ... tubelet{last}"] = f"{known.tubelet}; tubelets asks for all"
    return texts | dict(known.others)


def loaded_details(spec: BackboneSpec) -> dict[str, Any]:
    """The same about a backbone that is loaded, with the values that are really in use.

    Parameters
    ----------
    spec : BackboneSpec
    """
    geometry = spec.geometry
    return {
        "name": spec.name,
        "family": spec.family,
        "checkpoint": spec.checkpoint,
        "revision": spec.revision,
        "licence": spec.licence,
        "random_weights": spec.random_weights,
        "dims": spec.streams.get("pooled"),
        "frames": spec.frames,
        "size_px": geometry.height_px if geometry.height_px == geometry.width_px else None,
        "tflop_per_clip": spec.tflop_per_clip,
        "streams": dict(spec.streams),
        "preprocessing": {**spec.preprocessing, "geometry": asdict(geometry)},
        "weights_sha256": spec.weights_sha256,
    }
