"""Every metric of some answers, as it is and in every replicate of the bootstrap."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from basket import metrics as formulas
from basket.evaluate import bootstrap
from basket.evaluate.answers import Answers
from basket.evaluate.baseline import prior_levels, prior_probabilities
from basket.metrics import LEVEL_METRICS, IntArray, Scores, confusion_matrices


def cells_of(answers: Answers, metric: str) -> Scores:
    """Log-likelihood or ranked probability score of every cell, ``(n, n_skills)``."""
    of = {"nll": formulas.negative_log_likelihood, "rps": formulas.ranked_probability}[metric]
    return of(answers.truth, answers.proba)


def point_scores(answers: Answers) -> dict[str, Scores]:
    """Every metric, ``(n_skills,)`` each."""
    n_levels, truth = answers.n_levels, answers.truth
    scores = {
        name: formula(confusion_matrices(truth, answers.levels[name], n_levels))
        for name, formula in LEVEL_METRICS.items()
    }
    ranked = [
        formulas.rank_correlations(levels, score, n_levels)
        for levels, score in zip(truth.T, answers.expected.T, strict=True)
    ]
    sums = formulas.calibration_sums(truth, answers.proba)
    return scores | {
        "spearman": np.array([rho[0] for rho, _ in ranked]),
        "kendall": np.array([tau[0] for _, tau in ranked]),
        "rps": _column_means(cells_of(answers, "rps")),
        "nll": _column_means(cells_of(answers, "nll")),
        "calibration_error": _column_means(formulas.calibration_errors(sums).T),
    }


def replicated_scores(answers: Answers, draws: bootstrap.Counts) -> dict[str, Scores]:
    """Every metric that has an interval, ``(n_replicates, n_skills)`` each."""
    who, n_levels = answers.players, answers.n_levels
    spearman, kendall = bootstrap.replicate_rank_correlations(
        answers.truth, answers.expected, draws, players=who, n_levels=n_levels
    )
    return {
        **bootstrap.replicate_level_metrics(
            answers.truth, answers.levels, draws, players=who, n_levels=n_levels
        ),
        "spearman": spearman,
        "kendall": kendall,
        "rps": bootstrap.replicate_means(cells_of(answers, "rps"), draws, players=who),
        "nll": bootstrap.replicate_means(cells_of(answers, "nll"), draws, players=who),
    }


def draws_for(answers: Answers, *, n_replicates: int, seed: int) -> bootstrap.Counts | None:
    """Draws of the players at hand; none where one player alone says nothing about others."""
    n_players = answers.n_players
    if n_players < 2:
        return None
    return bootstrap.draw_players(n_players, n_replicates=n_replicates, seed=seed)


def farthest(levels: IntArray, n_levels: int) -> IntArray:
    """The answer farthest from each level (the lower one of equals).

    >>> farthest(np.array([0, 1, 2, 3, 4]), 5).tolist()
    [4, 4, 0, 0, 0]
    """
    return np.where(2 * levels >= n_levels - 1, 0, n_levels - 1)


def prior_answers(answers: Answers, counts: npt.NDArray[np.float64]) -> Answers:
    """What knowing the training labels alone would answer to the same videos."""
    shape = answers.truth.shape
    constants = {
        name: np.broadcast_to(prior_levels(counts, metric=name), shape) for name in LEVEL_METRICS
    }
    proba = np.broadcast_to(prior_probabilities(counts), answers.proba.shape)
    return Answers(answers.ids, answers.players, answers.truth, proba, constants, {})


def _column_means(values: npt.NDArray[Any]) -> Scores:
    """Mean of each column over what is known there; NaN where nothing is."""
    known = ~np.isnan(values)
    count = known.sum(0)
    total = np.where(known, values, 0.0).sum(0)
    out: Scores = np.full(total.shape, np.nan)
    np.divide(total, count, out=out, where=count > 0)
    return out
