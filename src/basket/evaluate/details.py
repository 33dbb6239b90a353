"""Calibration, slices and comparisons as the page shows them: texts and positions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from basket.evaluate.metric_words import ALL_METRICS, METRICS, UNDEFINED, count
from basket.evaluate.report import EvaluationReport
from basket.evaluate.results import Comparison, Difference, SliceScores, SplitScores
from basket.evaluate.view import Axis, Bar, mean_bar

#: Radius of the dot that stands for all cells, in percent of the drawing.
_LARGEST_DOT = 7.0


@dataclass(frozen=True)
class Dot:
    """One bin of a calibration curve; x and y in percent of the drawing, y downwards."""

    x: float
    y: float
    r: float
    promised: float
    found: float
    count: int
    title: str


@dataclass(frozen=True)
class Curve:
    """Calibration of one threshold."""

    threshold: int
    error: str
    points: str
    dots: tuple[Dot, ...]
    text: str


@dataclass(frozen=True)
class ComparedCell:
    """One difference by one metric."""

    metric: str
    value: float
    text: str
    range_text: str
    p: str
    apart: bool


@dataclass(frozen=True)
class ComparedRow:
    """One skill, or the mean over all."""

    name: str
    whole: bool
    cells: tuple[ComparedCell, ...]


@dataclass(frozen=True)
class ComparisonTable:
    """Two runs, skill by skill."""

    first: str
    second: str
    counts: str
    seeded: bool
    metrics: tuple[str, ...]
    rows: tuple[ComparedRow, ...]


def curves(scores: SplitScores) -> list[Curve]:
    """One calibration curve per threshold, with its description in words."""
    made = []
    for found in scores.calibration:
        total = sum(number for _, _, number in found.bins)
        dots = tuple(_dot(*part, total=total) for part in found.bins)
        error = ALL_METRICS["calibration_error"].text(found.error)
        said = ", ".join(f"{dot.promised:.0%} promised, {dot.found:.0%} found" for dot in dots)
        made.append(
            Curve(
                found.threshold,
                error,
                " ".join(f"{dot.x},{dot.y}" for dot in dots),
                dots,
                f"Calibration above level {found.threshold}, error {error}: {said}.",
            )
        )
    return made


def slices_by_column(scores: SplitScores) -> list[tuple[str, list[SliceScores]]]:
    """Slices, one group per column, in the order they were made."""
    grouped: dict[str, list[SliceScores]] = {}
    for part in scores.slices:
        grouped.setdefault(part.column, []).append(part)
    return list(grouped.items())


def comparison_tables(report: EvaluationReport) -> list[ComparisonTable]:
    """The paired tables, the mean over the skills first."""
    return [_table(each, report.skills) for each in report.comparisons]


def reference_bar(scores: SplitScores) -> Bar:
    """The run's accuracy on an axis from 0 to 100 %, where published scores stand too."""
    return mean_bar(Axis("accuracy", 0.0, 1.0), scores.metrics["accuracy"])


def _dot(promised: float, found: float, number: int, *, total: int) -> Dot:
    return Dot(
        x=round(100 * promised, 2),
        y=round(100 - 100 * found, 2),
        r=round(max(_LARGEST_DOT * math.sqrt(number / total), 0.8), 2),
        promised=promised,
        found=found,
        count=number,
        title=f"promised {promised:.1%}, found {found:.1%}, {count(number, 'cell')}",
    )


def _table(compared: Comparison, skills: Sequence[str]) -> ComparisonTable:
    rows = [
        ComparedRow(
            "Mean over the skills",
            True,
            tuple(_cell(name, found.mean) for name, found in compared.metrics.items()),
        )
    ]
    rows += [
        ComparedRow(
            skill,
            False,
            tuple(_cell(name, found.per_skill[index]) for name, found in compared.metrics.items()),
        )
        for index, skill in enumerate(skills)
    ]
    counts = f"{count(compared.n_videos, 'video')} of {count(compared.n_players, 'player')}"
    if compared.n_dropped:
        counts += f"; {count(compared.n_dropped, 'video')} that only one could score left out"
    if compared.n_seeds != (1, 1):
        counts += f"; {compared.n_seeds[0]} and {count(compared.n_seeds[1], 'seed')}"
    return ComparisonTable(
        compared.first,
        compared.second,
        counts + ".",
        compared.n_seeds != (1, 1),
        tuple(compared.metrics),
        tuple(rows),
    )


def _cell(metric: str, found: Difference) -> ComparedCell:
    words = METRICS[metric]
    return ComparedCell(
        metric=metric,
        value=found.value,
        text=words.change_text(found.value).removesuffix(" points"),
        range_text=words.change_range_text(found.interval),
        p=UNDEFINED if math.isnan(found.p_holm) else p_text(found.p_holm),
        apart=found.told_apart,
    )


def p_text(p: float) -> str:
    """Write a p-value.

    >>> p_text(0.0004), p_text(0.0312)
    ('<0.001', '0.031')
    """
    return "<0.001" if p < 0.001 else f"{p:.3f}"
