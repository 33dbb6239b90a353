"""Reels, their features from one process, and one small Ray cluster for all tests here."""

import os
from pathlib import Path

import numpy as np
import pytest

from basket.cache import open_cache
from basket.extract.decoding import Source
from basket.extract.pipeline import extract
from basket.extract.recipe import BackboneRecipe
from basket.extract.segments import SegmentPlan

PLAN = SegmentPlan(window_s=1.5)
HERE = Path(__file__).parent
N_REELS = 12


def python_path():
    """``PYTHONPATH`` of processes that import the modules beside this one by name."""
    return os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")]))


@pytest.fixture
def sources(reels):
    """The reels as sources."""
    folder, _ = reels
    return [Source(f"{index}.mp4", folder / f"{index}.mp4") for index in range(N_REELS)]


@pytest.fixture(scope="session")
def reels(tmp_path_factory, make_video):
    """A folder of reels, and their features as one process alone extracts them."""
    folder = tmp_path_factory.mktemp("reels")
    for index in range(N_REELS):
        make_video(folder / f"{index}.mp4", frames=24 + 3 * index)
    cache = open_cache(tmp_path_factory.mktemp("straight") / "cache", create=True)
    all_sources = [Source(f"{index}.mp4", folder / f"{index}.mp4") for index in range(N_REELS)]
    extract(
        all_sources,
        backbones=BackboneRecipe(("motion",)).load(),
        plan=PLAN,
        cache=cache,
        workers=1,
    )
    return folder, cache["motion"]


@pytest.fixture(scope="session")
def ray_cluster():
    """The address of a cluster with two cores; nothing of it leaves the machine."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray = pytest.importorskip("ray")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = python_path()  # of the nodes: actors import the decoders there
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        object_store_memory=100 << 20,
    )
    yield ray.get_runtime_context().gcs_address
    ray.shutdown()
    os.environ.pop("PYTHONPATH")
    if before is not None:
        os.environ["PYTHONPATH"] = before


@pytest.fixture
def decoders_and_backbones(monkeypatch):
    """The modules beside this one, importable by name here and in decode processes."""
    monkeypatch.syspath_prepend(str(HERE))


def assert_same(features, straight):
    """Every reel is there once, and its rows are those of the single process, bit for bit."""
    features.refresh()
    assert features.video_ids == straight.video_ids
    for video_id in straight.video_ids:
        ours, theirs = features.read(video_id), straight.read(video_id)
        assert np.array_equal(ours.features["pooled"], theirs.features["pooled"])
        assert np.array_equal(ours.start_s, theirs.start_s)
        assert np.array_equal(ours.frames_valid, theirs.frames_valid)
