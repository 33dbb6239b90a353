"""Small pictures made straight from the planes are those of the whole-frame conversion."""

import ctypes
import platform
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from basket.extract.decode.base import DisplayedFrame
from basket.extract.decode.pictures import (
    _LUMA_WEIGHTS,
    FrameConverter,
    PyAVFrame,
    can_resize_planes,
    yuv_to_rgb,
)
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode.samples import Sample, draw


def frame_of(rgb: np.ndarray, pixel_format: str = "yuv420p") -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pixel_format)


def shown(frame: av.VideoFrame, quarter_turns: int = 0) -> PyAVFrame:
    return PyAVFrame(frame, 0, FrameConverter(quarter_turns))


def the_long_way(frame: PyAVFrame, size, resample, window) -> np.ndarray:
    whole = Image.fromarray(frame.rgb).resize(size[::-1], Image.Resampling[resample.upper()])
    top, left, bottom, right = window
    return np.asarray(whole)[top:bottom, left:right].astype(int)


@pytest.mark.parametrize("matrix", _LUMA_WEIGHTS)
def test_colours_are_those_of_ffmpeg(matrix):
    rng = np.random.default_rng(0)
    luma = rng.integers(0, 256, (64, 96), dtype=np.uint8)
    blue, red = rng.integers(0, 256, (2, 32, 48), dtype=np.uint8)
    planes = np.concatenate([luma.ravel(), blue.ravel(), red.ravel()]).reshape(96, 96)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.colorspace = matrix
    theirs = shown(frame).rgb.astype(int)
    ours = yuv_to_rgb(
        luma,
        *(plane.repeat(2, 0).repeat(2, 1) for plane in (blue, red)),
        luma_weights=_LUMA_WEIGHTS[matrix],
    )
    assert np.abs(ours - theirs).max() <= 1
    assert np.abs(ours - theirs).mean() < 0.05


@pytest.mark.parametrize("resample", ["bilinear", "bicubic"])
@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_small_pictures_equal_the_long_way(resample, turns, monkeypatch):
    stored = np.rot90(draw(3, width_px=320, height_px=240), turns)
    frame = shown(frame_of(np.ascontiguousarray(stored)), turns)
    window = (4, 13, 84, 93)
    theirs = the_long_way(frame, (90, 120), resample, window)
    monkeypatch.setattr(DisplayedFrame, "resized", None)  # it must not be called
    ours = frame.resized((90, 120), resample=resample, window=window)
    assert ours.shape == (80, 80, 3)
    assert np.abs(ours - theirs).mean() < 1.5


@pytest.mark.parametrize("size", [(90, 120), (241, 300), (480, 640)])
@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p10le", "gray", "yuvj420p"])
def test_other_kinds_of_frames_take_the_long_way(pixel_format, size):
    frame = shown(frame_of(draw(3, width_px=320, height_px=240), pixel_format))
    window = (10, 5, 90, 75)
    ours = frame.resized(size, resample="bilinear", window=window)
    assert not can_resize_planes(frame._frame)
    assert np.abs(ours - the_long_way(frame, size, "bilinear", window)).max() <= 1


def test_a_frame_that_grows_takes_the_long_way():
    frame = shown(frame_of(draw(3, width_px=64, height_px=48)))
    ours = frame.resized((96, 128), resample="bilinear", window=(0, 0, 96, 128))
    assert can_resize_planes(frame._frame)
    assert np.abs(ours - the_long_way(frame, (96, 128), "bilinear", (0, 0, 96, 128))).max() <= 1


def test_real_frames_stay_within_the_promise(shared_data):
    checked = []
    for path in sorted((shared_data / "videos").iterdir()):
        if path.name == "corrupted.mp4":
            continue
        with av.open(str(path)) as container:
            frame = next(container.decode(video=0))
        ours, (height, width) = shown(frame), (frame.height, frame.width)
        if min(height, width) < 224 or not can_resize_planes(frame):
            continue
        side = 224 / min(height, width)
        for size in (int(height * side), int(width * side)), (72, 128):
            window = (0, 0, *size)
            for resample in ("bilinear", "bicubic"):
                small = ours.resized(size, resample=resample, window=window)
                difference = np.abs(small - the_long_way(ours, size, resample, window)).mean()
                assert difference < 1.0, f"{path.name} to {size}, {resample}"
        checked.append(path.name)
    assert len(checked) >= 5


#: FFmpeg's flags (AV_CPU_FLAG_*) of an x86-64 processor up to SSE 4.2, and of one with AVX2.
SSE42 = 0x1 | 0x2 | 0x8 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x1000
AVX2 = SSE42 | 0x4000 | 0x8000 | 0x10000 | 0x20000 | 0x40000


def test_vector_units_change_no_picture_and_their_absence_little(shared_data):
    libraries = [*(Path(av.__file__).parents[1] / "av.libs").glob("libavutil*")]
    if not libraries or platform.machine() != "x86_64":
        pytest.skip("is about the assembly for x86-64 in PyAV's own wheels")
    force = ctypes.CDLL(str(libraries[0])).av_force_cpu_flags

    def pictures(flags: int) -> list[np.ndarray]:
        force(flags)
        try:
            with open_pyav(shared_data / "videos" / "basketball_game.mp4") as decoder:
                frames = list(decoder.frames_at(np.array([0.0, 0.5, 1.0])))
                small = frames[0].resized((56, 100), resample="bilinear", window=(0, 0, 56, 100))
                return [*(frame.rgb for frame in frames), small]
        finally:
            force(-1)

    here = pictures(-1)
    for flags in (SSE42, AVX2):
        assert all(map(np.array_equal, pictures(flags), here))
    for plain, fast in zip(pictures(0), here, strict=True):
        assert np.abs(plain.astype(int) - fast).max() <= 4


def test_interlaced_frames_take_the_long_way(tmp_path):
    path = tmp_path / "a.mp4"
    Sample(options={"x264-params": "interlaced=1"}, pts=range(4)).write(path)
    with av.open(str(path)) as container:
        assert not can_resize_planes(next(container.decode(video=0)))


def test_decoding_large_frames_does_not_import_torch(tmp_path):
    """A second and 160 MB in each decode process, for nothing."""
    path = Sample(width_px=1280, height_px=720, pts=range(2)).write(tmp_path / "a.mp4")
    script = """
import pathlib, sys
from basket.extract import decode_worker
from basket.extract.backbones.base import FrameGeometry
from basket.extract.clips import ClipShape
from basket.extract.decode import DECODERS
from basket.extract.decoding import Batch, Job, Source, WantedClips, decode_job
from basket.extract.segments import SegmentPlan

shape = ClipShape(2, FrameGeometry(224, 224))
job = Job(Source("a", pathlib.Path(sys.argv[1])), 0, 0, (WantedClips(0, shape),))
messages = list(decode_job(job, DECODERS["pyav"], plan=SegmentPlan(), batch_size=1))
assert isinstance(messages[1], Batch), messages
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script, str(path)], check=True)
