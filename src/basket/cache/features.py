"""What a cache holds, as plain arrays: features of one video, and of many side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class VideoFeatures:
    """Features of the S segments of one video, for one feature set.

    Parameters
    ----------
    features : mapping of str to ndarray, float16 or float32, (S, D)
        One matrix per stream (``pooled``, ``layer-4``, ``pooled@2``, ...).
    start_s, end_s : ndarray, float64, (S,)
        Half-open spans ``[start_s, end_s)`` in seconds from the first frame.
    frames_valid : ndarray, int32, (S,)
        Frames of the clip that were really in the video; the rest repeat its last frame.
    """

    features: Mapping[str, FloatArray]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    frames_valid: npt.NDArray[np.int32]

    @property
    def n_segments(self) -> int:
        """How many segments the video has."""
        return len(self.start_s)


Status = Literal["ok", "failed"]


@dataclass(frozen=True)
class VideoRow:
    """One video as it stands in a shard: what was done with it, and from which source file.

    Parameters
    ----------
    video_id : str
        The path relative to the video root, with forward slashes.
    status : {"ok", "failed"}
        A failed video is a row too, so that it is counted and not tried for ever.
    reason : str
        Why it failed, in one sentence; empty when ok.
    attempts : int
        How often it was tried, this time included.
    source_bytes, source_mtime_ns : int
        Size and modification time of the source file, by which a replaced video is noticed
        (-1 where the file was not there).
    duration_s, fps : float
    width_px, height_px : int
        What the decoder said of the file (0 when it could not be opened).
    provenance : mapping
        How the features came about without being part of their identity: decoder and its version,
        device, precision, package versions, time.
    """

    video_id: str
    status: Status = "ok"
    reason: str = ""
    attempts: int = 1
    source_bytes: int = -1
    source_mtime_ns: int = -1
    duration_s: float = 0.0
    fps: float = 0.0
    width_px: int = 0
    height_px: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RaggedFeatures:
    """Segments of n videos in one matrix, with the offsets that cut it into videos.

    Parameters
    ----------
    values : ndarray, floating, (total, D)
        Segment embeddings, video after video.
    offsets : ndarray, int64, (n + 1,)
        Video i owns rows ``offsets[i]:offsets[i + 1]`` (possibly none).

    Examples
    --------
    >>> import numpy as np
    >>> ragged = RaggedFeatures(np.arange(6.0).reshape(3, 2), np.array([0, 1, 3]))
    >>> len(ragged), ragged.lengths.tolist(), ragged[1].tolist()
    (2, [1, 2], [[2.0, 3.0], [4.0, 5.0]])
    """

    values: FloatArray
    offsets: npt.NDArray[np.int64]

    def __post_init__(self) -> None:
        offsets = self.offsets
        if (
            self.values.ndim != 2
            or offsets.ndim != 1
            or len(offsets) < 1
            or offsets[0] != 0
            or offsets[-1] != len(self.values)
            or bool((np.diff(offsets) < 0).any())
        ):
            raise ValueError(
                f"offsets must rise from 0 to the number of rows; got values {self.values.shape} "
                f"and offsets of shape {offsets.shape}"
            )

    @classmethod
    def from_list(cls, videos: list[FloatArray]) -> RaggedFeatures:
        """Join per-video matrices ``(S_i, D)``; at least one, so that D is known."""
        lengths = np.array([len(video) for video in videos], dtype=np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        return cls(np.concatenate(videos, axis=0), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> FloatArray:
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def __iter__(self) -> Iterator[FloatArray]:
        return (self[index] for index in range(len(self)))

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """Segments per video, int64, (n,)."""
        return np.diff(self.offsets)

    @property
    def dim(self) -> int:
        """Columns of ``values``."""
        return int(self.values.shape[1])

    def take(self, indices: npt.ArrayLike) -> RaggedFeatures:
        """The videos at ``indices``, in that order, as a new ragged matrix."""
        chosen = np.asarray(indices, dtype=np.int64)
        lengths = self.lengths[chosen]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        rows = np.repeat(self.offsets[chosen] - offsets[:-1], lengths) + np.arange(offsets[-1])
        return RaggedFeatures(self.values[rows], offsets)
