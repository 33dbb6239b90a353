"""Linear scores of many rows, in double precision but bounded memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Float = npt.NDArray[np.float64]

_ROWS = 8192  # copied to float64 at once


def linear_scores(X: npt.NDArray[Any], coef: Float, intercept: Float) -> Float:
    """``X @ coef + intercept``.

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
        X[start : start + _ROWS].astype(np.float64, copy=False) @ coef
        for start in range(0, len(X), _ROWS)
    ]
    return np.asarray(np.concatenate(parts) + intercept)
