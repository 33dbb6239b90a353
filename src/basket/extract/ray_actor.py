"""The far side of ``--engine ray``: an actor that extracts lots of videos into the shared cache.

It runs the same loop as a single machine does, with decode processes of its own, and commits what
it finishes itself: ids come in, counts and reasons go out, features never leave the node but for
the cache. The class is an ordinary one until the driver makes it remote.
"""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from basket.cache import FeatureCache, FeatureSet, FeatureSetSpec, open_cache
from basket.errors import Interrupted
from basket.extract.backbones.base import Backbone, BackboneSpec
from basket.extract.decoding import Source
from basket.extract.device import choose_device
from basket.extract.pipeline import extract
from basket.extract.recipe import BackboneRecipe
from basket.extract.segments import SegmentPlan
from basket.extract.signals import request_stop
from basket.extract.summary import Progress
from basket.extract.workers import WorkerLimits


@dataclass(frozen=True)
class ActorSetup:
    """What every actor does alike.

    Parameters
    ----------
    recipe : BackboneRecipe
    plan : SegmentPlan
    cache : str
        Folder that all nodes reach by this name.
    decoder : str
    limits : WorkerLimits
    batch_size : int, optional
    retry_failed : bool
    workers : int, default=1
        Decode processes of one actor.
    options : mapping
        Further arguments of :func:`basket.extract.pipeline.extract`.
    """

    recipe: BackboneRecipe
    plan: SegmentPlan
    cache: str
    decoder: str
    limits: WorkerLimits
    batch_size: int | None
    retry_failed: bool
    workers: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ActorDescription:
    """Who an actor is: its backbones, and the process it is at the moment."""

    specs: tuple[BackboneSpec, ...]
    device: str
    precision: str
    host: str
    pid: int
    node: str


@dataclass(frozen=True)
class LotDone:
    """What became of a lot: counts, and reasons by id."""

    done: int
    already_there: int
    failed: Mapping[str, str]
    notes: Mapping[str, str]
    clips: int
    video_s: float
    seconds: Mapping[str, float]
    batch_sizes: Mapping[str, int]


class LotExtractor:
    """Extracts lots, one after the other; the backbones are loaded at the first need.

    Two threads call it: one for the lot, one for :meth:`progress` and :meth:`stop` meanwhile.

    Parameters
    ----------
    setup : ActorSetup
    """

    def __init__(self, setup: ActorSetup) -> None:
        self._setup = setup
        self._backbones: list[Backbone] = []
        self._cache: _RememberingCache | None = None
        self._one_lot = threading.Lock()
        self._loading = threading.Lock()
        self._progress: Progress | None = None
        self._stopped = False
        recipe = setup.recipe
        device, precision = choose_device(recipe.device, recipe.precision)
        self._recipe = replace(recipe, device=device, precision=precision)
        self._node = _node_id()

    def describe(self) -> ActorDescription:
        """Load the backbones and tell which they are.

        Raises
        ------
        BasketError
            They cannot be loaded on this node.
        """
        with self._loading:
            if not self._backbones:
                self._backbones = self._recipe.load()
                self._cache = _RememberingCache(Path(self._setup.cache))
        return ActorDescription(
            specs=tuple(each.spec for each in self._backbones),
            device=self._recipe.device,
            precision=self._recipe.precision,
            host=platform.node(),
            pid=os.getpid(),
            node=self._node,
        )

    def extract(self, lot: Sequence[Source]) -> LotDone | None:
        """Extract videos; None where :meth:`stop` came before the end.

        Raises
        ------
        BasketError
            As :func:`basket.extract.pipeline.extract`.
        """
        with self._one_lot:
            self.describe()
            if self._stopped:
                return None
            assert self._cache is not None
            setup = self._setup
            try:
                summary = extract(
                    lot,
                    backbones=self._backbones,
                    plan=setup.plan,
                    cache=self._cache,
                    decoder=setup.decoder,
                    workers=setup.workers,
                    limits=setup.limits,
                    batch_size=setup.batch_size,
                    device=self._recipe.device,
                    retry_failed=setup.retry_failed,
                    provenance={"precision": self._recipe.precision},
                    on_progress=self._note,
                    tell_folder=False,  # the driver does, for all
                    **setup.options,
                )
            except Interrupted:
                return None
            finally:
                self._progress = None
        return LotDone(
            summary.done,
            summary.already_there,
            summary.failed,
            summary.notes,
            summary.clips,
            summary.video_s,
            summary.seconds,
            summary.batch_sizes,
        )

    def _note(self, progress: Progress) -> None:
        self._progress = progress
        if self._stopped:  # told before the extraction began to look, and cleared what was set
            request_stop()

    def progress(self) -> Progress | None:
        """How far the lot at work is; None between lots."""
        return self._progress

    def stop(self) -> None:
        """Commit what is finished, and end the lot at work."""
        self._stopped = True
        request_stop()


class _RememberingCache(FeatureCache):
    """A cache whose feature sets are looked at once, however many lots are written to them.

    What other writers add meanwhile is the driver's to know; looking again for every lot would cost
    more the further the extraction is.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(open_cache(path, create=True).path)
        self._known: dict[str, FeatureSet] = {}

    def feature_set(self, spec: FeatureSetSpec, *, create: bool = True) -> FeatureSet:
        """As in the parent class, but the same object each time."""
        if spec.digest not in self._known:
            self._known[spec.digest] = super().feature_set(spec, create=create)
        return self._known[spec.digest]


def _node_id() -> str:
    """Ray's name for the node; empty outside Ray."""
    ray: Any = import_module("ray")
    return str(ray.get_runtime_context().get_node_id()) if ray.is_initialized() else ""
