"""The reel of the decoding measurements: 9 minutes, 1280x720, 30 fps, H.264, a key frame per 250.

One minute of it is encoded (a camera that pans over a textured floor, ten players that run, grain)
with x264's ordinary settings, B-frames and all, and its packets are repeated until nine minutes are
full: what a frame costs to decode does not depend on which minute it belongs to. The first call
takes about 50 CPU seconds; the file (100 MB, 1.5 Mbit/s) is kept in the cache folder of the user.

    python benchmarks/reel.py [PATH] [--seconds 540]
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

#: Raise it when the picture or the encoding changes: reels are cached under it.
VERSION = 1
FPS, GOP, WIDTH, HEIGHT = 30, 250, 1280, 720
ENCODED_FRAMES = 8 * GOP


def reel(seconds: float = 540.0) -> Path:
    """Path of the reel of that length; made when it is not there yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "basket-benchmarks"
    path = base / f"reel-{seconds:.0f}s-v{VERSION}.mp4"
    if not path.exists():
        base.mkdir(parents=True, exist_ok=True)
        print(f"making {path} (once; about 50 CPU seconds)", file=sys.stderr, flush=True)
        write_reel(path, seconds)
    return path


def write_reel(path: Path, seconds: float) -> None:
    frames = round(seconds * FPS)
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        minute, whole = Path(folder) / "minute.mp4", Path(folder) / "whole.mp4"
        encode(minute, min(frames, ENCODED_FRAMES))
        repeat(minute, whole, frames)
        whole.replace(path)


def encode(path: Path, frames: int) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.bit_rate = 1_500_000
        stream.gop_size = GOP
        stream.time_base = Fraction(1, FPS)
        # Key frames exactly every 250 frames: the worst case that x264's defaults allow.
        stream.options = {"preset": "medium", "sc_threshold": "0", "keyint_min": str(GOP)}
        picture = Court()
        for index in range(frames):
            frame = av.VideoFrame.from_ndarray(picture.draw(index), format="yuv420p")
            frame.pts, frame.time_base = index, Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def repeat(source: Path, target: Path, frames: int) -> None:
    """Append the packets of ``source`` to themselves, whole groups of pictures at a time."""
    with av.open(str(source)) as given, av.open(str(target), "w") as container:
        stream = given.streams.video[0]
        copy = container.add_stream_from_template(stream)
        ticks = int(1 / (FPS * stream.time_base))
        for start in range(0, frames, ENCODED_FRAMES):
            given.seek(0, stream=stream)
            for packet in given.demux(stream):
                if packet.size == 0 or packet.pts is None:
                    continue
                packet.pts += start * ticks
                packet.dts += start * ticks
                # Packets that show frames past the end: the last group of pictures is cut there.
                if packet.pts < frames * ticks:
                    packet.stream = copy
                    container.mux(packet)


class Court:
    """A panned floor, ten players, grain; drawn in YUV because that is what x264 takes."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        floor = sum(
            np.kron(rng.normal(0, 40 / octave, (1024 // size, 2048 // size)), np.ones((size, size)))
            for octave, size in enumerate((128, 32, 8, 2), start=1)
        )
        self.floor = np.clip(floor + 120, 16, 235).astype(np.uint8)
        self.chroma = np.kron(rng.integers(90, 166, (2, 8, 16)), np.ones((1, 64, 64))).astype(
            np.uint8
        )
        self.grain = rng.integers(-6, 7, (8, HEIGHT, WIDTH)).astype(np.int16)
        self.players = [rng.integers(16, 235, (90, 40)).astype(np.uint8) for _ in range(10)]
        self.phases = rng.uniform(0, 6.3, (10, 4))

    def draw(self, index: int) -> npt.NDArray[np.uint8]:
        """Planes Y, U and V of a frame, one below the other."""
        left, top = (
            int(380 + 370 * np.sin(index / 90)) & ~1,
            int(150 + 140 * np.sin(index / 70)) & ~1,
        )
        luma = self.floor[top : top + HEIGHT, left : left + WIDTH].astype(np.int16)
        luma += self.grain[index % 8]
        for player, (a, b, c, d) in zip(self.players, self.phases, strict=True):
            x = int(600 + 560 * np.sin(index / (25 + 9 * c) + a))
            y = int(310 + 290 * np.sin(index / (19 + 7 * d) + b))
            luma[y : y + 90, x : x + 40] = player
        chroma = self.chroma[:, top // 2 : (top + HEIGHT) // 2, left // 2 : (left + WIDTH) // 2]
        planes = [np.clip(luma, 16, 235).astype(np.uint8).ravel(), chroma.ravel()]
        return np.concatenate(planes).reshape(HEIGHT * 3 // 2, WIDTH)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--seconds", type=float, default=540.0)
    options = parser.parse_args()
    if options.path:
        write_reel(options.path, options.seconds)
    print(options.path or reel(options.seconds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
