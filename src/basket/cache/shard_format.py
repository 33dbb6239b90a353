"""What a shard looks like in HDF5: names, types and chunks, as they are written and expected.

::

    /                       attributes format, version, feature_set
    videos                  (n,) table: video_id, status, reason, attempts, source_bytes, ...
    segments                (S,) table: start_s, end_s, frames_valid
    features/<stream>       (S, D) float16, in version 2 float32 of some; chunks of whole rows

Every data set is chunked and carries fletcher32. Texts have a fixed length because those of
variable length live in HDF5's global heap, which no checksum covers.

The low-level API is used throughout, and columns share a table: a shard is small and there are
thousands, so what a data set costs to create and to open is what writing and reading cost. For the
same reason types are made once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5t, string_dtype

from basket.cache.rows import NUMERIC_COLUMNS, SEGMENT_COLUMNS, TEXT_LIMITS_BYTES

FORMAT = "basket-shard"
#: Shards of float16 alone are of the first version; the second has a stream of float32.
VERSIONS = (1, 2)
#: Half a megabyte: as fast to read as one, a third faster to write, and less to read for one video.
CHUNK_BYTES = 1 << 19

VIDEOS, SEGMENTS, FEATURES = "videos", "segments", b"features"
SEGMENTS_DTYPE = np.dtype(list(SEGMENT_COLUMNS.items()))
HALF, SINGLE = np.dtype("<f2"), np.dtype("<f4")


@lru_cache(maxsize=64)
def videos_types(widths_bytes: tuple[int, ...]) -> tuple[np.dtype[Any], Any]:
    """The type of the table of videos, for numpy and for HDF5, by the widths of its texts."""
    texts = zip(TEXT_LIMITS_BYTES, widths_bytes, strict=True)
    dtype = np.dtype(
        [(name, string_dtype("utf-8", width)) for name, width in texts]
        + list(NUMERIC_COLUMNS.items())
        + [("offset", "<i8")]
    )
    return dtype, h5t.py_create(dtype, logical=True)


@lru_cache(maxsize=8)
def plain_type(dtype: np.dtype[Any]) -> Any:
    """HDF5's type of anything but the table of videos."""
    return h5t.py_create(dtype)


def hdf5_type(dtype: np.dtype[Any]) -> Any:
    """HDF5's type for one of numpy's."""
    if dtype.names is not None and "video_id" in dtype.names:
        return videos_types(tuple(dtype[name].itemsize for name in TEXT_LIMITS_BYTES))[1]
    return plain_type(dtype)


def chunk_shape(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    """Whole rows, about :data:`CHUNK_BYTES`, dividing the rows evenly: the last chunk is padded."""
    rows, row_bytes = max(1, shape[0]), item_bytes
    for extent in shape[1:]:
        row_bytes *= extent
    chunks = min(rows, max(1, round(rows * row_bytes / CHUNK_BYTES)))
    return (-(-rows // chunks), *shape[1:])


def batches(
    matrices: Sequence[npt.NDArray[Any]], size_bytes: int
) -> Iterator[Sequence[npt.NDArray[Any]]]:
    """Neighbouring matrices in groups of about ``size_bytes``, one at the least."""
    first, taken = 0, 0
    for position, matrix in enumerate(matrices):
        if position > first and taken + matrix.nbytes > size_bytes:
            yield matrices[first:position]
            first, taken = position, 0
        taken += matrix.nbytes
    if first < len(matrices):
        yield matrices[first:]
