"""What a decoder is: a file opened once, the frames on display at given instants, in order.

"On display at t" is the last frame whose timestamp is at most t (1 µs of slack). Time 0 is the
first frame's timestamp and the duration ends with the last frame. Past that end the last frame
repeats, and is not counted as valid. A decoder never hides an error and never returns another frame
instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from basket.errors import VideoError

#: Height and width.
Size = tuple[int, int]
#: Top, left, bottom and right, half-open.
Window = tuple[int, int, int, int]
Resample = Literal["bilinear", "bicubic"]

#: Slack when a time is compared with a timestamp: containers round to their time base.
SLACK_S = 1e-6

# Caps on what a file may claim before anything is allocated for it.
MAX_SIDE_PX = 8192
MAX_DURATION_S = 4 * 3600.0
MAX_FPS = 240.0


@dataclass(frozen=True)
class VideoInfo:
    """What a file really holds, after a scan of its packets.

    Parameters
    ----------
    duration_s : float
        From the first frame's timestamp to the end of the last frame.
    fps : float
        Frames divided by duration.
    width_px, height_px : int
        Of the picture as shown, rotation applied.
    frames : int
    rotation_deg : int
        Clockwise turn that was applied: 0, 90, 180 or 270.
    mirrored : bool
        Left and right were exchanged after the turn.
    codec, pixel_format : str
    note : str
        What a person should know (``truncated: ...``); empty when all is well.
    holes_s : tuple of (float, float)
        Half-open spans whose pictures are spoiled: there the nearest good one is shown.
    """

    duration_s: float
    fps: float
    width_px: int
    height_px: int
    frames: int
    rotation_deg: int = 0
    mirrored: bool = False
    codec: str = ""
    pixel_format: str = ""
    note: str = ""
    holes_s: tuple[tuple[float, float], ...] = ()


class DisplayedFrame:
    """The frame on display at an asked-for instant.

    Parameters
    ----------
    rgb : ndarray, uint8, (H, W, 3)
        Shared between instants that show the same frame: do not write to it.
    index : int
        Position of the frame in presentation order.
    """

    index: int

    def __init__(self, rgb: npt.NDArray[np.uint8], index: int) -> None:
        self._rgb = rgb
        self.index = index

    @property
    def rgb(self) -> npt.NDArray[np.uint8]:
        """The whole picture as shown, uint8 (H, W, 3); do not write to it."""
        return self._rgb

    @property
    def size_px(self) -> Size:
        """Height and width as shown."""
        return self.rgb.shape[0], self.rgb.shape[1]

    def resized(self, size: Size, *, resample: Resample, window: Window) -> npt.NDArray[np.uint8]:
        """Return a window of the frame resized to ``size``, antialiased as in Pillow.

        Parameters
        ----------
        size : tuple of int
            Height and width of the whole frame after resizing.
        resample : {"bilinear", "bicubic"}
        window : tuple of int
            Top, left, bottom and right of what is wanted of it.

        Returns
        -------
        ndarray, uint8, (bottom - top, right - left, 3)
        """
        full, (top, left, bottom, right) = self.size_px, window
        if size == full:
            return self.rgb[top:bottom, left:right]
        down, across = full[0] / size[0], full[1] / size[1]
        small = Image.fromarray(self.rgb).resize(
            (right - left, bottom - top),
            Image.Resampling[resample.upper()],
            box=(left * across, top * down, right * across, bottom * down),
        )
        return np.asarray(small, dtype=np.uint8)


@runtime_checkable
class Decoder(Protocol):
    """One open video file."""

    @property
    def info(self) -> VideoInfo:
        """What the file holds."""
        ...

    @property
    def keyframes_s(self) -> npt.NDArray[np.float64]:
        """Timestamps of the key frames, in seconds from the first frame, rising; float64, (k,)."""
        ...

    def frames_at(self, times_s: npt.NDArray[np.float64]) -> Iterator[DisplayedFrame]:
        """Yield the frame on display at each instant.

        Parameters
        ----------
        times_s : ndarray, float64, (n,)
            Ascending, in seconds from the first frame.

        Raises
        ------
        VideoError
            The file is damaged there, or ends before its index says.
        """
        ...


class OpenDecoder(Protocol):
    """What the decoder registry holds: a path becomes an open decoder.

    One that can decode on an accelerator takes a further keyword ``device`` with a default; the
    registry promises ``threads`` only.
    """

    def __call__(self, path: Path, *, threads: int = 1) -> AbstractContextManager[Decoder]:
        """Open ``path``; leaving the context closes it. Raises VideoError."""
        ...


def check_regular_file(path: Path) -> None:
    """Refuse what is no ordinary file with bytes in it, before a parser sees it.

    Raises
    ------
    VideoError
    """
    try:
        if not path.is_file():
            raise VideoError("no such file" if not path.exists() else "not a regular file")
        if path.stat().st_size == 0:
            raise VideoError("the file is empty")
    except OSError as error:
        raise VideoError(f"cannot be read: {error.strerror}") from error


def check_limits(info: VideoInfo) -> VideoInfo:
    """Refuse sizes, durations and rates that no reel has.

    Raises
    ------
    VideoError
    """
    if max(info.width_px, info.height_px) > MAX_SIDE_PX:
        raise VideoError(
            f"{info.width_px}x{info.height_px} pixels; at most {MAX_SIDE_PX} a side are accepted"
        )
    if info.duration_s > MAX_DURATION_S:
        hours = MAX_DURATION_S / 3600
        raise VideoError(f"{info.duration_s:.0f} s long; at most {hours:.0f} h are accepted")
    # Of pictures, not of the clock: a few of them may stand as close as they like.
    if info.frames > 1.05 * MAX_FPS * max(info.duration_s, 1.0):
        raise VideoError(
            f"{info.frames} pictures in {info.duration_s:.3g} s; at most {MAX_FPS:.0f} per second "
            "are accepted: lower the rate (ffmpeg -i in -r 60 out.mp4), or mend its clock"
        )
    return info
