"""One small video of every kind that decoders get wrong, made on the spot with PyAV.

The picture is a texture that moves, so that neighbouring frames differ in every region, with a
bright red top left corner that tells which way is up.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

FRAMES = 48
FPS = 10


@dataclass(frozen=True)
class Sample:
    """How to make a video of one kind.

    Parameters
    ----------
    suffix : str
        Of the file; it decides the container.
    codec : str
        Encoder, by FFmpeg's name.
    options : mapping of str to str
        Of the encoder.
    pixel_format : str
    width_px, height_px : int
        As shown.
    pts : sequence of int
        Timestamps in ticks of 1 / FPS.
    rotation_deg : int
        Clockwise turn that the file asks of the player; only in mp4.
    mirrored : bool
        Whether the player is to exchange left and right after that.
    """

    suffix: str = "mp4"
    codec: str = "libx264"
    options: Mapping[str, str] = field(default_factory=dict)
    pixel_format: str = "yuv420p"
    width_px: int = 96
    height_px: int = 64
    pts: Sequence[int] = range(FRAMES)
    rotation_deg: int = 0
    mirrored: bool = False

    def write(self, path: Path) -> Path:
        """Make the video; ``path`` is returned.

        Raises
        ------
        av.error.FFmpegError, ValueError
            This build of PyAV has no such encoder.
        """
        import av

        lies = self.rotation_deg % 180 == 90
        with av.open(str(path), "w") as container:
            stream = container.add_stream(self.codec, rate=FPS, options=dict(self.options))
            stream = cast("av.video.stream.VideoStream", stream)
            stream.width = self.height_px if lies else self.width_px
            stream.height = self.width_px if lies else self.height_px
            stream.pix_fmt = self.pixel_format
            stream.time_base = Fraction(1, FPS)
            stream.gop_size = 16
            for index, pts in enumerate(self.pts):
                upright = draw(index, width_px=self.width_px, height_px=self.height_px)
                turned = upright[:, ::-1] if self.mirrored else upright
                stored = np.ascontiguousarray(np.rot90(turned, self.rotation_deg // 90))
                frame = av.VideoFrame.from_ndarray(stored, format="rgb24")
                frame.pts, frame.time_base = pts, Fraction(1, FPS)
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
        if self.rotation_deg or self.mirrored:
            _turn(path, self.rotation_deg, mirrored=self.mirrored)
        return path


def draw(index: int, *, width_px: int, height_px: int) -> npt.NDArray[np.uint8]:
    """The picture of a frame, upright: uint8 (height_px, width_px, 3)."""
    blocks = np.random.default_rng(7).integers(40, 216, (40, 40, 3))
    texture = np.kron(blocks, np.ones((8, 8, 1))).astype(np.uint8)
    moved = np.roll(texture, (3 * index, 5 * index), axis=(0, 1))[:height_px, :width_px].copy()
    moved[: height_px // 4, : width_px // 4] = (235, 20, 20)
    return moved


def _turn(path: Path, clockwise_deg: int, *, mirrored: bool) -> None:
    """Write a display matrix into the track header of an mp4; PyAV cannot set one."""
    cos, sin = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[clockwise_deg]
    one = 1 << 16
    across = -one if mirrored else one
    turn = (cos * across, sin * one, 0, -sin * across, cos * one)
    matrix = struct.pack(">9i", *turn, 0, 0, 0, 1 << 30)
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    content = path.read_bytes()
    # The header of the movie holds an identity matrix too: only the one behind "tkhd" counts.
    track = content.index(b"tkhd")
    place = content.index(identity, track)
    path.write_bytes(content[:place] + matrix + content[place + len(matrix) :])


_B_FRAMES = {"bf": "3", "b_strategy": "0", "sc_threshold": "0"}
_X265 = {"x265-params": "log-level=none:bframes=3:keyint=16:pools=none:frame-threads=1"}

SAMPLES: Mapping[str, Sample] = {
    "h264-b-frames": Sample(options=_B_FRAMES),
    "h264-open-gop": Sample("mkv", options={**_B_FRAMES, "x264-params": "open-gop=1"}),
    "h264-interlaced": Sample(options={"bf": "2", "x264-params": "interlaced=1"}),
    "h264-transport-stream": Sample("ts", options=_B_FRAMES),
    "hevc": Sample("mkv", "libx265", _X265),
    "vp9": Sample("webm", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
    "vp9-hidden-frames": Sample(
        "webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "12", "cpu-used": "5"}
    ),
    "av1": Sample("mkv", "libsvtav1", {"preset": "12"}),
    "variable-rate": Sample(
        options=_B_FRAMES, pts=np.cumsum([0, *([1, 1, 2, 7, 1, 13] * 8)])[:FRAMES].tolist()
    ),
    "non-zero-start": Sample("mkv", options=_B_FRAMES, pts=range(83, 83 + FRAMES)),
    "rotated-90": Sample(options=_B_FRAMES, rotation_deg=90),
    "rotated-180": Sample(options=_B_FRAMES, rotation_deg=180),
    "rotated-270": Sample(options=_B_FRAMES, rotation_deg=270),
    **{
        f"mirrored-{turn}": Sample(options=_B_FRAMES, rotation_deg=turn, mirrored=True)
        for turn in (0, 90, 180, 270)
    },
    "odd-size": Sample("webm", "libvpx-vp9", {"cpu-used": "8"}, width_px=97, height_px=63),
    "4:4:4": Sample(options=_B_FRAMES, pixel_format="yuv444p", width_px=97, height_px=63),
    "10-bit": Sample("mkv", "libx265", _X265, pixel_format="yuv420p10le"),
    "avi": Sample("avi", "mpeg4"),
}
