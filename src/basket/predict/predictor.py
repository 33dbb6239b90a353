"""From a reel to skill levels, with the very features that a run was fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache import RaggedFeatures, VideoFeatures
from basket.dataset import LabelTable
from basket.errors import IdentityError, VideoError
from basket.extract.assembly import features_of_video
from basket.extract.backbones import (
    CATALOGUE,
    Backbone,
    load_backbone,
    weights_by_model,
)
from basket.extract.decoding import Source
from basket.extract.pipeline import feature_set_spec
from basket.extract.segments import SegmentPlan
from basket.heads.matrix import side_by_side
from basket.heads.persist import Run, RunFeatures
from basket.heads.pooling import Pooling, parse_poolings, prepare
from basket.predict.card import SkillCard, make_card


@dataclass(frozen=True)
class VideoPrediction:
    """Predicted levels of one player.

    Parameters
    ----------
    video_id : str
    duration_s : float
    n_segments : int
    proba : ndarray, float64, (n_skills, K)
    levels : ndarray, int64, (n_skills,)
        By the rule that serves accuracy best.
    note : str
        What a person should know of the file; empty when all is well.
    """

    video_id: str
    duration_s: float
    n_segments: int
    proba: npt.NDArray[np.float64]
    levels: npt.NDArray[np.int64]
    note: str = ""


@dataclass(frozen=True)
class Prediction:
    """What a run says about some videos.

    Parameters
    ----------
    run : Run
    videos : tuple of VideoPrediction
    failed : mapping of str to str
        Videos that could not be read, and why.
    """

    run: Run
    videos: tuple[VideoPrediction, ...]
    failed: Mapping[str, str]

    def cards(self, *, labels: LabelTable | None = None) -> list[SkillCard]:
        """The skill card of each video; ``labels`` add the true levels where they are known."""
        known = {} if labels is None else dict(zip(labels.video_ids, labels.levels, strict=True))
        return [
            make_card(
                video.video_id,
                skills=self.run.skills,
                levels=video.levels,
                probabilities=video.proba,
                true_levels=known.get(video.video_id),
                run=self.run.path.name,
                features=" + ".join(each.spec.backbone for each in self.run.feature_sets),
                head=self.run.config["head"],
                simulated=bool(self.run.config["simulated"]),
                random_weights=bool(self.run.config["random_weights"]),
                notes=[video.note] if video.note else [],
            )
            for video in self.videos
        ]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": str(self.run.path),
            "simulated": bool(self.run.config["simulated"]),
            "random_weights": bool(self.run.config["random_weights"]),
            "videos": [
                {
                    "video_id": video.video_id,
                    "duration_s": video.duration_s,
                    "segments": video.n_segments,
                    "note": video.note,
                    "skills": {
                        skill: {"level": int(level), "probabilities": proba.tolist()}
                        for skill, level, proba in zip(
                            self.run.skills, video.levels, video.proba, strict=True
                        )
                    },
                }
                for video in self.videos
            ],
            "failed": dict(self.failed),
        }


class Predictor:
    """Predicts from video files with a fitted run; backbones are loaded once.

    Parameters
    ----------
    run : Run
    weights : mapping of str to path or str, optional
        Backbone name (or family) to a checkpoint, where the recorded one is not at hand. The empty
        name is the only network.
    device : str, default="cpu"
    precision : str, default="fp32"

    Raises
    ------
    WeightsError
        A checkpoint is not at hand.
    IdentityError
        A checkpoint is not the one that the run was fitted on.
    """

    def __init__(
        self,
        run: Run,
        *,
        weights: Mapping[str, str | Path] | None = None,
        device: str = "cpu",
        precision: str = "fp32",
    ) -> None:
        self.run = run
        networks = [each.spec.backbone for each in run.feature_sets if each.spec.weights_sha256]
        families = {each.spec.family: each.spec.backbone for each in run.feature_sets}
        named = {families.get(name, name): where for name, where in (weights or {}).items()}
        given = weights_by_model(named, networks)
        self._backbones = [
            _load(each, given, device=device, precision=precision, run=run)
            for each in run.feature_sets
        ]
        self._plans: dict[SegmentPlan, list[int]] = {}
        for position, each in enumerate(run.feature_sets):
            plan = SegmentPlan.from_json(each.spec.plan)
            self._plans.setdefault(plan, []).append(position)

    def predict(
        self,
        sources: Sequence[Source],
        *,
        on_progress: Callable[[int, int], None] | None = None,
    ) -> Prediction:
        """Predict each video; one that cannot be read is told, not left out silently."""
        videos: list[VideoPrediction] = []
        failed: dict[str, str] = {}
        for done, source in enumerate(sources, start=1):
            try:
                videos.append(self.predict_one(source))
            except VideoError as error:
                failed[source.video_id] = str(error)
            if on_progress:
                on_progress(done, len(sources))
        return Prediction(self.run, tuple(videos), failed)

    def predict_one(self, source: Source) -> VideoPrediction:
        """Predict one video.

        Raises
        ------
        VideoError
            It cannot be read.
        """
        poolings = parse_poolings(self.run.pooling, len(self.run.feature_sets))
        rows: dict[int, Any] = {}
        for plan, positions in self._plans.items():
            # One pass over the video feeds every backbone that shares its plan.
            info, per_backbone = features_of_video(
                source.path, backbones=[self._backbones[each] for each in positions], plan=plan
            )
            for position, features in zip(positions, per_backbone, strict=True):
                stream = self.run.feature_sets[position].stream
                rows[position] = _prepared(features, stream, poolings[position])
        X = side_by_side([rows[position] for position in sorted(rows)])
        proba = self.run.predict_proba(X)
        return VideoPrediction(
            video_id=source.video_id,
            duration_s=info.duration_s,
            n_segments=features.n_segments,
            proba=proba[0],
            levels=self.run.decision.predict(proba, "accuracy")[0],
            note=info.note,
        )


def _prepared(features: VideoFeatures, stream: str, pooling: Pooling) -> Any:
    # In float16, as the cache would hold them: the head sees what it was fitted on.
    segments = RaggedFeatures.from_list([features.features[stream]])
    return prepare(segments, pooling, frames_valid=features.frames_valid)


def _load(
    wanted: RunFeatures,
    weights: Mapping[str, str | Path],
    *,
    device: str,
    precision: str,
    run: Run,
) -> Backbone:
    """The backbone of a feature set, checked against the identity the run was fitted on."""
    spec = wanted.spec
    known = spec.backbone in CATALOGUE
    checkpoint = weights.get(spec.backbone)
    if checkpoint is None and not known:
        checkpoint = spec.notes.get("checkpoint") or None
    backbone = load_backbone(
        spec.backbone if known else spec.family,
        weights=checkpoint,
        revision=spec.notes.get("revision") or None if checkpoint is None else None,
        device=device,
        precision=precision,
        streams=tuple(dict.fromkeys(stream.partition("@")[0] for stream in spec.streams)),
    )
    found = feature_set_spec(backbone.spec, SegmentPlan.from_json(spec.plan))
    if found.digest != spec.digest:
        raise IdentityError(
            f"The features that {checkpoint or spec.backbone} gives are not those run {run.path} "
            f"was fitted on ({'; '.join(found.differences(spec))}); give the checkpoint of that "
            "run with --weights"
        )
    return backbone
