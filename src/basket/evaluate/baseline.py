"""The baseline that is always shown: what knowing the training labels alone would answer."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from basket.metrics import IntArray


def prior_levels(train_level_counts: npt.ArrayLike, *, metric: str) -> IntArray:
    """The constant level per skill that serves a metric best, knowing the training labels only.

    The most frequent level for accuracy, the (lower) median for the mean absolute error, the centre
    of the fullest window of three for off-by-one, the middle level where all levels count alike.
    Kappa is 0 for every constant; the most frequent level stands in.

    Parameters
    ----------
    train_level_counts : array_like, (n_skills, K)
    metric : str

    Returns
    -------
    ndarray of int, (n_skills,)

    Examples
    --------
    >>> prior_levels([[5, 1, 1, 2, 4]], metric="accuracy").tolist()
    [0]
    >>> prior_levels([[5, 1, 1, 2, 4]], metric="mae").tolist()
    [2]
    >>> prior_levels([[5, 1, 1, 2, 4]], metric="off_by_one").tolist()
    [1]
    """
    counts = _known(train_level_counts)
    levels: IntArray = counts.argmax(-1)
    if metric == "mae":
        half = counts.sum(-1, keepdims=True) / 2.0
        levels = np.argmax(counts.cumsum(-1) >= half, axis=-1)
    elif metric == "balanced_mae":
        levels = np.full(len(counts), (counts.shape[1] - 1) // 2)
    elif metric == "off_by_one":
        padded = np.pad(counts, ((0, 0), (1, 1)))
        levels = (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]).argmax(-1)
    return levels


def prior_probabilities(train_level_counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """How often each level occurs among the training labels, ``(n_skills, K)``, rows sum to 1."""
    counts = _known(train_level_counts)
    return np.asarray(counts / counts.sum(-1, keepdims=True))


def _known(train_level_counts: npt.ArrayLike) -> npt.NDArray[np.float64]:
    counts = np.asarray(train_level_counts, dtype=np.float64)
    # Without a single training label every level is as likely as the next.
    return np.where(counts.sum(-1, keepdims=True) > 0, counts, 1.0)
