"""What is published in a feature set: which row speaks for each video, and what is done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from basket.cache.features import VideoRow
from basket.cache.fingerprint import FeatureSetSpec
from basket.cache.look import look
from basket.cache.manifest import Entry
from basket.cache.rows import SOURCE_SHA256
from basket.cache.snapshot import Snapshot
from basket.errors import CacheError, IntegrityError
from basket.registry import nearest


class _Rows(Mapping[str, VideoRow]):
    """Rows by id, made when they are asked for."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def __getitem__(self, video_id: str) -> VideoRow:
        place = self._snapshot.current[video_id]
        return self._snapshot.index(place).row(place.position)

    def __iter__(self) -> Iterator[str]:
        return iter(self._snapshot.current)

    def __len__(self) -> int:
        return len(self._snapshot.current)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._snapshot.current


class PublishedRows:
    """The rows of a feature set; what :class:`~basket.cache.feature_set.FeatureSet` knows of it.

    Parameters
    ----------
    path : Path
        The folder.
    spec : FeatureSetSpec
        As read from its ``feature_set.json``.
    """

    def __init__(self, path: Path, spec: FeatureSetSpec) -> None:
        self.path = path
        self.spec = spec
        self._digest = spec.digest
        self._streams = {stream: int(dim) for stream, dim in spec.streams.items()}
        self._looked: Snapshot | None = None
        self._news: list[Entry] = []

    @property
    def name(self) -> str:
        """Name of the folder: ``<backbone>.<plan>.<digest8>``."""
        return self.path.name

    @property
    def video_ids(self) -> tuple[str, ...]:
        """Ids of the videos with features, sorted.

        Raises
        ------
        IntegrityError
            A damaged shard may hide videos.
        """
        return tuple(self._intact().ok)

    @property
    def failed(self) -> Mapping[str, str]:
        """Ids of the videos that failed, with the reason; sorted by id."""
        return self._snapshot.failed

    @property
    def rows(self) -> Mapping[str, VideoRow]:
        """The current row of each id, ok or failed; sorted by id."""
        return _Rows(self._snapshot)

    @property
    def damaged(self) -> Mapping[str, str]:
        """File names of shards that cannot be used, with the reason. Never raises."""
        return self._snapshot.damaged

    def row(self, video_id: str) -> VideoRow:
        """The current row of one video.

        Raises
        ------
        CacheError
            The id is unknown here.
        """
        place = self._snapshot.current.get(video_id)
        if place is None:
            raise CacheError(self._unknown(video_id))
        return self._snapshot.index(place).row(place.position)

    def is_done(
        self,
        video_id: str,
        source_bytes: int,
        source_mtime_ns: int,
        *,
        retry_failed: bool = False,
        content: Callable[[], str] | None = None,
    ) -> bool:
        """Whether nothing is left to extract for a video as its source file is now.

        Parameters
        ----------
        video_id : str
        source_bytes, source_mtime_ns : int
            Of the file now; -1 and -1 where it is not there. Another size or time means a replaced
            file, which is not done; nor is a file restored to a version that was extracted before
            the one that is current in the cache, as readers would get the features of the latter.
        retry_failed : bool, default=False
            Count failed videos as not done.
        content : callable, optional
            Returns the SHA-256 of the source file. Where the current row recorded one, it decides
            instead of the time: a copy with another time is the same video, and a file that was
            replaced by one of the same size and time is not.
        """
        snapshot = self._snapshot
        source = (source_bytes, source_mtime_ns)
        current = snapshot.current.get(video_id)
        if current is None:
            return False
        columns = snapshot.index(current).columns
        same = snapshot.index(current).source(current.position) == source
        if content is not None and columns["source_bytes"][current.position] == source_bytes >= 0:
            recorded = json.loads(columns["provenance"][current.position]).get(SOURCE_SHA256)
            same = same if recorded is None else recorded == content()
        if same:
            return not (columns["status"][current.position] and retry_failed)
        if source_bytes >= 0 or retry_failed:
            return False
        # A file that is gone never outranks one that was there, so its row is not the current one.
        return any(
            snapshot.index(place).source(place.position) == source
            for place in snapshot.places[video_id]
        )

    def generations(self, video_ids: Iterable[str]) -> list[int]:
        """When the row of each video was committed, in ns: another time means other features.

        Packing keeps it.
        """
        ok = self._intact().ok
        places = [ok[video_id] for video_id in video_ids]
        index = self._snapshot.index
        return [int(index(each).columns["committed_ns"][each.position]) for each in places]

    def has_decoding_rules(self, video_id: str) -> bool:
        """Whether a video's current row says by which rules it was read; basket 0.1 did not."""
        place = self._snapshot.current[video_id]
        return self._snapshot.index(place).has_decoding_rules(place.position)

    def refresh(self) -> None:
        """Look at the folder again, for what other processes did.

        Raises
        ------
        CacheError
            The folder cannot be read.
        """
        try:
            self._looked = look(
                self.path,
                feature_set=self._digest,
                streams=self._streams,
                known=self._looked or Snapshot(),
            )
        except OSError as error:
            raise CacheError(
                f"{error.filename or self.path} cannot be read: {error.strerror or error}; see "
                "to its permissions or the disk, then run the same command again"
            ) from error

    def forget(self) -> None:
        """Drop all that was looked up, so that the next use looks at every file again."""
        self._looked = None
        self._news.clear()

    @property
    def snapshot(self) -> Snapshot:
        """What is published, as it was last looked at; for the care of the cache."""
        return self._snapshot

    @property
    def _snapshot(self) -> Snapshot:
        if self._looked is None:
            self.refresh()
        assert self._looked is not None
        if self._news:
            self._looked = self._looked.with_shards(self._news)
            self._news.clear()
        return self._looked

    def _intact(self) -> Snapshot:
        if unaccounted := self._snapshot.unaccounted:
            name, why = next(iter(unaccounted.items()))
            more = f" and {len(unaccounted) - 1} more" if len(unaccounted) > 1 else ""
            raise IntegrityError(
                f"{self.name}: shard {name}{more} cannot be used: {why}. Run basket cache verify "
                "to see the damage; basket cache repair and another basket extract make its "
                "videos good"
            )
        return self._snapshot

    def _unknown(self, video_id: str) -> str:
        snapshot = self._snapshot
        if video_id in snapshot.failed:
            return (
                f"{video_id!r} has no features in {self.name}: it failed "
                f"({snapshot.failed[video_id]}); basket extract --retry-failed tries it again"
            )
        hint = nearest(video_id, list(snapshot.ok))
        damage = " (it may be in a damaged shard: run basket cache verify)" if self.damaged else ""
        return f"{video_id!r} is not in {self.name}{damage}{hint or '; run basket extract on it'}"
