"""From packets to the frames of a file: their order and times, and which of them are spoiled.

Pure arithmetic on what the packets say, so that hand-written tables can test it. Recordings are
mended here: a clock that jumps goes on where it was, and what builds on lost data is not used.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

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
        Spans that are holes unless their frames decode; the last one is that of the frame stored
        last, where the container records nothing of its end.
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
    ends_where_corrupt: bool = False

    @cached_property
    def times_s(self) -> npt.NDArray[np.float64]:
        """Timestamps from the first frame, in seconds."""
        return np.asarray((self.pts - self.pts[0]) * self.seconds_per_tick, dtype=np.float64)

    @cached_property
    def keys(self) -> npt.NDArray[np.int64]:
        """Indices of the key frames, rising; the first frame where none is known."""
        return np.flatnonzero(self.is_key) if self.is_key.any() else np.zeros(1, np.int64)

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
        spans = _some([f"{start:.2f}-{stop:.2f}" for start, stop in self.holes_s])
        hole = f"the pictures at {spans} s are spoiled and not used: data are missing"
        return "; ".join([*self.remarks, hole] if spans else self.remarks)

    @property
    def is_mended(self) -> bool:
        """Whether holes, jumps of the clock or a start between key frames were found.

        basket 0.1 read such files otherwise.
        """
        return bool(self.holes or self.clock or self.is_headless or self.doubtful[1:])

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
    packets: Sequence[tuple[int, ...]],
    lost: Sequence[int],
    time_base: Fraction,
    *,
    rate: Fraction | None,
    recorder: str = "",
) -> FrameTable:
    """Put packets into the order of display, with what is known of jumps and holes.

    Parameters
    ----------
    packets : sequence of tuple of int
        In the order in which they are stored and decoded: times of display and of decoding, the
        duration, all in ticks; whether it is a key frame; the position in the file; and whether it
        has a time of display.
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
    pts, dts, ticks, is_key, position, is_timed = np.array(packets, dtype=np.int64).T.copy()
    jumps = _jumps(dts, tick_s) if recorder else {}
    for index, late in jumps.items():
        pts[index:] -= late
        dts[index:] -= late
    gaps = _gaps(dts)
    if recorder == "mpeg":  # nothing in it counts packets: what is lost shows in its times alone
        middles = [(last, (dts[last] + dts[last + 1]) // 2) for last in gaps]
        # A packet may bear a time from behind the gap.
        before = [(at, each) for at, each in middles for at in range(max(0, at - 3), at + 1)]
        lost = [*lost, *gaps, *(at for at, middle in before if pts[at] > middle)]
    is_spoiled, doubtful = _spoiled(pts, is_key, set(lost), jumps, gaps)
    first_key = int(np.argmax(is_key))
    is_left_out = (is_timed == 0) & (is_spoiled | (np.arange(len(pts)) < first_key))
    if bool(((is_timed == 0) & ~is_left_out).any()):
        raise VideoError("its frames carry no timestamps; remux it (ffmpeg -i in out.mp4)")
    order = np.lexsort((is_spoiled, pts))
    order = order[~is_left_out[order]]
    order = order[~(np.append(False, np.diff(pts[order]) == 0) & is_spoiled[order])]
    shown = pts[order]
    if bool((np.diff(shown) <= 0).any()):
        raise VideoError("two of its frames have the same timestamp; re-encode it")
    last_ticks = _last_duration(shown, int(ticks[order[-1]]), rate, time_base)
    ends = np.append(shown[1:], int(shown[-1] + last_ticks))
    seek_to = position if jumps else dts if by_dts else pts
    return FrameTable(
        pts=shown,
        is_key=(is_key > 0)[order] & ~is_spoiled[order],
        seek_to=seek_to[order],
        seconds_per_tick=tick_s,
        duration_s=float(shown[-1] - shown[0] + last_ticks) * tick_s,
        remarks=_jumps_told(jumps, pts - shown[0], tick_s),
        sought_by_decoding_time=by_dts,
        holes=_holes(shown, is_spoiled[order], ends),
        doubtful=(
            *((int(pts[one]), int(pts[one + 1])) for one in doubtful),
            (int(pts[-1]), int(ends[np.searchsorted(shown, pts[-1])])),
        ),
        clock=tuple((int(position[index]), late) for index, late in jumps.items()),
        lead=int(np.searchsorted(shown, pts[first_key])) if is_key.any() else 0,
        begins_at=int((position if jumps else dts).min()),
        without_time=int(is_left_out[:first_key].sum()),
    )


def _jumps(dts: npt.NDArray[np.int64], tick_s: float) -> dict[int, int]:
    """Packets before which the clock jumps, and by how many ticks."""
    steps = np.diff(dts)
    at = np.flatnonzero((steps > _JUMP_S / tick_s) | (steps < -_JUMP_BACK_S / tick_s))
    return {int(each) + 1: int(steps[each] - np.median(steps)) for each in at}


def _jumps_told(
    jumps: Mapping[int, int], since: npt.NDArray[np.int64], tick_s: float
) -> tuple[str, ...]:
    by_s = [((late + _WRAP // 2) % _WRAP - _WRAP // 2) * tick_s for late in jumps.values()]
    at_s = [since[index] * tick_s for index in jumps]
    told = [f"by {by:+.1f} s at {at:.2f} s" for by, at in zip(by_s, at_s, strict=True)]
    return (f"its clock jumps {_some(told)}",) if told else ()


def _some(told: Sequence[str]) -> str:
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more


def _gaps(dts: npt.NDArray[np.int64]) -> list[int]:
    """Packets behind which there is room for lost ones."""
    steps = np.diff(dts)
    return [int(each) for each in np.flatnonzero(steps > _GAP * np.median(steps))]


def _spoiled(
    pts: npt.NDArray[np.int64],
    is_key: npt.NDArray[np.int64],
    lost: Collection[int],
    joints: Collection[int],
    gaps: Collection[int],
) -> tuple[npt.NDArray[np.bool_], list[int]]:
    """What must not be used: everything from a fault to the next key frame, in stored order.

    Returns
    -------
    is_spoiled : ndarray, bool
    doubtful : list of int
        Packets that are spoiled only if they do not decode: a key frame follows at once, so that
        nothing may be lost, as where two recordings were joined.
    """
    count, keys = len(pts), [*np.flatnonzero(is_key).tolist(), len(pts), len(pts)]
    is_spoiled, doubtful = np.zeros(count, dtype=np.bool_), []
    for fault in sorted({*lost, *joints} - {count}):
        place = int(np.searchsorted(keys, fault, side="right" if fault in lost else "left"))
        key, following = keys[place], keys[place + 1]
        if fault in lost and key == fault + 1 and fault not in gaps:
            doubtful += [fault] if key < count else []  # the last one is looked at in any case
            continue
        is_spoiled[fault:key] = True
        # What is shown before a key frame but stored behind it builds on both sides.
        is_spoiled[key:following] |= pts[key:following] < pts[min(key, count - 1)]
    return is_spoiled, doubtful


def _holes(
    shown: npt.NDArray[np.int64], is_spoiled: npt.NDArray[np.bool_], ends: npt.NDArray[np.int64]
) -> tuple[tuple[int, int], ...]:
    """Half-open spans of spoiled frames, from where the good one before them would end."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], is_spoiled, [False]))))
    usual = int(np.median(ends - shown))
    return tuple(
        (
            int(min(shown[first], shown[first - 1] + usual) if first else shown[0]),
            int(ends[stop - 1]),
        )
        for first, stop in edges.reshape(-1, 2)
    )


def _last_duration(
    pts: npt.NDArray[np.int64], packet_duration: int, rate: Fraction | None, time_base: Fraction
) -> float:
    """How long the last frame is shown, in ticks: its packet's word, else the usual distance."""
    if packet_duration > 0:
        return float(packet_duration)
    if len(pts) > 1:
        return float(np.median(np.diff(pts)))
    return float(1 / (rate * time_base)) if rate and time_base else 1.0
