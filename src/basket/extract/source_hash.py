"""Source files by content, for those who copy or replace videos in ways that size and time miss.

Hashing reads every file once more, from memory where it was just decoded; it is asked for with
``--hash-sources``. A video extracted without it has no recorded hash and goes by size and time.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from basket.cache import content_hash
from basket.cache.rows import SOURCE_SHA256
from basket.extract.decoding import Source


def content_of(source: Source) -> Callable[[], str]:
    """The file's SHA-256 when it is asked for, computed once; empty where it cannot be read."""

    @cache
    def content() -> str:
        try:
            return _hash_of_file(source.path)
        except OSError:
            return ""  # equals no recorded hash: the video is tried, and fails with the reason

    return content


def recorded_hash(path: Path, size_bytes: int, mtime_ns: int) -> dict[str, str]:
    """What a row records of the file it was made from; nothing where that is another file by now.

    Parameters
    ----------
    path : Path
    size_bytes, mtime_ns : int
        Of the file before it was decoded.
    """
    try:
        sha256 = _hash_of_file(path)
        stat = path.stat()
    except OSError:
        return {}
    if (stat.st_size, stat.st_mtime_ns) != (size_bytes, mtime_ns):
        return {}
    return {SOURCE_SHA256: sha256}


def _hash_of_file(path: Path) -> str:
    if not path.is_file():  # reading a pipe or a device might never end
        raise OSError(f"{path} is no file")
    return content_hash(path)
