"""What becomes of a video that is over: a row in each feature set that wanted it.

The row holds its features, or the reason why there are none.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from basket.cache import ShardWriter, VideoRow
from basket.extract.assembly import VideoInProgress, why_not_storable
from basket.extract.backbones.base import Backbone
from basket.extract.decoding import Job
from basket.extract.source_hash import recorded_hash

_REPLACED = "its features replace those of another file of this name, or of this one as it was"


@dataclass
class FinishedVideos:
    """Writes the rows of videos that are over, and counts them.

    Parameters
    ----------
    backbones : sequence of Backbone
    writers : sequence of ShardWriter
        One for each backbone.
    attempts_before : sequence of mapping of str to int
        For each backbone, how often videos were tried before this extraction.
    replaced : frozenset of str
        Videos that have features, made from another file; these replace them.
    provenance : sequence of mapping
        For each backbone, what every row records of how it was made.
    hash_sources : bool
        Record the SHA-256 of each source file.

    Attributes
    ----------
    videos : int
        Videos that are over, the failed ones included.
    failed, notes : dict of str to str
        Video id to the reason why it failed, or to what a person should know about its features.
    video_s, write_s : float
        Seconds of video that were decoded, and seconds spent on handing rows to the writers.
    """

    backbones: Sequence[Backbone]
    writers: Sequence[ShardWriter]
    attempts_before: Sequence[Mapping[str, int]]
    replaced: frozenset[str]
    provenance: Sequence[Mapping[str, Any]]
    hash_sources: bool
    videos: int = field(default=0, init=False)
    failed: dict[str, str] = field(default_factory=dict, init=False)
    notes: dict[str, str] = field(default_factory=dict, init=False)
    video_s: float = field(default=0.0, init=False)
    write_s: float = field(default=0.0, init=False)

    def add(self, job: Job, video: VideoInProgress | None, reason: str = "") -> None:
        """Write the rows of a video; ``video`` is None where it could not even be opened."""
        self.videos += 1
        if video is not None:
            self.video_s += video.opened.info.duration_s
        stamp = (job.source_bytes, job.source_mtime_ns)
        is_hashed = self.hash_sources and not job.source.refused
        hashed = recorded_hash(job.source.path, *stamp) if is_hashed else {}
        for position in sorted({wanted.backbone for wanted in job.wanted}):
            features, why = None, reason
            if not reason and video is not None:
                features = video.features_of(position, self.backbones[position].spec.frames)
                why = why_not_storable(features)
            if why:
                self.failed[job.source.video_id] = why
            row = self._row(job, position, video, why, hashed)
            before_s = time.monotonic()
            self.writers[position].add(row, None if why else features)
            self.write_s += time.monotonic() - before_s
        if video is not None and job.source.video_id not in self.failed:
            self._note(video)

    def _note(self, video: VideoInProgress) -> None:
        video_id = video.opened.job.source.video_id
        notes = [_REPLACED] if video_id in self.replaced else []
        notes += [video.opened.info.note] if video.opened.info.note else []
        if notes:
            self.notes[video_id] = "; ".join(notes)

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
            provenance={**self.provenance[position], **note, **hashed},
        )
