"""What each value of each axis of a sweep is worth: main effects by least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from basket.evaluate.bootstrap import Interval, percentile_interval
from basket.sweep.record_scores import badness, n_players, replicates_of, score_of
from basket.sweep.setting import Setting


@dataclass(frozen=True)
class Effect:
    """What one value of an axis is worth, the other axes averaged.

    Parameters
    ----------
    axis, value : str
    effect : float
        Change of the metric against the average over the values of this axis.
    interval : Interval or None
    n_settings : int
        Configurations with this value.
    seconds : float
        Their mean time.
    """

    axis: str
    value: str
    effect: float
    interval: Interval | None
    n_settings: int
    seconds: float


def effects_of(full: Mapping[Setting, Sequence[Mapping[str, Any]]], metric: str) -> list[Effect]:
    """Main effects of the common axes over all heads, then of each head's own parameters.

    Least squares on indicators of all values, so that an unbalanced design does not credit a value
    with its company; what cannot be told apart in principle is shared evenly.
    """
    settings = [
        setting
        for setting, records in full.items()
        if not any(math.isnan(score_of(record, metric)) for record in records)
    ]
    inputs = ["features", "pool", "segments"]
    common = [*inputs, "head"]
    found = _main_effects(settings, full, metric, common, common)
    for head in dict.fromkeys(setting.head for setting in settings):
        mine = [setting for setting in settings if setting.head == head]
        own = list(dict.fromkeys(axis for s in mine for axis in s.axes() if axis not in common))
        found += _main_effects(mine, full, metric, [*inputs, *own], own)
    return found


def _main_effects(
    settings: Sequence[Setting],
    full: Mapping[Setting, Sequence[Mapping[str, Any]]],
    metric: str,
    axes: Sequence[str],
    shown: Sequence[str],
) -> list[Effect]:
    """Effects of the ``shown`` axes, the others of ``axes`` being taken account of."""
    places = [setting.axes() for setting in settings]
    levels = {
        axis: list(dict.fromkeys(place.get(axis, "default") for place in places)) for axis in axes
    }
    varying = [axis for axis in axes if len(levels[axis]) > 1]
    if not varying:
        return []
    columns = [(axis, value) for axis in varying for value in levels[axis]]
    design = np.array(
        [[place.get(axis, "default") == value for axis, value in columns] for place in places],
        dtype=np.float64,
    )
    scores = np.array(
        [np.mean([score_of(record, metric) for record in full[s]]) for s in settings], dtype=float
    )
    replicates = [replicates_of(full[s], metric) for s in settings]
    usable = len({len(each) for each in replicates}) == 1 and replicates[0].size > 0
    targets = np.column_stack([scores, np.array(replicates)]) if usable else scores[:, None]
    intercept = np.ones((len(settings), 1))
    solution = np.linalg.lstsq(np.hstack([intercept, design]), targets, rcond=None)[0][1:]
    seconds = np.array([np.mean([record["seconds"] for record in full[s]]) for s in settings])
    players = min(n_players(full[s]) for s in settings)
    effects = []
    for axis in (axis for axis in shown if axis in varying):
        index = [place for place, (name, _) in enumerate(columns) if name == axis]
        centred = solution[index] - solution[index].mean(axis=0)
        best_first = sorted(
            zip(centred, index, strict=True), key=lambda each: badness(float(each[0][0]), metric)
        )
        for row, place in best_first:
            has = design[:, place] > 0
            effects.append(
                Effect(
                    axis=axis,
                    value=columns[place][1] or "the only features",
                    effect=float(row[0]),
                    interval=percentile_interval(row[1:], players) if usable else None,
                    n_settings=int(has.sum()),
                    seconds=float(seconds[has].mean()),
                )
            )
    return effects
