"""Merging small shards into large ones, beside live writers and readers.

1. take small shards together, hash their bytes, and encode their rows as one image;
2. publish it by the commit protocol, its manifest line naming what it replaces, and sync that line;
3. hash the published file once more; only then move the small shards to ``aside``.

Death before 2 leaves nothing; after it, rows that stand in two shards, of which readers show one.
The next ``pack`` moves on from there. A reader that holds a shard which was moved looks again.

Rows are merged, never judged twice: a row is left out only where the row that speaks for its video
goes into the same new shard. That row then takes over the latest commit time of its source file, so
that it stays the current one beside whatever other shards hold.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from basket.cache import commit
from basket.cache.commit import MANIFEST_FOLDER, SHARDS_FOLDER, build_image, publish_image
from basket.cache.durable import fsync_folder, told_in_a_sentence
from basket.cache.feature_set import FeatureSet
from basket.cache.features import VideoFeatures, VideoRow
from basket.cache.manifest import Entry, is_named_by_its_bytes
from basket.cache.shard import ShardFile
from basket.cache.snapshot import Place, Snapshot
from basket.errors import IntegrityError, UsageError

TARGET_BYTES = 256 << 20
#: Largest share of the target that still counts as small: packing again then rewrites little.
_SMALL = 0.5

#: Steps beyond those of the commit protocol; tests end the process after each.
PACK_FAILPOINTS = ("pack-read", "pack-published", "pack-checked", "pack-one-aside", "pack-aside")

Row = tuple[VideoRow, VideoFeatures | None, int]


@dataclass(frozen=True)
class PackReport:
    """What :func:`pack` did.

    Parameters
    ----------
    feature_set : str
    merged, made : int
        Shards that went into others, and the others.
    shards : int
        Shards there now.
    rows, superseded : int
        Rows written, and rows left out because a better one of the same video was written.
    aside_bytes : int
        Bytes of the small shards, now in ``aside``; 0 where they were deleted.
    deleted : bool
    damaged : int
        Shards left alone as they cannot be used.
    """

    feature_set: str
    merged: int
    made: int
    shards: int
    rows: int
    superseded: int
    aside_bytes: int
    deleted: bool
    damaged: int

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


def pack(
    feature_set: FeatureSet,
    *,
    target_bytes: int = TARGET_BYTES,
    delete: bool = False,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> PackReport:
    """Merge small shards into ones of up to ``target_bytes``.

    Takes about four times ``target_bytes`` of memory while a shard is built and compared.

    Parameters
    ----------
    feature_set : FeatureSet
    target_bytes : int, default=256 MiB
    delete : bool, default=False
        Delete the small shards, once the new one was published and hashed, instead of moving them
        to ``aside``, from where ``repair`` could take them should the new one be damaged one day.
    tell : callable
        Told the groups of shards done and all of them.

    Raises
    ------
    CacheError
        Disk full, I/O error, no permission. What is there is intact; the same command goes on.
    IntegrityError
        A small shard is not what was written; ``repair`` comes first.
    """
    if target_bytes < 1 << 16:
        raise UsageError(f"a packed shard of {target_bytes} bytes is no use; take 64 KiB or more")
    feature_set.refresh()
    snapshot = feature_set.snapshot
    moved = _finish_earlier(feature_set, snapshot, delete=delete)
    feature_set.refresh()
    snapshot = feature_set.snapshot
    groups = groups_of(snapshot, target_bytes=target_bytes)
    rows = superseded = aside_bytes = merged = made = 0
    for done, group in enumerate(groups):
        tell(done, len(groups))
        try:
            written = _pack_group(feature_set, snapshot, group, delete=delete)
        except FileNotFoundError:
            continue  # another pack was quicker; the next call sees what it left
        except OSError as error:
            with told_in_a_sentence(feature_set.path, 0):
                raise error
        made += 1
        merged += len(group)
        rows += written
        superseded += sum(len(entry.index) for entry in group) - written
        aside_bytes += sum(entry.stamp.size_bytes for entry in group)
    tell(len(groups), len(groups))
    feature_set.refresh()
    now = feature_set.snapshot
    return PackReport(
        feature_set=feature_set.name,
        merged=merged + moved,
        made=made,
        shards=len(now.shards),
        rows=rows,
        superseded=superseded,
        aside_bytes=0 if delete else aside_bytes,
        deleted=delete,
        damaged=len(now.damaged),
    )


def groups_of(snapshot: Snapshot, *, target_bytes: int) -> list[list[Entry]]:
    """Which small shards go together, oldest first; groups of one are left out.

    A group never holds two rows of a video that speaks through a shard outside of it: a shard holds
    an id once, and which of the two may go is not for the group to decide.
    """
    small = [
        entry
        for entry in snapshot.shards.values()
        if entry.stamp.size_bytes <= _SMALL * target_bytes
    ]
    # Apart by type: one row of float32 would have all of a shard stored so.
    small.sort(
        key=lambda entry: (
            entry.index.single,
            min(entry.index.columns["committed_ns"], default=0),
            entry.shard,
        )
    )
    groups: list[list[Entry]] = []
    size = 0
    ids: set[str] = set()
    for entry in small:
        names = {each.shard for each in groups[-1]} | {entry.shard} if groups else set()
        clash = any(
            snapshot.names[snapshot.current[video_id].shard] not in names
            for video_id in ids.intersection(entry.index.video_ids)
        )
        clash = clash or bool(groups and groups[-1][-1].index.single != entry.index.single)
        if not groups or clash or size + entry.stamp.size_bytes > target_bytes:
            groups.append([])
            size, ids = 0, set()
        groups[-1].append(entry)
        size += entry.stamp.size_bytes
        ids.update(entry.index.video_ids)
    return [group for group in groups if len(group) > 1]


def kept_positions(snapshot: Snapshot, group: Sequence[Entry]) -> dict[str, list[tuple[int, int]]]:
    """Which rows of each shard of a group are written, and with which ``committed_ns``.

    Returns
    -------
    dict
        Shard name to (position, committed_ns).
    """
    number = {name: at for at, name in enumerate(snapshot.names)}
    members = {number[entry.shard] for entry in group}
    kept: dict[str, list[tuple[int, int]]] = {entry.shard: [] for entry in group}
    for entry in group:
        committed = entry.index.columns["committed_ns"]
        for position, video_id in enumerate(entry.index.video_ids):
            mine = Place(number[entry.shard], position)
            winner = snapshot.current[video_id]
            if winner == mine:
                kept[entry.shard].append((position, _latest(snapshot, video_id, mine, members)))
            elif winner.shard not in members:
                kept[entry.shard].append((position, committed[position]))
    return kept


def _latest(snapshot: Snapshot, video_id: str, winner: Place, members: set[int]) -> int:
    """The latest commit of the winner's source file within the group."""
    source = snapshot.index(winner).source(winner.position)
    return max(
        int(snapshot.index(place).columns["committed_ns"][place.position])
        for place in snapshot.places[video_id]
        if place.shard in members and snapshot.index(place).source(place.position) == source
    )


def _pack_group(
    feature_set: FeatureSet, snapshot: Snapshot, group: Sequence[Entry], *, delete: bool
) -> int:
    """Merge one group; return the rows written."""
    folder = feature_set.path
    kept = kept_positions(snapshot, group)
    rows = [row for entry in group for row in _rows_of(feature_set, entry.shard, kept[entry.shard])]
    rows.sort(key=lambda row: row[0].video_id)  # seasons and leagues lie together
    commit.on_step("pack-read")
    image = build_image(
        [(row, features) for row, features, _ in rows],
        dict(feature_set.spec.streams),
        feature_set=feature_set.spec.digest,
        committed_ns=[committed_ns for _, _, committed_ns in rows],
    )
    # An earlier pack that could not write its line may have published these very bytes already.
    names = [entry.shard for entry in group if entry.shard != image.name]
    publish_image(
        folder,
        image,
        manifest=folder / MANIFEST_FOLDER / f"pack-{image.name[:16]}.jsonl",
        replaces=names,
    )
    commit.on_step("pack-published")
    _put_away(feature_set, {image.name: names}, delete=delete)
    return len(rows)


def _rows_of(feature_set: FeatureSet, name: str, kept: Sequence[tuple[int, int]]) -> list[Row]:
    path = feature_set.path / SHARDS_FOLDER / name
    if not is_named_by_its_bytes(path):
        raise IntegrityError(
            f"{feature_set.name}: shard {name} was changed since it was written; run basket cache "
            "repair, then pack again. Nothing was moved"
        )
    with ShardFile(path) as shard:
        index = shard.index()
        columns = shard.segments(0, index.n_segments)
        streams = {
            stream: shard.features(stream, 0, index.n_segments, dim=dim)
            for stream, dim in index.streams.items()
        }
    rows: list[Row] = []
    for position, committed_ns in kept:
        start, stop = index.offsets[position], index.offsets[position + 1]
        features = None
        if stop > start:
            features = VideoFeatures(
                {stream: values[start:stop] for stream, values in streams.items()},
                **{column: values[start:stop] for column, values in columns.items()},
            )
        rows.append((index.row(position), features, committed_ns))
    return rows


def _finish_earlier(feature_set: FeatureSet, snapshot: Snapshot, *, delete: bool) -> int:
    """Put away shards that an earlier pack published a successor of and did not get to moving."""
    left = {
        name: [old for old in entry.replaces if old in snapshot.shards and old != name]
        for name, entry in snapshot.shards.items()
    }
    left = {name: old for name, old in left.items() if old}
    _put_away(feature_set, left, delete=delete)
    return len({name for names in left.values() for name in names})


def _put_away(
    feature_set: FeatureSet, successors: Mapping[str, Sequence[str]], *, delete: bool
) -> None:
    """Move the shards aside whose successor is, read from the disk, what its name says."""
    folder = feature_set.path / SHARDS_FOLDER
    with told_in_a_sentence(folder, 0):
        for successor, names in successors.items():
            if not is_named_by_its_bytes(folder / successor):
                raise IntegrityError(
                    f"{feature_set.name}: the packed shard {successor} does not read back as it "
                    "was written; nothing was moved. Suspect the disk"
                )
            commit.on_step("pack-checked")
            for name in names:
                with suppress(FileNotFoundError):  # another pack has moved it
                    if delete:
                        (folder / name).unlink()
                    else:
                        commit.set_aside(folder / name, folder=feature_set.path)
                commit.on_step("pack-one-aside")
        if successors:
            fsync_folder(folder)
        commit.on_step("pack-aside")
