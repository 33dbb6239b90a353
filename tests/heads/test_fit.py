"""fit_run leaves a folder that says how it came about and how good it is."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from basket import metrics
from basket.errors import RunError, UsageError
from basket.heads import make_head
from basket.heads.decision import DecisionRules
from basket.heads.fit import fit_run
from basket.sweep.fitting import fit_settings
from basket.sweep.setting import Setting


def part(matrix, rows):
    rows = np.arange(len(matrix))[rows]
    return replace(
        matrix,
        X=matrix.X[rows],
        Y=matrix.Y[rows],
        groups=matrix.groups[rows],
        ids=tuple(matrix.ids[row] for row in rows),
        left_out={"lost.mp4": "it is empty"},
    )


@pytest.fixture
def fit(league, tmp_path):
    def call(train=slice(0, 100), val=slice(100, 160), **changes):
        settings = {
            "head": "ridge",
            "params": {},
            "seed": 5,
            "pooling": "mean+std",
            "feature_sets": [
                {"name": "motion", "stream": "pooled", "spec": league.source.spec},
            ],
            "out": tmp_path / "run",
            "labels": {"train": {"sha256": "ab"}, "simulated": True},
            **changes,
        }
        matrix = league.matrix
        return fit_run(part(matrix, train), None if val is None else part(matrix, val), **settings)

    return call


def test_the_folder_says_everything(fit, league):
    stages = []
    run = fit(on_stage=stages.append)
    config = json.loads((run.path / "run.json").read_text())
    assert stages == ["fit", "decide", "score", "write"]
    assert config["format"] == "basket-run"
    assert config["version"] == 1
    assert (config["head"], config["seed"], config["pooling"]) == ("ridge", 5, "mean+std")
    assert config["params"]["folds"] == 5
    assert config["labels"]["train"]["sha256"] == "ab"
    assert config["simulated"] is True
    assert config["random_weights"] is False
    assert config["feature_sets"][0]["digest"] == league.source.spec.digest
    assert config["feature_sets"][0]["spec"]["family"] == "motion"
    assert config["train"]["n_videos"] == 100
    assert config["train"]["n_players"] == 50
    assert config["train"]["left_out"] == {"lost.mp4": "it is empty"}
    assert (
        config["train"]["level_counts"]
        == part(league.matrix, slice(0, 100)).level_counts().tolist()
    )
    assert config["val"]["n_players"] == 30
    assert {"read", "pool", "fit", "decide", "score"} <= set(config["seconds"])
    assert config["versions"]["numpy"] == np.__version__
    assert run.train_players == tuple(sorted(set(league.matrix.groups[:100].tolist())))


def test_metrics_and_predictions_are_those_of_the_stored_run(fit, league):
    run, val = fit(), part(league.matrix, slice(100, 160))
    scores = json.loads((run.path / "metrics.json").read_text())["val"]
    for metric, score in metrics.CONFUSION_METRICS.items():
        confusion = metrics.confusion_matrices(val.Y, run.predict(val.X, metric), 5)
        ours = scores["head"][metric]
        assert ours["mean"] == pytest.approx(metrics.mean_over_skills(score(confusion)))
        assert list(ours["per_skill"]) == list(run.skills)
    assert scores["head"]["accuracy"]["mean"] > scores["prior"]["accuracy"]["mean"] + 0.2
    assert scores["prior"]["qwk"]["mean"] == 0
    table = pq.read_table(run.path / "predictions.parquet")
    assert table.num_rows == 60 * 3
    assert table.column_names[:5] == ["video_id", "player", "skill", "label", "predicted"]
    row = table.slice(4, 1).to_pylist()[0]
    assert (row["video_id"], row["skill"]) == (val.ids[1], run.skills[1])
    assert row["label"] == val.Y[1, 1]
    proba = run.predict_proba(val.X)[1, 1]
    assert [row[f"p{level}"] for level in range(5)] == proba.tolist()


def test_decision_rules_are_fitted_to_validation_players_alone(fit, league):
    run = fit()
    train, val = (part(league.matrix, rows) for rows in (slice(0, 100), slice(100, 160)))
    assert run.decision == DecisionRules.fit(run.head.predict_proba(val.X), val.Y)
    assert run.decision != DecisionRules.fit(run.head.predict_proba(train.X), train.Y)


def test_without_validation_players_are_predicted_by_heads_that_have_not_seen_them(fit):
    run = fit(val=None)
    scores = json.loads((run.path / "metrics.json").read_text())
    assert set(scores) == {"train", "out_of_fold"}
    assert run.config["val"] is None
    table = pq.read_table(run.path / "predictions.parquet")
    assert table.num_rows == 300


def test_random_players_are_not_learned_by_heart(fit, league):
    # Two reels per player and levels that depend on the player alone: a fold that cut through
    # players would find them again.
    random = np.random.default_rng(0)
    matrix = part(league.matrix, slice(0, 160))
    _, player = np.unique(matrix.groups, return_inverse=True)
    X = random.normal(size=(80, 60)).astype(np.float32)[player]
    X += 0.01 * random.normal(size=X.shape).astype(np.float32)
    Y = random.integers(0, 5, size=(80, 3))[player]
    from basket.heads.held_out import out_of_fold

    held = out_of_fold(make_head("ridge", n_levels=5), replace(matrix, X=X, Y=Y), seed=0)
    confusion = metrics.confusion_matrices(Y, held.proba.argmax(axis=2), 5)
    assert metrics.mean_over_skills(metrics.accuracy(confusion)) < 0.3


def test_one_player_alone_can_be_fitted(fit):
    run = fit(train=slice(0, 2), val=None)
    assert set(json.loads((run.path / "metrics.json").read_text())) == {"train"}
    assert not (run.path / "predictions.parquet").exists()


def test_a_random_backbone_is_marked(fit, league):
    spec = replace(league.source.spec, notes={"random_weights": True})
    run = fit(feature_sets=[{"name": "m", "stream": "pooled", "spec": spec}])
    assert run.config["random_weights"] is True


def test_what_cannot_be_meant_leaves_nothing_behind(fit, league, tmp_path):
    with pytest.raises(UsageError, match="did you mean 'penalties'"):
        fit(params={"penaltys": [1.0]})
    with pytest.raises(UsageError, match="did you mean 'ridge'"):
        fit(head="rigde")
    with pytest.raises(UsageError, match="n_levels"):
        fit(params={"n_levels": 3})
    assert list(tmp_path.iterdir()) == []
    fit()
    with pytest.raises(UsageError, match="exists already"):
        fit()
    other = replace(part(league.matrix, slice(0, 9)), skills=("a", "b", "c"))
    with pytest.raises(UsageError, match="other skills or levels"):
        fit_run(
            league.matrix,
            other,
            head="prior",
            params={},
            seed=0,
            pooling="mean",
            feature_sets=[],
            out=tmp_path / "b",
            labels={},
        )


def test_equal_seeds_give_equal_bytes(fit, tmp_path):
    for name in ("one", "two"):
        fit(head="mlp", params={"epochs": 3, "hidden": 8}, out=tmp_path / name)
    for file in ("head.safetensors", "decision.json", "metrics.json", "predictions.parquet"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_importing_the_heads_imports_no_learner():
    code = (
        "import sys, basket.heads; "
        "print([m for m in ('torch', 'lightgbm', 'sklearn', 'pyarrow') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_hierarchy_is_filled_in_from_the_names_of_the_skills(fit):
    run = fit(head="mlp", params={"hierarchy": True, "epochs": 2, "hidden": 8})
    # Steals and Fouls are defence, Impact is overall.
    assert run.config["params"]["hierarchy"] == [2, 2, 4]
    assert run.head.layers_[-1][0].shape == (8, 3)


def test_segments_reach_the_head_that_wants_them(league, tmp_path):
    from basket.heads.matrix import build_matrix

    matrix = build_matrix([(league.source, "pooled")], league.labels, pooling="segments/first:3")
    run = fit_run(
        matrix,
        None,
        head="attention",
        params={"epochs": 2},
        seed=0,
        pooling="segments / first:3",
        feature_sets=[{"name": "motion", "stream": "pooled", "spec": league.source.spec}],
        out=tmp_path / "run",
        labels={},
    )
    assert run.pooling == "segments/first:3"
    assert run.width == 4
    assert run.predict_proba(matrix.X).shape == (160, 3, 5)
    with pytest.raises(RunError, match="fitted on 4 columns"):
        run.predict_proba(np.zeros((2, 8)))


def test_calibrated_runs_keep_their_temperatures(fit, league):
    run = fit(head="mlp", params={"epochs": 3, "hidden": 8}, calibrate=True)
    val = part(league.matrix, slice(100, 160))
    assert len(run.decision.temperatures) == 3
    assert run.config["options"] == {"calibrate": True, "set_aside": 0.0}
    assert np.array_equal(
        run.predict_proba(val.X), run.decision.calibrate(run.head.predict_proba(val.X))
    )
    row = pq.read_table(run.path / "predictions.parquet").slice(0, 1).to_pylist()[0]
    assert [row[f"p{level}"] for level in range(5)] == run.predict_proba(val.X)[0, 0].tolist()


def test_a_skill_without_a_training_label_has_no_score_and_is_in_no_mean(fit, league, tmp_path):
    nothing = league.matrix.Y.copy()
    nothing[:100, 1] = -1
    matrix = replace(league.matrix, Y=nothing)
    train, val = part(matrix, slice(0, 100)), part(matrix, slice(100, 160))
    run = fit_run(
        train, val, head="prior", params={}, seed=0, pooling="mean+std", labels={}, aside=0.3,
        feature_sets=[{"name": "motion", "stream": "pooled", "spec": league.source.spec}],
        out=tmp_path / "without",
    )  # fmt: skip
    for scores in run.metrics["val"]["head"].values():
        assert scores["per_skill"]["Fouls"] is None
        known = [score for score in scores["per_skill"].values() if score is not None]
        assert scores["mean"] == pytest.approx(np.mean(known))
    calibration = json.loads((run.path / "calibration.json").read_text())
    assert calibration["overall"]["ratings"] == 2 * run.config["set_aside"]["n_videos"]
    (fitted,) = fit_settings([Setting(("motion:pooled",), "mean+std", "all", "prior")], train, val)
    assert fitted.scores["accuracy"]["per_skill"]["Fouls"] is None
    assert len(np.unique(fitted.scores["accuracy"]["replicates"])) > 1


@pytest.mark.parametrize(
    ("head", "names"),
    [
        ("ridge", {"penalties", "powers"}),
        ("cumulative", {"penalties", "powers"}),
        ("mlp", {"batch_size"}),
        ("gbdt", {"min_data_in_leaf", "feature_fraction", "threads"}),
        ("prior", set()),
    ],
)
def test_a_run_records_what_acted_where_nothing_was_given(fit, tmp_path, head, names):
    quick = {"mlp": {"epochs": 1}, "gbdt": {"rounds": 2}}.get(head, {})
    config = fit(head=head, params=quick, aside=0.9, train=slice(0, 30)).config
    assert set(config["acted"]) == names
    for value in config["acted"].values():
        assert all(each > 0 for each in (value if isinstance(value, list) else [value]))
    # With fewer than 20 players nobody was set aside, whatever was asked.
    assert config["options"]["set_aside"] == 0.0
    if head == "gbdt":
        given = {name: value[0] for name, value in config["acted"].items()}
        again = fit(head=head, params={**quick, **given}, out=tmp_path / "given")
        assert again.config["acted"] == {}
