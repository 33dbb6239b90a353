"""``basket fit-head`` and ``basket combine`` on a cache: what a head takes, runs made of runs."""

import json
import warnings

import numpy as np
import pytest

import basket
from basket.__main__ import main
from basket.cache import FeatureSetSpec, VideoFeatures, VideoRow, open_cache
from basket.cli import run

SKILLS = ("Steals", "Fouls", "Impact")


@pytest.fixture(scope="module")
def court(tmp_path_factory):
    """Features of 90 reels in a real cache, labels for training and validation."""
    root = tmp_path_factory.mktemp("court")
    random = np.random.default_rng(0)
    levels = random.integers(0, 5, size=(90, 3))
    ids = [f"18-19/NBA/{player}_18_19.mp4" for player in range(90)]
    spec = FeatureSetSpec("motion", "motion", {}, {"name": "dense"}, {"pooled": 6})
    cache = open_cache(root / "cache", create=True)
    with cache.feature_set(spec).writer() as writer:
        for video, level in zip(ids, levels, strict=True):
            segments = random.normal(size=(4, 6))
            segments[:, :3] += level
            starts = np.arange(4) * 2.0
            frames = np.full(4, 16, dtype=np.int32)
            row = VideoRow(
                video, source_bytes=1, source_mtime_ns=1, duration_s=8.0, fps=30.0,
                width_px=64, height_px=64, provenance={},
            )  # fmt: skip
            values = {"pooled": segments.astype(np.float16)}
            writer.add(row, VideoFeatures(values, starts, starts + 2.0, frames))
    for name, rows in {"train": slice(0, 60), "val": slice(60, 90)}.items():
        lines = [",".join(["path", *SKILLS])]
        lines += [
            ",".join([video, *map(str, level)])
            for video, level in zip(ids[rows], levels[rows].tolist(), strict=True)
        ]
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture
def command(court, capsys):
    """Run a command; its exit code, JSON document (if any) and what it said."""

    def call(name, *arguments):
        data = ("--cache", court / "cache", "--train", court / "train.csv") * (name == "fit-head")
        code = run([name, *map(str, (*data, *arguments)), "--json"])
        said = capsys.readouterr()
        return code, json.loads(said.out) if said.out else None, said.err

    return call


def fit(court, **settings):
    files = {name: court / f"{name}.csv" for name in ("train", "val")}
    return basket.fit_head(cache=court / "cache", **files, **settings)


def test_attention_takes_segments_without_being_told(command, tmp_path):
    code, document, _ = command(
        "fit-head", "--head", "attention", "--out", tmp_path / "run",
        "--set", "queries=group", "--set", "epochs=1",
    )  # fmt: skip
    assert code == 0
    assert document["pooling"] == "segments"
    # Steals and Fouls are defence, Impact is overall.
    assert document["params"]["queries"] == [2, 2, 4]
    assert basket.load_run(tmp_path / "run").head.query_.shape == (6, 2)
    code, document, _ = command("fit-head", "--out", tmp_path / "ridge")
    assert (code, document["pooling"]) == (0, "mean+std")


@pytest.mark.parametrize(
    ("head", "pool", "sentence"),
    [
        ("attention", "mean", "pools the segments itself"),
        ("attention", "mean,max/every:2", "pools the segments itself"),
        ("ridge", "segments/first:3", "takes one row per video"),
    ],
)
def test_a_pooling_that_the_head_cannot_take_is_one_sentence(
    command, tmp_path, head, pool, sentence
):
    out = tmp_path / "run"
    code, document, said = command("fit-head", "--head", head, "--pool", pool, "--out", out)
    assert (code, document) == (2, None)
    assert sentence in " ".join(said.split())
    assert not out.exists()


def test_settings_are_read_as_people_write_them(command, tmp_path):
    settings = ("--set", "tolerance=1e-3", "--set", "penalties=[1, 1e2]")
    _, document, _ = command("fit-head", "--head", "cumulative", *settings, "--out", tmp_path / "r")
    assert document["params"]["tolerance"] == 1e-3
    assert document["params"]["penalties"] == [1, 100.0]


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ("penalties=1,10", "penalties must be a number or a list of numbers such as [1, 10]"),
        ("folds=1", "needs at least 2 folds, got folds=1"),
        ("seed=4", "give --seed 4 instead"),
    ],
)
def test_a_setting_that_cannot_be_is_one_sentence(command, tmp_path, setting, sentence):
    out = tmp_path / "run"
    code, document, said = command("fit-head", "--set", setting, "--seed", 5, "--out", out)
    assert (code, document) == (2, None)
    assert sentence in " ".join(said.split())
    assert not out.exists()


@pytest.mark.parametrize(
    ("head", "settings", "sentence"),
    [
        ("gbdt", {"rounds": -1}, "rounds must be at least 1, got -1"),
        ("gbdt", {"objective": "frank-hall", "class_weight": "balanced"}, "class_weight is for"),
        ("mlp", {"dropout": 1.0}, "dropout must be at least 0 and below 1"),
        ("attention", {"pool": "max"}, "attention knows pool="),
        ("ridge", {"penalties": [0.0]}, "penalties must be positive"),
        ("ridge", {"class_weight": [0, 0, 0, 0, 0]}, "one of them above 0"),
        ("cumulative", {"powers": [0.5]}, "powers must be numbers >= 1"),
        ("prompts", {"strength": 0}, "strength must be above 0"),
        ("ridge", {"n_levels": 3}, "n_levels is 5 by the labels"),
    ],
)
def test_settings_are_refused_before_anything_is_read(tmp_path, head, settings, sentence):
    nowhere = {"cache": tmp_path / "no-cache", "train": tmp_path / "no.csv"}
    with pytest.raises(basket.errors.UsageError, match=sentence):
        basket.fit_head(head=head, params=settings, **nowhere)
    with pytest.raises(basket.errors.UsageError, match="set aside must be at least 0 and below 1"):
        basket.fit_head(set_aside=1.5, **nowhere)


def test_temperatures_are_asked_for_with_a_flag(command, court, tmp_path):
    files = ("--val", court / "val.csv")
    assert command("fit-head", *files, "--out", tmp_path / "plain")[0] == 0
    assert command("fit-head", *files, "--calibrate", "--out", tmp_path / "scaled")[0] == 0
    assert basket.load_run(tmp_path / "plain").decision.temperatures == ()
    temperatures = basket.load_run(tmp_path / "scaled").decision.temperatures
    assert len(temperatures) == 3
    assert any(each != 1.0 for each in temperatures)


def test_runs_are_combined_evaluated_and_read_back(command, court, tmp_path):
    ridge = fit(court, head="ridge", out=tmp_path / "ridge")
    mlp = fit(court, head="mlp", pool="max", params={"epochs": 3}, out=tmp_path / "mlp")
    out = tmp_path / "both"
    code, document, _ = command("combine", ridge.path, mlp.path, "--out", out, "--calibrate")
    assert code == 0
    assert document["head"] == "combined"
    assert document["params"]["members"] == ["ridge", "mlp"]
    assert sum(document["params"]["weights"]) == pytest.approx(1.0, abs=1e-5)
    assert set(document["metrics"]) == {"val"}
    assert set(document["seconds"]) == {"combine"}
    assert len(basket.load_run(out).decision.temperatures) == 3
    # Evaluated on the players it was weighted on, it says what it said of them.
    test = f"val={court / 'val.csv'}"
    code, report, _ = command("evaluate", out, ridge.path, "--test", test)
    assert code == 0
    assert [each["description"]["name"] for each in report["runs"]] == ["both", "ridge"]
    said = document["metrics"]["val"]["head"]["qwk"]["mean"]
    assert said == pytest.approx(report["runs"][0]["splits"]["val"]["metrics"]["qwk"]["mean"])
    same = basket.combine_runs([ridge.path, mlp], calibrate=True, out=tmp_path / "again")
    for name in ("head.json", "decision.json", "predictions.parquet"):
        assert (same.path / name).read_bytes() == (out / name).read_bytes()


def test_combining_out_of_fold_predictions_says_so(command, court, tmp_path):
    train = {"cache": court / "cache", "train": court / "train.csv"}
    runs = [
        basket.fit_head(**train, pool=pool, out=tmp_path / pool).path for pool in ("mean", "max")
    ]
    _, document, _ = command("combine", *runs, "--out", tmp_path / "both")
    assert set(document["metrics"]) == {"out_of_fold"}


def test_one_run_alone_is_no_combination(command, court, tmp_path):
    ridge = fit(court, head="ridge", out=tmp_path / "ridge")
    code, document, said = command("combine", ridge.path, "--out", tmp_path / "both")
    assert (code, document) == (2, None)
    assert "at least two runs" in said


def test_a_warning_is_a_sentence_without_a_place_in_our_code(monkeypatch):
    monkeypatch.setattr("warnings.formatwarning", warnings.formatwarning)
    monkeypatch.setattr("sys.argv", ["basket", "--version"])
    with pytest.raises(SystemExit):
        main()
    said = warnings.formatwarning("it stopped before the optimum", UserWarning, "linear.py", 7)
    assert said == "UserWarning: it stopped before the optimum\n"
