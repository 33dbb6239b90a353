"""The forward side: batches filled across videos, embedded in a thread while decoding goes on.

Clips of different videos and scales share a batch, so that a GPU is never handed the leftovers of
one video. One thread runs the backbones (networks release the interpreter lock), two where a GPU
does; at most two full batches wait for it, so memory does not depend on how far decoding is ahead.
Where the backbones run elsewhere (:mod:`basket.extract.devices`), a thread waits for each batch
that is there.
"""

from __future__ import annotations

import collections
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from basket.extract.assembly import VideoInProgress, average_crops
from basket.extract.backbones.base import Backbone, Streams
from basket.extract.backbones.batching import BatchSize, embed_in_batches
from basket.extract.decoding import Batch

Pixels = npt.NDArray[np.uint8]

#: Embeds clips: ``embed(position of the backbone, pieces of (n, C, T, H, W, 3))`` to one row per
#: clip, the crops averaged.
Embed = Callable[[int, Sequence[Pixels]], Streams]


@dataclass(frozen=True)
class Embedders:
    """Where batches are embedded.

    Parameters
    ----------
    calls : sequence of Embed
        Each takes one batch at a time; a batch goes to whichever is free.
    sizes : sequence of BatchSize
        Clips per call, for each backbone; made smaller by a call that ran out of memory.
    """

    calls: Sequence[Embed]
    sizes: Sequence[BatchSize]


def embedders_here(
    backbones: Sequence[Backbone], sizes: Sequence[BatchSize], *, at_once: int = 1
) -> Embedders:
    """Backbones that run in this process.

    Parameters
    ----------
    backbones : sequence of Backbone
    sizes : sequence of BatchSize
    at_once : int, default=1
        Batches under way. With two, one is put together and handed over while a device still
        computes the one before it; on a CPU there is nothing to gain. Each backbone is called by
        one thread at a time all the same.
    """
    call = partial(embed_pieces, backbones, sizes, turn=threading.Lock())
    return Embedders([call] * at_once, sizes)


def embed_pieces(
    backbones: Sequence[Backbone],
    sizes: Sequence[BatchSize],
    position: int,
    pieces: Sequence[Pixels],
    *,
    turn: AbstractContextManager[object] | None = None,
) -> Streams:
    """Embed the clips of all pieces in one go; several crops of a clip are averaged.

    ``turn`` is that of :func:`.embed_in_batches`.
    """
    pixels: Pixels = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
    clips, crops = pixels.shape[:2]
    flat = pixels.reshape(clips * crops, *pixels.shape[2:])
    streams = embed_in_batches(backbones[position], flat, sizes[position], turn=turn)
    return average_crops(streams, crops=crops)


@dataclass(frozen=True)
class _Part:
    """Some clips of one video: ``clips`` of what ``batch`` holds of it."""

    video: VideoInProgress
    batch: Batch
    clips: slice


class Forward:
    """Takes batches of clips, gives back videos as their last clip has been embedded.

    Parameters
    ----------
    embedders : Embedders
    """

    def __init__(self, embedders: Embedders) -> None:
        self._sizes = embedders.sizes
        self._waiting: list[list[_Part]] = [[] for _ in self._sizes]
        self._free: queue.SimpleQueue[Embed] = queue.SimpleQueue()
        for call in embedders.calls:
            self._free.put(call)
        self._in_flight = len(embedders.calls) + 1
        self._threads = ThreadPoolExecutor(len(embedders.calls), thread_name_prefix="forward")
        self._running: collections.deque[tuple[Future[Streams], list[_Part]]] = collections.deque()

    @property
    def batch_sizes(self) -> list[int]:
        """Clips per call now; smaller than at first where memory ran out."""
        return [size.clips for size in self._sizes]

    def put(self, video: VideoInProgress, batch: Batch) -> Iterator[VideoInProgress]:
        """Take clips; yields videos that have become complete meanwhile."""
        backbone = batch.wanted.backbone
        taken = 0
        while taken < len(batch.segments):
            room = self._sizes[backbone].clips - _clips(self._waiting[backbone])
            part = _Part(video, batch, slice(taken, min(taken + max(room, 1), len(batch.segments))))
            self._waiting[backbone].append(part)
            taken = part.clips.stop
            if _clips(self._waiting[backbone]) >= self._sizes[backbone].clips:
                yield from self._submit(backbone)

    def flush(self) -> Iterator[VideoInProgress]:
        """Embed what is waiting, however little; yields the videos that this completes."""
        for backbone, parts in enumerate(self._waiting):
            if parts:
                yield from self._submit(backbone)
        while self._running:
            yield from self._collect()

    def close(self) -> None:
        """Stop the threads; what was not embedded is dropped."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _submit(self, backbone: int) -> Iterator[VideoInProgress]:
        parts, self._waiting[backbone] = self._waiting[backbone], []
        parts = [part for part in parts if not part.video.failed]
        if parts:
            self._running.append((self._threads.submit(self._embed, backbone, parts), parts))
        while len(self._running) > self._in_flight or (
            self._running and self._running[0][0].done()
        ):
            yield from self._collect()

    def _embed(self, backbone: int, parts: Sequence[_Part]) -> Streams:
        call = self._free.get()  # as many threads as calls: one is free
        try:
            return call(backbone, [part.batch.pixels[part.clips] for part in parts])
        finally:
            self._free.put(call)

    def _collect(self) -> Iterator[VideoInProgress]:
        future, parts = self._running.popleft()
        streams = future.result()
        row = 0
        for part in parts:
            n = part.clips.stop - part.clips.start
            rows = {name: values[row : row + n] for name, values in streams.items()}
            part.video.put(part.batch.wanted, part.batch.segments[part.clips], rows)
            row += n
            if part.video.is_complete:
                yield part.video


def _clips(parts: Sequence[_Part]) -> int:
    return sum(part.clips.stop - part.clips.start for part in parts)
