"""Pooling equals the naive loop, and never fills in a video that has no segments."""

import threading
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from basket.cache.features import RaggedFeatures
from basket.errors import CacheError, UsageError
from basket.heads.pooling import (
    canonical,
    parse_pooling,
    parse_poolings,
    pool,
    prepare,
)
from basket.heads.pooling_terms import TERMS
from basket.heads.streaming import pool_feature_set
from basket.heads.subsets import parse_subset


def naive_pyramid(video):
    means = []
    for parts in (1, 2, 4):
        for part in range(parts):
            low, high = len(video) * part / parts, len(video) * (part + 1) / parts
            means.append(video[int(np.floor(low)) : int(np.ceil(high))].mean(axis=0))
    return np.concatenate(means)


def naive_power(video):
    mean = (np.sign(video) * np.abs(video) ** 3).mean(axis=0)
    return np.cbrt(mean)


NAIVE = {
    "q0": lambda video: video.min(axis=0),
    "q25": lambda video: np.quantile(video, 0.25, axis=0),
    "q90": lambda video: np.quantile(video, 0.90, axis=0),
    "top2": lambda video: np.sort(video, axis=0)[-2:].mean(axis=0),
    "top9": lambda video: video.mean(axis=0),
    "gem1": lambda video: video.mean(axis=0),
    "gem3": naive_power,
    "pyramid": naive_pyramid,
    "diff": lambda video: (
        np.abs(np.diff(video, axis=0)).mean(axis=0) if len(video) > 1 else 0 * video[0]
    ),
    "last3": lambda video: video[-3:].mean(axis=0),
    "mean": lambda video: video.mean(axis=0),
    "std": lambda video: video.std(axis=0),
    "max": lambda video: video.max(axis=0),
    "min": lambda video: video.min(axis=0),
}


@st.composite
def ragged(draw):
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    dim = draw(st.integers(1, 4))
    lengths = draw(st.lists(st.integers(1, 6), min_size=1, max_size=6))
    values = st.floats(-1000, 1000, width=16)
    return [draw(arrays.arrays(dtype, (length, dim), elements=values)) for length in lengths]


@given(ragged(), st.lists(st.sampled_from(sorted(NAIVE)), min_size=1, unique=True))
@settings(max_examples=60)
def test_equals_the_naive_loop(videos, terms):
    pooled = pool(RaggedFeatures.from_list(videos), "+".join(terms))
    expected = [
        np.concatenate([NAIVE[term](video.astype(np.float64)) for term in terms])
        for video in videos
    ]
    assert pooled.dtype == np.float32
    assert pooled.shape[1] == parse_pooling("+".join(terms)).width(videos[0].shape[1])
    np.testing.assert_allclose(
        pooled, expected, rtol=1e-6, atol=1e-4 if "gem3" not in terms else 2e-2
    )


@given(ragged())
def test_one_segment_has_no_spread(videos):
    pooled = pool(RaggedFeatures.from_list([video[:1] for video in videos]), "std+mean+max")
    dim = videos[0].shape[1]
    assert not pooled[:, :dim].any()
    assert np.array_equal(pooled[:, dim : 2 * dim], pooled[:, 2 * dim :])


def test_sums_are_accumulated_in_double_precision():
    values = np.full((100_001, 1), 0.1, dtype=np.float32)
    values[0] = 1e6
    exact = values.astype(np.float64)
    pooled = pool(RaggedFeatures.from_list([values]), "mean+std")
    assert pooled[0] == pytest.approx([exact.mean(), exact.std()], rel=1e-7)
    shifted = np.array([[4096.0], [4097.0]], dtype=np.float16).repeat(1000, axis=0)
    assert pool(RaggedFeatures.from_list([shifted]), "std")[0, 0] == shifted.astype(float).std()


def test_a_video_without_segments_is_an_error_that_names_it():
    holes = RaggedFeatures(np.ones((3, 2)), np.array([0, 2, 2, 3]))
    with pytest.raises(ValueError, match="position 1 has no segments"):
        pool(holes, "mean")
    assert pool(RaggedFeatures(np.ones((0, 2)), np.array([0])), "mean+std").shape == (0, 4)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("maen", "did you mean 'mean'"),
        ("mean+", "unknown pooling ''"),
        ("", "unknown pooling"),
        ("mean+std+mean", "names a term twice"),
        ("top4+top04", "names a term twice"),
        ("tpo4", "unknown pooling 'tpo4'"),
        ("topN", "unknown pooling 'topN'"),
        ("q101", "needs N from 0 to 100"),
        ("top0", "needs N from 1"),
        ("mean/evry:4", "unknown segment subset 'evry:4'"),
        ("mean/every:0", "at least 1"),
        ("mean/", "unknown segment subset"),
        ("segments+mean", "unknown pooling 'segments'"),
    ],
)
def test_misspelt_poolings_are_usage_errors(text, message):
    with pytest.raises(UsageError, match=message):
        parse_pooling(text)


class FakeSet:
    """Streams blocks of two videos, last ones first."""

    name = "fake.dense.00000000"
    spec = SimpleNamespace(streams={"pooled": 3, "layer-4": 3})

    def __init__(self, videos, *, lost=()):
        self.videos, self.lost = videos, lost

    def stream(self, video_ids, *, stream, block_bytes):
        assert stream in self.spec.streams
        wanted = [video_id for video_id in reversed(video_ids) if video_id not in self.lost]
        for start in range(0, len(wanted), 2):
            ids = tuple(wanted[start : start + 2])
            rows = [self.videos[video_id] for video_id in ids]
            lengths = np.array([0, *(len(row) for row in rows)])
            yield ids, RaggedFeatures(np.concatenate(rows), np.cumsum(lengths))


@pytest.fixture
def videos():
    random = np.random.default_rng(0)
    return {f"v{i}": random.normal(size=(i + 1, 3)).astype(np.float16) for i in range(7)}


def test_streaming_gives_the_rows_that_were_asked_for_in_their_order(videos):
    wanted, seconds = ["v3", "v0", "v6", "v2", "v5"], {}
    pooled = pool_feature_set(FakeSet(videos), wanted, "pooled", "mean+max", seconds=seconds)
    whole = pool(RaggedFeatures.from_list([videos[video_id] for video_id in wanted]), "mean+max")
    assert np.array_equal(pooled, whole)
    assert set(seconds) == {"read", "pool"}


def test_the_next_block_is_read_while_the_last_one_is_pooled(videos, monkeypatch):
    second_read = threading.Event()

    class Watched(FakeSet):
        def stream(self, video_ids, **asked):
            for number, block in enumerate(super().stream(video_ids, **asked)):
                if number == 1:
                    second_read.set()
                yield block

    def pooled_late(*args, **kwargs):
        assert second_read.wait(30), "nothing is read before the first block is pooled"
        return prepare(*args, **kwargs)

    monkeypatch.setattr("basket.heads.streaming.prepare", pooled_late)
    pooled = pool_feature_set(Watched(videos), ["v3", "v0", "v6"], "pooled", "mean")
    assert pooled.shape == (3, 3)


def test_an_error_of_reading_is_the_callers(videos):
    class Breaks(FakeSet):
        def stream(self, video_ids, **asked):
            yield next(super().stream(video_ids, **asked))
            raise CacheError("the disk is gone")

    with pytest.raises(CacheError, match="the disk is gone"):
        pool_feature_set(Breaks(videos), ["v3", "v0", "v6"], "pooled", "mean")
    assert not [each for each in threading.enumerate() if each.name.startswith("basket-read")]


def test_every_term_is_tried_here():
    import re

    families = {re.sub(r"\d+$", "N", name) for name in NAIVE} | {"valid"}
    assert families == set(TERMS)


def test_text_of_a_pooling_parses_to_the_same_pooling():
    for text in ("mean+std", "q05+top4/every:3", "segments", "segments/random:32@7", "pyramid"):
        parsed = parse_pooling(text)
        assert parse_pooling(str(parsed)) == parsed
        assert parsed.width(6) == {"mean+std": 12, "q05+top4/every:3": 12, "pyramid": 42}.get(
            text, 6
        )
    assert canonical("mean + std , q05/random:8") == "mean+std,q5/random:8@0"


def test_one_pooling_per_feature_set():
    assert [str(each) for each in parse_poolings("mean,max", 2)] == ["mean", "max"]
    assert len(parse_poolings("mean", 3)) == 3
    with pytest.raises(UsageError, match="2 parts for 3 feature sets"):
        parse_poolings("mean,max", 3)
    with pytest.raises(UsageError, match="mixes segments with pooled rows"):
        parse_poolings("mean,segments", 2)


def test_real_frames_weigh_segments():
    videos = RaggedFeatures.from_list([np.array([[1.0], [4.0]]), np.array([[2.0], [8.0]])])
    pooled = pool(videos, "valid", frames_valid=[16, 8, 0, 0])
    assert pooled.tolist() == [[2.0], [5.0]]
    with pytest.raises(UsageError, match="real frames"):
        pool(videos, "valid")


@pytest.mark.parametrize(
    ("text", "places"),
    [
        ("every:4", [0, 4, 8]),
        ("first:3", [0, 1, 2]),
        ("last:2", [8, 9]),
        ("first:99", list(range(10))),
    ],
)
def test_subsets(text, places):
    assert parse_subset(text).places(10).tolist() == places
    assert len(parse_subset(text).places(1)) == 1


def test_random_subsets_depend_on_the_seed_and_on_nothing_else(videos):
    one, two = parse_subset("random:4@1"), parse_subset("random:4@2")
    assert one.places(50).tolist() == one.places(50).tolist() != two.places(50).tolist()
    assert len(set(one.places(50).tolist())) == 4
    everybody = RaggedFeatures.from_list(list(videos.values()))
    alone = [RaggedFeatures.from_list([video]) for video in videos.values()]
    assert np.array_equal(
        pool(everybody, "mean+max/random:3@5"),
        np.concatenate([pool(each, "mean+max/random:3@5") for each in alone]),
    )


def test_segments_are_kept_where_the_head_wants_them(videos):
    wanted = ["v3", "v0", "v6"]
    whole = pool_feature_set(FakeSet(videos), wanted, "pooled", "segments/first:2")
    assert isinstance(whole, RaggedFeatures)
    assert whole.lengths.tolist() == [2, 1, 2]
    for row, name in enumerate(wanted):
        assert np.array_equal(whole[row], videos[name][:2])
    kept = prepare(RaggedFeatures.from_list([videos["v3"]]), "segments")
    assert kept.lengths.tolist() == [4]
    with pytest.raises(UsageError, match="keeps segments"):
        pool(kept, "segments")


def test_real_frames_are_read_where_they_are_needed(videos):
    source = FakeSet(videos)
    source.segments = lambda ids: {
        "frames_valid": np.concatenate([np.arange(len(videos[each])) + 1 for each in ids])
    }
    pooled = pool_feature_set(source, ["v2", "v5"], "pooled", "valid")
    for row, name in enumerate(("v2", "v5")):
        weights = np.arange(len(videos[name])) + 1.0
        expected = np.average(videos[name].astype(float), axis=0, weights=weights)
        assert pooled[row] == pytest.approx(expected, rel=1e-5)


def test_streaming_tells_what_is_wrong(videos):
    with pytest.raises(UsageError, match=r"no stream 'poolde'; did you mean 'pooled'"):
        pool_feature_set(FakeSet(videos), ["v1"], "poolde", "mean")
    with pytest.raises(CacheError, match="did not deliver v2"):
        pool_feature_set(FakeSet(videos, lost=["v2"]), ["v1", "v2"], "pooled", "mean")
    videos["v1"] = videos["v1"][:0]
    with pytest.raises(CacheError, match="v1 has no segments"):
        pool_feature_set(FakeSet(videos), ["v1", "v2"], "pooled", "mean")


@pytest.mark.parametrize("pooling", ["mean+std+q50+valid", "max/every:2", "pyramid+valid/last:2"])
def test_pieces_of_any_size_give_the_same_rows(pooling, monkeypatch):
    random = np.random.default_rng(1)
    ragged = RaggedFeatures.from_list([random.normal(size=(n, 3)) for n in (1, 7, 2, 5, 1, 3)])
    valid = random.integers(0, 16, len(ragged.values))
    whole = pool(ragged, pooling, frames_valid=valid)
    for size_bytes in (1, 100, 200):
        monkeypatch.setattr("basket.heads.pooling.PIECE_BYTES", size_bytes)
        assert np.array_equal(pool(ragged, pooling, frames_valid=valid), whole)


def test_pooling_takes_no_copies_of_all_segments_at_once():
    ragged = RaggedFeatures(np.ones((20_000, 128), np.float16), np.arange(0, 20_001, 20))
    pool(ragged, "mean+std+q90")  # so that no import is counted
    tracemalloc.start()
    try:
        pool(ragged, "mean+std+q90")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * ragged.values.nbytes  # in float64 alone they would take four times it
