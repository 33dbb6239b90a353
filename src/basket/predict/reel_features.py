"""Features of reels as a run wants them: from a cache where they are there, else extracted now.

What has to be extracted goes through the same loop as ``basket extract`` (worker processes, decode
beside forward, a reason for every video that cannot be read) into a scratch cache. Kept, that
scratch cache is what lets an interrupted prediction continue.
"""

from __future__ import annotations

import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from basket.cache import FeatureCache, FeatureSet, VideoFeatures, VideoRow, open_cache
from basket.dataset.prompts import PromptBank
from basket.errors import Interrupted
from basket.extract.decoding import Source
from basket.extract.device import choose_device
from basket.extract.pipeline import extract
from basket.extract.segments import SegmentPlan
from basket.extract.summary import Progress
from basket.heads.persist import Run
from basket.heads.sources import sources_of_run
from basket.predict.backbones import backbones_of_run

Say = Callable[[str], None]


@dataclass(frozen=True)
class ReelFeatures:
    """Where the features of some reels are.

    Parameters
    ----------
    places : mapping of str to (tuple of FeatureSet, str)
        Video id to the feature sets that hold it, in the order of the run's, and its id there.
    paths : mapping of str to Path
        Video id to its file, where it is at hand.
    failed : mapping of str to str
        Videos that have none, and why.
    cached : frozenset of str
        Ids that were in the cache already.
    notes : mapping of str to str
        What a person should know of a video.
    seconds : mapping of str to float
        ``find``, ``load`` (backbones) and ``extract``.
    """

    places: Mapping[str, tuple[tuple[FeatureSet, ...], str]]
    paths: Mapping[str, Path]
    failed: Mapping[str, str]
    cached: frozenset[str] = frozenset()
    notes: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    #: Keeps a temporary folder of features alive.
    keeper: object = None

    def read(self, video_id: str) -> list[VideoFeatures]:
        """Features of one video in each of the run's feature sets."""
        sets, name = self.places[video_id]
        return [each.read(name) for each in sets]

    def row(self, video_id: str) -> VideoRow:
        """What is known of the file of a video."""
        sets, name = self.places[video_id]
        return sets[0].row(name)


@dataclass
class Gathering:
    """How features are found and made for one run.

    Parameters
    ----------
    run : Run
    cache : FeatureCache, optional
        Looked into first.
    scratch : Path, optional
        Where extracted features are kept; a temporary folder without it.
    weights, device, precision, prompts
        See :func:`basket.predict.backbones.backbones_of_run`.
    workers : int, optional
        Decode processes.
    say : callable
    on_progress : callable, optional
        Told the progress of an extraction.
    """

    run: Run
    cache: FeatureCache | None = None
    scratch: Path | None = None
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    prompts: PromptBank | None = None
    workers: int | None = None
    say: Say = lambda _: None
    on_progress: Callable[[Progress], None] | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    _backbones: list[Any] | None = None
    _temporary: Path | None = None

    def features_of(self, sources: Sequence[Source]) -> ReelFeatures:
        """Find or make the features of all sources.

        Raises
        ------
        WeightsError, IdentityError
            Something has to be extracted, and the run's own weights are not at hand.
        Interrupted
            A signal arrived.
        """
        start = time.perf_counter()
        places, notes, left = self._cached(sources)
        cached = frozenset(places)
        self.seconds = {"find": time.perf_counter() - start, "load": 0.0, "extract": 0.0}
        failed: dict[str, str] = {}
        if left:
            made, failed = self._extracted(left, notes)
            places |= made
        for video_id, (sets, name) in list(places.items()):
            if too_short := self._too_short(sets[0].row(name)):
                failed[video_id] = too_short
                del places[video_id]
        return ReelFeatures(
            places={each.video_id: places[each.video_id] for each in sources
                    if each.video_id in places},
            paths={each.video_id: each.path for each in sources if each.path.is_file()},
            failed=failed,
            cached=cached,
            notes=notes,
            seconds=dict(self.seconds),
            keeper=self,
        )  # fmt: skip

    def release_scratch(self) -> None:
        """Remove the kept features once nobody holds on to them: they have served."""
        if self.scratch is not None:
            weakref.finalize(self, shutil.rmtree, self.scratch, ignore_errors=True)

    def _cached(
        self, sources: Sequence[Source]
    ) -> tuple[dict[str, Any], dict[str, str], list[Source]]:
        """Places in the cache, notes, and the sources that are not there as they are now."""
        if self.cache is None:
            return {}, {}, list(sources)
        known = {self.cache[name].spec.digest: self.cache[name] for name in self.cache.feature_sets}
        wanted = [each.spec.digest for each in self.run.feature_sets]
        if not set(wanted) <= set(known):
            self.say(
                f"The cache {self.cache.path} has no features of the identity that run "
                f"{self.run.path.name} was fitted on; every video is decoded"
            )
            return {}, {}, list(sources)
        sets = tuple(known[digest] for digest in wanted)
        places: dict[str, Any] = {}
        notes: dict[str, str] = {}
        left = []
        for source in sources:
            name, note = _name_in_cache(source, sets)
            if name:
                places[source.video_id] = (sets, name)
            else:
                left.append(source)
            if note:
                notes[source.video_id] = note
        return places, notes, left

    def _extracted(
        self, sources: Sequence[Source], notes: dict[str, str]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        # Files that are not there need no weights to be told.
        present = [each for each in sources if each.path.is_file()]
        failed = {
            each.video_id: "there is no such file, and no cached features"
            for each in sources
            if not each.path.is_file()
        }
        if not present:
            return {}, failed
        start = time.perf_counter()
        device, precision = self._device()
        backbones = self._loaded(device, precision)
        self.seconds["load"] = time.perf_counter() - start
        folder, kept = self._scratch_folder()
        cache = open_cache(folder, create=True)
        start = time.perf_counter()
        for plan, positions in self._plans().items():
            try:
                summary = extract(
                    present,
                    backbones=[backbones[position] for position in positions],
                    plan=plan,
                    cache=cache,
                    device=device,
                    workers=self.workers,
                    retry_failed=True,
                    provenance={"precision": precision},
                    on_progress=self.on_progress,
                )
            except Interrupted as error:
                if kept:
                    raise
                raise Interrupted(
                    "Stopped by a signal, and nothing was kept; with --out FILE what is finished "
                    "is kept, and the same command continues"
                ) from error
            failed |= summary.failed
            notes |= summary.notes
        self.seconds["extract"] = time.perf_counter() - start
        sets = tuple(each for each, _ in sources_of_run(cache, self.run))
        places: dict[str, Any] = {}
        for source in present:
            if source.video_id not in failed:
                places[source.video_id] = (sets, source.video_id)
        return places, failed

    def _loaded(self, device: str, precision: str) -> list[Any]:
        """The run's backbones, loaded when they are first needed."""
        if self._backbones is None:
            self._backbones = backbones_of_run(
                self.run,
                weights=self.weights,
                device=device,
                precision=precision,
                prompts=self.prompts,
            )
        return self._backbones

    def _device(self) -> tuple[str, str]:
        """Device and precision; looking for a GPU imports torch, so only for networks."""
        network = any(each.spec.weights_sha256 for each in self.run.feature_sets)
        device = self.device if network or self.device != "auto" else "cpu"
        chosen = choose_device(device, self.precision)
        return chosen if network else ("cpu", "fp32")

    def _too_short(self, row: VideoRow) -> str:
        window_s = SegmentPlan.from_json(self.run.feature_sets[0].spec.plan).window_s
        if row.duration_s >= window_s / 2:
            return ""
        return (
            f"it lasts {row.duration_s:.2f} s, and the run looks at windows of {window_s:.2f} s; "
            "give a longer video"
        )

    def _plans(self) -> dict[SegmentPlan, list[int]]:
        """One pass over the videos feeds every backbone that shares its plan."""
        plans: dict[SegmentPlan, list[int]] = {}
        seen: set[str] = set()
        for position, each in enumerate(self.run.feature_sets):
            # Two streams of one feature set are extracted once.
            if each.spec.digest not in seen:
                plans.setdefault(SegmentPlan.from_json(each.spec.plan), []).append(position)
                seen.add(each.spec.digest)
        return plans

    def _scratch_folder(self) -> tuple[Path, bool]:
        """Where extracted features go, and whether they outlive this object."""
        if self.scratch is not None:
            return self.scratch, True
        if self._temporary is None:
            self._temporary = Path(tempfile.mkdtemp(prefix="basket-predict-"))
            weakref.finalize(self, shutil.rmtree, self._temporary, ignore_errors=True)
        return self._temporary, False


def _name_in_cache(source: Source, sets: Sequence[FeatureSet]) -> tuple[str, str]:
    """Id under which the cache holds this very file (empty where it does not), and a note."""
    names = [source.video_id]
    try:
        stat = source.path.stat()
    except OSError:
        if all(_is_ok(each, source.video_id) for each in sets):
            return source.video_id, "The video is not at hand: predicted from cached features."
        return "", ""
    parts = source.path.absolute().parts
    names += ["/".join(parts[first:]) for first in range(len(parts) - 1, 0, -1)]
    stale = False
    for name in dict.fromkeys(names):
        if all(_is_ok(each, name) for each in sets):
            if all(each.is_done(name, stat.st_size, stat.st_mtime_ns) for each in sets):
                return name, ""
            stale = stale or name == source.video_id
    note = "The file changed since its features were cached: they were made anew."
    return "", note if stale else ""


def _is_ok(feature_set: FeatureSet, name: str) -> bool:
    return name in feature_set.rows and name not in feature_set.failed
