"""Pictures of another library, each compared with PyAV's before it is handed on.

decord and torchcodec conceal damage: a frame that does not decode is patched, or the last good one
is repeated, and nothing says so (decord#119; benchmarks/damage.py: of 80 files with flipped bits,
each showed wrong pictures for 44). So their pictures are taken only where PyAV, which stops at what
the codec notices, decodes the same frame to the same picture. That doubles their time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode.base import DisplayedFrame, VideoInfo

if TYPE_CHECKING:
    from basket.extract.decode.pyav import PyAVDecoder

#: Mean absolute difference, of 255, up to which two builds of FFmpeg show the same picture. The
#: builds tried here differ by 0 on 8-bit video and by 3 on 10-bit video; neighbouring frames of a
#: calm scene by 1, which is how decord's frames of an HEVC file, late by one, were found out.
MAX_MEAN_DIFFERENCE = 0.25

#: Formats that every FFmpeg turns into RGB by the same rule; those with subsampled colour only
#: where width and height are even.
_SUBSAMPLED = frozenset(["yuv420p", "yuvj420p", "yuv422p", "yuvj422p"])
SAME_COLOURS = _SUBSAMPLED | {"yuv444p", "yuvj444p", "gray", "rgb24", "gbrp"}

#: Frames that are fetched at once: the whole pictures are in memory until they are handed on.
_BATCH = 16

#: Takes frame indices, returns their pictures: uint8 (n, H, W, 3).
Fetch = Callable[[list[int]], npt.NDArray[np.uint8]]


class CheckedDecoder:
    """A decoder whose pictures come from ``fetch`` and whose truth comes from PyAV.

    Parameters
    ----------
    name : str
        Of the library, for messages.
    reference : PyAVDecoder
        The same file.
    fetch : callable
    """

    def __init__(self, name: str, reference: PyAVDecoder, fetch: Fetch) -> None:
        self._name = name
        self._reference = reference
        self._fetch = fetch

    @property
    def info(self) -> VideoInfo:
        """What the file holds."""
        return self._reference.info

    @property
    def keyframes_s(self) -> npt.NDArray[np.float64]:
        """Timestamps of the key frames, in seconds from the first frame."""
        return self._reference.keyframes_s

    def frames_at(self, times_s: npt.NDArray[np.float64]) -> Iterator[DisplayedFrame]:
        """Yield the frame on display at each of the ascending instants ``times_s``."""
        indices = self._reference.table.on_display(times_s)
        wanted, repeats = np.unique(indices, return_counts=True)
        truth = self._reference.frames_at(self._reference.table.times_s[wanted])
        for start in range(0, len(wanted), _BATCH):
            chunk = wanted[start : start + _BATCH].tolist()
            counts = repeats[start : start + _BATCH].tolist()
            for index, picture, count in zip(chunk, self._fetch(chunk), counts, strict=True):
                self._compare(picture, next(truth))
                for _ in range(count):
                    yield DisplayedFrame(picture, index)

    def _compare(self, picture: npt.NDArray[np.uint8], truth: DisplayedFrame) -> None:
        when = f"the frame at {self._reference.table.times_s[truth.index]:.3f} s"
        if picture.shape != truth.rgb.shape:
            raise VideoError(
                f"{self._name} is not exact for this file: {when} has the shape {picture.shape}, "
                f"expected {truth.rgb.shape}; use --decoder pyav"
            )
        # A third of the rows tells as much as all of them, and has lines of both fields.
        difference = np.abs(picture[::3].astype(np.int16) - truth.rgb[::3]).mean()
        if difference > MAX_MEAN_DIFFERENCE:
            raise VideoError(
                f"{self._name} is not exact for this file: {when} differs from PyAV's by "
                f"{difference:.1f}/255 in the mean; use --decoder pyav"
            )


def refuse_unless_ordinary(name: str, reference: PyAVDecoder) -> None:
    """Refuse, before the library sees it, a file of a kind that other libraries get wrong.

    Raises
    ------
    VideoError
        Naming the kind.
    """
    info = reference.info
    kind = ""
    if info.note:
        kind = f"a file that is not plain ({info.note})"
    elif info.pixel_format not in SAME_COLOURS:
        kind = f"the pixel format {info.pixel_format}: its colours differ from PyAV's"
    elif reference.is_other_stream:
        kind = "a file with several video streams: it takes another one"
    elif info.mirrored:
        kind = "mirrored video: it does not mirror"
    elif reference.interlaced:
        kind = "interlaced video: its colours differ from PyAV's"
    elif info.pixel_format in _SUBSAMPLED and (info.width_px % 2 or info.height_px % 2):
        kind = f"{info.width_px}x{info.height_px} pixels with subsampled colour: an odd size"
    elif reference.table.sought_by_decoding_time:
        kind = "transport streams: it seeks to other frames"
    if kind:
        raise VideoError(f"{name} is not exact for {kind}; use --decoder pyav")
