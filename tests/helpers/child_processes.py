"""Actions in forked processes, which may die at a step of a commit or be killed at any moment."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from basket.cache import commit

Action = Callable[[], object]

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")

#: Exit status of a process that died at a step, and of one whose action raised.
DIED, RAISED = 9, 70


def start(action: Action) -> int:
    """Start an action in a forked process that exits with 0, or :data:`RAISED`; its process id."""
    child = os.fork()
    if child == 0:
        code = RAISED
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return child


def exit_status(child: int) -> int:
    """Wait for a started process."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kill_after(action: Action, delay_s: float) -> None:
    """Do something in a forked process that is killed unless it ends earlier."""
    child = start(action)
    time.sleep(delay_s)
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def dying_at(step: str, action: Action, *, nth: int = 1) -> Action:
    """The action, but its process dies with :data:`DIED` when it passes a step the n-th time."""

    def act() -> None:
        passed: list[str] = []

        def on_step(name: str) -> None:
            passed.append(name)
            if name == step and passed.count(step) == nth:
                os._exit(DIED)

        commit.on_step = on_step
        action()

    return act
