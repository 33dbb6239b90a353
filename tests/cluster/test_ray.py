"""The Ray engine: the same features as one process, whoever dies."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from basket.cache import open_cache, verify
from basket.cache.progress import progress_of
from basket.errors import Interrupted, UsageError
from basket.extract import ray_cluster as ray_cluster_module
from basket.extract.decoding import Source
from basket.extract.ray_actor import ActorSetup
from basket.extract.ray_cluster import RayCluster, connected
from basket.extract.ray_engine import extract_on_ray
from basket.extract.recipe import BackboneRecipe
from basket.extract.signals import request_stop
from basket.extract.workers import WorkerLimits

from .conftest import PLAN, assert_same, python_path


def setup_for(cache, decoder="pyav"):
    return ActorSetup(
        recipe=BackboneRecipe(("motion",)),
        plan=PLAN,
        cache=str(cache),
        decoder=decoder,
        limits=WorkerLimits(),
        batch_size=None,
        retry_failed=False,
    )


def run_on_ray(cache, sources, decoder="pyav", address=None):
    return extract_on_ray(
        sources, setup=setup_for(cache, decoder), cluster=RayCluster(address), workers=1
    )


def test_two_actors_give_what_one_process_gives(tmp_path, ray_cluster, sources, reels):
    _, straight = reels
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no video")
    seen = []
    cache = tmp_path / "cache"
    summary = extract_on_ray(
        [*sources, Source("bad.mp4", bad)],
        setup=setup_for(cache),
        cluster=RayCluster(),
        workers=1,
        on_progress=seen.append,
    )
    features = open_cache(cache)["motion"]
    assert (summary.done, set(summary.failed)) == (len(sources), {"bad.mp4"})
    assert summary.clips == int(straight.n_segments(straight.video_ids).sum())
    assert (seen[-1].videos_done, seen[-1].videos_total) == (len(sources) + 1, len(sources) + 1)
    assert set(features.failed) == {"bad.mp4"}
    assert_same(features, straight)
    # Nothing is done twice, and nobody is said to be at work any more.
    again = extract_on_ray(sources, setup=setup_for(cache), cluster=RayCluster(actors=1), workers=1)
    assert (again.done, again.already_there) == (0, len(sources))
    assert not list((features.path / "progress").glob("*"))


def test_a_signal_to_the_driver_stops_the_actors_with_their_work_committed(
    tmp_path, ray_cluster, sources, reels
):
    _, straight = reels
    with pytest.raises(Interrupted, match=r"of 12 videos were finished and are committed"):
        extract_on_ray(
            sources,
            setup=setup_for(tmp_path / "cache"),
            cluster=RayCluster(),
            workers=1,
            on_progress=lambda _: request_stop(),
        )
    features = open_cache(tmp_path / "cache")["motion"]
    assert not list((features.path / "attempts").glob("*"))
    (writer,) = progress_of(features).writers
    assert writer.state == "stopped"
    assert len(features.video_ids) < len(straight.video_ids)


def test_a_video_that_kills_its_actors_is_given_up_and_the_others_are_right(
    tmp_path, ray_cluster, sources, reels
):
    folder, _ = reels
    killers = []
    for name in ("once.mp4", "poison.mp4"):
        (tmp_path / name).write_bytes((folder / "0.mp4").read_bytes())
        killers.append(Source(name, tmp_path / name))
    summary = run_on_ray(
        tmp_path / "cache", [*killers, *sources[:4]], "cluster_decoders:open_killing"
    )
    features = open_cache(tmp_path / "cache")["motion"]
    assert set(summary.failed) == {"poison.mp4"}
    assert "killed its actor 2 times when tried alone" in summary.failed["poison.mp4"]
    assert features.failed == summary.failed
    assert features.video_ids == ("0.mp4", "1.mp4", "2.mp4", "3.mp4", "once.mp4")
    assert not list((features.path / "attempts").glob("*"))


def start_driver(cache, folder, address):
    """``basket extract`` in a process of its own, on the cluster at ``address``."""
    arguments = ["extract", str(folder), "--model", "motion", "--cache", str(cache)]
    arguments += ["--window", "1.5", "--decoder", "cluster_decoders:open_telling"]
    arguments += ["--engine", "ray", "--ray-address", address, "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "basket", *arguments],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def n_shards(cache):
    return len(list(cache.glob("motion*/shards/*.h5")))


def wait_for(condition, driver):
    """Until the condition holds or the driver has ended: it may well be the quicker one."""
    until_s = time.monotonic() + 240
    while not condition() and driver.poll() is None:
        assert time.monotonic() < until_s, "the driver got nowhere"
        time.sleep(0.05)


def ordeal(cache, folder, address, *, rounds, seed):
    """Kill an actor, the driver or both, at random, and start the driver again each time."""
    chance = random.Random(seed)
    log = folder / "served.log"
    for turn in range(rounds):
        log.unlink(missing_ok=True)
        driver = start_driver(cache, folder, address)
        enough = n_shards(cache) + chance.choice((0, 1))
        wait_for(lambda goal=enough: log.exists() and n_shards(cache) >= goal, driver)
        victims = ("actor", "driver", "both")[turn % 3]
        if victims != "driver" and log.exists():
            served = [line.split()[0] for line in log.read_text().splitlines()]
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(chance.choice(served)), signal.SIGKILL)
        if victims != "actor":
            driver.kill()
        _, errors = driver.communicate(timeout=280)
        assert driver.returncode in (0, -signal.SIGKILL), errors.decode()


@pytest.mark.parametrize(
    "rounds", [3, pytest.param(30, marks=[pytest.mark.soak, pytest.mark.timeout(0)])]
)
def test_killed_at_random_and_continued(tmp_path, ray_cluster, sources, reels, rounds):
    folder, straight = reels
    cache = tmp_path / "cache"
    ordeal(cache, folder, ray_cluster, rounds=rounds, seed=rounds)
    run_on_ray(cache, sources, address=ray_cluster)
    features = open_cache(cache)["motion"]
    assert not features.failed
    assert_same(features, straight)
    assert not verify(features).problems


def test_no_cluster_is_one_sentence(tmp_path):
    script = (
        "import sys; from basket.extract.ray_cluster import connected\n"
        "from basket.errors import UsageError\n"
        "try:\n    connected('127.0.0.1:1').__enter__()\n"
        "except UsageError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "No Ray cluster can be reached at 127.0.0.1:1" in said.stdout
    assert len(said.stdout.splitlines()) == 1


def test_a_cluster_that_lets_nobody_in_is_told_apart_from_none(monkeypatch):
    class RayError(Exception):
        pass

    def init(**_):
        raise RayError("Authentication token is missing or incorrect\nand much more")

    ray = SimpleNamespace(
        is_initialized=lambda: False, init=init, exceptions=SimpleNamespace(RayError=RayError)
    )
    monkeypatch.setattr(ray_cluster_module, "import_ray", lambda: ray)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(UsageError) as told, connected(address):
            pass
    said = str(told.value)
    assert f"at {address} (Authentication token is missing or incorrect);" in said
    assert "RAY_AUTH_MODE=token" in said
    assert "ray start --head" not in said
