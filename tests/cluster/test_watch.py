"""What writers say of themselves in the shared folder, and who is missed."""

import json
import os
import platform
import subprocess
import sys
import time

import pytest

from basket import workflows
from basket.cache import open_cache
from basket.cache.progress import Work, progress_of, telling_progress
from basket.cli import run
from basket.extract.pipeline import extract
from basket.extract.recipe import BackboneRecipe

from .conftest import PLAN

#: Ahead of the clock: however slow the machine, this was not long ago.
TOLD_S = time.time() + 7200


@pytest.fixture
def features(reels):
    """A feature set of its own, looked at freshly, with no notes of earlier tests."""
    _, straight = reels
    yield open_cache(straight.path.parent)["motion"]
    for note in (straight.path / "progress").glob("*.json"):
        note.unlink()


def leave_note(features, name="other", **more):
    """A writer on another machine, last heard of at ``TOLD_S``."""
    about = {"host": "elsewhere", "pid": 7, "state": "running", "start_s": TOLD_S - 100}
    about |= {"told_s": TOLD_S, "total": 300, "done": 50, "failed": 2, **more}
    folder = features.path / "progress"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(about))


def test_an_extraction_can_be_watched_from_its_folder(tmp_path, sources):
    seen = []
    cache = open_cache(tmp_path / "cache", create=True)

    def look(_):
        seen.append(progress_of(open_cache(tmp_path / "cache")["motion"]))

    backbones = BackboneRecipe(("motion",)).load()
    extract(sources[:3], backbones=backbones, plan=PLAN, cache=cache, workers=1, on_progress=look)
    (writer,) = seen[0].writers
    assert writer.state == "running"
    assert writer.total == 3
    assert str(os.getpid()) in writer.writer
    after = progress_of(cache["motion"])
    assert (after.done, after.writers) == (3, ())


def test_the_folder_alone_tells_rates_and_the_time_left(features):
    leave_note(features)
    leave_note(features, "slower", pid=8, done=10)
    found = progress_of(features, wanted=["0.mp4", "1.mp4", "not-there.mp4"])
    assert found.missing == 1
    assert found.videos_per_s == pytest.approx(0.6)
    assert found.left_s == pytest.approx(2900)  # the slower one has 290 left at 0.1 a second
    assert [writer.state for writer in found.writers] == ["running", "running"]
    leave_note(features, "new", pid=9, done=0)
    assert progress_of(features).left_s is None


def test_a_silent_writer_is_told_from_one_at_work(features):
    leave_note(features)
    assert progress_of(features, now_s=TOLD_S + 30).writers[0].state == "running"
    late = progress_of(features, now_s=TOLD_S + 600)
    assert late.writers[0].state == "silent"
    assert late.left_s is None
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    leave_note(features, host=platform.node(), pid=gone.pid)
    assert progress_of(features).writers[0].state == "silent"


def test_a_writer_that_is_stopped_says_so_and_the_next_one_tidies_up(features):
    script = (
        "import sys; from pathlib import Path\n"
        "from basket.cache.progress import Work, telling_progress\n"
        f"with telling_progress([Path({str(features.path)!r})], lambda: Work(9, 4, 1)):\n"
        "    sys.exit('stopped')\n"
    )
    subprocess.run([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    (left,) = progress_of(features).writers
    assert (left.state, left.total, left.done, left.failed) == ("stopped", 9, 4, 1)
    with telling_progress([features.path], lambda: Work(5, 0, 0)):
        (now,) = progress_of(features).writers
        assert (now.state, now.total) == ("running", 5)


def test_a_note_that_is_none_is_passed_over(features):
    leave_note(features, total="many")
    (features.path / "progress" / "torn.json").write_text('{"host": "els')
    assert progress_of(features).writers == ()


def test_watching_ends_when_nobody_is_at_work(features):
    leave_note(features)
    slept = []

    def sleep(seconds):
        slept.append(seconds)
        (features.path / "progress" / "other.json").unlink()

    looks = list(workflows.watch_cache(features.path.parent, every_s=2.5, sleep=sleep))
    assert [len(look[0].running) for look in looks] == [1, 0]
    assert slept == [2.5]


def test_watching_on_the_command_line(features, capsys):
    leave_note(features, done=60, told_s=time.time() - 3600)
    cache = str(features.path.parent)
    assert run(["cache", "status", "--watch", "--json", "--cache", cache]) == 0
    (found,) = json.loads(capsys.readouterr().out)["feature_sets"]
    assert (found["done"], found["writers"][0]["state"]) == (12, "silent")
    assert run(["cache", "status", "--watch", "--cache", cache]) == 0
    assert "12 done, 0 failed; 1 stopped or silent" in capsys.readouterr().out
    assert run(["cache", "status", "--watch", "--every", "0", "--cache", cache]) == 2
