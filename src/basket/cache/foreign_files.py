"""Arrays of other extractors, read from npy, npz and parquet files that may be hostile.

No pickle, and no array larger than the file that is said to hold it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from basket.cache.exchange import SEGMENTS
from basket.errors import BasketError, NotThereError, UsageError

#: What one video's arrays may unpack to: ten times four hours of dense segments of 4,096 numbers.
MAX_VIDEO_BYTES = 1 << 30
#: A member of an archive that unpacks to more than so many times the file is no features.
_MAX_RATIO = 100

Array = npt.NDArray[Any]


class Unfit(BasketError):
    """One video's arrays cannot be taken; recorded beside its id."""


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
    elif path.is_file() and path.suffix == ".npz":
        yield from _in_npz(path, streams)
    elif path.is_file() and path.suffix == ".parquet":
        yield from ((0, found) for found in _in_parquet(path, streams))
    elif not path.exists():
        raise NotThereError(f"There is no file or folder {path} to import")
    else:
        raise UsageError(f"{path} is neither a folder nor a .npz or .parquet file")


def _in_folder(path: Path, streams: Sequence[str]) -> Iterator[tuple[int, Found]]:
    by_stream = [stream for stream in streams if (path / stream).is_dir()]
    root = path / by_stream[0] if len(by_stream) == len(streams) else path
    files = sorted(each for each in root.rglob("*") if each.suffix in (".npy", ".npz"))
    if not files:
        raise UsageError(f"there are no .npy or .npz files in {root}")
    for file in files:
        name = file.relative_to(root).as_posix().removesuffix(file.suffix)
        try:
            if file.suffix == ".npz":
                arrays = _npz_arrays(file, (*streams, *SEGMENTS))
            elif root == path:
                if len(streams) > 1:
                    raise Unfit(f"a .npy holds one stream, the specification has {len(streams)}")
                arrays = {streams[0]: _npy_array(file)}
            else:
                arrays = {each: _npy_array(path / each / f"{name}.npy") for each in streams}
                beside = path / "segments" / f"{name}.npz"
                arrays |= _npz_arrays(beside, SEGMENTS) if beside.is_file() else {}
            yield len(files), Found(name, file, arrays)
        except (OSError, ValueError, Unfit, zipfile.BadZipFile) as error:
            yield len(files), Found(name, file, reason=f"{file.name}: {error}")


def _npy_array(path: Path) -> Array:
    with path.open("rb") as file:
        return _array(file, path.stat().st_size)


def _array(file: IO[bytes], size_bytes: int, *, limit_bytes: int = MAX_VIDEO_BYTES) -> Array:
    """An array of an npy file, once its header is known to fit the bytes that follow it."""
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
    if file.tell() + bytes_of_values != size_bytes or bytes_of_values > limit_bytes:
        raise Unfit(f"it claims {bytes_of_values} bytes of values in a file of {size_bytes}")
    values = np.frombuffer(file.read(bytes_of_values), dtype=dtype)
    return values.reshape(shape, order="F" if fortran else "C")


def _npz_arrays(path: Path, names: Sequence[str]) -> dict[str, Array]:
    with zipfile.ZipFile(path) as archive:
        return {
            name: _npz_array(archive, name) for name in names if f"{name}.npy" in archive.NameToInfo
        }


def _npz_array(archive: zipfile.ZipFile, name: str, *, limit_bytes: int = MAX_VIDEO_BYTES) -> Array:
    info = archive.getinfo(f"{name}.npy")
    if info.file_size > limit_bytes or info.flag_bits & 1:
        raise Unfit(f"its member {name!r} unpacks to {info.file_size} bytes, which is refused")
    with archive.open(info) as file:
        return _array(file, info.file_size, limit_bytes=limit_bytes)


def _in_npz(path: Path, streams: Sequence[str]) -> Iterator[tuple[int, Found]]:
    """Videos of one npz of all; the streams are read once, and held in memory."""
    try:
        with zipfile.ZipFile(path) as archive:
            ids = [str(each) for each in _npz_array(archive, "video_ids").tolist()]
            offsets = _npz_array(archive, "offsets").astype(np.int64)
            known = [n for n in (*streams, *SEGMENTS) if f"{n}.npy" in archive.NameToInfo]
            limit = _MAX_RATIO * path.stat().st_size
            whole = {name: _npz_array(archive, name, limit_bytes=limit) for name in known}
    except (OSError, ValueError, KeyError, Unfit, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} cannot be imported: {error}") from error
    total = {len(values) for values in whole.values()}
    rising = len(offsets) == len(ids) + 1 and bool((np.diff(offsets) >= 0).all())
    if not rising or offsets[0] != 0 or total != {int(offsets[-1])}:
        raise UsageError(f"{path}: offsets, ids and matrices do not fit each other")
    for number, video_id in enumerate(ids):
        span = slice(int(offsets[number]), int(offsets[number + 1]))
        yield len(ids), Found(video_id, path, {n: values[span] for n, values in whole.items()})


def _in_parquet(path: Path, streams: Sequence[str]) -> Iterator[Found]:
    """Videos of a parquet file, row group by row group."""
    seen: set[str] = set()
    for name, runs in groupby(_runs_of_rows(path, streams), key=itemgetter(0)):
        if name in seen:
            raise UsageError(
                f"{path}: rows of {name!r} do not follow each other; sort the table by video_id"
            )
        seen.add(name)
        yield _gathered(name, path, [arrays for _, arrays in runs])


def _runs_of_rows(path: Path, streams: Sequence[str]) -> Iterator[tuple[str, dict[str, Array]]]:
    """Consecutive rows of one video, with its id; those that span two batches come in two."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        with parquet.ParquetFile(path) as file:
            present = set(file.schema_arrow.names)
            if "video_id" not in present:
                raise UsageError(f"{path} has no column video_id; it has {sorted(present)}")
            columns = [n for n in (*streams, *SEGMENTS) if n in present]
            row = 1
            for batch in file.iter_batches(batch_size=4096, columns=["video_id", *columns]):
                ids = np.array(batch.column("video_id").to_pylist(), dtype=object)
                cuts = np.flatnonzero(ids[1:] != ids[:-1]) + 1
                for start, stop in zip([0, *cuts], [*cuts, len(ids)], strict=True):
                    if not ids[start]:
                        raise UsageError(
                            f"{path}: row {row + start} has no video_id; name it or drop it"
                        )
                    rows = batch.slice(start, stop - start)
                    yield str(ids[start]), {n: _column(rows.column(n)) for n in columns}
                row += len(ids)
    except (OSError, pa.ArrowException) as error:
        raise UsageError(f"{path} cannot be imported: {error}") from error


def _column(column: Any) -> Array:
    values = column.to_pylist()
    return np.array(values, dtype=np.float64 if isinstance(values[0], float) else None)


def _gathered(name: str, path: Path, parts: Sequence[Mapping[str, Array]]) -> Found:
    try:
        return Found(name, path, {n: np.concatenate([p[n] for p in parts]) for n in parts[0]})
    except ValueError as error:
        return Found(name, path, reason=f"its rows have different widths: {error}")
