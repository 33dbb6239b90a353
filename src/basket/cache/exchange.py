"""Features out of the cache, for other programs: parquet, one npz, or a npy file per video.

Everything is streamed block by block, and appears under its final name only when it is whole.
"""

from __future__ import annotations

import json
import shutil
import uuid
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from basket.cache.durable import make_folder, told_in_a_sentence
from basket.cache.feature_set import FeatureSet
from basket.cache.features import VideoFeatures
from basket.errors import UsageError
from basket.registry import nearest

FORMATS = ("parquet", "npz", "npy")
SEGMENTS = ("start_s", "end_s", "frames_valid")

Tell = Callable[[int, int], None]


@dataclass(frozen=True)
class ExportReport:
    """What :func:`export` wrote.

    Parameters
    ----------
    feature_set, format : str
    path : Path
        File (parquet, npz) or folder (npy).
    videos, segments, size_bytes : int
    left_out : mapping of str to str
        Videos that were wanted and have no features, with the reason.
    """

    feature_set: str
    format: str
    path: Path
    videos: int
    segments: int
    size_bytes: int
    left_out: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {
            "path": str(self.path)
        }


def export(
    feature_set: FeatureSet,
    out: str | Path,
    *,
    format: str = "",  # noqa: A002 - what the option is called
    streams: Sequence[str] = (),
    video_ids: Sequence[str] | None = None,
    tell: Tell = lambda _done, _total: None,
) -> ExportReport:
    """Write features of a feature set for other programs.

    Parameters
    ----------
    feature_set : FeatureSet
    out : path
        ``x.parquet``: a row per segment. ``x.npz``: ``video_ids``, ``offsets``, ``start_s``,
        ``end_s``, ``frames_valid`` and a matrix per stream (no pickle). Without a suffix: a folder
        with ``<stream>/<video id>.npy``, ``segments/<video id>.npz`` and ``feature_set.json``.
    format : {"parquet", "npz", "npy"}, optional
        Where the name does not say it.
    streams : sequence of str, optional
        All by default.
    video_ids : sequence of str, optional
        All that have features by default.
    tell : callable
        Told the videos done and all of them.

    Raises
    ------
    UsageError
        The target exists or can be no file; or an unknown format or stream.
    CacheError, IntegrityError
        Of the features; or the target cannot be written.
    """
    target = Path(out)
    if not format and target.suffix not in ("", ".parquet", ".npz"):
        raise UsageError(
            f"{target} says no format: name it x.parquet, x.npz or a folder without a dot, or give "
            "--format"
        )
    kind = format or target.suffix.removeprefix(".") or "npy"
    if kind not in FORMATS:
        raise UsageError(f"unknown format {kind!r}{nearest(kind, list(FORMATS)) or '.'} Known: "
                         f"{', '.join(FORMATS)}")  # fmt: skip
    if target.exists():
        raise UsageError(f"{target} is there already; name a new file or folder")
    ids = list(feature_set.video_ids if video_ids is None else video_ids)
    chosen = list(streams) or list(feature_set.spec.streams)
    lengths = feature_set.n_segments(ids)
    for stream in chosen:
        feature_set.stream([], stream=stream)  # says which streams there are
    make_folder(target.parent)
    write = {"parquet": _parquet, "npz": _npz, "npy": _npy}[kind]
    with told_in_a_sentence(target.parent, _size_of(feature_set, chosen, int(lengths.sum()))):
        with _appearing_whole(target) as temporary:
            write(feature_set, temporary, ids, chosen, tell)
        size = sum(p.stat().st_size for p in [target, *target.rglob("*")] if p.is_file())
    return ExportReport(feature_set.name, kind, target, len(ids), int(lengths.sum()), size)


def _size_of(feature_set: FeatureSet, streams: Sequence[str], segments: int) -> int:
    widths = feature_set.spec.streams
    return segments * (20 + sum(widths[s] * feature_set.dtype(s)().itemsize for s in streams))


@contextmanager
def _appearing_whole(target: Path) -> Iterator[Path]:
    temporary = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.tmp"
    try:
        yield temporary
        temporary.rename(target)
    finally:
        with suppress(OSError):
            shutil.rmtree(temporary) if temporary.is_dir() else temporary.unlink()


def _videos(
    feature_set: FeatureSet, ids: Sequence[str], tell: Tell
) -> Iterator[tuple[str, VideoFeatures]]:
    for done, video_id in enumerate(ids):
        tell(done, len(ids))
        yield video_id, feature_set.read(video_id)
    tell(len(ids), len(ids))


def _parquet(
    feature_set: FeatureSet,
    path: Path,
    ids: Sequence[str],
    streams: Sequence[str],
    tell: Tell,
) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    dims = feature_set.spec.streams
    schema = pa.schema(
        [
            ("video_id", pa.string()),
            ("segment", pa.int32()),
            ("start_s", pa.float64()),
            ("end_s", pa.float64()),
            ("frames_valid", pa.int32()),
            *((stream, pa.list_(pa.float32(), dims[stream])) for stream in streams),
        ],
        metadata={"feature_set": feature_set.spec.to_json()},
    )
    with parquet.ParquetWriter(path, schema) as writer:
        for batch in _batches(feature_set, ids, tell):
            counts = [features.n_segments for _, features in batch]
            columns: list[Any] = [
                pa.array(np.repeat([video_id for video_id, _ in batch], counts).tolist()),
                pa.array(np.concatenate([np.arange(n, dtype=np.int32) for n in counts])),
                *(pa.array(_joined(batch, name)) for name in SEGMENTS),
            ]
            for stream in streams:
                values = np.concatenate([each.features[stream] for _, each in batch])
                # Single precision: few readers of parquet know half.
                flat = pa.array(values.astype(np.float32).reshape(-1))
                columns.append(pa.FixedSizeListArray.from_arrays(flat, dims[stream]))
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


def _joined(batch: Sequence[tuple[str, VideoFeatures]], name: str) -> npt.NDArray[Any]:
    return np.concatenate([getattr(features, name) for _, features in batch])


def _batches(
    feature_set: FeatureSet, ids: Sequence[str], tell: Tell
) -> Iterator[list[tuple[str, VideoFeatures]]]:
    batch: list[tuple[str, VideoFeatures]] = []
    size = 0
    for video_id, features in _videos(feature_set, ids, tell):
        batch.append((video_id, features))
        size += sum(values.nbytes for values in features.features.values())
        if size > 32 << 20:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _npz(
    feature_set: FeatureSet,
    path: Path,
    ids: Sequence[str],
    streams: Sequence[str],
    tell: Tell,
) -> None:
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(feature_set.n_segments(ids))])
    total = int(offsets[-1])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        _member(archive, "video_ids", np.array(ids or [""])[: len(ids)])
        _member(archive, "offsets", offsets)
        _member(archive, "feature_set", np.array(feature_set.spec.to_json()))
        parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in SEGMENTS}
        for number, stream in enumerate(streams):
            shape = (total, feature_set.spec.streams[stream])
            with archive.open(f"{stream}.npy", "w", force_zip64=True) as file:
                _npy_header(file, shape, feature_set.dtype(stream))
                for _, features in _videos(feature_set, ids, tell):
                    file.write(np.ascontiguousarray(features.features[stream]).data)
                    if number == 0:
                        for name in SEGMENTS:
                            parts[name].append(getattr(features, name))
        for name in SEGMENTS:
            _member(archive, name, np.concatenate(parts[name]) if parts[name] else np.zeros(0))


def _member(archive: zipfile.ZipFile, name: str, values: npt.NDArray[Any]) -> None:
    with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
        np.lib.format.write_array(file, values, allow_pickle=False)


def _npy_header(file: IO[bytes], shape: tuple[int, ...], dtype: type[np.generic]) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_2_0(file, header)


def _npy(
    feature_set: FeatureSet,
    path: Path,
    ids: Sequence[str],
    streams: Sequence[str],
    tell: Tell,
) -> None:
    path.mkdir()
    (path / "feature_set.json").write_text(feature_set.spec.to_json(), encoding="utf-8")
    (path / "videos.json").write_text(json.dumps(list(ids), ensure_ascii=False), encoding="utf-8")
    for video_id, features in _videos(feature_set, ids, tell):
        for stream in streams:
            file = path / stream / f"{video_id}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, features.features[stream], allow_pickle=False)
        file = path / "segments" / f"{video_id}.npz"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as target:
            np.savez(target, **{name: getattr(features, name) for name in SEGMENTS})
