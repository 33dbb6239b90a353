"""Features of other extractors into the cache, under a specification that the user gives.

The numbers come from elsewhere, so nothing about them can be checked but their form; what they are
is what the specification says, and that is their identity: other words make another feature set.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.exchange import Tell
from basket.cache.feature_set import FeatureSet
from basket.cache.features import VideoFeatures, VideoRow
from basket.cache.foreign_files import Found, Unfit, found_in
from basket.cache.foreign_spec import FAMILY, ForeignSpec
from basket.cache.precision import Rounding
from basket.cache.rows import fault_of_video_id
from basket.cache.store import FeatureCache
from basket.errors import CacheError, UsageError

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ImportReport:
    """What :func:`import_features` did.

    Parameters
    ----------
    feature_set : str
    imported, already_there, segments : int
    failed : mapping of str to str
        Videos that could not be taken, with the reason; they are rows of the cache too. And files,
        or rows of one, that have the id of an earlier one; these are not.
    """

    feature_set: str
    imported: int
    already_there: int
    segments: int
    failed: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def import_features(
    source: str | Path,
    cache: FeatureCache,
    spec: ForeignSpec,
    *,
    tell: Tell = lambda _done, _total: None,
) -> ImportReport:
    """Take features of another extractor into a cache; what is there already is left alone.

    Parameters
    ----------
    source : path
        A folder with a ``.npy`` ``(S, D)`` or ``(D,)`` or a ``.npz`` (an array per stream, and
        ``start_s``, ``end_s``, ``frames_valid`` where known) per video, named by the video id; with
        several streams, ``<stream>/<id>.npy``. Or one ``.npz`` or ``.parquet`` as
        :func:`~basket.cache.exchange.export` writes them (only ``video_id`` and the streams are
        needed; rows of a video follow each other).
    cache : FeatureCache
    spec : ForeignSpec
    tell : callable
        Told the videos done and all of them (0 where that is not known).

    Raises
    ------
    UsageError
        Nothing there to import.
    CacheError
        The cache cannot be written.
    """
    path = Path(source)
    failed: dict[str, str] = {}
    dtypes = _types(path, spec)
    feature_set = _feature_set(cache, spec)
    imported = there = segments = 0
    places: dict[str, str] = {}
    with feature_set.writer() as writer:
        for done, (total, found) in enumerate(found_in(path, list(spec.spec.streams))):
            tell(done, total)
            video_id = spec.video_id(found.name)
            place = _place(found, path)
            if video_id in places:  # else each run would replace the one by the other
                failed[place] = (
                    f"{place} and {places[video_id]} are both video {video_id}; the latter alone "
                    "was looked at: rename or remove one of them"
                )
                continue
            places[video_id] = place
            if fault := fault_of_video_id(video_id):
                failed[video_id] = f"{found.name!r} cannot be a video id: {fault}"
                continue
            source_file = _size_and_time(found.origin)
            if feature_set.is_done(video_id, *source_file, retry_failed=True):
                there += 1
                continue
            row: Callable[..., VideoRow] = partial(
                VideoRow,
                video_id,
                source_bytes=source_file[0],
                source_mtime_ns=source_file[1],
                provenance={"extractor": spec.spec.preprocessing["extractor"] or FAMILY},
            )
            try:
                features = _features(found, spec)
            except Unfit as error:
                failed[video_id] = str(error)
                known = feature_set.failed.get(video_id) == str(error)
                if not (known and feature_set.is_done(video_id, *source_file)):
                    writer.add(row(status="failed", reason=str(error)))
                continue
            stored = {n: v.astype(dtypes[n], copy=False) for n, v in features.features.items()}
            writer.add(row(), replace(features, features=stored))
            imported += 1
            segments += features.n_segments
    return ImportReport(feature_set.name, imported, there, segments, failed)


def _types(path: Path, spec: ForeignSpec) -> dict[str, type[np.floating[Any]]]:
    """How each stream is stored: decided from all rows, before the first of them is."""
    rounding = {
        stream: (Rounding(np.float16), Rounding(np.float32)) for stream in spec.spec.streams
    }
    nothing = True
    for _, found in found_in(path, list(spec.spec.streams)):
        nothing = False
        with suppress(Unfit):  # told by the second pass
            for stream, values in _features(found, spec).features.items():
                for each in rounding[stream]:
                    each.add(values)
    if nothing:
        raise UsageError(f"nothing there to import: {path} holds no videos")
    for stream, (_, single) in rounding.items():
        for column in np.flatnonzero(single.lost(values=False))[:1]:
            raise UsageError(
                f"{path}: column {column} of {stream!r} varies by less than float32 can tell apart "
                "at its size; subtract its mean, or scale it, before you import"
            )
    return {n: np.float32 if half.lost().any() else np.float16 for n, (half, _) in rounding.items()}


def _feature_set(cache: FeatureCache, spec: ForeignSpec) -> FeatureSet:
    """The feature set of a specification; one of before backbones were identity goes on."""
    with suppress(CacheError):
        earlier = cache.feature_set(spec.earlier, create=False)
        if earlier.spec.backbone == spec.spec.backbone:
            return earlier
    return cache.feature_set(spec.spec)


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        stat = file.stat()
    except OSError:  # a link to nowhere
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _place(found: Found, source: Path) -> str:
    """Where a video was found: a file of a folder, or a name in one file."""
    if found.origin == source:
        return f"{found.name!r} in {source.name}"
    return found.origin.relative_to(source).as_posix()


def _features(found: Found, spec: ForeignSpec) -> VideoFeatures:
    """The arrays of one video, checked."""
    if found.reason:
        raise Unfit(found.reason)
    streams = {}
    for stream, dim in spec.spec.streams.items():
        values = np.atleast_2d(found.arrays[stream])
        if values.ndim != 2 or values.shape[1] != dim or values.dtype.kind not in "fiu":
            raise Unfit(
                f"{stream!r} is {values.dtype} of shape {values.shape}, expected (segments, {dim})"
            )
        with np.errstate(over="ignore"):  # told below
            finite = np.isfinite(values.astype(np.float32)).all()
        if not finite:
            raise Unfit(f"{stream!r} holds values that are not finite as float32 (3.4e38 at most)")
        streams[stream] = values
    counts = {len(values) for values in streams.values()}
    if len(counts) != 1 or 0 in counts:
        raise Unfit(f"its streams have {sorted(counts)} segments")
    return VideoFeatures(streams, **_times(found.arrays, counts.pop(), spec))


def _times(arrays: Mapping[str, Array], count: int, spec: ForeignSpec) -> dict[str, Array]:
    try:
        if "start_s" in arrays:
            start = np.asarray(arrays["start_s"], dtype=np.float64)
            end = np.asarray(arrays.get("end_s", start + spec.window_s), dtype=np.float64)
        else:
            start, end = spec.times(count)
        given = np.asarray(arrays.get("frames_valid", np.zeros(count)))
        with np.errstate(invalid="ignore"):  # told below
            frames = given.astype(np.int32)
    except (CacheError, ValueError, TypeError) as error:
        raise Unfit(str(error)) from error
    if not start.shape == end.shape == frames.shape == (count,):
        raise Unfit(f"its times do not have one entry for each of {count} segments")
    if not (np.isfinite(start).all() and np.isfinite(end).all() and (start <= end).all()):
        raise Unfit("its segments end before they start")
    if (frames != given).any() or (frames < 0).any():
        raise Unfit("its frames_valid are not whole numbers of frames")
    return {"start_s": start, "end_s": end, "frames_valid": frames}
