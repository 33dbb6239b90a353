"""What the cache costs, at BASKET's size: 32,232 videos x 34 segments x 768 float16, synthetic.

Prints ratios measured in one run, each beside its target, and ends with 1 when one is missed:

- writing, every commit included, against ``np.save`` + fsync of the same bytes into as many files
  (16 videos each): what one would write who wants to lose as little on a crash; and, for
  information, against ``np.save`` without any sync, which promises nothing;
- reading everything and pooling it (mean and std) from a freshly opened cache, against a block-wise
  ``np.fromfile`` of the same bytes + the same pooling; with shards as extraction leaves them, and
  packed;
- resident memory while that is done, in a process of its own;
- reading 4,000 videos from an HDF5 file with a data set per video;
- linearity: seconds per video of 1,000 videos against all of them.

Writing is measured in rounds that alternate between the two, because what a disk does in one second
it does not do in the next; the ratio is that of the sums. Reads come from the page cache on both
sides, which is the harder case for the cache: a disk would hide its work.

    python benchmarks/cache.py [--videos 32232] [--folder DIR]
"""
# bench: cpu

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.cache import FeatureSet, FeatureSetSpec, VideoFeatures, VideoRow, open_cache, pack
from basket.cache.features import RaggedFeatures
from basket.heads.pooling import pool
from basket.heads.streaming import pool_feature_set

SEGMENTS, DIM, PER_SHARD = 34, 768, 16
ROUND = 64 * PER_SHARD
BLOCK_BYTES = 32 << 20
POOLING = "mean+std"

Half = npt.NDArray[np.float16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--videos", type=int, default=32_232)
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--read-in-process", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read_in_process:
        return read_and_report(options.read_in_process)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="basket-bench-") as folder:
        return measure(Path(folder), options.videos)


def measure(folder: Path, videos: int) -> int:
    size = videos * SEGMENTS * DIM * 2
    print(
        f"{videos} videos x {SEGMENTS} x {DIM} float16: {size / 1e9:.2f} GB, {os.cpu_count()} cores"
    )
    missed = write(folder, videos)
    missed += read(folder, videos)
    missed += per_video(folder, videos)
    missed += linearity(folder, videos)
    return 1 if missed else 0


def write(folder: Path, videos: int) -> int:
    cache = open_cache(folder / "cache", create=True)
    feature_set = cache.feature_set(spec())
    seconds = dict.fromkeys(("cache", "np.save + fsync", "np.save"), 0.0)
    for first in range(0, videos, ROUND):
        batch = range(first, min(first + ROUND, videos))
        values = list(values_of(batch))
        seconds["np.save + fsync"] += timed(partial(save, folder / "synced", values, sync=True))
        seconds["cache"] += timed(partial(commit, feature_set, batch, values))
        seconds["np.save"] += timed(partial(save, folder / "unsynced", values, sync=False))
        with (folder / "flat.bin").open("ab") as flat:
            for each in values:
                each.tofile(flat)
    per_shard = PER_SHARD * seconds["np.save + fsync"] / videos
    for name in ("synced", "unsynced"):
        shutil.rmtree(folder / name)
    rate = videos * SEGMENTS * DIM * 2 / 1e6
    for name, spent in seconds.items():
        print(f"  write, {name:16} {spent:7.2f} s {rate / spent:7.0f} MB/s")
    print(f"  an np.save + fsync takes {1e3 * per_shard:.1f} ms here")
    missed = told(
        "write with commits, share of np.save + fsync per 16 videos",
        seconds["np.save + fsync"] / seconds["cache"],
        at_least=0.40,
    )
    share = seconds["np.save"] / seconds["cache"]
    print(f"  (for information: share of np.save without any sync {share:.2f})")
    return missed


def spec() -> FeatureSetSpec:
    return FeatureSetSpec("bench", "bench", {}, {"name": "dense"}, {"pooled": DIM})


def values_of(videos: range) -> Iterator[Half]:
    """Made-up features; each video its own, so that nothing is written or compared twice."""
    rng = np.random.default_rng(videos.start)
    base = rng.standard_normal((SEGMENTS, DIM), dtype=np.float32).astype(np.float16)
    for video in videos:
        yield np.roll(base, video, axis=1)


def video_id(video: int) -> str:
    return f"18-19/NBA/{video}_18_19.mp4"


def commit(feature_set: FeatureSet, batch: range, values: list[Half]) -> None:
    start_s = np.arange(SEGMENTS) * 2.0
    valid = np.full(SEGMENTS, 16, np.int32)
    provenance = {"decoder": "pyav", "decoder_version": "15.0.0", "device": "cpu"}
    with feature_set.writer(name="bench") as writer:
        for video, matrix in zip(batch, values, strict=True):
            row = VideoRow(
                video_id(video),
                source_bytes=10_000_000 + video,
                source_mtime_ns=1_700_000_000_000_000_000 + video,
                duration_s=540.0,
                fps=30.0,
                width_px=1280,
                height_px=720,
                provenance=provenance,
            )
            writer.add(row, VideoFeatures({"pooled": matrix}, start_s, start_s + 2.0, valid))


def save(folder: Path, values: list[Half], *, sync: bool) -> None:
    folder.mkdir(exist_ok=True)
    for number, first in enumerate(range(0, len(values), PER_SHARD)):
        matrix = np.concatenate(values[first : first + PER_SHARD])
        with (folder / f"{number}.npy").open("wb") as file:
            np.save(file, matrix)
            if sync:
                file.flush()
                os.fsync(file.fileno())


def read(folder: Path, videos: int) -> int:
    flat, cache = folder / "flat.bin", folder / "cache"
    ids = [video_id(video) for video in range(videos)]
    missed = 0
    for state in ("as written", "packed"):
        if state == "packed":
            spent = timed(lambda: pack(open_cache(cache)["bench"], delete=True))
            print(f"  pack                          {spent:7.2f} s")
        baseline, ours = best_of_both(
            lambda: pool_flat(flat, videos), lambda: pool_cache(cache, ids)
        )
        opening = min(timed(lambda: len(open_cache(cache)["bench"].video_ids)) for _ in range(2))
        print(f"  read + pool, np.fromfile      {baseline:7.2f} s")
        print(f"  read + pool, cache {state:10} {ours:7.2f} s, {opening:.2f} s of it to open")
        missed += told(f"read + pool {state}, times np.fromfile", ours / baseline, at_most=1.5)
        child = subprocess.run(
            [sys.executable, __file__, "--read-in-process", str(cache)],
            capture_output=True,
            text=True,
            check=True,
        )
        resident = json.loads(child.stdout)["resident_mb"]
        missed += told(f"resident memory {state}, MB", resident, at_most=1000)
    same = np.array_equal(pool_cache(cache, ids), pool_flat(flat, videos))
    return missed + told("pooled matrices are equal", float(same), at_least=1)


def per_video(folder: Path, videos: int) -> int:
    """Reading everything, no pooling, against HDF5 with a group and a data set per video."""
    few = min(4000, videos)
    small = folder / "few"
    feature_set = open_cache(small, create=True).feature_set(spec())
    for first in range(0, few, ROUND):
        batch = range(first, min(first + ROUND, few))
        commit(feature_set, batch, list(values_of(batch)))
    pack(feature_set, delete=True)
    theirs = write_per_video(folder / "per-video.h5", few)
    ids = [video_id(video) for video in range(few)]
    ours_s, theirs_s = best_of_both(
        lambda: read_cache(small, ids), lambda: read_per_video(theirs, ids)
    )
    print(f"  read {few} videos: cache {ours_s:.2f} s, a data set per video {theirs_s:.2f} s")
    return told("a data set per video, times the cache", theirs_s / ours_s, at_least=5)


def pool_flat(flat: Path, videos: int) -> npt.NDArray[np.float32]:
    per_block = max(1, BLOCK_BYTES // (SEGMENTS * DIM * 2))
    out = np.empty((videos, 2 * DIM), dtype=np.float32)
    with flat.open("rb") as file:
        for first in range(0, videos, per_block):
            count = min(per_block, videos - first)
            values = np.fromfile(file, dtype=np.float16, count=count * SEGMENTS * DIM)
            offsets = np.arange(count + 1) * SEGMENTS
            ragged = RaggedFeatures(values.reshape(-1, DIM), offsets)
            out[first : first + count] = pool(ragged, POOLING)
    return out


def read_cache(cache: Path, ids: list[str]) -> int:
    return sum(len(ragged.values) for _, ragged in open_cache(cache)["bench"].stream(ids))


def pool_cache(cache: Path, ids: list[str]) -> npt.NDArray[np.float32]:
    feature_set = open_cache(cache)["bench"]
    return pool_feature_set(
        feature_set, ids, "pooled", POOLING, block_bytes=BLOCK_BYTES, keep=False
    )


def write_per_video(path: Path, videos: int) -> Path:
    import h5py

    with h5py.File(path, "w") as file:
        for video, matrix in zip(range(videos), values_of(range(videos)), strict=True):
            group = file.create_group(video_id(video))
            group["features"] = matrix
            group["start_s"] = np.arange(SEGMENTS) * 2.0
    return path


def read_per_video(path: Path, ids: list[str]) -> int:
    import h5py

    with h5py.File(path) as file:
        return sum(len(file[each]["features"][...]) for each in ids)


def linearity(folder: Path, videos: int) -> int:
    """Seconds per video to open, read and pool: 1,000 videos against all of them."""
    few = min(1000, videos)
    small = folder / "small"
    feature_set = open_cache(small, create=True).feature_set(spec())
    commit(feature_set, range(few), list(values_of(range(few))))
    pack(feature_set, delete=True)
    ids = [video_id(video) for video in range(videos)]
    few_s, all_s = best_of_both(
        lambda: pool_cache(small, ids[:few]), lambda: pool_cache(folder / "cache", ids)
    )
    return told(
        f"seconds per video, {videos} against {few}", all_s / videos / (few_s / few), at_most=1.5
    )


def read_and_report(cache: Path) -> int:
    """Read and pool everything and say how much memory that took."""
    feature_set = open_cache(cache)["bench"]
    pool_feature_set(
        feature_set,
        list(feature_set.video_ids),
        "pooled",
        POOLING,
        block_bytes=BLOCK_BYTES,
        keep=False,
    )
    print(json.dumps({"resident_mb": peak_resident_mb()}))
    return 0


def peak_resident_mb() -> float:
    """Largest resident size of this process in MB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count the parent's memory, from before this program began
        (line,) = [each for each in status.read_text().splitlines() if each.startswith("VmHWM")]
        return int(line.split()[1]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def best_of_both(
    one: Callable[[], object], other: Callable[[], object], times: int = 4
) -> tuple[float, float]:
    """The best times of two actions that take turns, as other work comes and goes."""
    spent = [(timed(one), timed(other)) for _ in range(times)]
    return min(first for first, _ in spent), min(second for _, second in spent)


def told(
    what: str, value: float, *, at_least: float | None = None, at_most: float | None = None
) -> int:
    """Print a figure beside its target; 1 where it is missed."""
    good = (at_least is None or value >= at_least) and (at_most is None or value <= at_most)
    target = f">= {at_least:g}" if at_least is not None else f"<= {at_most:g}"
    print(f"{'ok    ' if good else 'MISSED'} {what}: {value:.2f} (target {target})")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
