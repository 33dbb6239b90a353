"""One feature set of a cache: what is in it, its features, and who may add to it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from basket.cache import convert
from basket.cache.commit import SHARDS_FOLDER
from basket.cache.features import RaggedFeatures, VideoFeatures, VideoRow
from basket.cache.fingerprint import FeatureSetSpec
from basket.cache.gather import block_bounds, gather, gather_segments, storage_order
from basket.cache.look import look
from basket.cache.manifest import Entry, Stamp, is_named_by_its_bytes
from basket.cache.rows import SOURCE_SHA256
from basket.cache.shard import ShardFile
from basket.cache.snapshot import Snapshot
from basket.cache.writer import ShardWriter
from basket.errors import CacheError, IntegrityError, UsageError
from basket.notebook import html_table
from basket.registry import nearest

T = TypeVar("T")


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


class FeatureSet:
    """Features of one identity: rows, matrices, and the writer that adds to them.

    What is there is looked up at first use, and again by :meth:`refresh` and after each commit of
    this object's own writers; other processes' commits show after a :meth:`refresh`.

    **Damage.** What *tells* never raises because of a damaged shard: :attr:`rows`, :attr:`failed`,
    :meth:`row`, :meth:`is_done`, :attr:`damaged`; the videos of a damaged shard are simply not
    done, so that extraction makes them again. What *hands out* a collection to be learnt from does:
    :attr:`video_ids`, :meth:`stream` and :meth:`ragged` raise ``IntegrityError`` while a damaged
    or lost shard may hide videos, as a smaller collection would look whole. Once all of its videos
    were extracted again they go on; the file itself is left for ``basket cache repair``.
    :meth:`read` returns what is intact.

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
        self._verified: dict[str, Stamp] = {}

    to_numpy = convert.to_numpy
    to_pandas = convert.to_pandas
    to_arrow = convert.to_arrow
    to_torch = convert.to_torch

    def __repr__(self) -> str:
        # Nothing is read for a representation: debuggers make it too.
        looked = self._looked
        counts = "" if looked is None else f", {len(looked.ok)} videos, {len(looked.failed)} failed"
        return f"FeatureSet({str(self.path)!r}{counts})"

    def _repr_html_(self) -> str:
        spec, snapshot = self.spec, self._snapshot
        rows = [
            ("videos", len(snapshot.ok)),
            ("failed", len(snapshot.failed)),
            ("streams", ", ".join(f"{name} {dim}" for name, dim in self._streams.items())),
            ("backbone", spec.backbone),
        ]
        notes = [f"{len(snapshot.damaged)} damaged shards"] if snapshot.damaged else []
        return html_table(f"Feature set {self.name}", ("", ""), rows, notes=notes)

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

    def read(self, video_id: str) -> VideoFeatures:
        """All streams of one video.

        Raises
        ------
        CacheError
            The id has no features here; if it failed, the message says why.
        IntegrityError
            What is stored is not what was written.
        """
        return self._retrying(lambda: self._read(video_id))

    def _read(self, video_id: str) -> VideoFeatures:
        shard, start, length = self._spans([video_id])[0].tolist()
        with self._open_shard(self._snapshot, shard) as file:
            features = {
                stream: file.features(stream, start, start + length, dim=dim)
                for stream, dim in self._streams.items()
            }
            return VideoFeatures(features, **file.segments(start, start + length))

    def n_segments(self, video_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Segments of each video, int64, (n,).

        Raises
        ------
        CacheError
            An id has no features here.
        """
        return self._spans(video_ids)[:, 2]

    def segments(self, video_ids: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """When the segments of some videos begin and end, in the order of :meth:`ragged`.

        Returns
        -------
        dict of str to ndarray, (ΣS,)
            ``start_s`` and ``end_s`` float64, ``frames_valid`` int32.

        Raises
        ------
        CacheError, IntegrityError
            As :meth:`ragged`.
        """
        self._intact()
        return self._retrying(lambda: self._gather_segments(video_ids))

    def _gather_segments(self, video_ids: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        snapshot = self._snapshot
        return gather_segments(
            self._spans(video_ids), open_shard=lambda shard: self._open_shard(snapshot, shard)
        )

    def places(self, video_ids: Sequence[str]) -> list[str]:
        """Where the features of each video lie, ``<shard>:<first segment>``, for digests.

        Raises
        ------
        CacheError
            An id has no features here.
        IntegrityError
            A damaged shard may hide videos.
        """
        names = self._intact().names
        spans = self._spans(video_ids).tolist()
        return [f"{names[shard]}:{start}" for shard, start, _ in spans]

    def ragged(self, video_ids: Sequence[str], stream: str = "pooled") -> RaggedFeatures:
        """Features of some videos in one matrix, in the order given.

        Parameters
        ----------
        video_ids : sequence of str
        stream : str, default="pooled"

        Returns
        -------
        RaggedFeatures
            Values float16, ``(ΣS, D)``.

        Raises
        ------
        CacheError
            An id has no features here; the message names it and, if it failed, says why.
        IntegrityError
            A damaged shard may hide videos, or what is stored is not what was written.
        UsageError
            There is no such stream.
        """
        dim = self._dim(stream)
        self._intact()
        return self._retrying(lambda: self._gather(video_ids, stream, dim))

    def stream(
        self,
        video_ids: Sequence[str] | None = None,
        *,
        stream: str = "pooled",
        block_bytes: int = 64 << 20,
        ordered: bool = False,
    ) -> Iterator[tuple[tuple[str, ...], RaggedFeatures]]:
        """Features of many videos, block by block, in bounded memory.

        Parameters
        ----------
        video_ids : sequence of str, optional
            By default all that have features.
        stream : str, default="pooled"
        block_bytes : int, default=64 MiB
            Bytes of float16 values per block; a longer video makes a block of its own. Up to
            half as much again is taken while a block is read.
        ordered : bool, default=False
            Keep the order of ``video_ids``. By default videos come **in the order in which they
            are stored**, each shard being read once: put results in place by the ids of the block.
            Random order makes shards be read over and over, which is many times slower.

        Yields
        ------
        ids : tuple of str
            The videos of the block.
        features : RaggedFeatures
            Theirs, float16.

        Raises
        ------
        CacheError, IntegrityError, UsageError
            As :meth:`ragged`; what is known beforehand is raised by the call, not by iterating.
        """
        dim = self._dim(stream)
        ids = np.array(list(self._intact().ok if video_ids is None else video_ids), dtype=object)
        spans = self._spans(ids.tolist())
        if not ordered:
            order = storage_order(spans)
            ids, spans = ids[order], spans[order]
        bounds = block_bounds(spans[:, 2], segment_bytes=2 * dim, block_bytes=block_bytes)
        return self._blocks([tuple(ids[a:b].tolist()) for a, b in pairwise(bounds)], stream, dim)

    def _blocks(
        self, blocks: Sequence[tuple[str, ...]], stream: str, dim: int
    ) -> Iterator[tuple[tuple[str, ...], RaggedFeatures]]:
        for ids in blocks:
            yield ids, self._retrying(partial(self._gather, ids, stream, dim))

    def writer(self, name: str | None = None, *, flush_s: float = 60.0) -> ShardWriter:
        """Open a writer; use it in a ``with`` block.

        Parameters
        ----------
        name : str, optional
            Name of its manifest file; by default a unique one.
        flush_s : float, default=60.0
            Longest wait, in seconds, before a finished video is committed.
        """
        return ShardWriter(
            self.path,
            self.spec,
            name=name,
            flush_s=flush_s,
            newest_ns=lambda: self._snapshot.newest_ns,
            on_commit=self._news.append,
        )

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
        self._verified.clear()

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

    def _dim(self, stream: str) -> int:
        if stream not in self._streams:
            known = sorted(self._streams)
            raise UsageError(
                f"{self.name} has no stream {stream!r}{nearest(stream, known) or ';'} It has: "
                f"{', '.join(known)}"
            )
        return self._streams[stream]

    def _spans(self, video_ids: Sequence[str]) -> npt.NDArray[np.int64]:
        try:
            return self._snapshot.spans(video_ids)
        except KeyError as error:
            missing = str(error.args[0])
            kind = IntegrityError if self._snapshot.unaccounted else CacheError
            raise kind(self._unknown(missing)) from None

    def _gather(self, video_ids: Sequence[str], stream: str, dim: int) -> RaggedFeatures:
        snapshot = self._snapshot
        return gather(
            self._spans(video_ids),
            stream=stream,
            dim=dim,
            open_shard=lambda shard: self._open_shard(snapshot, shard),
        )

    @contextmanager
    def _open_shard(self, snapshot: Snapshot, shard: int) -> Iterator[ShardFile]:
        """Open a shard whose bytes are those that were compared with its name, comparing if not."""
        entry = snapshot.shards[snapshot.names[shard]]
        path = self.path / SHARDS_FOLDER / entry.shard
        stamp = Stamp.of(path)
        if stamp not in (entry.stamp, self._verified.get(entry.shard)):
            if not is_named_by_its_bytes(path):
                raise IntegrityError(
                    f"{self.name}: shard {entry.shard} was changed since it was written; run "
                    "basket cache verify"
                )
            self._verified[entry.shard] = stamp
        try:
            with ShardFile(path) as file:
                yield file
        except IntegrityError as error:
            raise IntegrityError(f"{self.name}: {error}; run basket cache verify") from error

    def _retrying(self, reading: Callable[[], T]) -> T:
        """Read; look again, once, where a shard was packed into another or set aside meanwhile."""
        for attempt in range(2):
            try:
                return reading()
            except FileNotFoundError:
                if attempt:
                    break
                self.refresh()
            except OSError as error:
                raise CacheError(
                    f"{error.filename or self.path} cannot be read: {error.strerror or error}"
                ) from error
        raise CacheError(
            f"shards of {self.path} vanish while they are read; see which program moves them"
        )
