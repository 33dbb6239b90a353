"""The one loop from video files to committed features: decode once, feed every backbone.

Processes decode (:mod:`basket.extract.workers`), a thread runs the backbones
(:mod:`basket.extract.forward`), and the loop between them hands videos that are over to the cache
(:mod:`basket.extract.finished`). A video that cannot be read becomes a failed row with its reason;
nothing is skipped in silence.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

from basket.cache import FeatureCache, FeatureSet, mixing_sentence
from basket.cache.progress import Work, telling_progress
from basket.cache.provenance import DECODING_RULES
from basket.cores import usable_cores
from basket.errors import Interrupted
from basket.extract.assembly import VideoInProgress
from basket.extract.attempts import Attempts
from basket.extract.backbones.base import Backbone, BackboneSpec
from basket.extract.backbones.batching import BatchSize, auto_batch_size
from basket.extract.decode import decoder_name
from basket.extract.decoding import Batch, Message, Opened, Source
from basket.extract.finished import FinishedVideos
from basket.extract.forward import Embedders, Forward, embedders_here
from basket.extract.planning import (
    attempts_before,
    identities,
    names_apart,
    plan_jobs,
    replaced_videos,
)
from basket.extract.segments import SegmentPlan
from basket.extract.signals import stop_requested, stopping_on_signals
from basket.extract.summary import ExtractionSummary, Progress
from basket.extract.workers import WorkerLimits, decoding_processes

_REPORT_S = 0.1
_Item = TypeVar("_Item")


def extract(
    sources: Sequence[Source],
    *,
    backbones: Sequence[Backbone],
    plan: SegmentPlan,
    cache: FeatureCache,
    decoder: str = "pyav",
    workers: int | None = None,
    limits: WorkerLimits | None = None,
    batch_size: int | None = None,
    device: str = "cpu",
    embedders: Embedders | None = None,
    retry_failed: bool = False,
    hash_sources: bool = False,
    provenance: Mapping[str, Any] | None = None,
    say: Callable[[str], None] | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    tell_folder: bool = True,
) -> ExtractionSummary:
    """Extract the features of all sources into a cache; what is already there is left alone.

    Parameters
    ----------
    sources : sequence of Source
        Unique ids.
    backbones : sequence of Backbone
        All of them are fed from one pass over each video.
    plan : SegmentPlan
    cache : FeatureCache
    decoder : str, default="pyav"
    workers : int, optional
        Decode processes; by default one per usable core.
    limits : WorkerLimits, optional
        Time and memory that one video may cost.
    batch_size : int, optional
        Clips per call of a backbone; by default what suits each backbone and the device.
    device : str, default="cpu"
        Where the backbones run.
    embedders : Embedders, optional
        Processes in which they run instead of this one (:mod:`basket.extract.devices`);
        ``backbones`` then need nothing but their ``spec``.
    retry_failed : bool, default=False
        Try videos again that failed before.
    hash_sources : bool, default=False
        Record the SHA-256 of each source file, and go by it rather than by size and time.
    provenance : mapping, optional
        More to record beside each video (precision).
    say : callable, optional
        Receives a warning where features of another provenance would stand beside these, and
        where videos are made again because shards are damaged.
    on_progress : callable, optional
    tell_folder : bool, default=True
        Keep a file in the feature sets that says how far this is, for ``cache status --watch``.

    Returns
    -------
    ExtractionSummary

    Raises
    ------
    Interrupted
        A signal arrived; every finished video is committed.
    """
    decoder = decoder_name(decoder)
    start_s = time.monotonic()
    specs = [backbone.spec for backbone in backbones]
    sets = [cache.feature_set(each) for each in identities(specs, plan)]
    jobs, failed_before = plan_jobs(
        sources,
        backbones,
        sets,
        plan=plan,
        retry_failed=retry_failed,
        hash_sources=hash_sources,
        say=say or (lambda _: None),
    )
    if embedders is None:
        sizes = _batch_sizes(backbones, device, given=batch_size, needed=bool(jobs))
        at_once = 2 if device.startswith("cuda") else 1
        embedders = embedders_here(backbones, sizes, at_once=at_once)
    forward = Forward(embedders)
    # Which of several like devices it was changes no number: two GPUs are no mixture.
    kind = device.partition(":")[0]
    common = {**decoding_provenance(decoder), "device": kind, **(provenance or {})}
    recorded = [_provenance_of(spec, common) for spec in specs]
    if say is not None and jobs:
        for each, coming in zip(sets, recorded, strict=True):
            for warning in (_damage_sentence(each), mixing_sentence(each, coming)):
                if warning:
                    say(warning)
    finished = FinishedVideos(
        backbones,
        [each.writer() for each in sets],
        attempts_before=[attempts_before(each, jobs) for each in sets],
        replaced=replaced_videos(sets, jobs),
        provenance=recorded,
        hash_sources=hash_sources,
    )
    loop = _Loop(forward, finished, start_s=start_s, videos_total=len(jobs))
    with ExitStack() as stack:
        stack.callback(forward.close)
        stack.enter_context(stopping_on_signals())
        if jobs and tell_folder:
            stack.enter_context(telling_progress([each.path for each in sets], loop.work))
        for writer in finished.writers:
            stack.enter_context(writer)
        if jobs:
            messages = stack.enter_context(
                decoding_processes(
                    jobs,
                    decoder=decoder,
                    plan=plan,
                    workers=min(workers or usable_cores(), len(jobs)),
                    limits=limits or WorkerLimits(),
                    attempts=Attempts(sets[0].path / "attempts"),
                )
            )
            loop.run(messages, on_progress)
        if stop_requested():
            raise Interrupted(
                f"Stopped by a signal. {finished.videos} of {len(jobs)} videos were finished "
                "and are committed; run the same command again to continue"
            )
    elapsed_s = time.monotonic() - start_s
    if on_progress:
        on_progress(loop.progress())
    names = names_apart(specs, sets)
    return ExtractionSummary(
        feature_sets={name: each.name for name, each in zip(names, sets, strict=True)},
        done=finished.videos - len(finished.failed),
        already_there=len(sources) - len(jobs) - len(failed_before),
        failed={**failed_before, **finished.failed},
        notes=finished.notes,
        clips=loop.clips,
        video_s=finished.video_s,
        elapsed_s=elapsed_s,
        seconds=loop.seconds,
        batch_sizes=dict(zip(names, forward.batch_sizes, strict=True)),
    )


def _batch_sizes(
    backbones: Sequence[Backbone], device: str, *, given: int | None, needed: bool
) -> list[BatchSize]:
    """Clips per call of each backbone: tried out only where it is not given and will be used."""
    if given or not needed:
        return [BatchSize(given or 1) for _ in backbones]
    return [auto_batch_size(backbone, device) for backbone in backbones]


@dataclass
class _Loop:
    """The loop itself: what processes decode goes to the backbones, what is over is written.

    ``open`` holds the videos between their first message and their last embedded clip, ``waited_s``
    the seconds the loop has waited for the stages before writing.
    """

    forward: Forward
    finished: FinishedVideos
    start_s: float
    videos_total: int
    open: dict[str, VideoInProgress] = field(default_factory=dict)
    clips: int = 0
    waited_s: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "forward": 0.0})

    def run(
        self, messages: Iterable[Message], on_progress: Callable[[Progress], None] | None
    ) -> None:
        """Take every message; embed what is left at the end, unless a signal says to stop."""
        reported_s = 0.0
        for message in self._timed("decode", messages):
            if stop_requested():
                return
            self._take(message)
            now_s = time.monotonic()
            if on_progress and now_s - reported_s > _REPORT_S:
                reported_s = now_s
                on_progress(self.progress())
        if not stop_requested():
            self._complete(self._timed("forward", self.forward.flush()))

    def _take(self, message: Message) -> None:
        video_id = message.job.source.video_id
        if isinstance(message, Opened):
            if video_id in self.open:  # its worker was lost, and another began anew
                self.open[video_id].failed = True
            self.open[video_id] = VideoInProgress(message)
        elif isinstance(message, Batch):
            self.clips += len(message.segments)
            complete = self.forward.put(self.open[video_id], message)
            self._complete(self._timed("forward", complete))
        elif message.reason:
            video = self.open.pop(video_id, None)
            if video is not None:
                video.failed = True
            self.finished.add(message.job, video, message.reason)
        else:
            video = self.open[video_id]
            video.decoded = True
            if video.is_complete:
                self._complete([video])

    def _complete(self, videos: Iterable[VideoInProgress]) -> None:
        for video in videos:
            job = video.opened.job
            del self.open[job.source.video_id]
            self.finished.add(job, video)

    def _timed(self, stage: str, items: Iterable[_Item]) -> Iterator[_Item]:
        """The items, with the time it takes to get each of them counted for a stage."""
        iterator = iter(items)
        while True:
            before_s = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.waited_s[stage] += time.monotonic() - before_s
            yield item

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds the loop has waited for each stage."""
        return {**self.waited_s, "write": self.finished.write_s}

    def progress(self) -> Progress:
        return Progress(
            videos_done=self.finished.videos,
            videos_total=self.videos_total,
            videos_failed=len(self.finished.failed),
            clips=self.clips,
            video_s=self.finished.video_s,
            elapsed_s=time.monotonic() - self.start_s,
            seconds=self.seconds,
        )

    def work(self) -> Work:
        return Work(self.videos_total, self.finished.videos, len(self.finished.failed))


def _damage_sentence(feature_set: FeatureSet) -> str:
    """Say that damaged shards are why videos are made again; empty where there are none."""
    damaged = feature_set.snapshot.unaccounted
    if not damaged:
        return ""
    return (
        f"{feature_set.name} has damaged shards ({len(damaged)}): their videos are made again. "
        "basket cache verify tells what is wrong, basket cache repair sets them aside"
    )


def _provenance_of(spec: BackboneSpec, common: Mapping[str, Any]) -> dict[str, Any]:
    """What rows of one backbone record: arithmetic without weights runs on the CPU, always."""
    here = {} if spec.weights_sha256 else {"device": "cpu", "precision": "fp32"}
    return {**common, **{name: value for name, value in here.items() if name in common}}


def decoding_provenance(decoder: str) -> dict[str, Any]:
    """What every row records of how its video was decoded, and by whom."""
    packages = {"pyav": "av"}
    try:
        decoder_version = version(packages.get(decoder, decoder))
    except PackageNotFoundError:  # a decoder of somebody's own
        decoder_version = ""
    return {
        "decoder": decoder,
        "decoder_version": decoder_version,
        "basket_version": version("basket"),
        DECODING_RULES: 2,
        "host": platform.node(),
    }
