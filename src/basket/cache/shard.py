"""Reading one shard, from its path or its bytes; nothing in it is trusted.

:mod:`basket.cache.shard_format` says what a shard looks like, :mod:`basket.cache.shard_guard` what
is refused, and :mod:`basket.cache.shard_encoding` makes one.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from h5py import h5f, h5g, h5p, h5s, h5t

from basket.cache.features import FloatArray
from basket.cache.rows import (
    NUMERIC_COLUMNS,
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
    hdf5_type,
    videos_types,
)
from basket.cache.shard_guard import (
    checked_dataset,
    number_attribute,
    require_hard_link,
    text_attribute,
    told_as_damage,
)
from basket.errors import FormatVersionError, IntegrityError

#: ``H5LT_FILE_IMAGE_DONT_COPY | H5LT_FILE_IMAGE_DONT_RELEASE`` of HDF5's C interface.
_IN_PLACE = 0x2 | 0x4


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
        with told_as_damage(self.label):
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
            with told_as_damage(self.label):
                self._check_version()
                self._root = h5g.open(self._file, b"/")
                require_hard_link(self._file, FEATURES)
                self._group = h5g.open(self._file, FEATURES)
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
        found = text_attribute(self._file, b"format")
        if found != FORMAT:
            raise IntegrityError(f"its format is {found!r}, expected {FORMAT!r}")
        version = number_attribute(self._file, b"version")
        if version not in VERSIONS:
            raise FormatVersionError(
                f"shard {self.label} has format version {version}, this basket reads versions "
                f"1 and 2; use the basket that wrote it, or extract into a new cache"
            )
        self._types = (HALF, SINGLE)[:version]

    def index(self) -> ShardIndex:
        """Read and check everything but the features.

        Raises
        ------
        IntegrityError
            Something in it is not as a writer of ours leaves it.
        """
        with told_as_damage(self.label):
            if self._root.get_num_objs() != 3:
                raise IntegrityError("it has other members than videos, segments and features")
            table = self._videos()
            _, (n_segments,) = self._open(self._file, SEGMENTS, SEGMENTS_DTYPE)
            texts = {
                name: [cell.decode() for cell in table[name].tolist()] for name in TEXT_LIMITS_BYTES
            }
            streams, single = self._streams(n_segments)
            index = ShardIndex(
                video_ids=tuple(texts.pop("video_id")),
                columns={name: table[name].tolist() for name in NUMERIC_COLUMNS} | texts,
                offsets=[*table["offset"].tolist(), n_segments],
                streams=streams,
                feature_set=text_attribute(self._file, b"feature_set"),
                single=single,
            )
            index.check()
            return index

    def _videos(self) -> npt.NDArray[Any]:
        dataset, shape = self._open(self._file, VIDEOS, None)
        kind = dataset.get_type()
        widths: list[int] = []
        for position, (name, limit) in enumerate(TEXT_LIMITS_BYTES.items()):
            if kind.get_class() != h5t.COMPOUND or kind.get_nmembers() <= position:
                raise IntegrityError("its table of videos lacks columns")
            width = kind.get_member_type(position).get_size()
            if not 0 < width <= limit:
                raise IntegrityError(f"its {name} has {width} bytes, at most {limit} are written")
            widths.append(width)
        dtype, expected = videos_types(tuple(widths))
        if not kind.equal(expected):
            raise IntegrityError("its table of videos has other columns than are written")
        return _rows(dataset, 0, shape, dtype, None)

    def _streams(self, n_segments: int) -> tuple[dict[str, int], tuple[str, ...]]:
        """Widths, and which streams are float32."""
        streams: dict[str, int] = {}
        single = []
        for raw in self._group:
            stream = raw.decode("ascii")
            if fault_of_stream_name(stream):
                raise IntegrityError(f"it holds a stream named {stream!r}")
            _, shape, dtype = self._stream(stream)
            if shape[0] != n_segments:
                raise IntegrityError(f"its stream {stream!r} does not have one row per segment")
            streams[stream] = shape[1]
            single += [stream] if dtype == SINGLE else []
        return streams, tuple(single)

    def _stream(self, stream: str) -> tuple[Any, tuple[int, ...], np.dtype[Any]]:
        dataset, shape = self._open(self._group, stream, None, n_dims=2)
        kind = dataset.get_type()
        for dtype in self._types:
            if kind.equal(hdf5_type(dtype)):
                return dataset, shape, dtype
        raise IntegrityError(f"{stream!r} is not of type {' or '.join(map(str, self._types))}")

    def features(
        self,
        stream: str,
        start: int,
        stop: int,
        *,
        dim: int,
        out: FloatArray | None = None,
    ) -> FloatArray:
        """Rows ``start:stop`` of a stream.

        Parameters
        ----------
        stream : str
        start, stop : int
            Segments of the shard.
        dim : int
            The width that the feature set gives the stream.
        out : ndarray, floating, (stop - start, dim), optional
            Contiguous memory to read into.

        Returns
        -------
        ndarray, float16 or float32 as stored, (stop - start, dim)

        Raises
        ------
        IntegrityError
            A checksum does not match, or the stream is not what the feature set says.
        """
        with told_as_damage(self.label):
            dataset, shape, dtype = self._stream(stream)
            if shape[1] != dim or not 0 <= start <= stop <= shape[0]:
                raise IntegrityError(
                    f"its stream {stream!r} has shape {shape}, expected width {dim} and at least "
                    f"{stop} rows"
                )
            if out is None or out.dtype == dtype:
                return _rows(dataset, start, (stop - start, dim), dtype, out)
            out[:] = _rows(dataset, start, (stop - start, dim), dtype, None)
            return out

    def segments(self, start: int, stop: int) -> dict[str, npt.NDArray[Any]]:
        """``start_s``, ``end_s`` and ``frames_valid`` of the segments ``start:stop``.

        Raises
        ------
        IntegrityError
            A checksum does not match, or there are not as many segments.
        """
        with told_as_damage(self.label):
            dataset, shape = self._open(self._file, SEGMENTS, SEGMENTS_DTYPE)
            if not 0 <= start <= stop <= shape[0]:
                raise IntegrityError(f"it has {shape[0]} segments, expected {stop}")
            table = _rows(dataset, start, (stop - start,), SEGMENTS_DTYPE, None)
            return {name: np.ascontiguousarray(table[name]) for name in SEGMENT_COLUMNS}

    def _open(
        self, parent: Any, name: str, dtype: np.dtype[Any] | None, *, n_dims: int = 1
    ) -> tuple[Any, tuple[int, ...]]:
        key = (parent is self._group, name)
        if key not in self._opened:
            self._opened[key] = checked_dataset(
                parent, name, dtype, n_dims=n_dims, file_bytes=self._size_bytes
            )
        return self._opened[key]


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
        dataset.read(h5s.create_simple(shape), chosen, values, mtype=hdf5_type(dtype))
    return values
