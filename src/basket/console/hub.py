"""What a person sees of a push or a pull."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.markup import escape

from basket.console.words import size

if TYPE_CHECKING:
    from basket.hub import Transfer


def transfer_lines(done: Transfer) -> Iterator[str]:
    """Where it went, how much of it, and at which commit."""
    there = f", {done.already_there} were there already" if done.already_there else ""
    verb, arrow = ("sent", "->") if done.what == "push" else ("fetched", "<-")
    yield f"{escape(str(done.path))} {arrow} {escape(done.url)}"
    yield f"{done.sent} files {verb} ({size(done.size_bytes)}){there}; commit {done.revision}"
    if done.public:
        yield "[yellow]Everybody may see it.[/]"
