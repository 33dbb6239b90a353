"""Predictions of rows, and of rows that the predicting head has not seen."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from basket.heads import folds
from basket.heads.decision import DecisionRules
from basket.heads.matrix import Matrix

if TYPE_CHECKING:
    from basket.heads.base import SkillHead

N_FOLDS = 5


@dataclass(frozen=True)
class Predictions:
    """Probabilities of some rows, with what is known about these rows.

    Parameters
    ----------
    proba : ndarray, float64, (n, n_skills, K)
        Probabilities.
    levels : ndarray, int64, (n, n_skills)
        True levels, -1 missing.
    ids, groups : tuple of str, (n,)
        Videos and players.
    """

    proba: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int64]
    ids: tuple[str, ...]
    groups: tuple[str, ...]

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Predictions:
        """Some of the rows, by a mask (n,)."""
        return Predictions(
            self.proba[chosen],
            self.levels[chosen],
            tuple(np.array(self.ids, dtype=object)[chosen].tolist()),
            tuple(np.array(self.groups, dtype=object)[chosen].tolist()),
        )

    def calibrated(self, rules: DecisionRules) -> Predictions:
        """With probabilities at the temperatures of ``rules``."""
        return replace(self, proba=rules.calibrate(self.proba))


def predict(head: SkillHead, matrix: Matrix) -> Predictions:
    """Predictions of a fitted head."""
    return _predictions(head.predict_proba(matrix.X), matrix)


def out_of_fold(
    head: SkillHead, matrix: Matrix, *, seed: int, n_folds: int = N_FOLDS
) -> Predictions | None:
    """Predictions of each row by a head that was fitted without that row's player.

    None where there is only one player.
    """
    from sklearn.base import clone

    if matrix.n_players < 2:
        return None
    keys = folds.group_keys(matrix.groups, matrix.X, seed=seed)
    fold = folds.folds_of(keys, n_folds)
    proba = np.empty((len(matrix), len(matrix.skills), matrix.n_levels))
    for index in range(int(fold.max()) + 1):
        train, test = fold != index, fold == index
        part = matrix.rows(train)
        fitted = clone(head).fit(part.X, part.Y, groups=part.groups)
        proba[test] = fitted.predict_proba(matrix.rows(test).X)
    return _predictions(proba, matrix)


def predictions_parquet(held: Predictions, rules: DecisionRules, skills: Sequence[str]) -> bytes:
    """One row per video and skill: video_id, player, skill, label (-1 missing), predicted, p0 …."""
    n, n_skills, n_levels = held.proba.shape
    # What readers of up to 128 levels have always found stays what it is.
    kind = np.int8 if n_levels <= 128 else np.int16
    columns: dict[str, Any] = {
        "video_id": np.repeat(np.array(held.ids, dtype=object), n_skills),
        "player": np.repeat(np.array(held.groups, dtype=object), n_skills),
        "skill": np.tile(np.array(skills, dtype=object), n),
        "label": held.levels.ravel().astype(kind),
        "predicted": rules.predict(held.proba, "accuracy").ravel().astype(kind),
    }
    flat = held.proba.reshape(-1, n_levels)
    columns |= {f"p{level}": flat[:, level] for level in range(n_levels)}
    return table_bytes(columns)


def table_bytes(columns: Mapping[str, Any]) -> bytes:
    """Columns of equal length as a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()


def _predictions(proba: npt.NDArray[np.float64], matrix: Matrix) -> Predictions:
    return Predictions(proba, matrix.Y, matrix.ids, tuple(matrix.groups.tolist()))
