"""What a person sees of ``basket sweep`` and ``basket leaderboard``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from basket.console.tables import plain_table
from basket.evaluate.metric_words import METRICS, UNDEFINED

if TYPE_CHECKING:
    from basket.evaluate.bootstrap import Interval
    from basket.sweep.leaderboard import Leaderboard
    from basket.workflows.sweep import SweepSummary

#: Rows of a leaderboard that a terminal shows; the JSON and the page have all.
_SHOWN = 20


def sweep_tables(found: SweepSummary) -> Iterator[RenderableType]:
    """The leaderboard, what was chosen, and its test scores."""
    yield from leaderboard_tables(found.board)
    tried = f"{found.board.n_tried} configurations tried"
    yield f"{tried}, {found.n_computed} fits made now; records in {escape(str(found.folder))}"
    if found.run is not None:
        yield f"Chosen by validation {escape(found.board.metric)}: {escape(str(found.run.path))}"
    if found.report is not None:
        scores = found.report.primary_run.splits[found.report.main_split]
        written = ", ".join(
            f"{words.title} {words.text(scores.metrics[name].mean)}"
            f"{_bracketed(scores.metrics[name].interval, name)}"
            for name, words in METRICS.items()
        )
        looks = f"; look {found.n_test_looks} at this test set" if found.n_test_looks > 1 else ""
        yield f"[bold]Test, once, after {tried}:[/] {written}{looks}"


def leaderboard_tables(board: Leaderboard) -> Iterator[RenderableType]:
    """Configurations in order, what each axis is worth, and what failed."""
    words = METRICS[board.metric]
    yield from (f"[yellow]{escape(sentence)}[/]" for sentence in board.cautions)
    table = plain_table(
        gap=1, title=f"Validation, by {words.title}; {board.n_tried} configurations tried"
    )
    for column in ("", "head", "features", "pooling"):
        table.add_column(column, overflow="fold")
    for name in (board.metric, *(name for name in METRICS if name != board.metric)):
        table.add_column(METRICS[name].title, justify="right", no_wrap=True)
    table.add_column("seeds", justify="right")
    table.add_column("s", justify="right")
    for rank, row in enumerate(board.rows[:_SHOWN], start=1):
        params = " ".join(f"{k}={json.dumps(v)}" for k, v in row.setting.parameters.items())
        table.add_row(
            str(rank),
            escape(f"{row.setting.head} {params}".strip()),
            escape(" + ".join(row.setting.features) or "(only set)"),
            escape(row.setting.pooling),
            f"[bold]{words.text(row.means[board.metric])}[/]"
            f"{_bracketed(row.intervals[board.metric], board.metric)}",
            *(METRICS[name].text(row.means[name]) for name in METRICS if name != board.metric),
            str(row.n_seeds),
            f"{row.seconds:.2f}",
        )
    yield table
    if len(board.rows) > _SHOWN:
        yield f"… and {len(board.rows) - _SHOWN} more (--json or --html shows all)"
    if board.effects:
        yield _effects(board)
    if board.n_stale:
        yield f"{board.n_stale} records of other code, labels or features take no part"
    for name, reason in board.failures.items():
        yield f"[red]failed:[/] {escape(name)}: {escape(reason)}"


def _effects(board: Leaderboard) -> Table:
    words = METRICS[board.metric]
    table = plain_table(f"Change of {words.title} against the average of its axis")
    for column in ("axis", "value"):
        table.add_column(column, overflow="fold")
    for column in ("change", "95% interval", "n", "s"):
        table.add_column(column, justify="right")
    shown = None
    for each in board.effects:
        table.add_row(
            escape(each.axis) if each.axis != shown else "",
            escape(each.value),
            words.change_text(each.effect).removesuffix(" points"),
            words.change_range_text(each.interval) or UNDEFINED,
            str(each.n_settings),
            f"{each.seconds:.2f}",
        )
        shown = each.axis
    return table


def _bracketed(interval: Interval | None, metric: str) -> str:
    return f" ({METRICS[metric].range_text(interval)})" if interval else ""
