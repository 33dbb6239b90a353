"""A reel pooled without each of its segments in turn, all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache import RaggedFeatures
from basket.heads.pooling import Features, Pooling, prepare

_BLOCK_BYTES = 64 << 20


def rows_without_each(
    values: npt.NDArray[Any], pooling: Pooling, frames_valid: npt.NDArray[Any]
) -> Features:
    """What a head takes for a reel that lacks its segment s, for each s.

    Parameters
    ----------
    values : ndarray, floating, (S, D)
        Segments of one reel.
    pooling : Pooling
        Without a subset.
    frames_valid : ndarray, (S,)
        Real frames of each segment.

    Returns
    -------
    ndarray, float32, (S, P), or RaggedFeatures of S videos; none of them where S is 1.
    """
    n, dim = values.shape
    if n < 2:
        return (
            RaggedFeatures(values[:0], np.zeros(1, np.int64))
            if pooling.keeps_segments
            else np.empty((0, pooling.width(dim)), np.float32)
        )
    if {term.family for term in pooling.terms} <= set(_AT_ONCE) and not pooling.keeps_segments:
        x = values.astype(np.float64)
        columns = [_AT_ONCE[term.family](x) for term in pooling.terms]
        return np.concatenate(columns, axis=1).astype(np.float32)
    step = max(1, _BLOCK_BYTES // max(1, (n - 1) * dim * 4))
    blocks = [
        _block(values, pooling, frames_valid, range(first, min(first + step, n)))
        for first in range(0, n, step)
    ]
    if isinstance(blocks[0], RaggedFeatures):
        lengths = np.concatenate([np.zeros(1, np.int64), np.full(n, n - 1, np.int64)])
        joined = [block.values for block in blocks if isinstance(block, RaggedFeatures)]
        return RaggedFeatures(np.concatenate(joined), np.cumsum(lengths))
    return np.concatenate([np.asarray(block) for block in blocks])


def _block(
    values: npt.NDArray[Any], pooling: Pooling, frames_valid: npt.NDArray[Any], left_out: range
) -> Features:
    n = len(values)
    kept = np.array([np.delete(np.arange(n), segment) for segment in left_out])
    offsets = np.arange(len(kept) + 1, dtype=np.int64) * (n - 1)
    ragged = RaggedFeatures(values[kept.ravel()], offsets)
    return prepare(ragged, pooling, frames_valid=frames_valid[kept.ravel()])


def _mean(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray((x.sum(axis=0) - x) / (len(x) - 1))


def _std(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    n = len(x)
    squares = (x - x.mean(axis=0)) ** 2
    # Removing x_s takes d² n / (n - 1) from the sum of squares about the mean.
    left = squares.sum(axis=0) - squares * n / (n - 1)
    return np.asarray(np.sqrt(np.maximum(left, 0.0) / (n - 1)))


_AT_ONCE = {"mean": _mean, "std": _std}
