"""The HDF5 schema of a shard; the only file that imports h5py.

::

    /                       attributes format, version, feature_set
    videos                  (n,) table: video_id, status, reason, attempts, source_bytes, ...
    segments                (S,) table: start_s, end_s, frames_valid
    features/<stream>       (S, D) float16, chunks of whole rows

Every data set is chunked and carries fletcher32. Texts have a fixed length because those of
variable length live in HDF5's global heap, which no checksum covers. Reading trusts nothing: a link
that is not hard, a layout that is not chunked, another filter, a chunk that was never written (HDF5
would return zeros for it) or a shape beyond the file's size is refused before memory is taken.

The low-level API is used throughout, and columns share a table: a shard is small and there are
thousands, so what a data set costs to create and to open is what writing and reading cost.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5a, h5d, h5f, h5g, h5l, h5p, h5s, h5t, h5z, string_dtype

from basket.cache.features import VideoFeatures, VideoRow
from basket.cache.rows import (
    NUMERIC_COLUMNS,
    SEGMENT_COLUMNS,
    TEXT_LIMITS_BYTES,
    ShardIndex,
    fault_of_stream_name,
    index_of,
)
from basket.errors import CacheError, FormatVersionError, IntegrityError

FORMAT = "basket-shard"
VERSION = 1
#: Half a megabyte: as fast to read as one, a third faster to write, and less to read for one video.
CHUNK_BYTES = 1 << 19
#: Features are written and compared in pieces of about this size, which bounds the copies.
BATCH_BYTES = 8 << 20

_VIDEOS, _SEGMENTS, _FEATURES = "videos", "segments", b"features"
_SEGMENTS_DTYPE = np.dtype(list(SEGMENT_COLUMNS.items()))
_HALF = np.dtype("<f2")
_FLETCHER32_BYTES = 4
#: ``H5LT_FILE_IMAGE_DONT_COPY | H5LT_FILE_IMAGE_DONT_RELEASE`` of HDF5's C interface.
_IN_PLACE = 0x2 | 0x4


def encode_shard(
    entries: Sequence[tuple[VideoRow, VideoFeatures | None]],
    streams: Mapping[str, int],
    *,
    feature_set: str = "",
    committed_ns: int | Sequence[int] = 0,
) -> bytes:
    """Build the bytes of a shard in memory.

    Parameters
    ----------
    entries : sequence of (VideoRow, VideoFeatures or None)
        As :func:`basket.cache.entries.checked_entry` returns them; None where a video failed.
    streams : mapping of str to int
        Width of each stream.
    feature_set : str
        Digest of the specification, by which a shard in a wrong folder is noticed.
    committed_ns : int or sequence of int, one per entry
        When the rows were committed; see :mod:`basket.cache.snapshot` on what it decides.

    Raises
    ------
    CacheError
        A row or a stream name that cannot be stored.
    """
    index = index_of(entries, streams, feature_set=feature_set, committed_ns=committed_ns)
    return encode_indexed(index, [features for _, features in entries if features is not None])


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
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_libver_bounds(h5f.LIBVER_V110, h5f.LIBVER_V110)
    total = sum(index.n_segments * dim * _HALF.itemsize for dim in index.streams.values())
    # Grown in one go: each growth moves the image.
    access.set_fapl_core(max(1 << 20, total + total // 8), False)
    access.set_fclose_degree(h5f.CLOSE_STRONG)
    # The name is never created on disk: the core driver has no backing store here.
    file = h5f.create(b"in-memory.h5", h5f.ACC_EXCL, fapl=access)
    try:
        _write_attributes(file, index.feature_set)
        _write(file, _VIDEOS, _table_of_videos(index))
        segments = np.empty(index.n_segments, dtype=_SEGMENTS_DTYPE)
        for name in SEGMENT_COLUMNS if videos else ():
            segments[name] = np.concatenate([getattr(video, name) for video in videos])
        _write(file, _SEGMENTS, segments)
        group = h5g.create(file, _FEATURES)
        for stream, dim in index.streams.items():
            _write_stream(group, stream, [video.features[stream] for video in videos], dim)
        h5f.flush(file)
        image: bytes = file.get_file_image()
        return image
    finally:
        file.close()


def _write_attributes(file: Any, feature_set: str) -> None:
    for name, text in (("format", FORMAT), ("feature_set", feature_set)):
        cell = np.array(text.encode("ascii") or b"\0", dtype=np.bytes_)
        kind = h5t.py_create(cell.dtype)
        h5a.create(file, name.encode(), kind, h5s.create(h5s.SCALAR)).write(cell)
    version = h5a.create(file, b"version", h5t.STD_I64LE, h5s.create(h5s.SCALAR))
    version.write(np.array(VERSION, dtype=np.int64))


def _table_of_videos(index: ShardIndex) -> npt.NDArray[Any]:
    texts = {
        name: [value.encode() for value in values]
        for name, values in (("video_id", list(index.video_ids)), *index.columns.items())
        if name in TEXT_LIMITS_BYTES
    }
    widths = tuple(max(map(len, texts[name]), default=0) or 1 for name in TEXT_LIMITS_BYTES)
    table = np.zeros(len(index), dtype=_videos_types(widths)[0])
    for name in table.dtype.names or ():
        if name == "offset":
            table[name] = index.offsets[:-1]
        else:
            table[name] = texts[name] if name in texts else index.columns[name]
    return table


@lru_cache(maxsize=64)
def _videos_types(widths_bytes: tuple[int, ...]) -> tuple[np.dtype[Any], Any]:
    """The table's type, for numpy and for HDF5, by the widths of its texts."""
    texts = zip(TEXT_LIMITS_BYTES, widths_bytes, strict=True)
    dtype = np.dtype(
        [(name, string_dtype("utf-8", width)) for name, width in texts]
        + list(NUMERIC_COLUMNS.items())
        + [("offset", "<i8")]
    )
    return dtype, h5t.py_create(dtype, logical=True)


@lru_cache(maxsize=8)
def _plain_type(dtype: np.dtype[Any]) -> Any:
    return h5t.py_create(dtype)


def _hdf5_type(dtype: np.dtype[Any]) -> Any:
    if dtype.names is not None and "video_id" in dtype.names:
        return _videos_types(tuple(dtype[name].itemsize for name in TEXT_LIMITS_BYTES))[1]
    return _plain_type(dtype)


def _write(parent: Any, name: str, values: npt.NDArray[Any]) -> None:
    """Create and fill one chunked, checksummed data set."""
    dataset = _create(parent, name, values.shape, values.dtype)
    if len(values):
        dataset.write(h5s.ALL, h5s.ALL, values, mtype=_hdf5_type(values.dtype))


def _write_stream(
    parent: Any, name: str, matrices: Sequence[npt.NDArray[np.float16]], dim: int
) -> None:
    """Create one stream and fill it piece by piece, so that no second copy of it is made."""
    rows = sum(map(len, matrices))
    dataset = _create(parent, name, (rows, dim), _HALF)
    start = 0
    for batch in batches(matrices, BATCH_BYTES):
        values = np.concatenate(batch).astype(_HALF, order="C", copy=False)
        chosen = dataset.get_space()
        chosen.select_hyperslab((start, 0), values.shape)
        dataset.write(h5s.create_simple(values.shape), chosen, values, mtype=_hdf5_type(_HALF))
        start += len(values)


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


def _create(parent: Any, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    creation = h5p.create(h5p.DATASET_CREATE)
    creation.set_chunk(_chunk_shape(shape, dtype.itemsize))
    creation.set_fletcher32()
    creation.set_fill_time(h5d.FILL_TIME_NEVER)
    # A chunk may not be larger than a fixed extent, and no chunk has extent 0.
    limits = (h5s.UNLIMITED, *shape[1:]) if shape[0] == 0 else shape
    space = h5s.create_simple(shape, limits)
    return h5d.create(parent, name.encode(), _hdf5_type(dtype), space, creation)


def _chunk_shape(shape: tuple[int, ...], item_bytes: int) -> tuple[int, ...]:
    """Whole rows, about :data:`CHUNK_BYTES`, dividing the rows evenly: the last chunk is padded."""
    rows, row_bytes = max(1, shape[0]), item_bytes
    for extent in shape[1:]:
        row_bytes *= extent
    chunks = min(rows, max(1, round(rows * row_bytes / CHUNK_BYTES)))
    return (-(-rows // chunks), *shape[1:])


class ShardFile:
    """One shard opened for reading, from its bytes or its path; a context manager.

    Handles are opened per use and never kept: an HDF5 handle must not cross a fork.

    Parameters
    ----------
    source : bytes or Path
    label : str
        What messages call it; by default the file's name.

    Raises
    ------
    IntegrityError
        Not HDF5, or of a structure that no writer of ours leaves.
    FormatVersionError
        A shard of another version of the format.
    FileNotFoundError
        The path is not there.
    """

    def __init__(self, source: bytes | Path, *, label: str = "") -> None:
        self.label = label or (source.name if isinstance(source, Path) else "in memory")
        self._opened: dict[tuple[bool, str], tuple[Any, tuple[int, ...]]] = {}
        with _told_as_damage(self.label):
            if isinstance(source, Path):
                self._size_bytes = source.stat().st_size
                access = h5p.create(h5p.FILE_ACCESS)
                access.set_fclose_degree(h5f.CLOSE_STRONG)
                access.set_file_locking(False, True)  # flock lies on many cluster file systems
                self._file = h5f.open(bytes(source), h5f.ACC_RDONLY, fapl=access)
            else:
                self._size_bytes = len(source)
                self._image = source  # read in place, so it has to live as long as the file
                self._file = h5f.open_file_image(source, _IN_PLACE)
        try:
            with _told_as_damage(self.label):
                self._check_version()
                self._root = h5g.open(self._file, b"/")
                _require_hard_link(self._file, _FEATURES)
                self._group = h5g.open(self._file, _FEATURES)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> ShardFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._opened.clear()
        self._file.close()

    def _check_version(self) -> None:
        found = _text_attribute(self._file, b"format")
        if found != FORMAT:
            raise IntegrityError(f"its format is {found!r}, expected {FORMAT!r}")
        version = _number_attribute(self._file, b"version")
        if version != VERSION:
            raise FormatVersionError(
                f"shard {self.label} has format version {version}, this basket reads version "
                f"{VERSION}; use the basket that wrote it, or extract into a new cache"
            )

    def index(self) -> ShardIndex:
        """Read and check everything but the features.

        Raises
        ------
        IntegrityError
            Something in it is not as a writer of ours leaves it.
        """
        with _told_as_damage(self.label):
            if self._root.get_num_objs() != 3:
                raise IntegrityError("it has other members than videos, segments and features")
            table = self._videos()
            _, (n_segments,) = self._open(self._file, _SEGMENTS, _SEGMENTS_DTYPE)
            texts = {
                name: [cell.decode() for cell in table[name].tolist()] for name in TEXT_LIMITS_BYTES
            }
            index = ShardIndex(
                video_ids=tuple(texts.pop("video_id")),
                columns={name: table[name].tolist() for name in NUMERIC_COLUMNS} | texts,
                offsets=[*table["offset"].tolist(), n_segments],
                streams=self._streams(n_segments),
                feature_set=_text_attribute(self._file, b"feature_set"),
            )
            index.check()
            return index

    def _videos(self) -> npt.NDArray[Any]:
        dataset, shape = self._open(self._file, _VIDEOS, None)
        kind = dataset.get_type()
        widths: list[int] = []
        for position, (name, limit) in enumerate(TEXT_LIMITS_BYTES.items()):
            if kind.get_class() != h5t.COMPOUND or kind.get_nmembers() <= position:
                raise IntegrityError("its table of videos lacks columns")
            width = kind.get_member_type(position).get_size()
            if not 0 < width <= limit:
                raise IntegrityError(f"its {name} has {width} bytes, at most {limit} are written")
            widths.append(width)
        dtype, expected = _videos_types(tuple(widths))
        if not kind.equal(expected):
            raise IntegrityError("its table of videos has other columns than are written")
        return _rows(dataset, 0, shape, dtype, None)

    def _streams(self, n_segments: int) -> dict[str, int]:
        streams: dict[str, int] = {}
        for raw in self._group:
            stream = raw.decode("ascii")
            if fault_of_stream_name(stream):
                raise IntegrityError(f"it holds a stream named {stream!r}")
            _, shape = self._open(self._group, stream, _HALF, n_dims=2)
            if shape[0] != n_segments:
                raise IntegrityError(f"its stream {stream!r} does not have one row per segment")
            streams[stream] = shape[1]
        return streams

    def features(
        self,
        stream: str,
        start: int,
        stop: int,
        *,
        dim: int,
        out: npt.NDArray[np.float16] | None = None,
    ) -> npt.NDArray[np.float16]:
        """Rows ``start:stop`` of a stream.

        Parameters
        ----------
        stream : str
        start, stop : int
            Segments of the shard.
        dim : int
            The width that the feature set gives the stream.
        out : ndarray, float16, (stop - start, dim), optional
            Contiguous memory to read into.

        Returns
        -------
        ndarray, float16, (stop - start, dim)

        Raises
        ------
        IntegrityError
            A checksum does not match, or the stream is not what the feature set says.
        """
        with _told_as_damage(self.label):
            dataset, shape = self._open(self._group, stream, _HALF, n_dims=2)
            if shape[1] != dim or not 0 <= start <= stop <= shape[0]:
                raise IntegrityError(
                    f"its stream {stream!r} has shape {shape}, expected width {dim} and at least "
                    f"{stop} rows"
                )
            return _rows(dataset, start, (stop - start, dim), _HALF, out)

    def segments(self, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """``start_s``, ``end_s`` and ``frames_valid`` of the segments ``start:stop``.

        Raises
        ------
        IntegrityError
            A checksum does not match, or there are not as many segments.
        """
        with _told_as_damage(self.label):
            dataset, shape = self._open(self._file, _SEGMENTS, _SEGMENTS_DTYPE)
            if not 0 <= start <= stop <= shape[0]:
                raise IntegrityError(f"it has {shape[0]} segments, expected {stop}")
            table = _rows(dataset, start, (stop - start,), _SEGMENTS_DTYPE, None)
            return {name: np.ascontiguousarray(table[name]) for name in SEGMENT_COLUMNS}

    def _open(
        self, parent: Any, name: str, dtype: np.dtype[Any] | None, *, n_dims: int = 1
    ) -> tuple[Any, tuple[int, ...]]:
        """Open a data set after checking that reading it can only yield what was written.

        The number of stored bytes must be exactly what the shape asks for. As nothing is
        compressed, that bounds the shape by the size of the file. Without a ``dtype`` the caller
        checks the type.
        """
        key = (parent is self._group, name)
        if key in self._opened:
            return self._opened[key]
        _require_hard_link(parent, name.encode())
        dataset = h5d.open(parent, name.encode())
        creation = dataset.get_create_plist()
        if creation.get_layout() != h5d.CHUNKED or creation.get_external_count():
            raise IntegrityError(f"{name!r} is not stored in chunks of its own file")
        filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
        if filters != [h5z.FILTER_FLETCHER32]:
            raise IntegrityError(f"{name!r} has filters {filters}, expected fletcher32 alone")
        kind = dataset.get_type()
        if dtype is not None and not kind.equal(_plain_type(dtype)):
            raise IntegrityError(f"{name!r} is not of type {dtype}")
        shape = dataset.shape
        if len(shape) != n_dims:
            raise IntegrityError(f"{name!r} has shape {shape}, expected {n_dims} dimensions")
        chunks, chunk_bytes = 1, kind.get_size()
        for extent, step in zip(shape, creation.get_chunk(), strict=True):
            chunks *= -(-int(extent) // int(step))  # of Python, which does not wrap around
            chunk_bytes *= int(step)
        stored_bytes = dataset.get_storage_size()
        if (
            dataset.get_num_chunks() != chunks
            or stored_bytes != chunks * (chunk_bytes + _FLETCHER32_BYTES)
            or stored_bytes > self._size_bytes
        ):
            raise IntegrityError(
                f"{name!r} of shape {shape} has {stored_bytes} bytes stored in a file of "
                f"{self._size_bytes}; what is missing would read as zeros"
            )
        self._opened[key] = dataset, shape
        return dataset, shape


def read_index(source: bytes | Path | str) -> ShardIndex:
    """Rows, offsets and stream widths of a shard, given as its bytes or its path.

    Raises
    ------
    IntegrityError
        Not a shard, damaged, or made to mislead.
    FormatVersionError
        Written by another version of the format.
    """
    with ShardFile(Path(source) if isinstance(source, str) else source) as shard:
        return shard.index()


def _rows(
    dataset: Any,
    start: int,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    out: npt.NDArray[Any] | None,
) -> npt.NDArray[Any]:
    values = np.empty(shape, dtype=dtype) if out is None else out
    if shape[0]:
        chosen = dataset.get_space()
        chosen.select_hyperslab((start,) + (0,) * (len(shape) - 1), shape)
        dataset.read(h5s.create_simple(shape), chosen, values, mtype=_hdf5_type(dtype))
    return values


def _require_hard_link(parent: Any, name: bytes) -> None:
    if not parent.links.exists(name):
        raise IntegrityError(f"{name.decode(errors='replace')!r} is missing from it")
    if parent.links.get_info(name).type != h5l.TYPE_HARD:
        raise IntegrityError(f"{name.decode(errors='replace')!r} links elsewhere, which is refused")


def _text_attribute(file: Any, name: bytes) -> str:
    attribute = _scalar_attribute(file, name)
    kind = attribute.get_type()
    if kind.get_class() != h5t.STRING or kind.is_variable_str() or kind.get_size() > 256:
        raise IntegrityError(f"its attribute {name.decode()!r} is not a short text")
    cell = np.empty((), dtype=f"S{kind.get_size()}")
    attribute.read(cell, mtype=kind)
    return bytes(cell.item()).decode("ascii")


def _number_attribute(file: Any, name: bytes) -> int:
    attribute = _scalar_attribute(file, name)
    if not attribute.get_type().equal(h5t.STD_I64LE):
        raise IntegrityError(f"its attribute {name.decode()!r} is not an integer")
    cell = np.empty((), dtype=np.int64)
    attribute.read(cell)
    return int(cell)


def _scalar_attribute(file: Any, name: bytes) -> Any:
    if not h5a.exists(file, name):
        raise IntegrityError(f"its attribute {name.decode()!r} is missing")
    attribute = h5a.open(file, name)
    if attribute.shape != ():
        raise IntegrityError(f"its attribute {name.decode()!r} is not a single value")
    return attribute


@contextmanager
def _told_as_damage(label: str) -> Iterator[None]:
    """Turn whatever h5py raises on bad bytes into one error that names the shard.

    An operating-system error other than EIO (no such file, no permission, too many open files) says
    nothing about the bytes, and goes through as it is.
    """
    try:
        yield
    except IntegrityError as error:
        raise IntegrityError(f"shard {label} is damaged or foreign: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            raise
        raise IntegrityError(
            f"shard {label} is damaged or foreign: {' '.join(str(error).split())}"
        ) from error
