"""What decoding costs: the same frames from PyAV, decord and torchcodec, in CPU seconds.

A reel of 9 minutes, 720p, one key frame per 250, of which 34 segments of 16 frames are wanted, one
thread each. Every way runs in its own process; opening and indexing count, imports do not. The
frames must be the same to the pixel (mean difference at most 0.25/255), or the script fails. Then
the pictures for the backbones are compared with those of transformers' own processors.

    python benchmarks/decode.py [--seconds 540] [--repeat 1]

Takes about 80 CPU seconds, and once 50 more to make the reel (benchmarks/reel.py keeps it). Where
torchcodec does not load, its row says why.
"""
# bench: cpu

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
from reel import FPS, reel

from basket.errors import MissingDependencyError
from basket.extract.backbones.base import FrameGeometry
from basket.extract.clips import pictures_of, segments_of
from basket.extract.decode.decord import open_decord
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode.torchcodec import open_torchcodec
from basket.extract.segments import SegmentPlan, frame_times

Frames = Iterator[npt.NDArray[np.uint8]]
SEGMENTS_PER_SECOND, FRAMES = 34 / 540, 16
MOST_VERSUS_FASTEST, LEAST_VERSUS_RANDOM_ACCESS, SAME_PICTURE = 1.1, 2.0, 0.25


def wanted(path: Path, plan: SegmentPlan) -> npt.NDArray[np.float64]:
    """Instants of all segments, ascending; without a decoder's time counting for anyone."""
    with open_pyav(path) as video:
        duration_s = video.info.duration_s
        segments = segments_of(plan, video)
    times = [frame_times(each, FRAMES, duration_s=duration_s) for each in segments]
    return np.sort(np.concatenate(times))


def with_basket(open_video: Callable) -> Callable[[Path, npt.NDArray[np.float64]], Frames]:
    def frames(path: Path, times_s: npt.NDArray[np.float64]) -> Frames:
        with open_video(path) as video:
            yield from (shown.rgb for shown in video.frames_at(times_s))

    return frames


def shown_at(times_s: npt.NDArray[np.float64], frames: int) -> npt.NDArray[np.int64]:
    """Frame on display at each instant; the reel has a constant rate, past its end the last."""
    return np.minimum(np.floor(times_s * FPS + 1e-4).astype(np.int64), frames - 1)


def with_decord(path: Path, times_s: npt.NDArray[np.float64]) -> Frames:
    """As people use it: random access, one batch per segment."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    indices = shown_at(times_s, len(reader))
    for start in range(0, len(indices), FRAMES):
        yield from reader.get_batch(indices[start : start + FRAMES]).asnumpy()


def with_torchcodec(path: Path, times_s: npt.NDArray[np.float64]) -> Frames:
    from torchcodec.decoders import VideoDecoder

    decoder = VideoDecoder(str(path), dimension_order="NHWC", num_ffmpeg_threads=1)
    indices = shown_at(times_s, len(decoder))
    for start in range(0, len(indices), FRAMES):
        yield from decoder.get_frames_at(indices[start : start + FRAMES].tolist()).data.numpy()


#: Row -> (how, alignment).
WAYS: dict[str, tuple[Callable[[Path, npt.NDArray[np.float64]], Frames], str]] = {
    "pyav (basket)": (with_basket(open_pyav), "exact"),
    "decord": (with_decord, "exact"),
    "torchcodec": (with_torchcodec, "exact"),
    "pyav (basket), key frames": (with_basket(open_pyav), "keyframe"),
    "decord, key frames": (with_decord, "keyframe"),
}
CHECKED: dict[str, tuple[Callable[[Path, npt.NDArray[np.float64]], Frames], str]] = {
    "decord (basket, checked)": (with_basket(open_decord), "exact"),
    "torchcodec (basket, checked)": (with_basket(open_torchcodec), "exact"),
}


def measure(way: str, seconds: float) -> dict:
    """CPU seconds of one way in this process, and a thumbnail of each frame."""
    frames, align = {**WAYS, **CHECKED}[way]
    path = reel(seconds)
    times_s = wanted(path, SegmentPlan(max(1, round(seconds * SEGMENTS_PER_SECOND)), align=align))
    try:
        if "decord" in way:
            import decord  # noqa: F401 - imports do not count
        if "torchcodec" in way:
            import torchcodec.decoders  # noqa: F401
        before = time.process_time()
        thumbnails = [frame[8::90, 8::90].tolist() for frame in frames(path, times_s)]
        return {"cpu_s": time.process_time() - before, "frames": thumbnails}
    except (ImportError, OSError, RuntimeError, MissingDependencyError) as error:
        return {"why_not": str(error).strip().splitlines()[0][:80]}


def measure_apart(way: str, seconds: float) -> dict:
    command = [sys.executable, __file__, "--only", way, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    return json.loads(done.stdout)


def compare_decoders(seconds: float, repeat: int, *, checked: bool) -> bool:
    ways = {**WAYS, **(CHECKED if checked else {})}
    cpu_s: dict[str, float] = {}
    truth: dict[str, npt.NDArray] = {}
    for way, (_, align) in ways.items():
        results = [measure_apart(way, seconds) for _ in range(repeat)]
        if "why_not" in results[0]:
            print(f"{way:32s} does not run here: {results[0]['why_not']}")
            continue
        cpu_s[way] = min(result["cpu_s"] for result in results)
        shown = np.array(results[0]["frames"], dtype=float)
        difference = np.abs(shown - truth.setdefault(align, shown)).mean(axis=(1, 2, 3)).max()
        print(f"{way:32s} {cpu_s[way]:7.2f} CPU s, {len(shown)} frames", end="")
        print(f", greatest mean difference from pyav {difference:.2f}/255", flush=True)
        if difference > SAME_PICTURE:
            print(f"FAILED: {way} shows other frames")
            return False
    return judge(cpu_s)


def judge(cpu_s: dict[str, float]) -> bool:
    ours, aligned = cpu_s["pyav (basket)"], cpu_s["pyav (basket), key frames"]
    others = {name: cpu_s[name] for name in ("decord", "torchcodec") if name in cpu_s}
    if not others:
        print("nothing to compare with: neither decord nor torchcodec loads here")
        return True
    fastest = min(others, key=others.__getitem__)
    good = ours <= MOST_VERSUS_FASTEST * others[fastest]
    print(
        f"pyav / {fastest}: {ours / others[fastest]:.2f}x, at most {MOST_VERSUS_FASTEST}x"
        f" {'ok' if good else 'FAILED'}"
    )
    if "decord" in others:
        ratio = others["decord"] / aligned
        enough = ratio >= LEAST_VERSUS_RANDOM_ACCESS
        good &= enough
        print(
            f"decord's random access / pyav --align keyframe: {ratio:.1f}x, at least "
            f"{LEAST_VERSUS_RANDOM_ACCESS}x {'ok' if enough else 'FAILED'}"
        )
    return good


PROCESSORS = {
    "videomae": ("VideoMAE", {"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 2}),
    "clip": ("CLIP", {"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 3}),
    "dinov2": ("CLIP", {"size": {"shortest_edge": 256}, "crop_size": 224, "resample": 3}),
    "siglip": ("Siglip", {"size": {"height": 224, "width": 224}, "resample": 3}),
    "siglip2": ("Siglip", {"size": {"height": 224, "width": 224}, "resample": 2}),
}


def compare_pictures(seconds: float, n_frames: int = 12) -> bool:
    """Our pictures against the processors' (both from the same decoded frames)."""
    import transformers

    logging.getLogger("transformers").setLevel(logging.ERROR)
    with open_pyav(reel(seconds)) as video:
        times_s = np.linspace(0, video.info.duration_s, n_frames)
        frames = list(video.frames_at(times_s))
    print(f"pictures against the processors of transformers {version('transformers')}, of 255:")
    worst = 0.0
    for name, (family, values) in PROCESSORS.items():
        off = {"do_rescale": False, "do_normalize": False}
        processor = getattr(transformers, f"{family}ImageProcessor")(**values, **off)
        exact = "height" in values["size"]
        geometry = FrameGeometry(
            224,
            224,
            "squash" if exact else "center",
            224 if exact else values["size"]["shortest_edge"],
            {2: "bilinear", 3: "bicubic"}[values["resample"]],
        )
        differences = []
        for frame in frames:
            given = [frame.rgb] if family == "VideoMAE" else frame.rgb
            theirs = processor(given, return_tensors="np")
            theirs = np.asarray(theirs["pixel_values"]).reshape(3, 224, 224).transpose(1, 2, 0)
            differences.append(np.abs(pictures_of(frame, geometry)[0] - theirs.astype(float)))
        mean, largest = np.mean(differences), np.max(differences)
        worst = max(worst, float(mean))
        print(f"  {name:10s} {geometry.resample:8s} mean {mean:.3f}  largest {largest:.0f}")
    return worst <= 2.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=540.0, help="length of the reel")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each way; the least counts")
    parser.add_argument("--checked", action="store_true", help="also our checked back ends")
    parser.add_argument("--only", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only:
        print(json.dumps(measure(options.only, options.seconds)))
        return 0
    path = reel(options.seconds)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} CPUs, {path.name}")
    good = compare_decoders(options.seconds, options.repeat, checked=options.checked)
    good &= compare_pictures(options.seconds)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
