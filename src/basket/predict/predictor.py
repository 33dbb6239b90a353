"""From reels to skill levels, with the very features that a run was fitted on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache import FeatureCache, FeatureSet
from basket.dataset.prompts import PromptBank
from basket.dataset.skills import skill_as_named
from basket.extract.decoding import Source
from basket.extract.summary import Progress
from basket.heads.calibration import Calibration
from basket.heads.persist import Run, cautions
from basket.heads.reference import Reference
from basket.notebook import html_table
from basket.predict.evidence import Evidence, explain
from basket.predict.reel_features import Gathering, ReelFeatures
from basket.predict.stored import calibration_of_run, predict_stored, reference_of_run

Float = npt.NDArray[np.float64]


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
    percentiles : ndarray, float64, (n_skills,)
        Share of the reference players with a lower expected level; NaN where it is not stated.
    note : str
        What a person should know of the file; empty when all is well.
    beyond : int
        Skills whose prediction lies outside the range of all reference players.
    """

    video_id: str
    duration_s: float
    n_segments: int
    proba: Float
    levels: npt.NDArray[np.int64]
    percentiles: Float
    note: str = ""
    beyond: int = 0


@dataclass(frozen=True)
class Prediction:
    """What a run says about some videos.

    Parameters
    ----------
    run : Run
    videos : tuple of VideoPrediction
    failed : mapping of str to str
        Videos that could not be read, and why.
    features : ReelFeatures
        Where the features of the videos are.
    reference : Reference or None
        Players to compare with; runs of an older basket have none.
    calibration : Calibration or None
        How often the run is right; None where no players were set aside.
    seconds : mapping of str to float
        Where the time went: ``find``, ``load``, ``extract``, ``predict``.
    """

    run: Run
    videos: tuple[VideoPrediction, ...]
    failed: Mapping[str, str]
    features: ReelFeatures
    reference: Reference | None = None
    calibration: Calibration | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Prediction({len(self.videos)} videos, {len(self.failed)} failed, by "
            f"{str(self.run.path)!r})"
        )

    def _repr_html_(self) -> str:
        columns = [video.video_id for video in self.videos]
        rows = [
            (skill, *(f"{v.levels[s]} (p {v.proba[s, v.levels[s]]:.2f})" for v in self.videos))
            for s, skill in enumerate(self.run.skills)
        ]
        notes = [f"{name}: {reason}" for name, reason in self.failed.items()]
        notes += cautions(self.run.config)
        return html_table(repr(self), ("skill", *columns), rows, notes=notes)

    def evidence(self, video_ids: Sequence[str] | None = None) -> dict[str, Evidence]:
        """Which segments of each video raised and lowered each skill.

        Parameters
        ----------
        video_ids : sequence of str, optional
            By default all videos.

        Raises
        ------
        UsageError
            The run's feature sets cut videos into different segments.
        """
        ids = [each.video_id for each in self.videos] if video_ids is None else list(video_ids)
        mean = None if self.reference is None else self.reference.mean_latent
        found = explain(self.run, [self.features.read(name) for name in ids], mean_latent=mean)
        return dict(zip(ids, found, strict=True))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "run": str(self.run.path),
            "simulated": bool(self.run.config["simulated"]),
            "random_weights": bool(self.run.config["random_weights"]),
            "calibration": self._calibration_json(),
            "videos": [self._video_json(video) for video in self.videos],
            "failed": dict(self.failed),
        }

    def _calibration_json(self) -> dict[str, Any] | None:
        found = self.calibration
        if found is None:
            return None
        return {
            "players": found.players,
            "ratings": found.overall.ratings,
            "right": found.overall.share,
            "interval_95": list(found.overall.interval),
            "within_one_level": found.overall.near_share,
            "most_frequent_level": found.guess,
        }

    def _video_json(self, video: VideoPrediction) -> dict[str, Any]:
        return {
            "video_id": video.video_id,
            "duration_s": video.duration_s,
            "segments": video.n_segments,
            "from_cache": video.video_id in self.features.cached,
            "note": video.note,
            "skills_beyond_reference": video.beyond,
            "skills": {
                skill: {
                    "level": int(level),
                    "probabilities": proba.tolist(),
                    "percentile": None if np.isnan(place) else float(place),
                    **self._right_json(skill, float(proba[level])),
                }
                for skill, level, proba, place in zip(
                    self.run.skills, video.levels, video.proba, video.percentiles, strict=True
                )
            },
        }

    def _right_json(self, skill: str, stated: float) -> dict[str, Any]:
        if self.calibration is None:
            return {}
        rate = self.calibration.at(skill, stated)
        return {"right": rate.share, "right_interval_95": list(rate.interval)}


class Predictor:
    """Predicts from video files with a fitted run; backbones are loaded once, and only if needed.

    Parameters
    ----------
    run : Run
    cache : FeatureCache, optional
        Videos whose features are in it, for the file as it is now, are not decoded.
    scratch : path, optional
        Folder in which extracted features are kept, so that an interrupted prediction continues.
    weights : mapping of str to path or str, optional
        Backbone name (or family) to a checkpoint, where the recorded one is not at hand. The empty
        name is the only network.
    device, precision : str, default="auto"
        See ``basket extract``.
    prompts : PromptBank, optional
        Of the stream ``prompts``, where the run was fitted with a bank of the user's own.
    workers : int, optional
        Decode processes; one per core unless given.
    say : callable
        Receives sentences about what was chosen.
    """

    def __init__(
        self,
        run: Run,
        *,
        cache: FeatureCache | None = None,
        scratch: Path | None = None,
        weights: Mapping[str, str | Path] | None = None,
        device: str = "auto",
        precision: str = "auto",
        prompts: PromptBank | None = None,
        workers: int | None = None,
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.run = run
        self.reference = reference_of_run(run)
        self._high_is_good = np.array([skill_as_named(name).high_is_good for name in run.skills])
        self.calibration = calibration_of_run(run)
        self._gathering = Gathering(
            run,
            cache=cache,
            scratch=scratch,
            weights=weights or {},
            device=device,
            precision=precision,
            prompts=prompts,
            workers=workers,
            say=say,
        )

    def predict(
        self,
        sources: Sequence[Source],
        *,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> Prediction:
        """Predict each video; one that cannot be read is told, not left out silently.

        Raises
        ------
        WeightsError, IdentityError
            Something has to be extracted, and the run's own weights are not at hand.
        Interrupted
            A signal arrived.
        """
        self._gathering.on_progress = on_progress
        features = self._gathering.features_of(sources)
        start = time.perf_counter()
        videos = self._videos(features)
        seconds = {**features.seconds, "predict": time.perf_counter() - start}
        return Prediction(
            self.run,
            videos,
            features.failed,
            features,
            reference=self.reference,
            calibration=self.calibration,
            seconds=seconds,
        )

    def release_scratch(self) -> None:
        """Remove the kept features as soon as the predictions made from them are gone."""
        self._gathering.release_scratch()

    def _videos(self, features: ReelFeatures) -> tuple[VideoPrediction, ...]:
        proba = np.empty((len(features.places), len(self.run.skills), self.run.n_levels))
        segments = np.empty(len(features.places), dtype=np.int64)
        position = {video_id: row for row, video_id in enumerate(features.places)}
        # Videos of one place are read and predicted together: cached ones, and new ones.
        for sets, names in _by_place(features):
            rows = [position[video_id] for video_id in names]
            inside = list(names.values())
            proba[rows] = predict_stored(self.run, sets, inside)
            segments[rows] = sets[0].n_segments(inside)
        levels = self.run.decision.predict(proba, "accuracy")
        places = (
            np.full(levels.shape, np.nan)
            if self.reference is None
            else self.reference.percentile(proba, high_is_good=self._high_is_good)
        )
        beyond = (
            np.zeros(len(proba), dtype=np.int64)
            if self.reference is None
            else self.reference.beyond(proba).sum(axis=1)
        )
        return tuple(
            VideoPrediction(
                video_id=video_id,
                duration_s=(row := features.row(video_id)).duration_s,
                n_segments=int(segments[index]),
                proba=proba[index],
                levels=levels[index],
                percentiles=places[index],
                beyond=int(beyond[index]),
                note=" ".join(
                    filter(None, [row.provenance.get("note", ""), features.notes.get(video_id, "")])
                ),
            )
            for video_id, index in position.items()
        )


def _by_place(
    features: ReelFeatures,
) -> list[tuple[tuple[FeatureSet, ...], dict[str, str]]]:
    found: dict[tuple[int, ...], tuple[tuple[FeatureSet, ...], dict[str, str]]] = {}
    for video_id, (sets, name) in features.places.items():
        key = tuple(id(each) for each in sets)
        found.setdefault(key, (sets, {}))[1][video_id] = name
    return list(found.values())
