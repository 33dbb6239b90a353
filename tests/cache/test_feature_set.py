"""Reading a feature set: which rows are current, what is refused, and how features come out."""

import json
import os
import shutil
import zlib

import numpy as np
import pytest

from basket.cache import commit, look, manifest, open_cache
from basket.cache import feature_set as feature_set_module
from basket.errors import CacheError, IntegrityError, UsageError

IDS = [f"18-19/NBA/{i}_18_19.mp4" for i in range(30)]


def shards_of(feature_set):
    return sorted((feature_set.path / "shards").glob("*.h5"))


def add(feature_set, row, features=None):
    with feature_set.writer() as writer:
        writer.add(row, features)


def flip_a_bit(path, position=None, *, keep_mtime=False):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    stat = path.stat()
    path.write_bytes(data)
    if keep_mtime:
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


# Reading


def test_rows_ids_and_failures_are_sorted_and_complete(feature_set, reopened, making):
    making.fill(feature_set, IDS[::-1], per_shard=7)
    add(feature_set, making.failed("broken.mp4", "moov atom not found"))
    for now in (feature_set, reopened()):
        assert now.video_ids == tuple(sorted(IDS))
        assert dict(now.failed) == {"broken.mp4": "moov atom not found"}
        assert list(now.rows) == sorted([*IDS, "broken.mp4"])
        assert len(now.rows) == 31
        assert "broken.mp4" in now.rows
        assert "x" not in now.rows
        assert now.rows[IDS[3]] == making.row(IDS[3])
        assert now.row("broken.mp4").status == "failed"
        assert now.damaged == {}
        assert now.n_segments(IDS[:2]).tolist() == [3, 3]


def test_ragged_comes_in_the_order_asked_for(feature_set, reopened, making):
    lengths = {}
    with feature_set.writer() as writer:
        for number, video_id in enumerate(IDS):
            lengths[video_id] = 1 + number % 5
            writer.add(making.row(video_id), making.features(video_id, 1 + number % 5))
    rng = np.random.default_rng(1)
    asked = [IDS[i] for i in rng.permutation(30)] + [IDS[4], IDS[4]]
    for stream, dim in making.streams.items():
        ragged = reopened().ragged(asked, stream)
        assert ragged.values.dtype == np.float16
        assert ragged.dim == dim
        assert ragged.lengths.tolist() == [lengths[video_id] for video_id in asked]
        for video_id, values in zip(asked, ragged, strict=True):
            expected = making.features(video_id, lengths[video_id]).features[stream]
            assert np.array_equal(values, expected)
    assert reopened().ragged([]).values.shape == (0, 6)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("block_bytes", [1, 40, 300, 1 << 20])
def test_streaming_in_bounded_blocks_equals_reading(
    feature_set, reopened, making, ordered, block_bytes
):
    making.fill(feature_set, IDS, per_shard=4)
    now = reopened()
    asked = IDS[::-1][3:]
    order, largest = [], 0
    for ids, ragged in now.stream(asked, block_bytes=block_bytes, ordered=ordered):
        assert len(ids) == len(ragged) > 0
        order += ids
        largest = max(largest, ragged.values.nbytes)
        for video_id, values in zip(ids, ragged, strict=True):
            assert np.array_equal(values, now.read(video_id).features["pooled"])
    assert sorted(order) == sorted(asked)
    assert (order == asked) or not ordered
    assert largest <= max(block_bytes, 3 * 6 * 2)


def test_by_default_each_shard_is_opened_once(feature_set, reopened, making, monkeypatch):
    making.fill(feature_set, IDS, per_shard=5)
    opened = []
    real = feature_set_module.ShardFile
    monkeypatch.setattr(
        feature_set_module, "ShardFile", lambda path: opened.append(path.name) or real(path)
    )
    rng = np.random.default_rng(0)
    list(reopened().stream([IDS[i] for i in rng.permutation(30)]))
    assert len(opened) == len(set(opened)) == 6


def test_unknown_ids_and_streams_are_told(feature_set, making):
    making.fill(feature_set, IDS[:3])
    add(feature_set, making.failed("broken.mp4", "moov atom not found"))
    for read in (
        lambda video_id: feature_set.read(video_id),
        lambda video_id: feature_set.ragged([IDS[0], video_id]),
        lambda video_id: feature_set.stream([IDS[0], video_id]),
        lambda video_id: feature_set.n_segments([video_id]),
    ):
        with pytest.raises(CacheError, match=r"'broken\.mp4'.*failed \(moov atom not found\)"):
            read("broken.mp4")
        with pytest.raises(CacheError, match=r"did you mean '18-19/NBA/1_18_19\.mp4'"):
            read("18-19/NBA/1_18_19.mp")
    with pytest.raises(CacheError, match="'zzz' is not in"):
        feature_set.row("zzz")
    for read in (feature_set.ragged, lambda ids, stream: feature_set.stream(ids, stream=stream)):
        with pytest.raises(UsageError, match=r"no stream 'poold'; did you mean 'pooled'"):
            read(IDS[:1], stream="poold")


def test_other_processes_commits_show_after_a_refresh(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    reader = reopened()
    assert len(reader.video_ids) == 2
    making.fill(feature_set, IDS[2:5])
    assert len(reader.video_ids) == 2
    reader.refresh()
    assert len(reader.video_ids) == 5


def test_a_forked_child_reads_on(feature_set, reopened, making, in_child):
    making.fill(feature_set, IDS[:4])
    reader = reopened()
    reader.read(IDS[0])

    def read():
        assert np.array_equal(
            reader.ragged(IDS[1:2]).values, making.features(IDS[1]).features["pooled"]
        )

    assert in_child(read) == 0


# Which row is current


def test_a_replaced_source_file_is_not_done(feature_set, making):
    making.fill(feature_set, ["a"])
    add(feature_set, making.failed("b"))
    assert feature_set.is_done("a", 1000, 5)
    assert feature_set.is_done("a", 1000, 5, retry_failed=True)
    assert not feature_set.is_done("a", 1001, 5)
    assert not feature_set.is_done("a", 1000, 6)
    assert not feature_set.is_done("a", -1, -1)
    assert feature_set.is_done("b", 1000, 5)
    assert not feature_set.is_done("b", 1000, 5, retry_failed=True)
    assert not feature_set.is_done("c", 1000, 5)


@pytest.mark.parametrize("mtime_ns", [9, 1])
def test_the_row_of_the_current_source_beats_a_stale_one(
    feature_set, reopened, making, same, mtime_ns
):
    """Also where a video was restored to an older version, whose time is the smaller one."""
    making.fill(feature_set, ["a"])
    add(feature_set, making.row("a", source_mtime_ns=mtime_ns), making.features("a", shift=1))
    now = reopened()
    assert now.row("a").source_mtime_ns == mtime_ns
    assert same(now.read("a"), making.features("a", shift=1))
    assert now.is_done("a", 1000, mtime_ns)
    # Back to the first version: readers would get the second's features, so it is done again.
    assert not now.is_done("a", 1000, 5)
    add(now, making.row("a"), making.features("a"))
    assert same(reopened().read("a"), making.features("a"))
    assert reopened().is_done("a", 1000, 5)


def test_a_failure_of_the_current_source_beats_features_of_a_stale_one(
    feature_set, reopened, making
):
    making.fill(feature_set, ["a"])
    add(feature_set, making.failed("a", "truncated", source_bytes=7))
    assert reopened().video_ids == ()
    assert dict(reopened().failed) == {"a": "truncated"}


def test_a_file_that_is_gone_does_not_hide_what_it_gave(feature_set, reopened, making):
    making.fill(feature_set, ["a"])
    gone = {"source_bytes": -1, "source_mtime_ns": -1}
    add(feature_set, making.failed("a", "no such file", **gone))
    add(feature_set, making.failed("b", "no such file", **gone))
    now = reopened()
    assert now.video_ids == ("a",)
    assert dict(now.failed) == {"b": "no such file"}
    for video_id in ("a", "b"):
        assert now.is_done(video_id, -1, -1)
        assert not now.is_done(video_id, -1, -1, retry_failed=True)


def test_ok_beats_failed_and_a_later_attempt_an_earlier_failure(feature_set, reopened, making):
    add(feature_set, making.failed("a", "timeout", attempts=1))
    add(feature_set, making.failed("a", "crashed", attempts=2))
    assert dict(reopened().failed) == {"a": "crashed"}
    add(feature_set, making.row("a", attempts=3), making.features("a"))
    add(feature_set, making.failed("a", "flaky", attempts=4))
    assert reopened().video_ids == ("a",)
    assert reopened().row("a").attempts == 3


def test_of_equals_the_smallest_shard_name_wins(feature_set, reopened, making, same):
    for shift in range(4):
        add(feature_set, making.row("a", attempts=shift), making.features("a", shift=shift))
    with feature_set_module.ShardFile(shards_of(feature_set)[0]) as shard:
        first = shard.index().row(0).attempts
    assert reopened().row("a").attempts == first
    assert same(reopened().read("a"), making.features("a", shift=first))


def test_a_file_of_other_content_is_another_source_whatever_its_size_and_time(
    feature_set, reopened, making, same
):
    # Enough of them that the smallest shard name is not the last one's by chance.
    for shift in range(12):
        row = making.row("a", provenance={"source_sha256": f"{shift:064x}"})
        add(feature_set, row, making.features("a", shift=shift))
        assert same(reopened().read("a"), making.features("a", shift=shift))


# Damage


@pytest.mark.parametrize("keep_mtime", [False, True])
def test_a_damaged_shard_is_told_by_readers_and_redone_by_extraction(
    feature_set, reopened, making, same, keep_mtime
):
    making.fill(feature_set, IDS[:8], per_shard=4)
    flip_a_bit(shards_of(feature_set)[0], keep_mtime=keep_mtime)
    now = reopened()
    assert list(now.damaged) == [shards_of(feature_set)[0].name]
    for read in (
        lambda: now.video_ids,
        lambda: now.stream(),
        lambda: now.ragged(list(now.rows)),
    ):
        with pytest.raises(IntegrityError, match=r"basket cache verify") as caught:
            read()
        assert shards_of(feature_set)[0].name in str(caught.value)
    undone = [video_id for video_id in IDS[:8] if not now.is_done(video_id, 1000, 5)]
    assert len(undone) == 4
    assert len(now.rows) == 4
    for video_id in IDS[:8]:
        if video_id in undone:
            with pytest.raises(IntegrityError, match="damaged shard"):
                now.read(video_id)
        else:
            assert same(now.read(video_id), making.features(video_id))
    making.fill(now, undone)
    again = reopened()
    assert again.video_ids == tuple(sorted(IDS[:8]))
    assert dict(again.damaged) == dict(now.damaged)  # the file is left for repair
    for video_id in IDS[:8]:
        assert same(again.read(video_id), making.features(video_id))


def test_damage_is_not_made_good_by_rows_of_an_older_source(feature_set, reopened, making):
    making.fill(feature_set, ["a"])
    (old,) = shards_of(feature_set)
    add(feature_set, making.row("a", source_mtime_ns=9), making.features("a", shift=1))
    (new,) = (path for path in shards_of(feature_set) if path != old)
    flip_a_bit(new)
    with pytest.raises(IntegrityError):
        reopened().video_ids  # noqa: B018 - the property raises
    assert not reopened().is_done("a", 1000, 9)


def test_damage_of_unknown_content_is_never_taken_for_made_good(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    shutil.rmtree(feature_set.path / "manifest")
    flip_a_bit(shards_of(feature_set)[0])
    making.fill(reopened(), IDS[:2])
    with pytest.raises(IntegrityError):
        reopened().video_ids  # noqa: B018 - the property raises


def test_a_shard_that_is_gone_is_told(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    (shard,) = shards_of(feature_set)
    shard.unlink()
    assert "held 2 videos" in reopened().damaged[shard.name]
    with pytest.raises(IntegrityError, match="it is gone"):
        reopened().video_ids  # noqa: B018 - the property raises
    making.fill(reopened(), IDS[:2])
    assert len(reopened().video_ids) == 2


def test_a_stray_file_among_the_shards_is_told(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    (shard,) = shards_of(feature_set)
    shutil.copy(shard, shard.with_name("copy.h5"))
    (shard.parent / ".hidden.h5").touch()
    (shard.parent / "notes.txt").touch()
    assert list(reopened().damaged) == ["copy.h5"]


def test_damage_after_opening_is_noticed_when_reading(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    for keep_mtime in (False, True):
        now = reopened()
        assert len(now.video_ids) == 2
        flip_a_bit(shards_of(feature_set)[0], keep_mtime=keep_mtime)
        for read in (lambda: now.read(IDS[0]), lambda: now.ragged(IDS[:1])):  # noqa: B023
            with pytest.raises(IntegrityError, match="changed since it was written"):
                read()
        flip_a_bit(shards_of(feature_set)[0], keep_mtime=keep_mtime)
        assert len(now.ragged(IDS[:2])) == 2


def test_bits_that_rot_under_an_unchanged_stamp_are_caught_by_the_checksums(
    feature_set, reopened, making, monkeypatch
):
    """What a disk does silently: neither size nor times change, so the hash is not asked."""
    making.fill(feature_set, IDS[:2])
    (shard,) = shards_of(feature_set)
    needle = making.features(IDS[0]).features["pooled"].tobytes()
    now = reopened()
    assert len(now.video_ids) == 2
    stamp = manifest.Stamp.of(shard)
    flip_a_bit(shard, shard.read_bytes().find(needle) + 5)
    monkeypatch.setattr(manifest.Stamp, "of", lambda path: stamp)
    with pytest.raises(IntegrityError, match="basket cache verify"):
        now.read(IDS[0])


def test_flipped_bits_and_truncations_are_never_read_as_good_data(
    feature_set, reopened, making, same
):
    making.fill(feature_set, IDS[:3])
    (shard,) = shards_of(feature_set)
    intact = shard.read_bytes()
    rng = np.random.default_rng(2)
    for number in range(60):
        position = int(rng.integers(len(intact)))
        if number % 3:
            data = bytearray(intact)
            data[position] ^= 1 << int(rng.integers(8))
        else:
            data = intact[:position]
        shard.write_bytes(data)
        now = reopened()
        assert list(now.damaged) == [shard.name]
        assert not now.rows
        with pytest.raises(IntegrityError):
            now.stream()
    shard.write_bytes(intact)
    assert same(reopened().read(IDS[0]), making.features(IDS[0]))


# The manifest


def test_without_a_manifest_the_same_is_read(feature_set, reopened, making, monkeypatch):
    making.fill(feature_set, IDS, per_shard=4)
    add(feature_set, making.failed("broken.mp4"))
    before = dict(reopened().rows)
    shutil.rmtree(feature_set.path / "manifest")
    assert dict(reopened().rows) == before
    assert not (feature_set.path / "manifest").exists()  # its writer may be about to append
    monkeypatch.setattr(look, "_LINE_EXPECTED_WITHIN_S", -1.0)
    assert dict(reopened().rows) == before
    assert len(list((feature_set.path / "manifest").iterdir())) == 1
    monkeypatch.setattr(look, "opened", None)  # from now on nothing needs to be opened
    assert dict(reopened().rows) == before


def test_a_known_shard_is_neither_hashed_nor_parsed_again(
    feature_set, reopened, making, monkeypatch
):
    making.fill(feature_set, IDS, per_shard=4)
    monkeypatch.setattr(look, "opened", None)
    monkeypatch.setattr(feature_set_module, "is_named_by_its_bytes", None)
    assert len(reopened().ragged(IDS)) == 30


def test_a_copied_cache_is_hashed_once(feature_set, making, tmp_path, monkeypatch):
    making.fill(feature_set, IDS, per_shard=4)
    copy = tmp_path / "copy"
    shutil.copytree(feature_set.path.parent, copy)
    monkeypatch.setattr(look, "_LINE_EXPECTED_WITHIN_S", -1.0)
    hashed = []
    real = look.is_named_by_its_bytes
    monkeypatch.setattr(
        look, "is_named_by_its_bytes", lambda path: hashed.append(path) or real(path)
    )
    for _ in range(3):
        assert len(open_cache(copy)["motion"].video_ids) == 30
    assert len(hashed) == 8


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_torn_and_changed_lines_of_a_manifest_are_passed_over(
    feature_set, reopened, making, cut, monkeypatch
):
    with feature_set.writer(name="w") as writer:
        for video_id in IDS[:4]:
            writer.add(making.row(video_id), making.features(video_id))
            writer.flush()
    path = feature_set.path / "manifest" / "w.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    assert len(reopened().video_ids) == 4
    with reopened().writer(name="w") as writer:
        writer.add(making.row(IDS[4]), making.features(IDS[4]))
    assert len(reopened().video_ids) == 5
    assert len(list(manifest.read_manifests(path.parent))) == (5 if cut == 1 else 4)
    data = bytearray(path.read_bytes())
    rng = np.random.default_rng(cut)
    for position in rng.integers(0, len(data), 20).tolist():
        data[position] ^= 1
    path.write_bytes(data)
    assert reopened().video_ids == tuple(IDS[:5])
    assert dict(reopened().rows) == {video_id: making.row(video_id) for video_id in IDS[:5]}


def test_a_line_with_a_right_checksum_and_wrong_content_is_passed_over(feature_set, making):
    making.fill(feature_set, IDS[:1])
    (path,) = (feature_set.path / "manifest").iterdir()
    (entry,) = manifest.read_manifests(path.parent)
    document = json.loads(path.read_text())["entry"]
    for change in (
        {"version": 2},
        {"shard": "../x.h5"},
        {"video_ids": ["../../x"]},
        {"video_ids": 3},
        {"columns": {}},
        {"stamp": [1]},
        {"offsets": [5, 3]},
    ):
        text = json.dumps(document | change)
        path.write_text(f'{{"crc32":"{zlib.crc32(text.encode()):08x}","entry":{text}}}\n')
        assert list(manifest.read_manifests(path.parent)) == []
    path.write_bytes(manifest.line_of(entry))
    assert list(manifest.read_manifests(path.parent)) == [entry]


def test_shards_that_were_packed_into_another_may_go(feature_set, reopened, making, same):
    """What ``pack`` will do: a shard of the same rows, a line that names the old ones."""
    making.fill(feature_set, IDS[:6], per_shard=2)
    reader = reopened()
    assert len(reader.video_ids) == 6
    old = [path.name for path in shards_of(feature_set)]
    image = commit.build_image(
        [(making.row(i), making.features(i)) for i in IDS[:6]],
        making.streams,
        feature_set=feature_set.spec.digest,
        committed_ns=[7] * 6,
    )
    path = feature_set.path / "manifest" / "pack.jsonl"
    entry = commit.publish_image(feature_set.path, image, manifest=path)
    packed = manifest.Entry(entry.shard, entry.stamp, entry.index, replaces=tuple(old))
    path.write_bytes(manifest.line_of(packed))
    assert len(reopened().video_ids) == 6
    for name in old:
        (feature_set.path / "shards" / name).unlink()
    assert reopened().damaged == {}
    assert len(reader.ragged(IDS[:6])) == 6  # a reader that had not heard of it looks again
    assert same(reader.read(IDS[5]), making.features(IDS[5]))
    assert reader.damaged == {}


def test_a_shard_published_while_the_folder_is_looked_at_is_not_taken_for_lost(
    feature_set, reopened, making, monkeypatch
):
    making.fill(feature_set, IDS[:2])
    real = look.read_manifests

    def meanwhile(folder):
        if len(shards_of(feature_set)) == 1:
            making.fill(feature_set, IDS[2:4])
        return real(folder)

    monkeypatch.setattr(look, "read_manifests", meanwhile)
    now = reopened()
    assert now.damaged == {}
    assert len(now.video_ids) == 2
    now.refresh()
    assert len(now.video_ids) == 4


# Poor surroundings


def test_a_read_only_cache_is_read(feature_set, reopened, making, monkeypatch):
    making.fill(feature_set, IDS[:5])
    shutil.rmtree(feature_set.path / "manifest")
    monkeypatch.setattr(look, "_LINE_EXPECTED_WITHIN_S", -1.0)

    def read_only(*args, **kwargs):
        raise OSError(30, "Read-only file system")

    for call in ("mkdir", "open", "link", "rename", "replace", "unlink"):
        monkeypatch.setattr(os, call, read_only)
    assert len(reopened().ragged(IDS[:5])) == 5
    with pytest.raises(CacheError, match="Read-only file system"):
        making.fill(reopened(), ["new"])
    monkeypatch.undo()
    assert len(reopened().video_ids) == 5


def test_a_shard_that_may_not_be_read_is_no_damage(feature_set, reopened, making, monkeypatch):
    making.fill(feature_set, IDS[:5])
    shutil.rmtree(feature_set.path / "manifest")

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(look, "is_named_by_its_bytes", refuse)
    for ask in (lambda: reopened().is_done(IDS[0], 1000, 5), lambda: reopened().rows):
        with pytest.raises(CacheError, match="Permission denied") as caught:
            ask()
        assert not isinstance(caught.value, IntegrityError)


def test_leftovers_of_dead_writers_do_not_matter(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    (feature_set.path / ".tmp" / "f00d").write_bytes(b"half a shard")
    (feature_set.path / "shards" / ".x.h5.lock").touch()
    assert len(reopened().video_ids) == 2
    assert reopened().damaged == {}


def test_an_empty_feature_set_is_empty(feature_set, reopened):
    assert reopened().video_ids == ()
    assert list(reopened().stream()) == []
    assert dict(reopened().failed) == {}
    shutil.rmtree(feature_set.path / "shards")
    assert reopened().video_ids == ()


def test_spans_and_real_frames_of_many_videos_come_in_the_order_asked_for(feature_set, making):
    ids = [f"{i}.mp4" for i in range(9)]
    making.fill(feature_set, ids, per_shard=2)
    asked = [ids[i] for i in (7, 0, 3, 8, 2, 3)]
    segments = feature_set.segments(asked)
    for name, column in segments.items():
        expected = np.concatenate([getattr(making.features(each), name) for each in asked])
        assert column.dtype == expected.dtype
        assert np.array_equal(column, expected)
    assert set(segments) == {"start_s", "end_s", "frames_valid"}
    assert feature_set.segments([])["frames_valid"].shape == (0,)
