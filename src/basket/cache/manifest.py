"""The manifest: which shard holds which rows, so that opening a cache does not open its shards.

It is derived and rebuildable: a line that is torn, stale or absent costs time, never truth. A line
is believed only for a file that is, by size, times and inode, the very one that was once compared
with its name; any other file is hashed before anything in it is used. Copying a cache to another
machine therefore means hashing it once there. Bits that rot without a write touch none of these;
the checksums inside the shard find them when they are read, and ``basket cache verify`` hashes all.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basket.cache.rows import NUMERIC_COLUMNS, TEXT_LIMITS_BYTES, ShardIndex
from basket.errors import IntegrityError

MANIFEST_VERSION = 1
SHARD_NAME = re.compile(r"[0-9a-f]{64}\.h5")

_PREFIX = '{"crc32":"'
_MIDDLE = '","entry":'
_COLUMNS = {*NUMERIC_COLUMNS, *TEXT_LIMITS_BYTES} - {"video_id"}


@dataclass(frozen=True)
class Stamp:
    """What tells a file from any other and from itself after a change, short of reading it.

    The change time ``ctime_ns`` is set by the system alone, so a rewrite that puts the modification
    time back does not go unnoticed.
    """

    size_bytes: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Stamp of the file at ``path``."""
        stat = path.stat()
        return cls(stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


@dataclass(frozen=True)
class Entry:
    """One published shard: its file name, its stamp when last compared with that name, its rows.

    ``replaces`` names the shards whose rows it took over (``pack``).
    """

    shard: str
    stamp: Stamp
    index: ShardIndex
    replaces: tuple[str, ...] = ()


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_named_by_its_bytes(path: Path, *, name: str = "") -> bool:
    """Whether a shard's bytes are those that its name (or ``name``) is the hash of."""
    return (name or path.name) == f"{sha256_of(path)}.h5"


def line_of(entry: Entry) -> bytes:
    """One JSON line, with a checksum over the rest of it."""
    index = entry.index
    stamp = entry.stamp
    text = json.dumps(
        {
            "version": MANIFEST_VERSION,
            "shard": entry.shard,
            "stamp": [stamp.size_bytes, stamp.mtime_ns, stamp.ctime_ns, stamp.inode],
            "replaces": list(entry.replaces),
            "feature_set": index.feature_set,
            "streams": dict(index.streams),
            "offsets": index.offsets,
            "video_ids": list(index.video_ids),
            "columns": _shortened(index.columns),
            **({"single": list(index.single)} if index.single else {}),
        },
        separators=(",", ":"),
    )
    return f"{_PREFIX}{zlib.crc32(text.encode()):08x}{_MIDDLE}{text}}}\n".encode()


def _shortened(columns: Any) -> dict[str, Any]:
    """Columns with one and the same value throughout (decoder, versions) as a bare value."""
    return {
        name: values[0] if values and values.count(values[0]) == len(values) else values
        for name, values in columns.items()
    }


def append_line(path: Path, entry: Entry, *, sync: bool = False) -> None:
    """Append one line in one write; another writer's torn line stays a line of its own.

    Parameters
    ----------
    path : Path
    entry : Entry
    sync : bool, default=False
        Make it durable, and an incomplete write an error.

    Raises
    ------
    OSError
        The manifest cannot be written, which loses nothing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.lseek(descriptor, 0, os.SEEK_END)
        torn = False
        if size:
            os.lseek(descriptor, size - 1, os.SEEK_SET)
            torn = os.read(descriptor, 1) != b"\n"
        line = (b"\n" if torn else b"") + line_of(entry)
        written = os.write(descriptor, line)
        if sync:
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_manifests(folder: Path) -> Iterable[Entry]:
    """All lines that can be believed to be whole, of all writers; others are passed over.

    A line passed over is no loss: the shard that it spoke of is then opened itself.
    """
    for path in sorted(folder.glob("*.jsonl")):
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
        except OSError:  # vanished under a repair, or unreadable: as good as absent
            continue
        for line in lines:
            entry = _parsed(line)
            if entry is not None:
                yield entry


def _parsed(line: str) -> Entry | None:
    start = len(_PREFIX) + 8 + len(_MIDDLE)
    text = line[start:-1]
    head = f"{_PREFIX}{zlib.crc32(text.encode(errors='replace')):08x}{_MIDDLE}"
    if not text or line[:start] != head or line[-1] != "}":
        return None
    try:
        document = json.loads(text)
        if document["version"] != MANIFEST_VERSION or not SHARD_NAME.fullmatch(document["shard"]):
            return None
        index = _index_of(document)
        index.check()
        return Entry(
            shard=document["shard"],
            stamp=Stamp(*(int(part) for part in document["stamp"])),
            index=index,
            replaces=tuple(str(name) for name in document["replaces"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError, IntegrityError):
        # Only a hand or another program writes a line of right checksum and wrong content.
        return None


def _index_of(document: dict[str, Any]) -> ShardIndex:
    video_ids = tuple(str(video_id) for video_id in document["video_ids"])
    count = len(video_ids)
    columns = {
        name: values if isinstance(values, list) else [values] * count
        for name, values in document["columns"].items()
    }
    if set(columns) != _COLUMNS or any(len(values) != count for values in columns.values()):
        raise ValueError("columns are missing, surplus or of different lengths")
    return ShardIndex(
        video_ids=video_ids,
        columns=columns,
        offsets=[int(offset) for offset in document["offsets"]],
        streams={str(name): int(dim) for name, dim in document["streams"].items()},
        feature_set=str(document["feature_set"]),
        single=tuple(map(str, document.get("single", ()))),
    )
