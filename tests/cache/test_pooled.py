"""Pooled matrices on disk: given back only where they are what pooling would give now."""

from pathlib import Path

import numpy as np
import pytest

from basket.cache import FeatureSet, PooledCache, pack, repair
from basket.cache.shard import ShardFile
from basket.dataset.labels import LabelTable
from basket.errors import CacheError, IntegrityError
from basket.heads.matrix import build_matrix
from basket.heads.streaming import pool_feature_set

IDS = [f"{i}.mp4" for i in range(8)]
ASKED = {"stream": "pooled", "pooling": "mean+std"}


@pytest.fixture
def matrix():
    return np.random.default_rng(0).standard_normal((8, 12)).astype(np.float32)


@pytest.fixture
def filled(feature_set, making):
    making.fill(feature_set, IDS, per_shard=2)
    return feature_set


def files(feature_set):
    return sorted((feature_set.path / "pooled").glob("*.f32"))


def test_what_was_put_is_got_by_any_process_until_something_is_asked_differently(
    filled, reopened, matrix
):
    assert PooledCache(filled).get(IDS, **ASKED) is None
    assert PooledCache(filled).put(matrix, IDS, **ASKED)
    got = PooledCache(reopened()).get(IDS, **ASKED)
    assert got.dtype == np.float32
    assert np.array_equal(got, matrix)
    pooled = PooledCache(reopened())
    assert pooled.get(IDS[::-1], **ASKED) is None
    assert pooled.get(IDS[:-1], **ASKED) is None
    assert pooled.get(IDS, stream="layer-4", pooling="mean+std") is None
    assert pooled.get(IDS, stream="pooled", pooling="mean") is None
    assert pooled.get(IDS, **ASKED, segments={"every": 2}) is None


def test_a_video_that_was_extracted_again_makes_it_stale(filled, reopened, making, matrix):
    PooledCache(filled).put(matrix, IDS, **ASKED)
    other = matrix[:3].copy()
    PooledCache(filled).put(other, IDS[:3], **ASKED)
    with filled.writer() as writer:
        writer.add(making.row(IDS[7], source_mtime_ns=9), making.features(IDS[7], shift=1))
    pooled = PooledCache(reopened())
    assert pooled.get(IDS, **ASKED) is None
    assert np.array_equal(pooled.get(IDS[:3], **ASKED), other)  # its rows are where they were
    pooled.put(matrix + 1, IDS, **ASKED)
    assert len(files(filled)) == 2  # the stale one is gone
    assert np.array_equal(pooled.get(IDS, **ASKED), matrix + 1)


def test_packing_makes_it_stale(filled, reopened, matrix):
    PooledCache(filled).put(matrix, IDS, **ASKED)
    pack(filled, target_bytes=1 << 20)
    assert PooledCache(reopened()).get(IDS, **ASKED) is None


def test_damage_is_not_hidden_by_a_kept_matrix(filled, reopened, matrix):
    PooledCache(filled).put(matrix, IDS, **ASKED)
    shard = next((filled.path / "shards").iterdir())
    shard.write_bytes(b"x")
    with pytest.raises(IntegrityError):
        PooledCache(reopened()).get(IDS, **ASKED)
    repair(reopened())
    with pytest.raises(CacheError):
        PooledCache(reopened()).get(IDS, **ASKED)


@pytest.mark.parametrize("position", [3, 200, 600, -1])
def test_a_file_that_rotted_is_no_matrix(filled, matrix, position):
    pooled = PooledCache(filled)
    pooled.put(matrix, IDS, **ASKED)
    (path,) = files(filled)
    intact = path.read_bytes()
    data = bytearray(intact)
    data[position] ^= 1
    path.write_bytes(data)
    got = pooled.get(IDS, **ASKED)
    assert got is None or (200 <= position < 512 and np.array_equal(got, matrix))
    for cut in (0, 100, len(intact) - 4):
        path.write_bytes(intact[:cut])
        assert pooled.get(IDS, **ASKED) is None
    pooled.put(matrix, IDS, **ASKED)
    assert np.array_equal(pooled.get(IDS, **ASKED), matrix)


def test_where_nothing_can_be_written_nothing_is_kept(filled, matrix):
    (filled.path / "pooled").write_text("a file where the folder should be")
    assert not PooledCache(filled).put(matrix, IDS, **ASKED)
    assert PooledCache(filled).get(IDS, **ASKED) is None


def test_the_longest_unused_go_first_when_there_are_too_many_bytes(filled, matrix):
    size = matrix.nbytes + 512
    pooled = PooledCache(filled, max_bytes=2 * size)
    for pooling in ("mean", "std", "max"):
        assert pooled.put(matrix, IDS, stream="pooled", pooling=pooling)
    assert len(files(filled)) == 2
    assert pooled.get(IDS, stream="pooled", pooling="mean") is None
    assert pooled.get(IDS, stream="pooled", pooling="max") is not None
    assert not PooledCache(filled, max_bytes=10).put(matrix, IDS, **ASKED)
    assert pooled.clear() == 2
    assert files(filled) == []


def test_a_matrix_of_another_kind_is_refused(filled, matrix):
    for bad in (matrix.astype(np.float64), matrix[:2], matrix[:, 0]):
        with pytest.raises(ValueError, match="expected float32"):
            PooledCache(filled).put(bad, IDS, **ASKED)


class TestPooling:
    """What ``fit-head`` and ``sweep`` pool is kept, and taken only while it is still true."""

    @pytest.fixture
    def reads(self, monkeypatch):
        """Names of the shards that were opened to read features."""
        opened = []

        class Watched(ShardFile):
            def features(self, *args, **kwargs):
                opened.append(self.label)
                return super().features(*args, **kwargs)

        monkeypatch.setattr("basket.cache.feature_set.ShardFile", Watched)
        return opened

    @pytest.mark.parametrize("pooling", ["mean+std", "valid+max/first:2"])
    def test_a_second_fit_reads_no_shard(self, filled, reopened, reads, pooling):
        first = pool_feature_set(filled, IDS, "pooled", pooling)
        assert len(reads) == 4
        again = pool_feature_set(reopened(), IDS, "pooled", pooling)
        assert len(reads) == 4
        assert np.array_equal(first, again)
        unkept = pool_feature_set(reopened(), IDS, "pooled", pooling, keep=False)
        assert len(reads) == 8
        assert np.array_equal(first, unkept)

    def test_labels_and_features_are_joined_without_reading_twice(self, filled, reopened, reads):
        labels = LabelTable(
            path=Path("train.csv"),
            sha256="",
            video_root=None,
            video_ids=tuple(IDS),
            skills=("passing",),
            levels=np.zeros((len(IDS), 1), np.int8),
        )
        first = build_matrix([(filled, "pooled")], labels, pooling="mean")
        again = build_matrix([(reopened(), "pooled")], labels, pooling="mean")
        assert len(reads) == 4
        assert np.array_equal(first.X, again.X)

    def test_a_row_that_changed_is_noticed(self, filled, reopened, making, reads):
        before = pool_feature_set(filled, IDS, "pooled", "mean")
        with filled.writer() as writer:
            writer.add(making.row(IDS[7], source_mtime_ns=9), making.features(IDS[7], shift=1))
        after = pool_feature_set(reopened(), IDS, "pooled", "mean")
        assert np.array_equal(before[:7], after[:7])
        expected = making.features(IDS[7], shift=1).features["pooled"].astype(float).mean(axis=0)
        assert after[7] == pytest.approx(expected, rel=1e-3, abs=1e-3)
        assert not np.array_equal(before[7], after[7])

    def test_poolings_streams_subsets_and_orders_are_told_apart(self, filled, reads):
        asked = [
            (IDS, "pooled", "mean"),
            (IDS, "layer-4", "mean"),
            (IDS, "pooled", "std"),
            (IDS, "pooled", "mean/first:1"),
            (IDS, "pooled", "mean/last:1"),
            (IDS[::-1], "pooled", "mean"),
        ]
        for _ in range(2):
            for each in asked:
                kept = pool_feature_set(filled, *each)
                assert np.array_equal(kept, pool_feature_set(filled, *each, keep=False))

    def test_what_moved_while_it_was_read_is_not_kept(self, filled, monkeypatch):
        real = FeatureSet.stream

        def stream(self, *args, **kwargs):
            blocks = list(real(self, *args, **kwargs))
            pack(self, target_bytes=1 << 20)
            return iter(blocks)

        monkeypatch.setattr(FeatureSet, "stream", stream)
        pool_feature_set(filled, IDS, "pooled", "mean")
        assert files(filled) == []

    def test_a_read_only_cache_is_pooled_all_the_same(self, filled, monkeypatch):
        def refused(*_args, **_kwargs):
            raise PermissionError(30, "Read-only file system")

        monkeypatch.setattr(Path, "mkdir", refused)
        matrix = pool_feature_set(filled, IDS, "pooled", "mean")
        assert matrix.shape == (8, 6)
        assert files(filled) == []

    def test_segments_are_not_kept(self, filled):
        pool_feature_set(filled, IDS, "pooled", "segments")
        assert files(filled) == []
