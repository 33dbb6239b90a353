"""The commit protocol under death, failing system calls, rivals and poor file systems."""

import errno
import os
import time
from functools import partial
from types import SimpleNamespace

import pytest
from child_processes import DIED, dying_at, exit_status, kill_after, needs_fork, start

from basket.cache import commit, durable, open_cache
from basket.cache.commit import FAILPOINTS, write_atomically
from basket.cache.durable import supports_hard_links
from basket.cache.writer import ShardWriter
from basket.errors import CacheError, Interrupted

IDS = [f"v{i:02}.mp4" for i in range(10)]


def extract(path, making, ids):
    """What an extraction does: every id that is not done, four to a shard."""
    feature_set = open_cache(path)["motion"]
    with feature_set.writer() as writer:
        for number, video_id in enumerate(ids):
            if not feature_set.is_done(video_id, 1000, 5):
                writer.add(making.row(video_id), making.features(video_id))
            if number % 4 == 3:
                writer.flush()


def check_complete(feature_set, making, same, ids=IDS):
    """Nothing lost, doubled or changed, by every way of reading."""
    assert feature_set.damaged == {}
    assert feature_set.video_ids == tuple(sorted(ids))
    seen = []
    for block, ragged in feature_set.stream():
        seen += block
        for video_id, values in zip(block, ragged, strict=True):
            assert (values == making.features(video_id).features["pooled"]).all()
    assert sorted(seen) == sorted(ids)
    for video_id in ids:
        assert same(feature_set.read(video_id), making.features(video_id))
        assert feature_set.row(video_id) == making.row(video_id)


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", FAILPOINTS)
def test_death_at_any_step_loses_and_doubles_nothing(
    step, nth, feature_set, reopened, making, same, in_child
):
    path = feature_set.path.parent
    making.fill(feature_set, IDS[:3])
    assert in_child(dying_at(step, lambda: extract(path, making, IDS), nth=nth)) == DIED
    after_death = reopened()
    assert after_death.damaged == {}
    published = FAILPOINTS.index(step) >= FAILPOINTS.index("published")
    # The first flush holds one video that was not there, the second four.
    assert len(after_death.video_ids) == {1: 3 + published, 2: 4 + 4 * published}[nth]
    for video_id in after_death.video_ids:
        assert same(after_death.read(video_id), making.features(video_id))
    extract(path, making, IDS)
    check_complete(reopened(), making, same)


@needs_fork
def test_two_writers_at_once_need_no_coordinator(feature_set, reopened, making, same):
    ids = [f"w{i:02}.mp4" for i in range(40)]
    path = feature_set.path.parent
    orders = (ids, ids[::-1], ids[20:] + ids[:20])
    children = [start(partial(extract, path, making, order)) for order in orders]
    assert [exit_status(child) for child in children] == [0, 0, 0]
    check_complete(reopened(), making, same, ids)


@needs_fork
def test_kill_9_at_any_moment_loses_nothing_committed(feature_set, reopened, making, same):
    path = feature_set.path.parent
    ids = [f"k{i:03}.mp4" for i in range(60)]
    done = 0
    for delay_s in (0.01, 0.03, 0.02, 0.05, 0.04):
        kill_after(lambda: extract(path, making, ids), delay_s)
        now = reopened()
        assert now.damaged == {}
        assert len(now.video_ids) >= done
        done = len(now.video_ids)
    extract(path, making, ids)
    check_complete(reopened(), making, same, ids)


def failing(monkeypatch, call, nth, code):
    """Let the n-th call of an ``os`` function in the commit fail; return how many there were."""
    real = getattr(os, call)
    calls = [0]

    def fake(*args, **kwargs):
        calls[0] += 1
        if calls[0] == nth:
            raise OSError(code, os.strerror(code))
        return real(*args, **kwargs)

    monkeypatch.setattr(durable.os, call, fake)
    return calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", ["write", "fsync", "link", "close", "open"])
def test_a_failing_system_call_is_one_clear_error_and_can_be_repeated(
    call, code, feature_set, reopened, making, same, monkeypatch
):
    making.fill(feature_set, IDS[:3])
    told = 0
    for nth in range(1, 12):
        video_id = f"n{nth:02}.mp4"
        writer = feature_set.writer(name="mine")
        writer.add(making.row(video_id), making.features(video_id))
        with monkeypatch.context() as patch:
            calls = failing(patch, call, nth, code)
            try:
                writer.flush()
            except CacheError as error:
                told += 1
                assert "\n" not in str(error)
                assert "intact" in str(error)
                if code == errno.ENOSPC:
                    assert "bytes are needed" in str(error)
                    assert "are free" in str(error)
        assert same(reopened().read(IDS[0]), making.features(IDS[0]))
        writer.flush()  # the cause is gone: the very same bytes are published
        assert writer.n_buffered == 0
        now = reopened()
        assert now.damaged == {}
        assert same(now.read(video_id), making.features(video_id))
        assert not list((feature_set.path / ".tmp").iterdir()) or call == "close"
        if calls[0] < nth:
            break
    else:
        pytest.fail("the call kept being made")
    assert told >= 1
    assert len(list((feature_set.path / "shards").glob("*.h5"))) == 1 + nth


def test_short_writes_are_continued(feature_set, reopened, making, same, monkeypatch):
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(durable.os, "write", lambda fd, data: real(fd, bytes(data[:1000])))
        making.fill(feature_set, IDS)
    check_complete(reopened(), making, same)


def test_an_exit_by_signal_commits_what_is_finished(feature_set, reopened, making):
    for error in (Interrupted("stop"), KeyboardInterrupt(), RuntimeError("a bug elsewhere")):
        video_id = f"{type(error).__name__}.mp4"
        with pytest.raises(type(error)), feature_set.writer() as writer:
            writer.add(making.row(video_id), making.features(video_id))
            raise error
        assert video_id in reopened().video_ids


def test_a_disk_that_is_full_is_not_asked_again_on_the_way_out(feature_set, making, monkeypatch):
    calls = failing(monkeypatch, "fsync", 1, errno.ENOSPC)
    with pytest.raises(CacheError, match="no space left"), feature_set.writer() as writer:
        writer.add(making.row("a"), making.features("a"))
        writer.flush()
    assert calls[0] == 1


def test_a_manifest_that_cannot_be_written_loses_nothing(
    feature_set, reopened, making, same, monkeypatch, caplog
):
    def refuse(*args, **kwargs):
        raise OSError(errno.EROFS, "read-only")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "append_line", refuse)
        making.fill(feature_set, IDS)
    assert "could not be extended" in caplog.text
    check_complete(reopened(), making, same)


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS])
def test_file_systems_without_hard_links_get_a_lock_and_a_rename(
    code, feature_set, reopened, making, same, monkeypatch
):
    def no_link(*args, **kwargs):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(durable.os, "link", no_link)
    assert not supports_hard_links(feature_set.path)
    making.fill(feature_set, IDS, per_shard=4)
    check_complete(reopened(), making, same)
    assert not any((feature_set.path / ".tmp").iterdir())
    shards = feature_set.path / "shards"
    assert all(path.suffix == ".h5" for path in shards.iterdir())


def test_a_stale_lock_does_not_hold_a_writer_up_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(durable, "_LOCK_WAIT_S", 0.05)
    monkeypatch.setattr(
        durable.os, "link", lambda *_: (_ for _ in ()).throw(OSError(errno.EPERM, "no links"))
    )
    (tmp_path / ".x.json.lock").touch()
    write_atomically(tmp_path / "x.json", b"{}", overwrite=False)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    with pytest.raises(FileExistsError):
        write_atomically(tmp_path / "x.json", b"[]", overwrite=False)
    assert (tmp_path / "x.json").read_bytes() == b"{}"


def test_hard_links_are_detected(tmp_path):
    assert supports_hard_links(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_same_bytes_twice_are_one_shard_and_damage_in_its_place_is_set_aside(
    feature_set, reopened, making, same
):
    entries = [(making.row("a"), making.features("a"))]
    image = commit.build_image(
        entries, making.streams, feature_set=feature_set.spec.digest, committed_ns=1
    )
    manifest = feature_set.path / "manifest" / "m.jsonl"
    for _ in range(2):
        commit.publish_image(feature_set.path, image, manifest=manifest)
    shard = feature_set.path / "shards" / image.name
    shard.write_bytes(b"\0" * 100)
    assert reopened().damaged.keys() == {image.name}
    commit.publish_image(feature_set.path, image, manifest=manifest)
    assert same(reopened().read("a"), making.features("a"))
    assert [p.read_bytes() for p in (feature_set.path / "aside").iterdir()] == [b"\0" * 100]


def test_an_image_that_does_not_read_back_is_not_published(feature_set, making, monkeypatch):
    encode = commit.encode_indexed

    def bad_memory(index, videos):
        data = bytearray(encode(index, videos))
        data[data.find(videos[0].features["pooled"].tobytes())] ^= 4
        return bytes(data)

    monkeypatch.setattr(commit, "encode_indexed", bad_memory)
    with pytest.raises(CacheError, match="does not read back"):
        making.fill(feature_set, ["a"])
    assert list((feature_set.path / "shards").iterdir()) == []


def test_writing_atomically_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomically(path, b"old")
    for call in ("write", "fsync", "open"):
        with monkeypatch.context() as patch:
            failing(patch, call, 1, errno.EIO)
            with pytest.raises(CacheError, match="could not be written"):
                write_atomically(path, b"new")
        assert [p.name for p in tmp_path.iterdir()] == ["x.json"]
        assert path.read_bytes() == b"old"
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    with pytest.raises(CacheError, match="absent"):
        write_atomically(tmp_path / "absent" / "x.json", b"")


def test_videos_are_committed_sixteen_at_a_time_or_after_a_while(feature_set, reopened, making):
    with feature_set.writer(flush_s=1e9) as writer:
        for i in range(17):
            writer.add(making.row(f"{i}"), making.features(f"{i}"))
        for _ in range(500):  # committed beside the loop, within moments
            writer.flush_if_due()
            if writer.n_buffered == 1:
                break
            time.sleep(0.01)
        assert writer.n_buffered == 1
        assert len(reopened().video_ids) == 16
        writer.flush_if_due()
        assert writer.n_buffered == 1
    with feature_set.writer(flush_s=0.0) as writer:
        writer.add(making.row("late"), making.features("late"))
        assert writer.n_buffered == 0
    assert len(reopened().video_ids) == 18


def test_many_bytes_are_committed_before_there_are_sixteen_videos(feature_set, making, monkeypatch):
    monkeypatch.setattr("basket.cache.writer.MAX_BYTES", 100)
    with feature_set.writer() as writer:
        for i in range(3):
            writer.add(making.row(f"{i}"), making.features(f"{i}"))
    assert len(list((feature_set.path / "shards").iterdir())) == 2


def test_a_video_that_cannot_be_stored_leaves_the_others_alone(feature_set, reopened, making):
    with feature_set.writer() as writer:
        writer.add(making.row("a"), making.features("a"))
        with pytest.raises(CacheError, match="'b'"):
            writer.add(making.row("b"), making.features("b", 0))
        writer.add(making.row("c"), making.features("c"))
    assert reopened().video_ids == ("a", "c")


def test_the_caller_may_reuse_its_arrays(feature_set, reopened, making, same):
    features = making.features("a")
    with feature_set.writer() as writer:
        writer.add(making.row("a"), features)
        features.features["pooled"][:] = 0
        features.start_s[:] = 0
    assert same(reopened().read("a"), making.features("a"))


def test_an_id_added_twice_is_shown_once(feature_set, reopened, making, same):
    with feature_set.writer() as writer:
        writer.add(making.failed("a"))
        writer.add(making.row("a", attempts=2), making.features("a"))
    now = reopened()
    assert (now.video_ids, dict(now.failed)) == (("a",), {})
    assert same(now.read("a"), making.features("a"))


def test_commit_times_rise_even_when_clocks_disagree(feature_set, reopened, making, monkeypatch):
    monkeypatch.setattr("basket.cache.writer.time.time_ns", lambda: 2_000)
    making.fill(feature_set, ["a"])
    monkeypatch.setattr("basket.cache.writer.time.time_ns", lambda: 1_000)
    with reopened().writer() as writer:
        writer.add(making.row("a", source_mtime_ns=3), making.features("a", shift=1))
    assert reopened().row("a").source_mtime_ns == 3


def test_a_shard_from_the_future_outranks_nothing_and_stops_no_commit(
    feature_set, reopened, making, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("basket.cache.writer.time.time_ns", lambda: 2**62)
        making.fill(feature_set, ["a", "b"])
    with reopened().writer() as writer:
        writer.add(making.row("a", source_mtime_ns=9), making.features("a", shift=1))
    now = reopened()
    assert (now.row("a").source_mtime_ns, now.video_ids) == (9, ("a", "b"))
    assert now.snapshot.newest_ns <= time.time_ns()


def test_out_of_inodes_is_told_as_such(tmp_path, monkeypatch):
    found = os.statvfs(tmp_path)
    full = SimpleNamespace(
        f_bavail=found.f_bavail, f_blocks=9, f_bfree=9, f_frsize=4096, f_files=100, f_favail=0
    )
    monkeypatch.setattr(durable.os, "statvfs", lambda _: full, raising=False)
    told = pytest.raises(CacheError, match="no inode is free")
    with told, durable.told_in_a_sentence(tmp_path, 9):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_writers_name_becomes_a_plain_file_name(feature_set, making):
    writer = feature_set.writer(name="../../shard 1/4")
    assert isinstance(writer, ShardWriter)
    writer.add(making.row("a"), making.features("a"))
    writer.flush()
    assert [p.name for p in (feature_set.path / "manifest").iterdir()] == ["-shard-1-4.jsonl"]


def test_folders_made_for_what_was_not_written_go_again(tmp_path):
    page, table = tmp_path / "new" / "deep" / "page.html", tmp_path / "kept" / "table.csv"

    def work():
        with durable.room_for(page, table):
            table.write_text("written")
            raise OSError("no pictures")

    with pytest.raises(OSError, match="no pictures"):
        work()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert table.read_text() == "written"


@needs_fork
@pytest.mark.parametrize("below", ["report.html", "new/report.html"])
def test_a_place_that_may_not_even_be_looked_at_is_refused_in_a_sentence(tmp_path, below):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)

    def refused():
        if os.geteuid() == 0:  # who may look everywhere
            os.setuid(65534)
        for check in (durable.check_room_for, durable.make_room_for):
            with pytest.raises(CacheError, match="choose another place"):
                check(closed / below)
        with (
            pytest.raises(CacheError, match="choose another place"),
            durable.room_for(closed / below),
        ):
            pass

    assert exit_status(start(refused)) == 0
