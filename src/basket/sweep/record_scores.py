"""Scores in the records of a sweep: one fit's mean, the replicates of several, their order."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.metrics import HIGHER_IS_BETTER

Float = npt.NDArray[np.float64]


def score_of(record: Mapping[str, Any], metric: str) -> float:
    """Mean over the skills, NaN where it is undefined."""
    value = record["scores"][metric]["mean"]
    return math.nan if value is None else float(value)


def n_players(records: Sequence[Mapping[str, Any]]) -> int:
    """Validation players behind the scores of some records."""
    return min(
        int(metric["n_players"]) for record in records for metric in record["scores"].values()
    )


def replicates_of(records: Sequence[Mapping[str, Any]], metric: str) -> Float:
    """Means of the replicates, ``(R,)``; a seed is drawn as often as there are seeds."""
    columns = np.array(
        [
            [
                math.nan if value is None else value
                for value in record["scores"][metric]["replicates"]
            ]
            for record in records
        ],
        dtype=np.float64,
    )
    if len(columns) < 2 or not columns.size:
        return columns.reshape(-1)
    random = np.random.default_rng(0)
    drawn = random.integers(len(columns), size=columns.shape)
    return np.asarray(np.take_along_axis(columns, drawn, axis=0).mean(axis=0))


def badness(value: float, metric: str) -> float:
    """What rises as a score gets worse, so that sorting by it puts the best first."""
    if math.isnan(value):
        return math.inf
    return -value if HIGHER_IS_BETTER[metric] else value
