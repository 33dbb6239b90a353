"""The forward side: batches filled across videos, embedded in a thread while decoding goes on.

Clips of different videos and scales share a batch, so that a GPU is never handed the leftovers of
one video. One thread runs the backbones (networks release the interpreter lock); at most two full
batches wait for it, so memory does not depend on how far decoding is ahead.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from basket.extract.assembly import VideoInProgress, average_crops
from basket.extract.backbones.base import Backbone, Streams
from basket.extract.backbones.batching import BatchSize, embed_in_batches
from basket.extract.decoding import Batch

_IN_FLIGHT = 2


@dataclass(frozen=True)
class _Part:
    """Some clips of one video in a batch: rows ``rows`` of it belong to ``video``."""

    video: VideoInProgress
    batch: Batch
    clips: slice


class Forward:
    """Takes batches of clips, gives back videos as their last clip has been embedded.

    Parameters
    ----------
    backbones : sequence of Backbone
    batch_sizes : sequence of BatchSize
        Clips per call, for each backbone; halved where memory runs out.
    """

    def __init__(self, backbones: Sequence[Backbone], batch_sizes: Sequence[BatchSize]) -> None:
        self._backbones = backbones
        self._sizes = batch_sizes
        self._waiting: list[list[_Part]] = [[] for _ in backbones]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="forward")
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
        """Stop the thread; what was not embedded is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _submit(self, backbone: int) -> Iterator[VideoInProgress]:
        parts, self._waiting[backbone] = self._waiting[backbone], []
        parts = [part for part in parts if not part.video.failed]
        if parts:
            future = self._thread.submit(
                _embed, self._backbones[backbone], parts, self._sizes[backbone]
            )
            self._running.append((future, parts))
        while len(self._running) > _IN_FLIGHT or (self._running and self._running[0][0].done()):
            yield from self._collect()

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


def _embed(backbone: Backbone, parts: Sequence[_Part], size: BatchSize) -> Streams:
    """Embed the clips of all parts in one go; several crops of a clip are averaged."""
    pixels: npt.NDArray[np.uint8] = np.concatenate(
        [part.batch.pixels[part.clips] for part in parts]
    )
    clips, crops = pixels.shape[:2]
    flat = pixels.reshape(clips * crops, *pixels.shape[2:])
    return average_crops(embed_in_batches(backbone, flat, size), crops=crops)
