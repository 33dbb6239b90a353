"""Batched quasi-Newton for many convex problems that share one matrix.

All penalties, folds and skills of a linear ordinal head are such problems. Their latent scores are
one wide matrix product, so the data are read once per iteration, not once per problem; each problem
has its own memory and its own step. In the eigenvectors of the Gram matrix the Hessian of a weakly
informed link is nearly diagonal, which is the preconditioner: a handful of iterations is enough.

Source: limited-memory BFGS, Nocedal (1980), with an initial matrix per problem.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning

Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

#: ``evaluate(parameters (J, d), problems (J,)) -> values (J,), gradients (J, d)``.
Evaluate = Callable[[Float, Index], tuple[Float, Float]]
#: ``precondition(vectors (J, d), problems (J,)) -> (J, d)``.
Precondition = Callable[[Float, Index], Float]

_MEMORY = 10
_ARMIJO = 1e-4
#: A promised decrease of this many tolerances is not rounding.
_VISIBLE = 100.0


@dataclass
class _Memory:
    """The last steps of every problem and how the gradient changed along them."""

    steps: Float
    changes: Float
    curvature: Float

    @classmethod
    def empty(cls, n: int, width: int) -> _Memory:
        return cls(
            np.zeros((_MEMORY, n, width)), np.zeros((_MEMORY, n, width)), np.zeros((_MEMORY, n))
        )

    def add(self, problems: Index, step: Float, change: Float) -> None:
        curvature = np.einsum("jd,jd->j", step, change)
        # A step without curvature (rounding) would spoil the matrix.
        good = curvature > 1e-14 * np.einsum("jd,jd->j", change, change)
        problems, step, change = problems[good], step[good], change[good]
        for history, new in (
            (self.steps, step),
            (self.changes, change),
            (self.curvature, curvature[good]),
        ):
            history[:-1, problems] = history[1:, problems]
            history[-1, problems] = new

    def direction(self, gradient: Float, problems: Index, precondition: Precondition) -> Float:
        """Minus the inverse Hessian's estimate times the gradient: the two-loop recursion."""
        steps, changes = self.steps[:, problems], self.changes[:, problems]
        curvature = self.curvature[:, problems]
        used = curvature > 0
        inverse = np.where(used, 1.0 / np.where(used, curvature, 1.0), 0.0)
        vector = gradient.copy()
        along = np.zeros_like(curvature)
        for m in range(_MEMORY - 1, -1, -1):
            along[m] = inverse[m] * np.einsum("jd,jd->j", steps[m], vector)
            vector -= along[m][:, None] * changes[m]
        vector = precondition(vector, problems)
        for m in range(_MEMORY):
            back = inverse[m] * np.einsum("jd,jd->j", changes[m], vector)
            vector += (along[m] - back)[:, None] * steps[m]
        return -vector


def minimise(
    evaluate: Evaluate,
    precondition: Precondition,
    start: Float,
    *,
    tolerance: float,
    max_evaluations: int = 2000,
) -> Float:
    """Minimise J problems at once.

    Parameters
    ----------
    evaluate : callable
        Values and gradients of some of the problems; a value of infinity is a forbidden point.
    precondition : callable
        An estimate of the inverse Hessian, applied to vectors.
    start : ndarray, float64, (J, d)
        Where to begin; values there must be finite.
    tolerance : float
        A problem is done where the decrease that its quadratic model still promises is below this.
    max_evaluations : int
        Bound on joint evaluations.

    Returns
    -------
    ndarray, float64, (J, d)

    Warns
    -----
    ConvergenceWarning
        Some problem was given up.
    """
    n, width = start.shape
    memory = _Memory.empty(n, width)
    active = np.arange(n)
    x = start.copy()
    value, gradient = evaluate(x, active)
    direction = memory.direction(gradient, active, precondition)
    slope = np.einsum("jd,jd->j", gradient, direction)
    size = np.ones(n)
    active = np.flatnonzero(-slope > tolerance)
    for _ in range(max_evaluations):
        if not len(active):
            break
        trial = x[active] + size[active, None] * direction[active]
        found, found_gradient = evaluate(trial, active)
        # Near the optimum values differ by rounding alone, and the step is right all the same.
        slack = 1e-13 * np.abs(value[active])
        accepted = found <= value[active] + _ARMIJO * size[active] * slope[active] + slack
        moved = active[accepted]
        memory.add(moved, trial[accepted] - x[moved], found_gradient[accepted] - gradient[moved])
        x[moved], value[moved], gradient[moved] = (
            trial[accepted],
            found[accepted],
            found_gradient[accepted],
        )
        if len(moved):
            direction[moved] = memory.direction(gradient[moved], moved, precondition)
            slope[moved] = np.einsum("jd,jd->j", gradient[moved], direction[moved])
            size[moved] = 1.0
        size[active[~accepted]] *= 0.3
        active = active[(-slope[active] > tolerance) & (size[active] > 1e-9)]
    if (given_up := ~(-slope <= _VISIBLE * tolerance)).any():
        warn_given_up(f"{given_up.sum()} of {n} fits of a linear head")
    return x


def warn_given_up(what: str) -> None:
    """Say that an optimiser stopped before the optimum; what it found is kept."""
    warnings.warn(
        f"{what} stopped before the optimum, so the fit is rough; standardise the features or "
        "raise the penalty",
        ConvergenceWarning,
        stacklevel=2,
    )
