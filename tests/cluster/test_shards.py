"""Several extractions on one folder, coordinated by nobody; one is killed and starts again."""

import os
import subprocess
import sys

from basket.cache import open_cache, verify
from basket.extract.decoding import Source
from basket.extract.sources import share_of

from .conftest import N_REELS, python_path

PARTS = 4


def start(folder, cache, part):
    arguments = ["extract", str(folder), "--model", "motion", "--cache", str(cache), "--quiet"]
    arguments += ["--window", "1.5", "--decoder", "cluster_decoders:open_killing"]
    arguments += ["--device", "cpu", "--precision", "fp32"]  # spares each of them torch
    arguments += ["--workers", "1", "--shard", f"{part}/{PARTS}"]
    return subprocess.Popen(
        [sys.executable, "-m", "basket", *arguments],
        env={**os.environ, "PYTHONPATH": python_path(), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )


def test_four_at_once_and_one_killed_give_what_one_gives(tmp_path, reels):
    folder, straight = reels
    here = tmp_path / "reels"
    here.mkdir()
    for index in range(N_REELS):
        os.link(folder / f"{index}.mp4", here / f"{index}.mp4")
    # This one kills the extraction that it is in, the first time.
    os.link(folder / "0.mp4", here / "once.mp4")
    hit = next(
        part
        for part in range(PARTS)
        if share_of([Source("once.mp4", here / "once.mp4")], (part, PARTS))
    )
    cache = tmp_path / "cache"
    running = [start(here, cache, part) for part in range(PARTS)]
    codes = [process.wait(240) for process in running]
    assert codes == [-9 if part == hit else 0 for part in range(PARTS)]
    assert start(here, cache, hit).wait(240) == 0

    features = open_cache(cache)["motion"]
    assert features.video_ids == tuple(sorted([*straight.video_ids, "once.mp4"]))
    places = features.snapshot.places
    assert {video_id for video_id, found in places.items() if len(found) != 1} == set()
    assert not verify(features).problems
    assert not list((features.path / "attempts").glob("*"))
    for video_id in straight.video_ids:
        ours, theirs = features.read(video_id), straight.read(video_id)
        assert (ours.features["pooled"] == theirs.features["pooled"]).all()
