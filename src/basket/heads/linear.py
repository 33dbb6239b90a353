"""Arithmetic that linear heads share: scores of rows, and the scale of standardised features."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]
Array = npt.NDArray[Any]

_BLOCK_ROWS = 8192  # copied to float64 at once


def linear_scores(X: npt.NDArray[Any], coef: Float, intercept: Float) -> Float:
    """``X @ coef + intercept`` in double precision.

    Parameters
    ----------
    X : ndarray, any float type, (n, P)
        At least one row.
    coef : ndarray, float64, (P, m)
        Change of the scores per unit of a feature.
    intercept : ndarray, float64, (m,)
        Added to the scores.

    Returns
    -------
    ndarray, float64, (n, m)
    """
    parts = [
        X[start : start + _BLOCK_ROWS].astype(np.float64, copy=False) @ coef
        for start in range(0, len(X), _BLOCK_ROWS)
    ]
    return np.asarray(np.concatenate(parts) + intercept)


def standardisation(mean: Float, variance: Float, dtype: Any) -> tuple[Array, Array]:
    """What is subtracted from each column, and what it is multiplied by then, (P,) each.

    In double precision for features of that ``dtype``: in single precision, what tells rows apart
    would be lost far from zero. The second is 0 for columns that are constant but for rounding.
    """
    double = dtype == np.float64
    std = np.sqrt(variance)
    varies = std > (1e-12 if double else 1e-6) * np.abs(mean)
    scale = np.where(varies, 1.0 / np.where(varies, std, 1.0), 0.0)
    kind = np.float64 if double else np.float32
    return mean.astype(kind), scale.astype(kind)
