"""Decoders that tell which process they work for, or kill it, as the name of the file says."""

import os
import signal
import time
from contextlib import contextmanager

from basket.extract.decode.pyav import open_pyav


@contextmanager
def open_telling(path, *, threads=1):
    """Note the process that this one decodes for, and this one, then decode."""
    with (path.parent / "served.log").open("a") as log:
        log.write(f"{os.getppid()} {os.getpid()}\n")
    with open_pyav(path, threads=threads) as video:
        yield video


@contextmanager
def open_killing(path, *, threads=1):
    """Kill the process that this one decodes for: always (poison), or the first time (once)."""
    mark = path.with_suffix(".done")
    if "poison" in path.name or ("once" in path.name and not mark.exists()):
        mark.touch()
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)  # ended with its parent
    with open_pyav(path, threads=threads) as video:
        yield video
