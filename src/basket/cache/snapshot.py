"""Which row of which shard speaks for each video, once it is known what is published.

Rows of one id that stem from the same source file (size, modification time, and content hash where
one was recorded) form a group. The group committed last is the current one: a reader cannot look at
the videos, but a row is only ever written for the file as it was found, so what was extracted last
is what the file was last. (The larger modification time would be wrong for a video that was
restored to an older version.) Rows for a file that was not there never outrank those of one that
was. Within a group a row that records the rules of its decoding beats one that does not (of basket
0.1), ok beats failed, then the smallest shard name wins; of failed rows the one with most attempts.
``committed_ns`` is the clock, but always later than every row the writer knew of, so that machines
whose clocks disagree still agree on the order.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from basket.cache.manifest import Entry, Stamp
from basket.cache.rows import ShardIndex

#: A stamp that lies further ahead was written by no clock: it outranks nothing.
CLOCKS_DIFFER_NS = 24 * 3600 * 10**9

_NOTE = '"note": '  # as it stands in the provenance of a row that has one


class Place(NamedTuple):
    """A row: the shard's number in :attr:`Snapshot.names`, and the position in the shard."""

    shard: int
    position: int


@dataclass(frozen=True)
class Snapshot:
    """A feature set as it stood when its folder was last looked at. Immutable.

    Parameters
    ----------
    shards : mapping of str to Entry
        Published shards whose bytes match their names.
    damaged : mapping of str to str
        Shards that cannot be used, and why.
    damaged_stamps : mapping of str to Stamp
        By which a damaged shard is not hashed again while nobody touches it.
    suspects : tuple of Entry
        What the manifest says was in the damaged shards.
    """

    shards: Mapping[str, Entry] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    damaged_stamps: Mapping[str, Stamp] = field(default_factory=dict)
    suspects: tuple[Entry, ...] = ()

    @cached_property
    def names(self) -> list[str]:
        """File names of the shards, sorted; places count along this list."""
        return sorted(self.shards)

    def index(self, place: Place) -> ShardIndex:
        """Index of the shard that a place lies in."""
        return self.shards[self.names[place.shard]].index

    @cached_property
    def places(self) -> dict[str, list[Place]]:
        """All rows of each id, in order of shard name."""
        found: dict[str, list[Place]] = {}
        for number, name in enumerate(self.names):
            for position, video_id in enumerate(self.shards[name].index.video_ids):
                found.setdefault(video_id, []).append(Place(number, position))
        return found

    @cached_property
    def current(self) -> dict[str, Place]:
        """The row that speaks for each id, ids in sorted order."""
        return {
            video_id: places[0] if len(places) == 1 else self._winner(places)
            for video_id, places in sorted(self.places.items())
        }

    def _winner(self, places: list[Place]) -> Place:
        groups: dict[tuple[int, int, str], list[Place]] = {}
        for place in places:
            index = self.index(place)
            source = (*index.source(place.position), index.content(place.position))
            groups.setdefault(source, []).append(place)
        current = max(
            groups,
            key=lambda source: (
                source[0] >= 0,
                max(self._committed_ns(place) for place in groups[source]),
                source,
            ),
        )
        return min(groups[current], key=self._rank_in_group)

    def _committed_ns(self, place: Place) -> int:
        stamp = int(self.index(place).columns["committed_ns"][place.position])
        return stamp if stamp <= time.time_ns() + CLOCKS_DIFFER_NS else -1

    def _rank_in_group(self, place: Place) -> tuple[bool, int, int, Place]:
        index = self.index(place)
        failed = index.columns["status"][place.position]
        is_old = not index.has_decoding_rules(place.position)
        return is_old, failed, -index.columns["attempts"][place.position] if failed else 0, place

    @cached_property
    def ok(self) -> dict[str, Place]:
        """The current rows that have features, ids in sorted order."""
        return {
            video_id: place
            for video_id, place in self.current.items()
            if not self.index(place).columns["status"][place.position]
        }

    @cached_property
    def failed(self) -> dict[str, str]:
        """The current rows that have none: id to reason."""
        return {
            video_id: self.index(place).columns["reason"][place.position]
            for video_id, place in self.current.items()
            if self.index(place).columns["status"][place.position]
        }

    @cached_property
    def notes(self) -> dict[str, str]:
        """What a person should know of current rows that have features: id to note."""
        texts = (
            (video_id, self.index(place).columns["provenance"][place.position])
            for video_id, place in self.ok.items()
        )
        found = (
            (video_id, json.loads(text).get("note")) for video_id, text in texts if _NOTE in text
        )
        return {video_id: str(note) for video_id, note in found if note}

    @cached_property
    def newest_ns(self) -> int:
        """The latest ``committed_ns`` of all rows that some clock may have shown; else 0."""
        last_ns = time.time_ns() + CLOCKS_DIFFER_NS
        return max(
            (
                stamp
                for entry in self.shards.values()
                for stamp in entry.index.columns["committed_ns"]
                if stamp <= last_ns
            ),
            default=0,
        )

    def spans(self, video_ids: Iterable[str]) -> npt.NDArray[np.int64]:
        """Shard number, first segment and number of segments of ok videos, int64, (n, 3).

        Raises
        ------
        KeyError
            An id that has no features.
        """
        table, row_of = self._span_table
        rows = np.fromiter((row_of[video_id] for video_id in video_ids), dtype=np.int64)
        return table[rows]

    @cached_property
    def _span_table(self) -> tuple[npt.NDArray[np.int64], dict[str, int]]:
        table = np.empty((len(self.ok), 3), dtype=np.int64)
        for row, place in enumerate(self.ok.values()):
            offsets = self.index(place).offsets
            start, stop = offsets[place.position], offsets[place.position + 1]
            table[row] = place.shard, start, stop - start
        return table, {video_id: row for row, video_id in enumerate(self.ok)}

    @cached_property
    def unaccounted(self) -> dict[str, str]:
        """Damaged shards whose videos have not all been extracted again, and why they are damaged.

        A damaged shard whose every row is known from the manifest, and is matched by an intact row
        as good or newer, hides nothing: it still counts as damaged, but keeps nobody from reading.
        """
        known = {entry.shard: entry for entry in self.suspects}
        return {
            name: why
            for name, why in self.damaged.items()
            if name not in known or not self._is_made_good(known[name].index)
        }

    @cached_property
    def hidden(self) -> tuple[str, ...]:
        """Ids that a damaged shard is known to have held and that no intact row makes good."""
        return tuple(
            sorted(
                {
                    video_id
                    for lost in self.suspects
                    for position, video_id in enumerate(lost.index.video_ids)
                    if video_id not in self.current
                    or not self._outdoes(self.current[video_id], lost.index, position)
                }
            )
        )

    def _is_made_good(self, lost: ShardIndex) -> bool:
        return all(
            video_id in self.current and self._outdoes(self.current[video_id], lost, position)
            for position, video_id in enumerate(lost.video_ids)
        )

    def _outdoes(self, place: Place, lost: ShardIndex, position: int) -> bool:
        index = self.index(place)
        same_source = index.source(place.position) == lost.source(position)
        if same_source:
            return bool(index.columns["status"][place.position] <= lost.columns["status"][position])
        return self._committed_ns(place) >= int(lost.columns["committed_ns"][position])

    @cached_property
    def single(self) -> frozenset[str]:
        """Streams of which some shard has float32; all of their rows are handed out so."""
        return frozenset(name for entry in self.shards.values() for name in entry.index.single)

    def with_shards(self, entries: Iterable[Entry]) -> Snapshot:
        """What is known, and shards published since."""
        new = {entry.shard: entry for entry in entries}
        damaged = {name: why for name, why in self.damaged.items() if name not in new}
        return Snapshot({**self.shards, **new}, damaged, self.damaged_stamps, self.suspects)
