"""How a command speaks: notes, progress, tables, or one JSON document.

Results go to standard output; everything else (notes, progress, errors) to standard error, so that
a pipe gets results alone.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from rich.console import Console, ConsoleOptions, RenderableType
from rich.markup import escape
from rich.segment import Segment

from basket.console.words import duration
from basket.errors import UNPRINTABLE, printable

_PLAIN_PROGRESS_S = 5.0
_WIDE_COLUMNS = 110  # from here on there is room for a bar beside counts, rates and times
_BAR_COLUMNS = 30
PIPED_COLUMNS = 200  # a pipe has no width; a table that wraps is hard to grep


class SafeConsole(Console):
    """Through which everything reaches a terminal, without what would drive it.

    File names, reasons, hosts and names of feature sets come from caches that others made.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What is written, with control characters of texts as escapes."""
        for segment in super().render(renderable, options):
            if segment.control or not UNPRINTABLE.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


class Report(Protocol):
    """What is called as work goes on."""

    def __call__(self, done: int, total: int, details: str = "") -> None:
        """Show how much is done."""


@dataclass
class Output:
    """How one command speaks.

    Parameters
    ----------
    json_mode : bool
        One JSON document on standard output instead of tables.
    quiet : bool
        No notes and no progress; results and errors remain.
    """

    json_mode: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        self.out = SafeConsole(highlight=False, soft_wrap=False)
        if not self.out.is_terminal and "COLUMNS" not in os.environ:
            self.out.width = PIPED_COLUMNS
        self.err = SafeConsole(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Tell something that is neither a result nor an error."""
        if not self.quiet:
            self.err.print(escape(text), style="dim", soft_wrap=_unwrapped(self.err))

    def warn(self, text: str) -> None:
        """Tell something a person should act on; shown even when quiet."""
        self.err.print(f"[yellow]{escape(text)}[/]", soft_wrap=_unwrapped(self.err))

    def result(self, document: Mapping[str, Any], *shown: RenderableType) -> None:
        """Print the result of a command: ``document`` as JSON, or what is ``shown``."""
        if self.json_mode:
            text = json.dumps(document, indent=1, default=str, ensure_ascii=False)
            sys.stdout.write(UNPRINTABLE.sub(_in_json, text) + "\n")
            return
        for each in shown:
            self.out.print(each, soft_wrap=isinstance(each, str) and _unwrapped(self.out))

    @contextmanager
    def progress(self, what: str) -> Iterator[Report]:
        """A line of progress: the value is called with ``(done, total)`` and perhaps details.

        A live bar on a terminal; elsewhere a plain line every few seconds.
        """
        if self.quiet:
            yield _unseen
        elif self.err.is_terminal or self.err.is_jupyter:
            with self._bar(what) as report:
                yield report
        else:
            yield self._lines(what)

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """A line that names the stage at work: the value is called with each stage's name."""
        if self.quiet:
            yield lambda _stage: None
        elif self.err.is_terminal:
            with self.err.status(f"{what} …") as status:
                yield lambda stage: status.update(f"{what}: {escape(stage)} …")
        else:
            yield lambda stage: self.err.print(f"{what}: {stage}", soft_wrap=True)

    @contextmanager
    def _bar(self, what: str) -> Iterator[Report]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar
        from rich.table import Column

        # Where the line is too long, the details give way: neither the counts nor the time left.
        wide = self.err.width >= _WIDE_COLUMNS
        columns = (
            TextColumn("{task.description}"),
            *([BarColumn(bar_width=_BAR_COLUMNS)] if wide else []),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn(
                "{task.fields[details]}",
                table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis"),
            ),
            *([TimeElapsedColumn(table_column=Column(no_wrap=True))] if wide else []),
            TextColumn("left"),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
        )
        with Bar(*columns, console=self.err, transient=True, expand=True) as bar:
            task = bar.add_task(what, total=None, details="")

            def report(done: int, total: int, details: str = "") -> None:
                bar.update(task, completed=done, total=total, details=details)

            yield report

    def _lines(self, what: str) -> Report:
        start = last = time.monotonic()

        def report(done: int, total: int, details: str = "") -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < _PLAIN_PROGRESS_S:
                return
            last = now
            left = (now - start) / done * (total - done) if done else None
            counted = f"{done} of {total} {details}".rstrip()
            rest = f", {duration(left)} left" if left is not None else ""
            self.err.print(f"{what}: {counted}{rest}", soft_wrap=True)

        return report


def _in_json(character: re.Match[str]) -> str:
    return character[0] if character[0] == "\n" else f"\\u{ord(character[0]):04x}"


def _unwrapped(console: Console) -> bool:
    """Whether lines are left as long as they are: a terminal would break them within words."""
    return not console.is_terminal


def _unseen(done: int, total: int, details: str = "") -> None:
    """Progress that nobody wants to see."""


def print_error(message: str) -> None:
    """Print an error as one readable message on standard error."""
    console = SafeConsole(stderr=True, highlight=False)
    console.print(f"[bold red]error:[/] {escape(message)}", soft_wrap=_unwrapped(console))
