"""Combined runs: the average that suits held-out players, saved and read back as a run."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from basket import metrics
from basket.errors import IntegrityError, UsageError
from basket.heads.combine import combine_runs, mixture_weights
from basket.heads.fit import fit_run
from basket.heads.matrix import build_matrix
from basket.heads.persist import load_run
from basket.predict.stored import calibration_of_run


def matrix_of(league, pooling, chosen):
    whole = build_matrix([(league.source, "pooled")], league.labels, pooling=pooling)
    return whole.rows(chosen)


@pytest.fixture(scope="module")
def runs(league, tmp_path_factory):
    """One run per head, each on its own pooling of the same reels."""
    folder = tmp_path_factory.mktemp("members")
    first = np.arange(160) < 100
    out = {}
    for name, pooling, params in (
        ("ridge", "mean+std", {}),
        ("gbdt", "max", {"rounds": 30}),
        ("attention", "segments", {"epochs": 2}),
        ("mlp", "mean+std", {"epochs": 5, "hidden": 8}),
    ):
        out[name] = fit_run(
            matrix_of(league, pooling, first),
            matrix_of(league, pooling, ~first),
            head=name,
            params=params,
            seed=1,
            pooling=pooling,
            feature_sets=[{"name": "motion", "stream": "pooled", "spec": league.source.spec}],
            out=folder / name,
            labels={},
            calibrate=name == "mlp",
        )
    return out


def test_weights_are_those_of_the_most_likely_mixture():
    random = np.random.default_rng(0)
    truth = random.dirichlet(np.ones(4), size=(3000, 1))
    other = random.dirichlet(np.ones(4), size=(3000, 1))
    mixed = 0.7 * truth + 0.3 * other
    levels = np.array([random.choice(4, p=row[0]) for row in mixed])[:, None]
    weights = mixture_weights(np.stack([truth, other]), levels)
    assert weights == pytest.approx([0.7, 0.3], abs=0.05)
    levels[:] = -1
    assert mixture_weights(np.stack([truth, other]), levels) == pytest.approx([0.5, 0.5])


def test_a_combined_run_is_the_weighted_average_of_its_members(runs, league, tmp_path):
    members = [runs[name] for name in ("ridge", "gbdt", "mlp")]
    run = combine_runs(members, out=tmp_path / "combined")
    held = np.arange(160) >= 100
    X = (
        build_matrix([(league.source, "pooled")] * 2, league.labels, pooling=run.pooling)
        .rows(held)
        .X
    )
    assert run.pooling == "mean+std,max"
    assert [each.name for each in run.feature_sets] == ["motion", "motion"]
    weights = np.array(run.head.weights)
    expected = sum(
        weight * member.predict_proba(matrix_of(league, member.pooling, held).X)
        for weight, member in zip(weights, members, strict=True)
    )
    assert run.predict_proba(X) == pytest.approx(expected, abs=1e-12)
    assert weights.sum() == pytest.approx(1.0)
    again = load_run(run.path)
    assert np.array_equal(again.predict_proba(X), run.predict_proba(X))
    assert again.train_players == members[0].train_players
    scores = json.loads((run.path / "metrics.json").read_text())["val"]
    levels = matrix_of(league, "mean", held).Y
    confusion = metrics.confusion_matrices(levels, run.predict(X, "qwk"), 5)
    expected = metrics.mean_over_skills(metrics.quadratic_weighted_kappa(confusion))
    assert scores["head"]["qwk"]["mean"] == pytest.approx(expected)

    def loss(one):
        proba = one.predict_proba(X if one is run else matrix_of(league, one.pooling, held).X)
        known = levels >= 0
        chosen = np.take_along_axis(proba, np.maximum(levels, 0)[..., None], axis=2)[..., 0]
        return -np.log(chosen[known]).mean()

    assert loss(run) <= min(loss(member) for member in members) + 1e-6


def test_what_cannot_be_combined_is_refused(runs, tmp_path, league):
    with pytest.raises(UsageError, match="at least two"):
        combine_runs([runs["ridge"]], out=tmp_path / "a")
    with pytest.raises(UsageError, match="on segments"):
        combine_runs([runs["ridge"], runs["attention"]], out=tmp_path / "a")
    combined = combine_runs([runs["ridge"], runs["gbdt"]], out=tmp_path / "combined")
    with pytest.raises(UsageError, match="combined already"):
        combine_runs([combined, runs["mlp"]], out=tmp_path / "b")
    with pytest.raises(UsageError, match="other skills"):
        combine_runs([runs["ridge"], replace(runs["mlp"], skills=("a", "b", "c"))], out=tmp_path)
    with pytest.raises(UsageError, match="named twice"):
        combine_runs([runs["ridge"], load_run(runs["ridge"].path)], out=tmp_path / "a")
    with pytest.raises(UsageError, match="exists already"):
        combine_runs([runs["ridge"], runs["gbdt"]], out=tmp_path / "combined")
    with pytest.raises(UsageError, match=r"run\.json is not a folder"):
        combine_runs([runs["ridge"], runs["gbdt"]], out=combined.path / "run.json" / "x")
    first = np.arange(160) < 100
    elsewhere = fit_run(
        matrix_of(league, "max", first),
        matrix_of(league, "max", first),
        head="ridge",
        params={},
        seed=1,
        pooling="max",
        feature_sets=[{"name": "motion", "stream": "pooled", "spec": league.source.spec}],
        out=tmp_path / "elsewhere",
        labels={},
    )
    with pytest.raises(UsageError, match="no held-out video in common"):
        combine_runs([runs["ridge"], elsewhere], out=tmp_path / "c")


def test_a_combined_run_is_measured_on_the_players_that_all_members_set_aside(league, tmp_path):
    first = np.arange(160) < 100
    val = matrix_of(league, "mean", ~first)

    def member(name, seed):
        return fit_run(
            matrix_of(league, "mean", first),
            val,
            head="ridge",
            params={"penalties": [1.0]} if name == "weak" else {},
            seed=seed,
            pooling="mean",
            feature_sets=[{"name": "motion", "stream": "pooled", "spec": league.source.spec}],
            out=tmp_path / name,
            labels={},
            aside=0.2,
        )

    members = [member("best", 1), member("weak", 1)]
    run = combine_runs(members, out=tmp_path / "both")
    assert calibration_of_run(run).players == calibration_of_run(members[0]).players == 10
    assert run.config["set_aside"] == members[0].config["set_aside"]
    # What was counted is what the combined run says of those players' reels.
    table = pq.read_table(run.path / "calibration.parquet").to_pydict()
    aside = np.isin(league.labels.video_ids, table["video_id"])
    X = build_matrix([(league.source, "pooled")], league.labels, pooling="mean").rows(aside).X
    assert np.array(table["p0"]).reshape(-1, 3) == pytest.approx(run.predict_proba(X)[..., 0])
    with_other = combine_runs([members[0], member("other", 2)], out=tmp_path / "other-players")
    measured = calibration_of_run(with_other)
    assert measured is None or measured.players < 10


@pytest.mark.parametrize(
    "change",
    [
        {"weights": [0.5]},
        {"weights": [0.0, 0.0]},
        {"weights": [-1.0, 2.0]},
        {"weights": ["a", 1.0]},
        {"columns": [[[0, 8]], [[8, 11]]]},
        {"columns": [[[0, 8]], [[12, 8]]]},
        {"temperatures": [[], [0.0, 1.0, 1.0]]},
        {"members": []},
        {"members": ["combined", "gbdt"]},
    ],
)
def test_forged_combinations_are_refused(change, runs, tmp_path):
    import hashlib

    run = combine_runs([runs["ridge"], runs["gbdt"]], out=tmp_path / "combined")
    document = json.loads((run.path / "head.json").read_text()) | change
    data = json.dumps(document).encode()
    (run.path / "head.json").write_bytes(data)
    config = json.loads((run.path / "run.json").read_text())
    config["files"]["head.json"] = hashlib.sha256(data).hexdigest()
    (run.path / "run.json").write_text(json.dumps(config))
    with pytest.raises(IntegrityError):
        load_run(run.path)
