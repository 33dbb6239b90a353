"""Where trained heads begin: at ridge, so that training can only add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from basket.heads import link
from basket.heads.ridge import RidgeHead
from basket.heads.rows import TrainingRows

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

#: A probability below this says the same as this: its logarithm stays finite.
_RARE = 1e-9
#: Fewer than ridge has on its own: training mends what is imprecise, and waits for this.
_FOLDS = 3
_BLOCK_ROWS = 2048


@dataclass(frozen=True)
class LinearStart:
    """A linear cumulative logit.

    Parameters
    ----------
    slope : ndarray, float32, (P, n_skills)
        Of the latent score.
    thresholds : ndarray, float64, (n_skills, K-1)
        That cut it.
    """

    slope: Float32
    thresholds: Float

    @classmethod
    def prior(cls, width: int, rows: TrainingRows) -> LinearStart:
        """What looks at no feature: each skill's frequencies among the rows to learn from."""
        learned = rows.learned()
        known, cells = learned.levels >= 0, learned.cells
        thresholds = [
            link.marginal_thresholds(
                learned.levels[known[:, skill], skill], cells[known[:, skill], skill], rows.n_levels
            )
            for skill in range(rows.n_skills)
        ]
        return cls(np.zeros((width, rows.n_skills), dtype=np.float32), np.stack(thresholds))

    @classmethod
    def ridge(
        cls, X: npt.NDArray[Any], rows: TrainingRows, learned: npt.NDArray[np.bool_]
    ) -> LinearStart:
        """Fit ridge; a skill with a single level among the learned rows starts at its prior.

        Parameters
        ----------
        X : ndarray, float, (n_learned, P)
            Features of the learned rows, standardised.
        rows : TrainingRows
            All rows; their own features are not looked at.
        learned : ndarray of bool, (n,)
            Rows that are not held out.
        """
        start = cls.prior(X.shape[1], rows)
        levels = rows.levels[learned]
        skills = np.flatnonzero([len(np.unique(each[each >= 0])) > 1 for each in levels.T])
        if len(skills):
            ridge = RidgeHead(n_levels=rows.n_levels, folds=_FOLDS)
            # Straight to the fit: these rows have been checked, and their order is canonical.
            ridge._fit(
                TrainingRows(
                    X,
                    levels[:, skills],
                    rows.weights[learned],
                    rows.keys[learned],
                    rows.n_levels,
                    factors=None if rows.factors is None else rows.factors[skills],
                )
            )
            start.slope[:, skills] = ridge.coef_
            start.thresholds[skills] = ridge.thresholds_ - ridge.intercept_[:, None]
        return start

    def outputs(self, X: Float32, loss: str) -> Float:
        """What the outputs of a network with this loss are where it says what the start says.

        Parameters
        ----------
        X : ndarray, float32, (n, P)
            Standardised.
        loss : str
            One of :data:`basket.heads.mlp.LOSSES`.

        Returns
        -------
        ndarray, float64, (n, n_skills * outputs per skill)
        """
        slope = self.slope.astype(np.float64)
        # A few rows at a time: their copy in double precision stays in fast memory.
        blocks = [
            X[start : start + _BLOCK_ROWS].astype(np.float64) @ slope
            for start in range(0, max(len(X), 1), _BLOCK_ROWS)
        ]
        latent = np.concatenate(blocks)
        if loss in ("cumulative", "coral"):
            return latent
        below = expit(self.thresholds - latent[:, :, None])
        ends = np.ones((*latent.shape, 1))
        edges = np.concatenate([0 * ends, below, ends], axis=2)
        share = np.diff(edges, axis=2).clip(min=_RARE)
        if loss != "corn":
            logits = np.log(share)
        else:
            above = (1.0 - below).clip(min=_RARE)
            logits = np.log(above / share[:, :, :-1])
        return np.asarray(logits.reshape(len(X), -1))
