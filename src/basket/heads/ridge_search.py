"""Every ridge penalty and power on every player-grouped fold, from one pass over the data.

The moments of a fold's training part are the total minus the fold's own, and one eigendecomposition
per fold serves all penalties and targets. With fewer rows than features the same solutions are
found in the dual (an n x n Gram matrix).
"""

from __future__ import annotations

from functools import cached_property, reduce
from operator import add
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.heads import folds as fold_rules
from basket.heads.moments import Fit, Moments, Spectrum, dual_spectrum, primal_spectrum
from basket.heads.rows import TrainingRows

Float = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]


#: Default penalties, in units of the total sample weight: from nothing to nearly the prior.
RELATIVE_PENALTIES = np.logspace(5, -4, 30)

_BLOCK_ROWS = 2048


class RidgeSearch:
    """All candidates on all folds, for targets that are known in the same rows.

    Parameters
    ----------
    part : TrainingRows
    penalties : ndarray, float64, (n_candidates,)
    n_folds : int
    standardize : bool
        Scale features to unit variance, fold by fold, on its training part.
    targets : ndarray, float64, (n, T), optional
        What is regressed on the features; the levels if not given.
    powers : ndarray, float64, (n_candidates,), optional
        See :class:`~basket.heads.moments.Spectrum`; all 1 (plain ridge) if not given.

    Attributes
    ----------
    errors : ndarray, float64, (n_candidates, T)
        Out-of-fold sum of squared errors.
    errors_at_best_slope : ndarray, float64, (n_candidates, T)
        The same once one factor >= 0 has rescaled the scores of all folds.
    fold : ndarray, int64, (n,)
        Fold of each row.
    """

    def __init__(
        self,
        part: TrainingRows,
        penalties: Float,
        n_folds: int,
        *,
        standardize: bool,
        targets: Float | None = None,
        powers: Float | None = None,
    ) -> None:
        self.part, self.penalties, self.standardize = part, penalties, standardize
        self.powers = np.ones(len(penalties)) if powers is None else powers
        self.targets = part.levels.astype(np.float64) if targets is None else targets
        # Moments of features far from zero lose digits; this shift costs nothing and keeps them.
        # About the mean: in the precision of the features, which spares a copy of them.
        weights = (part.weights / part.weights.sum()).astype(part.X.dtype)
        self.shift = (weights @ part.X).astype(np.float64)
        self.fold = fold_rules.folds_of(part.keys, n_folds)
        self.folds = range(int(self.fold.max()) + 1)
        self.errors = np.zeros((len(penalties), self.targets.shape[1]))
        self.errors_at_best_slope = self.errors
        self.spectra: list[Spectrum] = []
        self.total: Moments | None = None
        if len(part.X) > part.X.shape[1]:
            self._search_primal()
        elif len(self.folds) > 1:
            self._search_dual()

    def out_of_fold(self, chosen: Index) -> Float:
        """Deviation of each row's score from the training mean, out of fold.

        With a single fold there is nothing to learn from, and every score is 0.

        Parameters
        ----------
        chosen : ndarray, int64, (..., T)
            Place of each target's candidate; several choices at once read the rows once.

        Returns
        -------
        ndarray, float64, (..., n, T)
        """
        choices = chosen.reshape(-1, chosen.shape[-1])
        n_choices, n_targets = choices.shape
        scores = np.zeros((n_choices, len(self.part.X), n_targets))
        for fold, spectrum in zip(self.folds, self.spectra, strict=False):
            each = [spectrum.coef(self.penalties[place], self.powers[place]) for place in choices]
            coef = np.concatenate(each, axis=1)
            for block in self._blocks(fold):
                X, _, _ = self._rows(block)
                X -= spectrum.mean
                found = (X @ coef).reshape(len(X), n_choices, n_targets)
                scores[:, block] = found.swapaxes(0, 1)
        return scores.reshape(*chosen.shape[:-1], len(self.part.X), n_targets)

    def refit(self, chosen: Index) -> tuple[Float, Float]:
        """Coefficients (P, T) on all rows, and the mean (P,) they are centred on."""
        coef = self._whole.coef(self.penalties[chosen], self.powers[chosen])
        return coef, self._whole.mean + self.shift

    @cached_property
    def _whole(self) -> Spectrum:
        if self.total is None:
            return dual_spectrum(*self._rows(slice(None)), standardize=self.standardize)
        return primal_spectrum(self.total, self.total, standardize=self.standardize)

    def _search_primal(self) -> None:
        held = [
            reduce(add, (Moments.of(*self._rows(block)) for block in self._blocks(fold)))
            for fold in self.folds
        ]
        self.total = reduce(add, held)
        if len(held) == 1:
            return
        fits = []
        for moments in held:
            spectrum = primal_spectrum(
                self.total - moments, self.total, standardize=self.standardize
            )
            fits.append(spectrum.fit_to_moments(moments, self.penalties, self.powers))
            self.spectra.append(spectrum)
        self._judge(fits)

    def _search_dual(self) -> None:
        fits = []
        for fold in self.folds:
            train, test = self._rows(self.fold != fold), self._rows(self.fold == fold)
            spectrum = dual_spectrum(*train, standardize=self.standardize)
            fits.append(spectrum.fit_to_rows(*test, self.penalties, self.powers))
            self.spectra.append(spectrum)
        self._judge(fits)

    def _judge(self, fits: list[Fit]) -> None:
        whole = reduce(add, fits)
        self.errors, self.errors_at_best_slope = whole.errors, whole.errors_at_best_slope

    def _blocks(self, fold: int) -> list[Index]:
        """Rows of a fold, few enough at a time that their copies stay in fast memory."""
        rows = np.flatnonzero(self.fold == fold)
        return np.array_split(rows, max(1, -(-len(rows) // _BLOCK_ROWS)))

    def _rows(self, some: Any) -> tuple[Float, Float, Float]:
        """Shifted features, targets and weights of some rows, float64."""
        X = self.part.X[some].astype(np.float64)
        X -= self.shift
        return X, self.targets[some], self.part.weights[some]
