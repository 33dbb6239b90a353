"""What the cache costs, at BASKET's size: 32,232 videos x 34 segments x 768 float16, synthetic.

Prints ratios measured in one run, each beside its target, and ends with 1 when one is missed:

- writing, every commit included (self-check, two syncs, manifest), against ``np.save`` + fsync of
  the same bytes into as many new files (16 videos each): what one would write who wants to lose as
  little on a crash; and, for information, against ``np.save`` without any sync;
- reading everything and pooling it (mean and std) from a freshly opened cache, against a block-wise
  ``np.fromfile`` of the same bytes + the same pooling; with shards as extraction leaves them, and
  packed; and, for information, pooling again with the matrix that was kept on disk;
- resident memory while that is done, in a process of its own;
- reading 4,000 videos, packed, against an HDF5 file with a data set per video, which has the
  checksums that the cache has; and, for information, one without any;
- linearity: CPU seconds per video of 1,000 videos against all of them.

Writing is measured in rounds that alternate between the two, because what a disk does in one second
it does not do in the next; the ratio is that of the sums. Before each measurement whatever was
written before is synced or gone, so that nobody's fsync pays for another's bytes. Reads come from
the page cache on both sides, which is the harder case for the cache: a disk would hide its work.
CPU seconds stand beside the times; where other programs run, they are the steadier measure.

    python benchmarks/cache.py [--quick] [--videos 32232] [--folder DIR]
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
from dataclasses import dataclass
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
    parser.add_argument("--quick", action="store_true", help="4,096 videos, in a minute or two")
    parser.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    parser.add_argument("--read-in-process", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read_in_process:
        return read_and_report(options.read_in_process)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="basket-bench-") as folder:
        return measure(Path(folder), 4096 if options.quick else options.videos)


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
    spent = {name: Spent() for name in ("np.save + fsync", "cache", "np.save")}
    scratch = folder / "scratch"
    for first in range(0, videos, ROUND):
        batch = range(first, min(first + ROUND, videos))
        values = list(values_of(batch))
        for name, action in (
            ("np.save + fsync", partial(save, scratch, values, sync=True)),
            ("cache", partial(commit, feature_set, batch, values)),
            ("np.save", partial(save, scratch, values, sync=False)),
        ):
            spent[name] += measured(action)
            shutil.rmtree(scratch, ignore_errors=True)
        with (folder / "flat.bin").open("ab") as flat:
            for each in values:
                each.tofile(flat)
            os.fsync(flat.fileno())
    rate = videos * SEGMENTS * DIM * 2 / 1e6
    for name, each in spent.items():
        print(f"  write, {name:16} {each} {rate / each.wall_s:7.0f} MB/s")
    synced, cache_s = spent["np.save + fsync"].wall_s, spent["cache"].wall_s
    print(f"  an np.save + fsync takes {1e3 * PER_SHARD * synced / videos:.1f} ms here")
    missed = told(
        "write with commits, share of np.save + fsync per 16 videos",
        synced / cache_s,
        at_least=0.40,
    )
    share = spent["np.save"].wall_s / cache_s
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
    folder.mkdir()
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
            print(f"  pack                          {measured(lambda: pack_all(cache))}")
        baseline, ours = best_of_both(
            lambda: pool_flat(flat, videos), lambda: pool_cache(cache, ids)
        )
        opening = best_of(lambda: len(open_cache(cache)["bench"].video_ids))
        print(f"  read + pool, np.fromfile      {baseline}")
        print(f"  read + pool, cache {state:10} {ours}, {opening.wall_s:.2f} s of it to open")
        missed += told(
            f"read + pool {state}, times np.fromfile", ours.wall_s / baseline.wall_s, at_most=1.5
        )
        print(f"  (the same in CPU seconds: {ours.cpu_s / baseline.cpu_s:.2f})")
        child = subprocess.run(
            [sys.executable, __file__, "--read-in-process", str(cache)],
            capture_output=True,
            text=True,
            check=True,
        )
        resident = json.loads(child.stdout)["resident_mb"]
        missed += told(f"resident memory {state}, MB", resident, at_most=1000)
    pool_cache(cache, ids, keep=True)
    print(f"  pool again, matrix kept       {best_of(lambda: pool_cache(cache, ids, keep=True))}")
    same = np.array_equal(pool_cache(cache, ids, keep=True), pool_flat(flat, videos))
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
    ids = [video_id(video) for video in range(few)]
    ratios = {}
    for name, checked in (("unchecked", False), ("checksummed", True)):
        theirs = write_per_video(folder / f"{name}.h5", few, checked=checked)
        ours, other = best_of_both(
            lambda: read_cache(small, ids), lambda path=theirs: read_per_video(path, ids), times=8
        )
        print(f"  read {few} videos, cache packed               {ours}")
        print(f"  read {few} videos, a data set each, {name:11} {other}")
        print(f"  (the same in CPU seconds: {other.cpu_s / ours.cpu_s:.2f})")
        ratios[name] = other.wall_s / ours.wall_s
    print(f"  (for information: without checksums, times the cache {ratios['unchecked']:.2f})")
    return told(
        "a checksummed data set per video, times the cache", ratios["checksummed"], at_least=5
    )


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


def pool_cache(cache: Path, ids: list[str], *, keep: bool = False) -> npt.NDArray[np.float32]:
    feature_set = open_cache(cache)["bench"]
    return pool_feature_set(feature_set, ids, "pooled", POOLING, block_bytes=BLOCK_BYTES, keep=keep)


def pack_all(cache: Path) -> None:
    pack(open_cache(cache)["bench"], delete=True)


def write_per_video(path: Path, videos: int, *, checked: bool) -> Path:
    import h5py

    how = {"chunks": (SEGMENTS, DIM), "fletcher32": True} if checked else {}

    with h5py.File(path, "w") as file:
        for video, matrix in zip(range(videos), values_of(range(videos)), strict=True):
            group = file.create_group(video_id(video))
            group.create_dataset("features", data=matrix, **how)
            group["start_s"] = np.arange(SEGMENTS) * 2.0
    return path


def read_per_video(path: Path, ids: list[str]) -> int:
    import h5py

    with h5py.File(path) as file:
        return sum(len(file[each]["features"][...]) for each in ids)


def linearity(folder: Path, videos: int) -> int:
    """CPU seconds per video to open, read and pool: 1,000 videos against all of them."""
    few = min(1000, videos)
    small = folder / "small"
    feature_set = open_cache(small, create=True).feature_set(spec())
    commit(feature_set, range(few), list(values_of(range(few))))
    pack(feature_set, delete=True)
    ids = [video_id(video) for video in range(videos)]
    some, everything = best_of_both(
        lambda: pool_cache(small, ids[:few]), lambda: pool_cache(folder / "cache", ids)
    )
    print(f"  read + pool {few:6} videos     {some}")
    print(f"  read + pool {videos:6} videos     {everything}")
    return told(
        f"CPU seconds per video, {videos} against {few}",
        everything.cpu_s / videos / (some.cpu_s / few),
        at_most=1.5,
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


@dataclass(frozen=True)
class Spent:
    """Seconds that something took, by the clock and of all processors together."""

    wall_s: float = 0.0
    cpu_s: float = 0.0

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __str__(self) -> str:
        return f"{self.wall_s:7.2f} s, CPU {self.cpu_s:6.2f} s"


def measured(action: Callable[[], object]) -> Spent:
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    action()
    return Spent(time.perf_counter() - start_s, time.process_time() - start_cpu_s)


def best_of(action: Callable[[], object], times: int = 3) -> Spent:
    """The least wall and the least CPU time of several tries."""
    tries = [measured(action) for _ in range(times)]
    return Spent(min(each.wall_s for each in tries), min(each.cpu_s for each in tries))


def best_of_both(
    one: Callable[[], object], other: Callable[[], object], times: int = 4
) -> tuple[Spent, Spent]:
    """The best times of two actions that take turns, as other work comes and goes."""
    tries = [(measured(one), measured(other)) for _ in range(times)]
    first, second = (
        Spent(min(each.wall_s for each in side), min(each.cpu_s for each in side))
        for side in zip(*tries, strict=True)
    )
    return first, second


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
