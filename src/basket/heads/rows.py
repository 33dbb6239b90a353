"""Training rows: what a head learns from, and how levels are weighted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.errors import UsageError
from basket.heads import folds

Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class TrainingRows:
    """What a subclass learns from: rows with labels, skills with at least two levels.

    Parameters
    ----------
    X : ndarray, float32 or float64, (n, P)
        Features, in an order that does not depend on the order they were given in.
    levels : ndarray, int64, (n, n_skills)
        ``0..n_levels-1``; -1 is missing.
    weights : ndarray, float64, (n,)
        Positive.
    keys : ndarray, uint64, (n,)
        Rows with equal keys (one player) stay on one side of every inner split.
    n_levels : int
        K.
    given : ndarray of bool, (n,), optional
        Rows of a validation set that was given: they stop training, and are never learned from.
    factors : ndarray, float64, (n_skills, K), optional
        Weight of each level beside the row's own (``class_weight``).
    """

    X: Any
    levels: Levels
    weights: Float
    keys: folds.Keys
    n_levels: int
    given: npt.NDArray[np.bool_] | None = None
    factors: Float | None = None

    @property
    def n_skills(self) -> int:
        """Columns of ``levels``."""
        return int(self.levels.shape[1])

    @property
    def cells(self) -> Float:
        """Weight of every label, (n, n_skills): 0 where it is missing."""
        return np.stack([self.weights_of(skill) for skill in range(self.n_skills)], axis=1)

    def weights_of(self, skill: int) -> Float:
        """Weights of the labels of one skill, (n,)."""
        levels = self.levels[:, skill]
        known = np.where(levels >= 0, self.weights, 0.0)
        return known if self.factors is None else known * self.factors[skill, levels]

    def held_out(self, fraction: float) -> npt.NDArray[np.bool_]:
        """Rows that stop training: the given ones, or about ``fraction`` of the players, (n,)."""
        if self.given is not None:
            return self.given.copy()
        return folds.held_out(self.keys, fraction)

    def learned(self) -> TrainingRows:
        """Without the rows of a given validation set."""
        if self.given is None:
            return self
        return replace(self._take(np.flatnonzero(~self.given)), given=None)

    def _take(self, rows: npt.NDArray[np.int64]) -> TrainingRows:
        return replace(
            self,
            X=take(self.X, rows),
            levels=self.levels[rows],
            weights=self.weights[rows],
            keys=self.keys[rows],
            given=None if self.given is None else self.given[rows],
        )

    def by_missingness(self) -> Iterator[tuple[Levels, TrainingRows]]:
        """Skills that are labelled in the same rows, with these rows alone.

        What is shared between skills (a Gram matrix, a binning) is shared only between skills that
        see the same rows, so a row without a label for a skill cannot touch it.
        """
        known = self.levels >= 0
        patterns: dict[bytes, list[int]] = {}
        for skill, column in enumerate(np.packbits(known, axis=0).T):
            patterns.setdefault(column.tobytes(), []).append(skill)
        for alike in patterns.values():
            skills = np.array(alike)
            rows = np.flatnonzero(known[:, alike[0]])
            part = self if len(rows) == len(self.X) else self._take(rows)
            yield (
                skills,
                replace(
                    part,
                    levels=part.levels[:, skills],
                    factors=None if self.factors is None else self.factors[skills],
                ),
            )


def take(X: Any, rows: npt.NDArray[Any]) -> Any:
    """Rows of a matrix, or videos of ragged features, by index or mask."""
    if isinstance(X, RaggedFeatures):
        return X.take(np.flatnonzero(rows) if rows.dtype == np.bool_ else rows)
    return X[rows]


def join(first: Any, second: Any) -> Any:
    """Rows of ``first``, then rows of ``second``: matrices or ragged features."""
    if not isinstance(first, RaggedFeatures):
        return np.concatenate([first, second])
    return RaggedFeatures(
        np.concatenate([first.values, second.values]),
        np.concatenate([first.offsets, first.offsets[-1] + second.offsets[1:]]),
    )


def class_factors(
    class_weight: str | Mapping[Any, float] | Sequence[float] | None, counts: Float
) -> Float | None:
    """Weight of each level per skill, (n_skills, K); None where all are 1.

    ``balanced`` is scikit-learn's: every level that occurs weighs the same in total.
    """
    if class_weight is None:
        return None
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise UsageError(
                f"class_weight must be 'balanced' or one weight per level, got {class_weight!r}"
            )
        occurs = counts > 0
        shares = counts.sum(axis=1, keepdims=True) / occurs.sum(axis=1, keepdims=True).clip(min=1)
        return np.where(occurs, shares / np.where(occurs, counts, 1.0), 1.0)
    # JSON turns the keys of a mapping into text.
    given = class_weight if isinstance(class_weight, Mapping) else dict(enumerate(class_weight))
    by_level = {int(level): float(weight) for level, weight in given.items()}
    n_levels = counts.shape[1]
    weights = np.array([by_level.pop(level, 1.0) for level in range(n_levels)])
    if by_level or not (weights >= 0).all() or not np.isfinite(weights).all() or not weights.any():
        raise UsageError(
            f"class_weight must give weights >= 0, one of them above 0, for levels "
            f"0..{n_levels - 1}, got {class_weight!r}"
        )
    factors = np.tile(weights, (len(counts), 1))
    if weights.max() < 1:
        # Shares, as those of rows: as if the mean over the labels were 1.
        total = (counts * factors).sum(axis=1, keepdims=True)
        factors *= np.where(total > 0, counts.sum(axis=1, keepdims=True) / total, 1.0)
    return factors
