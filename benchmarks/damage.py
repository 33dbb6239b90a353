"""What decoders show of damaged files: each frame is right, refused, or wrong in silence.

Of a small H.264 file, 120 damaged copies: one bit flipped in a frame, twenty, or a frame zeroed.
Raw decord and torchcodec stand beside basket's PyAV; a file counts as wrong when any frame shown
differs from the intact file's by more than 2/255 in the mean. Takes about 15 CPU seconds.

    python benchmarks/damage.py [--copies 40]
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from basket.extract.decode.contract import decode_everything
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode.samples import Sample

FRAMES = 120
SHOWN = list(range(0, FRAMES, 7))
Pictures = Iterable[npt.NDArray[np.uint8]]


def with_basket(path: Path) -> Pictures:
    with open_pyav(path) as video:
        return [shown.rgb for shown in video.frames_at(np.array(SHOWN) / 10)]


def with_decord(path: Path) -> Pictures:
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(str(path), num_threads=1).get_batch(SHOWN).asnumpy()


def with_torchcodec(path: Path) -> Pictures:
    from torchcodec.decoders import VideoDecoder

    return VideoDecoder(str(path), dimension_order="NHWC").get_frames_at(SHOWN).data.numpy()


def outcome(show: Callable[[Path], Pictures], path: Path, truth: list[npt.NDArray]) -> str:
    try:
        pictures = show(path)
    except ImportError:
        return "does not load"
    except Exception:  # noqa: BLE001 - any refusal is as good as another here
        return "refused"
    right = all(
        np.abs(picture.astype(int) - truth[index]).mean() <= 2.0
        for index, picture in zip(SHOWN, pictures, strict=True)
    )
    return "right" if right else "WRONG"


def damaged(content: bytes, place: tuple[int, int], kind: str, seed: int) -> bytes:
    position, size = place
    spoilt, rng = bytearray(content), random.Random(seed)
    if kind == "frame zeroed":
        spoilt[position : position + size] = bytes(size)
    for _ in range({"1 bit": 1, "20 bits": 20}.get(kind, 0)):
        spoilt[position + rng.randrange(8, max(size, 9))] ^= 1 << rng.randrange(8)
    return bytes(spoilt)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=40, help="of each kind of damage")
    options = parser.parse_args()
    av.logging.set_level(None)
    ways = {"pyav (basket)": with_basket, "decord": with_decord, "torchcodec": with_torchcodec}
    with tempfile.TemporaryDirectory() as folder:
        options_264 = {"bf": "3", "sc_threshold": "0"}
        sample = Sample(options=options_264, pts=range(FRAMES), width_px=192, height_px=144)
        whole = sample.write(Path(folder) / "whole.mp4")
        truth = decode_everything(whole)[1]
        with av.open(str(whole)) as container:
            places = [(each.pos, each.size) for each in container.demux(video=0) if each.size]
        for kind in ("1 bit", "20 bits", "frame zeroed"):
            counts: dict[str, Counter] = {way: Counter() for way in ways}
            for seed in range(options.copies):
                place = places[random.Random(seed).randrange(1, len(places))]
                path = Path(folder) / "damaged.mp4"
                path.write_bytes(damaged(whole.read_bytes(), place, kind, seed))
                for way, show in ways.items():
                    counts[way][outcome(show, path, truth)] += 1
            for way, count in counts.items():
                print(f"{kind:14s} {way:14s} {dict(sorted(count.items()))}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
