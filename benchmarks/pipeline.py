"""Does the pipeline cost more than its parts? Decode, forward, both; two backbones; the usual loop.

Makes a reel, measures in one run, prints ratios:

- pipeline, bound by decoding (`motion`) and by the network (VideoMAE, random weights): share of
  1 / (1 / decode rate + 1 / forward rate), each measured alone with all cores; on a GPU, of the
  slower of the two;
- two backbones from one pass, against the slower of the two alone;
- against the loop people write: decord `get_batch`, the image processor, the model, batch 1, one
  process; the same frames; and again with starts on key frames.

    python benchmarks/pipeline.py [--seconds 60] [--reels 4] [--model base|tiny]
"""
# bench: cpu

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from reel import write_reel

from basket.cache import open_cache
from basket.extract.attempts import Attempts
from basket.extract.backbones import Backbone, load_backbone
from basket.extract.backbones.batching import auto_batch_size
from basket.extract.backbones.random_weights import save_random_videomae
from basket.extract.decoding import Source
from basket.extract.device import choose_device
from basket.extract.pipeline import extract, plan_jobs, usable_cores
from basket.extract.segments import SegmentPlan, frame_times
from basket.extract.workers import WorkerLimits, decoding_processes

SIZES = {
    "tiny": {"hidden_size": 64, "layers": 2, "heads": 4},
    "small": {"hidden_size": 192, "layers": 4, "heads": 3, "image_size": 112},
    "base": {"hidden_size": 768, "layers": 12, "heads": 12, "image_size": 224},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--reels", type=int, default=4)
    parser.add_argument("--segments", type=int, default=6, help="of each reel, for the network")
    parser.add_argument("--model", choices=SIZES, default="base")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = reels(folder, options.reels, options.seconds)
        weights = save_random_videomae(folder / "videomae", **SIZES[options.model])
        device, precision = choose_device("auto", "auto")
        network = load_backbone("videomae", weights=weights, device=device, precision=precision)
        motion = load_backbone("motion")
        dense, few = SegmentPlan(), SegmentPlan(count=options.segments)
        share(sources, motion, dense, "bound by decoding: motion, dense")
        what = f"VideoMAE-{options.model} on {device} in {precision}"
        share(sources, network, few, what, device=device)
        together(folder, sources, dense)
        people(folder, sources, options.segments)


def reels(folder: Path, count: int, seconds: float) -> list[Source]:
    """Copies of one 720p reel, GOP 250, under different names."""
    first = folder / "0.mp4"
    write_reel(first, seconds=seconds)
    sources = [Source(first.name, first)]
    for number in range(1, count):
        path = folder / f"{number}.mp4"
        path.write_bytes(first.read_bytes())
        sources.append(Source(path.name, path))
    return sources


def timed(work: Callable[[], object]) -> float:
    start_s = time.perf_counter()
    work()
    return time.perf_counter() - start_s


def decode_alone(sources: list[Source], backbones: list[Backbone], plan: SegmentPlan) -> float:
    """Seconds to decode and throw away, with all cores."""
    jobs, _ = plan_jobs(sources, backbones, [], plan=plan, retry_failed=False)
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
        return timed(lambda: [None for _ in messages])


def forward_alone(backbone: Backbone, clips: int, batch: int) -> float:
    """Seconds to embed so many clips, with all cores."""
    spec = backbone.spec
    shape = (batch, spec.frames, spec.geometry.height_px, spec.geometry.width_px, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    backbone.embed(pixels)
    rounds = max(1, clips // batch)
    return timed(lambda: [backbone.embed(pixels) for _ in range(rounds)]) / (rounds * batch) * clips


def run(
    sources: list[Source], backbones: list[Backbone], plan: SegmentPlan, device: str = "cpu"
) -> tuple[float, int]:
    """Seconds of a whole extraction into a new cache, and the clips it embedded."""
    with tempfile.TemporaryDirectory() as name:
        cache = open_cache(Path(name) / "cache", create=True)
        summary = extract(sources, backbones=backbones, plan=plan, cache=cache, device=device)
    if summary.failed:
        raise SystemExit(f"videos failed: {summary.failed}")
    return summary.elapsed_s, summary.clips


def share(
    sources: list[Source], backbone: Backbone, plan: SegmentPlan, what: str, device: str = "cpu"
) -> None:
    whole_s, clips = run(sources, [backbone], plan, device)
    decode_s = decode_alone(sources, [backbone], plan)
    forward_s = forward_alone(backbone, clips, auto_batch_size(backbone, device).clips)
    # On a CPU both stages share the cores; a GPU works beside them.
    ideal_s = decode_s + forward_s if device == "cpu" else max(decode_s, forward_s)
    print(
        f"{what}: {clips} clips in {whole_s:.1f} s; decode alone {decode_s:.1f} s, forward alone "
        f"{forward_s:.1f} s; share of the ideal {ideal_s / whole_s:.0%}",
        flush=True,
    )


def together(folder: Path, sources: list[Source], plan: SegmentPlan) -> None:
    motion = load_backbone("motion")
    tiny = load_backbone("videomae", weights=save_random_videomae(folder / "tiny"))
    alone = [run(sources, [backbone], plan)[0] for backbone in (motion, tiny)]
    both_s, _ = run(sources, [motion, tiny], plan)
    print(
        f"two backbones in one pass: {both_s:.1f} s against {alone[0]:.1f} s and {alone[1]:.1f} s "
        f"alone: {both_s / max(alone):.2f}x the slower",
        flush=True,
    )


def people(folder: Path, sources: list[Source], segments: int) -> None:
    """The loop that people write, against ours, bound by decoding (a tiny network)."""
    try:
        import decord
    except ImportError:
        print("the usual loop: decord is not installed here")
        return
    import torch
    from transformers import VideoMAEForVideoClassification, VideoMAEImageProcessor

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
    theirs_s = timed(loop)
    ours_s, _ = run(sources, [backbone], plan)
    keyed_s, _ = run(sources, [backbone], SegmentPlan(count=segments, align="keyframe"))
    print(
        f"the usual loop {theirs_s:.1f} s; basket {ours_s:.1f} s: {theirs_s / ours_s:.1f}x; "
        f"with key-frame starts {keyed_s:.1f} s: {theirs_s / keyed_s:.1f}x"
    )


if __name__ == "__main__":
    main()
