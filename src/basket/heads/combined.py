"""Several fitted heads as one: the weighted average of their probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.errors import UsageError
from basket.heads.base import SkillHead
from basket.heads.decision import scale_probabilities
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

#: What head.json calls it; it is no entry of the table of heads, because it cannot be fitted.
COMBINED = "combined"


class CombinedHead(SkillHead):
    """Average of fitted heads, each looking at its own columns.

    Parameters
    ----------
    members : sequence of SkillHead
        Fitted on the same skills and levels.
    weights : sequence of float
        Not negative; they are scaled to sum to 1.
    columns : sequence of sequence of (int, int)
        Half-open spans of columns of X that each member takes, in its order.
    temperatures : sequence of sequence of float
        Per member and skill; empty where the member was not calibrated.
    """

    def __init__(
        self,
        *,
        members: Sequence[SkillHead] = (),
        weights: Sequence[float] = (),
        columns: Sequence[Sequence[tuple[int, int]]] = (),
        temperatures: Sequence[Sequence[float]] = (),
    ) -> None:
        self.members = members
        self.weights = weights
        self.columns = columns
        self.temperatures = temperatures
        self.n_levels = None
        if members:
            self._adopt(members[0])

    def _adopt(self, first: SkillHead) -> None:
        shares = np.asarray(self.weights, dtype=np.float64)
        counts = {len(self.members), len(shares), len(self.columns), len(self.temperatures)}
        if len(counts) != 1 or not np.isfinite(shares).all() or not (shares >= 0).all():
            raise ValueError("a combined head needs one weight >= 0 and its columns per member")
        shape = (first.n_skills_, len(first.classes_))
        for member, spans, each in zip(self.members, self.columns, self.temperatures, strict=True):
            width = sum(stop - start for start, stop in spans)
            if (member.n_skills_, len(member.classes_)) != shape or member.n_features_in_ != width:
                raise ValueError("the members of a combined head do not fit together")
            if any(not 0 <= start < stop for start, stop in spans):
                raise ValueError("the members of a combined head take impossible columns")
            if len(each) not in (0, shape[0]) or not all(value > 0 for value in each):
                raise ValueError("the members of a combined head have impossible temperatures")
        if not shares.sum() > 0:
            raise ValueError("a combined head needs a weight above 0")
        self.shares_ = shares / shares.sum()
        self.n_features_in_ = max(stop for spans in self.columns for _, stop in spans)
        self.classes_, self.n_skills_, self.multi_skill_ = first.classes_, first.n_skills_, True
        self.active_ = np.arange(first.n_skills_)
        self.prior_ = np.average([m.prior_ for m in self.members], axis=0, weights=self.shares_)

    def predict_proba(self, X: Any) -> Float:
        """Weighted average of the members' probabilities, (n, n_skills, K)."""
        total = np.zeros((len(X), self.n_skills_, len(self.classes_)))
        for member, share, spans, each in zip(
            self.members, self.shares_, self.columns, self.temperatures, strict=True
        ):
            if share > 0:
                proba = member.predict_proba(_columns(X, spans))
                total += share * (scale_probabilities(proba, tuple(each)) if each else proba)
        return total

    def latent(self, X: Any) -> Float:
        """Expected levels, (n, n_skills): the members' scores are on different scales."""
        return self.predict_proba(X) @ np.arange(len(self.classes_), dtype=np.float64)

    def _fit(self, rows: TrainingRows) -> None:  # noqa: ARG002 - there is nothing to fit
        raise UsageError("a combined head is made from fitted runs; see combine_runs")

    def _latent(self, X: Array) -> Float:
        return self.latent(X)


def _columns(X: Any, spans: Sequence[tuple[int, int]]) -> Any:
    if isinstance(X, RaggedFeatures):
        return RaggedFeatures(_columns(X.values, spans), X.offsets)
    if len(spans) == 1:
        return np.ascontiguousarray(X[:, spans[0][0] : spans[0][1]])
    return np.concatenate([X[:, start:stop] for start, stop in spans], axis=1)
