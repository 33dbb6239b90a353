"""Which spans of a video become segments, and which instants of them become frames.

Pure arithmetic in seconds: nothing here opens a file, so hand-written tables can test it. Spans are
half-open, ``[start_s, end_s)``. Time 0 is the first frame's timestamp.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError

#: 64 frames at 30 fps: what VideoMAE's 16 frames with stride 4 cover in training.
DEFAULT_WINDOW_S = 64 / 30

Crop = Literal["center", "squash", "three"]
Align = Literal["exact", "keyframe"]


@dataclass(frozen=True)
class Segment:
    """A half-open span ``[start_s, end_s)`` of a video, in seconds from its first frame."""

    start_s: float
    end_s: float


@dataclass(frozen=True)
class SegmentPlan:
    """How a video is cut into segments.

    Parameters
    ----------
    count : int or None, default=None
        None is the dense plan: a segment every ``window_s``, a tail of at least half a window kept.
        N is N segments whose starts are spread evenly, ``linspace(0, duration - window, N)``.
    window_s : float, default=64/30
        Length of a segment, in seconds. The window is the unit of time: backbones that want
        different numbers of frames still describe the same segments.
    align : {"exact", "keyframe"}, default="exact"
        Whether starts move to the nearest key frame (fast, but samples the beginnings of plays).
        Number and order stay as planned, so where key frames are further apart than windows,
        neighbouring segments are the same one: row i is always the i-th planned window.
    scales : tuple of int, default=(1,)
        Also look at windows k times as long around the same centre.
    crop : {"center", "squash", "three"}, default="center"
        ``center``: the checkpoint's own (shorter side, then centre). ``squash``: the whole frame.
        ``three``: left, centre and right, features averaged.

    Examples
    --------
    >>> [segment.start_s for segment in SegmentPlan(window_s=2.0).segments(5.1)]
    [0.0, 2.0, 4.0]
    >>> [segment.start_s for segment in SegmentPlan(count=3, window_s=2.0).segments(6.0)]
    [0.0, 2.0, 4.0]
    """

    count: int | None = None
    window_s: float = DEFAULT_WINDOW_S
    align: Align = "exact"
    scales: tuple[int, ...] = (1,)
    crop: Crop = "center"

    def __post_init__(self) -> None:
        if self.count is not None and self.count < 1:
            raise UsageError(f"--segments must be 'dense' or at least 1, got {self.count}")
        if not (math.isfinite(self.window_s) and 0.05 <= self.window_s <= 3600):
            raise UsageError(f"--window must be 0.05 to 3600 seconds, got {self.window_s}")
        if not self.scales or any(scale < 1 for scale in self.scales):
            raise UsageError(f"--scales must be whole numbers from 1, got {self.scales}")
        if len(set(self.scales)) != len(self.scales):
            raise UsageError(f"--scales names one scale twice: {self.scales}")

    def segments(
        self, duration_s: float, *, keyframes_s: npt.ArrayLike | None = None
    ) -> list[Segment]:
        """Cut a video of ``duration_s`` seconds; at least one segment, however short the video.

        Dense segments may end after the video does (a kept tail); the frames that are missing there
        repeat the last one and are not counted as valid.

        Parameters
        ----------
        duration_s : float
        keyframes_s : array-like, float64, (k,), optional
            Timestamps of the key frames, rising; needed by ``align="keyframe"`` and by that alone.

        Raises
        ------
        ValueError
            The plan is aligned and no key frames were given.
        """
        starts_s = self.planned_starts_s(duration_s)
        if self.align == "keyframe" and len(starts_s):
            if keyframes_s is None:
                raise ValueError("a plan aligned to key frames needs keyframes_s")
            fits = max(0.0, duration_s - self.window_s / 2)
            starts_s = _nearest(starts_s, np.asarray(keyframes_s, dtype=np.float64), at_most=fits)
        return [Segment(float(start), float(start + self.window_s)) for start in starts_s]

    def planned_starts_s(self, duration_s: float) -> npt.NDArray[np.float64]:
        """Where segments start before any alignment: as many as there will be segments.

        Returns
        -------
        ndarray, float64, (segments,)
            Seconds, never falling; empty for a video without duration.
        """
        if not duration_s > 0:
            return np.empty(0, dtype=np.float64)
        if self.count is not None:
            last_start = max(0.0, duration_s - self.window_s)
            return np.linspace(0.0, last_start, self.count, dtype=np.float64)
        whole = int(duration_s / self.window_s + 1e-9)
        tail_s = duration_s - whole * self.window_s
        keeps_tail = whole == 0 or tail_s >= self.window_s / 2 - 1e-9
        return np.arange(whole + int(keeps_tail), dtype=np.float64) * self.window_s

    @property
    def name(self) -> str:
        """Short name for folders: ``dense``, ``n32``, ``dense-w4``, ``n8-squash-x1-2``."""
        parts = ["dense" if self.count is None else f"n{self.count}"]
        if self.window_s != DEFAULT_WINDOW_S:
            parts.append(f"w{self.window_s:.4g}".replace(".", "_"))
        if self.align != "exact":
            parts.append(self.align)
        if self.crop != "center":
            parts.append(self.crop)
        if self.scales != (1,):
            parts.append("x" + "-".join(map(str, self.scales)))
        return "-".join(parts)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values for :class:`~basket.cache.fingerprint.FeatureSetSpec`."""
        return {"name": self.name, **asdict(self), "scales": list(self.scales)}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> SegmentPlan:
        """Restore what :meth:`to_json` wrote."""
        values = {key: value for key, value in document.items() if key != "name"}
        return cls(**{**values, "scales": tuple(values["scales"])})


def _nearest(
    starts_s: npt.NDArray[np.float64], keyframes_s: npt.NDArray[np.float64], *, at_most: float
) -> npt.NDArray[np.float64]:
    """Each start moved to the nearest key frame, the earlier one of two as near.

    Only key frames up to ``at_most`` are taken, so that at least half a window lies in the video,
    as for a dense tail; and 0, because every file can be decoded from its first frame.
    """
    allowed = np.union1d([0.0], keyframes_s[(keyframes_s >= 0) & (keyframes_s <= at_most)])
    after = np.minimum(np.searchsorted(allowed, starts_s), len(allowed) - 1)
    before = np.maximum(after - 1, 0)
    takes_earlier = starts_s - allowed[before] <= allowed[after] - starts_s
    return np.where(takes_earlier, allowed[before], allowed[after])


def frame_times(
    segment: Segment, n_frames: int, *, duration_s: float, scale: int = 1
) -> npt.NDArray[np.float64]:
    """Instants at which a backbone with ``n_frames`` frames looks at a segment.

    Parameters
    ----------
    segment : Segment
    n_frames : int
        T, the frames of one clip.
    duration_s : float
        The window at a scale above 1 is shifted to fit into ``[0, duration_s)``, as far as it can.
    scale : int, default=1
        k: a window k times as long around the same centre.

    Returns
    -------
    ndarray, float64, (n_frames,)
        ``start + j * k * window / T``; ascending. Instants past the end are the decoder's to clamp.

    Examples
    --------
    >>> frame_times(Segment(2.0, 4.0), 4, duration_s=10.0).tolist()
    [2.0, 2.5, 3.0, 3.5]
    >>> frame_times(Segment(0.0, 2.0), 4, duration_s=10.0, scale=2).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    window_s = segment.end_s - segment.start_s
    start_s = segment.start_s
    if scale != 1:
        longer_s = scale * window_s
        centre_s = (segment.start_s + segment.end_s) / 2
        start_s = max(0.0, min(centre_s - longer_s / 2, duration_s - longer_s))
        window_s = longer_s
    return start_s + np.arange(n_frames, dtype=np.float64) * (window_s / n_frames)
