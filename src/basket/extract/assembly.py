"""From batches of clips to the features of whole videos."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from basket.cache import VideoFeatures
from basket.cache.precision import as_stored
from basket.extract.backbones.base import Streams
from basket.extract.clips import count_valid_frames
from basket.extract.decoding import Opened, WantedClips


def stream_at_scale(stream: str, scale: int) -> str:
    """Name of a stream seen through windows k times as long.

    >>> stream_at_scale("pooled", 1), stream_at_scale("pooled", 2)
    ('pooled', 'pooled@2')
    """
    return stream if scale == 1 else f"{stream}@{scale}"


def average_crops(streams: Streams, *, crops: int) -> Streams:
    """Average the rows of the several crops of each clip.

    Parameters
    ----------
    streams : mapping of str to ndarray, float32, (n * crops, D)
    crops : int

    Returns
    -------
    mapping of str to ndarray, float32, (n, D)
    """
    if crops == 1:
        return streams
    return {
        name: values.reshape(-1, crops, values.shape[1]).mean(axis=1)
        for name, values in streams.items()
    }


@dataclass
class VideoInProgress:
    """One open video: its segments, and the features that have come in so far, per backbone.

    Parameters
    ----------
    opened : Opened
    decoded : bool
        All of its clips have been decoded.
    failed : bool
        It ended with a reason; clips of it that are still around are not worth embedding.
    """

    opened: Opened
    decoded: bool = False
    failed: bool = False
    features: dict[int, dict[str, npt.NDArray[np.float32]]] = field(default_factory=dict)
    clips_left: int = field(init=False)

    def __post_init__(self) -> None:
        self.clips_left = len(self.opened.segments) * len(self.opened.job.wanted)

    @property
    def is_complete(self) -> bool:
        """Whether every clip has been decoded and embedded."""
        return self.decoded and self.clips_left == 0 and not self.failed

    def put(self, wanted: WantedClips, segments: npt.NDArray[np.int64], streams: Streams) -> None:
        """Store the embedded streams of some segments, ``(n, D)`` each."""
        mine = self.features.setdefault(wanted.backbone, {})
        for name, values in streams.items():
            stream = stream_at_scale(name, wanted.shape.scale)
            if stream not in mine:
                shape = (len(self.opened.segments), values.shape[1])
                # What is never filled must not look like a number: the last check refuses it.
                mine[stream] = np.full(shape, np.nan, np.float32)
            mine[stream][segments] = values
        self.clips_left -= len(segments)

    def features_of(self, backbone: int, n_frames: int) -> VideoFeatures:
        """The features for one backbone as the cache stores them.

        float16, but float32 where that cannot hold them. A segment none of whose frames is good is
        left out.
        """
        valid = count_valid_frames(self.opened.segments, n_frames, self.opened.info)
        kept = np.flatnonzero(valid) if self.opened.info.holes_s else np.arange(len(valid))
        segments = [self.opened.segments[each] for each in kept.tolist()]
        return VideoFeatures(
            features={
                stream: as_stored(values[kept])
                for stream, values in self.features[backbone].items()
            },
            start_s=np.array([segment.start_s for segment in segments]),
            end_s=np.array([segment.end_s for segment in segments]),
            frames_valid=valid[kept],
        )


def why_not_storable(features: VideoFeatures) -> str:
    """Why features must not be stored, in a sentence; an empty string when they may be."""
    if not len(features.frames_valid):
        return "none of its segments has a good picture: data are missing"
    for stream, values in features.features.items():
        bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(bad):
            return (
                f"stream {stream} of segment {bad[0]} is not finite "
                f"({len(bad)} of {len(values)} segments)"
            )
    return ""
