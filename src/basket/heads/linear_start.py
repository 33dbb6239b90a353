"""Where trained heads begin: at ridge, so that training can only add to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
        cls,
        X: npt.NDArray[Any],
        rows: TrainingRows,
        learned: npt.NDArray[np.bool_],
        *,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None,
        seed: int,
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
        class_weight : "balanced", mapping or sequence, optional
            Weight of each level.
        seed : int
            Deals the players out to ridge's folds.
        """
        ridge = RidgeHead(n_levels=rows.n_levels, class_weight=class_weight, seed=seed)
        ridge.fit(
            X,
            rows.levels[learned],
            groups=rows.keys[learned],
            sample_weight=rows.weights[learned],
        )
        start = cls.prior(X.shape[1], rows)
        if len(ridge.active_):
            start.slope[:, ridge.active_] = ridge.coef_
            start.thresholds[ridge.active_] = ridge.thresholds_ - ridge.intercept_[:, None]
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
        latent = (X @ self.slope).astype(np.float64)
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
