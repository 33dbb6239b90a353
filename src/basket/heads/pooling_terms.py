"""What a pooling is made of: one function per term, from segments of many videos to their rows.

All terms work on a whole block of videos at once and accumulate in float64. A new term is one line
in :data:`TERMS`; a name that ends in ``N`` there takes a whole number (``top4``, ``q90``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.errors import UsageError
from basket.registry import nearest

Floating = npt.NDArray[np.floating[Any]]
Float64 = npt.NDArray[np.float64]
Int64 = npt.NDArray[np.int64]

#: Parts of each level of the temporal pyramid.
PYRAMID = (1, 2, 4)


class Block:
    """Some videos' segments, none without any, with what several terms share.

    Parameters
    ----------
    features : RaggedFeatures
        n videos, D columns.
    frames_valid : ndarray, (total,), optional
        Real frames of each segment.
    """

    def __init__(self, features: RaggedFeatures, frames_valid: Any = None) -> None:
        # Half precision is a storage format: arithmetic in it is slow on a CPU and loses digits.
        dtype = np.float32 if features.values.dtype == np.float16 else features.values.dtype
        self.values = features.values.astype(dtype, copy=False)
        self.starts = features.offsets[:-1]
        self.lengths = features.lengths
        self.frames_valid = frames_valid

    @cached_property
    def mean(self) -> Float64:
        """Mean over segments, float64, (n, D)."""
        return self.sum(self.values) / self.lengths[:, None]

    @cached_property
    def ordered(self) -> list[tuple[Int64, Floating]]:
        """Videos of equal length, and their segments sorted per column, (m, S, D)."""
        return [(rows, np.sort(cube, axis=1)) for rows, cube in self.cubes()]

    def cubes(self) -> Iterator[tuple[Int64, Floating]]:
        """Videos of equal length S and their segments (m, S, D)."""
        for length in np.unique(self.lengths):
            rows = np.flatnonzero(self.lengths == length)
            yield rows, self.values[self.starts[rows, None] + np.arange(length)]

    def sum(self, values: Floating) -> Float64:
        """Sum ``(total, D)`` over the segments of each video, float64, (n, D)."""
        return np.asarray(self._indicator @ values)

    def mean_of(self, low: Int64, high: Int64, weights: Floating | None = None) -> Float64:
        """Mean over the segments ``low:high`` (n,) of each video, float64, (n, D)."""
        count = high - low
        ends = np.cumsum(count)
        rows = np.repeat(self.starts + low - (ends - count), count) + np.arange(ends[-1])
        data = np.ones(len(rows)) if weights is None else weights[rows].astype(np.float64)
        matrix = self._sparse(data, rows, np.append(0, ends))
        total = np.asarray(matrix.sum(axis=1)).ravel()
        return np.asarray((matrix @ self.values) / total[:, None])

    @cached_property
    def _indicator(self) -> Any:
        # A sparse 0/1 matrix sums rows 20 times faster than np.add.reduceat along axis 0, which
        # walks column by column.
        total = len(self.values)
        return self._sparse(np.ones(total), np.arange(total), np.append(self.starts, total))

    def _sparse(self, data: Float64, columns: Int64, offsets: Int64) -> Any:
        from scipy.sparse import csr_array

        return csr_array((data, columns, offsets), (len(self.starts), len(self.values)))


def _std(block: Block) -> Float64:
    # Two passes: the mean of squares minus the square of the mean cancels where they are close.
    deviation = block.values - np.repeat(block.mean, block.lengths, axis=0)
    np.square(deviation, out=deviation)
    return np.asarray(np.sqrt(block.sum(deviation) / block.lengths[:, None]))


def _quantile(block: Block, percent: int) -> Float64:
    """Linear between order statistics, as NumPy's default."""
    out = np.empty((len(block.starts), block.values.shape[1]))
    for rows, cube in block.ordered:
        place = (cube.shape[1] - 1) * percent / 100
        below = int(place)
        above = min(below + 1, cube.shape[1] - 1)
        low = cube[:, below].astype(np.float64)
        out[rows] = low + (place - below) * (cube[:, above] - low)
    return out


def _top(block: Block, count: int) -> Float64:
    out = np.empty((len(block.starts), block.values.shape[1]))
    for rows, cube in block.ordered:
        out[rows] = cube[:, -count:].mean(axis=1, dtype=np.float64)
    return out


def _power_mean(block: Block, power: int) -> Float64:
    # Embeddings have signs, so the power keeps them; for odd powers that is the usual mean.
    powered = np.sign(block.values) * np.abs(block.values.astype(np.float64)) ** power
    mean = block.sum(powered) / block.lengths[:, None]
    return np.asarray(np.sign(mean) * np.abs(mean) ** (1.0 / power))


def _pyramid(block: Block) -> Float64:
    # Parts of a video shorter than the pyramid overlap rather than being empty.
    return np.concatenate(
        [
            block.mean_of(block.lengths * part // parts, -(-block.lengths * (part + 1) // parts))
            for parts in PYRAMID
            for part in range(parts)
        ],
        axis=1,
    )


def _difference(block: Block) -> Float64:
    change = np.zeros(block.values.shape)
    np.abs(np.diff(block.values.astype(np.float64), axis=0), out=change[1:])
    change[block.starts] = 0.0
    return block.sum(change) / np.maximum(block.lengths - 1, 1)[:, None]


def _last(block: Block, count: int) -> Float64:
    return block.mean_of(np.maximum(block.lengths - count, 0), block.lengths)


def _valid(block: Block) -> Float64:
    if block.frames_valid is None:
        raise UsageError("pooling 'valid' needs the number of real frames of every segment")
    weights = np.asarray(block.frames_valid, dtype=np.float64)
    # A video that has only segments without a real frame is weighted evenly.
    nothing = np.repeat(block.sum(weights[:, None])[:, 0] <= 0, block.lengths)
    return block.mean_of(np.zeros_like(block.lengths), block.lengths, np.where(nothing, 1, weights))


@dataclass(frozen=True)
class Family:
    """A kind of term.

    Parameters
    ----------
    compute : callable
        ``(block) -> (n, repeats * D)``, or ``(block, number)`` where the name ends in ``N``.
    says : str
        What it gives, for messages.
    repeats : int
        Columns per feature.
    numbers : range
        What N may be.
    """

    compute: Callable[..., Floating]
    says: str
    repeats: int = 1
    numbers: range = range(1, 10_000)


#: Name -> term; N stands for a whole number.
TERMS: dict[str, Family] = {
    "mean": Family(lambda block: block.mean, "mean"),
    "std": Family(_std, "standard deviation (population; 0 for one segment)"),
    "max": Family(lambda block: np.maximum.reduceat(block.values, block.starts, axis=0), "maximum"),
    "min": Family(lambda block: np.minimum.reduceat(block.values, block.starts, axis=0), "minimum"),
    "qN": Family(_quantile, "quantile in percent", numbers=range(101)),
    "topN": Family(_top, "mean of the N largest values of each column"),
    "gemN": Family(_power_mean, "power mean with exponent N, signs kept", numbers=range(1, 17)),
    "pyramid": Family(_pyramid, "means of the whole, the halves and the quarters", repeats=7),
    "diff": Family(_difference, "mean absolute change from one segment to the next"),
    "lastN": Family(_last, "mean of the last N segments"),
    "valid": Family(_valid, "mean weighted by the number of real frames"),
}

_NUMBERED = re.compile(r"([a-z]+)(\d{1,4})")


@dataclass(frozen=True)
class Term:
    """A parsed term; equal names are equal terms."""

    name: str
    family: str
    number: int | None = None

    @property
    def repeats(self) -> int:
        """Columns per feature."""
        return TERMS[self.family].repeats

    def __call__(self, block: Block) -> Floating:
        """Rows of a block's videos, (n, repeats * D)."""
        compute = TERMS[self.family].compute
        return compute(block) if self.number is None else partial(compute, block)(self.number)


def parse_term(name: str, *, within: str) -> Term:
    """Parse ``mean`` or ``top4``.

    Raises
    ------
    UsageError
        No such term, or a number it cannot take.
    """
    if name in TERMS and not name.endswith("N"):
        return Term(name, name)
    found = _NUMBERED.fullmatch(name)
    family = f"{found[1]}N" if found else ""
    if found and family in TERMS:
        numbers = TERMS[family].numbers
        if int(found[2]) not in numbers:
            raise UsageError(
                f"pooling {name!r} in {within!r} needs N from {numbers[0]} to {numbers[-1]}"
            )
        return Term(f"{found[1]}{int(found[2])}", family, int(found[2]))
    hint = nearest(name, list(TERMS))
    raise UsageError(
        f"unknown pooling {name!r} in {within!r}{hint or '.'} Known: {', '.join(TERMS)} (N is a "
        "number), joined by +, or segments"
    )
