"""Sweeps that several processes and nodes work on."""

import json
import os
from dataclasses import replace

import pytest

from basket.cli import run
from basket.errors import UsageError
from basket.sweep import HeadSpace, Search, Setting, Space
from basket.sweep.data import SweepData
from basket.sweep.workers import take_part
from basket.workflows import run_sweep

from ..sweep.conftest import court  # noqa: F401 - the fixture

SPACE = Space(
    features=(("good",), ("noise",)),
    pools=("mean",),
    heads=(HeadSpace("ridge", {"penalties": (1.0, 100.0)}), HeadSpace("prior")),
)


def records_in(folder):
    return {path.stem: json.loads(path.read_text()) for path in (folder / "records").glob("*.json")}


def test_a_worker_fits_and_leaves_the_choosing_to_the_sweep(tmp_path, court):  # noqa: F811
    out = tmp_path / "sweep"
    helped = run_sweep(SPACE, **court.files, out=out, worker=True)
    assert (helped.n_computed, helped.run, helped.report) == (6, None, None)
    assert not (out / "chosen").exists()
    assert not (out / "tested.json").exists()
    found = run_sweep(SPACE, **court.files, out=out)
    assert found.n_computed == 0
    assert found.run is not None
    assert found.n_test_looks == 1


def test_a_worker_does_only_what_the_sweep_does(tmp_path, court):  # noqa: F811
    out = tmp_path / "sweep"
    run_sweep(SPACE, **court.files, out=out, worker=True)
    other = replace(SPACE, pools=("std",))
    with pytest.raises(UsageError, match="another one"):
        run_sweep(other, **court.files, out=out, worker=True)
    led = replace(SPACE, search=Search("optuna", budget=2))
    with pytest.raises(UsageError, match="Optuna proposes"):
        run_sweep(led, **court.files, out=tmp_path / "led", worker=True)


def test_worker_on_the_command_line(tmp_path, court, capsys):  # noqa: F811
    files = [f"--{name}={path}" for name, path in court.files.items() if name != "test"]
    out = str(tmp_path / "sweep")
    what = ["--features", "good", "--head", "prior", "--out", out, "--json"]
    assert run(["sweep", "--worker", *what, *files]) == 0
    assert json.loads(capsys.readouterr().out)["run"] is None


def test_a_helper_of_another_version_says_so_and_leaves_no_record(tmp_path):
    # It must not come so far as to open the data.
    data = SweepData(tmp_path / "cache", tmp_path / "train.csv")
    with pytest.raises(UsageError, match=r"another version of basket .* than the sweep \(0\.0\+x"):
        take_part([Setting((), "mean", "all", "prior")], data, tmp_path, {}, "0.0+x")
    assert not (tmp_path / "records").exists()


def test_helpers_on_ray_leave_the_same_records(tmp_path, court, ray_cluster):  # noqa: F811
    alone = run_sweep(SPACE, **court.files, out=tmp_path / "alone")
    spread = run_sweep(
        SPACE, **court.files, out=tmp_path / "spread", engine="ray", ray_address=ray_cluster
    )
    assert spread.n_computed == alone.n_computed == 6
    ours, theirs = records_in(tmp_path / "spread"), records_in(tmp_path / "alone")
    assert ours.keys() == theirs.keys()
    for key, record in ours.items():
        assert record["scores"] == theirs[key]["scores"]
        assert not record["machine"].endswith(f" {os.getpid()}")
