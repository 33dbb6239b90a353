"""Verify tells what is wrong and touches nothing; repair makes exactly that to be done again."""

import errno
import os
import shutil
import time

import h5py
import pytest
from child_processes import DIED, dying_at

from basket.cache import commit, pack, repair, verify
from basket.cache.manifest import Entry, Stamp, line_of, read_manifests
from basket.cache.repairs import REPAIR_FAILPOINTS
from basket.errors import CacheError

IDS = [f"18-19/NBA/{i:02}_18_19.mp4" for i in range(12)]


def shards_of(feature_set):
    return sorted((feature_set.path / "shards").glob("*.h5"))


def flip(path, position=None):
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def tree(folder):
    return {p: (p.read_bytes(), p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def ids_in(feature_set, path):
    (entry,) = [e for e in read_manifests(feature_set.path / "manifest") if e.shard == path.name]
    return entry.index.video_ids


def test_an_intact_set_is_intact_and_verifying_changes_nothing(feature_set, reopened, making):
    making.fill(feature_set, IDS, per_shard=4)
    with feature_set.writer() as writer:
        writer.add(making.failed("broken.mp4"))
    before = tree(feature_set.path)
    told = []
    for deep in (False, True):
        report = verify(reopened(), deep=deep, tell=lambda *at: told.append(at))
        assert report.problems == ()
        assert (report.ok, report.failed, report.shards) == (12, 1, 4)
        assert report.to_json()["intact"] is True
    assert told[-1] == (4, 4)
    assert tree(feature_set.path) == before


def test_every_kind_of_damage_is_told(feature_set, reopened, making):
    making.fill(feature_set, IDS, per_shard=2)
    flipped, truncated, lost, *_ = shards_of(feature_set)
    ids = {path: ids_in(feature_set, path) for path in (flipped, truncated, lost)}
    flip(flipped)
    truncated.write_bytes(truncated.read_bytes()[:100])
    lost.unlink()
    shutil.copy(shards_of(feature_set)[-1], feature_set.path / "shards" / "copy.h5")
    found = {problem.file: problem for problem in verify(reopened()).problems}
    assert set(found) == {f"shards/{p.name}" for p in (flipped, truncated, lost)} | {
        "shards/copy.h5"
    }
    assert "not those it is named by" in found[f"shards/{flipped.name}"].what
    assert "gone" in found[f"shards/{lost.name}"].what
    for path, hit in ids.items():
        assert found[f"shards/{path.name}"].videos == hit


def test_damage_under_an_unchanged_stamp_is_found_although_readers_trust_the_manifest(
    feature_set, reopened, making, monkeypatch
):
    making.fill(feature_set, IDS[:2])
    (shard,) = shards_of(feature_set)
    stamp = Stamp.of(shard)
    flip(shard)
    monkeypatch.setattr(Stamp, "of", lambda path: stamp)
    assert reopened().damaged == {}
    assert len(verify(reopened()).problems) == 1


def test_a_shard_that_is_named_by_its_bytes_but_holds_nonsense_is_found_deep(
    feature_set, reopened, making
):
    """Not what chance does: somebody wrote values that are not finite and renamed the file."""
    import hashlib

    making.fill(feature_set, IDS[:2])
    data = making.shard(
        [(making.row("x"), making.features("x"))],
        making.streams,
        feature_set=feature_set.spec.digest,
    )
    path = feature_set.path / "x.h5"
    path.write_bytes(data)
    with h5py.File(path, "r+") as file:
        file["features/pooled"][0, 0] = float("nan")
    path.rename(feature_set.path / "shards" / f"{hashlib.sha256(path.read_bytes()).hexdigest()}.h5")
    assert verify(reopened()).problems == ()
    (problem,) = verify(reopened(), deep=True).problems
    assert "not finite" in problem.what


def test_a_manifest_line_that_says_other_rows_is_told(feature_set, reopened, making):
    making.fill(feature_set, IDS[:4], per_shard=2)
    first, second = read_manifests(feature_set.path / "manifest")
    lie = Entry(first.shard, first.stamp, second.index)
    (feature_set.path / "manifest" / "zz.jsonl").write_bytes(line_of(lie))
    (problem,) = verify(reopened()).problems
    assert problem.file == "manifest"
    assert first.shard in problem.what
    repair(reopened())
    assert verify(reopened()).problems == ()
    assert reopened().video_ids == tuple(IDS[:4])


def test_repair_sets_damage_aside_and_the_next_extraction_makes_exactly_its_videos(
    feature_set, reopened, making, complete, extracting
):
    making.fill(feature_set, IDS, per_shard=2)
    flipped, lost, *others = shards_of(feature_set)
    redo = sorted(ids_in(feature_set, flipped) + ids_in(feature_set, lost))
    bytes_before = flipped.read_bytes()
    flip(flipped)
    damaged = flipped.read_bytes()
    lost.unlink()
    report = repair(reopened())
    assert report.to_redo == tuple(redo)
    assert list(report.set_aside) == [flipped.name]
    assert report.ok == 8
    aside = [p.read_bytes() for p in (feature_set.path / "aside").iterdir() if ".h5." in p.name]
    assert aside == [damaged] != [bytes_before]
    assert verify(reopened(), deep=True).problems == ()
    now = reopened()
    assert [video_id for video_id in IDS if not now.is_done(video_id, 1000, 5)] == redo
    assert [p.name for p in shards_of(feature_set)] == [p.name for p in others]
    extracting(feature_set.path.parent, IDS)
    complete(reopened(), IDS)


def test_repairing_what_is_whole_changes_no_row_and_no_shard(feature_set, reopened, making):
    making.fill(feature_set, IDS, per_shard=4)
    before = {p.name: p.read_bytes() for p in shards_of(feature_set)}
    rows = dict(reopened().rows)
    for _ in range(2):
        report = repair(reopened())
        assert (report.set_aside, report.to_redo, report.restored) == ({}, (), ())
    assert {p.name: p.read_bytes() for p in shards_of(feature_set)} == before
    assert dict(reopened().rows) == rows
    assert len(list((feature_set.path / "manifest").iterdir())) == 1


def test_repair_finds_what_no_manifest_knows(feature_set, reopened, making):
    making.fill(feature_set, IDS[:4], per_shard=2)
    shutil.rmtree(feature_set.path / "manifest")
    flip(shards_of(feature_set)[0])
    report = repair(reopened())
    assert (report.unknown, report.to_redo, report.ok) == (1, (), 2)
    assert verify(reopened()).problems == ()


def test_only_abandoned_temporary_files_are_cleared(feature_set, reopened, making):
    making.fill(feature_set, IDS[:2])
    old, new = feature_set.path / ".tmp" / "old", feature_set.path / ".tmp" / "new"
    lock = feature_set.path / "shards" / ".x.h5.lock"
    for path in (old, new, lock):
        path.write_bytes(b"half")
    hours_ago = time.time() - 7200
    for path in (old, lock):
        os.utime(path, (hours_ago, hours_ago))
    assert repair(reopened()).cleared == 2
    assert [p.name for p in (feature_set.path / ".tmp").iterdir()] == ["new"]


@pytest.mark.parametrize("step", REPAIR_FAILPOINTS)
def test_a_repair_that_dies_is_repeated(
    step, feature_set, reopened, making, in_child, complete, extracting
):
    making.fill(feature_set, IDS, per_shard=3)
    flip(shards_of(feature_set)[1])
    assert in_child(dying_at(step, lambda: repair(reopened()))) == DIED
    assert len(reopened().rows) == 9
    repair(reopened())
    assert verify(reopened()).problems == ()
    extracting(feature_set.path.parent, IDS)
    complete(reopened(), IDS)


def test_a_repair_cut_short_still_knows_what_was_packed_twice(
    feature_set, reopened, making, monkeypatch
):
    """The lines of the first pack go aside before those of the shards that it replaced."""
    for number in range(4):
        with feature_set.writer(name="zz") as writer:
            writer.add(making.row(f"{number}.mp4"), making.features(f"{number}.mp4"))
        if number > 1:
            pack(reopened(), target_bytes=1 << 20, delete=True)

    class CutShort(Exception):
        pass

    def on_step(name):
        if name == "repair-manifest-aside":
            raise CutShort

    monkeypatch.setattr(commit, "on_step", on_step)
    with pytest.raises(CutShort):
        repair(reopened())
    assert sorted(path.name[:2] for path in (feature_set.path / "manifest").iterdir())[-1] == "zz"
    assert verify(reopened()).problems == ()
    assert reopened().damaged == {}


def in_its_place(path, kind):
    path.unlink()
    if kind == "folder":
        path.mkdir()
        (path / "inside").touch()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(path.name if kind == "loop" else "nowhere.h5")


@pytest.mark.parametrize("kind", ["folder", "pipe", "loop", "dangling"])
def test_whatever_stands_where_a_shard_should_be_is_set_aside(kind, feature_set, reopened, making):
    making.fill(feature_set, IDS, per_shard=2)
    first, second, *_ = shards_of(feature_set)
    in_its_place(first, kind)
    flip(second)
    report = repair(reopened())
    assert sorted(report.set_aside) == [first.name, second.name]
    assert (report.ok, len(report.to_redo)) == (8, 4)
    assert verify(reopened(), deep=True).problems == ()
    # What lies aside now is no copy of a lost shard, and stops no second repair.
    flip(shards_of(feature_set)[0])
    assert repair(reopened()).ok == 6


def test_a_shard_that_may_not_be_read_is_named_and_is_no_damage(
    feature_set, reopened, making, monkeypatch
):
    making.fill(feature_set, IDS[:4], per_shard=2)
    path = shards_of(feature_set)[0]

    def refuse(_path):
        raise PermissionError(errno.EACCES, "Permission denied", str(_path))

    now = reopened()
    monkeypatch.setattr("basket.cache.verification.opened", refuse)
    for check in (verify, repair):
        with pytest.raises(CacheError, match=f"{path.name} cannot be read: Permission denied"):
            check(now)
    assert path.exists()
