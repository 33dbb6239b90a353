"""Making a feature set whole again, without deleting a shard and without declaring damage good.

What does not match its name is moved to ``aside``, its videos count as not done, and the next
extraction makes exactly those again. Where ``aside`` still holds the shards that a damaged one was
packed from, they are put back instead.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from basket.cache import commit
from basket.cache.commit import (
    ASIDE_FOLDER,
    MANIFEST_FOLDER,
    SHARDS_FOLDER,
    TMP_FOLDER,
    set_aside,
)
from basket.cache.durable import fsync_folder, told_in_a_sentence, write_atomically
from basket.cache.feature_set import FeatureSet
from basket.cache.look import opened, replaced_by
from basket.cache.manifest import Entry, is_named_by_its_bytes, line_of, read_manifests
from basket.cache.snapshot import Snapshot
from basket.cache.verification import Tell, hashed, known_from, tell_nobody

#: A temporary file that nobody has touched for so long belongs to no live writer.
ABANDONED_AFTER_S = 3600.0

#: Steps of a repair; tests end the process after each.
REPAIR_FAILPOINTS = (
    "repair-set-aside",
    "repair-restored",
    "repair-manifest-written",
    "repair-manifest-aside",
)


@dataclass(frozen=True)
class RepairReport:
    """What :func:`repair` did.

    Parameters
    ----------
    feature_set : str
    set_aside : mapping of str to str
        Damaged shards that were moved to ``aside``, and what was wrong with them.
    restored : tuple of str
        Shards put back from ``aside`` in place of a damaged one they had been packed into.
    to_redo : tuple of str
        Ids that have no row any more, or an older one only: the next extraction makes them again.
    unknown : int
        Damaged shards of which nobody knows what they held.
    shards, ok, failed : int
        What is there now: shards, videos with features, failed ones.
    cleared : int
        Abandoned temporary files that were removed.
    """

    feature_set: str
    set_aside: Mapping[str, str] = field(default_factory=dict)
    restored: tuple[str, ...] = ()
    to_redo: tuple[str, ...] = ()
    unknown: int = 0
    shards: int = 0
    ok: int = 0
    failed: int = 0
    cleared: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "feature_set": self.feature_set,
            "set_aside": dict(self.set_aside),
            "restored": list(self.restored),
            "to_redo": list(self.to_redo),
            "unknown": self.unknown,
            "shards": self.shards,
            "videos": {"ok": self.ok, "failed": self.failed},
            "cleared": self.cleared,
        }


def repair(feature_set: FeatureSet, *, tell: Tell = tell_nobody) -> RepairReport:
    """Set damaged shards aside and write the manifest anew from shards that match their names.

    Safe to interrupt and to repeat, also beside live writers and readers.

    Parameters
    ----------
    feature_set : FeatureSet
    tell : callable
        Told the shards done and all of them.

    Raises
    ------
    CacheError
        The folder cannot be read or written.
    """
    folder = feature_set.path
    with told_in_a_sentence(folder, 0):
        files = sorted((folder / MANIFEST_FOLDER).glob("*.jsonl"))
        lines = list(read_manifests(folder / MANIFEST_FOLDER))
        shards, damaged = hashed(feature_set, deep=False, tell=tell)
        known = known_from(lines, shards)
        for name in damaged:
            set_aside(folder / SHARDS_FOLDER / name, folder=folder)
            commit.on_step("repair-set-aside")
        replaced = replaced_by(shards, known)
        lost = known.keys() - shards.keys() - replaced
        restored = _restored(feature_set, lost, known)
        shards |= restored
        entries = [_with_replaces(entry, known) for entry in shards.values()]
        commit.on_step("repair-restored")
        _rewrite_manifest(folder, entries, files)
        cleared = _clear_abandoned(folder)
    feature_set.forget()
    now = Snapshot(shards)
    doubtful = Snapshot(shards, dict.fromkeys(lost, ""), {}, tuple(known[name] for name in lost))
    return RepairReport(
        feature_set=feature_set.name,
        set_aside=damaged,
        restored=tuple(sorted(restored)),
        to_redo=doubtful.hidden,
        unknown=len(damaged.keys() - known.keys()),
        shards=len(shards),
        ok=len(now.ok),
        failed=len(now.failed),
        cleared=cleared,
    )


def _with_replaces(entry: Entry, known: Mapping[str, Entry]) -> Entry:
    """The entry with all that it replaced, directly or through others.

    The lines of those others go aside one by one: whoever dies in between may leave the line of a
    shard that was packed twice, and not the one that says into what.
    """
    taken_over = replaced_by([entry.shard], known)
    return replace(entry, replaces=tuple(sorted(taken_over)))


def _restored(
    feature_set: FeatureSet, lost: set[str], known: Mapping[str, Entry]
) -> dict[str, Entry]:
    """Put back intact copies of lost shards, or of those that they were packed from."""
    folder = feature_set.path
    aside: dict[str, list[Path]] = {}
    if (folder / ASIDE_FOLDER).is_dir():
        for path in sorted((folder / ASIDE_FOLDER).iterdir()):
            aside.setdefault(path.name.rpartition(".")[0], []).append(path)
    restored: dict[str, Entry] = {}
    pending, seen = sorted(lost), set(lost)
    while pending:
        name = pending.pop()
        target = folder / SHARDS_FOLDER / name
        copies = [
            path
            for path in aside.get(name, [])
            if path.is_file() and is_named_by_its_bytes(path, name=name)
        ]
        if copies and not target.exists():
            copies[0].rename(target)
            restored[name] = opened(target)
        else:
            more = set(known[name].replaces) - seen if name in known else set()
            seen |= more
            pending += more
    if restored:
        fsync_folder(folder / SHARDS_FOLDER)
    return restored


def _rewrite_manifest(folder: Path, entries: list[Entry], old: list[Path]) -> None:
    data = b"".join(line_of(entry) for entry in sorted(entries, key=lambda each: each.shard))
    manifest = folder / MANIFEST_FOLDER
    manifest.mkdir(exist_ok=True)
    target = manifest / f"rebuilt-{hashlib.sha256(data).hexdigest()[:16]}.jsonl"
    if data:
        write_atomically(target, data)
    commit.on_step("repair-manifest-written")
    for path in old:
        # A line that a live writer appends in between is lost to us: its shard is then opened.
        if path != target:
            set_aside(path, folder=folder)
            commit.on_step("repair-manifest-aside")


def _clear_abandoned(folder: Path) -> int:
    """Remove what dead writers left: half-written temporaries and locks, never a shard."""
    cleared = 0
    oldest_s = time.time() - ABANDONED_AFTER_S
    candidates = [
        *(folder / TMP_FOLDER).glob("*"),
        *(folder / SHARDS_FOLDER).glob(".*.lock"),
        *(folder / MANIFEST_FOLDER).glob(".*.tmp"),
    ]
    for path in candidates:
        with suppress(OSError):
            if path.stat().st_mtime < oldest_s:
                path.unlink()
                cleared += 1
    return cleared
