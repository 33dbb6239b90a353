"""Who is held out with whom: folds and inner splits that never cut through a player.

Assignment depends on what a row is, not on where it stands: groups (or, without groups, the
content of the row) are hashed and dealt out in the order of their hashes. Shuffling the rows,
repeating one instead of weighting it, or removing one of weight zero changes nothing.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures

Keys = npt.NDArray[np.uint64]

_BLOCK_ROWS = 4096

#: Held-out losses this near to the least, relative to it, count as equal to it: the kernels of
#: other processors leave less than that of rounding.
_TIE = 1e-8


def first_best(losses: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Of candidates from simple to bold, the simplest whose held-out loss is the least.

    Rounding, which differs by processor, does not decide between candidates that are equal.

    Parameters
    ----------
    losses : ndarray, (n_candidates, ...)

    Returns
    -------
    ndarray, int64, (...)
        Position along the first axis.

    Examples
    --------
    >>> first_best(np.array([[2.0, 5.0], [1.0 + 1e-9, 3.0], [1.0, 2.0]])).tolist()
    [1, 2]
    """
    least = losses.min(axis=0)
    return np.asarray((losses <= least + _TIE * np.abs(least)).argmax(axis=0), dtype=np.int64)


def row_hashes(matrix: npt.NDArray[Any] | RaggedFeatures, *, seed: int = 0) -> Keys:
    """Hash the rows of a numeric matrix, or the videos of ragged features, uint64, (n,).

    A random odd multiplier per word, summed modulo 2^64: fast, and good enough to order rows and
    to recognise equal ones; no defence against an adversary is needed.
    """
    if isinstance(matrix, RaggedFeatures):
        return _video_hashes(matrix, seed)
    rows = np.ascontiguousarray(matrix)
    half = rows.dtype == np.float16
    if not half and rows.dtype.itemsize not in (4, 8):
        rows = rows.astype(np.int64)
    kind: Any = np.dtype(np.float32) if half else rows.dtype
    word: type[Any] = np.uint32 if kind.itemsize == 4 else np.uint64
    random = np.random.default_rng(seed)
    factors = random.integers(0, 2**63, size=(1, rows.shape[1]), dtype=np.uint64) * 2 + 1
    out = np.empty(len(rows), dtype=np.uint64)
    for start in range(0, len(rows), _BLOCK_ROWS):
        # Adding zero turns -0.0 into 0.0, which compares equal and must hash equal.
        block = rows[start : start + _BLOCK_ROWS].astype(kind, copy=False)
        words = (block + kind.type(0)).view(word)
        mixed = words.astype(np.uint64) * factors
        mixed ^= mixed >> np.uint64(29)
        out[start : start + _BLOCK_ROWS] = mixed.sum(axis=1, dtype=np.uint64)
    return out * np.uint64(0x9E3779B97F4A7C15)


def group_keys(
    groups: npt.ArrayLike | None, X: npt.NDArray[Any] | RaggedFeatures, *, seed: int = 0
) -> Keys:
    """One key per row, equal where rows must stay together, uint64, (n,).

    Parameters
    ----------
    groups : array_like, (n,), optional
        Player of each row; without it, or where all rows are one player, rows of equal content
        stay together.
    X : ndarray, (n, P), or RaggedFeatures
        Features.
    seed : int
        Another seed deals the groups out in another order.
    """
    if groups is not None:
        names, row_group = np.unique(np.asarray(groups).astype(np.str_), return_inverse=True)
        if len(names) > 1:
            keys = np.array([_name_hash(str(name), seed) for name in names], dtype=np.uint64)
            return keys[row_group]
    return row_hashes(X, seed=seed)


def folds_of(keys: Keys, n_folds: int) -> npt.NDArray[np.int64]:
    """Fold ``0..min(n_folds, distinct keys)-1`` of each row, int64, (n,); fold sizes are even."""
    distinct, rank = np.unique(keys, return_inverse=True)
    return np.asarray(rank % max(1, min(n_folds, len(distinct))), dtype=np.int64)


def held_out(keys: Keys, fraction: float) -> npt.NDArray[np.bool_]:
    """Mask of the rows of an inner validation split, about ``fraction`` of the groups, (n,).

    At least one group is held out and one kept; with a single group nothing is held out.
    """
    distinct, rank = np.unique(keys, return_inverse=True)
    wanted = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    return np.asarray(rank < wanted)


def canonical_order(
    content: Keys,
    levels: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
    keys: Keys,
) -> npt.NDArray[np.int64]:
    """Order of the rows that does not depend on the order they came in, int64, (n,).

    Parameters
    ----------
    content : ndarray, uint64, (n,)
        :func:`row_hashes` of the features.
    levels, weights, keys
        As in :class:`~basket.heads.rows.TrainingRows`.
    """
    return np.lexsort((weights, row_hashes(levels), keys, content))


def _video_hashes(features: RaggedFeatures, seed: int) -> Keys:
    """Hash each video's segments together with their places in it."""
    place = np.arange(len(features.values)) - np.repeat(features.offsets[:-1], features.lengths)
    odd = (2 * place.astype(np.uint64) + np.uint64(1)) * np.uint64(0xD1342543DE82EF95)
    segments = np.append(row_hashes(features.values, seed=seed) * odd, np.uint64(0))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(segments, dtype=np.uint64)])
    # Sums wrap around, and so do their differences.
    return np.asarray(sums[features.offsets[1:]] - sums[features.offsets[:-1]])


def _name_hash(name: str, seed: int) -> int:
    digest = hashlib.blake2b(f"{seed}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little")
