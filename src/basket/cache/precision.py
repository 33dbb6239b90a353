"""What a type of numbers would lose of features: float16 is stored where that is nothing.

A column loses something where rounding adds noise that is not small against its spread (4000 ± 0.1
in float16 is one number), or where many of its values come out changed (1e-8 becomes 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

#: Noise of rounding over spread, changes of a value over it, and the share of values changed so:
#: from here on they count. Ordinary embeddings, N(0, 1), are at 0.0002, and at 0.00001 of values.
_SMALL = 0.01
#: The smallest number that float16 holds with all its digits.
_SMALLEST = 2.0**-14
_PIECE_BYTES = 8 << 20

Bools = npt.NDArray[np.bool_]


def as_stored(values: npt.NDArray[np.float32]) -> npt.NDArray[np.floating[Any]]:
    """One video's stream as float16, or as it is where float16 would overflow or underflow."""
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    largest = np.abs(values).max(initial=0.0)
    return half if np.isfinite(half).all() and not 0 < largest < _SMALLEST else values


class Rounding:
    """What rounding to a type does to the columns of a stream, from all rows, block by block.

    Parameters
    ----------
    dtype : type

    Examples
    --------
    >>> half = Rounding(np.float16)
    >>> half.add(np.array([[0.5, 4000.1], [-0.5, 4000.2]]))
    >>> half.lost().tolist()
    [False, True]
    """

    def __init__(self, dtype: type[np.floating[Any]]) -> None:
        self._dtype = dtype
        self._first: Any = 0.0
        self._sums: Any = 0.0
        self._count = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take rows in, finite, (S, D)."""
        if not self._count:
            self._first = values[0].astype(np.float64)
        step = max(1, _PIECE_BYTES // (8 * values.shape[1]))
        for start in range(0, len(values), step):
            piece = values[start : start + step].astype(np.float64)
            with np.errstate(over="ignore"):  # an infinite change counts
                change = np.abs(piece.astype(self._dtype) - piece)
            # From the first row, so that squares of a large offset do not drown the spread.
            apart = piece - self._first
            changed = change > _SMALL * np.abs(piece)
            sums = [apart, apart**2, change**2, changed, piece != 0]
            self._sums = self._sums + np.array([each.sum(axis=0) for each in sums])
        self._count += len(values)

    def lost(self, *, values: bool = True) -> Bools:
        """Columns that lose something, (D,); with ``values=False`` by their spread alone."""
        if not self._count:
            return np.zeros(0, dtype=bool)
        mean, square, noise = self._sums[:3] / self._count
        spread = np.maximum(square - mean**2, 0.0)
        # What never varies is compared with its size.
        lost: Bools = noise > _SMALL**2 * np.where(spread > 0, spread, (self._first + mean) ** 2)
        return lost | (self._sums[3] > _SMALL * self._sums[4]) if values else lost
