"""The markdown twin of a report: summary, runs, skills, what was left out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from basket.evaluate.details import comparison_tables
from basket.evaluate.report import EvaluationReport
from basket.evaluate.view import left_out_rows
from basket.evaluate.wording import (
    ALL_METRICS,
    METRICS,
    UNDEFINED,
    banners,
    leaks,
    split_title,
    summary,
)

#: Characters that start markup in a table cell or a sentence.
_SPECIAL = str.maketrans(
    {character: f"\\{character}" for character in "\\`*_{}[]<>#|~"} | {"\n": " ", "\r": " "}
)


def render_markdown(report: EvaluationReport) -> str:
    """GitHub-flavoured markdown; names from files are escaped."""
    parts = [f"# {_plain(report.title)}"]
    parts += [f"> **{_plain(sentence)}**" for sentence in (*banners(report), *leaks(report))]
    parts += [
        *(_plain(paragraph) for paragraph in summary(report)),
        "## Runs",
        _runs(report),
        f"## Skills: {_plain(report.primary)}, {_plain(split_title(report.main_split))}",
        _skills(report),
        f"## Every metric: {_plain(split_title(report.main_split))}",
        _every_metric(report),
        *_compared(report),
        *_slices(report),
        "## Left out",
        _left_out(report),
    ]
    return "\n\n".join(parts) + "\n"


def _runs(report: EvaluationReport) -> str:
    rows = []
    for run in report.runs:
        about = run.description
        features = about.feature_names + (" (random weights)" if about.random_weights else "")
        for split, scores in run.splits.items():
            cells = [about.name, features, about.head, split_title(split), f"{scores.n_videos:,}"]
            for name, words in METRICS.items():
                found = scores.metrics[name]
                interval = words.range_text(found.interval)
                cells.append(words.text(found.mean) + (f" ({interval})" if interval else ""))
            cells.append(METRICS["accuracy"].text(scores.metrics["accuracy"].prior_mean))
            rows.append(cells)
    titles = [METRICS[name].title for name in METRICS]
    return _table(
        ["Run", "Features", "Head", "Test set", "Videos", *titles, "Prior accuracy"], rows
    )


def _skills(report: EvaluationReport) -> str:
    scores = report.primary_run.splits[report.main_split]
    rows = []
    for index, skill in enumerate(report.skills):
        cells = [skill, f"{scores.n_labels[index]:,}"]
        for name, words in METRICS.items():
            found = scores.metrics[name]
            value = found.per_skill[index]
            cells.append(UNDEFINED if math.isnan(value) else words.text(value))
            cells.append(words.text(found.prior_per_skill[index]))
        rows.append(cells)
    titles = [title for name in METRICS for title in (METRICS[name].title, f"{name} of the prior")]
    return _table(["Skill", "Labels", *titles], rows)


def _every_metric(report: EvaluationReport) -> str:
    scores = report.primary_run.splits[report.main_split]
    rows = []
    for name, words in ALL_METRICS.items():
        found = scores.metrics[name]
        values = (found.mean, found.prior_mean, found.worst_mean)
        cells = [words.text(value) for value in values]
        rows.append([words.title, cells[0], words.range_text(found.interval), *cells[1:]])
    return _table(["Metric", "Mean over skills", "95% interval", "Prior", "At worst"], rows)


def _compared(report: EvaluationReport) -> list[str]:
    parts = []
    for table in comparison_tables(report):
        titles = [t for name in table.metrics for t in (METRICS[name].title, "95% interval", "p")]
        rows = [
            [
                row.name,
                *(text for cell in row.cells for text in (cell.text, cell.range_text, cell.p)),
            ]
            for row in table.rows
        ]
        parts += [
            f"## {_plain(table.first)} against {_plain(table.second)}",
            _plain(table.counts),
            _table(["Skill", *titles], rows),
        ]
    return parts


def _slices(report: EvaluationReport) -> list[str]:
    rows = []
    for part in report.primary_run.splits[report.main_split].slices:
        cells = [part.column, part.value, f"{part.n_videos:,}", f"{part.n_players:,}"]
        for name, found in part.metrics.items():
            interval = METRICS[name].range_text(found.interval)
            text = METRICS[name].text(found.value)
            cells.append(f"{text} ({interval})" if interval else text)
        rows.append(cells)
    titles = [words.title for words in METRICS.values()]
    return ["## Slices", _table(["", "", "Videos", "Players", *titles], rows)] if rows else []


def _left_out(report: EvaluationReport) -> str:
    found = left_out_rows(report)
    if not found:
        return "Nothing: every labelled video of every test set was scored."
    rows = [[split_title(row.split), row.video_id, row.reason, row.features] for row in found]
    return _table(["Test set", "Video", "Reason", "Features"], rows)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header)]
    lines += [[_plain(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    return text.translate(_SPECIAL)
