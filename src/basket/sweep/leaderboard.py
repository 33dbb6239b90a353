"""What a sweep found: its configurations in order, and what each axis is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import NotThereError, RunError
from basket.evaluate.bootstrap import Interval, percentile_interval
from basket.metrics import CONFUSION_METRICS, HIGHER_IS_BETTER
from basket.notebook import html_table
from basket.sweep.records import Records
from basket.sweep.setting import Setting
from basket.sweep.space import check_metric

Float = npt.NDArray[np.float64]

SWEEP_FILE = "sweep.json"
SWEEP_FORMAT = "basket-sweep"
SWEEP_VERSION = 1

#: Reasons that are told where every configuration failed.
_REASONS = 3


@dataclass(frozen=True)
class Row:
    """One configuration, all its seeds together.

    Parameters
    ----------
    setting : Setting
        With seed 0.
    means : mapping of str to float
        Validation scores by metric, the mean over seeds.
    intervals : mapping of str to Interval or None
        Players resampled, and seeds where there are several.
    n_seeds : int
    seconds : float
        Of one fit with its scoring, the mean over seeds; work that fits share is divided evenly
        between them.
    """

    setting: Setting
    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]
    n_seeds: int
    seconds: float


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


@dataclass(frozen=True)
class Leaderboard:
    """Configurations of a sweep, the best first.

    Parameters
    ----------
    folder : str
    metric : str
    rows : tuple of Row
    effects : tuple of Effect
    n_tried : int
        Configurations scored on validation, cut-down ones of successive halving included: the
        more there are, the luckier the first.
    failures : mapping of str to str
        Configurations that could not be fitted, and why.
    n_stale : int
        Records of other code, labels or features, which take no part.
    simulated : bool
    """

    folder: str
    metric: str
    rows: tuple[Row, ...]
    effects: tuple[Effect, ...]
    n_tried: int
    failures: Mapping[str, str]
    n_stale: int
    simulated: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; undefined scores are null."""
        document = asdict(self)
        document["rows"] = [{**asdict(row), "setting": row.setting.to_json()} for row in self.rows]
        plain: dict[str, Any] = _plain(document)
        return plain

    def __repr__(self) -> str:
        return f"Leaderboard({self.folder!r}: {self.n_tried} configurations, by {self.metric})"

    def _repr_html_(self) -> str:
        metrics = (self.metric, *(name for name in CONFUSION_METRICS if name != self.metric))
        rows = [
            (
                row.setting.head,
                json.dumps(row.setting.parameters),
                " + ".join(row.setting.features),
                row.setting.pooling,
                *(row.means[name] for name in metrics if name in row.means),
                row.n_seeds,
            )
            for row in self.rows
        ]
        shown = [name for name in metrics if self.rows and name in self.rows[0].means]
        columns = ("head", "parameters", "features", "pooling", *shown, "seeds")
        notes = ["Simulated players: this says nothing about real ones."] if self.simulated else []
        return html_table(repr(self), columns, rows, notes=notes)

    def to_html(self) -> str:
        """One self-contained page."""
        from basket.sweep.page import render_leaderboard

        return render_leaderboard(self)


def read_leaderboard(folder: str | Path, *, metric: str | None = None) -> Leaderboard:
    """Read a sweep's folder.

    Parameters
    ----------
    folder : path
    metric : str, optional
        What to order by; what the sweep selected by, if not given.

    Raises
    ------
    RunError
        No sweep is there, or it has no finished configuration, or all of them failed.
    UsageError
        Unknown metric.
    """
    folder = Path(folder)
    about = read_sweep_file(folder)
    by = metric or str(about["space"]["metric"])
    check_metric(by)
    current, stale = [], 0
    for record in Records(folder).all().values():
        fresh = record["code"] == about["code"] and record["data"] in about["data"].values()
        stale += not fresh
        if fresh:
            current.append(record)
    full: dict[Setting, list[dict[str, Any]]] = {}
    tried, failures = set(), {}
    for record in current:
        setting = Setting.from_json(record["setting"])
        tried.add(setting.without_seed())
        if "error" in record:
            failures[describe(setting)] = record["error"]
        elif record.get("full", True):
            full.setdefault(setting.without_seed(), []).append(record)
    if current and all("error" in record for record in current):
        raise RunError(
            f"None of the {len(tried)} configurations in {folder} could be fitted: "
            f"{_reasons(failures)}"
        )
    if not full:
        raise RunError(f"{folder} has no finished configuration yet; run basket sweep on it")
    # Records lie in the order of their hashes, by which no tie should be decided.
    order = (by, *(name for name in CONFUSION_METRICS if name != by))
    rows = sorted(
        (_row(setting, records) for setting, records in full.items()),
        key=lambda row: (
            *(_badness(row.means[name], name) for name in order),
            describe(row.setting),
        ),
    )
    return Leaderboard(
        folder=str(folder),
        metric=by,
        rows=tuple(rows),
        effects=tuple(_effects(full, by)),
        n_tried=len(tried),
        failures=failures,
        n_stale=stale,
        simulated=bool(about.get("simulated")),
    )


def _reasons(failures: Mapping[str, str]) -> str:
    """The first few different reasons, and how many more there are."""
    different = list(dict.fromkeys(failures.values()))
    more = len(different) - _REASONS
    shown = "; ".join(different[:_REASONS])
    return f"{shown}; and {more} more" if more > 0 else shown


def read_sweep_file(folder: Path) -> dict[str, Any]:
    """What a sweep says of itself: space, code, data.

    Raises
    ------
    NotThereError
        None is there.
    RunError
        It cannot be read, or is of another version.
    """
    path = folder / SWEEP_FILE
    try:
        about: dict[str, Any] = json.loads(path.read_bytes())
        found = (about["format"], about["version"])
        if found == (SWEEP_FORMAT, SWEEP_VERSION):
            _ = (about["space"]["metric"], about["code"], about["data"].values())
    except (FileNotFoundError, NotADirectoryError):
        raise NotThereError(
            f"{folder} is no sweep: it has no {SWEEP_FILE}; name a folder that basket sweep wrote"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} cannot be read ({type(error).__name__}: {error}); name a folder that basket "
            "sweep wrote"
        ) from None
    if found != (SWEEP_FORMAT, SWEEP_VERSION):
        raise RunError(f"{path} is {found}, expected {(SWEEP_FORMAT, SWEEP_VERSION)}")
    return about


def describe(setting: Setting) -> str:
    """A configuration in one line."""
    params = " ".join(f"{name}={json.dumps(value)}" for name, value in setting.parameters.items())
    features = " + ".join(setting.features) or "the only features"
    return f"{setting.head}{' ' + params if params else ''} on {features}, {setting.pooling}"


def _row(setting: Setting, records: Sequence[Mapping[str, Any]]) -> Row:
    means, intervals = {}, {}
    for metric in CONFUSION_METRICS:
        scores = [_score(record, metric) for record in records]
        means[metric] = float(np.mean(scores))
        replicates = _replicates(records, metric)
        intervals[metric] = percentile_interval(replicates, _n_players(records))
    seconds = float(np.mean([record["seconds"] for record in records]))
    return Row(setting, means, intervals, len(records), seconds)


def _score(record: Mapping[str, Any], metric: str) -> float:
    value = record["scores"][metric]["mean"]
    return math.nan if value is None else float(value)


def _n_players(records: Sequence[Mapping[str, Any]]) -> int:
    """Validation players behind the scores of some records."""
    return min(
        int(metric["n_players"]) for record in records for metric in record["scores"].values()
    )


def _replicates(records: Sequence[Mapping[str, Any]], metric: str) -> Float:
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


def _badness(value: float, metric: str) -> float:
    if math.isnan(value):
        return math.inf
    return -value if HIGHER_IS_BETTER[metric] else value


def _effects(full: Mapping[Setting, Sequence[Mapping[str, Any]]], metric: str) -> list[Effect]:
    """Main effects of the common axes over all heads, then of each head's own parameters.

    Least squares on indicators of all values, so that an unbalanced design does not credit a value
    with its company; what cannot be told apart in principle is shared evenly.
    """
    settings = [
        setting
        for setting, records in full.items()
        if not any(math.isnan(_score(record, metric)) for record in records)
    ]
    common = ["features", "pool", "segments", "head"]
    found = _main_effects(settings, full, metric, common, common)
    for head in dict.fromkeys(setting.head for setting in settings):
        mine = [setting for setting in settings if setting.head == head]
        own = list(dict.fromkeys(axis for s in mine for axis in s.axes() if axis not in common))
        found += _main_effects(mine, full, metric, [*common[:3], *own], own)
    return found


def _main_effects(
    settings: Sequence[Setting],
    full: Mapping[Setting, Sequence[Mapping[str, Any]]],
    metric: str,
    axes: Sequence[str],
    shown: Sequence[str],
) -> list[Effect]:
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
        [np.mean([_score(record, metric) for record in full[s]]) for s in settings], dtype=float
    )
    replicates = [_replicates(full[s], metric) for s in settings]
    usable = len({len(each) for each in replicates}) == 1 and replicates[0].size > 0
    targets = np.column_stack([scores, np.array(replicates)]) if usable else scores[:, None]
    intercept = np.ones((len(settings), 1))
    solution = np.linalg.lstsq(np.hstack([intercept, design]), targets, rcond=None)[0][1:]
    seconds = np.array([np.mean([record["seconds"] for record in full[s]]) for s in settings])
    n_players = min(_n_players(full[s]) for s in settings)
    effects = []
    for axis in (axis for axis in shown if axis in varying):
        index = [place for place, (name, _) in enumerate(columns) if name == axis]
        centred = solution[index] - solution[index].mean(axis=0)
        worst_last = sorted(
            zip(centred, index, strict=True), key=lambda each: _badness(float(each[0][0]), metric)
        )
        for row, place in worst_last:
            has = design[:, place] > 0
            effects.append(
                Effect(
                    axis=axis,
                    value=columns[place][1] or "the only features",
                    effect=float(row[0]),
                    interval=percentile_interval(row[1:], n_players) if usable else None,
                    n_settings=int(has.sum()),
                    seconds=float(seconds[has].mean()),
                )
            )
    return effects


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
