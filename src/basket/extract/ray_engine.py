"""``--engine ray``: one extraction on all nodes of a Ray cluster.

The driver plans, hands out lots of videos (:mod:`basket.extract.ray_lots`) and counts; actors
(:mod:`basket.extract.ray_actor`) decode, embed and commit to the shared cache folder. Losing an
actor, a node or the driver loses at most what was in flight: a video is done when a published shard
holds it, and nothing else is remembered anywhere.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

from basket.cache import open_cache
from basket.cache.progress import Work, telling_progress
from basket.errors import BasketError, IdentityError, Interrupted
from basket.extract.decoding import Source
from basket.extract.planning import identities, names_apart, plan_jobs
from basket.extract.ray_actor import ActorDescription, ActorSetup, LotDone, LotExtractor
from basket.extract.ray_cluster import Layout, RayCluster, connected, layout
from basket.extract.ray_ledger import Ledger
from basket.extract.ray_lots import Lot, Lots
from basket.extract.recipe import SpecOnly, tell_random
from basket.extract.signals import stop_requested, stopping_on_signals
from basket.extract.summary import ExtractionSummary, Progress

_TICK_S = 0.5  # longest wait for an answer, so that a signal is seen soon
_ASK_S = 2.0  # between two questions about one lot
_PATIENCE_S = 60.0  # from here on we say that no actor is ready: a cluster may have to grow first
_STOP_S = 300.0  # for the actors to commit what they have finished
_LOADING_DEATHS = 5  # of one actor in a row: too many to be other people's doing


def extract_on_ray(
    sources: Sequence[Source],
    *,
    setup: ActorSetup,
    cluster: RayCluster,
    workers: int | None = None,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[[Progress], None] | None = None,
) -> ExtractionSummary:
    """Extract the features of all sources on a Ray cluster; see :func:`.pipeline.extract`.

    Parameters
    ----------
    sources : sequence of Source
        Paths that every node can read.
    setup : ActorSetup
        Its ``workers`` and the recipe's device are chosen here.
    cluster : RayCluster
    workers : int, optional
        Cores, and decode processes, of each actor.
    say : callable
    on_progress : callable, optional

    Raises
    ------
    BasketError
        Ray is missing, there is no cluster, no node can hold an actor, or actors die whatever they
        do.
    Interrupted
        A signal arrived; every finished video is committed.
    """
    start_s = time.monotonic()
    with connected(cluster.address) as ray, stopping_on_signals():
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        chosen = layout(nodes, device=setup.recipe.device, workers=workers, actors=cluster.actors)
        device = "cuda" if chosen.gpus else "cpu"
        setup = replace(setup, recipe=setup.recipe.on(device), workers=chosen.cpus)
        say(
            f"Ray: {chosen.actors} actor{'s' * (chosen.actors > 1)}, each with {chosen.cores}"
            + (" and a GPU" if chosen.gpus else "")
        )
        driver = _Driver(ray, setup, chosen, say, on_progress, _Totals(start_s))
        try:
            return driver.run(sources)
        finally:
            driver.close()


@dataclass
class _Actor:
    """The driver's view of one actor."""

    handle: Any
    about: ActorDescription | None = None
    ready: bool = False
    lot: Lot | None = None
    progress: Progress | None = None
    deaths_loading: int = 0


@dataclass
class _Totals:
    """What all actors did together."""

    start_s: float
    videos: int = 0
    done: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    clips: int = 0
    video_s: float = 0.0
    seconds: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "forward": 0.0, "write": 0.0}
    )
    batch_sizes: dict[str, int] = field(default_factory=dict)

    def add(self, lot: LotDone) -> None:
        self.done += lot.done
        self.failed |= lot.failed
        self.notes |= lot.notes
        self.clips += lot.clips
        self.video_s += lot.video_s
        for stage, seconds in lot.seconds.items():
            self.seconds[stage] += seconds
        for name, size in lot.batch_sizes.items():
            self.batch_sizes[name] = min(size, self.batch_sizes.get(name, size))

    def add_orphans(self, done: Mapping[str, str]) -> None:
        """Videos that an actor had committed when it died, with the reasons of failed ones."""
        self.failed |= {video_id: reason for video_id, reason in done.items() if reason}
        self.done += sum(not reason for reason in done.values())

    def progress(self, running: Sequence[Progress]) -> Progress:
        return Progress(
            videos_done=self.done + len(self.failed) + sum(each.videos_done for each in running),
            videos_total=self.videos,
            videos_failed=len(self.failed) + sum(each.videos_failed for each in running),
            clips=self.clips + sum(each.clips for each in running),
            video_s=self.video_s + sum(each.video_s for each in running),
            elapsed_s=time.monotonic() - self.start_s,
            seconds={
                stage: spent + sum(each.seconds[stage] for each in running)
                for stage, spent in self.seconds.items()
            },
        )


class _Driver:
    """Hands out lots, hears what became of them, and sees to the dead."""

    def __init__(
        self,
        ray: Any,
        setup: ActorSetup,
        chosen: Layout,
        say: Callable[[str], None],
        on_progress: Callable[[Progress], None] | None,
        totals: _Totals,
    ) -> None:
        self._ray, self._setup, self._layout = ray, setup, chosen
        self._say, self._on_progress, self._totals = say, on_progress, totals
        remote = ray.remote(LotExtractor).options(
            num_cpus=chosen.cpus,
            num_gpus=chosen.gpus,
            max_restarts=-1,
            max_task_retries=0,
            max_concurrency=3,  # a lot, a question about it, and a request to stop
        )
        self._actors = [_Actor(remote.remote(setup)) for _ in range(chosen.actors)]
        #: What is under way: what was asked of whom, by the reference to the answer.
        self._pending: dict[Any, tuple[str, _Actor]] = {}
        #: What the shared folder says; known once the first actor told which features are meant.
        self._ledger: Ledger
        self._lots = Lots((), actors=chosen.actors, workers=chosen.cpus)
        self._asked_s = 0.0

    def run(self, sources: Sequence[Source]) -> ExtractionSummary:
        """Extract; what the actors said of it all."""
        for actor in self._actors:
            self._greet(actor)
        about = self._first_ready()
        tell_random(about.specs, self._say)
        failed_before = self._plan(sources, about)
        sets = self._ledger.sets
        with ExitStack() as stack:
            if self._lots:
                folders = [each.path for each in sets]
                stack.enter_context(telling_progress(folders, self._work))
            while (self._lots or self._busy()) and not stop_requested():
                self._hand_out()
                self._hear()
            if stop_requested():
                self._stop()
        if self._on_progress is not None:
            self._on_progress(self._totals.progress([]))
        totals = self._totals
        names = names_apart(about.specs, sets)
        return ExtractionSummary(
            feature_sets={name: each.name for name, each in zip(names, sets, strict=True)},
            done=totals.done,
            already_there=len(sources) - totals.videos - len(failed_before),
            failed={**failed_before, **totals.failed},
            notes=totals.notes,
            clips=totals.clips,
            video_s=totals.video_s,
            elapsed_s=time.monotonic() - totals.start_s,
            seconds=totals.seconds,
            batch_sizes=totals.batch_sizes,
        )

    def close(self) -> None:
        """Let the actors go; their decode processes end with them."""
        for actor in self._actors:
            self._ray.kill(actor.handle)

    def _ask(self, kind: str, actor: _Actor, *arguments: Any) -> None:
        self._pending[getattr(actor.handle, kind).remote(*arguments)] = (kind, actor)

    def _greet(self, actor: _Actor) -> None:
        actor.ready = False
        self._ask("describe", actor)

    def _first_ready(self) -> ActorDescription:
        """What the first actor that has loaded the backbones says they are."""
        told_s = time.monotonic()
        while not stop_requested():
            self._hear()
            for actor in self._actors:
                if actor.ready and actor.about is not None:
                    return actor.about
            if time.monotonic() - told_s > _PATIENCE_S:
                told_s = time.monotonic()
                self._say("No actor is ready yet; ray status tells what they wait for")
        raise Interrupted("Stopped by a signal before anything was begun")

    def _plan(self, sources: Sequence[Source], about: ActorDescription) -> dict[str, str]:
        """Open the feature sets and see what is not done; what failed before is returned."""
        cache = open_cache(self._setup.cache, create=True)
        plan = self._setup.plan
        sets = [cache.feature_set(each) for each in identities(about.specs, plan)]
        jobs, failed = plan_jobs(
            sources,
            [SpecOnly(spec) for spec in about.specs],
            sets,
            plan=plan,
            retry_failed=self._setup.retry_failed,
            hash_sources=self._hashing,
            say=self._say,
        )
        self._ledger = Ledger(sets, {job.source.video_id: job for job in jobs})
        self._lots = Lots(self._ledger.jobs, actors=self._layout.actors, workers=self._layout.cpus)
        self._totals.videos = len(jobs)
        return failed

    @property
    def _hashing(self) -> bool:
        return bool(self._setup.options.get("hash_sources"))

    def _work(self) -> Work:
        now = self._now()
        return Work(now.videos_total, now.videos_done, now.videos_failed)

    def _now(self) -> Progress:
        running = [actor.progress for actor in self._actors]
        return self._totals.progress([each for each in running if each is not None])

    def _busy(self) -> bool:
        return any(actor.lot is not None for actor in self._actors)

    def _hand_out(self) -> None:
        for actor in self._actors:
            if actor.ready and actor.lot is None and self._lots:
                actor.lot = self._lots.next()
                sources = [self._ledger.jobs[name].source for name in actor.lot.video_ids]
                self._ask("extract", actor, sources)

    def _hear(self) -> None:
        """Take what has come back; waits a moment where nothing has."""
        now_s = time.monotonic()
        if now_s - self._asked_s > _ASK_S:
            self._asked_s = now_s
            asked = {id(actor) for kind, actor in self._pending.values() if kind == "progress"}
            for actor in self._actors:
                if actor.ready and actor.lot is not None and id(actor) not in asked:
                    self._ask("progress", actor)
        done, _ = self._ray.wait(list(self._pending), num_returns=1, timeout=_TICK_S)
        for reference in done:
            kind, actor = self._pending.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._ray.exceptions.RayTaskError as error:
                raise _plain(error) from None
            except self._ray.exceptions.RayError as error:  # death, by whatever hand
                self._died(kind, actor, error)
            else:
                self._take(kind, actor, answer)
        if self._on_progress is not None and self._totals.videos:
            self._on_progress(self._now())

    def _take(self, kind: str, actor: _Actor, answer: Any) -> None:
        if kind == "describe":
            known = next((each.about for each in self._actors if each.about is not None), answer)
            if answer.specs != known.specs:
                raise IdentityError(
                    f"{answer.host} and {known.host} have loaded different backbones; give every "
                    "node the same weights, for example a shared folder with --weights"
                )
            actor.about, actor.ready, actor.deaths_loading = answer, True, 0
        elif kind == "progress":
            actor.progress = answer if actor.lot is not None else None
        elif kind == "extract":
            assert actor.lot is not None
            if answer is not None:
                self._lots.finished()
                self._totals.add(answer)
            actor.lot = actor.progress = None

    def _died(self, kind: str, actor: _Actor, error: Exception) -> None:
        """An actor is gone or out of reach: Ray starts it again, its lot is seen to."""
        if kind == "progress":
            return  # the lot that it was asked about tells
        if kind == "describe":
            time.sleep(_TICK_S)
            if isinstance(error, self._ray.exceptions.ActorUnavailableError):
                self._greet(actor)  # on its way back
                return
            actor.deaths_loading += 1
            if actor.deaths_loading >= _LOADING_DEATHS:
                raise BasketError(
                    f"An actor died {actor.deaths_loading} times while it loaded the backbones "
                    f"({str(error).splitlines()[0]}); does one node have memory enough for them?"
                )
        elif actor.lot is not None and actor.about is not None:
            lot, about = actor.lot, actor.about
            actor.lot = actor.progress = None
            node_is_gone = bool(getattr(error, "preempted", False)) or about.node not in {
                node["NodeID"] for node in self._ray.nodes() if node["Alive"]
            }
            done = self._ledger.done_of(lot.video_ids)
            begun = self._ledger.begun_by(about)
            self._totals.add_orphans(done)
            for video_id in self._lots.lost(lot, done=done, begun=begun, node_is_gone=node_is_gone):
                reason = self._lots.why_given_up(video_id)
                decoder = self._setup.decoder
                self._ledger.give_up(video_id, reason, actor=about, decoder=decoder)
                self._totals.failed[video_id] = reason
        self._greet(actor)

    def _stop(self) -> None:
        """Have every actor commit what it has finished, then tell how far it got.

        Raises
        ------
        Interrupted
            Always.
        """
        for actor in self._actors:
            if actor.lot is not None:
                actor.handle.stop.remote()
        until_s = time.monotonic() + _STOP_S
        while self._busy() and time.monotonic() < until_s:
            self._hear()
        jobs = self._ledger.jobs
        finished = len(self._ledger.done_of(jobs))
        raise Interrupted(
            f"Stopped by a signal. {finished} of {len(jobs)} videos were finished and are "
            "committed; run the same command again to continue"
        )


def _plain(error: Any) -> Exception:
    """The error that an actor raised, without Ray's wrapping and traceback."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BasketError):
        return cause
    return BasketError(
        f"An actor failed: {cause!r}; run the same command again with --engine local"
    )
