"""Segments of a video -> one row per video, or the segments themselves for heads that take them.

A pooling reads ``mean+std+top4/every:2``: terms side by side, then which segments take part.
``segments`` instead of terms keeps the segments. Several feature sets may be pooled differently:
``mean+std,pyramid`` has one pooling for each, in their order. A video without segments has no
pooled row, and saying so is an error: nothing is filled in.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.errors import CacheError, UsageError
from basket.heads.pooling_terms import Block, Term, parse_term
from basket.heads.subsets import Subset, parse_subset
from basket.registry import nearest

BLOCK_BYTES = 64 * 2**20

#: Instead of terms: the head gets the segments.
SEGMENTS = "segments"

Float32 = npt.NDArray[np.float32]
Features = Float32 | RaggedFeatures


class FeatureSource(Protocol):
    """What pooling needs of a feature set; :class:`basket.cache.store.FeatureSet` is one."""

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

    def read(self, video_id: str) -> Any:
        """:class:`~basket.cache.features.VideoFeatures` of one video."""

    def stream(
        self, video_ids: Sequence[str], *, stream: str, block_bytes: int
    ) -> Iterator[tuple[Sequence[str], RaggedFeatures]]:
        """Blocks of videos, in any order."""


@dataclass(frozen=True)
class Pooling:
    """A parsed pooling: its terms, whose columns stand side by side in this order.

    Parameters
    ----------
    terms : tuple of Term
        None of them: the segments are kept.
    subset : Subset, optional
        Which segments take part; all without it.
    """

    terms: tuple[Term, ...]
    subset: Subset | None = None

    def __str__(self) -> str:
        text = "+".join(term.name for term in self.terms) or SEGMENTS
        return text if self.subset is None else f"{text}/{self.subset}"

    @property
    def keeps_segments(self) -> bool:
        """Whether the result is ragged."""
        return not self.terms

    @property
    def needs_frames_valid(self) -> bool:
        """Whether a term weighs segments by their real frames."""
        return any(term.family == "valid" for term in self.terms)

    def width(self, dim: int) -> int:
        """Columns of the result for streams of ``dim`` columns.

        >>> parse_pooling("mean+std").width(768)
        1536
        """
        return dim * sum(term.repeats for term in self.terms) if self.terms else dim


def parse_pooling(text: str | Pooling) -> Pooling:
    """Parse ``mean+std``, ``top4+q90/first:32`` or ``segments``.

    Raises
    ------
    UsageError
        A term or subset is unknown (the nearest is suggested), or a term stands there twice.
    """
    if isinstance(text, Pooling):
        return text
    body, slash, subset = text.partition("/")
    chosen = parse_subset(subset.strip()) if slash else None
    if body.strip() == SEGMENTS:
        return Pooling((), chosen)
    terms = tuple(parse_term(term.strip(), within=text) for term in body.split("+"))
    if len(set(terms)) != len(terms):
        raise UsageError(f"pooling {text!r} names a term twice; name each once")
    return Pooling(terms, chosen)


def parse_poolings(text: str, n_sources: int) -> tuple[Pooling, ...]:
    """One pooling per feature set: the same for all, or as many as there are, joined by commas.

    Raises
    ------
    UsageError
        As :func:`parse_pooling`; another number of poolings; segments beside pooled rows.
    """
    poolings = tuple(parse_pooling(each) for each in text.split(","))
    if len(poolings) not in (1, n_sources):
        raise UsageError(
            f"pooling {text!r} has {len(poolings)} parts for {n_sources} feature sets; give one, "
            "or one for each"
        )
    if len({each.keeps_segments for each in poolings}) > 1:
        raise UsageError(f"pooling {text!r} mixes segments with pooled rows; choose one of them")
    return poolings if len(poolings) == n_sources else poolings * n_sources


def canonical(text: str) -> str:
    """The pooling as it is stored in runs; also the check that it can be parsed."""
    return ",".join(str(parse_pooling(each)) for each in text.split(","))


def pool(
    features: RaggedFeatures, pooling: str | Pooling, *, frames_valid: npt.ArrayLike | None = None
) -> Float32:
    """Pool the segments of each video to one row.

    Parameters
    ----------
    features : RaggedFeatures
        Segments of n videos, D columns.
    pooling : str or Pooling
        Terms of :data:`basket.heads.pooling_terms.TERMS`, sums with ``+``, and a subset.
    frames_valid : array_like, (total,), optional
        Real frames of each segment, for the term ``valid``.

    Returns
    -------
    ndarray, float32, (n, P)
        Terms side by side.

    Raises
    ------
    ValueError
        A video has no segment; its position is named.
    UsageError
        The pooling keeps segments (see :func:`prepare`), or needs ``frames_valid``.

    Examples
    --------
    >>> ragged = RaggedFeatures.from_list([np.array([[1.0, 2.0], [3.0, 2.0]])])
    >>> pool(ragged, "mean+std").tolist()
    [[2.0, 2.0, 1.0, 0.0]]
    """
    result = prepare(features, pooling, frames_valid=frames_valid)
    if isinstance(result, RaggedFeatures):
        raise UsageError(f"pooling {str(pooling)!r} keeps segments; no row per video can be made")
    return result


def prepare(
    features: RaggedFeatures, pooling: str | Pooling, *, frames_valid: npt.ArrayLike | None = None
) -> Features:
    """What a head takes: pooled rows as :func:`pool`, or the chosen segments themselves."""
    parsed = parse_pooling(pooling)
    empty = np.flatnonzero(features.lengths == 0)
    if len(empty):
        raise ValueError(f"video at position {empty[0]} has no segments, so it cannot be pooled")
    valid = None if frames_valid is None else np.asarray(frames_valid)
    if parsed.subset is not None:
        rows, offsets = parsed.subset.rows(features)
        features = RaggedFeatures(features.values[rows], offsets)
        valid = None if valid is None else valid[rows]
    if parsed.keeps_segments:
        return features
    out = np.empty((len(features), parsed.width(features.dim)), dtype=np.float32)
    if len(features):
        block, column = Block(features, valid), 0
        for term in parsed.terms:
            width = term.repeats * features.dim
            out[:, column : column + width] = term(block)
            column += width
    return out


def pool_feature_set(
    feature_set: FeatureSource,
    video_ids: Sequence[str],
    stream: str,
    pooling: str | Pooling,
    *,
    block_bytes: int = BLOCK_BYTES,
    seconds: dict[str, float] | None = None,
) -> Features:
    """Pool videos of a feature set, block by block, so that memory stays bounded.

    Parameters
    ----------
    feature_set : FeatureSet
        Where the segments are.
    video_ids : sequence of str, (n,)
        Rows of the result, in this order.
    stream : str
        One of the feature set's streams.
    pooling : str or Pooling
        See :func:`pool`.
    block_bytes : int
        Size of a block of segments as stored.
    seconds : dict, optional
        Receives the time spent, added to ``read`` and ``pool``.

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
    gathered = _Gathered(video_ids, parsed.width(_stream_width(feature_set, stream)))
    clock = _Clock(seconds if seconds is not None else {})
    for ids, features in feature_set.stream(
        list(video_ids), stream=stream, block_bytes=block_bytes
    ):
        valid = _frames_valid(feature_set, ids) if parsed.needs_frames_valid else None
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
    return gathered.result(ragged=parsed.keeps_segments)


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


def _frames_valid(feature_set: FeatureSource, ids: Sequence[str]) -> npt.NDArray[Any]:
    return np.concatenate([feature_set.read(video_id).frames_valid for video_id in ids])


def _stream_width(feature_set: FeatureSource, stream: str) -> int:
    streams: Mapping[str, int] = feature_set.spec.streams
    if stream not in streams:
        hint = nearest(stream, list(streams))
        raise UsageError(
            f"{feature_set.name} has no stream {stream!r}{hint or ';'} It has: {', '.join(streams)}"
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
