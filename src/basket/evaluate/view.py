"""A report as the page shows it: rows, axes and positions, computed apart from the template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from basket.dataset.skills import GROUPS, Skill, skill_as_named
from basket.evaluate.metric_words import METRICS, UNDEFINED, count
from basket.evaluate.report import EvaluationReport, RunReport
from basket.evaluate.results import MetricScores, SplitScores

#: Steps an axis may end on, per metric.
_AXIS_STEP = {"accuracy": 0.1, "mae": 0.5, "qwk": 0.2}


@dataclass(frozen=True)
class Axis:
    """A common scale for all bars of one metric: ``low <= 0 < high``."""

    metric: str
    low: float
    high: float

    def position(self, value: float) -> float:
        """Where a value lies, in percent of the axis, kept inside it."""
        share = (value - self.low) / (self.high - self.low)
        return round(100.0 * min(max(share, 0.0), 1.0), 3)

    @property
    def text(self) -> str:
        """The ends, for reading."""
        words = METRICS[self.metric]
        low, high = (
            f"{end:.0%}" if words.percent else f"{end:.1f}" for end in (self.low, self.high)
        )
        return f"{low.replace('-', '−')} to {high}"  # noqa: RUF001


@dataclass(frozen=True)
class Bar:
    """One score as a bar from zero, its interval and the prior's mark. Positions in percent.

    Parameters
    ----------
    value, prior_value : float
        The scores themselves; NaN is undefined.
    text, range_text, prior : str
        Value, interval and prior in writing.
    left, width : float
        Of the bar.
    low, high : float or None
        Ends of the interval.
    mark : float or None
        The prior.
    """

    metric: str
    value: float
    prior_value: float
    text: str
    range_text: str
    prior: str
    left: float = 0.0
    width: float = 0.0
    point: float | None = None
    low: float | None = None
    high: float | None = None
    mark: float | None = None


@dataclass(frozen=True)
class SkillRow:
    """One skill: a bar per metric."""

    name: str
    high_is_good: bool
    n_labels: int
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class SkillGroup:
    """Skills of one group, in the order of the label file."""

    name: str
    rows: tuple[SkillRow, ...]


@dataclass(frozen=True)
class ConfusionCell:
    """Share of one true level that was given one predicted level."""

    count: int
    percent: int | None
    exact: bool
    title: str


@dataclass(frozen=True)
class ConfusionPanel:
    """One skill's confusion matrix, ordered from poor to good on both axes."""

    name: str
    high_is_good: bool
    n_labels: int
    accuracy: str
    levels: tuple[int, ...]
    rows: tuple[tuple[ConfusionCell, ...], ...]


@dataclass(frozen=True)
class ResultRow:
    """One run in the comparison: a cell per test set, None where it was not scored."""

    run: str
    head: str
    detail: str
    is_primary: bool
    cells: tuple[dict[str, Bar] | None, ...]


@dataclass(frozen=True)
class ResultGroup:
    """Runs on the same features."""

    features: str
    random_weights: bool
    rows: tuple[ResultRow, ...]


@dataclass(frozen=True)
class LeftOutRow:
    """A labelled video that some runs could not score."""

    split: str
    video_id: str
    reason: str
    features: str


def axes_of(found: Sequence[SplitScores], *, per_skill: bool) -> dict[str, Axis]:
    """Common axes, wide enough for every score, interval and prior among ``found``."""
    axes = {}
    for metric, step in _AXIS_STEP.items():
        ends = [0.0]
        for scores in (split.metrics[metric] for split in found):
            ends += [scores.mean, scores.prior_mean, *_ends(scores.interval)]
            if per_skill:
                ends += [*scores.per_skill, *scores.prior_per_skill]
                ends += [end for interval in scores.skill_intervals for end in _ends(interval)]
        known = [end for end in ends if not math.isnan(end)]
        # The slack keeps 0.6000000001 from opening another step.
        high = max(math.ceil(max(known) / step - 1e-9), 1) * step
        axes[metric] = Axis(metric, math.floor(min(known) / step + 1e-9) * step, high)
    return axes


def skill_groups(scores: SplitScores, skills: Sequence[str]) -> list[SkillGroup]:
    """Bars per skill, by group."""
    axes = axes_of([scores], per_skill=True)
    rows: dict[str, list[SkillRow]] = {group: [] for group in GROUPS}
    for index, skill in enumerate(map(skill_as_named, skills)):
        bars = tuple(_bar(axes[name], scores.metrics[name], index) for name in METRICS)
        row = SkillRow(skill.name, skill.high_is_good, scores.n_labels[index], bars)
        rows[skill.group].append(row)
    return [SkillGroup(group, tuple(members)) for group, members in rows.items() if members]


def confusion_panels(scores: SplitScores, skills: Sequence[str]) -> list[ConfusionPanel]:
    """One panel per skill; an inverted skill is turned round so that good is right and below."""
    panels = []
    accuracy = scores.metrics["accuracy"].per_skill
    for index, skill in enumerate(map(skill_as_named, skills)):
        matrix = scores.confusion[index]
        levels = tuple(range(len(matrix)))
        levels = levels if skill.high_is_good else levels[::-1]
        rows = tuple(_confusion_row(skill, matrix[true], true, levels) for true in levels)
        text = METRICS["accuracy"].text(accuracy[index])
        panels.append(
            ConfusionPanel(
                skill.name, skill.high_is_good, scores.n_labels[index], text, levels, rows
            )
        )
    return panels


def result_groups(report: EvaluationReport) -> list[ResultGroup]:
    """The comparison of runs: features, then heads, with a cell per test set."""
    axes = axes_of([s for run in report.runs for s in run.splits.values()], per_skill=False)
    grouped: dict[tuple[tuple[str, ...], ...], list[RunReport]] = {}
    for run in report.runs:
        grouped.setdefault(run.description.feature_keys, []).append(run)
    names = [runs[0].description.feature_names for runs in grouped.values()]
    return [
        ResultGroup(
            # Two plans of one backbone share its name: their digests tell them apart.
            name if names.count(name) == 1 else f"{name} ({runs[0].description.feature_digests})",
            runs[0].description.random_weights,
            tuple(_result_row(report, run, runs, axes) for run in runs),
        )
        for name, runs in zip(names, grouped.values(), strict=True)
    ]


def left_out_rows(report: EvaluationReport) -> list[LeftOutRow]:
    """Every video left out, once per test set and reason, with the features it is missing from."""
    features: dict[tuple[str, str, str], list[str]] = {}
    for run in report.runs:
        for split, scores in run.splits.items():
            for video_id, reason in scores.left_out.items():
                names = features.setdefault((split, video_id, reason), [])
                if run.description.feature_names not in names:
                    names.append(run.description.feature_names)
    return [LeftOutRow(*key, ", ".join(names)) for key, names in features.items()]


def _ends(interval: object) -> list[float]:
    low, high = getattr(interval, "low", None), getattr(interval, "high", None)
    return [] if low is None or high is None else [low, high]


def mean_bar(axis: Axis, found: MetricScores) -> Bar:
    """The mean over skills as a bar."""
    return _bar(axis, found, None)


def _bar(axis: Axis, found: MetricScores, skill: int | None) -> Bar:
    words = METRICS[axis.metric]
    if skill is None:
        value, prior, interval = found.mean, found.prior_mean, found.interval
    else:
        value, prior = found.per_skill[skill], found.prior_per_skill[skill]
        interval = found.skill_intervals[skill]
    written = Bar(
        metric=axis.metric,
        value=value,
        prior_value=prior,
        text=words.text(value),
        range_text=words.range_text(interval),
        prior=words.text(prior),
    )
    if math.isnan(value):
        return written
    zero, point = axis.position(0.0), axis.position(value)
    return replace(
        written,
        left=min(zero, point),
        width=round(abs(point - zero), 3),
        point=point,
        low=axis.position(interval.low) if interval else None,
        high=axis.position(interval.high) if interval else None,
        mark=None if math.isnan(prior) else axis.position(prior),
    )


def _confusion_row(
    skill: Skill, counts: Sequence[int], true: int, levels: Sequence[int]
) -> tuple[ConfusionCell, ...]:
    total, n_levels = sum(counts), len(counts)
    true_name = skill.level_name(true, n_levels)
    cells = []
    for predicted in levels:
        number = counts[predicted]
        percent = round(100 * number / total) if total else None
        share = UNDEFINED if percent is None else f"{percent}%"
        title = (
            f"{skill.name}: truly {true_name}, predicted {skill.level_name(predicted, n_levels)}: "
            f"{number:,} of {count(total, 'video')} ({share})"
        )
        cells.append(ConfusionCell(number, percent, predicted == true, title))
    return tuple(cells)


def _result_row(
    report: EvaluationReport, run: RunReport, siblings: Sequence[RunReport], axes: dict[str, Axis]
) -> ResultRow:
    about = run.description
    # Pooling and name are shown only where the head alone does not tell two runs apart.
    twins = [other for other in siblings if other.description.head == about.head]
    poolings = {other.description.pooling for other in twins}
    detail = ""
    if len(twins) > 1:
        detail = about.pooling if len(poolings) == len(twins) else about.name
    cells = tuple(
        {name: mean_bar(axes[name], run.splits[split].metrics[name]) for name in METRICS}
        if split in run.splits
        else None
        for split in report.split_names
    )
    return ResultRow(about.name, about.head, detail, about.name == report.primary, cells)
