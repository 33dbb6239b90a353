r"""Linear ordinal models by maximum penalised likelihood: cumulative links and linear CORAL.

One problem is one skill on one set of rows (all of them, or all but a fold):

.. math:: \sum_i w_i \ell(y_i, x_i\beta, \theta) + \tfrac{\lambda}{2} \sum_k c_k \beta_k^2

with free thresholds; the costs c of the directions are 1, or as :mod:`basket.heads.powers` has
them. Problems are solved side by side by :mod:`basket.heads.newton_path`, in the
eigenvectors of the Gram matrix, from the strongest penalty to the weakest, each warm-started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

from basket.heads.links import Link, all_thresholds, expit_and_log1m
from basket.heads.moments import relative_variance
from basket.heads.newton_path import Index, minimise
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

#: One invented row in this many units of weight, spread over the levels, keeps the threshold of a
#: level that never occurs finite.
PSEUDO_WEIGHT = 1e-9

#: Below this many numbers the search runs in double precision too: it costs nothing there.
_SMALL_CELLS = 2_000_000


@dataclass(frozen=True)
class Rotation:
    """Features standardised and turned into the eigenvectors of their Gram matrix.

    Parameters
    ----------
    mean, scale : ndarray, float64, (P,)
        A feature is used as ``(x - mean) * scale``; scale 0 drops it.
    vectors : ndarray, float64, (P, r)
        Orthonormal; r is the rank.
    values : ndarray, float64, (r,)
        Mean squares of the rotated columns.
    """

    mean: Float
    scale: Float
    vectors: Float
    values: Float

    @classmethod
    def of(cls, X: Array, weights: Float, *, standardize: bool) -> Rotation:
        """Fit to rows ``X`` (n, P) with weights (n,)."""
        share = weights / weights.sum()
        mean = share @ X.astype(np.float64)
        centred = X.astype(np.float64) - mean
        variance = share @ centred**2
        # A constant column is left with the rounding of its mean: no variation to scale up.
        varies = variance > (1e-7 * np.abs(X).max(axis=0, initial=0.0)) ** 2 * 1e-6
        safe = np.where(varies, variance, 1.0)
        scale = np.where(varies, 1.0 / np.sqrt(safe) if standardize else 1.0, 0.0)
        centred *= scale
        centred *= np.sqrt(share)[:, None]
        if len(X) > X.shape[1]:
            values, vectors = eigh(centred.T @ centred, driver="evd", check_finite=False)
            kept = values > max(values[-1], 0.0) * 1e-12
            return cls(mean, scale, vectors[:, kept], values[kept])
        values, left = eigh(centred @ centred.T, driver="evd", check_finite=False)
        kept = values > max(values[-1], 0.0) * 1e-12
        vectors = (centred.T @ left[:, kept]) / np.sqrt(values[kept])
        return cls(mean, scale, vectors, values[kept])

    def apply(self, X: Array, dtype: Any) -> Array:
        """Rotated rows, (n, r)."""
        return np.asarray(((X - self.mean) * self.scale).astype(dtype) @ self.vectors.astype(dtype))

    def costs(self, powers: Float) -> Float:
        """What a squared coefficient in each direction costs, (J, r), for powers (J,)."""
        return np.asarray(relative_variance(self.values, self.scale) ** (1.0 - powers[:, None]))

    def back(self, coef: Float) -> Float:
        """Coefficients (J, r) of rotated columns as those of raw features, (J, P)."""
        return np.asarray((coef @ self.vectors.T) * self.scale)


class RotatedRows:
    """Rows and their rotation, computed once for all heads that are fitted to them.

    Parameters
    ----------
    part : TrainingRows
        Every skill is labelled in every row.
    standardize : bool

    Attributes
    ----------
    learned : TrainingRows
        Those to learn from.
    rotation : Rotation
        Of these.
    costs : ndarray, float64, (n_skills, r)
        What a squared coefficient costs, in units of the penalty; 1 unless set.
    """

    def __init__(self, part: TrainingRows, *, standardize: bool) -> None:
        self.part, self.learned = part, part.learned()
        self.rotation = Rotation.of(self.learned.X, self.learned.weights, standardize=standardize)
        self.costs: Float = np.ones((part.n_skills, len(self.rotation.values)))

    @cached_property
    def exact(self) -> Float:
        """Rows to learn from, rotated, float64, (n_learned, r)."""
        return self.rotation.apply(self.learned.X, np.float64)

    @cached_property
    def rough(self) -> Array:
        """All rows, rotated, (n, r): in single precision where double would cost something."""
        small = self.part.X.size < _SMALL_CELLS
        return self.rotation.apply(self.part.X, np.float64 if small else np.float32)


class Problems:
    """J problems on the same rotated rows.

    Parameters
    ----------
    Z : ndarray, float32 or float64, (n, r)
        Rotated features.
    values : ndarray, float64, (r,)
        Their mean squares.
    levels : ndarray, int64, (n, S)
        Levels of S skills; what has weight 0 is not looked at.
    weights : ndarray, float64, (n, J)
        Weight of each row in each problem.
    skill : ndarray, int64, (J,)
        Column of ``levels`` of each problem.
    n_levels : int
        K.
    link : Link
        Of the cumulative model.
    costs : ndarray, float64, (J, r), optional
        Of a squared coefficient in each direction, in units of the penalty; 1 if not given.
    coral : bool
        Sum the K-1 binary log losses instead of the log probability of the level.

    Notes
    -----
    Each problem is solved over the levels that have weight in it; their thresholds stand first
    among its K-1 (:func:`basket.heads.links.all_thresholds`).
    """

    def __init__(
        self,
        Z: Array,
        values: Float,
        levels: Levels,
        weights: Float,
        skill: Index,
        *,
        n_levels: int,
        link: Link,
        costs: Float | None = None,
        coral: bool = False,
    ) -> None:
        self.Z, self.values, self.levels = Z, values, np.maximum(levels, 0)
        self.weights, self.skill = weights, skill
        self.n_levels, self.link, self.coral = n_levels, link, coral
        self.costs = np.ones((len(skill), Z.shape[1])) if costs is None else costs
        self.total = weights.sum(axis=0)
        self._marginal()
        self._information()

    def _marginal(self) -> None:
        """Levels that occur, and parameters (J, r + K-1) of a model that looks at no feature."""
        counts = np.stack(
            [
                np.bincount(self.levels[:, skill], weights=row_weights, minlength=self.n_levels)
                for skill, row_weights in zip(self.skill, self.weights.T, strict=True)
            ]
        )
        self._occurs = counts > 0
        # What does not occur is judged as what lies next to it.
        self._rank = np.maximum(self._occurs.cumsum(axis=1) - 1, 0)
        self._n_cuts = self._rank[:, -1]
        counts += PSEUDO_WEIGHT * counts.sum(axis=1, keepdims=True) + 1e-300
        below = np.cumsum(counts, axis=1)[:, :-1] / counts.sum(axis=1, keepdims=True)
        self._all_cuts = self.link.quantile(below)
        self.start = np.zeros((len(self.skill), self.Z.shape[1] + self.n_levels - 1))
        for j, cuts in enumerate(self._all_cuts):
            self._cuts_of(self.start, j)[:] = cuts[self._kept(j)]

    def _kept(self, j: int) -> Index:
        """Places of the thresholds of problem j among all K-1."""
        return np.flatnonzero(self._occurs[j])[:-1]

    def _cuts_of(self, parameters: Float, j: Any, row: int | None = None) -> Float:
        """Thresholds of problem j, whose parameters stand in ``row`` (j if not given); a view."""
        r = self.Z.shape[1]
        return parameters[j if row is None else row, r : r + self._n_cuts[j]]

    def thresholds(self, parameters: Float) -> Float:
        """All thresholds, rising, (J, K-1)."""
        found = zip(self._occurs, self._all_cuts, self.latent(parameters).T, strict=True)
        return np.stack(
            [
                all_thresholds(np.sort(self._cuts_of(parameters, j)), occurs, marginal, latent)
                for j, (occurs, marginal, latent) in enumerate(found)
            ]
        )

    def _information(self) -> None:
        """Second derivatives at the start, by which steps are scaled."""
        self._threshold_inverse = [np.zeros((0, 0)) for _ in self.skill]
        self._curvature = np.zeros(len(self.skill))
        # With one level (nobody at or above another, with corn) there is no step to take.
        for j in np.flatnonzero(self._n_cuts):
            thresholds = self._cuts_of(self.start, j)
            if self.coral:
                below = self.link.cdf(thresholds)
                matrix, curvature = np.diag(below * (1 - below)), float((below * (1 - below)).sum())
            else:
                matrix, curvature = self.link.information(thresholds)
            # A level that hardly occurs makes a nearly singular matrix, and steps without end.
            matrix += 1e-9 * np.trace(matrix) * np.eye(len(matrix))
            self._threshold_inverse[j] = np.linalg.inv(matrix * self.total[j])
            self._curvature[j] = curvature

    def latent(self, parameters: Float) -> Float:
        """Scores of all rows, float64, (n, J)."""
        coef = parameters[:, : self.Z.shape[1]].astype(self.Z.dtype)
        return np.asarray((self.Z @ coef.T).astype(np.float64))

    def loss(self, latent: Float, thresholds: Float, j: int) -> tuple[Float, Float, Float]:
        """Loss of each row, its derivative in the score (n,), weighted sums for the thresholds.

        Problem j at scores (n,) and thresholds, of levels that occur.
        """
        levels, weights = self._rank[j, self.levels[:, self.skill[j]]], self.weights[:, j]
        k = len(thresholds)
        if self.coral:
            sign = np.where(levels[:, None] <= np.arange(k), 1.0, -1.0)
            wrong, log_right = expit_and_log1m(-sign * (thresholds - latent[:, None]))
            slope = sign * wrong
            return -log_right.sum(axis=1), slope.sum(axis=1), -(weights @ slope)
        log_p, above, below = self.link.terms_at(latent, thresholds, levels)
        up = np.bincount(levels, weights=weights * above, minlength=k + 1)[:k]
        down = np.bincount(levels, weights=weights * below, minlength=k + 1)[1:]
        return -log_p, above - below, np.asarray(down - up, dtype=np.float64)

    def evaluate(self, parameters: Float, problems: Index, penalty: Float) -> tuple[Float, Float]:
        """Objective (J',) and gradient (J', d) of some problems; ``penalty`` is (J,)."""
        r = self.Z.shape[1]
        latent = self.latent(parameters)
        coef, values = parameters[:, :r], np.zeros(len(problems))
        gradient = np.zeros_like(parameters)
        slopes = np.zeros(latent.shape)
        for row, j in enumerate(problems):
            thresholds = self._cuts_of(parameters, j, row)
            if not self.coral and (np.diff(thresholds) <= 0).any():
                values[row] = np.inf
                continue
            loss, slope, along = self.loss(latent[:, row], thresholds, j)
            self._cuts_of(gradient, j, row)[:] = along
            weights = self.weights[:, j]
            values[row] = weights @ np.where(weights > 0, loss, 0.0)
            slopes[:, row] = weights * slope
        gradient[:, :r] = (slopes.astype(self.Z.dtype).T @ self.Z).astype(np.float64)
        pull = penalty[problems, None] * self.costs[problems] * coef
        gradient[:, :r] += pull
        return values + 0.5 * (pull * coef).sum(axis=1), gradient

    def precondition(self, vectors: Float, problems: Index, penalty: Float) -> Float:
        """An estimate of the inverse Hessian, applied to vectors (J', d)."""
        r = self.Z.shape[1]
        out = np.zeros_like(vectors)
        scale = (self._curvature * self.total)[problems, None] * self.values
        pull = penalty[problems, None] * self.costs[problems]
        out[:, :r] = vectors[:, :r] / (scale + pull).clip(min=1e-300)
        for row, j in enumerate(problems):
            cuts = self._cuts_of(vectors, j, row)
            self._cuts_of(out, j, row)[:] = self._threshold_inverse[j] @ cuts
        return out

    def solve(self, penalty: Float, start: Float, *, tolerance: float) -> Float:
        """Optimal parameters, (J, r + K-1), for one penalty per problem (J,).

        ``tolerance`` is in nats per unit of weight.
        """
        return minimise(
            lambda x, problems: self.evaluate(x, problems, penalty),
            lambda v, problems: self.precondition(v, problems, penalty),
            start,
            tolerance=tolerance * float(self.total.mean()),
        )


def search(
    problems: Problems, held: Sequence[Float], penalties: Float, *, tolerance: float = 1e-5
) -> Float:
    """Loss on held-out rows along the penalty path, (n_penalties, J).

    The path ends where the loss of every skill, summed over folds, has risen twice in a row; what
    was not tried has infinite loss.

    Parameters
    ----------
    problems : Problems
        Training parts.
    held : sequence of ndarray, float64, (n,)
        Weight of each row in the judgement of each problem, 0 for rows it was fitted on.
    penalties : ndarray, (n_penalties,)
        From strong to weak.
    tolerance : float
        Precision of each fit in nats per row; far below what tells two penalties apart.
    """
    losses = np.full((len(penalties), len(problems.skill)), np.inf)
    parameters = problems.start
    for index, penalty in enumerate(penalties):
        spread = np.full(len(problems.skill), penalty)
        parameters = problems.solve(spread, parameters, tolerance=tolerance)
        latent = problems.latent(parameters)
        for j, judged in enumerate(held):
            loss, _, _ = problems.loss(latent[:, j], problems._cuts_of(parameters, j), j)
            losses[index, j] = judged @ np.where(judged > 0, loss, 0.0)
        if index >= 2 and _risen_twice(losses[index - 2 : index + 1], problems.skill):
            break
    return losses


def _risen_twice(losses: Float, skill: Index) -> bool:
    per_skill = np.stack([np.bincount(skill, weights=each) for each in losses])
    # Equal losses (nobody is held out, or nothing can be learned) have not risen.
    return bool((np.diff(per_skill, axis=0) > 0).all())
