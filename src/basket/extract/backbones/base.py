"""What a backbone is: a specification and one method, clips in, named streams out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError

Clips = npt.NDArray[np.uint8]
Streams = Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class FrameGeometry:
    """How a decoded frame becomes the picture a backbone sees; done while decoding.

    Parameters
    ----------
    height_px, width_px : int
        Size of the picture.
    crop : {"center", "squash", "three"}
        ``center``: resize the shorter side to ``shorter_side_px``, cut the centre. ``squash``:
        resize the whole frame, aspect ratio lost. ``three``: as center, cut left, centre and right.
    shorter_side_px : int
        Used by ``center`` and ``three``.
    resample : {"bilinear", "bicubic"}
        Antialiased, as in Pillow.
    """

    height_px: int
    width_px: int
    crop: Literal["center", "squash", "three"] = "center"
    shorter_side_px: int = 224
    resample: Literal["bilinear", "bicubic"] = "bilinear"


@dataclass(frozen=True)
class BackboneSpec:
    """Everything there is to know about a loaded backbone.

    Parameters
    ----------
    family : str
        The code: ``videomae``, ``xclip``, ``motion``.
    name : str
        For display: ``videomae/base-k400``; from a local folder ``videomae/<folder>``.
    frames : int
        T, frames per clip.
    geometry : FrameGeometry
        Its own crop; a plan's ``squash`` or ``three`` replaces it unless ``fixed_geometry``.
    streams : mapping of str to int
        Width D of each stream that ``embed`` returns.
    preprocessing : mapping
        Every further value that acts on the numbers: mean, std, rescale factor, pooling rule.
    columns : mapping of str to list of str
        Names of the columns of a stream, where they mean something one by one.
    weights_sha256 : str
        Over the weight tensors, sorted by name; empty when there are none, which is taken for
        arithmetic on the CPU.
    checkpoint, revision, licence : str
        Where the weights came from. Empty when there are none.
    random_weights : bool
        True where they were never trained. Shown wherever the features appear.
    tflop_per_clip : float or None
        Measured or published cost; None where unknown.
    fixed_geometry : bool
        True where the plan's crop does not apply (``motion`` always sees the whole frame).
    prompts_sha256, tokenizer_sha256 : str
        Hashes of the prompt bank and the tokenizer files where text is involved.
    """

    family: str
    name: str
    frames: int
    geometry: FrameGeometry
    streams: Mapping[str, int]
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, list[str]] = field(default_factory=dict)
    weights_sha256: str = ""
    checkpoint: str = ""
    revision: str = ""
    licence: str = ""
    random_weights: bool = False
    tflop_per_clip: float | None = None
    fixed_geometry: bool = False
    prompts_sha256: str = ""
    tokenizer_sha256: str = ""


@runtime_checkable
class Backbone(Protocol):
    """A frozen model: clips to embeddings, row by row independent of the batch around them."""

    @property
    def spec(self) -> BackboneSpec:
        """What it is; constant for the life of the object."""
        ...

    def embed(self, clips: Clips) -> Streams:
        """Embed a batch.

        Parameters
        ----------
        clips : ndarray, uint8, (N, T, H, W, 3)
            RGB, in the geometry of ``spec``; not normalised.

        Returns
        -------
        mapping of str to ndarray, float32, (N, D)
            One matrix per stream, widths as in ``spec.streams``. Row i depends on clip i alone.
        """
        ...


def check_clips(clips: Clips, spec: BackboneSpec) -> None:
    """Refuse clips that are not ``uint8 (N, T, H, W, 3)`` with the T, H and W of ``spec``.

    Raises
    ------
    UsageError
        Another shape or dtype: resizing or converting here would change the features unrecorded.
    """
    geometry = spec.geometry
    expected = (spec.frames, geometry.height_px, geometry.width_px, 3)
    if clips.ndim != 5 or clips.shape[1:] != expected or clips.dtype != np.uint8:
        raise UsageError(
            f"{spec.name} takes clips of uint8 (N, {', '.join(map(str, expected))}), got "
            f"{clips.dtype} {clips.shape}; decode with its geometry and frame count"
        )
