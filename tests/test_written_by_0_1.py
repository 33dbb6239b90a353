"""What basket 0.1 left on disk (commit e85f402) goes on: the same numbers, and nothing done twice.

``data/make_written_by_0_1.py`` wrote the files.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

from basket.cache import open_cache
from basket.cli import run

WRITTEN = Path(__file__).parent / "data" / "written-by-0.1"
HEADS = ("prior", "ridge", "cumulative", "mlp", "gbdt", "attention", "prompts")
#: Films of the kinds that commit read wrongly, and one that it could not read.
REDONE = {
    "odd/mirrored.mp4",
    "odd/ts-lost-packet.ts",
    "odd/ts-mid-gop.ts",
    "odd/two-streams.mkv",
}
BROKEN = "odd/broken.mp4"


def copied(folder: Path) -> Path:
    """A copy in which the videos are as old as the cache says, for a checkout keeps no times."""
    shutil.copytree(WRITTEN, folder, dirs_exist_ok=True)
    cache = open_cache(folder / "cache")
    sources = {
        "motion.dense.ac085d67": "videos/{}",
        "slowfast-r50.imported.1ac7dcfb": "slowfast.npz",
    }
    for name, source in sources.items():
        for video_id in cache[name].video_ids:
            when_ns = cache[name].row(video_id).source_mtime_ns
            os.utime(folder / source.format(video_id), ns=(when_ns, when_ns))
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(copied(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def expected():
    return json.loads((WRITTEN / "expected.json").read_text())


def told(capsys, *arguments, ends_with=0, cache="cache"):
    """What a command prints as JSON, and all that it says beside."""
    capsys.readouterr()
    status = run([*map(str, arguments), "--cache", cache, "--json"])
    out, err = capsys.readouterr()
    assert status == ends_with, err
    return json.loads(out), err


def means(report):
    return {
        name: metric["mean"]
        for name, metric in report["runs"][0]["splits"]["test"]["metrics"].items()
    }


def probabilities(predicted):
    return [
        skill["probabilities"]
        for video in predicted["videos"]
        for skill in video["skills"].values()
    ]


def test_only_what_was_read_wrongly_is_decoded_again(here, capsys):
    first, _ = told(capsys, "extract", "videos", "--model", "motion", ends_with=3)
    assert first["already_there"] == 24
    assert first["done"] == len(REDONE)
    assert set(first["failed"]) == {BROKEN}
    again, _ = told(capsys, "extract", "videos", "--model", "motion", ends_with=3)
    assert (again["already_there"], again["done"]) == (24 + len(REDONE), 0)


def test_a_killed_extraction_goes_on(here, capsys):
    window = ("extract", "videos/18-19", "--video-root", "videos", "--model", "motion")
    done, _ = told(capsys, *window, "--window", "1", cache="killed")
    assert done["feature_sets"] == {"motion": "motion.dense-w1.b67ce042"}
    assert (done["done"] + done["already_there"], done["failed"]) == (24, {})


@pytest.mark.parametrize("head", HEADS)
def test_runs_say_what_they_said(head, here, expected, capsys):
    report, _ = told(capsys, "evaluate", f"fitted/{head}", "--test", "test=test.csv")
    assert means(report) == pytest.approx(means(expected[head]["evaluate"]), abs=1e-9)
    videos = ("test.csv", "--video-root", "videos")
    predicted, _ = told(capsys, "predict", f"fitted/{head}", *videos)
    assert probabilities(predicted) == [
        pytest.approx(each, abs=1e-6) for each in probabilities(expected[head]["predict"])
    ]


@pytest.mark.parametrize("head", ["prior", "ridge", "cumulative", "gbdt"])
def test_a_head_fitted_again_is_the_same(head, here, expected, capsys):
    files = ("--train", "train.csv", "--val", "val.csv", "--out", "again", "--pool", "mean")
    settings = ("--set", "rounds=4", "--set", "leaves=3") if head == "gbdt" else ()
    told(capsys, "fit-head", "--head", head, "--features", "motion:pooled", *files, *settings)
    predicted, _ = told(capsys, "predict", "again", "test.csv", "--video-root", "videos")
    # The solver of cumulative gave up on the second of the three skills then, and did not say so.
    settled = slice(None, None, 3) if head == "cumulative" else slice(None)
    assert probabilities(predicted)[settled] == [
        pytest.approx(each, abs=1e-6) for each in probabilities(expected[head]["predict"])[settled]
    ]


def test_an_import_is_continued(here, capsys):
    before = set(open_cache("cache").feature_sets)
    done, _ = told(capsys, "cache", "import", "slowfast.npz", "--spec", "slowfast.yaml")
    assert set(open_cache("cache").feature_sets) == before
    assert (done["imported"], done["already_there"]) == (0, 24)


def test_a_half_done_sweep_goes_on(here, capsys):
    flags = ["--features", "motion", "--pool", "mean", "--pool", "mean+std", "--head", "ridge"]
    flags += ["--head", "mlp", "--set", "mlp.hidden=2,3", "--set", "mlp.epochs=60"]
    flags += ["--train", "train.csv", "--val", "val.csv", "--out", "grid"]
    sweep, said = told(capsys, "sweep", *flags)
    # Heads have changed since, so the two records of before count as other results.
    assert (sweep["n_tried"], sweep["n_computed"]) == (6, 6)
    assert "Of 2 records, 2 with other code of basket were fitted" in said


def test_a_finished_search_is_read(here, capsys):
    flags = ["--features", "motion", "--head", "ridge", "--set", "ridge.penalties=1,10,100"]
    flags += ["--pool", "mean", "--search", "optuna", "--budget", "2"]
    flags += ["--train", "train.csv", "--val", "val.csv", "--out", "tpe"]
    sweep, _ = told(capsys, "sweep", *flags)
    assert (sweep["n_tried"], sweep["n_computed"]) == (2, 2)  # by the heads of now
