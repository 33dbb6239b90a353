"""Features and labels are joined, and every video that is left out has a reason."""

import numpy as np
import pytest

from basket.errors import UsageError
from basket.heads.matrix import build_matrix

from .conftest import FakeFeatureSet, label_table

IDS = ("18-19/NBA/1_a.mp4", "18-19/NBA/2_a.mp4", "19-20/NBA/1_b.mp4", "18-19/WNBA/3.mp4", "x/4.mp4")


def features(ids, *, width=2, seed=0):
    random = np.random.default_rng(seed)
    return {video_id: random.normal(size=(3, width)).astype(np.float16) for video_id in ids}


def test_rows_follow_the_labels_and_reasons_name_the_rest():
    source = FakeFeatureSet(
        "motion", features(IDS[:2] + IDS[4:]), failed={IDS[2]: "it is empty"}, width=2
    )
    labels = label_table([[0, 1], [2, -1], [3, 3], [4, 4], [-1, -1]], ids=IDS)
    matrix = build_matrix([(source, "pooled")], labels, pooling="mean")
    assert matrix.ids == IDS[:2]
    assert matrix.Y.tolist() == [[0, 1], [2, -1]]
    assert matrix.groups.tolist() == list(labels.players[:2])
    assert matrix.X[1] == pytest.approx(source.videos[IDS[1]].astype(float).mean(0), abs=1e-6)
    assert dict(matrix.left_out) == {
        IDS[2]: "failed in motion: it is empty",
        IDS[3]: "not in motion",
        IDS[4]: "no labels",
    }
    assert (matrix.n_levels, matrix.skills) == (5, labels.skills)
    assert matrix.level_counts().tolist() == [[1, 0, 1, 0, 0], [0, 1, 0, 0, 0]]
    assert set(matrix.seconds) == {"read", "pool"}


def test_several_feature_sets_stand_side_by_side_where_all_have_the_video():
    one = FakeFeatureSet("one", features(IDS[:4]), width=2)
    two = FakeFeatureSet("two", features(IDS[1:], width=3, seed=1), width=3)
    labels = label_table([[0]] * 5, ids=IDS)
    matrix = build_matrix([(one, "pooled"), (two, "pooled")], labels, pooling="mean+max")
    assert matrix.ids == IDS[1:4]
    assert matrix.X.shape == (3, 2 * 2 + 2 * 3)
    alone = build_matrix([(two, "pooled")], labels, pooling="mean+max")
    assert np.array_equal(matrix.X[:, 4:], alone.X[:3])
    assert dict(matrix.left_out) == {IDS[0]: "not in two", IDS[4]: "not in one"}


def test_a_video_that_failed_once_and_succeeded_later_is_used():
    source = FakeFeatureSet("m", features(IDS[:1]), failed={IDS[0]: "timed out"}, width=2)
    labels = label_table([[1]], ids=IDS[:1])
    assert build_matrix([(source, "pooled")], labels, pooling="mean").ids == IDS[:1]


def test_a_video_without_segments_is_left_out_with_a_reason():
    videos = features(IDS[:2]) | {IDS[2]: np.zeros((0, 2), np.float16)}
    matrix = build_matrix(
        [(FakeFeatureSet("m", videos, width=2), "pooled")],
        label_table([[0], [1], [2]], ids=IDS[:3]),
        pooling="mean",
    )
    assert matrix.ids == IDS[:2]
    assert dict(matrix.left_out) == {IDS[2]: "no segments in m"}


def test_nothing_to_fit_on_is_one_sentence():
    source = FakeFeatureSet("motion", {}, failed={IDS[0]: "it is empty"})
    labels = label_table([[1]], ids=IDS[:1])
    with pytest.raises(UsageError, match=r"none of the 1 videos .* it is empty"):
        build_matrix([(source, "pooled")], labels, pooling="mean")
    with pytest.raises(UsageError, match="no feature set"):
        build_matrix([], labels, pooling="mean")


def test_each_feature_set_can_be_pooled_its_own_way():
    source = FakeFeatureSet("a", {"1.mp4": np.arange(8.0).reshape(2, 4).astype(np.float16)})
    table = label_table([[0, 1, 2]], ids=["1.mp4"])
    sources = [(source, "pooled"), (source, "pooled")]
    matrix = build_matrix(sources, table, pooling="mean,max")
    assert matrix.X.tolist() == [[2, 3, 4, 5, 4, 5, 6, 7]]
    ragged = build_matrix(sources, table, pooling="segments")
    assert ragged.X.values.shape == (2, 8)
    assert len(ragged.rows(np.array([True])).X) == 1
    other = FakeFeatureSet("b", {"1.mp4": np.zeros((3, 4), np.float16)})
    with pytest.raises(UsageError, match="different segments"):
        build_matrix([sources[0], (other, "pooled")], table, pooling="segments")
