"""Ridge regression in closed form, made ordinal by a link calibrated out of fold.

What is regressed on the features is the level, or each of the K-1 indicators "above level k". All
penalties, powers, skills and indicators share one eigendecomposition per fold
(:mod:`basket.heads.ridge_search`). The penalty and power of each skill have the smallest squared
error over player-grouped folds, with scores rescaled as the link will rescale them. The same
out-of-fold scores then fit, per skill, one slope and K-1 thresholds of a cumulative logit (per
indicator, a slope and one threshold), so the probabilities know how far the scores can be trusted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from basket.errors import UsageError
from basket.heads import link
from basket.heads.base import SkillHead
from basket.heads.exceedance import level_probabilities
from basket.heads.folds import first_best
from basket.heads.linear import linear_scores
from basket.heads.powers import candidate_powers, candidates
from basket.heads.ridge_search import RELATIVE_PENALTIES, RidgeSearch
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

TARGETS = ("level", "thresholds")

#: Out-of-fold scores held at once where many heads are fitted together.
_SCORE_CELLS = 1 << 24


class RidgeHead(SkillHead):
    """Closed-form ridge with a link fitted out of fold.

    Parameters
    ----------
    n_levels : int, optional
        K.
    target : {"level", "thresholds"}, default="level"
        ``level``: one score per skill, ordered by a cumulative link. ``thresholds``: a score for
        each of the K-1 questions "above level k?", which may look at different features; answers
        that do not fall with k are repaired by isotonic regression.
    penalties : float or sequence of float, optional
        Candidates, as scikit-learn's ``alpha``; 30 values around the total sample weight if not
        given.
    powers : float or sequence of float, optional
        Candidates for how much leading directions are trusted (:mod:`basket.heads.powers`); 1 is
        scikit-learn's ridge. 1, 2 and 4 if not given; 1 alone where penalties are given.
    folds : int, default=5
        Player-grouped folds for choosing penalty and power and fitting the link.
    standardize : bool, default=True
        Scale features to unit variance, fold by fold, on its training part.
    class_weight : "balanced", mapping or sequence, optional
        Weight of each level in the link. The regression itself is shared by all skills and does
        not see it: levels are re-weighted, their order along the score stays.
    seed : int, default=0
        Deals the players out to the folds.

    Attributes
    ----------
    penalties_, powers_ : ndarray, float64, (n_active,)
        The chosen penalty and power of each learned skill.
    errors_ : ndarray, float64, (n_powers * n_penalties, n_active)
        Out-of-fold sum of squared errors of each candidate, its scores rescaled at best; powers
        rise, and within each penalties fall.
    coef_ : ndarray, float64, (P, n_active), or (P, n_active * (K-1)) with ``thresholds``
        Change of the latent score (in logits) per unit of a feature.
    intercept_ : ndarray, float64
        Added to the scores.
    thresholds_ : ndarray, float64, (n_active, K-1)
        Of the cumulative link, or of the K-1 binary ones.

    Notes
    -----
    A latent score is the ridge prediction minus the training mean, times the slope. The fold's own
    mean is left out on purpose: it is lower wherever the held-out levels are higher, which would
    teach the link that weak scores point the wrong way.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> levels = (X > -0.3).astype(int) + (X > 0.4)
    >>> RidgeHead(n_levels=3).fit(X, levels).predict([[-0.9], [0.9]]).tolist()
    [[0], [2]]
    """

    poor_score = True

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        target: str = "level",
        penalties: float | Sequence[float] | None = None,
        powers: float | Sequence[float] | None = None,
        folds: int = 5,
        standardize: bool = True,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_levels = n_levels
        self.target = target
        self.penalties = penalties
        self.powers = powers
        self.folds = folds
        self.standardize = standardize
        self.class_weight = class_weight
        self.seed = seed

    def _acted(self) -> dict[str, Any]:
        return {"penalties": self.penalties_.tolist(), "powers": self.powers_.tolist()}

    def _own_parameters(self) -> frozenset[str]:
        return frozenset({"penalties", "powers"})

    def _fit(self, rows: TrainingRows) -> None:
        self._fit_many([self], rows)

    @classmethod
    def _fit_many(cls, heads: Sequence[Self], rows: TrainingRows) -> None:
        """Search the candidates of all heads at once; each then chooses among its own."""
        first = heads[0]
        rows = rows.learned()
        for head in heads:
            head._make_room(rows)
        for skills, part in rows.by_missingness():
            candidates = [head._candidates(float(part.weights.sum())) for head in heads]
            union, places = np.unique(np.concatenate(candidates), axis=0, return_inverse=True)
            search = RidgeSearch(
                part,
                -union[:, 1],
                first.folds,
                standardize=first.standardize,
                targets=first._targets(part),
                powers=union[:, 0],
            )
            # The link rescales the scores, so only their direction is judged: what a strong penalty
            # takes from their size it gives back.
            errors = search.errors_at_best_slope.reshape(len(union), len(skills), -1).sum(axis=2)
            ends = np.cumsum([len(each) for each in candidates])[:-1]
            own = np.split(places.ravel(), ends)
            chosen = [place[first_best(errors[place])] for place in own]
            for head, place in zip(heads, own, strict=True):
                head.errors_[:, skills] = errors[place]
            first._link(heads, chosen, skills, part, search)

    def _check_parameters(self) -> None:
        if self.folds < 2:
            raise UsageError(f"ridge needs at least 2 folds, got folds={self.folds}")
        if self.target not in TARGETS:
            raise UsageError(f"ridge knows the targets {', '.join(TARGETS)}, got {self.target!r}")
        self._candidates(1.0)

    def _make_room(self, rows: TrainingRows) -> None:
        n_scores = rows.n_skills * self._scores_per_skill(rows.n_levels)
        self.coef_ = np.zeros((rows.X.shape[1], n_scores))
        self.intercept_ = np.zeros(n_scores)
        self.thresholds_ = np.zeros((rows.n_skills, rows.n_levels - 1))
        self.penalties_ = np.zeros(rows.n_skills)
        self.powers_ = np.zeros(rows.n_skills)
        self.errors_ = np.zeros((len(self._candidates(1.0)), rows.n_skills))

    def _scores_per_skill(self, n_levels: int) -> int:
        return n_levels - 1 if self.target == "thresholds" else 1

    def _targets(self, part: TrainingRows) -> Float:
        """Columns that are regressed, (n, n_skills * scores per skill)."""
        if self.target == "level":
            return part.levels.astype(np.float64)
        above = part.levels[:, :, None] > np.arange(part.n_levels - 1)
        return above.reshape(len(above), -1).astype(np.float64)

    def _link(
        self,
        heads: Sequence[Self],
        chosen: Sequence[Index],
        skills: Index,
        part: TrainingRows,
        search: RidgeSearch,
    ) -> None:
        """Give heads their coefficients and a link fitted to out-of-fold scores."""
        per_skill = self._scores_per_skill(part.n_levels)
        columns = (skills[:, None] * per_skill + np.arange(per_skill)).ravel()
        at_once = max(1, _SCORE_CELLS // (len(part.X) * len(columns)))
        for start in range(0, len(heads), at_once):
            some = slice(start, start + at_once)
            choices = np.stack([np.repeat(each, per_skill) for each in chosen[some]])
            for head, choice, scores in zip(
                heads[some], choices, search.out_of_fold(choices), strict=True
            ):
                thresholds, slopes = head._fit_links(scores, part)
                coef, mean = search.refit(choice)
                head.thresholds_[skills] = thresholds
                head.coef_[:, columns] = slopes * coef
                head.intercept_[columns] = -(mean @ head.coef_[:, columns])
                head.penalties_[skills] = search.penalties[choice[::per_skill]]
                head.powers_[skills] = search.powers[choice[::per_skill]]

    def _fit_links(self, scores: Float, part: TrainingRows) -> tuple[Float, Float]:
        """Thresholds (n_skills, K-1) and the slope of each column of scores."""
        per_skill = self._scores_per_skill(part.n_levels)
        thresholds = np.zeros((part.n_skills, part.n_levels - 1))
        slopes = np.zeros(scores.shape[1])
        for column, latent in enumerate(scores.T):
            skill, cut = divmod(column, per_skill)
            levels, weights = part.levels[:, skill], part.weights_of(skill)
            # Columns of a matrix are strided: a copy is read many times over.
            latent = np.ascontiguousarray(latent)
            if self.target == "level":
                thresholds[skill], slopes[column] = link.fit_thresholds_and_slope(
                    latent, levels, weights, part.n_levels
                )
                continue
            above = (levels > cut).astype(np.int64)
            found, slopes[column] = link.fit_thresholds_and_slope(latent, above, weights, 2)
            thresholds[skill, cut] = found[0]
        return thresholds, slopes

    def _candidates(self, total_weight: float) -> Float:
        penalties = RELATIVE_PENALTIES * total_weight
        if self.penalties is not None:
            penalties = np.asarray(self.penalties, dtype=np.float64).ravel()
        if not len(penalties) or not (penalties > 0).all() or not np.isfinite(penalties).all():
            raise UsageError(f"penalties must be positive numbers, got {self.penalties!r}")
        return candidates(candidate_powers(self.powers, self.penalties), penalties)

    def _scores(self, X: Array) -> Float:
        return linear_scores(X, self.coef_, self.intercept_)

    def _latent(self, X: Array) -> Float:
        if self.target == "level":
            return self._scores(X)
        return self._proba(X) @ np.arange(len(self.classes_), dtype=np.float64)

    def _proba(self, X: Array) -> Float:
        if self.target == "level":
            return super()._proba(X)
        scores = self._scores(X).reshape(len(X), len(self.active_), -1)
        return level_probabilities(np.asarray(expit(scores - self.thresholds_)))

    def _arrays(self) -> dict[str, tuple[int, ...]]:
        """What is stored, with its shape."""
        width, n_active, cuts = self._shape("features", "active", "cuts")
        n_scores = n_active * self._scores_per_skill(cuts + 1)
        return {
            "coef": (width, n_scores),
            "intercept": (n_scores,),
            "thresholds": (n_active, cuts),
            "penalties": (n_active,),
            "powers": (n_active,),
        }
