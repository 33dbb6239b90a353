"""Decode processes: whatever a file does to its decoder, the run ends and the others are right."""

import errno
import json
import os
import platform
import subprocess
import sys
import threading
import time
from multiprocessing.connection import Listener
from pathlib import Path

import numpy as np
import pytest

from basket.cache import open_cache
from basket.errors import BasketError, CacheError, MissingDependencyError, UsageError
from basket.extract.attempts import Attempts
from basket.extract.backbones import load_backbone
from basket.extract.decoding import Source
from basket.extract.pipeline import extract
from basket.extract.segments import SegmentPlan
from basket.extract.workers import WorkerLimits

PLAN = SegmentPlan(window_s=1.5)
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def odd_decoders_can_be_imported(monkeypatch):
    monkeypatch.syspath_prepend(str(HERE))


@pytest.fixture(scope="module")
def motion():
    return load_backbone("motion")


@pytest.fixture(scope="module")
def good(tmp_path_factory, make_video):
    """Four good reels, and their features in a cache."""
    folder = tmp_path_factory.mktemp("good")
    for index in range(4):
        make_video(folder / f"{index}.mp4", frames=24 + 9 * index)
    cache = open_cache(folder / "cache", create=True)
    sources = [Source(f"{index}.mp4", folder / f"{index}.mp4") for index in range(4)]
    extract(sources, backbones=[load_backbone("motion")], plan=PLAN, cache=cache)
    return folder, cache["motion"]


def add_file(folder: Path, name: str) -> Path:
    """A decodable file under a telling name."""
    path = folder / name
    path.write_bytes((folder / "0.mp4").read_bytes())
    return path


def run_odd(tmp_path, good, motion, *names, limits=None):
    folder, _ = good
    sources = [Source(f"{index}.mp4", folder / f"{index}.mp4") for index in range(4)]
    sources[2:2] = [Source(name, add_file(folder, name)) for name in names]
    cache = open_cache(tmp_path / "cache", create=True)
    summary = extract(
        sources,
        backbones=[motion],
        plan=PLAN,
        cache=cache,
        decoder="odd_decoders:open_odd",
        workers=2,
        limits=limits or WorkerLimits(),
    )
    return summary, cache["motion"]


def assert_good_ones_are_right(good, features):
    _, straight = good
    for index in range(4):
        ours, theirs = (
            each.read(f"{index}.mp4").features["pooled"] for each in (features, straight)
        )
        assert np.array_equal(ours, theirs)


def test_a_segfault_costs_one_video_and_is_told_as_such(tmp_path, good, motion):
    summary, features = run_odd(tmp_path, good, motion, "segfault.mp4")
    assert set(summary.failed) == {"segfault.mp4"}
    assert "killed its decoder 2 times when tried alone" in summary.failed["segfault.mp4"]
    assert features.failed == summary.failed
    assert_good_ones_are_right(good, features)
    assert not list((features.path / "attempts").glob("*"))


def test_a_death_is_told_even_where_pebble_gave_up_its_workers(tmp_path, good, motion, monkeypatch):
    # A worker that dies before its note "I took this task" was read: no task seems to run.
    monkeypatch.setattr("pebble.pool.process.TaskManager.task_start", lambda *_: None)
    summary, features = run_odd(tmp_path, good, motion, "segfault.mp4")
    assert set(summary.failed) == {"segfault.mp4"}
    assert "killed its decoder 2 times when tried alone" in summary.failed["segfault.mp4"]
    assert_good_ones_are_right(good, features)


def test_a_death_is_told_even_where_pebble_forgot_the_task(tmp_path, good, motion, monkeypatch):
    def not_found(manager, worker_id):
        raise LookupError

    monkeypatch.setattr("pebble.pool.process.PoolManager.find_expired_task", not_found)
    monkeypatch.setattr("basket.extract.workers._LAST_WORDS_S", 0.2)
    summary, features = run_odd(tmp_path, good, motion, "segfault.mp4")
    assert "killed its decoder 2 times when tried alone" in summary.failed["segfault.mp4"]
    assert_good_ones_are_right(good, features)


def test_a_process_that_dies_while_it_introduces_itself_silences_no_other(
    tmp_path, good, motion, monkeypatch
):
    accept, calls = Listener.accept, []

    def accept_but_the_first(listener):
        calls.append(listener)
        if len(calls) == 1:
            raise EOFError
        return accept(listener)

    monkeypatch.setattr(Listener, "accept", accept_but_the_first)
    summary, _features = run_odd(tmp_path, good, motion)
    assert len(calls) > 1
    assert (summary.done, summary.failed) == (4, {})


def test_nobody_waits_for_calls_once_a_run_has_ended(tmp_path, good, motion):
    # A Ray actor extracts thousands of lots in one process.
    run_odd(tmp_path, good, motion)
    assert "accept-workers" not in {thread.name for thread in threading.enumerate()}


def test_a_note_that_cannot_be_removed_ends_the_run_instead_of_losing_the_video(
    tmp_path, good, motion, monkeypatch
):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Attempts, "end", refuse)
    with pytest.raises(PermissionError):
        run_odd(tmp_path, good, motion)


def test_a_worker_killed_before_it_looked_at_a_video_does_not_end_the_run(
    tmp_path, good, motion, monkeypatch
):
    import odd_decoders

    monkeypatch.setattr(
        "basket.extract.workers.decode_in_worker", odd_decoders.killed_before_it_begins
    )
    summary, features = run_odd(tmp_path, good, motion, "mute-once.mp4")
    assert (summary.done, summary.failed) == (5, {})
    assert_good_ones_are_right(good, features)


def test_workers_that_are_killed_time_and_again_end_the_run(tmp_path, good, motion, monkeypatch):
    import odd_decoders

    monkeypatch.setattr(
        "basket.extract.workers.decode_in_worker", odd_decoders.killed_before_it_begins
    )
    with pytest.raises(BasketError, match="ended before it began"):
        run_odd(tmp_path, good, motion, "mute.mp4")


def test_too_few_open_files_are_one_sentence(tmp_path, good):
    folder, _ = good
    command = f"ulimit -n 26 && exec {sys.executable} -m basket extract {folder} --model motion"
    done = subprocess.run(
        ["sh", "-c", f"{command} --workers 4"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Decode processes cannot be started" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_for_temporary_files_may_lie_deep(tmp_path, good, motion):
    folder, _ = good
    deep = tmp_path / ("x" * 60) / ("y" * 60)
    deep.mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-m", "basket", "extract", folder, "--model", "motion", "--window", "1.5"],
        env={**os.environ, "TMPDIR": str(deep)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_processes_that_end_before_they_begin_are_one_sentence(tmp_path, good, motion, monkeypatch):
    (tmp_path / "stillborn.py").write_text(
        "import multiprocessing, os\n"
        "if multiprocessing.parent_process():\n"
        "    os._exit(7)\n"
        "from odd_decoders import open_odd\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    folder, _ = good
    cache = open_cache(tmp_path / "cache", create=True)
    with pytest.raises(BasketError, match=r"ended before it began.*basket doctor"):
        extract(
            [Source("0.mp4", folder / "0.mp4")],
            backbones=[motion],
            plan=PLAN,
            cache=cache,
            decoder="stillborn:open_odd",
        )


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="process groups are POSIX's")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGUSR1"])
def test_a_signal_to_all_processes_while_they_start_is_an_interruption(
    tmp_path, good, monkeypatch, name
):
    # What a scheduler does when time is over, at the worst instant: workers are being started.
    (tmp_path / "signalled.py").write_text(
        "import multiprocessing, os, signal, time\n"
        "if multiprocessing.parent_process():\n"
        f"    signal.signal(signal.{name}, signal.SIG_DFL)\n"
        f"    os.killpg(0, signal.{name})\n"
        "    time.sleep(60)\n"
        "from odd_decoders import open_odd\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    folder, _ = good
    command = [sys.executable, "-m", "basket", "extract", str(folder / "0.mp4"), "--model"]
    command += ["motion", "--cache", str(tmp_path / "cache"), "--decoder", "signalled:open_odd"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, start_new_session=True
    )
    assert done.returncode == 75, done.stderr
    assert "Stopped by a signal. 0 of 1 videos" in done.stderr
    assert not list((tmp_path / "cache").glob("*/attempts/*"))


def test_a_decoder_that_is_not_installed_ends_the_run_and_fails_no_video(tmp_path, good, motion):
    folder, _ = good
    cache = open_cache(tmp_path / "cache", create=True)
    what = {"backbones": [motion], "plan": PLAN, "cache": cache}
    video = [Source("0.mp4", folder / "0.mp4")]
    with pytest.raises(MissingDependencyError, match="needs a package"):
        extract(video, decoder="odd_decoders:open_not_installed", **what)
    assert cache["motion"].failed == {}
    with pytest.raises(UsageError, match="no_such_module:open_it cannot be imported"):
        extract(video, decoder="no_such_module:open_it", **what)


def test_a_decoder_that_hangs_is_ended(tmp_path, good, motion):
    limits = WorkerLimits(timeout_s=15.0)
    summary, features = run_odd(tmp_path, good, motion, "hang.mp4", limits=limits)
    assert set(summary.failed) == {"hang.mp4"}, summary.failed
    assert "more than 15 s (--timeout)" in summary.failed["hang.mp4"]
    assert_good_ones_are_right(good, features)


@pytest.mark.skipif(sys.platform != "linux", reason="memory limits are Linux's")
def test_memory_is_limited(tmp_path, good, motion):
    summary, features = run_odd(tmp_path, good, motion, "greedy.mp4")
    assert summary.failed == {"greedy.mp4": "decoding it needs more memory than a worker may use"}
    assert_good_ones_are_right(good, features)


def test_a_bug_of_a_decoder_becomes_a_reason(tmp_path, good, motion):
    summary, features = run_odd(tmp_path, good, motion, "bug.mp4")
    assert "RuntimeError('a bug in the decoder')" in summary.failed["bug.mp4"]
    assert_good_ones_are_right(good, features)


def test_a_worker_that_somebody_terminates_is_not_the_videos_fault(tmp_path, good, motion):
    summary, features = run_odd(tmp_path, good, motion, "terminated.mp4")
    assert summary.failed == {}
    assert "terminated.mp4" in features.video_ids


def test_a_slow_network_is_no_reason_to_give_up_on_a_video(tmp_path, good, motion):
    class Slow:
        spec = motion.spec

        def embed(self, clips):
            time.sleep(0.8)
            return motion.embed(clips)

    folder, _ = good
    cache = open_cache(tmp_path / "cache", create=True)
    sources = [Source(f"{index}.mp4", folder / f"{index}.mp4") for index in range(4)]
    summary = extract(
        sources,
        backbones=[Slow()],
        plan=SegmentPlan(window_s=0.25),
        cache=cache,
        batch_size=4,
        limits=WorkerLimits(timeout_s=10.0),
    )
    assert summary.elapsed_s > 10.0
    assert summary.failed == {}


def test_two_unexplained_attempts_make_a_suspect_and_an_end_clears_it(tmp_path):
    for _ in range(2):
        code = (
            "import sys; from pathlib import Path; from basket.extract.attempts import Attempts\n"
            "Attempts(Path(sys.argv[1])).begin('a.mp4')"
        )
        subprocess.run([sys.executable, "-c", code, str(tmp_path / "attempts")], check=True)
    attempts = Attempts(tmp_path / "attempts")
    assert attempts.is_suspect("a.mp4")
    assert not attempts.is_suspect("b.mp4")
    attempts.end("a.mp4")
    assert not Attempts(tmp_path / "attempts").is_suspect("a.mp4")


def test_a_disk_too_full_for_a_note_is_one_sentence_and_counts_against_no_video(
    tmp_path, monkeypatch
):
    def full(path, *_args, **_kwargs):
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CacheError, match=r"no space left in .*attempts: \d+ bytes are needed"):
        Attempts(tmp_path / "attempts").begin("a.mp4")
    assert not list((tmp_path / "attempts").iterdir())


def test_the_attempts_of_live_processes_are_not_held_against_a_video(tmp_path):
    for _ in range(3):
        Attempts(tmp_path).begin("a.mp4")
    notes = list(tmp_path.glob("*.json"))
    assert len(notes) == 3
    for note in notes:
        content = json.loads(note.read_text())
        note.write_text(json.dumps({**content, "pid": os.getppid()}))
    assert not Attempts(tmp_path).is_suspect("a.mp4")


def test_a_suspect_that_decodes_well_alone_is_cleared(tmp_path, good, motion):
    folder, straight = good
    cache = open_cache(tmp_path / "cache", create=True)
    attempts = cache.feature_set(straight.spec).path / "attempts"
    for _ in range(2):
        Attempts(attempts).begin("1.mp4")
    for note in attempts.glob("*.json"):
        content = json.loads(note.read_text())
        note.write_text(json.dumps({**content, "pid": 2**22 + 1}))
    sources = [Source(f"{index}.mp4", folder / f"{index}.mp4") for index in range(4)]
    summary = extract(sources, backbones=[motion], plan=PLAN, cache=cache)
    assert summary.failed == {}
    assert_good_ones_are_right(good, cache["motion"])
    assert not list(attempts.glob("*.json"))


def test_a_script_without_a_main_guard_is_told_what_to_do(tmp_path, good):
    folder, _ = good
    script = tmp_path / "script.py"
    script.write_text(
        "import basket\n"
        f"basket.extract_features([{str(folder / '0.mp4')!r}], models=['motion'],"
        f" cache={str(tmp_path / 'cache')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode != 0
    assert "if __name__ == '__main__':" in done.stderr


def test_hundreds_of_short_videos_do_not_choke_the_connection(tmp_path, good, motion):
    folder, _ = good
    sources = [Source(f"{number}.mp4", folder / "0.mp4") for number in range(150)]
    cache = open_cache(tmp_path / "cache", create=True)
    # Three batches a video, and none that has to wait for a slot: every slot comes back unasked.
    plan = SegmentPlan(window_s=1.5, scales=(1, 2, 3))
    summary = extract(sources, backbones=[motion], plan=plan, cache=cache, workers=1)
    assert summary.failed == {}
    assert summary.done == 150


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries cannot")
def test_what_a_video_left_free_between_blocks_goes_back_to_the_system():
    code = """if True:
        import re
        from basket.extract.decode_worker import give_freed_memory_back
        def resident_mb():
            return int(re.search(r"RssAnon:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
        blocks = [b"x" * 100_000 for _ in range(1000)]
        del blocks[-1:], blocks[1::2], blocks[2::2], blocks[4::2]
        before = resident_mb()
        give_freed_memory_back()
        print(before - resident_mb())
    """
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert float(found) > 40
