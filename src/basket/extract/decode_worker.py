"""The worker's side of a decode process: one video at a time into the slots of its lane."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import Client, Connection
from typing import Any

import numpy as np

from basket.extract.clips import ClipShape
from basket.extract.decoding import Batch, Job, Opened, decode_job
from basket.extract.segments import SegmentPlan
from basket.extract.shared_bytes import SharedBytes

SLOTS = 3  # per lane: one being filled, one on its way, one being copied
_SLOT_BYTES = 10 << 20


def slot_bytes(jobs: Iterable[Job]) -> int:
    """Bytes of one slot: about 10 MB, and never less than the largest single clip."""
    shapes = {wanted.shape for job in jobs for wanted in job.wanted}
    return max([_SLOT_BYTES, *map(clip_bytes, shapes)])


def clip_bytes(shape: ClipShape) -> int:
    """Bytes of one clip with all its crops."""
    geometry = shape.geometry
    crops = 3 if geometry.crop == "three" else 1
    return crops * shape.frames * geometry.height_px * geometry.width_px * 3


def prepare_worker(decoder: str, memory_bytes: int) -> None:
    """In a new process: leave signals to the parent, end with it, and keep to the memory limit."""
    for name in ("SIGINT", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with_parent()
    # Imported now, so that no video is charged for it.
    import av  # noqa: F401

    from basket.extract.decode import DECODERS

    DECODERS[DECODERS.admit(decoder)]  # what was typed in the process that started this one
    try:
        import resource
    except ImportError:  # Windows has no such limits
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = memory_bytes if hard == resource.RLIM_INFINITY else min(memory_bytes, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def end_with_parent() -> None:
    """In a process: do not outlive a parent that is killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


_connection_to_parent: Connection | None = None
_open_lanes: dict[str, SharedBytes] = {}


def decode_in_worker(
    address: Any,
    key: bytes,
    number: int,
    job: Job,
    decoder: str,
    plan: SegmentPlan,
    *,
    lane: str,
    slot_size: int,
) -> None:
    """In a process: decode one video into the slots of a lane."""
    from basket.extract.decode import DECODERS

    global _connection_to_parent  # one for the life of the process
    if _connection_to_parent is None:
        _connection_to_parent = Client(address, authkey=key)
    connection = _connection_to_parent
    if lane not in _open_lanes:
        _open_lanes[lane] = SharedBytes.attach(lane)
    memory = _open_lanes[lane]
    clock = _Clock()
    connection.send((number, 0.0, "begun"))
    free = list(range(SLOTS))
    batch_of = [max(1, slot_size // clip_bytes(wanted.shape)) for wanted in job.wanted]
    for message in decode_job(job, DECODERS[decoder], plan=plan, batch_size=min(batch_of)):
        if isinstance(message, Opened):
            connection.send((number, clock.spent_s, "opened", message.info, message.segments))
        elif isinstance(message, Batch):
            # Read what was given back even while there are free slots: unread, it would pile up
            # until the parent can send no more.
            while connection.poll():
                free += _given_back(connection, number)
            with clock.stopped():
                while not free:
                    free += _given_back(connection, number)
            slot = free.pop()
            target: np.ndarray[Any, np.dtype[np.uint8]] = np.ndarray(
                message.pixels.shape, np.uint8, buffer=memory.buf, offset=slot * slot_size
            )
            target[...] = message.pixels
            wanted = job.wanted.index(message.wanted)
            content = (wanted, message.segments, message.pixels.shape, slot)
            connection.send((number, clock.spent_s, "batch", *content))
        else:
            connection.send((number, clock.spent_s, "finished", message.reason))
    give_freed_memory_back()


def give_freed_memory_back() -> None:
    """Hand pages that a video has left free back to the system, as only GNU's C library can.

    Codecs leave holes behind that the next video's blocks do not fit, so a process would grow by a
    third over some thousand videos. Costs about a millisecond.
    """
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):
        return None
    return trim


def _given_back(connection: Connection, number: int) -> list[int]:
    """Wait for the next slot that the parent gives back; one of an earlier video is of no use."""
    given_for, slot = connection.recv()
    return [int(slot)] if given_for == number else []


class _Clock:
    """Seconds spent at work, which waiting is not."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._waited_s = 0.0

    @property
    def spent_s(self) -> float:
        return time.monotonic() - self._start_s - self._waited_s

    @contextmanager
    def stopped(self) -> Iterator[None]:
        before_s = time.monotonic()
        yield
        self._waited_s += time.monotonic() - before_s
