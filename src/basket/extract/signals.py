"""Signals as a question that long loops ask: "has somebody told us to stop?".

SIGTERM (schedulers), SIGUSR1 (SLURM's early warning) and Ctrl-C set a flag instead of ending the
process, so that what is finished can be committed first. A second Ctrl-C is meant: it interrupts.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_stop = threading.Event()

_SIGNALS = [
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)
]


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Within the block, signals set the flag; outside, they do what they did before.

    Only the main thread can install handlers; in any other thread this changes nothing.
    """
    _stop.clear()
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _request_stop) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Within the block, SIGTERM and SIGUSR1 interrupt at once, as Ctrl-C does.

    For the minutes before :func:`stopping_on_signals`, when weights are fetched and loaded: nothing
    is finished that would have to be committed, but a scheduler must be told by the exit code that
    the work goes on. Only the main thread can install handlers; elsewhere this changes nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [number for number in _SIGNALS if number != signal.SIGINT]
    before = {number: signal.signal(number, _interrupt) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def stop_requested() -> bool:
    """Whether a signal arrived since the block of :func:`stopping_on_signals` began."""
    return _stop.is_set()


def request_stop() -> None:
    """Set the flag as a signal would; for a process whose signals belong to somebody else."""
    _stop.set()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _request_stop(number: int, _frame: FrameType | None) -> None:
    if number == signal.SIGINT and _stop.is_set():
        raise KeyboardInterrupt
    _stop.set()
