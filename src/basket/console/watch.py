"""What a person sees of ``basket cache status --watch``: all writers, and what they add up to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.markup import escape

from basket.console.output import Output
from basket.console.tables import plain_table
from basket.console.words import duration

if TYPE_CHECKING:
    from basket.cache.progress import SetProgress, WriterProgress

_STATES = {"running": "[green]running[/]", "stopped": "stopped", "silent": "[bold red]silent[/]"}


def show_progress(output: Output, looks: Iterable[Sequence[SetProgress]]) -> None:
    """Show each look in place of the one before; without a terminal, one under the other.

    As JSON there is one document, of the first look.

    Parameters
    ----------
    output : Output
    looks : iterable of sequence of SetProgress
    """
    if output.json_mode:
        first = next(iter(looks))
        output.result({"feature_sets": [each.to_json() for each in first]})
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(console=output.out, auto_refresh=False) as live:
            for look in looks:
                live.update(Group(*progress_tables(look)), refresh=True)
    else:
        for look in looks:
            for each in look:
                output.out.print(progress_sentence(each), soft_wrap=True)


def progress_tables(look: Sequence[SetProgress]) -> list[RenderableType]:
    """Each feature set with its writers."""
    shown: list[RenderableType] = []
    for each in look:
        shown.append(progress_sentence(each))
        if not each.writers:
            shown.append("  nobody is at work on it")
            continue
        table = plain_table(indent=2)
        table.add_column("writer", overflow="fold")
        table.add_column("state")
        for column in ("done", "failed", "per hour", "left", "last heard"):
            table.add_column(column, justify="right", no_wrap=True)
        for writer in each.writers:
            table.add_row(*_cells(writer))
        shown.append(table)
        silent = [writer.writer for writer in each.writers if writer.state == "silent"]
        if silent:
            shown.append(
                f"  {len(silent)} silent: dead or cut off. Their videos are not lost: start the "
                "same command again"
            )
    return shown or ["There are no feature sets yet; run basket extract"]


def progress_sentence(each: SetProgress) -> str:
    """All writers of a feature set in one line."""
    parts = [f"{each.done} done", f"{each.failed} failed"]
    if each.missing is not None:
        parts.append(f"{each.missing} missing")
    line = f"[bold]{escape(each.name)}[/]: {', '.join(parts)}"
    if each.running:
        left = "" if each.left_s is None else f", {duration(each.left_s)} left"
        line += f"; {len(each.running)} at work, {3600 * each.videos_per_s:.0f} videos/h{left}"
    lost = sum(writer.state != "running" for writer in each.writers)
    return line + (f"; {lost} stopped or silent" if lost else "")


def _cells(writer: WriterProgress) -> tuple[str, ...]:
    return (
        escape(writer.writer),
        _STATES.get(writer.state, escape(writer.state)),
        f"{writer.done}/{writer.total}",
        str(writer.failed),
        f"{3600 * writer.videos_per_s:.0f}",
        "" if writer.left_s is None else duration(writer.left_s),
        f"{duration(writer.silent_s)} ago",
    )
