"""Clips of a video for several backbones and scales from one pass over its frames.

Every backbone asks for its own instants in its own geometry. All of them are merged into one
ascending list, so that each frame is decoded once, turned into a picture once per geometry, and
copied to whatever clips show it. At most the clips that are open at one time are in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from basket.extract.backbones.base import BackboneSpec, FrameGeometry
from basket.extract.decode.base import SLACK_S, Decoder, DisplayedFrame, VideoInfo
from basket.extract.segments import Segment, SegmentPlan, frame_times


@dataclass(frozen=True)
class ClipShape:
    """What one backbone wants of each segment.

    Parameters
    ----------
    frames : int
        T.
    geometry : FrameGeometry
    scale : int
        k: the window is k times as long around the same centre.
    """

    frames: int
    geometry: FrameGeometry
    scale: int = 1


@dataclass(frozen=True)
class Clip:
    """The frames of one segment in one shape.

    Parameters
    ----------
    segment : int
        Position of the segment in the plan.
    shape : int
        Position of the shape in the list of shapes.
    pixels : ndarray, uint8, (C, T, H, W, 3)
        C crops: 1, or 3 for ``three`` (left, centre, right; top to bottom when upright).
    """

    segment: int
    shape: int
    pixels: npt.NDArray[np.uint8]


def segments_of(plan: SegmentPlan, decoder: Decoder) -> list[Segment]:
    """The segments of an open video under a plan, moved to its key frames where the plan says so.

    Parameters
    ----------
    plan : SegmentPlan
    decoder : Decoder
    """
    return plan.segments(decoder.info.duration_s, keyframes_s=decoder.keyframes_s)


def read_clips(
    decoder: Decoder, segments: Sequence[Segment], shapes: Sequence[ClipShape]
) -> Iterator[Clip]:
    """Decode the clips of all segments in all shapes, in the order in which they are complete.

    Parameters
    ----------
    decoder : Decoder
        An open video.
    segments : sequence of Segment
    shapes : sequence of ClipShape

    Yields
    ------
    Clip
        ``len(segments) * len(shapes)`` of them.

    Raises
    ------
    VideoError
        The file is damaged.
    """
    duration_s = decoder.info.duration_s
    times_s = [
        frame_times(segment, shape.frames, duration_s=duration_s, scale=shape.scale)
        for segment in segments
        for shape in shapes
    ]
    if not times_s:
        return
    lengths = [len(times) for times in times_s]
    clip_of = np.repeat(np.arange(len(times_s)), lengths)
    slot_of = np.concatenate([np.arange(length) for length in lengths])
    instants = np.concatenate(times_s)
    order = np.argsort(instants, kind="stable")
    open_clips: dict[int, npt.NDArray[np.uint8]] = {}
    pictures: dict[FrameGeometry, npt.NDArray[np.uint8]] = {}
    shown = -1
    for position, frame in zip(order.tolist(), decoder.frames_at(instants[order]), strict=True):
        if frame.index != shown:
            shown, pictures = frame.index, {}
        clip, slot = int(clip_of[position]), int(slot_of[position])
        segment, shape_index = divmod(clip, len(shapes))
        shape = shapes[shape_index]
        if shape.geometry not in pictures:
            pictures[shape.geometry] = pictures_of(frame, shape.geometry)
        picture = pictures[shape.geometry]
        if clip not in open_clips:
            crops, height, width, channels = picture.shape
            open_clips[clip] = np.empty((crops, shape.frames, height, width, channels), np.uint8)
        open_clips[clip][:, slot] = picture
        # The instants of one clip ascend, so its last slot is the last to be filled.
        if slot == shape.frames - 1:
            yield Clip(segment, shape_index, open_clips.pop(clip))


def count_valid_frames(
    segments: Sequence[Segment], n_frames: int, info: VideoInfo
) -> npt.NDArray[np.int32]:
    """Frames of each segment's clip that show the video as it is at their instant.

    Those past its end repeat the last one, and those in a hole the nearest good one.

    Returns
    -------
    ndarray, int32, (len(segments),)
    """
    ends_s = info.duration_s
    instants = np.array([frame_times(each, n_frames, duration_s=ends_s) for each in segments])
    valid = instants < ends_s - SLACK_S
    for start_s, stop_s in info.holes_s:
        valid &= (instants < start_s - SLACK_S) | (instants >= stop_s - SLACK_S)
    return np.asarray(valid.reshape(len(segments), n_frames).sum(axis=1), dtype=np.int32)


def planned_shapes(spec: BackboneSpec, plan: SegmentPlan) -> list[ClipShape]:
    """The shapes a backbone needs under a plan: one per scale, in the plan's crop."""
    geometry = spec.geometry
    if not spec.fixed_geometry and plan.crop != "center":
        geometry = replace(geometry, crop=plan.crop)
    return [ClipShape(spec.frames, geometry, scale) for scale in plan.scales]


def pictures_of(frame: DisplayedFrame, geometry: FrameGeometry) -> npt.NDArray[np.uint8]:
    """Turn a frame into the picture(s) a backbone sees, antialiased.

    Parameters
    ----------
    frame : DisplayedFrame
    geometry : FrameGeometry

    Returns
    -------
    ndarray, uint8, (C, height_px, width_px, 3)
        C is 3 for the crop ``three``, else 1.
    """
    size = _resized_size(*frame.size_px, geometry)
    corners = _crop_corners(*size, geometry)
    # The corners rise: the first and the last span what any crop shows.
    (top, left), (last_top, last_left) = corners[0], corners[-1]
    window = (top, left, last_top + geometry.height_px, last_left + geometry.width_px)
    shown = frame.resized(size, resample=geometry.resample, window=window)
    return np.stack(
        [
            shown[y - top :, x - left :][: geometry.height_px, : geometry.width_px]
            for y, x in corners
        ]
    )


def _resized_size(height_px: int, width_px: int, geometry: FrameGeometry) -> tuple[int, int]:
    """Height and width of the whole frame before anything is cut off."""
    if geometry.crop == "squash":
        return geometry.height_px, geometry.width_px
    # The processors of transformers: shorter side to N, longer to int(N * long / short).
    short, side = min(height_px, width_px), geometry.shorter_side_px
    size = (
        side if height_px == short else int(side * height_px / short),
        side if width_px == short else int(side * width_px / short),
    )
    if size[0] < geometry.height_px or size[1] < geometry.width_px:
        raise ValueError(f"shorter_side_px {side} is smaller than the crop {geometry}")
    return size


def _crop_corners(height_px: int, width_px: int, geometry: FrameGeometry) -> list[tuple[int, int]]:
    """Top and left of each picture in a frame of this size."""
    spare = (height_px - geometry.height_px, width_px - geometry.width_px)
    centre = (spare[0] // 2, spare[1] // 2)
    if geometry.crop != "three":
        return [centre]
    if spare[1] >= spare[0]:
        return [(centre[0], 0), centre, (centre[0], spare[1])]
    return [(0, centre[1]), centre, (spare[0], centre[1])]
