"""Memory of an extraction over 10,000 videos: flat in the parent and in its decode processes.

Ten thousand names of one small file go through the real pipeline: real decode processes, shared
memory, a backbone (mean grey value, 768 columns) and a real cache. Printed while it runs: resident
megabytes of the parent and of the largest decode process. The parent keeps one row of the cache's
index per video and nothing else: the script fails when it grows by more than a kilobyte per video,
or the decode processes by more than a tenth between a tenth of the videos and all of them.

    python benchmarks/memory.py [--videos 10000]      # about 5 minutes on 2 idle cores
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from basket.cache import open_cache
from basket.extract.backbones.base import BackboneSpec, FrameGeometry, check_clips
from basket.extract.decode.samples import Sample
from basket.extract.decoding import Source
from basket.extract.pipeline import extract
from basket.extract.segments import SegmentPlan
from basket.extract.summary import Progress

MOST_GROWTH = 1.1
MOST_BYTES_PER_VIDEO = 1000
WIDTH = 768


class MeanGrey:
    """The mean grey value of a clip, as wide as an embedding."""

    def __init__(self) -> None:
        self.spec = BackboneSpec(
            family="mean-grey",
            name="mean-grey",
            frames=4,
            geometry=FrameGeometry(112, 112, crop="squash"),
            streams={"pooled": WIDTH},
        )

    def embed(self, clips):
        """Repeat the mean in every column."""
        check_clips(clips, self.spec)
        means = clips.mean(axis=(1, 2, 3, 4), dtype=np.float64) / 255
        return {"pooled": np.repeat(means.astype(np.float32)[:, None], WIDTH, axis=1)}


def resident_mb(process: int | str = "self") -> float:
    """Resident memory of a process, without what it shares with others."""
    fields = Path(f"/proc/{process}/statm").read_text().split()
    return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Meter:
    """Notes memory each time another tenth of the videos is done."""

    def __init__(self, videos: int) -> None:
        self.step = max(1, videos // 10)
        self.readings: dict[int, tuple[float, float]] = {}
        self.start_s = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        """Take a reading when it is time to."""
        tenth = progress.videos_done // self.step
        if not tenth or tenth in self.readings:
            return
        children = [resident_mb(child.pid) for child in multiprocessing.active_children()]
        if not children:  # the last video may be written after they have ended
            return
        self.readings[tenth] = resident_mb(), max(children)
        parent, worker = self.readings[tenth]
        print(
            f"{progress.videos_done:6d} videos: parent {parent:6.1f} MB, largest decode process "
            f"{worker:6.1f} MB, {time.monotonic() - self.start_s:5.0f} s",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=10_000, help="few measure the warm-up")
    videos = parser.parse_args().videos
    meter = Meter(videos)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        clip = Sample(width_px=320, height_px=180, pts=range(24)).write(folder / "clip.mp4")
        sources = []
        for number in range(videos):
            path = folder / f"{number:05d}.mp4"
            path.symlink_to(clip)
            sources.append(Source(path.name, path))
        summary = extract(
            sources,
            backbones=[MeanGrey()],
            plan=SegmentPlan(window_s=0.6),
            cache=open_cache(folder / "cache", create=True),
            on_progress=meter,
        )
    if summary.failed or summary.done != videos:
        raise SystemExit(f"not all videos were extracted: {summary.done} of {videos}")
    first, last = meter.readings[1], meter.readings[max(meter.readings)]
    growth_bytes = (last[0] - first[0]) * 1e6 / ((max(meter.readings) - 1) * meter.step)
    ratios = [late / early for early, late in zip(first, last, strict=True)]
    good = growth_bytes <= MOST_BYTES_PER_VIDEO and ratios[1] <= MOST_GROWTH
    print(
        f"parent: {ratios[0]:.2f}x, {growth_bytes:.0f} bytes per video, at most "
        f"{MOST_BYTES_PER_VIDEO}; decode processes: {ratios[1]:.2f}x, at most {MOST_GROWTH} "
        f"{'ok' if good else 'FAILED'}"
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
