"""Clips hold the right frames in the right geometry, for every backbone and scale at once."""

import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image

from basket.extract.backbones.base import FrameGeometry
from basket.extract.backbones.preprocessing import read_preprocessing
from basket.extract.backbones.weights import CheckpointFolder
from basket.extract.clips import (
    ClipShape,
    count_valid_frames,
    pictures_of,
    read_clips,
    segments_of,
)
from basket.extract.decode.base import DisplayedFrame, VideoInfo
from basket.extract.decode.pyav import open_pyav
from basket.extract.segments import Segment, SegmentPlan, frame_times


class NumberedVideo:
    """A decoder of ten frames a second whose frame n is the colour n."""

    def __init__(self, frames: int = 60) -> None:
        self.info = VideoInfo(frames / 10, 10.0, 8, 8, frames)
        self.keyframes_s = np.array([0.0, 2.5])
        self.decoded: list[int] = []

    def frames_at(self, times_s):
        assert (np.diff(times_s) >= 0).all()
        for time_s in times_s:
            index = min(int(time_s * 10 + 1e-6), self.info.frames - 1)
            if not self.decoded or self.decoded[-1] != index:
                self.decoded.append(index)
            yield DisplayedFrame(np.full((8, 8, 3), index, np.uint8), index)


SMALL = FrameGeometry(4, 4, "squash")
TINY = FrameGeometry(2, 2, "squash")


def test_every_clip_shows_the_frames_on_display_at_its_instants():
    segments = SegmentPlan(window_s=2.0).segments(6.0)
    shapes = [ClipShape(8, SMALL), ClipShape(4, TINY), ClipShape(4, TINY, scale=2)]
    video = NumberedVideo()
    clips = {(clip.segment, clip.shape): clip for clip in read_clips(video, segments, shapes)}
    assert len(clips) == 9
    for (segment, shape), clip in clips.items():
        wanted = shapes[shape]
        times = frame_times(segments[segment], wanted.frames, duration_s=6.0, scale=wanted.scale)
        size = wanted.geometry.height_px
        assert clip.pixels.shape == (1, wanted.frames, size, size, 3)
        assert clip.pixels[0, :, 0, 0, 0].tolist() == [int(t * 10 + 1e-6) for t in times]


def test_frames_are_visited_once_and_in_order():
    video = NumberedVideo()
    segments = SegmentPlan(count=5, window_s=2.0).segments(6.0)
    list(read_clips(video, segments, [ClipShape(16, SMALL), ClipShape(8, TINY, scale=3)]))
    assert video.decoded == sorted(set(video.decoded))


def test_valid_frames_are_those_within_the_video():
    segments = [Segment(0.0, 2.0), Segment(2.0, 4.0), Segment(4.0, 6.0)]
    info = VideoInfo(3.0, 10.0, 8, 8, 30)
    assert count_valid_frames(segments, 4, info).tolist() == [4, 2, 0]
    assert count_valid_frames([], 4, info).tolist() == []
    holed = VideoInfo(3.0, 10.0, 8, 8, 30, holes_s=((0.5, 1.5), (1.9, 2.0)))
    assert count_valid_frames(segments, 4, holed).tolist() == [2, 2, 0]


def test_segments_of_an_aligned_plan_start_on_the_key_frames_of_the_video():
    plan = SegmentPlan(window_s=2.0, align="keyframe")
    assert [segment.start_s for segment in segments_of(plan, NumberedVideo())] == [0.0, 2.5, 2.5]


class PacketCounter:
    """Stands between a decoder and its codec, and notes each packet that is decoded."""

    def __init__(self, codec):
        self.__dict__.update(codec=codec, sent=[])

    def decode(self, packet):
        if packet is not None:
            self.sent.append(packet.pts)
        return self.codec.decode(packet)

    def __getattr__(self, name):
        return getattr(self.codec, name)

    def __setattr__(self, name, value):
        setattr(self.codec, name, value)


@pytest.fixture(scope="module")
def reel(tmp_path_factory, make_video):
    path = tmp_path_factory.mktemp("reel") / "a.mp4"
    return make_video(path, frames=240, gop=30, options={"bf": "2", "sc_threshold": "0"})


@pytest.mark.parametrize("count", [None, 1, 4, 40])
@pytest.mark.parametrize("align", ["exact", "keyframe"])
@pytest.mark.parametrize("scales", [(1,), (1, 2, 4)])
def test_each_group_of_pictures_is_visited_once_and_in_order(reel, count, align, scales):
    plan = SegmentPlan(count, window_s=1.7, align=align, scales=scales)
    shapes = [
        ClipShape(frames, geometry, scale)
        for frames, geometry in ((16, SMALL), (8, TINY))
        for scale in scales
    ]
    with open_pyav(reel) as video:
        video._codec = counter = PacketCounter(video._codec)
        segments = segments_of(plan, video)
        clips = list(read_clips(video, segments, shapes))
        group = np.searchsorted(video.table.pts[video.table.keys], counter.sent, side="right")
    assert len(clips) == len(segments) * len(shapes)
    assert len(set(counter.sent)) == len(counter.sent)
    assert (np.diff(group) >= 0).all()


def textured(height: int, width: int) -> np.ndarray:
    """Edges and texture of every size, as a frame has; noise alone would average out."""
    rng = np.random.default_rng(0)
    frame = np.zeros((height, width, 3))
    for cells in (4, 16, 64, 256):
        coarse = rng.integers(0, 255, (cells, cells, 3), dtype=np.uint8)
        frame += np.asarray(Image.fromarray(coarse).resize((width, height), 0)) / 4
    return frame.astype(np.uint8)


#: As published for the checkpoints: VideoMAE, X-CLIP, CLIP, DINOv2, SigLIP.
PROCESSORS = {
    "videomae": ("VideoMAE", {"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 2}),
    "xclip": ("VideoMAE", {"size": 224, "resample": 2}),
    "clip": ("CLIP", {"size": {"shortest_edge": 224}, "crop_size": 224, "resample": 3}),
    "dinov2": ("CLIP", {"size": {"shortest_edge": 256}, "crop_size": 224, "resample": 3}),
    "siglip": ("Siglip", {"size": {"height": 224, "width": 224}, "resample": 3}),
    "siglip2": ("Siglip", {"size": {"height": 224, "width": 224}, "resample": 2}),
}


@pytest.mark.parametrize(
    ("height", "width"), [(720, 1280), (1280, 720), (550, 830), (241, 427), (224, 224), (120, 190)]
)
@pytest.mark.parametrize("name", PROCESSORS)
def test_pictures_equal_those_of_the_checkpoints_processor(tmp_path, name, height, width):
    family, values = PROCESSORS[name]
    values = {**values, "do_rescale": False, "do_normalize": False, "do_convert_rgb": False}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values))
    processor = getattr(transformers, f"{family}ImageProcessor").from_pretrained(tmp_path)
    frame = textured(height, width)
    given = [frame] if family == "VideoMAE" else frame
    theirs = np.asarray(processor(given, return_tensors="np")["pixel_values"])
    theirs = theirs.reshape(3, 224, 224).transpose(1, 2, 0).astype(int)
    folder = CheckpointFolder(Path(tmp_path), name, name, "", "", {}, values, ())
    geometry = read_preprocessing(folder, height_px=224, width_px=224).geometry
    ours = pictures_of(DisplayedFrame(frame, 0), geometry)
    assert ours.shape == (1, 224, 224, 3)
    # The promise is 2; the figures are in docs/decoding.md.
    assert np.abs(ours[0].astype(int) - theirs).mean() < 0.5


def test_frames_that_must_not_be_written_to_are_resized_too():
    frame = textured(90, 160)
    frame.flags.writeable = False
    picture = pictures_of(DisplayedFrame(frame, 0), FrameGeometry(64, 64, shorter_side_px=64))
    assert picture.shape == (1, 64, 64, 3)


def test_a_picture_outlives_its_frame():
    frame = textured(64, 64)
    picture = pictures_of(DisplayedFrame(frame, 0), FrameGeometry(64, 64, "squash"))
    before = picture.copy()
    frame[:] = 0
    assert np.array_equal(picture, before)


def test_a_crop_larger_than_the_resized_frame_is_impossible():
    with pytest.raises(ValueError, match="smaller than the crop"):
        pictures_of(
            DisplayedFrame(textured(90, 160), 0), FrameGeometry(224, 224, shorter_side_px=200)
        )


@pytest.mark.parametrize("upright", [False, True])
def test_three_crops_cover_the_ends_and_the_middle(upright):
    ramp = np.tile(np.linspace(0, 255, 300, dtype=np.uint8), (100, 1))
    frame = np.stack([ramp.T if upright else ramp] * 3, axis=-1)
    crops = pictures_of(
        DisplayedFrame(frame, 0), FrameGeometry(50, 50, "three", shorter_side_px=50)
    )
    means = crops.mean(axis=(1, 2, 3))
    assert crops.shape == (3, 50, 50, 3)
    assert means == pytest.approx([42, 127, 212], abs=3)


def test_squash_shows_the_whole_frame():
    frame = np.zeros((100, 300, 3), np.uint8)
    frame[:, 290:] = 255
    squashed = pictures_of(DisplayedFrame(frame, 0), FrameGeometry(30, 30, "squash"))
    assert squashed[0, :, -1].min() > 200
    assert squashed[0, :, 0].max() == 0
