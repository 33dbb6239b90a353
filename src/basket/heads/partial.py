r"""Partial (non-proportional) slopes: thresholds whose gaps depend on the features.

.. math:: \theta_k(x) = \theta_{k-1}(x) + \mathrm{softplus}(a_k + z\delta_k)

for the leading directions z of the features. Unlike one slope per threshold, no row can ever have
crossing thresholds, so probabilities stay probabilities. With every delta at 0 this is the
proportional model, which is where fitting starts.

Source: partial proportional odds, Peterson & Harrell (1990); the gaps' parametrisation is ours.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit

from basket.heads.links import Link
from basket.heads.newton_path import warn_given_up

Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]


def rising(first: Float, raw: Float) -> Float:
    """Thresholds of each row.

    Parameters
    ----------
    first : ndarray, float64, (n_skills,)
        Lowest threshold.
    raw : ndarray, float64, (n, n_skills, K-2)
        What the softplus turns into gaps.

    Returns
    -------
    ndarray, float64, (n, n_skills, K-1)
        Rising along the last axis.
    """
    start = np.broadcast_to(first[None, :, None], (*raw.shape[:2], 1))
    return np.cumsum(np.concatenate([start, np.logaddexp(0.0, raw)], axis=2), axis=2)


def offsets_of(thresholds: Float) -> Float:
    """Parameters a (K-2,) that give these thresholds (K-1,) where every delta is 0."""
    gaps = np.maximum(np.diff(thresholds), 1e-6)
    return np.asarray(gaps + np.log(-np.expm1(-gaps)))


def fit_partial(
    Z: Float,
    levels: Levels,
    weights: Float,
    *,
    base: Float,
    thresholds: Float,
    penalty: float,
    link: Link,
) -> tuple[Float, float, Float, Float]:
    """Fit one skill, starting from the proportional model.

    Parameters
    ----------
    Z : ndarray, float64, (n, q)
        Standardised leading directions.
    levels, weights : ndarray, (n,)
        Labels and weights.
    base : ndarray, float64, (n,)
        Scores of the proportional model; a correction in the directions Z is learned on top.
    thresholds : ndarray, float64, (K-1,)
        Of the proportional model.
    penalty : float
        On half the squares of all slopes.
    link : Link

    Returns
    -------
    ndarray, (q,)
        Correction of the slopes.
    float
        Lowest threshold.
    ndarray, (K-2,)
        a.
    ndarray, (q, K-2)
        delta.
    """
    q, k = Z.shape[1], len(thresholds)
    shape = (q, k - 1)

    def unpack(p: Float) -> tuple[Float, float, Float, Float]:
        return p[:q], float(p[q]), p[q + 1 : q + k], p[q + k :].reshape(shape)

    def objective(p: Float) -> tuple[float, Float]:
        correction, first, offsets, slopes = unpack(p)
        raw = offsets + Z @ slopes
        cuts = first + np.concatenate(
            [np.zeros((len(Z), 1)), np.cumsum(np.logaddexp(0.0, raw), axis=1)], axis=1
        )
        latent = base + Z @ correction
        padded = np.pad(cuts, ((0, 0), (1, 1)), constant_values=((0, 0), (-np.inf, np.inf)))
        rows = np.arange(len(Z))
        log_p, above, below = link.terms(
            padded[rows, levels + 1] - latent, padded[rows, levels] - latent
        )
        # Derivative of the loss in every threshold of every row, then through the running sum.
        by_cut = np.zeros((len(Z), k + 2))
        by_cut[rows, levels + 1] -= weights * above
        by_cut[rows, levels] += weights * below
        later = np.cumsum(by_cut[:, k:0:-1], axis=1)[:, ::-1]
        by_raw = later[:, 1:] * expit(raw)
        gradient = np.concatenate(
            [
                (weights * (above - below)) @ Z + penalty * correction,
                [later[:, 0].sum()],
                by_raw.sum(axis=0),
                (Z.T @ by_raw + penalty * slopes).ravel(),
            ]
        )
        squares = float((correction**2).sum() + (slopes**2).sum())
        total = float(weights.sum())
        return (float(-(weights @ log_p)) + 0.5 * penalty * squares) / total, gradient / total

    start = np.concatenate(
        [np.zeros(q), thresholds[:1], offsets_of(thresholds), np.zeros(q * (k - 1))]
    )
    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 500, "gtol": 1e-9, "ftol": 1e-13},
    )
    if not found.success:
        warn_given_up("the fit of partial slopes")
    return unpack(found.x)
