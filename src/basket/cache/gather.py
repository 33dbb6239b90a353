"""Reading segments of many videos into one matrix, without work per video.

Reads are planned on arrays: videos are sorted by where they lie, neighbours are joined into runs,
and each run is one read of HDF5. A run reads through gaps of up to a chunk, as the chunk has to be
read anyway for its checksum, and it ends after some megabytes, which bounds the memory.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import FloatArray, RaggedFeatures
from basket.cache.shard import ShardFile
from basket.cache.shard_format import CHUNK_BYTES

_RUN_BYTES = 32 << 20

Int64 = npt.NDArray[np.int64]


def storage_order(spans: Int64) -> Int64:
    """Permutation that sorts spans ``(n, 3)`` of (shard, start, length) by where they lie."""
    return np.lexsort((spans[:, 1], spans[:, 0]))


def block_bounds(lengths: Int64, *, segment_bytes: int, block_bytes: int) -> list[int]:
    """Cut videos into blocks of at most ``block_bytes``, one video at the least.

    Parameters
    ----------
    lengths : ndarray, int64, (n,)
        Segments per video.

    Returns
    -------
    list of int
        Block i is ``bounds[i]:bounds[i + 1]``.

    >>> block_bounds(np.array([2, 2, 9, 1, 1]), segment_bytes=10, block_bytes=40)
    [0, 2, 3, 5]
    """
    ends = np.cumsum(lengths) * segment_bytes
    bounds = [0]
    while bounds[-1] < len(lengths):
        first = bounds[-1]
        before = int(ends[first - 1]) if first else 0
        beyond = int(np.searchsorted(ends, before + block_bytes, side="right"))
        bounds.append(max(first + 1, beyond))
    return bounds


def gather(
    spans: Int64,
    *,
    stream: str,
    dim: int,
    dtype: type[np.floating[Any]],
    open_shard: Callable[[int], AbstractContextManager[ShardFile]],
) -> RaggedFeatures:
    """Read the segments of videos, in the order of ``spans``.

    Parameters
    ----------
    spans : ndarray, int64, (n, 3)
        Shard number, first segment, number of segments.
    stream : str
    dim : int
        Width of the stream.
    dtype : type
        Of the result: float16, or float32 where that is what some shards have.
    open_shard : callable
        Opens the shard of a number.

    Returns
    -------
    RaggedFeatures
        ``(ΣS, dim)``.

    Raises
    ------
    IntegrityError
        Of the shard: what is stored is not what was written.
    """
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(spans[:, 2])])
    values = np.empty((int(offsets[-1]), dim), dtype=dtype)
    order = storage_order(spans)
    sorted_spans, targets = spans[order], offsets[:-1][order]
    bounds = _run_bounds(sorted_spans, np.dtype(dtype).itemsize * dim)
    shards = sorted_spans[bounds[:-1], 0]
    # Runs of one shard follow each other, so that it is opened once.
    for shard in np.unique(shards).tolist():
        first, last = np.searchsorted(shards, [shard, shard + 1])
        with open_shard(shard) as file:
            for run in range(int(first), int(last)):
                chosen = slice(int(bounds[run]), int(bounds[run + 1]))
                _read_run(file, stream, sorted_spans[chosen, 1:], targets[chosen], values)
    return RaggedFeatures(values, offsets)


def _run_bounds(spans: Int64, segment_bytes: int) -> Int64:
    """Where runs begin among sorted spans, and the end: shard, gap and size part them."""
    if not len(spans):
        return np.zeros(1, np.int64)
    shards, starts, stops = spans[:, 0], spans[:, 1], spans[:, 1] + spans[:, 2]
    parted = np.ones(len(spans), dtype=bool)
    # Of one shard, so of one row order: no earlier span can end after a later one begins, except
    # where a video is asked for twice, and then both end together.
    parted[1:] = (shards[1:] != shards[:-1]) | (
        (starts[1:] - stops[:-1]) * segment_bytes > CHUNK_BYTES
    )
    firsts = np.flatnonzero(parted)
    begun = starts[firsts[np.cumsum(parted) - 1]]
    piece = (starts - begun) * segment_bytes // _RUN_BYTES
    parted[1:] |= piece[1:] != piece[:-1]
    return np.append(np.flatnonzero(parted), len(spans))


def _read_run(
    file: ShardFile,
    stream: str,
    spans: Int64,
    targets: Int64,
    values: FloatArray,
) -> None:
    """Read spans ``(k, 2)`` of (start, length) to the rows of ``values`` that begin at targets."""
    starts, lengths = spans[:, 0], spans[:, 1]
    start, stop = int(starts[0]), int((starts + lengths).max())
    dim = values.shape[1]
    total = int(lengths.sum())
    first = int(targets[0])
    in_place = np.array_equal(starts - start, targets - first) and total == stop - start
    if in_place:
        file.features(stream, start, stop, dim=dim, out=values[first : first + total])
        return
    read = file.features(stream, start, stop, dim=dim)
    within = np.arange(total) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    values[np.repeat(targets, lengths) + within] = read[np.repeat(starts - start, lengths) + within]


def gather_segments(
    spans: Int64, *, open_shard: Callable[[int], AbstractContextManager[ShardFile]]
) -> dict[str, npt.NDArray[Any]]:
    """``start_s``, ``end_s`` and ``frames_valid`` of videos, in the order of ``spans``.

    Parameters
    ----------
    spans, open_shard
        As :func:`gather`; each shard is opened once.

    Raises
    ------
    IntegrityError
        Of the shard: what is stored is not what was written.
    """
    dtypes = {"start_s": np.float64, "end_s": np.float64, "frames_valid": np.int32}
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(spans[:, 2])])
    columns = {name: np.empty(int(offsets[-1]), dtype) for name, dtype in dtypes.items()}
    order = storage_order(spans)
    shards = spans[order, 0]
    for shard in np.unique(shards).tolist():
        chosen = order[slice(*np.searchsorted(shards, [shard, shard + 1]))]
        starts, lengths = spans[chosen, 1], spans[chosen, 2]
        first = int(starts.min())
        with open_shard(shard) as file:
            read = file.segments(first, int((starts + lengths).max()))
        within = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows = np.repeat(offsets[:-1][chosen], lengths) + within
        for name, column in columns.items():
            column[rows] = read[name][np.repeat(starts - first, lengths) + within]
    return columns
