"""Does the pipeline cost more than its parts? Decode, forward, both; two backbones; the usual loop.

Measures on copies of the reel of nine minutes (benchmarks/reel.py) and prints ratios, each from one
run and with its target beside it, in wall-clock time and in CPU seconds (all processes together;
those hold on a busy machine too):

- pipeline, bound by decoding (`motion`) and by the network (VideoMAE, random weights): share of
  1 / (1 / decode rate + 1 / forward rate), each measured alone with all cores; on a GPU, of the
  slower of the two;
- two backbones from one pass, against the slower of the two alone;
- against the loop people write: decord `get_batch`, the image processor, the model, batch 1, one
  process; 34 segments of the same frames; and again with starts on key frames. The network is
  tiny, so that decoding is the bound.

    python benchmarks/pipeline.py            # about 7 minutes on 2 idle cores
    python benchmarks/pipeline.py --quick    # about 1 minute: reels of 60 s, a small VideoMAE
    python benchmarks/pipeline.py --only two # one part: motion, two, loop or network

The first run makes the reel, a minute more. Short reels are dearer per second (processes start);
a missed target is an error in the long run only.
"""
# bench: cpu

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from reel import reel

from basket.cache import open_cache
from basket.cores import usable_cores
from basket.extract.attempts import Attempts
from basket.extract.backbones import Backbone, load_backbone
from basket.extract.backbones.batching import auto_batch_size
from basket.extract.backbones.random_weights import save_random_videomae
from basket.extract.decoding import Source
from basket.extract.device import choose_device
from basket.extract.pipeline import extract
from basket.extract.planning import plan_jobs
from basket.extract.segments import SegmentPlan, frame_times
from basket.extract.workers import WorkerLimits, decoding_processes

SEGMENTS_PER_SECOND = 34 / 540
PARTS = ("motion", "two", "loop", "network")
SIZES = {
    "tiny": {"hidden_size": 64, "layers": 2, "heads": 4},
    "small": {"hidden_size": 192, "layers": 4, "heads": 3, "image_size": 112},
    "base": {"hidden_size": 768, "layers": 12, "heads": 12, "image_size": 224},
}


@dataclass(frozen=True)
class Cost:
    """Wall-clock seconds, and CPU seconds of this process and its ended children."""

    wall_s: float
    cpu_s: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s)

    def __mul__(self, factor: float) -> Cost:
        return Cost(self.wall_s * factor, self.cpu_s * factor)


class Verdicts:
    """Prints each ratio beside its target, and remembers whether all were reached."""

    def __init__(self) -> None:
        self.all_reached = True

    def tell(self, what: str, over: Cost, under: Cost, target: float, *, at_most: bool) -> None:
        """Print ``over / under`` and whether it reaches its target."""
        ratio = over.wall_s / under.wall_s
        reached = ratio <= target if at_most else ratio >= target
        self.all_reached &= reached
        print(
            f"{what}: {ratio:.2f} (CPU seconds: {over.cpu_s / under.cpu_s:.2f}), "
            f"target {'at most' if at_most else 'at least'} {target:g} "
            f"{'ok' if reached else 'MISSED'}",
            flush=True,
        )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seconds", type=float, help="length of a reel (540; quick: 60)")
    parser.add_argument("--reels", type=int, help="how many (one per core, at least two)")
    parser.add_argument("--segments", type=int, default=8, help="of each reel, for the network")
    parser.add_argument("--model", choices=SIZES, help="of VideoMAE (base; quick: small)")
    parser.add_argument("--only", choices=PARTS, action="append", help="a part; may be repeated")
    options = parser.parse_args()
    parts = options.only or PARTS
    seconds = options.seconds or (60.0 if options.quick else 540.0)
    model = options.model or ("small" if options.quick else "base")
    verdicts = Verdicts()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = reels(folder, options.reels or max(2, usable_cores()), seconds)
        print(f"{len(sources)} reels of {seconds:g} s, {usable_cores()} cores", flush=True)
        motion = load_backbone("motion")
        if "motion" in parts:
            share(verdicts, sources, motion, SegmentPlan(), "motion, dense")
        if "two" in parts:
            together(verdicts, folder, sources, motion)
        if "loop" in parts:
            people(verdicts, folder, sources, max(1, round(seconds * SEGMENTS_PER_SECOND)))
        if "network" in parts:
            device, precision = choose_device("auto", "auto")
            weights = save_random_videomae(folder / "videomae", **SIZES[model])
            network = load_backbone("videomae", weights=weights, device=device, precision=precision)
            few = SegmentPlan(count=options.segments)
            what = f"VideoMAE-{model} on {device} in {precision}"
            share(verdicts, sources, network, few, what, device=device)
    return 0 if verdicts.all_reached or options.quick else 1


def reels(folder: Path, count: int, seconds: float) -> list[Source]:
    """One reel under several names."""
    paths = [folder / f"{number}.mp4" for number in range(count)]
    for path in paths:
        path.symlink_to(reel(seconds))
    return [Source(path.name, path) for path in paths]


def measured(work: Callable[[], object]) -> Cost:
    start_s, before_s = time.perf_counter(), cpu_seconds()
    work()
    return Cost(time.perf_counter() - start_s, cpu_seconds() - before_s)


def cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def decode_alone(sources: list[Source], backbones: list[Backbone], plan: SegmentPlan) -> Cost:
    """What it costs to decode with all cores and throw away."""
    jobs, _ = plan_jobs(sources, backbones, [None] * len(backbones), plan=plan, retry_failed=False)

    def work() -> None:
        with (
            tempfile.TemporaryDirectory() as name,
            decoding_processes(
                jobs,
                decoder="pyav",
                plan=plan,
                workers=usable_cores(),
                limits=WorkerLimits(),
                attempts=Attempts(Path(name)),
            ) as messages,
        ):
            for _ in messages:
                pass

    return measured(work)


def forward_alone(backbone: Backbone, clips: int, batch: int) -> Cost:
    """What it costs to embed so many clips with all cores."""
    spec = backbone.spec
    shape = (batch, spec.frames, spec.geometry.height_px, spec.geometry.width_px, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    backbone.embed(pixels[:1])
    rounds = max(1, clips // batch)
    cost = measured(lambda: [backbone.embed(pixels) for _ in range(rounds)])
    return cost * (clips / (rounds * batch))


def run(
    sources: list[Source], backbones: list[Backbone], plan: SegmentPlan, device: str = "cpu"
) -> tuple[Cost, int]:
    """What a whole extraction into a new cache costs, and the clips it embedded."""
    summaries = []

    def work() -> None:
        with tempfile.TemporaryDirectory() as name:
            cache = open_cache(Path(name) / "cache", create=True)
            summaries.append(
                extract(sources, backbones=backbones, plan=plan, cache=cache, device=device)
            )

    cost = measured(work)
    if summaries[0].failed:
        raise SystemExit(f"videos failed: {summaries[0].failed}")
    return cost, summaries[0].clips


def share(
    verdicts: Verdicts,
    sources: list[Source],
    backbone: Backbone,
    plan: SegmentPlan,
    what: str,
    device: str = "cpu",
) -> None:
    whole, clips = run(sources, [backbone], plan, device)
    decode = decode_alone(sources, [backbone], plan)
    forward = forward_alone(backbone, clips, auto_batch_size(backbone, device).clips)
    # On a CPU both stages share the cores; a GPU works beside them.
    parts = decode + forward
    if device != "cpu":
        parts = Cost(max(decode.wall_s, forward.wall_s), parts.cpu_s)
    print(
        f"{what}: {clips} clips in {whole.wall_s:.1f} s; decode alone {decode.wall_s:.1f} s, "
        f"forward alone {forward.wall_s:.1f} s"
    )
    verdicts.tell("  share of the ideal", parts, whole, 0.9, at_most=False)


def together(verdicts: Verdicts, folder: Path, sources: list[Source], motion: Backbone) -> None:
    """Motion and a tiny VideoMAE from one pass."""
    tiny = load_backbone("videomae", weights=save_random_videomae(folder / "tiny"))
    motion_alone, _ = run(sources, [motion], SegmentPlan())
    tiny_alone, _ = run(sources, [tiny], SegmentPlan())
    both, _ = run(sources, [motion, tiny], SegmentPlan())
    print(
        f"two backbones, dense: {both.wall_s:.1f} s; motion alone {motion_alone.wall_s:.1f} s, "
        f"tiny VideoMAE alone {tiny_alone.wall_s:.1f} s"
    )
    slower = max(motion_alone, tiny_alone, key=lambda cost: cost.wall_s)
    verdicts.tell("  in one pass against the slower alone", both, slower, 1.15, at_most=True)


def people(verdicts: Verdicts, folder: Path, sources: list[Source], segments: int) -> None:
    """The loop that people write, against ours, bound by decoding (a tiny network)."""
    try:
        import decord
    except ImportError:
        print("the usual loop: decord is not installed here")
        return
    import torch
    from transformers import VideoMAEForVideoClassification
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    from transformers import VideoMAEImageProcessor

    weights = save_random_videomae(folder / "people")
    model = VideoMAEForVideoClassification.from_pretrained(weights).eval()
    processor = VideoMAEImageProcessor.from_pretrained(weights)
    plan = SegmentPlan(count=segments)

    def loop() -> None:
        for source in sources:
            reader = decord.VideoReader(str(source.path))
            fps, duration_s = reader.get_avg_fps(), len(reader) / reader.get_avg_fps()
            for segment in plan.segments(duration_s):
                times = frame_times(segment, 16, duration_s=duration_s)
                frames = reader.get_batch([int(t * fps + 1e-6) for t in times]).asnumpy()
                with torch.no_grad():
                    model(**processor(list(frames), return_tensors="pt"))

    backbone = load_backbone("videomae", weights=weights)
    theirs = measured(loop)
    ours, _ = run(sources, [backbone], plan)
    keyed, _ = run(sources, [backbone], SegmentPlan(count=segments, align="keyframe"))
    print(
        f"the usual loop, {segments} segments a reel: {theirs.wall_s:.1f} s; basket "
        f"{ours.wall_s:.1f} s, with key-frame starts {keyed.wall_s:.1f} s"
    )
    verdicts.tell("  the usual loop / basket, same frames", theirs, ours, 1.7, at_most=False)
    verdicts.tell("  the usual loop / basket, key frames", theirs, keyed, 4.0, at_most=False)


if __name__ == "__main__":
    sys.exit(main())
