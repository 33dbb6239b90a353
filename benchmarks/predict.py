"""Where the time of a prediction goes, and how fast cached players are.

1. One nine-minute reel through ``basket predict`` in a fresh process: the share of its wall time
   between the moment the video is open and the last embedded clip. What is left is start-up
   (imports, worker processes, opening the file) and glue (pooling, head). The backbone is
   ``motion``, whose forward is the cheapest there is: the hardest case for this share.
2. A thousand players from cached features, with the run already open: levels, probabilities,
   percentiles; best of three. Features are random numbers of a real width, and so are labels.

    python benchmarks/predict.py [--seconds 540] [--players 1000] [--width 768] [--json]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from reel import reel, write_reel

from basket import workflows
from basket.cache import VideoFeatures, VideoRow, open_cache
from basket.extract.backbones import load_backbone
from basket.extract.planning import feature_set_spec
from basket.extract.segments import SegmentPlan

SEGMENTS = 253  # of a nine-minute reel
SKILLS = 20

#: Runs in the fresh process. The first progress is told when the video is open in its worker.
#: pandas is an extra, which scikit-learn imports wherever it is installed: hidden, as for most.
_WATCHED = """
import json, sys, time
sys.modules["pandas"] = None
import basket
times = []
run = basket.load_run(sys.argv[1])
found = basket.predict_videos(
    run, [sys.argv[2]], on_progress=lambda now: times.append((time.time(), now.clips))
)
print(json.dumps({"first": times[0][0],
    "last": times[-1][0], "clips": times[-1][1], "segments": found.videos[0].n_segments}))
"""


def fill(cache_path: Path, labels: Path, *, players: int, width: int) -> list[str]:
    """A cache of random features of ``players`` reels, with a label file beside it."""
    random = np.random.default_rng(0)
    names = [f"18-19/NBA/{player}_18_19.mp4" for player in range(players)]
    spec = replace(
        feature_set_spec(load_backbone("motion").spec, SegmentPlan()),
        streams={"pooled": width},
        columns={},
    )
    start = np.arange(SEGMENTS) * 64 / 30
    times = {"start_s": start, "end_s": start + 64 / 30}
    valid = np.full(SEGMENTS, 8, np.int32)
    with open_cache(cache_path, create=True).feature_set(spec).writer() as writer:
        for name in names:
            values = random.standard_normal((SEGMENTS, width), dtype=np.float32)
            row = VideoRow(name, duration_s=540.0, fps=30.0, width_px=1280, height_px=720)
            features = {"pooled": values.astype(np.float16)}
            writer.add(row, VideoFeatures(features, frames_valid=valid, **times))
    levels = random.integers(0, 5, size=(players, SKILLS))
    header = ",".join(["path", *(f"skill {skill}" for skill in range(SKILLS))])
    rows = [f"{name},{','.join(map(str, row))}" for name, row in zip(names, levels, strict=True)]
    labels.write_text("\n".join([header, *rows]) + "\n")
    return names


def one_reel(folder: Path, seconds: float) -> dict[str, Any]:
    video = reel(seconds)
    # Any run will do: what is timed is the way to its features.
    write_reel(folder / "short.mp4", 3.0)
    labels = folder / "short.csv"
    labels.write_text("path,Steals\nshort.mp4,2\n")
    common = {"cache": folder / "short-cache", "video_root": folder}
    workflows.extract_features(labels=[labels], models=["motion"], **common)
    run = workflows.fit_head(train=labels, head="prior", out=folder / "prior", **common)
    start = time.time()
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, str(run.path), str(video)],
        capture_output=True, text=True, check=True, cwd=folder,
    )  # fmt: skip
    wall_s = time.time() - start
    seen = json.loads(done.stdout)
    working_s = seen["last"] - seen["first"]
    return {
        "reel_s": seconds,
        "segments": seen["segments"],
        "wall_s": round(wall_s, 2),
        "before_opening_s": round(seen["first"] - start, 2),
        "after_last_clip_s": round(start + wall_s - seen["last"], 2),
        "decode_and_forward_share": round(working_s / wall_s, 3),
    }


def cached_players(folder: Path, players: int, width: int) -> dict[str, Any]:
    names = fill(folder / "cache", folder / "labels.csv", players=players, width=width)
    run = workflows.fit_head(
        cache=folder / "cache", train=folder / "labels.csv", out=folder / "run", set_aside=0.1
    )
    listed = folder / "all.csv"
    listed.write_text("path\n" + "\n".join(names) + "\n")
    seconds, cpu = [], []
    for _ in range(3):
        before, used = time.perf_counter(), time.process_time()
        found = workflows.predict_videos(run, [listed], cache=folder / "cache")
        seconds.append(time.perf_counter() - before)
        cpu.append(time.process_time() - used)
    assert len(found.videos) == players
    return {
        "players": players,
        "features": f"{SEGMENTS} x {width}",
        "seconds": round(min(seconds), 2),
        "cpu_seconds": round(min(cpu), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=540.0, help="length of the reel")
    parser.add_argument("--players", type=int, default=1000)
    parser.add_argument("--width", type=int, default=768)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cached = cached_players(folder, given.players, given.width)
        watched = one_reel(folder, given.seconds)
    if given.json:
        print(json.dumps({"one_reel": watched, "cached": cached}, indent=1))
        return
    print(
        f"one reel of {watched['reel_s']:.0f} s ({watched['segments']} segments): "
        f"{watched['wall_s']:.1f} s, {watched['decode_and_forward_share']:.1%} of it decoding and "
        f"forward (start-up {watched['before_opening_s']:.1f} s, end "
        f"{watched['after_last_clip_s']:.1f} s)"
    )
    print(
        f"{cached['players']} players from cached features ({cached['features']} each): "
        f"{cached['seconds']:.2f} s wall, {cached['cpu_seconds']:.2f} s CPU"
    )


if __name__ == "__main__":
    main()
