"""What may be added to a feature set: the checks of one finished video, and its own copy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.features import FloatArray, VideoFeatures, VideoRow
from basket.cache.rows import fault_of_video_id
from basket.errors import CacheError


def checked_entry(
    row: VideoRow, features: VideoFeatures | None, streams: Mapping[str, int]
) -> tuple[VideoRow, VideoFeatures | None]:
    """An entry that a shard can hold, with its own copy of the features.

    float16 stays float16; wider types become float32.

    Parameters
    ----------
    row : VideoRow
    features : VideoFeatures or None
        Streams ``(S, D)`` of any floating type; None for a failed video.
    streams : mapping of str to int
        The streams, and their widths, that the feature set is made of.

    Raises
    ------
    CacheError
        Names the video and what is wrong: status and features disagree, streams or shapes are not
        the feature set's, a value is not finite or overflows float32.
    """
    named = f"video {row.video_id!r}"
    if fault := fault_of_video_id(row.video_id):
        raise CacheError(f"{row.video_id!r} cannot be a video id: {fault}")
    if row.status not in ("ok", "failed"):
        raise CacheError(f"{named} has status {row.status!r}, expected 'ok' or 'failed'")
    if row.status == "failed":
        if features is not None or not row.reason:
            raise CacheError(f"{named} failed: it needs a reason, and may not have features")
        return row, None
    if features is None:
        raise CacheError(f"{named} is ok but comes without features")
    return row, _checked_features(named, features, streams)


def _checked_features(
    named: str, features: VideoFeatures, streams: Mapping[str, int]
) -> VideoFeatures:
    if set(features.features) != set(streams):
        raise CacheError(
            f"{named} has streams {sorted(features.features)}, its feature set is made of "
            f"{sorted(streams)}"
        )
    count = features.n_segments
    if count == 0:
        raise CacheError(f"{named} is ok but has no segments; record it as failed, with a reason")
    stored: dict[str, FloatArray] = {}
    for stream, dim in streams.items():
        values = np.asarray(features.features[stream])
        if values.shape != (count, dim) or values.dtype.kind != "f":
            raise CacheError(
                f"{named}, stream {stream!r}: got {values.dtype} of shape {values.shape}, "
                f"expected floating values of shape {(count, dim)}"
            )
        stored[stream] = _copied(values, f"{named}, stream {stream!r}")
    start_s = np.array(features.start_s, dtype=np.float64)
    end_s = np.array(features.end_s, dtype=np.float64)
    frames = np.array(features.frames_valid, dtype=np.int32)
    if not start_s.shape == end_s.shape == frames.shape == (count,):
        raise CacheError(f"{named}: start_s, end_s and frames_valid must have shape {(count,)}")
    if not (np.isfinite(start_s).all() and np.isfinite(end_s).all() and (start_s <= end_s).all()):
        raise CacheError(f"{named}: segments must have finite spans that do not end before start")
    return VideoFeatures(stored, start_s, end_s, frames)


def _copied(values: npt.NDArray[Any], named: str) -> FloatArray:
    """A copy; an error instead of a value that it cannot hold."""
    dtype: type[np.floating[Any]] = np.float16 if values.dtype == np.float16 else np.float32
    with np.errstate(over="ignore"):  # told below, with the value and the place
        copy = values.astype(dtype, order="C")
    if all_finite(copy):
        return copy
    segment, column = (int(axis) for axis in np.argwhere(~np.isfinite(copy))[0])
    value = float(values[segment, column])
    why = "overflows float32 (3.4e38 at most)" if np.isfinite(value) else "is not finite"
    raise CacheError(
        f"{named}: the value {value} at segment {segment}, column {column} {why}; features must "
        "be scaled before they are cached"
    )


def all_finite(values: FloatArray) -> bool:
    """Whether no value is inf or nan; of float16 by two maxima of the bits, 3x faster than a mask.

    Inf and nan have all bits of the exponent set: the largest positive integers without the sign
    bit, and the largest unsigned ones with it.
    """
    if values.dtype != np.float16 or not values.size:
        return bool(np.isfinite(values).all())
    return bool(values.view(np.int16).max() < 0x7C00 and values.view(np.uint16).max() < 0xFC00)
