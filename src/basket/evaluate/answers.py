"""What a fitted run answers on one test set: probabilities, and levels by each metric's rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.heads.decision import RULES
from basket.metrics import LEVEL_METRICS, IntArray

#: A metric without a decision rule of its own borrows that of the metric nearest to it.
_BORROWS = {"balanced_accuracy": "accuracy"}


class Decision(Protocol):
    """What turns probabilities into levels; ``basket.heads.decision.DecisionRules`` is one."""

    def predict(self, proba: Any, metric: str) -> IntArray:
        """``(n, n_skills, K) -> (n, n_skills)`` by the rule that serves ``metric`` best."""


class FittedRun(Protocol):
    """What an evaluation asks of a run; ``basket.heads.persist.Run`` is one."""

    @property
    def skills(self) -> Sequence[str]:
        """Names, in the order of the columns."""

    @property
    def n_levels(self) -> int:
        """K."""

    @property
    def decision(self) -> Decision:
        """Probabilities to levels, one rule per metric."""

    def predict_proba(self, X: Any) -> npt.NDArray[np.floating]:
        """Probabilities ``(n, n_skills, K)``."""


class LabelledMatrix(Protocol):
    """What an evaluation asks of a test set; ``basket.heads.matrix.Matrix`` is one."""

    @property
    def X(self) -> Any:  # noqa: N802 - scikit-learn's name
        """Pooled features, ``(n, P)``, or ragged ones."""

    @property
    def Y(self) -> IntArray:  # noqa: N802 - scikit-learn's name
        """Levels ``(n, n_skills)``; -1 is missing."""

    @property
    def groups(self) -> Any:
        """Player keys, ``(n,)``."""

    @property
    def ids(self) -> Sequence[str]:
        """Video ids, ``(n,)``."""

    @property
    def skills(self) -> Sequence[str]:
        """Names, in the order of the columns."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """Videos of the label file without usable features, with the reason."""


@dataclass(frozen=True)
class Answers:
    """A run's answers on one test set, and the truth beside them.

    Parameters
    ----------
    ids : tuple of str, (n,)
        Videos.
    players : ndarray of str, (n,)
        Who is in them.
    truth : ndarray of int, (n, n_skills)
        Levels; -1 is missing.
    proba : ndarray, float64, (n, n_skills, K)
    levels : mapping of str to ndarray of int, (n, n_skills)
        By metric; metrics that are decided alike hold the very same array.
    rules : mapping of str to str
        Name of each metric's decision rule.
    """

    ids: tuple[str, ...]
    players: npt.NDArray[np.str_]
    truth: IntArray
    proba: npt.NDArray[np.float64]
    levels: Mapping[str, IntArray]
    rules: Mapping[str, str]

    @property
    def n_levels(self) -> int:
        """K."""
        return int(self.proba.shape[2])

    @property
    def n_players(self) -> int:
        """How many different players there are."""
        return len(np.unique(self.players))

    @property
    def expected(self) -> npt.NDArray[np.float64]:
        """Expected level, float64, (n, n_skills)."""
        return np.asarray(self.proba @ np.arange(self.n_levels, dtype=np.float64))

    def rows(self, rows: npt.NDArray[Any]) -> Answers:
        """Some of the rows, by mask or index."""
        index = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        taken = {id(array): array[index] for array in self.levels.values()}
        return Answers(
            ids=tuple(self.ids[row] for row in index),
            players=self.players[index],
            truth=self.truth[index],
            proba=self.proba[index],
            levels={metric: taken[id(array)] for metric, array in self.levels.items()},
            rules=self.rules,
        )


def answers_of(run: FittedRun, matrix: LabelledMatrix, *, split: str = "test") -> Answers:
    """Ask a run about a test set, once; and not at all for a set that lost every video.

    Parameters
    ----------
    run : FittedRun
    matrix : LabelledMatrix
        Same skills in the same order as the run.
    split : str
        Name of the test set, for messages.

    Raises
    ------
    UsageError
        The test set's skills are not the run's.
    """
    skills = list(run.skills)
    if skills != list(matrix.skills):
        raise UsageError(
            f"the skills of test set {split!r} are not those of the run, in its order; "
            "basket.dataset.same_skills puts a label table into that order"
        )
    truth = np.asarray(matrix.Y)
    shape = (len(truth), len(skills), run.n_levels)
    proba = (
        np.asarray(run.predict_proba(matrix.X), dtype=np.float64) if len(truth) else np.ones(shape)
    )
    decided_as = {name: _BORROWS.get(name, name) for name in LEVEL_METRICS}
    levels = {name: _decide(run, proba, name) for name in set(decided_as.values())}
    return Answers(
        ids=tuple(matrix.ids),
        players=np.array([str(player) for player in matrix.groups], dtype=np.str_),
        truth=truth,
        proba=proba,
        levels={name: levels[like] for name, like in decided_as.items()},
        rules={name: RULES[like] for name, like in decided_as.items()},
    )


def _decide(run: FittedRun, proba: npt.NDArray[np.float64], metric: str) -> IntArray:
    if not len(proba):
        return np.zeros(proba.shape[:2], dtype=np.int64)
    return np.asarray(run.decision.predict(proba, metric))
