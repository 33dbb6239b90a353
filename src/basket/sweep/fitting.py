"""Fit settings that share their matrices, and score each on validation players.

Settings of one head that differ in little are fitted together (:mod:`basket.heads.together`).
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.dataset.skills import N_LEVELS
from basket.errors import MissingDependencyError
from basket.evaluate import bootstrap
from basket.evaluate.bootstrap import mean_per_replicate, percentile_interval
from basket.heads import folds
from basket.heads.decision import DecisionRules
from basket.heads.filled_in import head_for
from basket.heads.matrix import Matrix
from basket.heads.table import make_head, parameter_names
from basket.heads.together import fit_many, share_key
from basket.metrics import (
    CONFUSION_METRICS,
    IntArray,
    confusion_matrices,
    mean_over_skills,
    of_trained_skills,
)
from basket.sweep.setting import Setting

#: Bootstrap replicates whose means a record keeps: equal draws make records comparable in pairs.
N_REPLICATES = 200

#: Probabilities that later settings of a piece are compared with.
_REMEMBERED = 2

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """One setting, fitted and scored."""

    setting: Setting
    scores: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Failed:
    """One setting that could not be fitted or scored."""

    setting: Setting
    error: Exception


def share_signature(setting: Setting) -> tuple[Any, ...]:
    """Equal for settings that are fitted together."""
    return (setting.features, setting.pooling, _share_key(replace(setting, features=(), pool="")))


@cache
def _share_key(setting: Setting) -> str:
    try:
        params = setting.parameters
        if "seed" in parameter_names(setting.head):
            params["seed"] = setting.seed
        return share_key(make_head(setting.head, n_levels=N_LEVELS, **params))
    except Exception:  # noqa: BLE001 - what is wrong with it is told where it is fitted
        return repr(setting)


def fit_settings(
    settings: Sequence[Setting],
    train: Matrix,
    val: Matrix,
    *,
    feature_sets: Sequence[Mapping[str, Any]] = (),
) -> Iterator[Fitted | Failed]:
    """Fit settings of one :func:`share_signature`, and yield them in their order.

    Parameters
    ----------
    settings : sequence of Setting
        All on these matrices.
    train, val : Matrix
    feature_sets : sequence of mapping
        As of :func:`basket.heads.filled_in.head_for`; needed by heads that read names of columns.

    Yields
    ------
    Fitted or Failed
        Its seconds are an equal share of what all took to fit, and its own to be scored.

    Raises
    ------
    MemoryError, MissingDependencyError
        They say nothing against a setting, which may be fitted where there is more.
    """
    start = time.perf_counter()
    val = replace(val, Y=of_trained_skills(val.Y, train.level_counts()))
    try:
        heads = [
            head_for(
                setting.head,
                setting.parameters,
                seed=setting.seed,
                skills=train.skills,
                n_levels=train.n_levels,
                feature_sets=feature_sets,
                pooling=setting.pooling,
            )
            for setting in settings
        ]
        fit_many(heads, train.X, train.Y, groups=train.groups)
    except (MemoryError, MissingDependencyError):
        raise
    except Exception as error:  # noqa: BLE001 - the libraries of the heads raise their own
        if len(settings) == 1:
            yield Failed(settings[0], error)
            return
        # One of them spoils it for all: apart, each of the others is fitted and that one is told.
        for setting in settings:
            yield from fit_settings([setting], train, val, feature_sets=feature_sets)
        return
    each_s = (time.perf_counter() - start) / len(settings)
    known: list[tuple[Float, dict[str, Any]]] = []
    for setting, head in zip(settings, heads, strict=True):
        start = time.perf_counter()
        try:
            # Heads that take segments accept ragged features too, which array_like does not say.
            held: Any = val.X
            proba = head.predict_proba(held)
            # Seeds that change nothing (no fold is dealt for one penalty) need no second look.
            scores = next((scores for seen, scores in known if np.array_equal(seen, proba)), None)
            if scores is None:
                scores = validation_scores(proba, val)
        except (MemoryError, MissingDependencyError):
            raise
        except Exception as error:  # noqa: BLE001 - as above
            yield Failed(setting, error)
            continue
        known = [*known, (proba, scores)][-_REMEMBERED:]
        yield Fitted(setting, scores, each_s + time.perf_counter() - start)


def validation_scores(proba: npt.NDArray[np.floating[Any]], val: Matrix) -> dict[str, Any]:
    """Mean, interval, replicates and skills of each main metric on the validation players.

    Decision rules are chosen on one half of the players and applied to the other, and the other
    way round, so no score profits from having been looked at.
    """
    levels = cross_decided(np.asarray(proba, dtype=np.float64), val)
    n_players = val.n_players
    draws = bootstrap.draw_players(n_players, n_replicates=N_REPLICATES)
    replicated = (
        bootstrap.replicate_level_metrics(
            val.Y, levels, draws, players=val.groups, n_levels=val.n_levels
        )
        if n_players > 1
        else {}
    )
    found = {}
    for name, formula in CONFUSION_METRICS.items():
        per_skill = formula(confusion_matrices(val.Y, levels[name], val.n_levels))
        means = mean_per_replicate(replicated[name]) if name in replicated else np.zeros(0)
        interval = percentile_interval(means, n_players)
        found[name] = {
            "mean": _number(mean_over_skills(per_skill)),
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "n_players": n_players,
            "per_skill": {
                skill: _number(score) for skill, score in zip(val.skills, per_skill, strict=True)
            },
            "replicates": [_number(round(float(value), 6)) for value in means],
        }
    return found


def cross_decided(proba: Float, val: Matrix) -> dict[str, IntArray]:
    """Levels by metric; each half of the players is decided by rules fitted on the other half."""
    keys = folds.group_keys(val.groups, np.zeros((len(val), 1)))
    half = folds.folds_of(keys, 2)
    levels = {name: np.zeros(val.Y.shape, dtype=np.int64) for name in CONFUSION_METRICS}
    for index in range(int(half.max()) + 1):
        mine, others = half == index, half != index
        rules = (
            DecisionRules.fit(proba[others], val.Y[others])
            if others.any()
            else DecisionRules.uncalibrated(len(val.skills), val.n_levels)
        )
        for name, decided in levels.items():
            decided[mine] = rules.predict(proba[mine], name)
    return dict(levels)


def _number(value: float) -> float | None:
    """A score for JSON, which has no NaN."""
    return None if value != value else float(value)
