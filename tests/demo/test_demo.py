"""The whole chain on a few simulated players: what it leaves, and that it continues."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from basket.cache import open_cache
from basket.cli import run
from basket.console import Output
from basket.dataset import read_labels
from basket.demo.court import SPLITS, simulate_dataset
from basket.demo.demo import HEADS, extract_reels

SMALL = ["--players", "12", "--seconds", "5"]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "demo"
    assert run(["demo", "--out", str(out), "--quiet", *SMALL]) == 0
    return out


def test_it_leaves_reels_cache_runs_and_report(demo, capsys):
    assert run(["demo", "--out", str(demo), "--quiet", "--json", *SMALL]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(demo / "report.html")
    assert len(found["runs"]) == 2 * len(HEADS)
    keys = {"features", "head", "split", "accuracy", "mae", "qwk"}
    assert all(keys <= row.keys() for row in found["results"])
    assert {row["split"] for row in found["results"]} == set(SPLITS) - {"train", "val"}
    assert {row["features"] for row in found["results"]} == {"motion", "videomae/tiny-random"}


def test_what_is_random_and_what_is_simulated_is_said_everywhere(demo):
    for name in open_cache(demo / "cache").feature_sets:
        random_weights = name.startswith("videomae")
        assert open_cache(demo / "cache")[name].spec.random_weights == random_weights
        for head in HEADS:
            config = json.loads(
                (demo / "runs" / f"{name.split('.')[0]}-{head}/run.json").read_text()
            )
            assert config["simulated"] is True
            assert config["random_weights"] == random_weights
    page = (demo / "report.html").read_text()
    assert "Simulated players" in page
    assert "random weights" in page
    assert "skill card" in page


def test_running_again_reuses_everything(demo, capsys):
    before = {path: path.stat().st_mtime_ns for path in (demo / "runs").rglob("run.json")}
    assert run(["demo", "--out", str(demo), *SMALL]) == 0
    assert "0 reels extracted" in capsys.readouterr().err
    after = {path: path.stat().st_mtime_ns for path in (demo / "runs").rglob("run.json")}
    assert before == after


def test_another_configuration_in_the_same_folder_is_refused(demo, capsys):
    assert run(["demo", "--out", str(demo), "--players", "22", "--seconds", "5"]) == 2
    assert "error:" in capsys.readouterr().err


def test_kill_9_in_the_middle_of_the_extraction_and_run_again(demo, tmp_path):
    out = tmp_path / "demo"
    data = simulate_dataset(out / "basket", players=12, seconds=5.0)
    command = [sys.executable, "-m", "basket", "demo", "--out", str(out), *SMALL]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    while not (out / "cache").exists() and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.2)
    process.kill()
    process.wait()
    cache = open_cache(extract_reels(out, data, say=print, progress=Output(quiet=True).progress))
    straight = open_cache(demo / "cache")
    assert cache.feature_sets == straight.feature_sets
    listed = {
        video_id
        for path in data.splits.values()
        for video_id in read_labels(path, video_root=data.root).video_ids
    }
    for name in cache.feature_sets:
        assert sorted(cache[name].video_ids) == sorted(listed)
        for video_id in cache[name].video_ids:
            ours, theirs = (
                each[name].read(video_id).features["pooled"] for each in (cache, straight)
            )
            np.testing.assert_allclose(ours, theirs, atol=2e-3, rtol=2e-3)
            assert name.startswith("videomae") or np.array_equal(ours, theirs)
