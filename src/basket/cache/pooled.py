"""Pooled matrices on disk, so that a second fit on the same rows does not read the segments again.

A matrix is kept under two digests: what was asked for (ids and their order, stream, pooling,
segment subset), and where the answer came from (the shard and position of every row). When a video
is extracted again or a shard is packed, the second differs, the old file is dropped, and the
matrix is made anew. Each file carries the hash of its numbers; one that does not match is none.
Everything here is a convenience: where the cache is read-only or the disk full, nothing is kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.feature_set import FeatureSet

FOLDER = "pooled"
#: Raised by one when the same segments would be pooled to other numbers than before.
VERSION = 1
MAX_BYTES = 4 << 30

_MAGIC = "basket-pooled"
_HEADER_BYTES = 512

Float32 = npt.NDArray[np.float32]
_log = logging.getLogger("basket.cache")


@dataclass(frozen=True)
class PooledCache:
    """Pooled matrices of one feature set.

    Parameters
    ----------
    feature_set : FeatureSet
    max_bytes : int, default=4 GiB
        What is kept in all; the files that were not used for longest go first.

    Examples
    --------
    ::

        pooled = PooledCache(feature_set)
        matrix = pooled.get(ids, stream="pooled", pooling="mean+std")
        if matrix is None:
            matrix = pool_feature_set(feature_set, ids, "pooled", "mean+std")
            pooled.put(matrix, ids, stream="pooled", pooling="mean+std")
    """

    feature_set: FeatureSet
    max_bytes: int = MAX_BYTES

    def get(
        self, video_ids: Sequence[str], *, stream: str, pooling: str, segments: Any = None
    ) -> Float32 | None:
        """The matrix of these videos, or None where there is none that is current and intact.

        Parameters
        ----------
        video_ids : sequence of str, (n,)
            Rows of the matrix, in this order.
        stream, pooling : str
        segments : JSON value, optional
            Which segments take part, where not all do.

        Returns
        -------
        ndarray, float32, (n, P), or None

        Raises
        ------
        CacheError, IntegrityError
            As :meth:`~basket.cache.feature_set.FeatureSet.ragged`: a kept matrix never hides that
            the rows it came from are gone or damaged.
        """
        path = self._path(video_ids, stream, pooling, segments)
        matrix = _read(path, len(video_ids))
        if matrix is not None:
            with suppress(OSError):  # the time of use, by which old ones are dropped
                os.utime(path)
        return matrix

    def put(
        self,
        matrix: Float32,
        video_ids: Sequence[str],
        *,
        stream: str,
        pooling: str,
        segments: Any = None,
    ) -> bool:
        """Keep a matrix, and drop stale ones; return whether it was kept.

        Raises
        ------
        CacheError, IntegrityError
            As :meth:`get`.
        """
        if matrix.shape[0] != len(video_ids) or matrix.dtype != np.float32 or matrix.ndim != 2:
            raise ValueError(f"expected float32 ({len(video_ids)}, P), got {matrix.shape}")
        path = self._path(video_ids, stream, pooling, segments)
        if matrix.nbytes > self.max_bytes:
            return False
        try:
            path.parent.mkdir(exist_ok=True)
            _write(path, np.ascontiguousarray(matrix))
            self._drop_stale(path)
        except OSError as error:
            _log.info("the pooled matrix is not kept in %s: %s", path.parent, error)
            return False
        return True

    def clear(self) -> int:
        """Drop all matrices; return how many."""
        files = self._files()
        for file in files:
            with suppress(OSError):
                file.unlink()
        return len(files)

    def _path(self, video_ids: Sequence[str], stream: str, pooling: str, segments: Any) -> Path:
        asked = [VERSION, self.feature_set.spec.digest, stream, pooling, segments, list(video_ids)]
        places = self.feature_set.places(video_ids)
        name = f"{_digest(asked)[:24]}-{_digest(places)[:24]}.f32"
        return self.feature_set.path / FOLDER / name

    def _files(self) -> list[Path]:
        return sorted((self.feature_set.path / FOLDER).glob("*.f32"))

    def _drop_stale(self, kept: Path) -> None:
        asked = kept.name.partition("-")[0]
        others = []
        for path in self._files():
            if path != kept and path.name.partition("-")[0] == asked:
                path.unlink(missing_ok=True)
            elif path != kept:
                with suppress(FileNotFoundError):
                    stat = path.stat()
                    others.append((stat.st_mtime_ns, stat.st_size, path))
        left = self.max_bytes - kept.stat().st_size
        for _, size, path in sorted(others, reverse=True):
            left -= size
            if left < 0:
                path.unlink(missing_ok=True)


def _digest(value: Any) -> str:
    text = json.dumps(value, separators=(",", ":"), sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _write(path: Path, matrix: Float32) -> None:
    header = json.dumps(
        {
            "format": _MAGIC,
            "shape": list(matrix.shape),
            "sha256": hashlib.sha256(matrix.data).hexdigest(),
        }
    ).encode()
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("xb") as file:
            file.write(header.ljust(_HEADER_BYTES))
            matrix.tofile(file)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _read(path: Path, n_rows: int) -> Float32 | None:
    """The matrix in a file; None where it is absent, torn, changed or of another shape."""
    try:
        with path.open("rb") as file:
            header = json.loads(file.read(_HEADER_BYTES))
            rows, columns = (int(extent) for extent in header["shape"])
            size = rows * columns * 4
            if (
                header["format"] != _MAGIC
                or rows != n_rows
                or columns < 0
                or path.stat().st_size != _HEADER_BYTES + size
            ):
                return None
            matrix = np.fromfile(file, dtype=np.float32, count=rows * columns)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    matrix = matrix.reshape(rows, columns)
    return matrix if hashlib.sha256(matrix.data).hexdigest() == header["sha256"] else None
