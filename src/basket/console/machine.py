"""What a person sees of the backbones and of this machine: ``basket models``, ``doctor``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from basket.console.output import PIPED_COLUMNS
from basket.console.tables import plain_table

if TYPE_CHECKING:
    from basket.doctor import Check


def model_tables(
    rows: Sequence[Mapping[str, Any]], *, whole: bool = False
) -> Iterator[RenderableType]:
    """Known models, a row each; or everything about one, a line for each fact."""
    if whole:
        for row in rows:
            facts = plain_table(header=False)
            facts.add_column(style="bold", no_wrap=True)
            facts.add_column(overflow="fold")
            for key, value in row.items():
                if value not in (None, "", [], {}):
                    facts.add_row(escape(key), "\n".join(map(escape, _fact_lines(value))))
            yield facts
        return
    table = plain_table(gap=1)
    table.add_column("model", no_wrap=True)
    for column in ("dims", "frames", "px", "TFLOP/clip"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold", min_width=12)
    # A narrow terminal has no room for it; `basket models NAME` and --json always tell it.
    is_wide = get_terminal_size((PIPED_COLUMNS, 24)).columns >= 120
    if is_wide:
        table.add_column("checkpoint", overflow="fold")
    for row in rows:
        name = row["name"] + (f" ({row['alias']})" if row["alias"] else "")
        cost = row["tflop_per_clip"]
        table.add_row(
            escape(name),
            *(str(row[key] or "-") for key in ("dims", "frames", "size_px")),
            f"{cost:.3g}" if cost else "-",
            escape(row["licence"] or "-"),
            *([escape(row["checkpoint"] or "-")] if is_wide else []),
        )
    yield table


def _fact_lines(value: Any) -> list[str]:
    """A fact in lines: one for each entry of a mapping, one for anything else."""
    if isinstance(value, Mapping):
        return [f"{key}: {_plain_fact(item)}" for key, item in value.items()]
    return [_plain_fact(value)]


def _plain_fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain_fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain_fact, value))
    return str(value)


def check_table(checks: Sequence[Check]) -> Table:
    """What was examined, what was found, what to do."""
    table = plain_table()
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[bold red]problem[/]"}
    for check in checks:
        table.add_row(
            marks[check.state], escape(check.name), escape(check.found), escape(check.advice)
        )
    return table
