"""Damaged files of every kind in one run: each has a row and a reason, and harms no other."""

from pathlib import Path

import av
import numpy as np
import pytest

from basket.cache import open_cache
from basket.cli import run
from basket.extract.backbones import load_backbone
from basket.extract.backbones.random_weights import save_random_videomae
from basket.extract.decoding import Source
from basket.extract.pipeline import extract
from basket.extract.segments import SegmentPlan

KINDS = (
    "truncated",
    "one bit",
    "many bits",
    "zeroed",
    "renamed",
    "empty",
    "text",
    "remuxed",
    "head",
)
PLAN = SegmentPlan(window_s=1.5)


@pytest.fixture(scope="module")
def good(tmp_path_factory, make_video):
    folder = tmp_path_factory.mktemp("good")
    faststart = {"movflags": "faststart"}
    for index in range(4):
        path = folder / f"good{index}.mp4"
        make_video(path, frames=30 + 10 * index, container_options=faststart)
    return folder


def damage(kind: str, source: Path, target: Path, rng: np.random.Generator) -> Path:
    """Write a damaged relative of ``source``; returns where."""
    data = bytearray(source.read_bytes())
    if kind == "truncated":
        del data[int(rng.uniform(0.05, 0.95) * len(data)) :]
    elif kind in ("one bit", "many bits"):
        for position in rng.integers(0, len(data), 1 if kind == "one bit" else 30):
            data[position] ^= 1 << int(rng.integers(8))
    elif kind == "zeroed":
        start = int(rng.integers(0, len(data) - 400))
        data[start : start + 400] = bytes(400)
    elif kind == "renamed":
        target = target.with_suffix(rng.choice([".avi", ".mkv", ".webm"]))
    elif kind == "empty":
        data = bytearray()
    elif kind == "text":
        data = bytearray(b"this is no video\n" * int(rng.integers(1, 200)))
    elif kind == "head":
        data[:64] = rng.bytes(64)
    elif kind == "remuxed":
        return remux(source, target.with_suffix(".ts"))
    target.write_bytes(bytes(data))
    return target


def remux(source: Path, target: Path) -> Path:
    """The same packets in a transport stream."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    return target


def check(folder: Path, good: Path, count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    bad = []
    for number in range(count):
        kind = KINDS[number % len(KINDS)]
        source = good / f"good{number % 4}.mp4"
        bad.append(damage(kind, source, folder / f"bad{number:03d}.mp4", rng))
    sources = [Source(path.name, path) for path in bad]
    for index in range(4):
        place = int(rng.integers(0, len(sources)))
        sources.insert(place, Source(f"good{index}.mp4", good / f"good{index}.mp4"))
    motion = load_backbone("motion")
    network = load_backbone("videomae", weights=save_random_videomae(folder / "tiny"))
    cache = open_cache(folder / "cache", create=True)
    summary = extract(sources, backbones=[motion, network], plan=PLAN, cache=cache)
    straight = open_cache(folder / "straight", create=True)
    alone = [source for source in sources if source.video_id.startswith("good")]
    extract(alone, backbones=[motion, network], plan=PLAN, cache=straight)
    for name in cache.feature_sets:
        rows = cache[name].rows
        assert set(rows) == {source.video_id for source in sources}
        assert all((row.status == "failed") == bool(row.reason) for row in rows.values())
        assert cache[name].failed == summary.failed
        for index in range(4):
            ours, theirs = (
                each[name].read(f"good{index}.mp4").features["pooled"].astype(float)
                for each in (cache, straight)
            )
            if name.startswith("motion"):
                assert np.array_equal(ours, theirs)
            # Half precision rounds what differs by less than 1e-5 to neighbours at most.
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)
    never = [
        path.name for path in bad if path.stat().st_size == 0 or b"no video" in path.read_bytes()
    ]
    assert set(never) <= set(summary.failed)
    renamed = [path.name for path in bad if path.suffix in (".avi", ".mkv", ".webm", ".ts")]
    assert not set(renamed) & set(summary.failed)


def test_forty_damaged_files(tmp_path, good):
    check(tmp_path, good, count=40, seed=0)


@pytest.mark.soak
def test_three_hundred_damaged_files(tmp_path, good):
    check(tmp_path, good, count=300, seed=1)


def test_the_command_ends_with_3_and_lists_them(tmp_path, good, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "v"
    folder.mkdir()
    (folder / "good.mp4").write_bytes((good / "good0.mp4").read_bytes())
    damage("text", good / "good0.mp4", folder / "bad.mp4", np.random.default_rng(0))
    assert run(["extract", "v", "--model", "motion"]) == 3
    assert "not a readable video" in " ".join(capsys.readouterr().out.split())
