"""Collecting finished videos and committing them as shards."""

from __future__ import annotations

import os
import platform
import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from basket.cache.commit import MANIFEST_FOLDER, Image, build_image
from basket.cache.entries import checked_entry
from basket.cache.features import VideoFeatures, VideoRow
from basket.cache.fingerprint import FeatureSetSpec
from basket.cache.manifest import Entry
from basket.cache.publishing import Publisher
from basket.errors import CacheError

MAX_VIDEOS = 16
#: Long videos and many streams: encoding takes a few times this much memory.
MAX_BYTES = 64 << 20


class ShardWriter:
    """Takes finished videos and commits them 16 at a time; a context manager.

    Full shards are committed while the next ones are filled, a few at a time; :meth:`flush` returns
    when everything is committed. Leaving the ``with`` block commits what is buffered, also when a
    signal or any other error ends it: a finished video is finished. Only an error of the cache
    itself is not followed by another try. Any number of writers, in any number of processes, may
    write to one feature set.

    Parameters
    ----------
    folder : Path
        The feature set.
    spec : FeatureSetSpec
        Its specification.
    name : str, optional
        Name of the manifest file; by default one that no other writer has.
    flush_s : float, default=60.0
        A buffered video is committed by the first :meth:`add` or :meth:`flush_if_due` after this
        many seconds.
    newest_ns : callable
        Returns the latest ``committed_ns`` that is known.
    on_commit : callable
        Receives each published entry.
    """

    def __init__(
        self,
        folder: Path,
        spec: FeatureSetSpec,
        *,
        name: str | None = None,
        flush_s: float = 60.0,
        newest_ns: Callable[[], int],
        on_commit: Callable[[Entry], None],
    ) -> None:
        unique = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        plain = re.sub(r"[^A-Za-z0-9_-]+", "-", name or unique)[:100]
        self._folder = folder
        self._manifest = folder / MANIFEST_FOLDER / f"{plain}.jsonl"
        self._streams = dict(spec.streams)
        self._digest = spec.digest
        self._flush_s = flush_s
        self._newest_ns = newest_ns
        self._last_ns = 0
        self._publisher = Publisher(folder, self._manifest, on_commit=on_commit)
        self._entries: dict[str, tuple[VideoRow, VideoFeatures | None]] = {}
        self._bytes = 0
        self._first_s = 0.0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not isinstance(error, CacheError):
            self.flush()

    @property
    def n_buffered(self) -> int:
        """Videos added and not yet known to be committed."""
        return len(self._entries) + self._publisher.n_videos

    def add(self, row: VideoRow, features: VideoFeatures | None = None) -> None:
        """Take one finished video; commit when 16 are together or the first has waited too long.

        Parameters
        ----------
        row : VideoRow
        features : VideoFeatures or None
            Copied; None where the row says failed.

        Raises
        ------
        CacheError
            The video cannot be stored (it names which and why; nothing else is affected), or a
            commit failed, this one's or an earlier one's (what was buffered stays so, this video
            included; :meth:`flush` tries again).
        """
        entry = checked_entry(row, features, self._streams)
        if row.video_id in self._entries:
            self.flush()  # a shard holds an id once
        if not self._entries:
            self._first_s = time.monotonic()
        self._entries[row.video_id] = entry
        if entry[1] is not None:
            self._bytes += sum(values.nbytes for values in entry[1].features.values())
        if len(self._entries) >= MAX_VIDEOS or self._bytes >= MAX_BYTES:
            self._publisher.submit(self._taken())
        else:
            self.flush_if_due()

    def flush_if_due(self) -> None:
        """Commit if the first buffered video has waited ``flush_s``; for loops that idle.

        Raises
        ------
        CacheError
            As :meth:`flush`.
        """
        if self._entries and time.monotonic() - self._first_s >= self._flush_s:
            self.flush()
        else:
            self._publisher.collect()

    def flush(self) -> None:
        """Commit what is buffered, and return when it and all before it is committed.

        Raises
        ------
        CacheError
            Disk full, I/O error, no permission. The videos stay buffered, and another call
            publishes the same bytes under the same name.
        """
        if self._entries:
            self._publisher.publish(self._taken())
        else:
            self._publisher.settle()

    def _taken(self) -> Image:
        """An image of what is buffered; nothing is buffered afterwards."""
        image = build_image(
            list(self._entries.values()),
            self._streams,
            feature_set=self._digest,
            committed_ns=self._now_ns(),
        )
        self._entries = {}
        self._bytes = 0
        return image

    def _now_ns(self) -> int:
        """The time, and in any case later than every row that this writer can know of."""
        self._last_ns = max(time.time_ns(), 1 + (self._last_ns or self._newest_ns()))
        return self._last_ns
