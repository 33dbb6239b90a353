"""Test sets, what is missing from them, published scores, and slices."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from basket import metrics
from basket.dataset.labels import LabelTable
from basket.dataset.skills import SKILLS
from basket.errors import LabelError, NotThereError
from basket.evaluate import bootstrap, evaluate, protocol
from basket.evaluate.all_metrics import farthest
from basket.evaluate.slices import read_meta, slices_of, unmatched


def label_table(path, levels, *, skills=None, ids=None):
    levels = np.asarray(levels, dtype=np.int8)
    return LabelTable(
        path=Path(path),
        sha256="0" * 64,
        video_root=None,
        video_ids=ids or tuple(f"18-19/NBA/{row}_18_19.mp4" for row in range(len(levels))),
        skills=skills or tuple(skill.name for skill in SKILLS)[: levels.shape[1]],
        levels=levels,
        n_levels=5,
    )


def uniform(matrix):
    return np.ones((len(matrix.skills), matrix.n_levels))


def test_lost_videos_are_scored_at_their_worst(test_set, fake_run):
    matrix = test_set(n=50, missing=0)
    lost = np.random.default_rng(0).integers(0, 5, size=(7, 20))
    found = evaluate(
        fake_run(matrix.skills),
        matrix,
        split="test",
        train_level_counts=uniform(matrix),
        lost=lost,
        n_replicates=5,
    )
    accuracy = found.metrics["accuracy"]
    assert accuracy.worst_mean == pytest.approx(accuracy.mean * 50 / 57)
    distance = np.maximum(lost, 4 - lost)
    mae = found.metrics["mae"]
    worst = (np.array(mae.per_skill) * 50 + distance.sum(0)) / 57
    assert mae.worst_per_skill == pytest.approx(tuple(worst))
    assert found.metrics["qwk"].worst_mean < found.metrics["qwk"].mean
    assert np.isnan(found.metrics["nll"].worst_mean)


def test_without_lost_videos_there_is_no_worst_case(test_set, fake_run):
    matrix = test_set()
    found = evaluate(
        fake_run(matrix.skills), matrix, split="test", train_level_counts=uniform(matrix)
    )
    assert np.isnan(found.metrics["accuracy"].worst_mean)


@pytest.mark.parametrize("n_levels", [2, 3, 5, 6])
def test_no_answer_is_farther_than_the_farthest(n_levels):
    levels = np.arange(n_levels)
    found = np.abs(farthest(levels, n_levels) - levels)
    assert found.tolist() == np.maximum(levels, n_levels - 1 - levels).tolist()


def test_lost_levels_are_those_of_videos_that_were_not_scored():
    table = label_table("test.csv", [[0, 1], [2, 3], [4, -1]])
    found = protocol.lost_levels(table, [table.video_ids[1]])
    assert found.tolist() == [[0, 1], [4, -1]]


def test_published_scores_stand_beside_baskets_main_test_set_alone(tmp_path):
    own = tmp_path / "BASKET_Labels" / "BASKET" / "test.csv"
    own.parent.mkdir(parents=True)
    table = label_table(own, np.zeros((2, 20)))
    assert [ref.accuracy for ref in protocol.references_for(table, simulated=False)] == [
        0.2,
        0.285,
        0.72,
    ]
    assert protocol.references_for(table, simulated=True) == ()
    cross = label_table(tmp_path / "BASKET_Labels" / "cross_season" / "test.csv", np.zeros((2, 20)))
    assert protocol.references_for(cross, simulated=False) == ()
    fewer = label_table(own, np.zeros((2, 19)))
    assert protocol.references_for(fewer, simulated=False) == ()
    (tmp_path / "simulation.json").write_text("{}")
    assert protocol.references_for(table, simulated=False) == ()


def test_a_set_without_any_usable_video_is_a_matrix_without_rows():
    table = label_table("test.csv", [[0, 1], [2, 3], [-1, -1]])
    source = SimpleNamespace(
        name="motion", video_ids=("other.mp4",), failed={table.video_ids[0]: "empty file"}
    )
    matrix = protocol.matrix_of_test_set([(source, "pooled")], table, pooling="mean")
    assert len(matrix) == 0
    assert list(matrix.left_out.values()) == [
        "failed in motion: empty file",
        "not in motion",
        "no labels; not in motion",
    ]


def test_videos_of_a_lost_set_have_the_reasons_that_a_matrix_gives():
    """One failed before it succeeded and is lacked by the other set; one has no segments."""
    ids = ("a.mp4", "b.mp4")
    table = label_table("test.csv", [[0], [1]], ids=ids)
    there = SimpleNamespace(
        name="motion",
        video_ids=ids,
        failed={"a.mp4": "timed out"},
        n_segments=lambda held: np.array([video == "a.mp4" for video in held]),
    )
    other = SimpleNamespace(
        name="other", video_ids=("b.mp4",), failed={}, n_segments=lambda held: np.ones(len(held))
    )
    sources = [(there, "pooled"), (other, "pooled")]
    matrix = protocol.matrix_of_test_set(sources, table, pooling="mean")
    assert len(matrix) == 0
    assert matrix.left_out == {"a.mp4": "not in other", "b.mp4": "no segments in motion"}


def test_the_change_between_sets_has_an_interval_wider_than_either(test_set, fake_run):
    found = [
        evaluate(fake_run(matrix.skills), matrix, split="x", train_level_counts=uniform(matrix))
        for matrix in (test_set(n=200, players=100), test_set(n=200, players=100, seed=7, signal=1))
    ]
    change, interval = protocol.split_changes(*found)["mae"]
    assert change == pytest.approx(found[1].metrics["mae"].mean - found[0].metrics["mae"].mean)
    assert interval.low < change < interval.high
    for one in found:
        own = one.metrics["mae"].interval
        assert interval.high - interval.low > own.high - own.low
    assert bootstrap.difference_interval(1.0, None, 2.0, own) is None


def test_slices_are_scored_as_sets_of_their_own(test_set, fake_run):
    matrix = test_set(n=80, players=40, skills=("Steals", "Fouls"))
    run = fake_run(matrix.skills)
    matrix.videos = tuple(
        f"18-19/NBA/{row}_18_19.mp4" if row % 2 else f"19-20/WNBA/{row}_19_20.mp4"
        for row in range(80)
    )
    meta = {"gender": {f"WNBA/{row}": "women" for row in range(80)}}
    found = evaluate(
        run,
        matrix,
        split="test",
        train_level_counts=uniform(matrix),
        meta=meta,
        n_replicates=50,
    )
    assert [(part.column, part.value, part.n_videos) for part in found.slices] == [
        ("league", "NBA", 40),
        ("league", "WNBA", 40),
        ("season", "18-19", 40),
        ("season", "19-20", 40),
        ("gender", "women", 40),
        ("gender", "not known", 40),
    ]
    women = np.arange(0, 80, 2)
    predicted = run.decision.predict(run.predict_proba(matrix.X), "qwk")
    expected = metrics.quadratic_weighted_kappa(
        metrics.confusion_matrices(matrix.Y[women], predicted[women], 5)
    ).mean()
    assert found.slices[4].metrics["qwk"].value == pytest.approx(expected)
    assert found.slices[4].metrics["qwk"].interval is not None


def test_a_level_absent_from_a_slice_changes_no_definition(test_set, fake_run):
    matrix = test_set(n=40, skills=("Steals",), missing=0)
    matrix.Y[:20] = np.minimum(matrix.Y[:20], 1)
    run = fake_run(matrix.skills)
    found = evaluate(
        run, matrix, split="t", train_level_counts=uniform(matrix), n_replicates=5,
        meta={"half": dict.fromkeys(matrix.ids[:20], "first")},
    )  # fmt: skip
    part = next(part for part in found.slices if part.value == "first")
    predicted = run.decision.predict(run.predict_proba(matrix.X), "qwk")[:20]
    expected = metrics.quadratic_weighted_kappa(
        metrics.confusion_matrices(matrix.Y[:20], predicted, 5)
    )
    assert part.metrics["qwk"].value == pytest.approx(expected[0])


def test_numbers_with_many_values_are_cut_at_their_quartiles():
    ids = [f"18-19/NBA/{row}_18_19.mp4" for row in range(100)]
    ages = {video: str(18 + row * 0.2) for row, video in enumerate(ids[:90])}
    found = [part for part in slices_of(ids, meta={"age": ages}) if part.column == "age"]
    assert len(found) == 5
    assert found[0].value.startswith("up to ")
    assert found[3].value.startswith("above ")
    assert found[4].value == "not known"
    assert sum(part.rows.sum() for part in found) == 100
    assert found[4].rows.sum() == 10


def test_metadata_is_read_by_video_or_player(tmp_path):
    file = tmp_path / "meta.csv"
    file.write_text("player;gender;age\nNBA/1;men;30\nWNBA/2;women;\n")
    meta = read_meta(file)
    assert meta == {"gender": {"NBA/1": "men", "WNBA/2": "women"}, "age": {"NBA/1": "30"}}
    assert unmatched(["18-19/NBA/1_18_19.mp4"], meta) == []
    assert unmatched(["18-19/NBA/7_18_19.mp4"], meta) == ["gender", "age"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("player\nNBA/1\n", "at least two columns"),
        ("player,age\nNBA/1,30,x\n", "row 2 has 3 cells"),
        ("player,age\nNBA/1,30\nNBA/1,31\n", "'30' and '31'"),
    ],
)
def test_metadata_that_cannot_be_meant_is_refused(tmp_path, text, message):
    file = tmp_path / "meta.csv"
    file.write_text(text)
    with pytest.raises(LabelError, match=message):
        read_meta(file)
    with pytest.raises(NotThereError, match="There is no file"):
        read_meta(tmp_path / "none.csv")
    with pytest.raises(LabelError, match="cannot be read"):
        read_meta(tmp_path)
