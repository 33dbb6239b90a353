"""Death, rot and full disks at random: what was committed stays, and nothing wrong is read."""

import os
import random
import subprocess
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from child_processes import DIED, dying_at, exit_status, kill_after, needs_fork, start

from basket.cache import FeatureSetSpec, open_cache, pack, repair, verify
from basket.cache.commit import FAILPOINTS
from basket.cache.manifest import Stamp
from basket.errors import CacheError, IntegrityError

IDS = [f"v{i:02}.mp4" for i in range(40)]
SMALL = 1 << 20


@pytest.mark.parametrize("full", [False, True], ids=["flushing", "beside"])
@pytest.mark.parametrize("step", FAILPOINTS)
def test_two_writers_one_of_which_dies_at_any_step(
    step, full, feature_set, reopened, making, in_child, extracting, complete
):
    """The other one writes the same videos meanwhile; both published what they had finished."""
    cache = feature_set.path.parent
    other = start(lambda: extracting(cache, IDS[::-1][10:], full=full))
    status = in_child(dying_at(step, lambda: extracting(cache, IDS, full=full), nth=2))
    assert exit_status(other) == 0
    assert status in (0, DIED)  # 0: the other had made so much that there was no second shard
    now = reopened()
    assert verify(now, deep=True).problems == ()
    assert set(now.video_ids) >= set(IDS[:30])  # all that the surviving writer made
    extracting(cache, IDS)
    complete(reopened(), IDS)


def killed_at_random(feature_set, reopened, extracting, complete, kills, seed):
    """Writers and packs, killed at random; after each, the cache is whole and no smaller."""
    cache = feature_set.path.parent
    rng = random.Random(seed)
    ids = [f"k{i:04}.mp4" for i in range(6 * kills)]
    done: set[str] = set()
    for number in range(kills):
        todo = ids[: 6 * (number + 1)]
        packs = number % 5 == 4

        def work(number=number, todo=todo, packs=packs):
            if packs:
                pack(open_cache(cache)["motion"], target_bytes=SMALL, delete=number % 2 == 0)
            extracting(cache, todo, full=number % 3 == 0)

        kill_after(work, rng.random() * 0.06)
        now = reopened()
        assert now.damaged == {}
        assert set(now.video_ids) >= done
        done = set(now.video_ids)
        if number % 10 == 9:
            assert verify(now, deep=True).problems == ()
    extracting(cache, ids)
    complete(reopened(), ids)


@needs_fork
def test_thirty_kills(feature_set, reopened, extracting, complete):
    killed_at_random(feature_set, reopened, extracting, complete, kills=30, seed=4)


@needs_fork
@pytest.mark.soak
def test_a_thousand_kills(feature_set, reopened, extracting, complete):
    killed_at_random(feature_set, reopened, extracting, complete, kills=1000, seed=5)


def damaged_at_random(feature_set, reopened, making, same, monkeypatch, times, seed):
    """Flip a bit anywhere or cut a shard off; half of the time, the file looks untouched.

    A touched file is hashed and refused. One that rotted under an unchanged stamp is not hashed
    again; then the checksums inside have to find it, or it says what it said.
    """
    ids = IDS[:6]
    making.fill(feature_set, ids)
    (shard,) = (feature_set.path / "shards").iterdir()
    intact = shard.read_bytes()
    rng = np.random.default_rng(seed)
    stamp = Stamp.of(shard)
    refused = {False: 0, True: 0}
    for number in range(times):
        silent, cut = number % 2 == 0, number % 7 == 0
        position = int(rng.integers(len(intact)))
        data = bytearray(intact[:position] if cut else intact)
        if not cut:
            data[position] ^= 1 << int(rng.integers(8))
        shard.write_bytes(data)
        with monkeypatch.context() as patch:
            if silent:
                patch.setattr(Stamp, "of", lambda path: stamp)
            else:
                assert [p.file for p in verify(reopened()).problems] == [f"shards/{shard.name}"]
            now = reopened()
            try:
                video_id = ids[number % len(ids)]
                assert same(now.read(video_id), making.features(video_id))
                values = now.ragged(ids).values
                expected = [making.features(each).features["pooled"] for each in ids]
                assert np.array_equal(values, np.concatenate(expected))
                assert silent, "a touched file was read"
            except IntegrityError:
                refused[silent] += 1
    assert refused[False] == times // 2
    assert refused[True] > times // 8
    shard.write_bytes(intact)
    assert verify(reopened(), deep=True).problems == ()


def test_three_hundred_damages(feature_set, reopened, making, same, monkeypatch):
    damaged_at_random(feature_set, reopened, making, same, monkeypatch, times=300, seed=1)


@pytest.mark.soak
def test_five_thousand_damages(feature_set, reopened, making, same, monkeypatch):
    damaged_at_random(feature_set, reopened, making, same, monkeypatch, times=5000, seed=2)


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs of two megabytes, where the system lets one be mounted."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mounting, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"no tmpfs may be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def test_a_disk_that_fills_up_is_told_with_bytes_and_the_run_goes_on_after_space_is_made(
    small_disk, making, complete
):
    (small_disk / "ballast").write_bytes(bytes(1 << 20))
    cache = open_cache(small_disk / "cache", create=True)
    streams = {"pooled": 256}
    spec = FeatureSetSpec("motion", "motion", {}, {"name": "dense"}, streams)
    feature_set = cache.feature_set(spec)
    ids = [f"{i:03}.mp4" for i in range(96)]

    def extract():
        with open_cache(cache.path)["motion"].writer() as writer:
            for video_id in ids:
                if not feature_set.is_done(video_id, 1000, 5):
                    features = making.features(video_id, 20, streams=streams)
                    writer.add(making.row(video_id), features)

    with pytest.raises(CacheError, match=r"\d+ bytes are needed, \d+ are free") as caught:
        extract()
    assert caught.value.exit_code == 1
    assert "\n" not in str(caught.value)
    assert "run the same command again" in str(caught.value)
    feature_set.refresh()
    committed = feature_set.video_ids
    assert 0 < len(committed) < len(ids)
    assert verify(feature_set, deep=True).problems == ()
    with pytest.raises(CacheError, match="no space left"):
        pack(feature_set, target_bytes=2 << 20)
    assert feature_set.video_ids == committed
    (small_disk / "ballast").unlink()
    repair(feature_set)
    extract()
    feature_set.forget()
    assert feature_set.video_ids == tuple(ids)
    assert verify(feature_set, deep=True).problems == ()
    for video_id in ids:
        expected = making.features(video_id, 20, streams=streams).features["pooled"]
        assert np.array_equal(feature_set.read(video_id).features["pooled"], expected)


def test_motion_features_after_a_full_disk_and_a_death_equal_those_of_an_undisturbed_run(
    small_disk, tmp_path, make_video, in_child, same, capsys
):
    """The command itself: one sentence and 1, then killed, then the same rows bit for bit."""
    from basket.cli import run

    videos = tmp_path / "videos"
    for number in range(3):
        make_video(videos / f"{number}.mp4", frames=20, gop=5 + number)
    command = ["extract", "--model", "motion", "-q", "--workers", "1", str(videos), "--cache"]
    assert run([*command, str(tmp_path / "whole")]) == 0
    open_cache(small_disk / "cache", create=True)
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    os.truncate(ballast, ballast.stat().st_size - 8192)  # enough for the specification alone
    capsys.readouterr()
    assert run([*command, str(small_disk / "cache")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "no space left in" in said
    assert "bytes are needed," in said
    ballast.unlink()

    again = partial(run, [*command, str(small_disk / "cache")])
    assert in_child(dying_at("tmp-synced", again)) == DIED
    assert run([*command, str(small_disk / "cache")]) == 0
    (name,) = open_cache(tmp_path / "whole").feature_sets
    whole, cut = open_cache(tmp_path / "whole")[name], open_cache(small_disk / "cache")[name]
    assert cut.video_ids == whole.video_ids == ("0.mp4", "1.mp4", "2.mp4")
    for video_id in whole.video_ids:
        assert same(cut.read(video_id), whole.read(video_id))
    assert verify(cut, deep=True).problems == ()


@needs_fork
def test_ten_writers_and_a_packer_at_once(feature_set, reopened, extracting, complete):
    cache = feature_set.path.parent

    def write(number):
        order = IDS[4 * number :] + IDS[: 4 * number]
        extracting(cache, order, full=number % 2 == 0)

    def pack_thrice():
        for _ in range(3):
            pack(open_cache(cache)["motion"], target_bytes=SMALL)

    children = [start(partial(write, number)) for number in range(10)]
    children.append(start(pack_thrice))
    assert {exit_status(child) for child in children} == {0}
    complete(reopened(), IDS)
