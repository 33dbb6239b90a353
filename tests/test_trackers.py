"""What trackers are told, with stand-ins in place of their packages; none may cost a run."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest
from small_league import SKILLS

import basket
from basket.cli import run as run_command
from basket.errors import UsageError


class StandInRun:
    """What ``mlflow.start_run`` and ``wandb.init`` and a ``SummaryWriter`` give: it is entered."""

    def __init__(self, told):
        self.told = told
        self.url = "https://tracker/here"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.told.append(("end",))

    def log(self, metrics):
        self.told.append(("metrics", metrics))

    def add_scalar(self, name, value, step):
        self.told.append(("scalar", name, value, step))

    def add_hparams(self, params, metrics, run_name):
        self.told.append(("hparams", params, metrics))


@pytest.fixture
def told(monkeypatch):
    """Stand-ins of all three packages; the value is what they were told, in order."""
    told = []
    mlflow = ModuleType("mlflow")
    mlflow.set_experiment = lambda name: told.append(("experiment", name))
    mlflow.start_run = lambda run_name: told.append(("start", run_name)) or StandInRun(told)
    mlflow.log_params = lambda params: told.append(("params", params))
    mlflow.log_metrics = lambda metrics: told.append(("metrics", metrics))
    mlflow.get_tracking_uri = lambda: "file:///mlruns"
    wandb = ModuleType("wandb")
    wandb.init = lambda project, name, config: (
        told.append(("start", name)) or told.append(("params", config)) or StandInRun(told)
    )
    tensorboard = ModuleType("torch.utils.tensorboard")
    tensorboard.SummaryWriter = lambda folder: told.append(("start", folder)) or StandInRun(told)
    for module in (mlflow, wandb, tensorboard):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return told


def of_kind(told, kind):
    return [each[1] for each in told if each[0] == kind]


@pytest.mark.parametrize("tracker", ["mlflow", "wandb"])
def test_a_run_is_told_with_its_settings_and_every_score(told, fitted, tracker):
    found = basket.track(fitted, tracker)
    assert (found.n_entries, found.problem) == (1, "")
    assert found.where
    assert of_kind(told, "start") == ["ridge"]
    (params,) = of_kind(told, "params")
    assert params["head"] == "ridge"
    assert params["pooling"] == "mean+std"
    assert params["features"].startswith("motion.dense.")
    (metrics,) = of_kind(told, "metrics")
    scores = fitted.metrics["val"]["head"]["accuracy"]
    assert metrics["val/accuracy/mean"] == scores["mean"]
    assert metrics["val/accuracy/Steals"] == scores["per_skill"]["Steals"]
    prior = fitted.metrics["val"]["prior"]["qwk"]["mean"]
    assert metrics.get("val/qwk/mean of the prior") == prior
    assert told[-1] == ("end",)


def test_tensorboard_gets_scalars_and_hyperparameters(told, fitted):
    found = basket.track(fitted, "tensorboard")
    assert found.where == "tensorboard --logdir tensorboard"
    assert of_kind(told, "start") == ["tensorboard/ridge"]
    scalars = {each[1]: each[2] for each in told if each[0] == "scalar"}
    assert scalars["val/mae/mean"] == fitted.metrics["val"]["head"]["mae"]["mean"]
    (hparams,) = [each for each in told if each[0] == "hparams"]
    assert hparams[1]["head"] == "ridge"
    assert "hparam/val/accuracy/mean" in hparams[2]


def test_a_report_is_told_by_run_and_test_set(told, fitted, league):
    report = basket.evaluate_run([fitted.path], tests={"test": league.test})
    basket.track(report, "mlflow")
    assert of_kind(told, "start") == ["ridge-evaluation"]
    (metrics,) = of_kind(told, "metrics")
    expected = report.primary_run.splits["test"].metrics["accuracy"]
    assert metrics["test/accuracy/mean"] == expected.mean
    for skill, value in zip(SKILLS, expected.per_skill, strict=True):
        assert metrics[f"test/accuracy/{skill}"] == value


def test_undefined_scores_are_left_out_and_odd_names_mended():
    from basket.trackers import _defined

    scores = {"val/a:b/mean": 1.0, "val/c/mean": None, "val/d/mean": float("nan")}
    assert _defined(scores) == {"val/a_b/mean": 1.0}


def test_long_settings_are_cut_for_every_tracker(told, fitted):
    fitted.config["params"]["long"] = "x" * 9000
    try:
        basket.track(fitted, "mlflow")
    finally:
        del fitted.config["params"]["long"]
    (params,) = of_kind(told, "params")
    assert len(params["long"]) == 250


def test_a_missing_package_is_told_in_a_sentence(monkeypatch, fitted):
    monkeypatch.setitem(sys.modules, "wandb", None)
    found = basket.track(fitted, "wandb")
    assert (found.n_entries, found.where) == (0, "")
    assert "pip install 'basket[wandb]'" in found.problem


def test_a_server_that_refuses_costs_nothing_but_a_sentence(told, monkeypatch, fitted):
    def refuse(_name):
        raise ConnectionError("no route to host\nat line 3")

    monkeypatch.setattr(sys.modules["mlflow"], "set_experiment", refuse)
    found = basket.track(fitted, "mlflow")
    assert "failed after 0 entries (ConnectionError: no route to host)" in found.problem


def test_what_cannot_be_tracked_and_unknown_trackers_are_mistakes(fitted):
    with pytest.raises(UsageError, match="did you mean 'mlflow'"):
        basket.track(fitted, "mlflo")
    with pytest.raises(UsageError, match="a SimpleNamespace cannot be tracked"):
        basket.track(SimpleNamespace(), "mlflow")


def test_commands_track_after_their_result(told, league, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = [f"--cache={league.cache}", f"--train={league.train}", f"--val={league.val}"]
    assert run_command(["fit-head", *data, "--out=r", "--track=mlflow", "--json"]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["run"] == "r"
    assert "Tracked: experiment basket" in said.err
    assert run_command(["evaluate", "r", f"--test=t={league.test}", "--track=wandb"]) == 0
    assert "Tracked: https://tracker/here" in capsys.readouterr().err
    sweep = ["sweep", *data, "--head=ridge", "--pool=mean", "--pool=max", "--out=s"]
    assert run_command([*sweep, "--track=mlflow", "-q"]) == 0
    assert of_kind(told, "start") == ["r", "r-evaluation", "s-001", "s-002"]


def test_a_command_whose_tracker_fails_succeeds_with_a_warning(
    league, tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.chdir(tmp_path)
    data = [f"--cache={league.cache}", f"--train={league.train}", f"--val={league.val}"]
    assert run_command(["fit-head", *data, "--out=r", "--track=mlflow", "-q"]) == 0
    assert "nothing was sent to mlflow" in " ".join(capsys.readouterr().err.split())
    assert (tmp_path / "r" / "run.json").exists()
