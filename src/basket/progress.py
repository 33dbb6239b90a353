"""Progress for scripts and notebooks: one line that any of our calls can report to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from basket.console import Output
from basket.console.extraction import extraction_progress
from basket.extract.summary import Progress


@contextmanager
def progress_bar(what: str = "Working") -> Iterator[Callable[..., None]]:
    """Show the progress of one call: a bar in a notebook or terminal, else a line now and then.

    Parameters
    ----------
    what : str, default="Working"
        The word before the bar.

    Yields
    ------
    callable
        For ``on_progress`` or ``tell`` of any call: takes what an extraction reports, or the number
        done and the number in all.

    Examples
    --------
    ::

        with basket.progress_bar("Extracting") as report:
            basket.extract_features(models=["videomae"], on_progress=report)
        with basket.progress_bar("Verifying") as report:
            basket.verify_cache(tell=report)
    """
    with Output().progress(what) as show:

        def report(now: Progress | int, total: int = 0, details: Any = "") -> None:
            if isinstance(now, Progress):
                extraction_progress(show)(now)
            else:
                show(now, total, str(details))

        yield report
