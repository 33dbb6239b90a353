"""Rows and features -> the bytes of a shard, built in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5f, h5g, h5p, h5s, h5t

from basket.cache.features import FloatArray, VideoFeatures
from basket.cache.rows import (
    SEGMENT_COLUMNS,
    TEXT_LIMITS_BYTES,
    ShardIndex,
    fault_of_stream_name,
)
from basket.cache.shard_format import (
    FEATURES,
    FORMAT,
    HALF,
    SEGMENTS,
    SEGMENTS_DTYPE,
    SINGLE,
    VERSIONS,
    VIDEOS,
    batches,
    chunk_shape,
    hdf5_type,
    plain_type,
    videos_types,
)
from basket.errors import CacheError

#: Features are joined and written in pieces of about this size: small enough to stay in the
#: processor's cache, large enough that calls do not count.
PIECE_BYTES = 1 << 18


def encode_indexed(index: ShardIndex, videos: Sequence[VideoFeatures]) -> bytes:
    """Build the bytes of a shard from its index and the features of its ok videos, in order.

    Raises
    ------
    CacheError
        A stream name or width that cannot be stored.
    """
    for stream, dim in index.streams.items():
        fault = fault_of_stream_name(stream) or ("" if dim > 0 else f"its width is {dim}")
        if fault:
            raise CacheError(f"{stream!r} cannot be a stream: {fault}")
    _keep_freed_memory()
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    dtypes = {name: SINGLE if name in index.single else HALF for name in index.streams}
    total = index.n_segments * sum(
        dim * dtypes[stream].itemsize for stream, dim in index.streams.items()
    )
    # Grown in one go: each growth moves the image.
    access.set_fapl_core(max(1 << 20, total + total // 8), False)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    # The name is never created on disk: the core driver has no backing store here.
    file = h5f.create(b"in-memory.h5", h5f.ACC_EXCL, fapl=access)
    try:
        _write_attributes(file, index.feature_set, VERSIONS[bool(index.single)])
        _write(file, VIDEOS, _table_of_videos(index))
        segments = np.empty(index.n_segments, dtype=SEGMENTS_DTYPE)
        for name in SEGMENT_COLUMNS if videos else ():
            segments[name] = np.concatenate([getattr(video, name) for video in videos])
        _write(file, SEGMENTS, segments)
        group = h5g.create(file, FEATURES)
        for stream, dim in index.streams.items():
            matrices = [video.features[stream] for video in videos]
            _write_stream(group, stream, matrices, dim, dtypes[stream])
        h5f.flush(file)
        image: bytes = file.get_file_image()
        return image
    finally:
        file.close()


@cache
def _keep_freed_memory() -> None:
    """Let the C library keep what one shard frees for the next.

    By default glibc gives blocks of an image's size back to the system, which clears them page by
    page for the next shard: most of what encoding took. It stops doing so below the size of the
    largest block that it has seen freed (32 MB at most); this one is never touched and costs
    nothing. Other C libraries do not mind it.
    """
    np.empty(31 << 20, dtype=np.uint8)


def _write_attributes(file: Any, feature_set: str, number: int) -> None:
    for name, text in (("format", FORMAT), ("feature_set", feature_set)):
        cell = np.array(text.encode("ascii") or b"\0", dtype=np.bytes_)
        kind = plain_type(cell.dtype)
        h5a.create(file, name.encode(), kind, h5s.create(h5s.SCALAR)).write(cell, mtype=kind)
    version = h5a.create(file, b"version", h5t.STD_I64LE, h5s.create(h5s.SCALAR))
    version.write(np.array(number, dtype=np.int64), mtype=h5t.STD_I64LE)


def _table_of_videos(index: ShardIndex) -> npt.NDArray[Any]:
    texts = {
        name: [value.encode() for value in values]
        for name, values in (("video_id", list(index.video_ids)), *index.columns.items())
        if name in TEXT_LIMITS_BYTES
    }
    widths = tuple(max(map(len, texts[name]), default=0) or 1 for name in TEXT_LIMITS_BYTES)
    table = np.zeros(len(index), dtype=videos_types(widths)[0])
    for name in table.dtype.names or ():
        if name == "offset":
            table[name] = index.offsets[:-1]
        else:
            table[name] = texts[name] if name in texts else index.columns[name]
    return table


def _write(parent: Any, name: str, values: npt.NDArray[Any]) -> None:
    """Create and fill one chunked, checksummed data set."""
    dataset = _create(parent, name, values.shape, values.dtype)
    if len(values):
        dataset.write(h5s.ALL, h5s.ALL, values, mtype=hdf5_type(values.dtype))


def _write_stream(
    parent: Any, name: str, matrices: Sequence[FloatArray], dim: int, dtype: np.dtype[Any]
) -> None:
    """Create one stream and fill it piece by piece, so that no second copy of it is made."""
    dataset = _create(parent, name, (sum(map(len, matrices)), dim), dtype)
    start = 0
    for batch in batches(matrices, PIECE_BYTES):
        joined = batch[0] if len(batch) == 1 else np.concatenate(batch)
        values = joined.astype(dtype, order="C", copy=False)
        chosen = dataset.get_space()
        chosen.select_hyperslab((start, 0), values.shape)
        dataset.write(h5s.create_simple(values.shape), chosen, values, mtype=hdf5_type(dtype))
        start += len(values)


def _create(parent: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk(chunk_shape(shape, dtype.itemsize))
    creation.set_fletcher32()
    creation.set_fill_time(h5d.FILL_TIME_NEVER)
    # A chunk may not be larger than a fixed extent, and no chunk has extent 0.
    limits = (h5s.UNLIMITED, *shape[1:]) if shape[0] == 0 else shape
    space = h5s.create_simple(shape, limits)
    return h5d.create(parent, name.encode(), hdf5_type(dtype), space, creation)
