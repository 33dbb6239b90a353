"""What a person sees of ``basket labels``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from basket.console.tables import plain_table
from basket.console.words import counted, listed

if TYPE_CHECKING:
    from basket.dataset.overview import LabelOverview, TableOverview

#: More levels are shown as so many ranges: they would not fit a terminal of 80 columns.
_MAX_LEVELS, _RANGES = 10, 5


def label_tables(found: LabelOverview) -> Iterator[RenderableType]:
    """An overview of label files as tables and sentences."""
    folder, names = _short_names([table.path for table in found.tables])
    files = plain_table(f"Label files{f' in {escape(folder)}' if folder else ''}", gap=1)
    for column in ("file", "videos", "players", "seasons", "leagues", "no file", "twice"):
        files.add_column(
            column, justify="left" if column == "file" else "right", no_wrap=column != "file"
        )
    for table, name in zip(found.tables, names, strict=True):
        missing = "?" if table.missing_files is None else str(len(table.missing_files))
        files.add_row(
            escape(name),
            str(table.videos),
            str(table.players),
            str(len(table.seasons) or "-"),
            str(len(table.leagues) or "-"),
            missing,
            str(len(table.duplicates)),
        )
    yield files
    for table, name in zip(found.tables, names, strict=True):
        yield ""
        yield _balance_table(table, name)
    yield ""
    yield from _label_notes(found)


def _short_names(paths: Sequence[Path]) -> tuple[str, list[str]]:
    """The folder that several files share, and the files as seen from it."""
    if len(paths) < 2:
        return "", [str(path) for path in paths]
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    shown = os.path.relpath(folder)
    inside = [path.absolute().relative_to(folder).as_posix() for path in paths]
    return ("" if shown == "." else folder if shown.startswith("..") else shown), inside


def _balance_table(table: TableOverview, name: str) -> Table:
    shown = plain_table(f"Level balance of {escape(name)}, % of its labels")
    shown.add_column("skill")
    n_levels = len(table.level_counts[0])
    step = 1 if n_levels <= _MAX_LEVELS else -(-n_levels // _RANGES)
    for low in range(0, n_levels, step):
        high = min(low + step, n_levels) - 1
        shown.add_column(str(low) if low == high else f"{low}-{high}", justify="right")
    shown.add_column("videos without", justify="right")
    for skill, counts, missing in zip(
        table.skills, table.level_counts, table.missing_labels, strict=True
    ):
        total = sum(counts)
        parts = [sum(counts[low : low + step]) for low in range(0, n_levels, step)]
        shares = [f"{100 * count / total:.0f}" if total else "-" for count in parts]
        shown.add_row(escape(skill), *shares, str(missing))
    return shown


def _label_notes(found: LabelOverview) -> Iterator[str]:
    from basket.dataset.overview import unused_end

    if found.video_root is None:
        yield "[yellow]No listed video was found; name their folder with --video-root[/]"
    if unused := unused_end([table.level_counts for table in found.tables]):
        yield f"[yellow]{unused}[/]"
    for table in found.tables:
        if table.missing_files:
            yield (
                f"[yellow]{counted(len(table.missing_files), 'file')} of {escape(str(table.path))} "
                "missing, empty, or a link out of the video root:[/] "
                f"{escape(listed(table.missing_files))}"
            )
        if table.duplicates:
            yield (
                f"[yellow]{counted(len(table.duplicates), 'video')} repeated in "
                f"{escape(str(table.path))} (kept once):[/] {escape(listed(table.duplicates))}"
            )
    for (first, second), players in found.shared_players.items():
        names = f"{found.tables[first].path} and {found.tables[second].path}"
        yield (
            f"[bold red]Leak:[/] {counted(len(players), 'player')} in both {escape(names)}: "
            f"{escape(listed(players))}"
        )
    if len(found.tables) > 1 and not found.shared_players:
        yield "No player is in two of these files."
