"""Scores of held-out predictions as they stand in metrics.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from basket import metrics
from basket.heads.decision import DecisionRules
from basket.heads.held_out import Predictions


def score(
    held: Predictions,
    rules: DecisionRules,
    skills: Sequence[str],
    level_counts: npt.NDArray[np.float64],
) -> dict[str, Any]:
    """Accuracy, MAE and QWK of a head and of the prior beside it.

    Parameters
    ----------
    held : Predictions
        Calibrated probabilities.
    rules : DecisionRules
        Of the head.
    skills : sequence of str
        Names of the columns.
    level_counts : ndarray, (n_skills, K)
        How often each level occurs in training: all that the prior knows. A skill of which
        there is none has no score.
    """
    n_skills, n_levels = level_counts.shape
    total = level_counts.sum(axis=1, keepdims=True)
    prior = np.where(total > 0, level_counts / np.where(total > 0, total, 1), 1 / n_levels)
    flat = DecisionRules.uncalibrated(n_skills, n_levels)
    held = replace(held, levels=metrics.of_trained_skills(held.levels, level_counts))
    constant = np.repeat(prior[None], len(held.ids), axis=0)
    return {
        "n_videos": len(held.ids),
        "n_players": len(set(held.groups)),
        "head": _scores(held.proba, held.levels, rules, skills),
        "prior": _scores(constant, held.levels, flat, skills),
    }


def _scores(
    proba: npt.NDArray[np.float64],
    levels: npt.NDArray[np.int64],
    rules: DecisionRules,
    skills: Sequence[str],
) -> dict[str, Any]:
    out = {}
    for name, metric in metrics.CONFUSION_METRICS.items():
        confusion = metrics.confusion_matrices(levels, rules.predict(proba, name), rules.n_levels)
        scores = metric(confusion)
        out[name] = {
            "mean": _number(metrics.mean_over_skills(scores)),
            "per_skill": {
                skill: _number(score) for skill, score in zip(skills, scores, strict=True)
            },
        }
    return out


def _number(score: float) -> float | None:
    """A score for JSON, which has no NaN."""
    return None if score != score else float(score)
