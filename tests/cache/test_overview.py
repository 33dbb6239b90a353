"""What is told of a cache: counts against labels, and features that came about differently."""

import hashlib
import json

import pytest

from basket.cache import cache_overview, content_hash, mixing_sentence, open_cache, overview_of

IDS = [f"{i}.mp4" for i in range(5)]


def add(feature_set, making, video_id, **provenance):
    with feature_set.writer() as writer:
        writer.add(making.row(video_id, provenance=provenance), making.features(video_id))


def test_counts_sizes_and_times(feature_set, making):
    making.fill(feature_set, IDS, per_shard=2)
    with feature_set.writer() as writer:
        writer.add(making.failed("broken.mp4", "moov atom not found"))
    found = overview_of(feature_set, wanted=[*IDS, "broken.mp4", "absent.mp4"])
    assert (found.done, found.failed, found.segments, found.shards) == (5, 1, 15, 4)
    assert found.missing == ("absent.mp4",)
    assert dict(found.reasons) == {"broken.mp4": "moov atom not found"}
    assert found.size_bytes == sum(
        path.stat().st_size for path in (feature_set.path / "shards").iterdir()
    )
    assert 0 < found.first_ns < found.last_ns
    assert found.provenance["decoder"] == {"pyav": 5}
    assert found.mixing == ""
    document = json.loads(json.dumps(found.to_json()))
    assert document["videos"] == {"done": 5, "failed": 1, "missing": 1}
    assert overview_of(feature_set).missing is None
    assert [each.name for each in cache_overview(open_cache(feature_set.path.parent))] == [
        feature_set.name
    ]


def test_an_empty_and_a_damaged_feature_set_are_told_and_no_error(feature_set, reopened, making):
    empty = overview_of(feature_set)
    assert (empty.done, empty.segments, empty.last_ns, empty.mixing) == (0, 0, 0, "")
    making.fill(feature_set, IDS, per_shard=2)
    next((feature_set.path / "shards").iterdir()).write_bytes(b"x")
    assert len(overview_of(reopened()).damaged) == 1


def test_mixing_decoders_devices_or_precisions_is_one_sentence(feature_set, making):
    add(feature_set, making, "a", decoder="pyav", device="cuda", precision="bf16")
    assert mixing_sentence(feature_set) == ""
    coming = {"decoder": "decord", "device": "cuda", "precision": "bf16", "host": "other"}
    said = mixing_sentence(feature_set, coming)
    assert "decoder pyav (1), decord (from now on)" in said
    assert "device" not in said
    assert "host" not in said
    assert "\n" not in said
    add(feature_set, making, "b", decoder="decord", device="cpu", precision="bf16")
    said = mixing_sentence(feature_set)
    assert "decoder" in said
    assert "device" in said
    assert "precision" not in said
    assert overview_of(feature_set).mixing == said


def test_the_first_videos_of_a_feature_set_mix_with_nothing(feature_set):
    assert mixing_sentence(feature_set, {"decoder": "pyav"}) == ""


@pytest.fixture
def hashed(feature_set, making, tmp_path):
    source = tmp_path / "a.mp4"
    source.write_bytes(b"x" * 1000)
    row = making.row("a", provenance={"source_sha256": content_hash(source)})
    with feature_set.writer() as writer:
        writer.add(row, making.features("a"))
    return source


def test_a_recorded_content_hash_decides_instead_of_the_time(feature_set, hashed):
    assert content_hash(hashed) == hashlib.sha256(b"x" * 1000).hexdigest()
    content = lambda: content_hash(hashed)  # noqa: E731
    assert feature_set.is_done("a", 1000, 5, content=content)
    assert not feature_set.is_done("a", 1000, 777)
    assert feature_set.is_done("a", 1000, 777, content=content)  # copied: another time
    assert not feature_set.is_done("a", 1001, 777, content=content)
    hashed.write_bytes(b"y" * 1000)  # replaced by a file of the same size and time
    assert feature_set.is_done("a", 1000, 5)
    assert not feature_set.is_done("a", 1000, 5, content=content)


def test_where_no_hash_was_recorded_size_and_time_decide(feature_set, making):
    making.fill(feature_set, ["a"])
    assert feature_set.is_done("a", 1000, 5, content=lambda: "unknown")
    assert not feature_set.is_done("a", 1000, 6, content=lambda: "unknown")
