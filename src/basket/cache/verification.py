"""Seeing what is wrong with a feature set: bytes, structure, values, rows. Reads only."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from basket.cache.commit import ASIDE_FOLDER, MANIFEST_FOLDER, SHARDS_FOLDER, TMP_FOLDER
from basket.cache.durable import told_in_a_sentence
from basket.cache.entries import all_finite
from basket.cache.feature_set import FeatureSet
from basket.cache.look import opened, remember, replaced_by, require_identity
from basket.cache.manifest import SHARD_NAME, Entry, read_manifests
from basket.cache.shard import ShardFile
from basket.cache.snapshot import Snapshot
from basket.errors import CacheError, FormatVersionError, IntegrityError

Tell = Callable[[int, int], None]
#: Features are read in pieces of this size, which bounds the memory.
_PIECE_BYTES = 8 << 20


def tell_nobody(_done: int, _total: int) -> None:
    """Progress that nobody follows."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a feature set.

    Parameters
    ----------
    file : str
        Where, relative to the feature set's folder.
    what : str
        What is wrong, in a sentence.
    videos : tuple of str
        Ids whose features it takes away, where they are known.
    """

    file: str
    what: str
    videos: tuple[str, ...] = ()


@dataclass(frozen=True)
class VerifyReport:
    """What :func:`verify` found.

    Parameters
    ----------
    feature_set : str
    shards, size_bytes : int
        Shards looked at, and their bytes.
    ok, failed : int
        Videos with features, and failed ones.
    deep : bool
        Whether every value was read.
    problems : tuple of Problem
        Empty: all is well.
    notes : tuple of str
        Harmless leftovers.
    """

    feature_set: str
    shards: int
    size_bytes: int
    ok: int
    failed: int
    deep: bool
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **{k: getattr(self, k) for k in ("feature_set", "shards", "size_bytes", "deep")},
            "videos": {"ok": self.ok, "failed": self.failed},
            "intact": not self.problems,
            "problems": [
                {"file": each.file, "what": each.what, "videos": list(each.videos)}
                for each in self.problems
            ],
            "notes": list(self.notes),
        }


def verify(
    feature_set: FeatureSet, *, deep: bool = False, tell: Tell = tell_nobody
) -> VerifyReport:
    """Compare every shard's bytes with its name, its rows with the manifest; change nothing.

    Parameters
    ----------
    feature_set : FeatureSet
    deep : bool, default=False
        Also read every value: checksums inside the shard, finiteness, spans of segments.
    tell : callable
        Told the shards done and all of them.

    Raises
    ------
    CacheError
        A file may not be read, which says nothing about what is in it.
    """
    folder = feature_set.path
    with told_in_a_sentence(folder, 0):
        shards, damaged = hashed(feature_set, deep=deep, tell=tell)
        lines = list(read_manifests(folder / MANIFEST_FOLDER))
    known = known_from(lines, shards)
    problems = [
        Problem(f"{SHARDS_FOLDER}/{name}", why, _ids(known.get(name)))
        for name, why in damaged.items()
    ]
    replaced = replaced_by(shards, known)
    for name in sorted(known.keys() - shards.keys() - damaged.keys() - replaced):
        if not (folder / SHARDS_FOLDER / name).exists():  # else published since
            what = "it is gone; the manifest names it, and no other shard took its rows over"
            problems.append(Problem(f"{SHARDS_FOLDER}/{name}", what, _ids(known[name])))
    problems += [
        Problem(MANIFEST_FOLDER, f"its line for {line.shard} says other rows than the shard")
        for line in lines
        if line.shard in shards and line.index != shards[line.shard].index
    ]
    now = Snapshot(shards)
    return VerifyReport(
        feature_set=feature_set.name,
        shards=len(shards) + len(damaged),
        size_bytes=sum(entry.stamp.size_bytes for entry in shards.values()),
        ok=len(now.ok),
        failed=len(now.failed),
        deep=deep,
        problems=tuple(problems),
        notes=tuple(_notes(folder, now, replaced & shards.keys())),
    )


def known_from(lines: Iterable[Entry], shards: Mapping[str, Entry]) -> dict[str, Entry]:
    """What manifest lines say of each shard, also of those that are gone."""
    known: dict[str, Entry] = {}
    for line in lines:
        intact = shards.get(line.shard)
        remember(known, line, intact.stamp if intact else None)
    return known


def hashed(
    feature_set: FeatureSet, *, deep: bool, tell: Tell
) -> tuple[dict[str, Entry], dict[str, str]]:
    """Every shard with its bytes hashed now, whatever was remembered; and the damaged ones.

    Parameters
    ----------
    feature_set : FeatureSet
    deep : bool
        Also read every value.
    tell : callable
        Told the shards done and all of them.

    Returns
    -------
    shards : dict of str to Entry
    damaged : dict of str to str
        What is wrong with each.
    """
    shards: dict[str, Entry] = {}
    damaged: dict[str, str] = {}
    folder = feature_set.path / SHARDS_FOLDER
    paths = _shard_files(folder)
    for done, path in enumerate(paths):
        tell(done, len(paths))
        try:
            if not SHARD_NAME.fullmatch(path.name) or not path.is_file():
                raise IntegrityError("it is not a file that is named by the SHA-256 of its bytes")
            entry = opened(path)
            require_identity(entry.index, feature_set.spec.digest, dict(feature_set.spec.streams))
            if deep:
                _read_all(path, entry)
        except FileNotFoundError:
            continue  # packed or set aside since the folder was listed
        except (IntegrityError, FormatVersionError) as error:
            damaged[path.name] = str(error)
        except OSError as error:
            if error.errno != errno.EIO:  # no damage, and nothing that could be set aside
                raise CacheError(
                    f"{path} cannot be read: {error.strerror}; run this as the user who owns it, "
                    "or have them let you read it"
                ) from error
            damaged[path.name] = f"the disk cannot read it: {error.strerror}"
        else:
            shards[path.name] = entry
    tell(len(paths), len(paths))
    return shards, damaged


def _shard_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(
        path for path in folder.iterdir() if path.suffix == ".h5" and not path.name.startswith(".")
    )


def _read_all(path: Path, entry: Entry) -> None:
    index = entry.index
    with ShardFile(path) as shard:
        columns = shard.segments(0, index.n_segments)
        if (columns["start_s"] > columns["end_s"]).any() or (columns["frames_valid"] < 0).any():
            raise IntegrityError("its segments end before they start, or have negative counts")
        for stream, dim in index.streams.items():
            step = max(1, _PIECE_BYTES // (2 * dim))
            for start in range(0, index.n_segments, step):
                stop = min(start + step, index.n_segments)
                if not all_finite(shard.features(stream, start, stop, dim=dim)):
                    raise IntegrityError(f"its stream {stream!r} holds values that are not finite")


def _notes(folder: Path, now: Snapshot, leftovers: set[str]) -> Iterator[str]:
    if leftovers:
        yield (
            f"{len(leftovers)} shards were packed into others and lie there still; "
            "basket cache pack sets them aside"
        )
    superseded = sum(len(entry.index) for entry in now.shards.values()) - len(now.current)
    if superseded:
        yield f"{superseded} rows are superseded by newer or better ones of the same video"
    for name, what in ((TMP_FOLDER, "temporary files"), (ASIDE_FOLDER, "files set aside")):
        count = len(list((folder / name).iterdir())) if (folder / name).is_dir() else 0
        if count:
            yield f"{count} {what} in {folder / name}"


def _ids(line: Entry | None) -> tuple[str, ...]:
    return line.index.video_ids if line else ()
