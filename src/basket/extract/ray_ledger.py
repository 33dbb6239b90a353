"""What the shared folder says about the videos of a Ray extraction: done, begun, given up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from basket.cache import FeatureSet, VideoRow
from basket.extract.attempts import Attempts
from basket.extract.decoding import Job
from basket.extract.pipeline import decoding_provenance
from basket.extract.ray_actor import ActorDescription


class Ledger:
    """The driver's view of the folder that the actors commit to.

    Parameters
    ----------
    sets : sequence of FeatureSet
    jobs : mapping of str to Job
        What was planned, by video id.
    """

    def __init__(self, sets: Sequence[FeatureSet], jobs: Mapping[str, Job]) -> None:
        self.sets, self.jobs = sets, jobs
        self._attempts = sets[0].path / "attempts"
        # Rows that were there when their videos were planned all the same (failed ones that are
        # tried again, files that were replaced) say nothing of what was done since.
        self._tries_before = [
            {name: each.rows[name].attempts for name in jobs if name in each.rows} for each in sets
        ]

    def done_of(self, video_ids: Iterable[str]) -> dict[str, str]:
        """Which of these are committed now, each with the reason why it failed or an empty string.

        Raises
        ------
        CacheError
            The folder cannot be read.
        """
        for each in self.sets:
            each.refresh()
        done = {}
        for video_id in video_ids:
            job = self.jobs[video_id]
            wanted = {each.backbone for each in job.wanted}
            if all(self._is_done(position, job) for position in wanted):
                reasons = (self.sets[position].failed.get(video_id, "") for position in wanted)
                done[video_id] = next(filter(None, reasons), "")
        return done

    def _is_done(self, position: int, job: Job) -> bool:
        video_id, feature_set = job.source.video_id, self.sets[position]
        if not feature_set.is_done(video_id, job.source_bytes, job.source_mtime_ns):
            return False
        before = self._tries_before[position].get(video_id, 0)
        return feature_set.row(video_id).attempts > before

    def begun_by(self, actor: ActorDescription) -> set[str]:
        """Videos that a dead actor was decoding, by the notes it left."""
        begun = set()
        for path in self._attempts.glob("*.json"):
            try:
                note = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError):  # ended meanwhile, or cut off by the death
                continue
            if (note.get("host"), note.get("pid")) == (actor.host, actor.pid):
                begun.add(note["video_id"])
        return begun

    def give_up(self, video_id: str, reason: str, *, actor: ActorDescription, decoder: str) -> None:
        """Commit a failed row for a video that nobody lived to write one for.

        Raises
        ------
        CacheError
            It cannot be committed.
        """
        job = self.jobs[video_id]
        for position in sorted({wanted.backbone for wanted in job.wanted}):
            each = self.sets[position]
            before = each.rows[video_id].attempts if video_id in each.rows else 0
            with each.writer() as writer:
                writer.add(
                    VideoRow(
                        video_id=video_id,
                        status="failed",
                        reason=reason,
                        attempts=before + 1,
                        source_bytes=job.source_bytes,
                        source_mtime_ns=job.source_mtime_ns,
                        provenance={
                            **decoding_provenance(decoder),
                            "device": actor.device,
                            "precision": actor.precision,
                        },
                    )
                )
        Attempts(self._attempts).end(video_id)
