"""A shard gives back what was put in, or refuses; it never gives anything else."""

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basket.cache import VideoFeatures, VideoRow
from basket.cache.entries import all_finite, checked_entry
from basket.cache.rows import fault_of_video_id
from basket.cache.shard import ShardFile
from basket.errors import BasketError, CacheError

HALVES = st.floats(width=16, allow_nan=False, allow_infinity=False)
IDS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=20).filter(
    lambda text: not fault_of_video_id(text)
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) |
    st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=4,
)  # fmt: skip
SIZES = st.integers(-1, 2**62)


@st.composite
def entries_and_streams(draw):
    names = st.sampled_from(["pooled", "pooled@2", "layer-4", "tubelet0", "prompts"])
    streams = draw(st.dictionaries(names, st.integers(1, 5), min_size=1, max_size=3))
    entries = []
    for video_id in draw(st.lists(IDS, unique=True, max_size=6)):
        ok = draw(st.booleans())
        row = VideoRow(
            video_id,
            status="ok" if ok else "failed",
            reason=draw(TEXTS) if ok else draw(TEXTS.filter(bool)),
            attempts=draw(st.integers(0, 2**31 - 1)),
            source_bytes=draw(SIZES),
            source_mtime_ns=draw(SIZES),
            duration_s=draw(st.floats(0, 1e6)),
            fps=draw(st.floats(0, 240)),
            width_px=draw(st.integers(0, 8192)),
            height_px=draw(st.integers(0, 8192)),
            provenance=draw(st.dictionaries(st.text(max_size=5), JSON, max_size=3)),
        )
        count = draw(st.integers(1, 4))
        features = VideoFeatures(
            {
                name: np.array(
                    draw(st.lists(HALVES, min_size=count * dim, max_size=count * dim)), np.float16
                ).reshape(count, dim)
                for name, dim in streams.items()
            },
            np.arange(count) * 1.5,
            np.arange(count) * 1.5 + 2,
            np.array(draw(st.lists(st.integers(0, 64), min_size=count, max_size=count)), np.int32),
        )
        entries.append((row, features if ok else None))
    return entries, streams


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(entries_and_streams(), SIZES.filter(lambda n: n >= 0))
def test_any_entries_come_back_exactly(making, case, committed_ns):
    entries, streams = case
    data = making.shard(entries, streams, feature_set="ab" * 32, committed_ns=committed_ns)
    with ShardFile(data) as shard:
        index = shard.index()
        assert index.streams == streams
        assert index.feature_set == "ab" * 32
        assert index.columns["committed_ns"] == [committed_ns] * len(entries)
        assert [index.row(i) for i in range(len(index))] == [row for row, _ in entries]
        for (_, features), start, stop in zip(
            entries, index.offsets[:-1], index.offsets[1:], strict=True
        ):
            if features is None:
                assert start == stop
                continue
            for name, dim in streams.items():
                read = shard.features(name, start, stop, dim=dim)
                assert read.dtype == np.float16
                assert np.array_equal(read.view("<u2"), features.features[name].view("<u2"))
            for name, column in shard.segments(start, stop).items():
                assert np.array_equal(column, getattr(features, name))


def test_every_data_set_is_chunked_checksummed_and_of_fixed_length(making, tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(
        making.shard([(making.row("a"), making.features("a"))], making.streams, feature_set="ab")
    )
    found = []

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found.append(name)
            assert item.fletcher32, name
            assert item.chunks, name
            types = [item.dtype[n] for n in item.dtype.names] if item.dtype.names else [item.dtype]
            for dtype in types:  # variable-length texts live on the heap, without a checksum
                text = h5py.check_string_dtype(dtype)
                assert text is None or text.length is not None

    with h5py.File(path) as file:
        file.visititems(visit)
        assert file.attrs["format"] == b"basket-shard"
        assert file.attrs["version"] == 1
        assert file["videos"]["video_id"][0] == b"a"
    assert sorted(found) == ["features/layer-4", "features/pooled", "segments", "videos"]


def test_long_streams_are_cut_into_even_chunks_of_about_half_a_megabyte(making, tmp_path):
    path = tmp_path / "x.h5"
    entry = (making.row("a"), making.features("a", 2100, streams={"pooled": 512}))
    path.write_bytes(making.shard([entry], {"pooled": 512}))
    with h5py.File(path) as file:
        rows, width = file["features/pooled"].chunks
    assert width == 512
    assert rows == 525
    assert len(path.read_bytes()) < 2100 * 1024 * 1.05


def test_a_shard_of_failures_alone_has_no_segments(making):
    data = making.shard([(making.failed("a"), None), (making.failed("b"), None)], making.streams)
    with ShardFile(data) as shard:
        index = shard.index()
        assert index.offsets == [0, 0, 0]
        assert [index.row(i).reason for i in range(2)] == ["moov atom not found"] * 2
        assert shard.features("pooled", 0, 0, dim=6).shape == (0, 6)


@pytest.mark.parametrize("value", [1e39, -1e300, np.inf, np.nan])
def test_values_that_float32_cannot_hold_are_told_and_not_stored(making, value):
    good = making.features("a")
    matrix = good.features["pooled"].astype(np.float64)
    matrix[1, 4] = value
    bad = VideoFeatures(
        {**good.features, "pooled": matrix}, good.start_s, good.end_s, good.frames_valid
    )
    with pytest.raises(CacheError, match=r"'a', stream 'pooled'.*segment 1, column 4"):
        checked_entry(making.row("a"), bad, making.streams)


def test_the_largest_float16_fits_and_a_float32_near_it_is_rounded(making):
    features = making.features("a", streams={"pooled": 6})
    matrix = np.full((3, 6), 65504.0, np.float32)
    entry = checked_entry(
        making.row("a"),
        VideoFeatures({"pooled": matrix}, features.start_s, features.end_s, features.frames_valid),
        {"pooled": 6},
    )
    assert entry[1] is not None
    assert (entry[1].features["pooled"] == 65504).all()


def test_entries_that_contradict_themselves_are_refused(making):
    features = making.features("a")
    values, frames = features.features, features.frames_valid
    cases = [
        (making.row("a"), None, "without features"),
        (making.failed("a"), features, "may not have features"),
        (making.row("a", status="failed"), None, "needs a reason"),
        (making.row("a", status="odd"), features, "status 'odd'"),
        (making.row("a"), making.features("a", 0), "no segments"),
        (making.row("a"), making.features("a", streams={"pooled": 6}), "streams"),
        (making.row("a"), making.features("a", streams={"pooled": 5, "layer-4": 3}), "shape"),
        (
            making.row("a"),
            VideoFeatures(values, features.end_s, features.start_s, frames),
            "spans",
        ),
        (
            making.row("a"),
            VideoFeatures(values, features.start_s[:2], features.end_s, frames),
            "shape",
        ),
    ]
    for row, given_features, message in cases:
        with pytest.raises(CacheError, match=message):
            checked_entry(row, given_features, making.streams)


@pytest.mark.parametrize(
    "video_id",
    [
        *("", "/a.mp4", "../a.mp4", "a/../../b.mp4", "a\\b.mp4", "C:/a.mp4", "C:a.mp4"),
        *("a\0b", "a\nb", "a\x1b[2Jb", "caf\udce9.mp4", "x" * 5000),
    ],
)
def test_ids_that_could_leave_the_video_root_are_refused(making, video_id):
    with pytest.raises(CacheError, match="cannot be a video id"):
        checked_entry(making.row(video_id), making.features("a"), making.streams)
    with pytest.raises(CacheError):
        making.shard([(making.row(video_id), making.features("a"))], making.streams)


@pytest.mark.parametrize("video_id", ["18-19/NBA/1_18_19.mp4", "..a/b..c", "Übung/ч 1.mp4"])
def test_ordinary_ids_are_accepted(video_id):
    assert fault_of_video_id(video_id) == ""


def test_rows_that_cannot_be_stored_are_told(making):
    features = making.features("a")
    for row, message in [
        (making.row("a", provenance={"x": object()}), "plain JSON"),
        (making.row("a", provenance={"x": float("nan")}), "plain JSON"),
        (making.row("a", provenance={"x": "y" * 70000}), "bytes"),
        (making.row("a", attempts=2**40), "cannot be stored"),
        (making.row("a", duration_s=float("inf")), "not finite"),
    ]:
        with pytest.raises(CacheError, match=message):
            making.shard([(row, features)], making.streams)
    with pytest.raises(CacheError, match="twice"):
        making.shard([(making.row("a"), features)] * 2, making.streams)
    for streams in ({"a/b": 1}, {"..": 1}, {"": 1}, {"pooled": 0}):
        with pytest.raises(CacheError, match="cannot be a stream"):
            making.shard([], streams)


def test_a_long_reason_is_shortened_and_says_so(making):
    reason = "ü" * 5000 + "\0end"
    with ShardFile(making.shard([(making.failed("a", reason), None)], making.streams)) as shard:
        kept = shard.index().row(0).reason
    assert kept.startswith("üüü")
    assert kept.endswith("bytes more]")
    assert len(kept.encode()) <= 4096


@pytest.fixture(scope="module")
def intact(making):
    ids = [f"18-19/NBA/{i}_18_19.mp4" for i in range(6)]
    entries = [(making.row(i), making.features(i)) for i in ids] + [(making.failed("bad"), None)]
    return making.shard(entries, making.streams, feature_set="ab" * 32)


def everything(data):
    """All that a reader can get out of a shard, as something that compares."""
    with ShardFile(data) as shard:
        index = shard.index()
        total = index.n_segments
        features = [
            shard.features(name, 0, total, dim=dim).tobytes() for name, dim in index.streams.items()
        ]
        return index, features, [column.tobytes() for column in shard.segments(0, total).values()]


def test_flipped_bits_are_refused_or_harmless(intact):
    expected = everything(intact)
    rng = np.random.default_rng(0)
    refused = 0
    for position in rng.choice(len(intact), 120, replace=False).tolist():
        flipped = bytearray(intact)
        flipped[position] ^= 1 << int(rng.integers(8))
        try:
            assert everything(bytes(flipped)) == expected, position
        except BasketError:
            refused += 1
    assert refused > 30


def test_truncated_shards_are_refused(intact):
    for length in [0, 1, 8, 48, len(intact) // 2, len(intact) - 1]:
        with pytest.raises(BasketError):
            everything(intact[:length])


def test_what_is_no_hdf5_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"not HDF5 at all" * 100)
    with pytest.raises(BasketError, match=r"x\.h5"):
        ShardFile(path)
    with pytest.raises(FileNotFoundError):
        ShardFile(tmp_path / "absent.h5")


def test_every_bit_pattern_of_a_half_is_told_as_finite_or_not():
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = np.isfinite(every)
    assert all_finite(every[finite]) and all_finite(every[:0])
    among = np.zeros((2, 3), np.float16)
    for bad in every[~finite]:
        among[1, 2] = bad
        assert not all_finite(among), hex(int(bad.view(np.uint16)))
