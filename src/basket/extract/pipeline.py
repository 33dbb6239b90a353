"""The one loop from video files to committed features: decode once, feed every backbone.

Processes decode (:mod:`basket.extract.workers`), a thread runs the backbones
(:mod:`basket.extract.forward`), and the loop between them hands finished videos to the cache. A
video that cannot be read becomes a failed row with its reason; nothing is skipped in silence.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from basket.cache import (
    FeatureCache,
    FeatureSet,
    FeatureSetSpec,
    ShardWriter,
    VideoRow,
    mixing_sentence,
)
from basket.cache.progress import Work, telling_progress
from basket.cores import usable_cores
from basket.errors import Interrupted
from basket.extract.assembly import VideoInProgress, stream_at_scale, why_not_storable
from basket.extract.attempts import Attempts
from basket.extract.backbones.base import Backbone, BackboneSpec
from basket.extract.backbones.batching import BatchSize, auto_batch_size
from basket.extract.clips import planned_shapes
from basket.extract.decode import decoder_name
from basket.extract.decoding import Batch, Job, Message, Opened, Source, WantedClips
from basket.extract.forward import Embedders, Forward, embedders_here
from basket.extract.segments import SegmentPlan
from basket.extract.signals import stop_requested, stopping_on_signals
from basket.extract.source_hash import content_of, recorded_hash
from basket.extract.summary import ExtractionSummary, Progress
from basket.extract.workers import WorkerLimits, decoding_processes

_REPORT_S = 0.1
_REPLACED = "its features replace those of another file of this name, or of this one as it was"


def feature_set_spec(spec: BackboneSpec, plan: SegmentPlan) -> FeatureSetSpec:
    """The identity of the features that a backbone yields under a plan."""
    geometry = planned_shapes(spec, plan)[0].geometry
    return FeatureSetSpec(
        family=spec.family,
        backbone=spec.name,
        weights_sha256=spec.weights_sha256,
        preprocessing={
            **spec.preprocessing,
            "frames": spec.frames,
            "geometry": asdict(geometry),
        },
        plan=plan.to_json(),
        streams={
            stream_at_scale(stream, scale): width
            for scale in plan.scales
            for stream, width in spec.streams.items()
        },
        columns={
            stream_at_scale(stream, scale): list(names)
            for scale in plan.scales
            for stream, names in spec.columns.items()
        },
        prompts_sha256=spec.prompts_sha256,
        tokenizer_sha256=spec.tokenizer_sha256,
        notes={
            "checkpoint": spec.checkpoint,
            "revision": spec.revision,
            "licence": spec.licence,
            "random_weights": spec.random_weights,
        },
    )


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
        Receives a warning where features of another provenance would stand beside these.
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
    start = time.monotonic()
    sets = [cache.feature_set(feature_set_spec(backbone.spec, plan)) for backbone in backbones]
    jobs, failed_before = plan_jobs(
        sources,
        backbones,
        sets,
        plan=plan,
        retry_failed=retry_failed,
        hash_sources=hash_sources,
    )
    if embedders is None:
        sizes = [
            BatchSize(batch_size or 1)
            if batch_size or not jobs
            else auto_batch_size(backbone, device)
            for backbone in backbones
        ]
        embedders = embedders_here(backbones, sizes)
    recorded = {**decoding_provenance(decoder), "device": device, **(provenance or {})}
    if say is not None and jobs:
        for each in sets:
            if warning := mixing_sentence(each, recorded):
                say(warning)
    forward = Forward(embedders)
    state = _State(
        backbones,
        forward,
        recorded,
        [_attempts(each, jobs) for each in sets],
        start_s=start,
        videos_total=len(jobs),
        hash_sources=hash_sources,
        replaced=_replaced(sets, jobs),
    )
    with ExitStack() as stack:
        stack.callback(forward.close)
        stack.enter_context(stopping_on_signals())
        if jobs and tell_folder:
            stack.enter_context(telling_progress([each.path for each in sets], state.work))
        state.writers = [stack.enter_context(each.writer()) for each in sets]
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
            state.consume(messages, on_progress)
        if stop_requested():
            raise Interrupted(
                f"Stopped by a signal. {state.videos_done} of {len(jobs)} videos were finished "
                "and are committed; run the same command again to continue"
            )
    elapsed_s = time.monotonic() - start
    if on_progress:
        on_progress(state.progress())
    names = [backbone.spec.name for backbone in backbones]
    return ExtractionSummary(
        feature_sets={name: each.name for name, each in zip(names, sets, strict=True)},
        done=state.videos_done - len(state.failed),
        already_there=len(sources) - len(jobs) - len(failed_before),
        failed={**failed_before, **state.failed},
        notes=state.notes,
        clips=state.clips,
        video_s=state.video_s,
        elapsed_s=elapsed_s,
        seconds=state.seconds,
        batch_sizes=dict(zip(names, forward.batch_sizes, strict=True)),
    )


def plan_jobs(
    sources: Sequence[Source],
    backbones: Sequence[Backbone],
    sets: Sequence[FeatureSet],
    *,
    plan: SegmentPlan,
    retry_failed: bool,
    hash_sources: bool = False,
) -> tuple[list[Job], dict[str, str]]:
    """What is left to do, and what failed before and is not tried again (id to reason).

    Without ``sets``, as before anything was extracted: everything is to do.
    """
    jobs: list[Job] = []
    failed: dict[str, str] = {}
    shapes = [planned_shapes(backbone.spec, plan) for backbone in backbones]
    failed_in = [each.failed for each in sets]
    for source in sources:
        size, mtime_ns = _stamp(source)
        content = content_of(source) if hash_sources else None
        wanted = [
            position
            for position, each in enumerate(sets or [None] * len(backbones))
            if each is None
            or not each.is_done(
                source.video_id, size, mtime_ns, retry_failed=retry_failed, content=content
            )
        ]
        if wanted:
            clips = tuple(
                WantedClips(position, shape) for position in wanted for shape in shapes[position]
            )
            jobs.append(Job(source, size, mtime_ns, clips))
            continue
        reasons = [each[source.video_id] for each in failed_in if source.video_id in each]
        if reasons:
            failed[source.video_id] = f"{reasons[0]} (failed before; --retry-failed tries again)"
    return jobs, failed


def _replaced(sets: Sequence[FeatureSet], jobs: Sequence[Job]) -> frozenset[str]:
    """Videos that have features, made from a file that was not as theirs is now."""
    return frozenset(
        job.source.video_id
        for job in jobs
        if any(
            job.source.video_id in sets[wanted.backbone].rows
            and job.source.video_id not in sets[wanted.backbone].failed
            for wanted in job.wanted
        )
    )


def _attempts(feature_set: FeatureSet, jobs: Sequence[Job]) -> dict[str, int]:
    """How often each video was tried before; looked up once, as every commit renews the index."""
    rows = feature_set.rows
    ids = [job.source.video_id for job in jobs]
    return {video_id: rows[video_id].attempts for video_id in ids if video_id in rows}


def _stamp(source: Source) -> tuple[int, int]:
    if source.refused:
        return -1, -1
    try:
        stat = source.path.stat()
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


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
        "host": platform.node(),
    }


@dataclass
class _State:
    """What the loop knows: open videos, counts, and the writers that take finished ones."""

    backbones: Sequence[Backbone]
    forward: Forward
    provenance: Mapping[str, Any]
    attempts_before: Sequence[Mapping[str, int]]
    start_s: float
    videos_total: int
    hash_sources: bool = False
    replaced: frozenset[str] = frozenset()
    writers: list[ShardWriter] = field(default_factory=list)
    videos: dict[str, VideoInProgress] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "forward": 0.0, "write": 0.0}
    )
    videos_done: int = 0
    clips: int = 0
    video_s: float = 0.0

    def progress(self) -> Progress:
        return Progress(
            videos_done=self.videos_done,
            videos_total=self.videos_total,
            videos_failed=len(self.failed),
            clips=self.clips,
            video_s=self.video_s,
            elapsed_s=time.monotonic() - self.start_s,
            seconds=dict(self.seconds),
        )

    def work(self) -> Work:
        return Work(self.videos_total, self.videos_done, len(self.failed))

    def consume(
        self, messages: Iterable[Message], on_progress: Callable[[Progress], None] | None
    ) -> None:
        """Take every message; embed what is left at the end, unless a signal says to stop."""
        reported_s = 0.0
        for message in self._timed("decode", messages):
            if stop_requested():
                return
            self.take(message)
            now_s = time.monotonic()
            if on_progress and now_s - reported_s > _REPORT_S:
                reported_s = now_s
                on_progress(self.progress())
        if not stop_requested():
            self._complete(self._timed("forward", self.forward.flush()))

    def take(self, message: Message) -> None:
        video_id = message.job.source.video_id
        if isinstance(message, Opened):
            if video_id in self.videos:  # its worker was lost, and another began anew
                self.videos[video_id].failed = True
            self.videos[video_id] = VideoInProgress(message)
        elif isinstance(message, Batch):
            self.clips += len(message.segments)
            complete = self.forward.put(self.videos[video_id], message)
            self._complete(self._timed("forward", complete))
        elif message.reason:
            video = self.videos.pop(video_id, None)
            if video is not None:
                video.failed = True
            self._finish(message.job, video, message.reason)
        else:
            video = self.videos[video_id]
            video.decoded = True
            if video.is_complete:
                self._complete([video])

    def _timed(self, stage: str, items: Iterable[Any]) -> Iterator[Any]:
        """The items, with the time it takes to get each of them counted for a stage."""
        iterator = iter(items)
        while True:
            before_s = time.monotonic()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds[stage] += time.monotonic() - before_s
            yield item

    def _complete(self, videos: Iterable[VideoInProgress]) -> None:
        for video in videos:
            job = video.opened.job
            del self.videos[job.source.video_id]
            self._finish(job, video, "")

    def _finish(self, job: Job, video: VideoInProgress | None, reason: str) -> None:
        video_id = job.source.video_id
        self.videos_done += 1
        if video is not None:
            self.video_s += video.opened.info.duration_s
            notes = [_REPLACED] if video_id in self.replaced else []
            notes += [video.opened.info.note] if video.opened.info.note else []
            if notes and not reason:
                self.notes[video_id] = "; ".join(notes)
        stamp = (job.source_bytes, job.source_mtime_ns)
        hashed = recorded_hash(job.source.path, *stamp) if self.hash_sources else {}
        for position in sorted({wanted.backbone for wanted in job.wanted}):
            features, why = None, reason
            if not reason and video is not None:
                features = video.features_of(position, self.backbones[position].spec.frames)
                why = why_not_storable(features)
            if why:
                self.failed[video_id] = why
            before_s = time.monotonic()
            self.writers[position].add(
                self._row(job, position, video, why, hashed), None if why else features
            )
            self.seconds["write"] += time.monotonic() - before_s

    def _row(
        self,
        job: Job,
        position: int,
        video: VideoInProgress | None,
        reason: str,
        hashed: Mapping[str, str],
    ) -> VideoRow:
        info = video.opened.info if video else None
        note = {"note": info.note} if info and info.note else {}
        return VideoRow(
            video_id=job.source.video_id,
            status="failed" if reason else "ok",
            reason=reason,
            attempts=1 + self.attempts_before[position].get(job.source.video_id, 0),
            source_bytes=job.source_bytes,
            source_mtime_ns=job.source_mtime_ns,
            duration_s=info.duration_s if info else 0.0,
            fps=info.fps if info else 0.0,
            width_px=info.width_px if info else 0,
            height_px=info.height_px if info else 0,
            provenance={**self.provenance, **note, **hashed},
        )
