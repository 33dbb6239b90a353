"""Fit settings that share their matrices, and score each on validation players.

Ridge settings that differ in their penalties share the moments and the eigendecompositions, which
are nearly all of the work. Other heads are fitted one after the other on the shared matrices.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.evaluate import bootstrap
from basket.evaluate.bootstrap import mean_per_replicate, percentile_interval
from basket.heads import folds, link
from basket.heads.base import SkillHead, TrainingRows
from basket.heads.decision import DecisionRules
from basket.heads.matrix import Matrix
from basket.heads.moments import Spectrum, primal_spectrum
from basket.heads.ridge import RidgeHead, _Search
from basket.heads.table import make_head, parameter_names
from basket.metrics import CONFUSION_METRICS, IntArray, confusion_matrices, mean_over_skills
from basket.sweep.setting import Setting

#: Bootstrap replicates whose means a record keeps: equal draws make records comparable in pairs.
N_REPLICATES = 200

Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fitted:
    """One setting, fitted and scored."""

    setting: Setting
    scores: dict[str, Any]
    seconds: float


def share_signature(setting: Setting) -> tuple[Any, ...] | None:
    """What settings have in common that can be fitted together; None for those fitted alone."""
    if setting.head != "ridge":
        return None
    others = {name: value for name, value in setting.parameters.items() if name != "penalties"}
    return (setting.features, setting.pooling, setting.head, repr(others), setting.seed)


def fit_together(settings: Sequence[Setting], train: Matrix, val: Matrix) -> Iterator[Fitted]:
    """Fit settings of one :func:`share_signature`, and yield each as it is done.

    Parameters
    ----------
    settings : sequence of Setting
        All on these matrices.
    train, val : Matrix
    """
    shared = SharedSearches() if len(settings) > 1 else None
    for setting in settings:
        start = time.perf_counter()
        head = unfitted_head(setting, train.n_levels)
        if shared is not None and isinstance(head, RidgeHead):
            head = SharedRidge.like(head, shared, [_penalties(each) for each in settings])
        # Heads that take segments accept ragged features too, which array_like does not say.
        rows: Any = train.X
        held: Any = val.X
        head.fit(rows, train.Y, groups=train.groups)
        scores = validation_scores(head.predict_proba(held), val)
        yield Fitted(setting, scores, time.perf_counter() - start)


def unfitted_head(setting: Setting, n_levels: int) -> SkillHead:
    """The unfitted head of a setting."""
    params = setting.parameters
    if "seed" in parameter_names(setting.head):
        params["seed"] = setting.seed
    return make_head(setting.head, n_levels=n_levels, **params)


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
        interval = percentile_interval(means)
        found[name] = {
            "mean": _number(mean_over_skills(per_skill)),
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
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


class SharedSearches:
    """Searches over the union of several settings' penalties, kept for as long as they are fitted.

    One entry per set of rows: a fit of all skills may have several, where labels are missing.
    """

    def __init__(self) -> None:
        self._searches: dict[bytes, _SharedSearch] = {}

    def search(
        self, part: TrainingRows, penalties: Float, n_folds: int, *, standardize: bool
    ) -> _SharedSearch:
        """The search on these rows, made at the first request."""
        # Rows come in canonical order, so keys and labels tell one set of rows from another.
        key = part.keys.tobytes() + part.levels.tobytes()
        if key not in self._searches:
            self._searches[key] = _SharedSearch(part, penalties, n_folds, standardize=standardize)
        return self._searches[key]


class _SharedSearch(_Search):
    """A search that decomposes the Gram matrix of all rows once, however often it is refitted."""

    _whole: Spectrum | None = None

    def refit(self, chosen: npt.NDArray[np.int64]) -> tuple[Float, Float]:
        """Coefficients (P, n_skills) on all rows, and the mean (P,) they are centred on."""
        if self.total is None:
            return super().refit(chosen)
        if self._whole is None:
            self._whole = primal_spectrum(self.total, self.total, standardize=self.standardize)
        return self._whole.coef(self.penalties[chosen]), self._whole.mean + self.shift


class SharedRidge(RidgeHead):
    """A ridge head that looks up its search among those made for several settings at once."""

    _shared: SharedSearches
    _others: Sequence[Sequence[float] | None]

    @classmethod
    def like(
        cls, head: RidgeHead, shared: SharedSearches, penalties: Sequence[Sequence[float] | None]
    ) -> SharedRidge:
        """A head with the parameters of ``head`` that shares with settings of these penalties."""
        made = cls(**head.get_params(deep=False))
        made._shared, made._others = shared, penalties
        return made

    def _fit_part(self, skills: npt.NDArray[np.int64], part: TrainingRows) -> Float:
        weight = part.weights.sum()
        mine = self._candidates(weight)
        union = self._union(weight)
        search = self._shared.search(part, union, self.folds, standardize=self.standardize)
        place = np.array([int(np.flatnonzero(union == penalty)[0]) for penalty in mine])
        chosen = place[search.errors[place].argmin(axis=0)]
        self.penalties_[skills] = union[chosen]
        out_of_fold = search.out_of_fold(chosen)
        coef, mean = search.refit(chosen)
        for column, skill in enumerate(skills):
            self.thresholds_[skill], slope = link.fit_thresholds_and_slope(
                out_of_fold[:, column], part.levels[:, column], part.weights, part.n_levels
            )
            self.coef_[:, skill] = slope * coef[:, column]
        self.intercept_[skills] = -(mean @ self.coef_[:, skills])
        return np.asarray(search.errors[place])

    def _union(self, weight: float) -> Float:
        """Penalties of all settings, from strong to weak."""
        own = self.penalties
        found: list[Float] = []
        for penalties in self._others:
            self.penalties = penalties
            found.append(self._candidates(weight))
        self.penalties = own
        return np.unique(np.concatenate(found))[::-1]


def _penalties(setting: Setting) -> Sequence[float] | None:
    given: Sequence[float] | None = setting.parameters.get("penalties")
    return given


def _number(value: float) -> float | None:
    """A score for JSON, which has no NaN."""
    return None if value != value else float(value)
