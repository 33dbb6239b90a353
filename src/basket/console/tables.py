"""The one look that all tables have."""

from __future__ import annotations

from collections.abc import Mapping

from rich.markup import escape
from rich.table import Table
from rich.text import Text


def plain_table(
    title: str | None = None, *, gap: int = 2, indent: int = 0, header: bool = True
) -> Table:
    """A table without lines, its title on the left.

    Parameters
    ----------
    title : str, optional
        In rich's markup.
    gap : int, default=2
        Columns of space after each cell.
    indent : int, default=0
        Columns of space before each cell.
    header : bool, default=True
        Show the names of the columns.
    """
    return Table(
        # On one line, even where the table below it is narrower.
        title=None if title is None else Text.from_markup(title, overflow="ignore"),
        title_justify="left",
        box=None,
        padding=(0, gap, 0, indent),
        show_header=header,
    )


def reasons_table(title: str, reasons: Mapping[str, str], limit: int = 20) -> Table:
    """Videos and why each of them was left out; the first ones where there are many."""
    table = plain_table(title)
    table.add_column("video", overflow="fold")
    table.add_column("reason", overflow="fold")
    for name, reason in list(reasons.items())[:limit]:
        table.add_row(escape(name), escape(reason))
    if len(reasons) > limit:
        table.add_row(f"… and {len(reasons) - limit} more", "--json lists them all")
    return table
