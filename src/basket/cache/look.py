"""Looking at a feature set's folder: which shards are published, and which can be believed.

A shard is used once its bytes were compared with its name. That comparison is remembered, in the
process and in the manifest, for the file's exact size, times and inode
(:class:`~basket.cache.manifest.Stamp`), so that thousands of shards open in the time that ``stat``
takes, and any file that was touched is hashed again, before HDF5 parses it.
"""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from basket.cache.commit import MANIFEST_FOLDER, SHARDS_FOLDER
from basket.cache.durable import write_atomically
from basket.cache.manifest import (
    SHARD_NAME,
    Entry,
    Stamp,
    is_named_by_its_bytes,
    line_of,
    read_manifests,
)
from basket.cache.rows import ShardIndex
from basket.cache.shard import ShardFile
from basket.cache.snapshot import Snapshot
from basket.errors import CacheError, FormatVersionError, IntegrityError

#: A live writer appends a shard's line well before this; later, a reader does it.
_LINE_EXPECTED_WITHIN_S = 60.0
#: As many new shards are opened themselves rather than looked up in the manifest.
_FEW = 64


def look(
    folder: Path, *, feature_set: str, streams: Mapping[str, int], known: Snapshot
) -> Snapshot:
    """Look at a feature set's shards, opening only those that are new or were touched.

    Parameters
    ----------
    folder : Path
        The feature set.
    feature_set : str
        Digest of its specification; a shard of another one is damage.
    streams : mapping of str to int
        The streams its shards must have.
    known : Snapshot
        What is known already; empty at first.

    Raises
    ------
    OSError
        A file or folder is there and may not be read. That is no damage: taking it for such would
        have days of extraction done again.
    """
    found = _look(folder, feature_set, streams, known)
    if found.damaged.keys() - found.damaged_stamps.keys():
        # Shards seem to be gone: a pack may have replaced them since its manifest was read.
        found = _look(folder, feature_set, streams, found)
    return found


def _look(folder: Path, feature_set: str, streams: Mapping[str, int], known: Snapshot) -> Snapshot:
    stamps, damaged = _published(folder / SHARDS_FOLDER)
    entries = _remembered(folder, stamps, known)
    shards: dict[str, Entry] = {}
    damaged_stamps: dict[str, Stamp] = {}
    unlisted: list[Entry] = []
    for name, stamp in stamps.items():
        entry = entries.get(name)
        if known.damaged_stamps.get(name) == stamp:
            damaged[name], damaged_stamps[name] = known.damaged[name], stamp
            continue
        try:
            if entry is None or entry.stamp != stamp:
                replaces = () if entry is None else entry.replaces
                entry = replace(opened(folder / SHARDS_FOLDER / name), replaces=replaces)
                unlisted.append(entry)
            require_identity(entry.index, feature_set, streams)
        except FileNotFoundError:
            continue  # set aside since the folder was listed
        except (IntegrityError, FormatVersionError) as error:
            damaged[name], damaged_stamps[name] = str(error), stamp
        else:
            shards[name] = entry
    damaged |= {
        name: why
        for name, why in _missing(entries, shards, set(stamps)).items()
        if not (folder / SHARDS_FOLDER / name).exists()  # published since the folder was listed
    }
    _remember(folder, unlisted)
    suspects = tuple(entry for name, entry in entries.items() if name in damaged)
    return Snapshot(shards, damaged, damaged_stamps, suspects)


def _published(folder: Path) -> tuple[dict[str, Stamp], dict[str, str]]:
    """Stamps of the shard files, and complaints about other HDF5 files among them."""
    stamps: dict[str, Stamp] = {}
    strays: dict[str, str] = {}
    if not folder.is_dir():
        return stamps, strays
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.suffix != ".h5":
            continue
        try:
            if SHARD_NAME.fullmatch(path.name) and path.is_file():
                stamps[path.name] = Stamp.of(path)
                continue
        except FileNotFoundError:
            continue  # set aside since the folder was listed
        strays[path.name] = "it is not a file that is named by the SHA-256 of its bytes"
    return stamps, strays


def _remembered(folder: Path, stamps: Mapping[str, Stamp], known: Snapshot) -> dict[str, Entry]:
    """The best entry for each shard: one whose stamp fits the file, else any."""
    entries = {entry.shard: entry for entry in known.suspects} | dict(known.shards)
    new = stamps.keys() - entries.keys()
    if known.shards and len(new) <= _FEW and entries.keys() <= stamps.keys():
        return entries  # a second look beside live writers: opening these is quicker
    for entry in read_manifests(folder / MANIFEST_FOLDER):
        remember(entries, entry, stamps.get(entry.shard))
    return entries


def remember(entries: dict[str, Entry], line: Entry, stamp: Stamp | None) -> None:
    """Take a manifest line in: of several for one shard, the one that fits the file is believed.

    What a shard replaced is known from any of them: it is true of its bytes, not of a file.
    """
    old = entries.get(line.shard)
    if old is None:
        entries[line.shard] = line
        return
    best = old if old.stamp == stamp else line
    entries[line.shard] = replace(
        best, replaces=tuple(dict.fromkeys((*old.replaces, *line.replaces)))
    )


def opened(path: Path) -> Entry:
    """Hash a shard, and only then let HDF5 parse it.

    Raises
    ------
    IntegrityError, FormatVersionError
        Its bytes are not those it is named by, or no shard of ours.
    OSError
        It may not be read.
    """
    stamp = Stamp.of(path)
    try:
        if not is_named_by_its_bytes(path):
            raise IntegrityError("its bytes are not those it is named by")
        with ShardFile(path) as shard:
            return Entry(path.name, stamp, shard.index())
    except OSError as error:
        if error.errno != errno.EIO:  # no permission, too many open files: says nothing about it
            raise
        raise IntegrityError(f"the disk cannot read it: {error.strerror}") from error


def require_identity(index: ShardIndex, feature_set: str, streams: Mapping[str, int]) -> None:
    """Refuse a shard of another feature set.

    Raises
    ------
    IntegrityError
    """
    if index.feature_set != feature_set:
        raise IntegrityError(
            f"it belongs to the feature set with digest {index.feature_set[:8]}, not "
            f"{feature_set[:8]}; it was moved here from another folder"
        )
    if index.streams != streams:
        raise IntegrityError(f"its streams are {dict(index.streams)}, expected {dict(streams)}")


def _missing(
    entries: Mapping[str, Entry], shards: Mapping[str, Entry], present: set[str]
) -> dict[str, str]:
    """Shards that the manifest knows and the folder has not, unless another took their place."""
    replaced = replaced_by(shards, entries)
    return {
        name: f"it is gone; the manifest says it held {len(entry.index)} videos"
        for name, entry in entries.items()
        if name not in present and name not in replaced
    }


def replaced_by(shards: Iterable[str], entries: Mapping[str, Entry]) -> set[str]:
    """Names of the shards whose rows intact ones took over, directly or through others.

    Parameters
    ----------
    shards : iterable of str
        Intact ones.
    entries : mapping of str to Entry
        What is known of these and of those that are gone.
    """
    replaced: set[str] = set()
    pending = list(shards)
    while pending:  # a packed shard may itself have been packed again
        name = pending.pop()
        taken_over = set(entries[name].replaces) - replaced if name in entries else set()
        replaced |= taken_over
        pending += taken_over
    return replaced


def _remember(folder: Path, unlisted: list[Entry]) -> None:
    """Spare the next reader the hashing, where the writer's line never came.

    The file is named by its content, so that many readers who find the same leave one file.
    """
    now_ns = time.time_ns()
    settled = [
        entry for entry in unlisted if now_ns - entry.stamp.ctime_ns > _LINE_EXPECTED_WITHIN_S * 1e9
    ]
    if not settled:
        return
    data = b"".join(line_of(entry) for entry in settled)
    target = folder / MANIFEST_FOLDER / f"found-{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
    try:
        target.parent.mkdir(exist_ok=True)
        write_atomically(target, data)
    except (OSError, CacheError):
        return  # a read-only cache is read all the same; the next process hashes again
