"""Signals as a question that long loops ask: "has somebody told us to stop?".

SIGTERM (schedulers), SIGHUP (a terminal that closes), SIGUSR1 (SLURM's early warning) and Ctrl-C
set a flag instead of ending the process, so that what is finished can be committed first. A second
Ctrl-C is meant: it interrupts.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

_stop = threading.Event()

_SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1")
    if hasattr(signal, name)
]


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Within the block, signals set the flag; outside, they do what they did before.

    Only the main thread can install handlers; in any other thread this changes nothing.
    """
    _stop.clear()
    with _handling(_SIGNALS, _request_stop):
        yield


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within the block, SIGTERM, SIGHUP and SIGUSR1 interrupt at once, as Ctrl-C does.

    For the minutes before :func:`stopping_on_signals`, when weights are fetched and loaded: nothing
    is finished that would have to be committed, but a scheduler must be told by the exit code that
    the work goes on. Only the main thread can install handlers; elsewhere this changes nothing.
    """
    with _handling([each for each in _SIGNALS if each != signal.SIGINT], _interrupt):
        yield


def stop_requested() -> bool:
    """Whether a signal arrived since the block of :func:`stopping_on_signals` began."""
    return _stop.is_set()


def request_stop() -> None:
    """Set the flag as a signal would; for a process whose signals belong to somebody else."""
    _stop.set()


@contextmanager
def _handling(
    numbers: Iterable[int], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, handler)
        for number in numbers
        # nohup had it ignored, so that the work outlives the terminal.
        if number == signal.SIGINT or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, former in before.items():
            signal.signal(number, former)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _request_stop(number: int, _frame: FrameType | None) -> None:
    if number == getattr(signal, "SIGHUP", None):
        # Nobody listens any more, and a write would fail before anything is committed.
        with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
            for stream in (1, 2):
                if stat.S_ISCHR(os.fstat(stream).st_mode):
                    os.dup2(nowhere.fileno(), stream)
    if number == signal.SIGINT and _stop.is_set():
        raise KeyboardInterrupt
    _stop.set()
