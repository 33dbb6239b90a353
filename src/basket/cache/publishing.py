"""Publishing shards beside the work that makes the next ones.

A commit is mostly waiting: for the disk to take the bytes, then to take the name. Hashing, writing
and syncing release the interpreter's lock, so a few threads overlap them with encoding and with
each other. Each shard is still published whole, by the same steps in the same order; that they
overlap changes only how many finished videos are in flight when a process dies.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from basket.cache.commit import Image, publish_image
from basket.cache.manifest import Entry
from basket.errors import CacheError

#: Journalling file systems answer several syncs at once with one write of the journal. More would
#: only contend with the encoding for the interpreter.
MAX_IN_FLIGHT = 4
MAX_BYTES_IN_FLIGHT = 96 << 20


class Publisher:
    """Publishes images; the caller learns of each success, and of failures at its next call.

    Parameters
    ----------
    folder : Path
        The feature set.
    manifest : Path
        The writer's manifest file.
    on_commit : callable
        Receives each published entry, in the calling thread.
    """

    def __init__(self, folder: Path, manifest: Path, *, on_commit: Callable[[Entry], None]) -> None:
        self._publish = partial(publish_image, folder, manifest=manifest)
        self._on_commit = on_commit
        self._pool: ThreadPoolExecutor | None = None
        self._running: dict[Future[Entry], Image] = {}
        self._failed: list[Image] = []

    @property
    def n_videos(self) -> int:
        """Videos handed over that are not known to be published."""
        return sum(len(image.index) for image in (*self._failed, *self._running.values()))

    def submit(self, image: Image) -> None:
        """Take an image to publish; wait only where too many are in flight.

        Raises
        ------
        CacheError
            An earlier one could not be published; this one was taken all the same, and
            :meth:`settle` tries both.
        """
        try:
            self.collect()
            while self._is_full(len(image.data)):
                self._collect(block=True)
        except CacheError:
            # A disk that is full is not asked again until somebody wants it tried.
            self._failed.append(image)
            raise
        if self._pool is None:
            self._pool = ThreadPoolExecutor(MAX_IN_FLIGHT, thread_name_prefix="basket-commit")
        self._running[self._pool.submit(self._publish, image)] = image

    def _is_full(self, more_bytes: int) -> bool:
        running = self._running.values()
        return bool(running) and (
            len(running) >= MAX_IN_FLIGHT
            or more_bytes + sum(len(each.data) for each in running) > MAX_BYTES_IN_FLIGHT
        )

    def settle(self) -> None:
        """Return when all is published; what failed before is tried again, once.

        Raises
        ------
        CacheError
            Something could not be published; it is kept for another call.
        """
        error = None
        retried, self._failed = self._failed, []
        try:
            while self._running:
                try:
                    self._collect(block=True)
                except CacheError as failure:
                    error = error or failure
        finally:
            self._failed = retried + self._failed
            self._close()
        if error is not None:
            raise error
        while self._failed:
            self._on_commit(self._publish(self._failed[0]))
            del self._failed[0]

    def publish(self, image: Image) -> None:
        """Publish an image and everything before it, in the calling thread.

        Raises
        ------
        CacheError
            As :meth:`settle`.
        """
        self._failed.append(image)
        self.settle()

    def collect(self) -> None:
        """Hear of what was published meanwhile, without waiting.

        Raises
        ------
        CacheError
            Something could not be published; :meth:`settle` tries it again.
        """
        self._collect(block=False)

    def _collect(self, *, block: bool) -> None:
        if not self._running:
            return
        if block:
            wait(self._running, return_when=FIRST_COMPLETED)
        error = None
        for future in [each for each in self._running if each.done()]:
            image = self._running.pop(future)
            failure = future.exception()
            if failure is None:
                self._on_commit(future.result())
                continue
            self._failed.append(image)
            error = error or failure
        if error is not None:
            raise error

    def _close(self) -> None:
        """Leave no threads behind: a process that forks later must not inherit their locks."""
        if self._pool is not None and not self._running:
            self._pool.shutdown()
            self._pool = None
