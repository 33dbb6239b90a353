"""Decoders that misbehave on certain files: named in tests as ``odd_decoders:open_...``."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

from basket.extract.decode.pyav import open_pyav


@contextmanager
def open_logged(path, *, threads=1):
    """Note each opening in the file that the environment names."""
    with Path(os.environ["BASKET_TEST_LOG"]).open("a") as log:
        log.write(f"{path.name}\n")
    with open_pyav(path, threads=threads) as video:
        yield video


@contextmanager
def open_odd(path, *, threads=1):
    """Crash, hang, eat memory or fail, as the name of the file says; else decode."""
    if "segfault" in path.name:
        os.kill(os.getpid(), 11)
    if "hang" in path.name:
        time.sleep(600)
    if "greedy" in path.name:
        bytearray(64 << 30)
    if "bug" in path.name:
        raise RuntimeError("a bug in the decoder")
    if "terminated" in path.name and not (path.parent / "terminated.once").exists():
        (path.parent / "terminated.once").touch()
        os.kill(os.getpid(), 15)
        time.sleep(60)
    with open_pyav(path, threads=threads) as video:
        yield video
