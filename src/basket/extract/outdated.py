"""Films that rows of basket 0.1 show otherwise than they are read now, found by a look at each.

Its rows record no rules of decoding. Most films are read as they were, and their rows stay. Only a
mirrored display matrix, a hole or a jump in a recording, and another choice of stream change
pictures; a look costs one open file, and a pass over the packets of a recording. What was looked at
and is the same is noted in the feature set, so that nothing is looked at twice.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from basket.cache import FeatureSet
from basket.cache.durable import told_in_a_sentence
from basket.cores import usable_cores
from basket.errors import VideoError

#: File in a feature set: the ids of films that are read as they were, one JSON text a line.
LOOKED_AT = "looked_at.jsonl"


def is_read_otherwise(path: Path) -> bool:
    """Whether basket 0.1 showed other pictures of a film, or showed them at other times."""
    from basket.extract.decode.index import CLOCK_MAY_JUMP, open_stream, scan_packets
    from basket.extract.decode.pictures import orientation_of

    with suppress(VideoError), open_stream(path) as (container, stream):
        if container.streams.best("video") is not stream:
            return True
        first = next(container.decode(stream), None)
        if first is not None and orientation_of(first)[1]:
            return True
        if container.format.flags & CLOCK_MAY_JUMP:
            container.seek(0)
            return scan_packets(container, stream).is_mended
    return False


def outdated(
    films: Sequence[tuple[str, Path]],
    sets: Sequence[FeatureSet],
    say: Callable[[str], None] | None = None,
) -> frozenset[str]:
    """Ids of those films that are read otherwise now.

    Parameters
    ----------
    films : sequence of (str, Path)
        Id and file of films with features of basket 0.1.
    sets : sequence of FeatureSet
        Where those are; what was looked at is noted there.
    say : callable, optional
        Receives what is done; without it nothing is noted either.
    """
    known = [_looked_at(each.path / LOOKED_AT) for each in sets]
    new = [film for film in films if not all(film[0] in ids for ids in known)]
    if not new:
        return frozenset()
    if say is not None:
        say(
            f"Looking once at {len(new)} videos that an earlier basket read, for what it read wrong"
        )
    with ThreadPoolExecutor(usable_cores()) as threads:
        is_otherwise = list(threads.map(is_read_otherwise, (path for _, path in new)))
    found = frozenset(film[0] for film, changed in zip(new, is_otherwise, strict=True) if changed)
    if say is None:
        return found
    same = "".join(f"{json.dumps(film[0])}\n" for film in new if film[0] not in found)
    for each in sets:
        note = each.path / LOOKED_AT
        with told_in_a_sentence(note, len(same)), note.open("a", encoding="utf-8") as file:
            file.write(same)
    if found:
        say(
            f"{len(found)} of them (mirrored, with holes or jumps, or of several streams) are read "
            "otherwise now and extracted again; see docs/decoding.md"
        )
    return found


def _looked_at(note: Path) -> set[str]:
    found = set()
    with suppress(OSError):
        for line in note.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):  # torn: looked at once more
                found.add(json.loads(line))
    return found
