"""Packing: fewer shards, the same rows, at every moment and after every death."""

import errno
import os
import shutil
from functools import partial

import pytest
from child_processes import DIED, dying_at

from basket.cache import commit, durable, look, open_cache, pack, repair, verify
from basket.cache.commit import FAILPOINTS
from basket.cache.packing import PACK_FAILPOINTS, groups_of
from basket.errors import CacheError, IntegrityError, UsageError

IDS = [f"18-19/NBA/{i:02}_18_19.mp4" for i in range(24)]
TARGET = 1 << 20


def shards_of(feature_set):
    return sorted((feature_set.path / "shards").glob("*.h5"))


def add(feature_set, row, features=None):
    with feature_set.writer() as writer:
        writer.add(row, features)


def test_many_small_shards_become_one_of_the_same_rows(feature_set, reopened, making, complete):
    making.fill(feature_set, IDS, per_shard=2)
    add(feature_set, making.failed("broken.mp4"))
    before = dict(reopened().rows)
    report = pack(feature_set, target_bytes=TARGET)
    assert (report.merged, report.made, report.rows, report.superseded) == (13, 1, 25, 0)
    assert report.shards == len(shards_of(feature_set)) == 1
    assert len(list((feature_set.path / "aside").iterdir())) == 13
    for now in (feature_set, reopened()):
        assert dict(now.rows) == before
        assert now.video_ids == tuple(IDS)
        assert now.damaged == {}
    assert verify(reopened(), deep=True).problems == ()
    assert pack(feature_set, target_bytes=TARGET).merged == 0


def test_packing_again_takes_what_came_since(feature_set, reopened, making, complete):
    making.fill(feature_set, IDS[:8], per_shard=2)
    pack(feature_set, target_bytes=TARGET, delete=True)
    assert not (feature_set.path / "aside").exists()
    making.fill(feature_set, IDS[8:], per_shard=2)
    pack(feature_set, target_bytes=TARGET, delete=True)
    assert len(shards_of(feature_set)) == 1
    complete(reopened(), IDS)


def test_shards_that_are_large_enough_are_left(feature_set, reopened, making):
    making.fill(feature_set, IDS, per_shard=2)
    size = shards_of(feature_set)[0].stat().st_size
    groups = groups_of(feature_set.snapshot, target_bytes=4 * size)
    assert [len(group) for group in groups] == [4, 4, 4]
    assert groups_of(feature_set.snapshot, target_bytes=size) == []
    with pytest.raises(UsageError):
        pack(feature_set, target_bytes=10)


def test_rows_that_are_outdone_within_the_pack_are_left_out_and_the_winner_stays(
    feature_set, reopened, making, same
):
    """An ok row, replaced by a later source; a failure of the same source that came after it."""
    add(feature_set, making.row("a", source_mtime_ns=1), making.features("a", shift=1))
    add(feature_set, making.row("a", source_mtime_ns=2), making.features("a", shift=2))
    add(feature_set, making.failed("a", source_mtime_ns=2, attempts=2))
    newest = feature_set.snapshot.newest_ns
    report = pack(feature_set, target_bytes=TARGET)
    assert (report.rows, report.superseded) == (1, 2)
    now = reopened()
    assert same(now.read("a"), making.features("a", shift=2))
    # The group of its source was committed as late as its latest row; that must not be forgotten.
    assert now.snapshot.newest_ns == newest


def test_a_row_is_never_judged_by_rows_outside_of_the_pack(feature_set, reopened, making, same):
    """The winner lies in a large shard: the small ones keep both of their rows."""
    with feature_set.writer() as writer:
        for number in range(3):
            video_id = f"big{number}"
            writer.add(making.row(video_id), making.features(video_id, 3000))
        writer.add(making.row("a", source_mtime_ns=3), making.features("a", shift=3))
    for mtime_ns in (1, 2):
        add(feature_set, making.failed("a", source_mtime_ns=3, attempts=mtime_ns))
    feature_set.refresh()
    (large,) = [p for p in shards_of(feature_set) if p.stat().st_size > 100_000]
    assert groups_of(feature_set.snapshot, target_bytes=large.stat().st_size) == []
    assert pack(feature_set, target_bytes=large.stat().st_size).merged == 0
    assert same(reopened().read("a"), making.features("a", shift=3))


def test_readers_go_on_while_shards_are_packed_under_them(feature_set, reopened, making, same):
    making.fill(feature_set, IDS, per_shard=2)
    reader = reopened()
    blocks = reader.stream(block_bytes=1)
    ids, _ = next(blocks)
    pack(feature_set, target_bytes=TARGET, delete=True)
    seen = list(ids)
    for block, ragged in blocks:
        seen += block
        for video_id, values in zip(block, ragged, strict=True):
            assert (values == making.features(video_id).features["pooled"]).all()
    assert sorted(seen) == IDS
    assert same(reader.read(IDS[3]), making.features(IDS[3]))


def test_a_writer_beside_a_pack_loses_nothing(feature_set, reopened, making, complete):
    making.fill(feature_set, IDS[:8], per_shard=2)
    with feature_set.writer() as writer:
        for video_id in IDS[8:]:
            writer.add(making.row(video_id), making.features(video_id))
            if video_id in IDS[10::4]:
                writer.flush()
                pack(reopened(), target_bytes=TARGET)
    complete(reopened(), IDS)


@pytest.mark.parametrize("step", [*FAILPOINTS, *PACK_FAILPOINTS])
def test_death_at_any_step_of_a_pack_changes_nothing_that_is_read(
    step, feature_set, reopened, making, in_child, complete
):
    making.fill(feature_set, IDS, per_shard=4)
    packing = partial(pack, reopened(), target_bytes=TARGET)
    assert in_child(dying_at(step, packing)) == DIED
    complete(reopened(), IDS)
    pack(reopened(), target_bytes=TARGET)
    assert len(shards_of(feature_set)) == 1
    complete(reopened(), IDS)


@pytest.mark.parametrize("step", [*FAILPOINTS, *PACK_FAILPOINTS])
def test_two_packs_at_once_one_of_which_dies(
    step, feature_set, reopened, making, in_child, complete
):
    making.fill(feature_set, IDS, per_shard=4)

    def second_inside_the_first():
        def on_step(name):
            if name == step:
                commit.on_step = lambda _: None
                pack(reopened(), target_bytes=TARGET)
                os._exit(DIED)

        commit.on_step = on_step
        pack(reopened(), target_bytes=TARGET)

    assert in_child(second_inside_the_first) == DIED
    complete(reopened(), IDS)
    pack(reopened(), target_bytes=TARGET)
    complete(reopened(), IDS)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "close"])
def test_a_failing_system_call_stops_a_pack_and_loses_nothing(
    call, code, feature_set, reopened, making, complete, monkeypatch
):
    making.fill(feature_set, IDS, per_shard=8)
    real = getattr(os, call)
    for nth in range(1, 30):
        calls = 0

        def fake(*args, nth=nth, **kwargs):
            nonlocal calls
            calls += 1
            if calls == nth:
                raise OSError(code, os.strerror(code))
            return real(*args, **kwargs)

        with monkeypatch.context() as patch:
            patch.setattr(durable.os, call, fake)
            try:
                pack(reopened(), target_bytes=TARGET)
            except CacheError as error:
                assert "intact" in str(error)
                assert "\n" not in str(error)
        complete(reopened(), IDS)
        if calls < nth:
            break
    else:
        pytest.fail("the call kept being made")
    assert nth > 1
    pack(reopened(), target_bytes=TARGET)
    complete(reopened(), IDS)
    assert len(shards_of(feature_set)) == 1


def test_damage_that_nobody_has_noticed_is_never_packed(feature_set, reopened, making):
    making.fill(feature_set, IDS[:8], per_shard=2)
    now = reopened()
    assert len(now.rows) == 8
    bad = shards_of(feature_set)[1]
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    names = [path.name for path in shards_of(feature_set)]
    real = type(now).refresh
    now.refresh = lambda: None  # it has looked, and the damage comes after
    bad.write_bytes(data)
    with pytest.raises(IntegrityError, match=bad.name):
        pack(now, target_bytes=TARGET)
    assert [path.name for path in shards_of(feature_set)] == names
    real(now)
    # Once it is known, the rest is packed, and the damaged one left to repair.
    report = pack(reopened(), target_bytes=TARGET)
    assert (report.merged, report.damaged) == (3, 1)


def test_a_packed_shard_that_is_damaged_is_replaced_by_what_it_was_made_of(
    feature_set, reopened, making, complete
):
    making.fill(feature_set, IDS, per_shard=4)
    pack(feature_set, target_bytes=TARGET)
    (packed,) = shards_of(feature_set)
    packed.write_bytes(packed.read_bytes()[:-1])
    report = repair(reopened())
    assert len(report.restored) == 6
    assert report.to_redo == ()
    complete(reopened(), IDS)


def test_a_pack_that_makes_a_shard_that_is_there_keeps_it(
    feature_set, reopened, making, complete, monkeypatch
):
    """It was published by a pack that failed before it could say what the shard replaces."""
    making.fill(feature_set, IDS, per_shard=8)

    def refuse(*args, **kwargs):
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "append_line", refuse)
        with pytest.raises(CacheError, match="intact"):
            pack(feature_set, target_bytes=TARGET)
    assert len(shards_of(feature_set)) == 4
    complete(reopened(), IDS)
    pack(reopened(), target_bytes=TARGET)
    assert len(shards_of(feature_set)) == 1
    complete(reopened(), IDS)


def test_a_line_that_is_lost_with_the_power_does_not_make_packed_shards_missing(
    feature_set, reopened, making, complete
):
    making.fill(feature_set, IDS, per_shard=4)
    pack(feature_set, target_bytes=TARGET)
    for path in (feature_set.path / "manifest").glob("pack-*.jsonl"):
        path.unlink()
    now = reopened()
    assert now.video_ids == tuple(IDS)  # their rows are all outdone by the packed ones
    repair(now)
    complete(reopened(), IDS)


def test_file_systems_without_hard_links_are_packed_too(
    feature_set, reopened, making, complete, monkeypatch
):
    making.fill(feature_set, IDS, per_shard=4)

    def no_link(*args, **kwargs):
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(durable.os, "link", no_link)
    pack(reopened(), target_bytes=TARGET)
    assert len(shards_of(feature_set)) == 1
    complete(open_cache(feature_set.path.parent)["motion"], IDS)


def test_a_packed_cache_that_was_copied_is_whole(
    feature_set, reopened, making, complete, tmp_path, monkeypatch
):
    """Its files have other stamps there, so that every line of the manifest is a stale one."""
    monkeypatch.setattr(look, "_LINE_EXPECTED_WITHIN_S", -1.0)
    making.fill(feature_set, IDS, per_shard=4)
    pack(feature_set, target_bytes=TARGET, delete=True)
    copy = tmp_path / "copy"
    shutil.copytree(feature_set.path.parent, copy)
    for _ in range(3):
        complete(open_cache(copy)["motion"], IDS)
    repair(open_cache(copy)["motion"])
    complete(open_cache(copy)["motion"], IDS)
