r"""The cumulative logit link: one latent score and K-1 thresholds give K probabilities.

:math:`P(y \le k) = \sigma(\theta_k - f)`, so with :math:`u = \theta_y - f` and
:math:`l = \theta_{y-1} - f` (:math:`\theta_{-1} = -\infty`, :math:`\theta_{K-1} = \infty`)

.. math:: \log P = \log\sigma(u) + \log\sigma(-l) + \log(1 - e^{-(u - l)})

which stays finite where the difference of sigmoids has long become 0.

Source: McCullagh (1980), Regression models for ordinal data; concavity in the thresholds and the
slope together: Pratt (1981), Concavity of the log likelihood.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from basket.heads.links import LINKS, all_thresholds, expit_and_log1m, log1mexp
from basket.heads.newton_path import warn_given_up

Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

#: Weight of one invented player whose level is anybody's guess. It keeps the thresholds of a level
#: that never occurs apart and finite; among hundreds of players it is invisible.
PSEUDO_WEIGHT = 1.0
#: Share of a level that never occurs: it leaves the others what they have.
_UNSEEN = 1e-9


def log_likelihood(latent: Float, thresholds: Float, levels: Levels) -> Float:
    """Log probability of each row's level, (n,)."""
    return LINKS["logit"].log_interval(*_bounds(latent, thresholds, levels))


def gradient_hessian(latent: Float, thresholds: Float, levels: Levels) -> tuple[Float, Float]:
    r"""First and second derivative of :math:`-\log P` in the latent score, (n,) each.

    :math:`1 - \sigma(u) - \sigma(l)` and :math:`\sigma(u)\sigma(-u) + \sigma(l)\sigma(-l)`.
    """
    upper, lower = _bounds(latent, thresholds, levels)
    above, below = expit(upper), expit(lower)
    # 1 - sigma(u) is sigma(-u): the difference of two sigmoids keeps its digits at both ends.
    gradient = expit(-upper) - below
    hessian = above * expit(-upper) + below * expit(-lower)
    return gradient, hessian


def probabilities(latent: Float, thresholds: Float) -> Float:
    """Probabilities of all levels.

    Parameters
    ----------
    latent : ndarray, float64, (n, n_skills)
        Latent scores.
    thresholds : ndarray, float64, (n_skills, K-1)
        Rising along the last axis.

    Returns
    -------
    ndarray, float64, (n, n_skills, K)
        Not negative, sums to 1.
    """
    return LINKS["logit"].probabilities(latent, thresholds)


def marginal_thresholds(
    levels: Levels, weights: Float, n_levels: int, *, pseudo_weight: float = PSEUDO_WEIGHT
) -> Float:
    """Log-odds of the cumulated level frequencies, (K-1,): the fit at latent score 0."""
    counts = _per_level(weights, levels, n_levels) + pseudo_weight / n_levels
    below = np.cumsum(counts)[:-1] / counts.sum()
    return np.asarray(np.log(below) - np.log1p(-below))


def fit_thresholds(
    latent: Float,
    levels: Levels,
    weights: Float,
    n_levels: int,
    *,
    start: Float | None = None,
    pseudo_weight: float = PSEUDO_WEIGHT,
) -> Float:
    """Maximum-likelihood thresholds for given latent scores, (K-1,).

    Parameters
    ----------
    latent, levels, weights : ndarray, (n,)
        Scores, levels ``0..K-1``, sample weights.
    n_levels : int
        K.
    start : ndarray, (K-1,), optional
        Where to start from; the marginal log-odds otherwise.
    pseudo_weight : float
        See :data:`PSEUDO_WEIGHT`.
    """
    seen = _Seen(levels, weights, n_levels)
    if len(seen.kept) == 0:
        return seen.marginal
    first = marginal_thresholds(levels, weights, n_levels) if start is None else start
    rows = seen.rows(latent, pseudo_weight)
    return seen.all_thresholds(_newton(first[seen.kept], rows, slope=None), latent)


def fit_thresholds_and_slope(
    latent: Float,
    levels: Levels,
    weights: Float,
    n_levels: int,
    *,
    pseudo_weight: float = PSEUDO_WEIGHT,
) -> tuple[Float, float]:
    """Thresholds (K-1,) and the factor >= 0 that makes a score's odds right.

    A score that orders players the wrong way round gets the factor 0: the marginal frequencies.
    """
    scale = float(np.sqrt(np.average(latent**2, weights=weights))) if weights.sum() > 0 else 0.0
    marginal = marginal_thresholds(levels, weights, n_levels, pseudo_weight=pseudo_weight)
    seen = _Seen(levels, weights, n_levels)
    if not scale > 0 or len(seen.kept) == 0:
        return marginal, 0.0
    # Newton's damping sees slope and thresholds on one scale.
    rows = seen.rows(latent / scale, pseudo_weight)
    fitted = _newton(np.append(marginal[seen.kept], 0.0), rows, slope=-1)
    slope = float(fitted[-1]) / scale
    if not slope > 0:
        return marginal, 0.0
    return seen.all_thresholds(fitted[:-1], slope * latent), slope


def _bounds(latent: Float, thresholds: Float, levels: Levels) -> tuple[Float, Float]:
    padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
    return padded[levels + 1] - latent, padded[levels] - latent


def _per_level(values: Float, levels: Levels, n_levels: int) -> Float:
    """Sum of ``values`` over the rows of each level, (K,)."""
    return np.bincount(levels, weights=values, minlength=n_levels).astype(np.float64)


_Rows = tuple[Float, Levels, Float]


class _Seen:
    """Levels that have weight: a fit sees no others, so that what never occurs changes nothing."""

    def __init__(self, levels: Levels, weights: Float, n_levels: int) -> None:
        self.levels, self.weights = levels, weights
        self.occurs = _per_level(weights, levels, n_levels) > 0
        self.kept = np.flatnonzero(self.occurs)[:-1]
        tiny = _UNSEEN * n_levels * float(weights.sum())
        self.marginal = marginal_thresholds(levels, weights, n_levels, pseudo_weight=tiny)

    def rows(self, latent: Float, pseudo_weight: float) -> _Rows:
        """Scores, places among the levels that occur, and weights; invented players stand last."""
        levels = np.maximum(np.cumsum(self.occurs) - 1, 0)[self.levels]
        if pseudo_weight == 0:
            return latent, levels, self.weights
        n = len(self.kept) + 1
        return (
            np.append(latent, np.zeros(n)),
            np.append(levels, np.arange(n)),
            np.append(self.weights, np.full(n, pseudo_weight / n)),
        )

    def all_thresholds(self, cuts: Float, latent: Float) -> Float:
        """See :func:`basket.heads.links.all_thresholds`."""
        return all_thresholds(cuts, self.occurs, self.marginal, latent)


def _newton(start: Float, rows: _Rows, *, slope: int | None) -> Float:
    """Damped Newton on the log likelihood of thresholds and, where ``slope`` is -1, the slope."""
    total = rows[2].sum()
    parameters = start
    current, gradient, hessian = _derivatives(start, rows, slope)
    for _ in range(100):
        step = np.linalg.solve(hessian - 1e-12 * total * np.eye(len(start)), -gradient)
        if gradient @ step < 1e-11 * total:
            # So near, one more step squares the error, and no difference of likelihoods is left
            # that a line search could see.
            return parameters + step
        factor = 1.0
        found = _derivatives(parameters + step, rows, slope)
        while not found[0] > current and factor > 1e-6:
            factor /= 2
            found = _derivatives(parameters + factor * step, rows, slope)
        if not found[0] > current:
            break
        parameters, (current, gradient, hessian) = parameters + factor * step, found
    warn_given_up("the fit of thresholds to scores")
    return parameters


def _split(parameters: Float, latent: Float, slope: int | None) -> tuple[Float, Float]:
    if slope is None:
        return parameters, latent
    return parameters[:-1], parameters[-1] * latent


def _derivatives(parameters: Float, rows: _Rows, slope: int | None) -> tuple[float, Float, Float]:
    """Log likelihood, and its gradient and Hessian in all parameters."""
    latent, levels, weights = rows
    thresholds, scores = _split(parameters, latent, slope)
    padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
    gap, k = np.diff(padded), len(thresholds)
    if (gap <= 0).any():
        return -np.inf, np.zeros(len(parameters)), -np.eye(len(parameters))
    # Half of each term depends on the level alone: K numbers instead of n.
    with np.errstate(over="ignore"):
        log_gap, beyond = log1mexp(gap), 1.0 / np.expm1(gap)
    above, log_above = expit_and_log1m(scores - padded[levels + 1])
    below, log_below = expit_and_log1m(padded[levels] - scores)
    value = float(weights @ (log_above + log_below + log_gap[levels]))
    # d log P / du and -d log P / dl; 1 / (e^gap - 1) is what a difference of sigmoids leaves.
    a, b = above + beyond[levels], below + beyond[levels]
    d_uu = weights * a * (2 * above - 1 - a)
    d_ll = weights * b * (2 * below - 1 - b)
    d_ul = weights * a * b

    def per_upper(values: Float) -> Float:
        return _per_level(values, levels, k + 1)[:k]

    def per_lower(values: Float) -> Float:
        return _per_level(values, levels, k + 1)[1:]

    gradient = per_upper(weights * a) - per_lower(weights * b)
    hessian = np.diag(per_upper(d_uu) + per_lower(d_ll))
    beside = _per_level(d_ul, levels, k + 1)[1:k]
    hessian += np.diag(beside, 1) + np.diag(beside, -1)
    if slope is None:
        return value, gradient, hessian
    across = -(per_upper(latent * (d_uu + d_ul)) + per_lower(latent * (d_ll + d_ul)))
    corner = float(latent**2 @ (d_uu + 2 * d_ul + d_ll))
    hessian = np.block([[hessian, across[:, None]], [across[None, :], np.array([[corner]])]])
    return value, np.append(gradient, -(weights * (a - b)) @ latent), hessian
