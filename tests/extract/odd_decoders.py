"""Decoders that misbehave on certain files: named in tests as ``odd_decoders:open_...``."""

import os
import time
from contextlib import contextmanager
from pathlib import Path

from basket.errors import MissingDependencyError
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode_worker import decode_in_worker


def killed_before_it_begins(address, key, number, job, *args, **kwargs):
    """Be killed before the first word about a video: each time, or until a file is there."""
    name = job.source.path.name
    if "mute" in name and not job.source.path.with_suffix(".once").exists():
        if "once" in name:
            job.source.path.with_suffix(".once").touch()
        os.kill(os.getpid(), 9)
    decode_in_worker(address, key, number, job, *args, **kwargs)


@contextmanager
def open_logged(path, *, threads=1):
    """Note each opening in the file that the environment names."""
    with Path(os.environ["BASKET_TEST_LOG"]).open("a") as log:
        log.write(f"{path.name}\n")
    with open_pyav(path, threads=threads) as video:
        yield video


@contextmanager
def open_not_installed(path, *, threads=1):
    """Stand for a decoder whose package is not there."""
    raise MissingDependencyError("--decoder not-installed needs a package")
    yield


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
