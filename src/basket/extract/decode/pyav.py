"""Decoding with PyAV: exact by the table of frames, fast by decoding only what must be decoded.

The wanted frames fall into runs: a new run begins where a key frame lies far enough ahead to jump
to. Each run is one seek, its packets up to the last wanted one, and a drain of the decoder. In
H.264 the frames that no other frame refers to are left out when they are not wanted (about half of
an ordinary reel), which changes no other frame. Every frame that comes out is identified by its
timestamp: a seek that lands elsewhere, or a frame that does not come, is noticed and tried again
from further back, never replaced.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode.base import DisplayedFrame, VideoInfo, check_limits
from basket.extract.decode.index import open_stream, scan_packets
from basket.extract.decode.pictures import FrameConverter, PyAVFrame, orientation_of
from basket.extract.decode.timeline import FrameTable

if TYPE_CHECKING:
    import av.container
    import av.video

#: A seek must save at least this many frames; a dense plan is then one long run without seeks.
_WORTH_A_SEEK = 8

#: Codecs whose unreferenced frames FFmpeg leaves out without touching the others. (In HEVC it has
#: no such notion; elsewhere it is not worth a proof.)
_SKIPPING_IS_EXACT = frozenset({"h264"})


#: How many key frames before the nearest one to start, one attempt after the other: seeks of some
#: containers land late, and some frames need more than the nearest key frame. No more than that: a
#: file with one bad frame among thousands of key frames must not be decoded thousands of times.
_ATTEMPTS = (0, 0, 1, 4, 16)


#: Codecs that show nothing before it can be right, when they are entered between key frames.
_WAITS = frozenset({"h264", "hevc"})

#: Pictures of an AVI file that are looked at for whether they come in the order of its times.
_LOOKED_AT = 64

_NO_TIMES = (
    "AVI carries no presentation times, and this one stores its pictures in another order than "
    "they are shown (B-frames); re-encode it (ffmpeg -i in.avi out.mp4)"
)


@contextmanager
def open_pyav(path: Path, *, threads: int = 1) -> Iterator[PyAVDecoder]:
    """Open a video file with PyAV.

    Parameters
    ----------
    path : Path
        A regular local file.
    threads : int, default=1
        Threads of the codec. One is best where several videos are decoded at once.

    Raises
    ------
    VideoError
        Not a video, damaged, or beyond the caps on size, duration and rate.
    """
    with open_stream(path) as (container, stream):
        yield PyAVDecoder(container, stream, threads)


class PyAVDecoder:
    """One open file; see :class:`basket.extract.decode.base.Decoder`."""

    def __init__(
        self,
        container: av.container.InputContainer,
        stream: av.video.stream.VideoStream,
        threads: int,
    ) -> None:
        self._container = container
        self._stream = stream
        self._codec = stream.codec_context
        # What the codec notices is an error, not a patched picture that later frames build on.
        self._codec.options = {"err_detect": "explode"}
        self._codec.thread_type = "AUTO" if threads != 1 else "NONE"
        self._codec.thread_count = threads
        self._can_skip = False
        self._table = scan_packets(container, stream)
        # Looking at one frame is the only way to learn its rotation and true size.
        first = self._first_picture()
        self._interlaced = bool(first.interlaced_frame)
        # Two fields of one frame may differ in whether others refer to them.
        self._can_skip = self._codec.name in _SKIPPING_IS_EXACT and not self._interlaced
        self._look_at_doubtful_frames()
        self._info = _describe(self._table, first, self._codec.name)
        self._converter = FrameConverter(
            self._info.rotation_deg // 90, mirrored=self._info.mirrored
        )

    @property
    def info(self) -> VideoInfo:
        """What the file holds."""
        return self._info

    @property
    def keyframes_s(self) -> npt.NDArray[np.float64]:
        """Timestamps of the key frames, in seconds from the first frame."""
        return self._table.keyframes_s

    @property
    def table(self) -> FrameTable:
        """Timestamps and key frames of the file."""
        return self._table

    @property
    def is_other_stream(self) -> bool:
        """Whether another stream is shown than the one that FFmpeg's library calls the best."""
        return self._container.streams.best("video") is not self._stream

    @property
    def interlaced(self) -> bool:
        """Whether its pictures are made of two fields."""
        return self._interlaced

    def frames_at(self, times_s: npt.NDArray[np.float64]) -> Iterator[DisplayedFrame]:
        """Yield the frame on display at each of the ascending instants ``times_s``."""
        wanted, repeats = np.unique(self._table.on_display(times_s), return_counts=True)
        for (index, frame), count in zip(self._decode(wanted), repeats.tolist(), strict=True):
            displayed = PyAVFrame(frame, index, self._converter)
            for _ in range(count):
                yield displayed

    def _first_picture(self) -> av.VideoFrame:
        """Decode the first frame; leave out those that need what lies before the file."""
        import av

        table = self._table
        try:
            if not table.is_headless and len(table.good):
                return next(frame for _, frame in self._decode(table.good[:1]))
        except VideoError:
            if not table.lead and not table.sought_by_decoding_time:
                raise
        with suppress(av.InvalidDataError):
            for frame in self._all_frames_from(0, set(), skip=False) if table.lead else ():
                index = int(np.searchsorted(table.pts, frame.pts or 0))
                is_right = self._codec.name in _WAITS or (frame.key_frame and index <= table.lead)
                if is_right and not frame.is_corrupt and index in table.good:
                    self._table = table.without_lead(index)
                    return frame
        # The first key frame itself is damaged, or its group needs more than the file holds.
        if len(table.keys) > 1:
            self._table = table.without_lead(int(table.keys[1]))
            return next(frame for _, frame in self._decode(self._table.good[:1]))
        raise VideoError(f"none of its pictures is whole; record it again ({table.note})")

    def _look_at_doubtful_frames(self) -> None:
        """Decode what may be incomplete; where it is, there is a hole, or the file ends."""
        pts, good = self._table.pts, self._table.good
        for start, stop in self._table.doubtful:
            if self._fails(good[(pts[good] >= start) & (pts[good] < stop)]):
                self._table = self._table.without(start, stop)
        is_unordered = self._container.format.name == "avi" and self._codec.has_b_frames
        if is_unordered and self._fails(np.arange(min(len(pts), _LOOKED_AT))):
            raise VideoError(_NO_TIMES)

    def _fails(self, frames: npt.NDArray[np.int64]) -> bool:
        try:
            return sum(1 for _ in self._decode(frames)) < len(frames)
        except VideoError:
            return True

    def _decode(self, wanted: npt.NDArray[np.int64]) -> Iterator[tuple[int, av.VideoFrame]]:
        """Yield ``(index, frame)`` for each of the rising ``wanted`` indices, or raise."""
        import av

        # Behind a hole it begins anew, at a key frame.
        holes = np.searchsorted([start for start, _ in self._table.holes], self._table.pts[wanted])
        parts = np.split(wanted, np.flatnonzero(np.diff(holes)) + 1)
        for run in (run for part in parts for run in runs(part, self._table.keys)):
            missing, cause = run.tolist(), None
            for attempt, back in enumerate(_ATTEMPTS):
                key = int(np.searchsorted(self._table.keys, missing[0], side="right")) - 1
                try:
                    for frame in self._frames_from(max(key - back, 0), missing, skip=attempt == 0):
                        yield missing.pop(0), frame
                except av.InvalidDataError as error:
                    cause = error
                if not missing:
                    break
            else:
                raise VideoError(
                    f"damaged: the frame at {self._table.times_s[missing[0]]:.3f} s is in the "
                    "index of the file but does not decode"
                ) from cause

    def _frames_from(self, key: int, missing: list[int], *, skip: bool) -> Iterator[av.VideoFrame]:
        """Decode from a key frame on; yield the ``missing`` frames until one does not come."""
        sound = True
        targets = iter(self._table.pts[missing].tolist())
        target = next(targets)
        for frame in self._all_frames_from(key, set(self._table.pts[missing].tolist()), skip=skip):
            # A patched picture spoils what follows it, up to the next key frame.
            sound = not frame.is_corrupt and (sound or frame.key_frame)
            if frame.pts is None or frame.pts < target:
                continue
            if frame.pts > target or not sound:
                return
            yield frame
            following = next(targets, None)
            if following is None:
                return
            target = following

    def _all_frames_from(
        self, key: int, wanted_pts: set[int], *, skip: bool
    ) -> Iterator[av.VideoFrame]:
        """Frames from a key frame on, at least the wanted ones, in presentation order."""
        import av

        codec, table, to_send = self._codec, self._table, len(wanted_pts)
        may_skip = skip and self._can_skip
        start, is_first = int(table.keys[key]) if key else 0, not key and table.lead > 0
        # What builds on nothing in the file may lie before.
        seek_to = int(table.begins_at if is_first else table.seek_to[start])
        if table.clock:
            self._container.seek(seek_to, unsupported_byte_offset=True)
        else:
            self._container.seek(seek_to, stream=self._stream, any_frame=is_first)
        # What is shown before the last key frame that is of use may fail.
        key_pts = table.pts[table.keys]
        place = int(np.searchsorted(key_pts, min(wanted_pts, default=0), side="right")) - 1
        right_from = int(key_pts[max(0, place)])
        has_begun, position = False, 0
        codec.flush_buffers()
        for packet in self._container.demux(self._stream):
            if packet.is_corrupt and table.ends_where_corrupt:  # where the scan stopped too
                break
            if packet.size == 0:  # not in the table either; the last one would drain the codec
                continue
            if table.clock and packet.pts is not None:
                position = max(position, packet.pos or 0)
                packet.pts -= sum(late for since, late in table.clock if since <= position)
            has_begun |= packet.pts is not None and packet.pts >= right_from
            is_wanted = packet.pts in wanted_pts
            codec.skip_frame = "NONREF" if may_skip and not is_wanted else "DEFAULT"
            try:
                yield from codec.decode(packet)
            except av.InvalidDataError:
                # Frames shown before the key frame but stored behind it need what lies before it
                # (an open group of pictures). None is wanted, and none that follows needs them.
                if has_begun and (packet.pts is None or packet.pts >= right_from):
                    raise
            to_send -= is_wanted
            if wanted_pts and not to_send:
                break
        yield from codec.decode(None)


def runs(wanted: npt.NDArray[np.int64], keys: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Split rising frame indices where jumping to a key frame saves decoding.

    Parameters
    ----------
    wanted, keys : ndarray, int64
        Rising indices of the wanted frames and of the key frames.

    Returns
    -------
    list of ndarray, int64
        Their concatenation is ``wanted``. Each group of pictures belongs to one run only.

    Examples
    --------
    >>> [run.tolist() for run in runs(np.array([0, 3, 45, 46, 52]), np.arange(0, 60, 10))]
    [[0, 3], [45, 46, 52]]
    """
    key_before = keys[np.maximum(np.searchsorted(keys, wanted, side="right") - 1, 0)]
    jumps = np.flatnonzero(key_before[1:] - wanted[:-1] > _WORTH_A_SEEK) + 1
    return [run for run in np.split(wanted, jumps) if len(run)]


def _describe(table: FrameTable, first: av.VideoFrame, codec: str) -> VideoInfo:
    rotation_deg, mirrored = orientation_of(first)
    turned = rotation_deg % 180 == 90
    frames = len(table.pts)
    return check_limits(
        VideoInfo(
            duration_s=table.duration_s,
            fps=frames / table.duration_s,
            width_px=first.height if turned else first.width,
            height_px=first.width if turned else first.height,
            frames=frames,
            rotation_deg=rotation_deg,
            mirrored=mirrored,
            codec=codec,
            pixel_format=first.format.name,
            note=table.note,
            holes_s=table.holes_s,
        )
    )
