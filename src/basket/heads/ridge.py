"""Ridge regression on the level, in closed form, made ordinal by a calibrated cumulative link.

The expected level of every skill is regressed on the features. All penalties and skills share one
eigendecomposition per fold, and the folds share one pass over the data: the moments of a fold's
training part are the total minus the fold's own. The penalty of each skill has the smallest squared
error over player-grouped folds. The same out-of-fold scores then fit, per skill, one slope and K-1
thresholds of a cumulative logit, so the probabilities know how far the scores can be trusted.

With fewer rows than features the same solution is found in the dual (an n x n Gram matrix).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.heads import folds as fold_rules
from basket.heads import link
from basket.heads.base import HeadState, SkillHead, checked
from basket.heads.moments import Moments, Spectrum, dual_spectrum, primal_spectrum
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

#: Default penalties, in units of the total sample weight: from nothing to nearly the prior.
RELATIVE_PENALTIES = np.logspace(5, -4, 30)

_PREDICT_ROWS = 8192


class RidgeHead(SkillHead):
    """Closed-form ridge on the level with a cumulative link fitted out of fold.

    Parameters
    ----------
    n_levels : int, optional
        K.
    penalties : sequence of float, optional
        Candidates, as scikit-learn's ``alpha``; 30 values around the total sample weight if not
        given.
    folds : int, default=5
        Player-grouped folds for choosing the penalty and fitting the link.
    standardize : bool, default=True
        Scale features to unit variance, fold by fold, on its training part.
    class_weight : "balanced", mapping or sequence, optional
        Weight of each level in the link. The regression itself is shared by all skills and does
        not see it: levels are re-weighted, their order along the score stays.
    seed : int, default=0
        Deals the players out to the folds.

    Attributes
    ----------
    penalties_ : ndarray, float64, (n_active,)
        The chosen penalty of each learned skill.
    errors_ : ndarray, float64, (n_penalties, n_active)
        Out-of-fold sum of squared errors of each candidate.
    coef_ : ndarray, float64, (P, n_active)
        Change of the latent score (in logits) per unit of a feature.
    thresholds_ : ndarray, float64, (n_active, K-1)
        Of the cumulative link.

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

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        penalties: Sequence[float] | None = None,
        folds: int = 5,
        standardize: bool = True,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_levels = n_levels
        self.penalties = penalties
        self.folds = folds
        self.standardize = standardize
        self.class_weight = class_weight
        self.seed = seed

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # Defined by scikit-learn as accuracy below 0.83 on three blobs that lie off any line: what
        # one linear score of an order cannot tell apart, and is not meant to.
        tags.classifier_tags.poor_score = True
        return tags

    def _fit(self, rows: TrainingRows) -> None:
        if self.folds < 2:
            raise UsageError(f"ridge needs at least 2 folds, got folds={self.folds}")
        rows = rows.learned()
        self.coef_ = np.zeros((rows.X.shape[1], rows.n_skills))
        self.intercept_ = np.zeros(rows.n_skills)
        self.thresholds_ = np.zeros((rows.n_skills, rows.n_levels - 1))
        self.penalties_ = np.zeros(rows.n_skills)
        errors: dict[int, Float] = {}
        for skills, part in rows.by_missingness():
            errors.update(zip(skills, self._fit_part(skills, part).T, strict=True))
        self.errors_ = np.stack([errors[skill] for skill in range(rows.n_skills)], axis=1)

    def _fit_part(self, skills: npt.NDArray[np.int64], part: TrainingRows) -> Float:
        """Fit skills that share their rows; returns the error of each penalty and skill."""
        penalties = self._candidates(part.weights.sum())
        search = _Search(part, penalties, self.folds, standardize=self.standardize)
        chosen = search.errors.argmin(axis=0)
        self.penalties_[skills] = penalties[chosen]
        out_of_fold = search.out_of_fold(chosen)
        coef, mean = search.refit(chosen)
        for column, skill in enumerate(skills):
            self.thresholds_[skill], slope = link.fit_thresholds_and_slope(
                out_of_fold[:, column],
                part.levels[:, column],
                part.weights_of(column),
                part.n_levels,
            )
            self.coef_[:, skill] = slope * coef[:, column]
        self.intercept_[skills] = -(mean @ self.coef_[:, skills])
        return search.errors

    def _candidates(self, total_weight: float) -> Float:
        # From strong to weak: of equal errors, the first is the most cautious.
        if self.penalties is None:
            return RELATIVE_PENALTIES * total_weight
        penalties = np.sort(np.asarray(self.penalties, dtype=np.float64).ravel())[::-1]
        if not len(penalties) or not (penalties > 0).all() or not np.isfinite(penalties).all():
            raise UsageError(f"penalties must be positive numbers, got {self.penalties!r}")
        return penalties

    def _latent(self, X: Array) -> Float:
        # Row blocks bound the float64 copy of float32 features.
        parts = [
            X[start : start + _PREDICT_ROWS].astype(np.float64, copy=False) @ self.coef_
            for start in range(0, len(X), _PREDICT_ROWS)
        ]
        return np.concatenate(parts) + self.intercept_

    def _state(self) -> HeadState:
        arrays = {name: getattr(self, f"{name}_") for name in _ARRAYS}
        return HeadState(arrays=arrays)

    def _restore(self, state: HeadState) -> None:
        for name, shape in _ARRAYS.items():
            setattr(self, f"{name}_", checked(state.arrays, name, self._shape(*shape)))


_ARRAYS = {
    "coef": ("features", "active"),
    "intercept": ("active",),
    "thresholds": ("active", "cuts"),
    "penalties": ("active",),
}


class _Search:
    """Every penalty on every fold, for skills that are labelled in the same rows."""

    def __init__(
        self, part: TrainingRows, penalties: Float, n_folds: int, *, standardize: bool
    ) -> None:
        self.part, self.penalties, self.standardize = part, penalties, standardize
        # Moments of features far from zero lose digits; this shift costs nothing and keeps them.
        self.shift = np.average(part.X, axis=0, weights=part.weights).astype(np.float64)
        self.fold = fold_rules.folds_of(part.keys, n_folds)
        self.folds = range(int(self.fold.max()) + 1)
        self.errors = np.zeros((len(penalties), part.n_skills))
        self.spectra: list[Spectrum] = []
        self.total: Moments | None = None
        if len(part.X) > part.X.shape[1]:
            self._search_primal()
        elif len(self.folds) > 1:
            self._search_dual()

    def out_of_fold(self, chosen: npt.NDArray[np.int64]) -> Float:
        """Deviation of each row's score from the training mean, out of fold, (n, n_skills).

        With a single fold there is nothing to learn from, and every score is 0.
        """
        scores = np.zeros((len(self.part.X), self.part.n_skills))
        for fold, spectrum in zip(self.folds, self.spectra, strict=False):
            mask = self.fold == fold
            X, _, _ = self._rows(mask)
            scores[mask] = (X - spectrum.mean) @ spectrum.coef(self.penalties[chosen])
        return scores

    def refit(self, chosen: npt.NDArray[np.int64]) -> tuple[Float, Float]:
        """Coefficients (P, n_skills) on all rows, and the mean (P,) they are centred on."""
        if self.total is None:
            spectrum = dual_spectrum(*self._rows(slice(None)), standardize=self.standardize)
        else:
            spectrum = primal_spectrum(self.total, self.total, standardize=self.standardize)
        return spectrum.coef(self.penalties[chosen]), spectrum.mean + self.shift

    def _search_primal(self) -> None:
        held = [Moments.of(*self._rows(self.fold == fold)) for fold in self.folds]
        self.total = reduce(add, held)
        if len(held) == 1:
            return
        for moments in held:
            spectrum = primal_spectrum(
                self.total - moments, self.total, standardize=self.standardize
            )
            self.errors += spectrum.errors_on_moments(moments, self.penalties)
            self.spectra.append(spectrum)

    def _search_dual(self) -> None:
        for fold in self.folds:
            train, test = self._rows(self.fold != fold), self._rows(self.fold == fold)
            spectrum = dual_spectrum(*train, standardize=self.standardize)
            self.errors += spectrum.errors_on_rows(*test, self.penalties)
            self.spectra.append(spectrum)

    def _rows(self, mask: Any) -> tuple[Float, Float, Float]:
        """Shifted features, levels and weights of some rows, float64."""
        part = self.part
        return (
            part.X[mask].astype(np.float64) - self.shift,
            part.levels[mask].astype(np.float64),
            part.weights[mask],
        )
