"""The baseline that is always shown: level frequencies of the training set, whatever the video."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from basket.heads.base import SkillHead
from basket.heads.rows import TrainingRows


class PriorHead(SkillHead):
    """Class frequencies per skill.

    Examples
    --------
    >>> head = PriorHead(n_levels=3).fit([[0.0], [1.0]], [[0], [2]])
    >>> head.predict_proba([[5.0]]).tolist()
    [[[0.5, 0.0, 0.5]]]
    """

    #: It looks at no feature: scikit-learn's own DummyClassifier says the same of itself.
    poor_score = True

    def __init__(self, *, n_levels: int | None = None) -> None:
        self.n_levels = n_levels

    def _fit(self, rows: TrainingRows) -> None:
        """Everything is in ``prior_``."""

    def _latent(self, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.zeros((len(X), len(self.active_)))

    def _proba(self, X: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.repeat(self.prior_[self.active_][None], len(X), axis=0)

    def _arrays(self) -> dict[str, tuple[int, ...]]:
        """Nothing beside ``prior_``."""
        return {}
