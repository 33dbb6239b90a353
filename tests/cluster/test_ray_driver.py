"""What the driver makes of actors that fail, with a stand-in for Ray that fails on purpose."""

from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace

import pytest

from basket.cache import open_cache
from basket.errors import BasketError, IdentityError, Interrupted, WeightsError
from basket.extract import ray_actor, ray_engine
from basket.extract.attempts import Attempts
from basket.extract.ray_actor import ActorSetup, LotExtractor
from basket.extract.ray_cluster import RayCluster
from basket.extract.recipe import BackboneRecipe
from basket.extract.signals import stop_requested, stopping_on_signals
from basket.extract.summary import Progress
from basket.extract.workers import WorkerLimits

from .conftest import PLAN, assert_same


class RayError(Exception):
    pass


class RayTaskError(RayError):
    def __init__(self, cause):
        self.cause = cause


class ActorDiedError(RayError):
    def __init__(self, *, preempted=False):
        super().__init__("the actor died\nand so on")
        self.preempted = preempted


class ActorUnavailableError(RayError):
    pass


class StandInRay:
    """Actors that live in this process; ``fails(kind, actor, arguments)`` may return an error."""

    exceptions = SimpleNamespace(
        RayError=RayError, RayTaskError=RayTaskError, ActorUnavailableError=ActorUnavailableError
    )

    def __init__(self, fails, *, nodes=1):
        self._fails, self._nodes = fails, nodes
        self.asked = []

    def nodes(self):
        return [{"Resources": {"CPU": 1}, "Alive": True, "NodeID": "here"}] * self._nodes

    def remote(self, kind):
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start(kind)))

    def _start(self, kind):
        return lambda setup: _Handle(self, kind(setup))

    def wait(self, references, **_):
        return references[:1], references[1:]

    def get(self, reference):
        return reference()

    def kill(self, handle):
        pass


class _Handle:
    def __init__(self, ray, actor):
        self._ray, self._actor = ray, actor

    def __getattr__(self, kind):
        def remote(*arguments):
            def answer():
                self._ray.asked.append((kind, arguments))
                answered = self._ray._fails(kind, self._actor, arguments)
                if isinstance(answered, Exception):
                    raise answered
                return answered or getattr(self._actor, kind)(*arguments)

            return answer

        return SimpleNamespace(remote=remote)


def setup_for(cache) -> ActorSetup:
    return ActorSetup(
        recipe=BackboneRecipe(("motion",)),
        plan=PLAN,
        cache=str(cache),
        decoder="pyav",
        limits=WorkerLimits(),
        batch_size=None,
        retry_failed=False,
    )


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Extract with a stand-in for Ray; returns the summary."""

    def extract(ray, sources, **changes):
        @contextmanager
        def connected(_address):
            yield ray

        monkeypatch.setattr(ray_engine, "connected", connected)
        monkeypatch.setattr(ray_engine, "_TICK_S", 0.0)
        # This process may be connected to the cluster of other tests.
        monkeypatch.setattr(ray_actor, "_node_id", lambda: "here")
        setup = replace(setup_for(tmp_path / "cache"), **changes)
        return ray_engine.extract_on_ray(sources, setup=setup, cluster=RayCluster(), workers=1)

    return extract


@pytest.mark.parametrize("preempted", [True, False])
def test_what_was_being_decoded_is_suspected_unless_the_node_went(
    tmp_path, run, sources, reels, preempted
):
    _, straight = reels
    deaths = []

    def fails(kind, _actor, _arguments):
        if kind == "extract" and not deaths:
            deaths.append(kind)
            (folder,) = (tmp_path / "cache").glob("motion*")
            Attempts(folder / "attempts").begin("1.mp4")  # what the actor was at
            return ActorDiedError(preempted=preempted)
        return None

    ray = StandInRay(fails)
    assert run(ray, sources).done == len(sources)
    lots = [[each.video_id for each in lot] for kind, (lot, *_) in _extractions(ray.asked)]
    assert "1.mp4" in lots[0]
    # A suspect is handed out last and by itself.
    assert (lots[-1] == ["1.mp4"]) is not preempted
    assert sorted(name for lot in lots[1:] for name in lot) == sorted(straight.video_ids)
    assert_same(open_cache(tmp_path / "cache")["motion"], straight)


def test_a_file_that_must_not_be_opened_is_not_opened_by_an_actor_either(run, sources):
    refused = replace(sources[0], refused="it leads out of the video root")
    summary = run(StandInRay(lambda *_: None), [refused, sources[1]])
    assert (summary.done, summary.failed) == (1, {"0.mp4": "it leads out of the video root"})


def _extractions(asked):
    return [each for each in asked if each[0] == "extract"]


def test_an_actor_on_its_way_back_is_greeted_again(run, sources):
    answers = [ActorUnavailableError("on its way"), ActorDiedError()]
    ray = StandInRay(lambda kind, *_: answers.pop() if kind == "describe" and answers else None)
    assert run(ray, sources[:1]).done == 1
    assert [kind for kind, _ in ray.asked].count("describe") == 3


def test_actors_that_die_while_they_load_end_the_run(run, sources):
    ray = StandInRay(lambda kind, *_: ActorDiedError() if kind == "describe" else None)
    with pytest.raises(BasketError, match=r"died 5 times while it loaded .*\(the actor died\)"):
        run(ray, sources)


@pytest.mark.parametrize(
    ("cause", "kind", "said"),
    [
        (WeightsError("no weights there"), WeightsError, "^no weights there$"),
        (KeyError("x"), BasketError, r"An actor failed: KeyError\('x'\)"),
    ],
)
def test_what_an_actor_says_is_said_without_rays_wrapping(run, sources, cause, kind, said):
    ray = StandInRay(lambda *_: RayTaskError(cause))
    with pytest.raises(kind, match=said):
        run(ray, sources)


def test_nodes_with_different_weights_are_refused(run, sources):
    described = []

    def fails(kind, actor, _arguments):
        if kind != "describe":
            return None
        found = LotExtractor.describe(actor)
        other = replace(found.specs[0], weights_sha256=f"{len(described):064}")
        described.append(found)
        return replace(found, specs=(other,))

    with pytest.raises(IdentityError, match="different backbones"):
        run(StandInRay(fails, nodes=2), sources)


def test_an_actor_that_is_told_to_stop_as_a_lot_begins_stops(tmp_path, sources, monkeypatch):
    actor = LotExtractor(setup_for(tmp_path / "cache"))
    seen = []

    def extraction(*_args, on_progress, **_kwargs):
        actor.stop()
        with stopping_on_signals():  # forgets what came before it
            on_progress(Progress(0, 1, 0, 0, 0.0, 0.0, {}))
            seen.append(stop_requested())
            raise Interrupted("stopped")

    monkeypatch.setattr(ray_actor, "extract", extraction)
    assert actor.extract(sources) is None
    assert seen == [True]
