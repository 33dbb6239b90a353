"""Arrays of other extractors, read from npy, npz and parquet files that may be hostile.

No pickle, and no array larger than the file that is said to hold it. What is wrong with one video
costs that video; what makes the others doubtful (rows without an id, offsets that do not fit)
costs the import.
"""

from __future__ import annotations

import lzma
import math
import os
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from basket.cache.exchange import SEGMENTS
from basket.errors import BasketError, NotThereError, UsageError

#: What one video's arrays may unpack to: ten times four hours of dense segments of 4,096 numbers.
MAX_VIDEO_BYTES = 1 << 30
#: What unpacks to more than so many times its bytes in the file is no features.
_MAX_RATIO = 100
#: Rows of a table that are read together, at most, and what they may take as Arrow arrays.
_BATCH_ROWS, _BATCH_BYTES = 4096, 64 << 20

Array = npt.NDArray[Any]


class Unfit(BasketError):
    """One video's arrays cannot be taken; recorded beside its id."""


#: What numpy, zipfile and the decompressors raise on bytes that are not what they claim to be.
_UNREADABLE = (
    OSError, ValueError, TypeError, ArithmeticError, LookupError, EOFError, MemoryError,
    RuntimeError, SyntaxError, tokenize.TokenError, zlib.error, lzma.LZMAError,
    zipfile.BadZipFile, Unfit,
)  # fmt: skip


@dataclass(frozen=True)
class Found:
    """One video in a foreign file: its arrays, or why they cannot be read."""

    name: str
    origin: Path
    arrays: Mapping[str, Array] = field(default_factory=dict)
    reason: str = ""


def found_in(path: Path, streams: Sequence[str]) -> Iterator[tuple[int, Found]]:
    """The videos in a folder or file, each with how many there are (0 where that is not known).

    Raises
    ------
    UsageError
        Nothing there that could be imported.
    """
    if path.is_dir():
        yield from _in_folder(path, streams)
    elif path.is_file() and path.suffix.lower() == ".npz":
        yield from _in_npz(path, streams)
    elif path.is_file() and path.suffix.lower() == ".parquet":
        yield from ((0, found) for found in _in_parquet(path, streams))
    elif not path.exists():
        raise NotThereError(f"There is no file or folder {path} to import")
    else:
        raise UsageError(f"{path} is neither a folder nor a regular .npz or .parquet file")


def _in_folder(path: Path, streams: Sequence[str]) -> Iterator[tuple[int, Found]]:
    apart = all((path / stream).is_dir() for stream in streams)
    roots = [path / stream for stream in streams] if apart else [path]
    listed = [_array_files(root) for root in roots]
    first, *others = [dict(reversed(each)) for each in listed]
    # A video that only a later stream has is told, not passed over.
    videos = listed[0] + sorted(
        {n: f for other in reversed(others) for n, f in other.items() if n not in first}.items()
    )
    if not videos:
        kinds = sorted({each.suffix for each in path.rglob("*") if each.suffix})[:5]
        holds = f"; it holds {', '.join(kinds)}: save the arrays as .npy" if kinds else ""
        raise UsageError(f"nothing there to import: {path} has no .npy or .npz files{holds}")
    for name, file in videos:
        try:
            if file.suffix.lower() == ".npz":
                arrays = _npz_arrays(file, streams)
            elif apart:
                arrays = {}
                for stream, files in zip(streams, (first, *others), strict=True):
                    if name not in files:
                        raise Unfit(f"the folder of stream {stream!r} has no such file")
                    arrays[stream] = _npy_array(files[name])
                beside = path / "segments" / f"{name}.npz"
                arrays |= _npz_arrays(beside, ()) if beside.is_file() else {}
            elif len(streams) > 1:
                raise Unfit(f"a .npy holds one stream, the specification has {len(streams)}")
            else:
                arrays = {streams[0]: _npy_array(file)}
            yield len(videos), Found(name, file, arrays)
        except _UNREADABLE as error:
            yield len(videos), Found(name, file, reason=f"{file.name}: {_told(error)}")


def _array_files(root: Path) -> list[tuple[str, Path]]:
    """Names without suffix, and files, sorted; also in linked folders, each of them once."""
    files: list[Path] = []
    seen: set[str] = set()
    tops = [root]
    for top in tops:  # links after all that lies in the folder itself: ids do not hang on them
        for folder, below, names in os.walk(top):
            place = os.path.realpath(folder)
            if place in seen:
                below.clear()
                continue
            seen.add(place)
            files += [Path(folder, name) for name in names]
            links = [Path(folder, name) for name in sorted(below)]
            tops += [link for link in links if link.is_symlink()]
    return [
        (file.relative_to(root).as_posix()[: -len(file.suffix)], file)
        for file in sorted(files)
        if file.suffix.lower() in (".npy", ".npz")
    ]


def _told(error: BaseException) -> str:
    """An error in a sentence, without the path that the system adds."""
    text = (error.strerror if isinstance(error, OSError) else "") or str(error)
    return " ".join(text.split()) or type(error).__name__


def _npy_array(path: Path) -> Array:
    _require_regular(path)
    with path.open("rb") as file:
        return _array(file, path.stat().st_size)


def _require_regular(path: Path) -> None:
    """Refuse what would block for ever or never end; a link to a file is a file."""
    if not path.is_file():
        raise Unfit("it is not a regular file, or a link to nowhere")


def _header(
    file: IO[bytes], size_bytes: int, limit_bytes: int
) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, Fortran order and type of an npy file, once they fit the bytes that follow."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    if version not in read:
        raise Unfit(f"its npy version is {version}")
    shape, fortran, dtype = read[version](file)
    bytes_of_values = dtype.itemsize
    for extent in shape:
        bytes_of_values *= int(extent)
    if dtype.hasobject or dtype.kind not in "fiuUS":
        raise Unfit(f"it holds values of type {dtype}, which is refused")
    if file.tell() + bytes_of_values != size_bytes or not 0 <= bytes_of_values <= limit_bytes:
        raise Unfit(f"it claims {bytes_of_values} bytes of values in a file of {size_bytes}")
    return shape, fortran, dtype


def _array(file: IO[bytes], size_bytes: int, limit_bytes: int = MAX_VIDEO_BYTES) -> Array:
    shape, fortran, dtype = _header(file, size_bytes, limit_bytes)
    values = np.frombuffer(file.read(size_bytes), dtype=dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _npz_arrays(path: Path, streams: Sequence[str]) -> dict[str, Array]:
    """The streams of one video's npz, all of which must be there, and its times where known."""
    _require_regular(path)
    with zipfile.ZipFile(path) as archive:
        return {name: _npz_array(archive, name) for name in _members(archive, streams)}


def _members(archive: zipfile.ZipFile, streams: Sequence[str]) -> list[str]:
    present = [name.removesuffix(".npy") for name in archive.namelist()]
    require_streams(streams, present)
    return [*streams, *(name for name in SEGMENTS if name in present)]


def require_streams(streams: Sequence[str], present: Iterable[str]) -> None:
    """Refuse arrays among which a stream is missing.

    Raises
    ------
    Unfit
    """
    for stream in streams:
        if stream not in present:
            raise Unfit(f"it has no stream {stream!r}; it has {sorted(present)}")


def _npz_array(archive: zipfile.ZipFile, name: str) -> Array:
    with archive.open(f"{name}.npy") as file:
        return _array(file, archive.getinfo(f"{name}.npy").file_size)


def _in_npz(path: Path, streams: Sequence[str]) -> Iterator[tuple[int, Found]]:
    """Videos of one npz of all, its members being read side by side."""
    try:
        with zipfile.ZipFile(path) as archive:
            ids = _ids(_npz_array(archive, "video_ids"))
            offsets = _npz_array(archive, "offsets")
            rising = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) > 0
            if not rising or len(offsets) != len(ids) + 1 or (offsets[1:] < offsets[:-1]).any():
                raise Unfit("offsets and ids do not fit each other")
            limit = _MAX_RATIO * path.stat().st_size
            names = _members(archive, streams)
            parts = [_cut(archive, name, offsets.tolist(), limit) for name in names]
            for video_id, *arrays in zip(ids, *parts, strict=False):
                yield len(ids), Found(video_id, path, dict(zip(names, arrays, strict=True)))
    except _UNREADABLE as error:
        raise UsageError(f"{path} cannot be imported: {_told(error)}") from error


def _ids(values: Array) -> list[str]:
    if values.ndim != 1 or values.dtype.kind == "f":
        raise Unfit(f"video_ids is {values.dtype} of shape {values.shape}; it must list texts")
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values.tolist()]


def _cut(
    archive: zipfile.ZipFile, name: str, offsets: Sequence[int], limit_bytes: int
) -> Iterator[Array]:
    """The rows of each video of one member; of those in Fortran order after reading all."""
    with archive.open(f"{name}.npy") as file:
        size = archive.getinfo(f"{name}.npy").file_size
        shape, fortran, dtype = _header(file, size, limit_bytes)
        if offsets[0] != 0 or shape[:1] != (offsets[-1],):
            raise Unfit(f"{name!r} of shape {shape} has not the rows of the offsets")
        row = shape[1:] or (1,) if name not in SEGMENTS else shape[1:]
        whole = None
        if fortran and len(shape) > 1:
            whole = np.frombuffer(file.read(), dtype).reshape(shape, order="F")
        for start, stop in pairwise(offsets):
            if whole is not None:
                yield whole[start:stop]
                continue
            size = (stop - start) * math.prod(row) * dtype.itemsize
            yield np.frombuffer(file.read(size), dtype).reshape(stop - start, *row)


def _in_parquet(path: Path, streams: Sequence[str]) -> Iterator[Found]:
    """Videos of a parquet file, row group by row group."""
    seen: set[str] = set()
    for name, runs in groupby(_runs_of_rows(path, streams), key=itemgetter(0)):
        if name in seen:
            raise UsageError(
                f"{path}: rows of {name!r} do not follow each other; sort the table by video_id"
            )
        seen.add(name)
        yield _gathered(name, path, (arrays for _, arrays in runs))


_Run = Mapping[str, Array] | Unfit


def _runs_of_rows(path: Path, streams: Sequence[str]) -> Iterator[tuple[str, _Run]]:
    """Consecutive rows of one video, with its id; those that span two batches come in two."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            present = set(file.schema_arrow.names)
            if "video_id" not in present:
                raise UsageError(f"{path} has no column video_id; it has {sorted(present)}")
            require_streams(streams, present)
            columns = [*streams, *(name for name in SEGMENTS if name in present)]
            wanted = ["video_id", *columns]
            row = 1
            for group in range(file.num_row_groups):
                rows_at_once = _rows_at_once(file.metadata.row_group(group), wanted)
                for batch in file.iter_batches(rows_at_once, row_groups=[group], columns=wanted):
                    ids = np.array(_texts(batch.column("video_id")), dtype=object)
                    cuts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
                    for start, stop in pairwise([0, *cuts.tolist(), len(ids)]):
                        if not ids[start]:
                            raise Unfit(f"row {row + start} has no video_id; name it or drop it")
                        rows = batch.slice(start, stop - start)
                        yield ids[start], _run(rows, columns, row + start)
                    row += len(ids)
    except (*_UNREADABLE, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be imported: {_told(error)}") from error


def _rows_at_once(group: Any, names: Sequence[str]) -> int:
    """Rows of a group that fit into a batch; repeated values take a file next to nothing."""
    unpacked = packed = 1
    for position in range(group.num_columns):
        column = group.column(position)
        if any(f"{column.path_in_schema}.".startswith(f"{name}.") for name in names):
            unpacked += max(8 * column.num_values, column.total_uncompressed_size)
            packed += column.total_compressed_size
    if unpacked > max(MAX_VIDEO_BYTES, _MAX_RATIO * packed):
        raise Unfit(f"{packed} bytes of it unpack to {unpacked}, which is refused")
    return int(max(1, min(_BATCH_ROWS, group.num_rows * _BATCH_BYTES // unpacked)))


def _texts(ids: Any) -> list[str | None]:
    import pyarrow as pa

    kind = ids.type.value_type if pa.types.is_dictionary(ids.type) else ids.type
    if not (pa.types.is_integer(kind) or str(kind).removeprefix("large_") in _TEXTS):
        raise Unfit(f"video_id is {ids.type}; make it text")
    texts: list[str | None] = ids.cast(pa.string()).to_pylist()
    return texts


_TEXTS = ("string", "binary", "string_view", "binary_view", "null")


def _run(rows: Any, columns: Sequence[str], first_row: int) -> _Run:
    try:
        return {name: _column(rows.column(name), name, first_row) for name in columns}
    except Unfit as error:
        return error


def _column(column: Any, name: str, first_row: int) -> Array:
    """Numbers, or lists of equally many numbers, of a column of a table; nothing is filled in."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if isinstance(column.type, pa.BaseExtensionType):  # tensors of fixed shape
        column = column.storage
    if column.null_count:
        row = first_row + column.is_null().index(True).as_py()
        raise Unfit(f"{name!r} is null in row {row} of the table")
    shape: tuple[int, ...] = (len(column),) if name in SEGMENTS else (len(column), 1)
    flat = column
    lists = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if any(is_such(column.type) for is_such in lists):
        widths = np.asarray(pc.list_value_length(column))
        if (widths != widths[0]).any():
            row = first_row + int(np.flatnonzero(widths != widths[0])[0])
            raise Unfit(
                f"{name!r} has {widths[row - first_row]} numbers in row {row} of the table and "
                f"{widths[0]} in row {first_row}"
            )
        flat, shape = column.flatten(), (len(column), int(widths[0]))
    if flat.null_count:
        raise Unfit(f"{name!r} holds nulls among its numbers")
    if not (pa.types.is_floating(flat.type) or pa.types.is_integer(flat.type)):
        raise Unfit(f"{name!r} is {column.type}, expected numbers")
    values: Array = flat.to_numpy(zero_copy_only=False).reshape(shape)
    return values


def _gathered(name: str, path: Path, runs: Iterable[_Run]) -> Found:
    parts: list[Mapping[str, Array]] = []
    reason, size = "", 0
    for run in runs:
        if isinstance(run, Unfit):
            reason = reason or str(run)
        else:
            size += sum(values.nbytes for values in run.values())
            parts = [] if size > MAX_VIDEO_BYTES else [*parts, run]
    if size > MAX_VIDEO_BYTES:
        reason = reason or f"its rows take more than {MAX_VIDEO_BYTES} bytes"
    if reason:
        return Found(name, path, reason=reason)
    try:
        return Found(name, path, {n: np.concatenate([p[n] for p in parts]) for n in parts[0]})
    except ValueError as error:
        return Found(name, path, reason=f"its rows have different widths: {error}")
