"""How much of a GPU's measured peak the forward pass reaches: VideoMAE base and large, bf16.

    python benchmarks/gpu_forward.py                # on a GPU, about three minutes
    python benchmarks/gpu_forward.py --smoke        # tiny networks on a CPU: does it run at all
    python benchmarks/gpu_forward.py --cosine-on-cpu    # bf16 against float32 without a GPU

Weights are random, of full size and made here: speed does not depend on their values. Reported per
model, from one run: clips/s of the network alone (pixels already on the device), clips/s from
decoded frames in host memory to features in host memory, both as a share of the bf16 matrix
product's measured peak, the batch size that was chosen, and the cosine between bf16 and float32
features, as they are and with the mean clip taken off (features of one network share most of their
direction, which flatters the plain cosine).

How far bf16 strays depends on the weights: ``--gain`` multiplies those of the blocks, since
untrained ones are small and amplify rounding little.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from basket.extract.backbones import load_backbone, opening
from basket.extract.backbones.batching import auto_batch_size, embed_in_batches
from basket.extract.backbones.random_weights import save_random

SIZES: dict[str, dict[str, int]] = {
    "base": {"hidden_size": 768, "layers": 12, "heads": 12, "image_size": 224},
    "large": {"hidden_size": 1024, "layers": 24, "heads": 16, "image_size": 224},
}
CPU = torch.device("cpu")
SMOKE = {"tiny": {"hidden_size": 32, "layers": 2, "heads": 2, "image_size": 32}}


def seconds(device: str, call: Callable[[], Any], *, repeats: int) -> float:
    """Median wall-clock seconds of a call, the device's work included."""
    times = []
    for _ in range(repeats):
        synchronise(device)
        start = time.perf_counter()
        call()
        synchronise(device)
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def synchronise(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def matmul_peak(device: str, dtype: torch.dtype, *, side: int) -> float:
    """TFLOP/s of a square matrix product, the best of several sizes."""
    best = 0.0
    for n in (side // 2, side):
        a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
        for _ in range(3):
            a @ b
        # Several products per timing: one is too short to time well.
        taken = seconds(device, lambda a=a, b=b: [a @ b for _ in range(10)], repeats=7) / 10
        best = max(best, 2 * n**3 / taken / 1e12)
    return best


def natural_clips(spec: Any, count: int) -> np.ndarray:
    """Smooth moving pictures: noise would hide what lower precision does to real ones."""
    rng = np.random.default_rng(0)
    height, width = spec.geometry.height_px, spec.geometry.width_px
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    clips = np.empty((count, spec.frames, height, width, 3), np.uint8)
    for clip in clips:
        phases, waves = rng.uniform(0, 6, (3, 4)), rng.uniform(-20, 20, (3, 4, 3))
        for t, picture in enumerate(clip):
            angle = waves[..., :1, None] * x + waves[..., 1:2, None] * y
            angle = angle + (phases + waves[..., 2] * t / 40)[..., None, None]
            picture[:] = np.moveaxis(127 + 100 * np.sin(angle).mean(axis=1), 0, -1)
    return clips


def make_weights(folder: Path, sizes: dict[str, int], gain: float) -> Path:
    """A random VideoMAE, the matrices of its blocks times ``gain``."""
    weights = save_random("videomae", folder, **sizes)
    if gain != 1:
        file = weights / "model.safetensors"
        tensors = {
            name: value * gain if value.ndim == 2 and "encoder" in name else value
            for name, value in load_file(file).items()
        }
        save_file(tensors, file, metadata={"format": "pt"})
    return weights


def cosines(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """Row by row, as they are and less the mean row."""
    found = {}
    for name, shift in (("cosine", 0), ("centred_cosine", 1)):
        a, b = one - shift * one.mean(axis=0), other - shift * other.mean(axis=0)
        values = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        found |= {f"{name}_median": float(np.median(values)), f"{name}_min": float(values.min())}
    return found


def in_words(found: dict[str, Any]) -> str:
    return (
        f"cosine to float32: median {found['cosine_median']:.5f} (target 0.999), lowest "
        f"{found['cosine_min']:.5f}; less the mean clip {found['centred_cosine_median']:.5f} and "
        f"{found['centred_cosine_min']:.5f}"
    )


def cosine_on_cpu(gain: float, given: Path | None) -> list[dict[str, Any]]:
    """The same networks in bf16 on a CPU, which basket itself refuses because it may be slow."""
    results = []
    for size, sizes in {"given": {}}.items() if given else SIZES.items():
        with tempfile.TemporaryDirectory() as folder:
            weights = given or make_weights(Path(folder) / size, sizes, gain)
            exact = load_backbone("videomae", weights=weights, device="cpu")
            with mock.patch.object(opening, "resolve_device", lambda *_: (CPU, torch.bfloat16)):
                half = load_backbone("videomae", weights=weights, device="cpu")
        clips = natural_clips(exact.spec, 8)
        one, other = (each.embed(clips)["pooled"] for each in (half, exact))
        found = {"model": str(given or f"videomae-{size}"), "gain": gain, **cosines(one, other)}
        results.append(found)
        print(f"{found['model']}, weights times {gain:g}, on a CPU: {in_words(found)}", flush=True)
    return results


def measure(size: str, sizes: dict[str, int], options: argparse.Namespace) -> dict[str, Any]:
    """Clips/s, share of the peak and cosine for one size."""
    device = "cpu" if options.smoke else "cuda"
    precision = "fp32" if options.smoke else "bf16"
    with tempfile.TemporaryDirectory() as folder:
        weights = make_weights(Path(folder) / size, sizes, options.gain)
        load = {"weights": weights, "device": device}
        backbone = load_backbone("videomae", **load, precision=precision, compile=options.compile)
        exact = load_backbone("videomae", **load, precision="fp32")
    batch = auto_batch_size(backbone, device)
    if options.batch_size:
        batch.clips = options.batch_size
    clips = natural_clips(backbone.spec, batch.clips)
    one, other = (embed_in_batches(each, clips, batch)["pooled"] for each in (backbone, exact))

    pixels = backbone._pixels(clips)
    with torch.inference_mode():
        backbone._forward(pixels)
        alone_s = seconds(device, lambda: backbone._forward(pixels), repeats=options.repeats)
    batches = 4
    many = np.concatenate([clips] * batches)
    whole_s = seconds(
        device,
        lambda: embed_in_batches(backbone, many, batch),
        repeats=max(1, options.repeats // 2),
    )
    return {
        "model": f"videomae-{size}",
        "batch": batch.clips,
        "halvings": batch.halvings,
        "tflop_per_clip": backbone.spec.tflop_per_clip,
        "clips_per_s": len(clips) / alone_s,
        "clips_per_s_end_to_end": len(many) / whole_s,
        **cosines(one, other),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="tiny networks on a CPU")
    parser.add_argument("--cosine-on-cpu", action="store_true", help="nothing else, no GPU")
    parser.add_argument("--weights", type=Path, help="with --cosine-on-cpu: your own VideoMAE")
    parser.add_argument("--gain", type=float, default=1.0, help="multiplies the blocks' weights")
    parser.add_argument("--compile", action="store_true", help="through torch.compile")
    parser.add_argument("--batch-size", type=int, default=0, help="default: automatic")
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    if options.cosine_on_cpu:
        print(json.dumps({"results": cosine_on_cpu(options.gain, options.weights)}))
        return 0
    if not options.smoke and not torch.cuda.is_available():
        print("no CUDA device here; --smoke checks that the script runs", file=sys.stderr)
        return 1
    device, dtype = ("cpu", torch.float32) if options.smoke else ("cuda", torch.bfloat16)
    peak = matmul_peak(device, dtype, side=512 if options.smoke else 8192)
    where = "CPU" if options.smoke else torch.cuda.get_device_name()
    print(f"{where}, torch {torch.__version__}: {dtype} matmul peak {peak:.1f} TFLOP/s")
    results = []
    for size, sizes in (SMOKE if options.smoke else SIZES).items():
        found = measure(size, sizes, options)
        for key, rate in (("share", "clips_per_s"), ("share_end_to_end", "clips_per_s_end_to_end")):
            found[key] = found[rate] * found["tflop_per_clip"] / peak
        results.append(found)
        print(
            f"{found['model']}, batch {found['batch']}: network {found['clips_per_s']:.0f} clips/s "
            f"= {found['share']:.0%} of peak (target 50 % for base); end to end "
            f"{found['clips_per_s_end_to_end']:.0f} clips/s = {found['share_end_to_end']:.0%}; "
            f"{in_words(found)}"
        )
    print(json.dumps({"peak_tflop_per_s": peak, "compiled": options.compile, "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
