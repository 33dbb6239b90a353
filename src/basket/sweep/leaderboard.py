"""What a sweep found: its configurations in order, and what each axis is worth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basket.errors import NotThereError, RunError
from basket.evaluate.bootstrap import Interval, percentile_interval
from basket.evaluate.wording import cautions
from basket.metrics import CONFUSION_METRICS
from basket.notebook import html_table
from basket.sweep.effects import Effect, effects_of
from basket.sweep.record_scores import badness, n_players, replicates_of, score_of
from basket.sweep.records import Records
from basket.sweep.setting import Setting
from basket.sweep.space import check_metric

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
    random_weights : tuple of str
        Backbones that were never trained.
    """

    folder: str
    metric: str
    rows: tuple[Row, ...]
    effects: tuple[Effect, ...]
    n_tried: int
    failures: Mapping[str, str]
    n_stale: int
    simulated: bool
    random_weights: tuple[str, ...] = ()

    @property
    def cautions(self) -> list[str]:
        """Sentences that keep these scores from being about people or about a model."""
        return cautions(simulated=self.simulated, random_weights=self.random_weights)

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
        return html_table(repr(self), columns, rows, notes=self.cautions)

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
            *(badness(row.means[name], name) for name in order),
            describe(row.setting),
        ),
    )
    return Leaderboard(
        folder=str(folder),
        metric=by,
        rows=tuple(rows),
        effects=tuple(effects_of(full, by)),
        n_tried=len(tried),
        failures=failures,
        n_stale=stale,
        simulated=bool(about.get("simulated")),
        random_weights=tuple(about.get("random_weights", ())),
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
        scores = [score_of(record, metric) for record in records]
        means[metric] = float(np.mean(scores))
        replicates = replicates_of(records, metric)
        intervals[metric] = percentile_interval(replicates, n_players(records))
    seconds = float(np.mean([record["seconds"] for record in records]))
    return Row(setting, means, intervals, len(records), seconds)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and math.isnan(value) else value
