"""Scores of predicted levels and of probabilities, per skill: pure functions of arrays.

Conventions: ``y_true`` and ``y_pred`` are integer arrays ``(n, n_skills)`` of levels ``0..K-1``;
``-1`` in ``y_true`` marks a missing label, and that cell takes no part. A one-dimensional array is
one skill. The number of levels K is always given, never inferred: a level that happens to be absent
from a small test set must not change a score.

Scores of levels come from the confusion matrices, ``(n_skills, K, K)`` with true levels in rows:
what resampling players needs is only their sums. Scores of probabilities are means over cells
(:func:`negative_log_likelihood`, :func:`ranked_probability`), rank correlations of the expected
level (:func:`rank_correlations`), or the gap between promise and frequency
(:func:`calibration_errors`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.integer]
Scores = npt.NDArray[np.float64]

#: Bins of equal width in which a promised probability is compared with the frequency.
CALIBRATION_BINS = 10


def confusion_matrices(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, n_levels: int) -> Scores:
    """Count (true, predicted) pairs per skill.

    Parameters
    ----------
    y_true, y_pred : array_like of int, (n, n_skills) or (n,)
        Levels; ``-1`` in ``y_true`` is missing.
    n_levels : int
        K.

    Returns
    -------
    ndarray, float64, (n_skills, K, K)
        Rows are true levels, columns predicted ones.

    Raises
    ------
    ValueError
        Shapes differ, or a level lies outside ``0..K-1``.

    Examples
    --------
    >>> confusion_matrices([0, 1, -1], [0, 0, 1], 2)[0].tolist()
    [[1.0, 0.0], [1.0, 0.0]]
    """
    true, predicted = _as_columns(y_true), _as_columns(y_pred)
    if true.shape != predicted.shape:
        raise ValueError(f"y_true {true.shape} and y_pred {predicted.shape} differ in shape")
    known = true >= 0
    if known.any():
        cells = np.stack([true[known], predicted[known]])
        if cells.min() < 0 or cells.max() >= n_levels:
            raise ValueError(f"levels must lie in 0..{n_levels - 1}, got up to {cells.max()}")
    n_skills = true.shape[1]
    skill = np.broadcast_to(np.arange(n_skills), true.shape)[known]
    flat = (skill * n_levels + true[known]) * n_levels + predicted[known]
    counts = np.bincount(flat, minlength=n_skills * n_levels**2)
    return counts.reshape(n_skills, n_levels, n_levels).astype(np.float64)


def accuracy(confusion: Scores) -> Scores:
    """Share of exact hits, the paper's metric; NaN where a skill has no labels. ``(...,)``."""
    return _ratio(np.trace(confusion, axis1=-2, axis2=-1), confusion.sum((-2, -1)))


def balanced_accuracy(confusion: Scores) -> Scores:
    """Mean over the true levels at hand of the share that is hit. ``(...,)``.

    Equal to ``sklearn.metrics.balanced_accuracy_score``: a level that does not occur among the true
    ones has no share, and takes no part in the mean.
    """
    return _mean_over_true_levels(np.diagonal(confusion, axis1=-2, axis2=-1), confusion)


def off_by_one_accuracy(confusion: Scores) -> Scores:
    """Share of answers at most one level away. ``(...,)``."""
    near = _distance(confusion) <= 1
    return _ratio((confusion * near).sum((-2, -1)), confusion.sum((-2, -1)))


def mean_absolute_error(confusion: Scores) -> Scores:
    """Mean distance in levels; NaN where a skill has no labels. ``(...,)``."""
    return _ratio((confusion * _distance(confusion)).sum((-2, -1)), confusion.sum((-2, -1)))


def balanced_mean_absolute_error(confusion: Scores) -> Scores:
    """Mean over the true levels at hand of their mean distance. ``(...,)``.

    The "macro-averaged MAE" of Baccianella, Esuli and Sebastiani (2009); ``dlordinal``'s ``amae``.
    """
    return _mean_over_true_levels((confusion * _distance(confusion)).sum(-1), confusion)


def quadratic_weighted_kappa(confusion: Scores) -> Scores:
    """Cohen's kappa with quadratic weights. ``(...,)``.

    Equal to ``cohen_kappa_score(weights="quadratic", labels=range(K))``. Where truth and prediction
    are the same constant the chance disagreement is 0 and kappa is undefined: NaN.
    """
    weights = _distance(confusion) ** 2
    total = confusion.sum((-2, -1))
    observed = (confusion * weights).sum((-2, -1))
    rows, columns = confusion.sum(-1), confusion.sum(-2)
    expected = _ratio(((rows @ weights) * columns).sum(-1), total)
    return 1.0 - _ratio(observed, expected)


#: The scores every head has a decision rule for, by the name used in reports and options.
CONFUSION_METRICS: dict[str, Callable[[Scores], Scores]] = {
    "accuracy": accuracy,
    "mae": mean_absolute_error,
    "qwk": quadratic_weighted_kappa,
}

#: All scores that come from a confusion matrix alone.
LEVEL_METRICS: dict[str, Callable[[Scores], Scores]] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "off_by_one": off_by_one_accuracy,
    "mae": mean_absolute_error,
    "balanced_mae": balanced_mean_absolute_error,
    "qwk": quadratic_weighted_kappa,
}

#: Scores of the probabilities themselves.
PROBABILITY_METRICS = ("spearman", "kendall", "rps", "nll", "calibration_error")

#: Whether a larger value is better.
HIGHER_IS_BETTER = {
    "accuracy": True,
    "balanced_accuracy": True,
    "off_by_one": True,
    "mae": False,
    "balanced_mae": False,
    "qwk": True,
    "spearman": True,
    "kendall": True,
    "rps": False,
    "nll": False,
    "calibration_error": False,
}


def negative_log_likelihood(y_true: npt.ArrayLike, proba: npt.ArrayLike) -> Scores:
    """Minus the log probability of each label, in nats, ``(n, n_skills)``; NaN where missing.

    Its mean over known cells equals ``sklearn.metrics.log_loss``, which keeps probabilities away
    from 0 by the spacing of float64 as is done here: one impossible label costs 36 nats.
    """
    true, p = _labelled(y_true, proba)
    of_label = np.take_along_axis(p, np.maximum(true, 0)[..., None], axis=-1)[..., 0]
    return np.where(true >= 0, -np.log(np.maximum(of_label, np.finfo(np.float64).eps)), np.nan)


def ranked_probability(y_true: npt.ArrayLike, proba: npt.ArrayLike) -> Scores:
    """Ranked probability score of each cell, ``(n, n_skills)``; NaN where missing; 0 is perfect.

    The squared distance between the cumulated probabilities and the cumulated truth, summed over
    the K-1 thresholds (Epstein 1969), not divided by their number; as in ``dlordinal``.

    Examples
    --------
    >>> ranked_probability([0, 2], [[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]).ravel().tolist()
    [0.0, 2.0]
    """
    true, p = _labelled(y_true, proba)
    cumulated = np.cumsum(p, axis=-1)[..., :-1]
    reached = true[..., None] <= np.arange(p.shape[-1] - 1)
    return np.where(true >= 0, ((cumulated - reached) ** 2).sum(-1), np.nan)


def calibration_sums(
    y_true: npt.ArrayLike, proba: npt.ArrayLike, *, n_bins: int = CALIBRATION_BINS
) -> Scores:
    """What calibration is computed from: per skill, threshold and bin of the promised probability.

    Threshold k asks whether the level lies above k. Bins have equal width, the last one closed.

    Returns
    -------
    ndarray, float64, (n_skills, K-1, n_bins, 3)
        Number of cells, sum of the promised probabilities, number of levels above the threshold.
    """
    true, p = _labelled(y_true, proba)
    above = np.clip(1.0 - np.cumsum(p, axis=-1)[..., :-1], 0.0, 1.0)
    n_skills, n_cuts = above.shape[1:]
    bins = np.minimum((above * n_bins).astype(np.int64), n_bins - 1)
    cell = (np.arange(n_skills)[:, None] * n_cuts + np.arange(n_cuts)) * n_bins + bins
    known = np.broadcast_to((true >= 0)[..., None], above.shape)
    happened = (true[..., None] > np.arange(n_cuts)).astype(np.float64)
    sums = [
        np.bincount(cell[known], weights=values[known], minlength=n_skills * n_cuts * n_bins)
        for values in (np.ones_like(above), above, happened)
    ]
    stacked: Scores = np.stack(sums, axis=-1).astype(np.float64)
    return stacked.reshape(n_skills, n_cuts, n_bins, 3)


def calibration_errors(sums: Scores) -> Scores:
    """Expected calibration error per threshold, ``(..., K-1, n_bins, 3) -> (..., K-1)``.

    The distance between promise and frequency, averaged over the bins by their counts. It is
    never negative and shrinks with more data, so compare it only on the same cells.
    """
    count, promised, happened = np.moveaxis(sums, -1, 0)
    return _ratio(np.abs(promised - happened).sum(-1), count.sum(-1))


def rank_correlations(
    levels: npt.ArrayLike,
    score: npt.ArrayLike,
    n_levels: int,
    *,
    weights: npt.NDArray[np.floating[Any]] | None = None,
) -> tuple[Scores, Scores]:
    """Spearman's rho and Kendall's tau-b between the levels of one skill and a score, with ties.

    Everything is counted in pairs of levels (how often does a row of the higher level have the
    higher score?), which is why many weightings of the same rows cost little: one sort serves all.

    Parameters
    ----------
    levels : array_like of int, (n,)
        ``0..K-1``; a row with a negative level takes no part.
    score : array_like of float, (n,)
        The expected level.
    n_levels : int
        K.
    weights : ndarray, (n, R), optional
        How often each row counts in each of R replicates; once, if not given.

    Returns
    -------
    spearman, kendall : ndarray, float64, (R,)
        Equal to ``scipy.stats``; NaN where levels or scores are constant.
    """
    known = np.flatnonzero(np.asarray(levels) >= 0)
    order = known[np.argsort(np.asarray(score)[known], kind="stable")]
    y, x = np.asarray(levels)[order], np.asarray(score, dtype=np.float64)[order]
    w = np.ones((len(y), 1)) if weights is None else weights[order]
    per_level = [np.flatnonzero(y == level) for level in range(n_levels)]
    counts = np.stack([w[rows].sum(0, dtype=np.float64) for rows in per_level])
    total = counts.sum(0)
    # Twice the number of ordered pairs (lower level below higher one), ties counting half.
    wins = np.zeros((n_levels, n_levels, w.shape[1]))
    for low in range(n_levels):
        heap = np.concatenate([np.zeros((1, w.shape[1]), w.dtype), w[per_level[low]].cumsum(0)])
        for high in range(low + 1, n_levels):
            theirs, mine = x[per_level[low]], x[per_level[high]]
            left, right = (np.searchsorted(theirs, mine, side) for side in ("left", "right"))
            below = heap[left] if np.array_equal(left, right) else (heap[left] + heap[right]) / 2
            wins[low, high] = np.einsum("ir,ir->r", w[per_level[high]], below)
            wins[high, low] = counts[low] * counts[high] - wins[low, high]
        wins[low, low] = counts[low] ** 2 / 2
    starts = np.flatnonzero(np.append(True, x[1:] != x[:-1])) if len(x) else np.zeros(0, np.int64)
    ties = np.add.reduceat(w, starts, axis=0) if 0 < len(starts) < len(x) else w
    return _spearman(wins, counts, total, ties), _kendall(wins, counts, total, ties)


def mean_over_skills(scores: Scores) -> float:
    """Mean over the skills that have a score; NaN if none has.

    A QWK is undefined for a skill whose predictions never vary with the truth at hand; leaving the
    skill out is said in the report, replacing it by 0 would be an invention.
    """
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if known.size else float("nan")


def of_trained_skills(levels: npt.NDArray[Any], level_counts: npt.ArrayLike) -> npt.NDArray[Any]:
    """Levels (n, n_skills), -1 for skills without a label in training.

    What a head says of such a skill is no answer, and its score belongs in no mean;
    ``level_counts`` (n_skills, K) is how often each level occurs in training.
    """
    return np.where(np.sum(level_counts, axis=1) > 0, levels, -1)


def _spearman(wins: Scores, counts: Scores, total: Scores, ties: Any) -> Scores:
    # Ranks of levels, centred; the mean of ranks below x is what ``wins`` sums up per level.
    centred = np.cumsum(counts, axis=0) - counts / 2 - total / 2
    covariance = (centred * (wins.sum(0) - counts * total / 2)).sum(0)
    spread_x = (total**3 - (ties.astype(np.float64) ** 3).sum(0)) / 12
    spread_y = (total**3 - (counts**3).sum(0)) / 12
    return _correlation(covariance, spread_x, spread_y)


def _kendall(wins: Scores, counts: Scores, total: Scores, ties: Any) -> Scores:
    upper = np.triu_indices(len(counts), 1)
    concordant = (2 * wins[upper] - counts[upper[0]] * counts[upper[1]]).sum(0)
    untied_x = (total**2 - (ties.astype(np.float64) ** 2).sum(0)) / 2
    untied_y = (total**2 - (counts**2).sum(0)) / 2
    return _correlation(concordant, untied_x, untied_y)


def _correlation(product: Scores, first: Scores, second: Scores) -> Scores:
    spread = np.sqrt(np.maximum(first, 0.0) * np.maximum(second, 0.0))
    return np.clip(_ratio(product, spread), -1.0, 1.0)


def _labelled(
    y_true: npt.ArrayLike, proba: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Levels (n, n_skills) and probabilities (n, n_skills, K) that belong together."""
    true, p = _as_columns(y_true), np.asarray(proba, dtype=np.float64)
    p = p[:, None] if p.ndim == 2 else p
    if p.ndim != 3 or p.shape[:2] != true.shape or true.max(initial=-1) >= p.shape[2]:
        raise ValueError(f"levels {true.shape} and probabilities {p.shape} do not belong together")
    return true, p


def _as_columns(levels: npt.ArrayLike) -> npt.NDArray[np.int64]:
    array = np.asarray(levels)
    if array.dtype.kind not in "iu":
        raise ValueError(f"levels must be integers, got {array.dtype}")
    return (array[:, None] if array.ndim == 1 else array).astype(np.int64)


def _distance(confusion: Scores) -> Scores:
    levels = np.arange(confusion.shape[-1], dtype=np.float64)
    return np.abs(levels[:, None] - levels)


def _mean_over_true_levels(sums: Scores, confusion: Scores) -> Scores:
    counts = confusion.sum(-1)
    present = counts > 0
    shares = np.divide(sums, counts, out=np.zeros(counts.shape), where=present)
    return _ratio(shares.sum(-1), present.sum(-1))


def _ratio(numerator: Scores, denominator: Scores) -> Scores:
    out = np.full(np.broadcast(numerator, denominator).shape, np.nan)
    np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return out
