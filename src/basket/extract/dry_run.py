"""What an extraction would cost, from a short look at the real files: nothing is written.

A sample of the videos is opened (a packet scan, no decoding) to learn how long they are; a few
segments of some of them are decoded, and one batch goes through every backbone. The rest is
arithmetic, and says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from basket.errors import MissingDependencyError
from basket.extract.assembly import average_crops
from basket.extract.backbones.base import Backbone
from basket.extract.clips import planned_shapes, read_clips, segments_of
from basket.extract.decode import DECODERS, decoder_name
from basket.extract.decoding import Job
from basket.extract.segments import SegmentPlan

_OPENED = 24  # videos whose length is looked up
_DECODED = 3  # videos of which some segments are decoded
_SEGMENTS = 6  # how many of each
_BATCH = 4  # clips that go through a backbone at once
_ROW_BYTES = 20  # start, end and valid frames of a segment


@dataclass(frozen=True)
class Estimate:
    """What an extraction would cost.

    Parameters
    ----------
    videos, already_there, failed_before : int
        To do, done, and not tried again without ``--retry-failed``.
    sampled, unreadable : int
        Videos that were opened, and how many of those could not be.
    segments, clips, frames : int
        Extrapolated from the sample; frames are those shown to a backbone, each decoded once.
    cache_bytes, free_bytes : int
        What the features will take, and what is free where they go.
    decode_s, forward_s : float
        Seconds on the cores (and the device) there are, were each alone.
    total_s : float
        Their sum on a CPU, where both share the cores; the larger on a GPU.
    """

    videos: int
    already_there: int
    failed_before: int
    sampled: int
    unreadable: int
    segments: int
    clips: int
    frames: int
    cache_bytes: int
    free_bytes: int
    decode_s: float
    forward_s: float
    total_s: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def estimate(
    jobs: Sequence[Job],
    *,
    already_there: int,
    failed_before: int,
    backbones: Sequence[Backbone],
    plan: SegmentPlan,
    cache: Path,
    decoder: str,
    workers: int,
    device: str,
) -> Estimate:
    """Estimate the cost of the jobs of an extraction.

    Parameters
    ----------
    jobs : sequence of Job
        What is left to do.
    already_there, failed_before : int
        Videos that need nothing, and videos that failed and are not tried again.
    backbones, plan, decoder, workers, device
        As for the extraction.
    cache : Path
        Where the features would go; need not exist.
    """
    looks = _look_at(_spread(jobs, _OPENED), plan, decoder)
    readable = [look.segments for look in looks if look.segments]
    per_video = float(np.mean(readable)) if readable else 0.0
    segments = round(per_video * (len(readable) / max(len(looks), 1)) * len(jobs))
    decoded = sum(look.decoded for look in looks)
    segment_s = sum(look.decode_s for look in looks) / decoded if decoded else 0.0
    shapes = [planned_shapes(backbone.spec, plan) for backbone in backbones]
    # A video may be there for one backbone and missing for another.
    asked = [round(segments * _share_wanting(jobs, each)) for each in range(len(backbones))]
    clips = [count * len(each) for count, each in zip(asked, shapes, strict=True)]
    frames = sum(
        count * sum(shape.frames for shape in each)
        for count, each in zip(asked, shapes, strict=True)
    )
    forward_total_s = sum(
        count * _embed_seconds(backbone, crops=3 if each[0].geometry.crop == "three" else 1)
        for count, backbone, each in zip(clips, backbones, shapes, strict=True)
        if count
    )
    row_bytes = [
        sum(backbone.spec.streams.values()) * 2 * len(plan.scales) + _ROW_BYTES
        for backbone in backbones
    ]
    # Decoding is spread over the workers; a GPU works while they do.
    decode_total_s = segment_s * segments / workers
    shared = not device.startswith("cuda")
    return Estimate(
        videos=len(jobs),
        already_there=already_there,
        failed_before=failed_before,
        sampled=len(looks),
        unreadable=len(looks) - len(readable),
        segments=segments,
        clips=sum(clips),
        frames=frames,
        cache_bytes=sum(count * each for count, each in zip(asked, row_bytes, strict=True)),
        free_bytes=shutil.disk_usage(nearest_existing(cache)).free,
        decode_s=decode_total_s,
        forward_s=forward_total_s,
        total_s=decode_total_s + forward_total_s
        if shared
        else max(decode_total_s, forward_total_s),
    )


def _share_wanting(jobs: Sequence[Job], backbone: int) -> float:
    """Share of the jobs that a backbone has a part in."""
    if not jobs:
        return 0.0
    return sum(any(each.backbone == backbone for each in job.wanted) for job in jobs) / len(jobs)


def _spread(jobs: Sequence[Job], count: int) -> list[Job]:
    """Jobs at even distances over the list."""
    positions = np.unique(np.linspace(0, len(jobs) - 1, min(count, len(jobs))).astype(int))
    return [jobs[position] for position in positions]


@dataclass(frozen=True)
class _Look:
    """What a short look at one video found; no segments where it could not be read."""

    segments: int = 0
    decoded: int = 0  # of these segments
    decode_s: float = 0.0


def _look_at(jobs: Sequence[Job], plan: SegmentPlan, decoder: str) -> list[_Look]:
    """Look at each video; the first few that can be read are decoded a little."""
    looks: list[_Look] = []
    for job in jobs:
        n_decoded = sum(1 for look in looks if look.decoded)
        looks.append(_look(job, plan, decoder, decode=n_decoded < _DECODED))
    return looks


def _look(job: Job, plan: SegmentPlan, decoder: str, *, decode: bool) -> _Look:
    if job.source.refused:
        return _Look()
    try:
        with DECODERS[decoder_name(decoder)](job.source.path) as video:
            segments = segments_of(plan, video)
            if not decode:
                return _Look(len(segments))
            few = segments[:_SEGMENTS]
            start_s = time.perf_counter()
            for _ in read_clips(video, few, [each.shape for each in job.wanted]):
                pass
            return _Look(len(segments), len(few), time.perf_counter() - start_s)
    except MissingDependencyError:
        raise
    except Exception:  # noqa: BLE001 - the extraction will list it, with its reason
        return _Look()


def _embed_seconds(backbone: Backbone, *, crops: int) -> float:
    """Seconds that one clip (with its crops) takes, after a warm-up."""
    spec = backbone.spec
    shape = (_BATCH * crops, spec.frames, spec.geometry.height_px, spec.geometry.width_px, 3)
    clips = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    average_crops(backbone.embed(clips), crops=crops)
    start_s = time.perf_counter()
    average_crops(backbone.embed(clips), crops=crops)
    return (time.perf_counter() - start_s) / _BATCH


def nearest_existing(path: Path) -> Path:
    """The path itself, or its nearest ancestor that exists: where its bytes would go."""
    return next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.exists())
