"""The sbatch script, run by bash as Slurm would, with its variables and a stub of scontrol."""

import os
import signal
import subprocess
import sys
import time

import pytest

from basket.cache import open_cache
from basket.cli import run
from basket.errors import UsageError
from basket.extract.slurm import ArrayJob, sbatch_script

from .conftest import assert_same

# Does as basket would: waits where the test says so, and ends as told by the signal or the test.
STUB = """\
import os, pathlib, signal, sys, time
here = pathlib.Path(os.environ["STUB"])
with (here / "calls").open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
if "--dry-run" in sys.argv:
    sys.exit(int(os.environ.get("STUB_FETCH", "0")))
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))
(here / "running").touch()
if "STUB_WAITS" in os.environ:
    time.sleep(200)
sys.exit(int(os.environ["STUB_EXIT"]))
"""


@pytest.fixture
def job(tmp_path):
    """Start the script for some arguments; what it called is in ``calls`` and ``requeued``."""
    (tmp_path / "stub.py").write_text(STUB)
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text('#!/bin/bash\necho "$@" >> "$STUB/requeued"\n')
    scontrol.chmod(0o755)

    def start(arguments=("v dir", "--model", "motion"), task=3, **more):
        script = tmp_path / f"{task}.sbatch"  # bash reads it as it goes: one for each
        stub = [sys.executable, str(tmp_path / "stub.py")]
        script.write_text(
            sbatch_script(arguments, ArrayJob(8), basket=stub, file="job.sbatch", version="0")
        )
        environment = {
            **os.environ,
            "PATH": f"{scontrol.parent}:{os.environ['PATH']}",
            "STUB": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "SLURM_ARRAY_JOB_ID": "41",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": "2",  # as for sbatch --array=3,7
            "SLURM_SUBMIT_DIR": str(tmp_path),
            **more,
        }
        return subprocess.Popen(["bash", str(script)], env=environment)

    return start


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.parametrize(("ends_with", "then"), [(0, 0), (3, 0), (1, 1), (4, 4)])
def test_a_task_does_its_shard_and_ends_as_basket_does(tmp_path, job, ends_with, then):
    assert job(STUB_EXIT=str(ends_with)).wait(60) == then
    fetch, extraction = lines(tmp_path / "calls")
    assert fetch == "extract v dir --model motion --workers 8 --dry-run --limit 1 --quiet"
    assert extraction == "extract v dir --model motion --workers 8 --shard 3/8"
    assert not lines(tmp_path / "requeued")


def test_weights_are_fetched_once_per_node(tmp_path, job):
    tasks = [job(task=task, STUB_EXIT="0") for task in range(3)]
    assert [task.wait(60) for task in tasks] == [0, 0, 0]
    calls = lines(tmp_path / "calls")
    assert sum("--dry-run" in call for call in calls) == 1
    assert sorted(call[-3:] for call in calls if "--shard" in call) == ["0/8", "1/8", "2/8"]


def test_weights_that_cannot_be_had_end_the_task(tmp_path, job):
    assert job(STUB_EXIT="0", STUB_FETCH="1").wait(60) == 1
    assert len(lines(tmp_path / "calls")) == 1


@pytest.mark.parametrize("warning", [signal.SIGUSR1, signal.SIGTERM])
def test_a_warned_task_is_queued_again(tmp_path, job, warning):
    task = job(STUB_EXIT="0", STUB_WAITS="1")
    until_s = time.monotonic() + 60
    while not (tmp_path / "running").exists():
        assert time.monotonic() < until_s
        time.sleep(0.02)
    task.send_signal(warning)
    assert task.wait(60) == 0
    assert lines(tmp_path / "requeued") == ["requeue 41_3"]


def test_the_command_writes_a_script_that_bash_can_read(tmp_path, monkeypatch, capsys, reels):
    folder, straight = reels
    monkeypatch.chdir(tmp_path)
    options = ["--model", "motion", "--window", "1.5", "--cache", str(tmp_path / "cache")]
    plain = ["--device", "cpu", "--precision", "fp32"]  # needs no torch
    assert run(["slurm", "--array", "2", "--gpus", "2", "--time", "1-00:00:00", *options]) == 0
    text = (tmp_path / "basket.sbatch").read_text()
    for directive in ("--array=0-1", "--signal=B:USR1@120", "--requeue", "--gres=gpu:2"):
        assert f"#SBATCH {directive}\n" in text
    assert "--device all" in text
    # The real thing.
    assert run(["slurm", "--array", "1", "--cpus", "1", *options, *plain, str(folder)]) == 0
    variables = {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_JOB_ID": "1", "TMPDIR": str(tmp_path)}
    environment = {**os.environ, **variables, "OMP_NUM_THREADS": "1"}
    subprocess.run(["bash", "basket.sbatch"], env=environment, check=True, timeout=240)
    assert_same(open_cache(tmp_path / "cache")["motion"], straight)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--modle", "motion"], "No such option: --modle"),
        (["--model", "motion", "--shard", "0/4"], "--shard is what the array sets"),
        (["--engine", "ray"], "exclude each other"),
        (["--time", "1h\n#SBATCH --x"], "--time is not as Slurm writes it"),
        (["--model", "nope"], "nope"),
        (["--model", "motion", "--segments", "0"], "segments"),
        (["--model", "motion", "--window", "-3"], "window"),
        (["--device", "banana"], "--device is"),
        (["--streams", "xclip=prompts"], "'xclip', which is not among the models"),
    ],
)
def test_what_the_array_could_not_run_is_refused_now(
    tmp_path, monkeypatch, capsys, arguments, said
):
    monkeypatch.chdir(tmp_path)
    assert run(["slurm", "--array", "4", *arguments]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "basket.sbatch").exists()


def test_what_the_tasks_will_not_find_is_told_now(tmp_path, monkeypatch, capsys):
    """A warning, no error: the tasks may run where it is."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.csv").touch()
    labels = ["--labels", "here.csv", "gone.csv", "--video-root", "reels"]
    assert run(["slurm", "--array", "4", "--quiet", *labels]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "Not there now: gone.csv, reels." in said
    assert (tmp_path / "basket.sbatch").exists()


def test_an_array_job_is_checked():
    with pytest.raises(UsageError, match="--memory"):
        ArrayJob(4, memory="lots")
