"""What a file holds, from its packets alone: every frame's timestamp, and which are key frames.

Nothing is decoded: 0.2 s for a nine-minute reel. Every back end decides from this one table which
frame is on display at an instant, so that all of them show the same frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode.base import SLACK_S, check_regular_file

if TYPE_CHECKING:
    import av.container
    import av.video

# Playlists and network protocols can make FFmpeg read other files or hosts: neither is a video.
_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,"
    "h264,hevc,m4v,mpegvideo",
}


_SOUGHT_BY_DECODING_TIME = frozenset(["mpegts", "mpeg"])


@dataclass(frozen=True)
class FrameTable:
    """Timestamps of all frames of a stream, in presentation order.

    Parameters
    ----------
    pts : ndarray, int64, (frames,)
        In units of the stream's time base; strictly rising.
    is_key : ndarray, bool, (frames,)
    seek_to : ndarray, int64, (frames,)
        Where to ask the container for each frame: transport streams are searched by decoding time,
        all others have an index by presentation time.
    seconds_per_tick : float
    duration_s : float
        To the end of the last frame.
    note : str
        ``truncated: ...`` where the container promises more than the file has.
    sought_by_decoding_time : bool
        The file is a transport or program stream: no index, frames are searched for.
    """

    pts: npt.NDArray[np.int64]
    is_key: npt.NDArray[np.bool_]
    seek_to: npt.NDArray[np.int64]
    seconds_per_tick: float
    duration_s: float
    note: str = ""
    sought_by_decoding_time: bool = False

    @cached_property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Timestamps from the first frame, in seconds."""
        return np.asarray((self.pts - self.pts[0]) * self.seconds_per_tick, dtype=np.float64)

    @cached_property
    def keys(self) -> npt.NDArray[np.int64]:
        """Indices of the key frames, rising."""
        return np.flatnonzero(self.is_key)

    @property
    def keyframes_s(self) -> npt.NDArray[np.float64]:
        """Timestamps of the key frames from the first frame, in seconds."""
        return self.times_s[self.keys]

    def on_display(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Index of the frame on display at each instant; before the first frame, the first.

        Raises
        ------
        ValueError
            The instants do not ascend.
        """
        instants = np.asarray(times_s, dtype=np.float64)
        if bool((np.diff(instants) < 0).any()):
            raise ValueError("times_s must be ascending")
        return np.maximum(np.searchsorted(self.times_s, instants + SLACK_S, side="right") - 1, 0)


@contextmanager
def open_stream(
    path: Path,
) -> Iterator[tuple[av.container.InputContainer, av.video.stream.VideoStream]]:
    """Open a regular local file with FFmpeg and choose its video stream.

    The stream is the one that FFmpeg calls the best (the largest picture that is no cover art), as
    decord, torchcodec and the ``ffmpeg`` program choose it.

    Raises
    ------
    VideoError
        Not a video, or damaged; also what goes wrong while the file is open.
    """
    import av

    check_regular_file(path)
    try:
        # Absolute and with its protocol: no file name can be mistaken for a URL.
        container = av.open(f"file:{path.absolute()}", options=_OPTIONS)
    except (av.FFmpegError, ValueError) as error:
        raise VideoError(f"not a readable video: {_reason(error)}") from error
    with container:
        stream = container.streams.best("video")
        if not isinstance(stream, av.VideoStream):
            raise VideoError("the file has no video stream")
        try:
            yield container, stream
        except av.FFmpegError as error:
            raise VideoError(f"damaged: {_reason(error)}") from error


def scan_packets(
    container: av.container.InputContainer, stream: av.video.stream.VideoStream
) -> FrameTable:
    """Read the timestamp of every frame from its packet, without decoding.

    Raises
    ------
    VideoError
        No packets, or packets without timestamps.
    """
    import av

    rows: list[tuple[int, int, int, bool]] = []
    note = ""
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.is_corrupt:
                note = "truncated: the file ends inside a frame"
                break
            if packet.pts is None:
                raise VideoError("its frames carry no timestamps; remux it (ffmpeg -i in out.mp4)")
            dts = packet.pts if packet.dts is None else packet.dts
            rows.append((packet.pts, dts, packet.duration or 0, packet.is_keyframe))
    except av.FFmpegError as error:
        note = f"truncated: reading stops early ({_reason(error)})"
    if not rows or stream.time_base is None:
        raise VideoError("the file has no frames")
    rows.sort()
    pts, dts_of = np.array([row[:2] for row in rows], dtype=np.int64).T
    if bool((np.diff(pts) <= 0).any()):
        raise VideoError("two of its frames have the same timestamp; re-encode it")
    seconds_per_tick = float(stream.time_base)
    by_dts = container.format.name in _SOUGHT_BY_DECODING_TIME
    last_ticks = _last_duration(pts, rows[-1][2], stream)
    duration_s = float(pts[-1] - pts[0] + last_ticks) * seconds_per_tick
    return FrameTable(
        pts=pts,
        is_key=np.array([row[3] for row in rows], dtype=np.bool_),
        seek_to=dts_of if by_dts else pts,
        seconds_per_tick=seconds_per_tick,
        duration_s=duration_s,
        # Matroska counts from 0, however late the pictures begin; others from the first picture.
        note=note
        or _promises_more(
            container, stream, len(rows), max(duration_s, duration_s + pts[0] * seconds_per_tick)
        ),
        sought_by_decoding_time=by_dts,
    )


def _promises_more(
    container: av.container.InputContainer,
    stream: av.video.stream.VideoStream,
    frames: int,
    duration_s: float,
) -> str:
    """Tell where the header promises more than the file holds; sound may last a little longer."""
    import av

    if stream.frames > frames:
        return f"truncated: the file promises {stream.frames} frames and holds {frames}"
    promised_s = (container.duration or 0) / av.time_base
    if promised_s > duration_s + max(1.0, 0.05 * duration_s):
        return (
            f"truncated: the file promises {promised_s:.1f} s, its pictures end {duration_s:.1f} s"
        )
    return ""


def _last_duration(
    pts: npt.NDArray[np.int64], packet_duration: int, stream: av.video.stream.VideoStream
) -> float:
    """How long the last frame is shown, in ticks: its packet's word, else the usual distance."""
    if packet_duration > 0:
        return float(packet_duration)
    if len(pts) > 1:
        return float(np.median(np.diff(pts)))
    rate, time_base = stream.average_rate, stream.time_base
    return float(1 / (rate * time_base)) if rate and time_base else 1.0


def _reason(error: Exception) -> str:
    """FFmpeg's own words, without the number and the file name."""
    return str(getattr(error, "strerror", None) or error)
