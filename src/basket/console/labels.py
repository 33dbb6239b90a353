"""What a person sees of ``basket labels``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from basket.console.tables import plain_table
from basket.console.words import listed

if TYPE_CHECKING:
    from basket.dataset.overview import LabelOverview, TableOverview


def label_tables(found: LabelOverview) -> Iterator[RenderableType]:
    """An overview of label files as tables and sentences."""
    files = plain_table("Label files")
    for column in ("file", "videos", "players", "seasons", "leagues", "missing files", "repeated"):
        files.add_column(column, justify="left" if column == "file" else "right")
    for table in found.tables:
        missing = "?" if table.missing_files is None else str(len(table.missing_files))
        files.add_row(
            escape(str(table.path)),
            str(table.videos),
            str(table.players),
            str(len(table.seasons) or "-"),
            str(len(table.leagues) or "-"),
            missing,
            str(len(table.duplicates)),
        )
    yield files
    for table in found.tables:
        yield ""
        yield _balance_table(table)
    yield ""
    yield from _label_notes(found)


def _balance_table(table: TableOverview) -> Table:
    shown = plain_table(f"Level balance of {escape(table.path.name)} (% of labels)")
    shown.add_column("skill")
    for level in range(len(table.level_counts[0])):
        shown.add_column(str(level), justify="right")
    shown.add_column("missing", justify="right")
    for skill, counts, missing in zip(
        table.skills, table.level_counts, table.missing_labels, strict=True
    ):
        total = sum(counts)
        shares = [f"{100 * count / total:.0f}" if total else "-" for count in counts]
        shown.add_row(escape(skill), *shares, str(missing))
    return shown


def _label_notes(found: LabelOverview) -> Iterator[str]:
    if found.video_root is None:
        yield "[yellow]No listed video was found; name their folder with --video-root[/]"
    for table in found.tables:
        if table.missing_files:
            yield (
                f"[yellow]{len(table.missing_files)} videos of {escape(str(table.path))} are "
                f"missing or empty:[/] {escape(listed(table.missing_files))}"
            )
        if table.duplicates:
            yield (
                f"[yellow]{len(table.duplicates)} rows of {escape(str(table.path))} are repeated "
                f"(kept once):[/] {escape(listed(table.duplicates))}"
            )
    for (first, second), players in found.shared_players.items():
        names = f"{found.tables[first].path} and {found.tables[second].path}"
        yield (
            f"[bold red]Leak:[/] {len(players)} players are in both {escape(names)}: "
            f"{escape(listed(players))}"
        )
    if len(found.tables) > 1 and not found.shared_players:
        yield "No player is in two of these files."
