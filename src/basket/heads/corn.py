"""CORN: K-1 conditional questions "above level k, of those at or above it?" make a level.

Source: Shi, Cao & Raschka (2021), Deep neural networks for rank-consistent ordinal regression based
on conditional probabilities.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import expit

Float = npt.NDArray[np.float64]


def corn_probabilities(logits: Float) -> Float:
    """Probabilities from conditional logits.

    Parameters
    ----------
    logits : ndarray, float64, (..., K-1)
        Log-odds of lying above level k for those at or above it.

    Returns
    -------
    ndarray, float64, (..., K)
        P(y > k) is the product of the conditional probabilities up to k.
    """
    above = np.cumprod(expit(logits), axis=-1)
    ends = np.ones((*logits.shape[:-1], 1))
    proba = np.maximum(-np.diff(np.concatenate([ends, above, 0 * ends], axis=-1), axis=-1), 0.0)
    return np.asarray(proba / proba.sum(axis=-1, keepdims=True))


def at_or_above(levels: npt.NDArray[np.int64], weights: Float, n_levels: int) -> Float:
    """Weights of the rows in each conditional question: 0 for those below its level.

    Parameters
    ----------
    levels : ndarray, int64, (n, n_skills)
        ``0..K-1``.
    weights : ndarray, float64, (n, J)
        Of each problem: a multiple of ``n_skills``, skills within folds.
    n_levels : int
        K.

    Returns
    -------
    ndarray, float64, (n, J * (K-1))
        Questions within problems.
    """
    repeats = weights.shape[1] // levels.shape[1]
    asked = levels[:, :, None] >= np.arange(n_levels - 1)
    asked = np.tile(asked, (1, repeats, 1))
    return (weights[:, :, None] * asked).reshape(len(levels), -1)
