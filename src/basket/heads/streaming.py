"""A feature set's videos -> one row per video, block by block, so that memory stays bounded."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from basket.cache.feature_set import FeatureSet
from basket.cache.features import RaggedFeatures
from basket.cache.pooled import PooledCache
from basket.errors import CacheError, UsageError
from basket.heads.pooling import Features, Pooling, parse_pooling, prepare
from basket.registry import nearest

BLOCK_BYTES = 32 << 20

Float32 = npt.NDArray[np.float32]


class FeatureSource(Protocol):
    """What pooling needs of a feature set; :class:`~basket.cache.feature_set.FeatureSet` is one."""

    @property
    def name(self) -> str:
        """Folder name, for messages."""

    @property
    def spec(self) -> Any:
        """The :class:`~basket.cache.fingerprint.FeatureSetSpec`."""

    @property
    def video_ids(self) -> Sequence[str]:
        """Ids of the videos that have features."""

    @property
    def failed(self) -> Mapping[str, str]:
        """Ids of the videos that failed, with the reason."""

    def n_segments(self, video_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Segments of each video, (n,)."""

    def segments(self, video_ids: Sequence[str]) -> Mapping[str, npt.NDArray[Any]]:
        """``frames_valid`` among others, of the segments of some videos, one after the other."""

    def stream(
        self, video_ids: Sequence[str], *, stream: str, block_bytes: int
    ) -> Iterator[tuple[Sequence[str], RaggedFeatures]]:
        """Blocks of videos, in any order."""


def pool_feature_set(
    feature_set: FeatureSource,
    video_ids: Sequence[str],
    stream: str,
    pooling: str | Pooling,
    *,
    block_bytes: int = BLOCK_BYTES,
    seconds: dict[str, float] | None = None,
    keep: bool = True,
) -> Features:
    """Pool videos of a feature set, block by block.

    Parameters
    ----------
    feature_set : FeatureSet
        Where the segments are.
    video_ids : sequence of str, (n,)
        Rows of the result, in this order.
    stream : str
        One of the feature set's streams.
    pooling : str or Pooling
        See :mod:`basket.heads.pooling`.
    block_bytes : int
        Size of a block of segments as stored.
    seconds : dict, optional
        Receives the time spent, added to ``read`` (waiting for a block) and ``pool``.
    keep : bool, default=True
        Take the matrix from the cache's folder where it was kept there and its rows are still the
        ones it came from, and keep it there otherwise (:mod:`basket.cache.pooled`).

    Returns
    -------
    ndarray, float32, (n, P), or RaggedFeatures where the pooling keeps segments

    Raises
    ------
    UsageError
        The feature set has no such stream.
    CacheError
        A video has no segments, or the feature set did not deliver one that was asked for.
    """
    parsed = parse_pooling(pooling)
    width = parsed.width(_stream_width(feature_set, stream))
    clock = _Clock(seconds if seconds is not None else {})
    kept = None
    if keep and isinstance(feature_set, FeatureSet) and not parsed.keeps_segments:
        kept = _Kept(feature_set, video_ids, stream, parsed)
        matrix = kept.get()
        clock.add("read")
        if matrix is not None:
            return matrix
    gathered = _Gathered(video_ids, width)
    blocks = _blocks(feature_set, video_ids, stream, block_bytes, parsed.needs_frames_valid)
    for ids, features, valid in _read_ahead(blocks):
        clock.add("read")
        empty = np.flatnonzero(features.lengths == 0)
        if len(empty):
            raise CacheError(
                f"{ids[empty[0]]} has no segments in {feature_set.name}, so it cannot be pooled; "
                "extract it again"
            )
        gathered.add(ids, prepare(features, parsed, frames_valid=valid))
        clock.add("pool")
    if not gathered.seen.all():
        absent = video_ids[int(np.flatnonzero(~gathered.seen)[0])]
        raise CacheError(f"{feature_set.name} did not deliver {absent}; run basket cache verify")
    result = gathered.result(ragged=parsed.keeps_segments)
    if kept is not None and not isinstance(result, RaggedFeatures):
        kept.put(result)
        clock.add("pool")
    return result


_Block = tuple[Sequence[str], RaggedFeatures, npt.NDArray[Any] | None]


def _blocks(
    feature_set: FeatureSource,
    video_ids: Sequence[str],
    stream: str,
    block_bytes: int,
    needs_frames_valid: bool,
) -> Iterator[_Block]:
    """Blocks of videos, with the ``frames_valid`` of their segments where a pooling asks for it."""
    for ids, features in feature_set.stream(
        list(video_ids), stream=stream, block_bytes=block_bytes
    ):
        yield (
            ids,
            features,
            feature_set.segments(ids)["frames_valid"] if needs_frames_valid else None,
        )


def _read_ahead(blocks: Iterator[_Block]) -> Iterator[_Block]:
    """Read the next block while the last one is pooled, one at a time and always in one thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="basket-read") as reader:
        following = reader.submit(next, blocks, None)
        while (block := following.result()) is not None:
            following = reader.submit(next, blocks, None)
            yield block


class _Kept:
    """The matrix that is about to be made, as it lies in the cache's folder or will."""

    def __init__(
        self, feature_set: FeatureSet, video_ids: Sequence[str], stream: str, pooling: Pooling
    ) -> None:
        self._feature_set = feature_set
        self._ids = list(video_ids)
        self._asked: dict[str, Any] = {
            "stream": stream,
            "pooling": str(replace(pooling, subset=None)),
            "segments": None if pooling.subset is None else str(pooling.subset),
        }
        self._places = feature_set.places(self._ids)

    def get(self) -> Float32 | None:
        return PooledCache(self._feature_set).get(self._ids, **self._asked)

    def put(self, matrix: Float32) -> None:
        # Blocks that were read before and after a row moved may not be taken for one state.
        if self._feature_set.places(self._ids) == self._places:
            PooledCache(self._feature_set).put(matrix, self._ids, **self._asked)


class _Gathered:
    """Blocks in any order -> rows in the order asked for."""

    def __init__(self, video_ids: Sequence[str], width: int) -> None:
        self._row_of = {video_id: row for row, video_id in enumerate(video_ids)}
        self._width = width
        self._rows: Float32 | None = None
        self._blocks: list[RaggedFeatures] = []
        self._order: list[int] = []
        self.seen = np.zeros(len(video_ids), dtype=bool)

    def add(self, ids: Sequence[str], block: Features) -> None:
        rows = [self._row_of[video_id] for video_id in ids]
        self.seen[rows] = True
        if isinstance(block, RaggedFeatures):
            self._blocks.append(block)
            self._order += rows
            return
        if self._rows is None:
            self._rows = np.empty((len(self.seen), self._width), dtype=np.float32)
        self._rows[rows] = block

    def result(self, *, ragged: bool) -> Features:
        if not ragged:
            return np.empty((0, self._width), np.float32) if self._rows is None else self._rows
        values = [np.zeros((0, self._width), np.float16), *(each.values for each in self._blocks)]
        lengths = [np.zeros(1, np.int64), *(each.lengths for each in self._blocks)]
        together = RaggedFeatures(np.concatenate(values), np.cumsum(np.concatenate(lengths)))
        return together.take(np.argsort(self._order))


def _stream_width(feature_set: FeatureSource, stream: str) -> int:
    streams: Mapping[str, int] = feature_set.spec.streams
    if stream not in streams:
        hint = nearest(stream, list(streams))
        raise UsageError(
            f"{feature_set.name} has no stream {stream!r}{hint or '.'} It has: {', '.join(streams)}"
        )
    return int(streams[stream])


class _Clock:
    """Adds the time since the last call to a named total."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.seconds = seconds
        self._last = time.perf_counter()

    def add(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now
