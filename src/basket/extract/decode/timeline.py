"""From packets to the frames of a file: their order and times, and which of them are spoiled.

Pure arithmetic on what the packets say, so that hand-written tables can test it. Recordings are
mended here: a clock that jumps goes on where it was, and what builds on lost data is not used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode.base import SLACK_S

#: A clock that may jump has jumped where it leaves out more than this, or goes back by this much;
#: the ``ffmpeg`` program has the same limits.
_JUMP_S, _JUMP_BACK_S = 10.0, 0.1

#: The clocks of transport and program streams begin again at this many ticks.
_WRAP = 1 << 33

#: A step of more than so many usual ones has room for a lost picture.
_GAP = 1.9

CUT = "truncated: the file ends inside a frame"
_TOLD = 8  # spans and jumps that a note lists


class Packet(NamedTuple):
    """What is known of a frame before it is decoded; times in ticks, ``position`` in bytes."""

    pts: int | None
    dts: int | None
    ticks: int
    is_key: bool
    position: int


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
    remarks : tuple of str
        What a person should know: ``truncated: ...`` where the container promises more than the
        file has, a clock that jumps, pictures that were left out at the start.
    sought_by_decoding_time : bool
        The file is a transport or program stream: no index, frames are searched for.
    holes : tuple of (int, int)
        Half-open spans, in ticks, whose pictures are spoiled: data are missing there, or what they
        build on is.
    doubtful : tuple of (int, int)
        Spans that are holes unless their frames decode.
    clock : tuple of (int, int)
        Where the clock jumps: the position in the file, and the ticks by which everything behind
        it is late. ``pts`` are without these jumps; ``seek_to`` then are positions in the file.
    lead : int
        So many frames at the start of the file may build on what lies before it.
    begins_at : int
        Where the packets begin: as in ``seek_to``.
    is_headless : bool
        The file begins between key frames.
    without_time : int
        Packets without a timestamp before the first key frame; they are not in the table.
    last_stored : int or None
        Timestamp of the frame that is stored last, where the container records nothing of its end.
    ends_where_corrupt : bool
        A packet that FFmpeg marks as corrupt is the end of the file.
    """

    pts: npt.NDArray[np.int64]
    is_key: npt.NDArray[np.bool_]
    seek_to: npt.NDArray[np.int64]
    seconds_per_tick: float
    duration_s: float
    remarks: tuple[str, ...] = ()
    sought_by_decoding_time: bool = False
    holes: tuple[tuple[int, int], ...] = ()
    doubtful: tuple[tuple[int, int], ...] = ()
    clock: tuple[tuple[int, int], ...] = ()
    lead: int = 0
    begins_at: int = 0
    is_headless: bool = False
    without_time: int = 0
    last_stored: int | None = None
    ends_where_corrupt: bool = False

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

    @cached_property
    def good(self) -> npt.NDArray[np.int64]:
        """Indices of the frames that are not spoiled, rising."""
        is_good = np.ones(len(self.pts), dtype=np.bool_)
        for start, stop in self.holes:
            is_good &= (self.pts < start) | (self.pts >= stop)
        return np.flatnonzero(is_good)

    @property
    def holes_s(self) -> tuple[tuple[float, float], ...]:
        """The holes in seconds from the first frame, half-open."""
        spans = (np.array(self.holes).reshape(-1, 2) - self.pts[0]) * self.seconds_per_tick
        spans = np.clip(spans, 0.0, self.duration_s)
        return tuple((start, stop) for start, stop in spans.tolist() if start < stop)

    @property
    def note(self) -> str:
        """What a person should know; empty where all is well."""
        spans = [f"{start:.2f}-{stop:.2f}" for start, stop in self.holes_s]
        more = f" and {len(spans) - _TOLD} more" if len(spans) > _TOLD else ""
        told = f"{', '.join(spans[:_TOLD])} s{more}"
        hole = f"the pictures at {told} are spoiled and not used: data are missing"
        return "; ".join([*self.remarks, hole] if spans else self.remarks)

    @property
    def is_mended(self) -> bool:
        """Whether holes, jumps of the clock or a start between key frames were found.

        basket 0.1 read such files otherwise.
        """
        return bool(self.holes or self.doubtful or self.clock or self.is_headless)

    @property
    def doubtful_spans(self) -> tuple[tuple[int, int], ...]:
        """What must be decoded before it is believed: spans in ticks, half-open."""
        if self.last_stored is None:
            return self.doubtful
        later = self.pts[self.pts > self.last_stored]
        stop = int(later[0]) if len(later) else self.last_stored + 1
        return (*self.doubtful, (self.last_stored, stop))

    def late_at(self, position: int) -> int:
        """Ticks by which the clock is late at a position of the file, for all its jumps."""
        return sum(ticks for since, ticks in self.clock if since <= position)

    def without(self, start: int, stop: int) -> FrameTable:
        """The table with a further hole; one at the end is no hole, the file is cut off there."""
        if stop > self.pts[-1]:
            return self._kept(0, int(np.searchsorted(self.pts, start)), CUT)
        return replace(self, holes=tuple(sorted({*self.holes, (start, stop)})))

    def without_lead(self, first: int) -> FrameTable:
        """The table from a frame on; what is shown before it builds on what the file lacks."""
        count = first + self.without_time
        what = f"{count} packets before its first picture are left out: they build on what the "
        return self._kept(first, len(self.pts), what + "file does not hold") if count else self

    def _kept(self, start: int, stop: int, remark: str) -> FrameTable:
        ends_s = self.times_s[stop] if stop < len(self.pts) else self.duration_s
        return replace(
            self,
            pts=self.pts[start:stop],
            is_key=self.is_key[start:stop],
            seek_to=self.seek_to[start:stop],
            duration_s=float(ends_s - self.times_s[start]),
            remarks=(*self.remarks, remark),
        )

    def on_display(self, times_s: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        """Index of the frame on display at each instant; before the first frame, the first.

        In a hole, the nearest frame that is not spoiled.

        Raises
        ------
        ValueError
            The instants do not ascend.
        """
        instants = np.asarray(times_s, dtype=np.float64)
        if bool((np.diff(instants) < 0).any()):
            raise ValueError("times_s must be ascending")
        shown = np.maximum(np.searchsorted(self.times_s, instants + SLACK_S, side="right") - 1, 0)
        if len(self.good) == len(self.pts):
            return shown
        good_s = self.times_s[self.good]
        nearest = self.good[np.searchsorted((good_s[1:] + good_s[:-1]) / 2, instants)]
        return np.where(np.isin(shown, self.good), shown, nearest)


def lay_out(
    packets: Sequence[Packet],
    lost: Sequence[int],
    time_base: Fraction,
    *,
    rate: Fraction | None,
    recorder: str = "",
) -> FrameTable:
    """Put packets into the order of display, with what is known of jumps and holes.

    Parameters
    ----------
    packets : sequence of Packet
        In the order in which they are stored and decoded; at least one.
    lost : sequence of int
        Packets that may be incomplete, and behind which others may be missing.
    time_base : Fraction
        Seconds per tick.
    rate : Fraction or None
        Frames per second, as the container says.
    recorder : str
        Name of the container if it is one whose clock may jump; else empty.

    Raises
    ------
    VideoError
        Frames without timestamps, or two with the same one.
    """
    tick_s, by_dts = float(time_base), recorder in ("mpegts", "mpeg")
    is_key = np.array([packet.is_key for packet in packets], dtype=np.bool_)
    is_timed = np.array([packet.pts is not None for packet in packets], dtype=np.bool_)
    pts, dts = np.array([_times(packet) for packet in packets], dtype=np.int64).T.copy()
    jumps = _jumps(dts, tick_s) if recorder else {}
    for index, ticks in jumps.items():
        pts[index:] -= ticks
        dts[index:] -= ticks
    if recorder == "mpeg":  # nothing in it counts packets: what is lost shows in its times alone
        lost = [*lost, *_gaps(pts, dts)]
    is_spoiled, doubtful, behind = _spoiled(pts, is_key, lost, jumps)
    first_key = int(np.argmax(is_key))
    is_left_out = ~is_timed & (is_spoiled | (np.arange(len(pts)) < first_key))
    if bool((~is_timed & ~is_left_out).any()):
        raise VideoError("its frames carry no timestamps; remux it (ffmpeg -i in out.mp4)")
    order = np.lexsort((is_spoiled, pts))
    order = order[~is_left_out[order]]
    is_twin = np.append(False, np.diff(pts[order]) == 0) & is_spoiled[order]
    order = order[~is_twin]
    shown = pts[order]
    if bool((np.diff(shown) <= 0).any()):
        raise VideoError("two of its frames have the same timestamp; re-encode it")
    last_ticks = _last_duration(shown, packets[order[-1]].ticks, rate, time_base)
    position = np.array([packet.position for packet in packets], dtype=np.int64)
    seek_to = position if jumps else dts if by_dts else pts
    return FrameTable(
        pts=shown,
        is_key=is_key[order],
        seek_to=seek_to[order],
        seconds_per_tick=tick_s,
        duration_s=float(shown[-1] - shown[0] + last_ticks) * tick_s,
        remarks=_jumps_told(jumps, pts - shown[0], tick_s),
        sought_by_decoding_time=by_dts,
        holes=_holes(shown, is_spoiled[order], pts[behind], int(shown[-1] + last_ticks)),
        doubtful=tuple((int(pts[one]), int(pts[one + 1])) for one in doubtful),
        clock=tuple((packets[index].position, ticks) for index, ticks in jumps.items()),
        lead=int(np.searchsorted(shown, pts[first_key])) if is_key.any() else 0,
        begins_at=int((position if jumps else dts).min()),
        without_time=int(is_left_out[:first_key].sum()),
        last_stored=int(pts[-1]),
    )


def _times(packet: Packet) -> tuple[int, int]:
    """Of display and of decoding, each standing in for the other where that is unknown."""
    pts = packet.dts if packet.pts is None else packet.pts
    dts = packet.pts if packet.dts is None else packet.dts
    return pts or 0, dts or 0


def _jumps(dts: npt.NDArray[np.int64], tick_s: float) -> dict[int, int]:
    """Packets before which the clock jumps, and by how many ticks."""
    steps = np.diff(dts)
    at = np.flatnonzero((steps > _JUMP_S / tick_s) | (steps < -_JUMP_BACK_S / tick_s))
    return {int(each) + 1: int(steps[each] - np.median(steps)) for each in at}


def _jumps_told(
    jumps: Mapping[int, int], since: npt.NDArray[np.int64], tick_s: float
) -> tuple[str, ...]:
    told = [
        f"by {((ticks + _WRAP // 2) % _WRAP - _WRAP // 2) * tick_s:+.1f} s "
        f"at {since[index] * tick_s:.2f} s"
        for index, ticks in jumps.items()
    ]
    more = f" and {len(told) - _TOLD} times more" if len(told) > _TOLD else ""
    return (f"its clock jumps {', '.join(told[:_TOLD])}{more}",) if told else ()


def _gaps(pts: npt.NDArray[np.int64], dts: npt.NDArray[np.int64]) -> list[int]:
    """Packets behind which there is room for lost ones, or that bear a time from behind it."""
    steps, faults = np.diff(dts), set[int]()
    for last in np.flatnonzero(steps > _GAP * np.median(steps)).tolist():
        middle = (dts[last] + dts[last + 1]) // 2
        faults |= {last, *(each for each in range(max(0, last - 3), last) if pts[each] > middle)}
    return sorted(faults)


def _spoiled(
    pts: npt.NDArray[np.int64],
    is_key: npt.NDArray[np.bool_],
    lost: Sequence[int],
    joints: Collection[int],
) -> tuple[npt.NDArray[np.bool_], list[int], list[int]]:
    """What must not be used: everything from a fault to the next key frame, in stored order.

    Returns
    -------
    is_spoiled : ndarray, bool
    doubtful : list of int
        Packets that are spoiled only if they do not decode: a key frame stands right behind, so
        that all that was lost may lie between them, or nothing, where two recordings were joined.
    behind : list of int
        The key frames behind the faults.
    """
    count, keys = len(pts), [*np.flatnonzero(is_key).tolist(), len(pts), len(pts)]
    is_spoiled, doubtful, behind = np.zeros(count, dtype=np.bool_), [], []
    for fault in sorted({*lost, *joints} - {count}):
        place = int(np.searchsorted(keys, fault, side="right" if fault in lost else "left"))
        key, following = keys[place], keys[place + 1]
        behind += [key] if key < count else []
        if key == fault + 1 and fault in lost:
            doubtful += [fault] if key < count else []  # the last one is looked at in any case
            continue
        is_spoiled[fault:key] = True
        # What is shown before a key frame but stored behind it builds on both sides.
        is_spoiled[key:following] |= pts[key:following] < pts[min(key, count - 1)]
    return is_spoiled, doubtful, behind


def _holes(
    shown: npt.NDArray[np.int64],
    is_spoiled: npt.NDArray[np.bool_],
    behind: npt.NDArray[np.int64],
    end: int,
) -> tuple[tuple[int, int], ...]:
    """Half-open spans of spoiled frames, and of frames that are missing before a key frame."""
    usual = float(np.median(np.diff(shown))) if len(shown) > 1 else 0.0
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_spoiled, [False]))))
    spans = edges.reshape(-1, 2).tolist()
    places = np.searchsorted(shown, behind).tolist()
    spans += [[place, place] for place in places if place and not is_spoiled[place - 1]]
    holes, stops = list[tuple[int, int]](), [*shown.tolist(), end]
    for first, stop in spans:
        start = stops[first]
        if first and start - stops[first - 1] > _GAP * usual:
            start = stops[first - 1] + int(usual)
        if start < stops[stop]:
            holes.append((start, stops[stop]))
    return tuple(sorted(holes))


def _last_duration(
    pts: npt.NDArray[np.int64], packet_duration: int, rate: Fraction | None, time_base: Fraction
) -> float:
    """How long the last frame is shown, in ticks: its packet's word, else the usual distance."""
    if packet_duration > 0:
        return float(packet_duration)
    if len(pts) > 1:
        return float(np.median(np.diff(pts)))
    return float(1 / (rate * time_base)) if rate and time_base else 1.0
