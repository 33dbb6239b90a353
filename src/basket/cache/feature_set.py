"""One feature set of a cache: what is in it, its features, and who may add to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from basket.cache import convert
from basket.cache.commit import SHARDS_FOLDER
from basket.cache.features import RaggedFeatures, VideoFeatures
from basket.cache.fingerprint import FeatureSetSpec
from basket.cache.gather import block_bounds, gather, gather_segments, storage_order
from basket.cache.manifest import Stamp, is_named_by_its_bytes
from basket.cache.published import PublishedRows
from basket.cache.shard import ShardFile
from basket.cache.snapshot import Snapshot
from basket.cache.writer import ShardWriter
from basket.errors import CacheError, IntegrityError, UsageError
from basket.notebook import html_table
from basket.registry import nearest

T = TypeVar("T")


class FeatureSet(PublishedRows):
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
        super().__init__(path, spec)
        self._verified: dict[str, Stamp] = {}

    to_numpy = convert.to_numpy
    to_pandas = convert.to_pandas
    to_arrow = convert.to_arrow
    to_torch = convert.to_torch

    def __repr__(self) -> str:
        # Nothing is read for a representation: debuggers make it too.
        known = None if self._looked is None else self._snapshot
        counts = "" if known is None else f", {len(known.ok)} videos, {len(known.failed)} failed"
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
        if spec.random_weights:
            notes.append("Random weights: these features carry no training.")
        return html_table(f"Feature set {self.name}", ("", ""), rows, notes=notes)

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
                stream: file.features(stream, start, start + length, dim=dim).astype(
                    self.dtype(stream), copy=False
                )
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
            Values ``(ΣS, D)``, of :meth:`dtype`.

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
        block_bytes: int = 32 << 20,
        ordered: bool = False,
    ) -> Iterator[tuple[tuple[str, ...], RaggedFeatures]]:
        """Features of many videos, block by block, in bounded memory.

        Parameters
        ----------
        video_ids : sequence of str, optional
            By default all that have features.
        stream : str, default="pooled"
        block_bytes : int, default=32 MiB
            Bytes of values per block; a longer video makes a block of its own. Up to
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
            Theirs, of :meth:`dtype`.

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
        bounds = block_bounds(
            spans[:, 2], segment_bytes=self.dtype(stream)().itemsize * dim, block_bytes=block_bytes
        )
        return self._blocks([tuple(ids[a:b].tolist()) for a, b in pairwise(bounds)], stream, dim)

    def _blocks(
        self, blocks: Sequence[tuple[str, ...]], stream: str, dim: int
    ) -> Iterator[tuple[tuple[str, ...], RaggedFeatures]]:
        for ids in blocks:
            yield ids, self._retrying(partial(self._gather, ids, stream, dim))

    def dtype(self, stream: str = "pooled") -> type[np.floating[Any]]:
        """How a stream is handed out: float16, or float32 where some of its rows need that."""
        return np.float32 if stream in self._snapshot.single else np.float16

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

    def forget(self) -> None:
        """Drop all that was looked up, so that the next use looks at every file again."""
        super().forget()
        self._verified.clear()

    def _dim(self, stream: str) -> int:
        if stream not in self._streams:
            known = sorted(self._streams)
            raise UsageError(
                f"{self.name} has no stream {stream!r}{nearest(stream, known) or '.'} It has: "
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
            dtype=self.dtype(stream),
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
