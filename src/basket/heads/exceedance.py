"""From K-1 separate answers to "does the level lie above k?" to probabilities of the levels.

Answers that were given one by one need not fall with k. They are repaired by isotonic regression,
the falling sequence nearest to them in squared distance, as after Frank & Hall (2001).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]


def level_probabilities(above: Float) -> Float:
    """Probabilities of the levels.

    Parameters
    ----------
    above : ndarray, float64, (..., K-1)
        P(level > k), within 0..1, in any order.

    Returns
    -------
    ndarray, float64, (..., K)
        Not negative, sums to 1.

    Examples
    --------
    >>> level_probabilities(np.array([0.9, 0.2, 0.4])).round(3).tolist()
    [0.1, 0.6, 0.0, 0.3]
    """
    repaired = falling(above)
    ends = np.ones((*repaired.shape[:-1], 1))
    bounded = np.concatenate([ends, repaired, 0 * ends], axis=-1)
    proba = bounded[..., :-1] - bounded[..., 1:]
    return np.asarray(proba / proba.sum(axis=-1, keepdims=True))


def falling(values: Float) -> Float:
    """Isotonic regression to falling sequences along the last axis (min-max formula).

    Examples
    --------
    >>> falling(np.array([0.9, 0.2, 0.4])).round(3).tolist()
    [0.9, 0.3, 0.3]
    """
    n = values.shape[-1]
    sums = np.concatenate([0 * values[..., :1], np.cumsum(values, axis=-1)], axis=-1)
    out = np.empty_like(values)
    for k in range(n):
        highest = [
            np.max([(sums[..., j + 1] - sums[..., i]) / (j + 1 - i) for j in range(k, n)], axis=0)
            for i in range(k + 1)
        ]
        out[..., k] = np.min(highest, axis=0)
    # Means of equal pools are computed along different ways.
    return np.minimum.accumulate(out, axis=-1)
