"""What a set of label files holds, before anybody spends GPU time on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.dataset.labels import LabelTable, guess_video_root, shared_players
from basket.dataset.layout import parse_reel_name, require_folder
from basket.notebook import html_table


@dataclass(frozen=True)
class TableOverview:
    """Counts of one label file.

    Parameters
    ----------
    path : Path
    videos, players : int
    seasons, leagues : tuple of str
        As far as the paths say.
    skills : tuple of str
    level_counts : tuple of tuple of int, (n_skills, K)
    missing_labels : tuple of int, (n_skills,)
    duplicates : tuple of str
        Ids that stood in several rows (with the same levels; one row was kept).
    missing_files : tuple of str or None
        Ids without a file to extract; None where no video root is known.
    """

    path: Path
    videos: int
    players: int
    seasons: tuple[str, ...]
    leagues: tuple[str, ...]
    skills: tuple[str, ...]
    level_counts: tuple[tuple[int, ...], ...]
    missing_labels: tuple[int, ...]
    duplicates: tuple[str, ...]
    missing_files: tuple[str, ...] | None


@dataclass(frozen=True)
class LabelOverview:
    """Counts of several label files, and the players they share.

    Parameters
    ----------
    video_root : Path or None
    tables : tuple of TableOverview
    shared_players : dict
        Pair of positions in ``tables`` to the sorted keys of players in both.
    """

    video_root: Path | None
    tables: tuple[TableOverview, ...]
    shared_players: dict[tuple[int, int], list[str]]

    def __repr__(self) -> str:
        files = ", ".join(f"{table.path.name} {table.videos}" for table in self.tables)
        return f"LabelOverview(videos: {files}; {len(self.shared_players)} pairs share players)"

    def _repr_html_(self) -> str:
        columns = ("file", "videos", "players", "no file", "twice")
        rows = [
            (
                str(table.path),
                table.videos,
                table.players,
                None if table.missing_files is None else len(table.missing_files),
                len(table.duplicates),
            )
            for table in self.tables
        ]
        paths = [str(table.path) for table in self.tables]
        notes = [
            f"{len(players)} players are in {paths[first]} and {paths[second]}"
            for (first, second), players in self.shared_players.items()
        ]
        return html_table("Label files", columns, rows, notes=notes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "video_root": None if self.video_root is None else str(self.video_root),
            "tables": [
                {
                    **vars(table),
                    "path": str(table.path),
                    "level_counts": dict(zip(table.skills, table.level_counts, strict=True)),
                    "missing_labels": dict(zip(table.skills, table.missing_labels, strict=True)),
                }
                for table in self.tables
            ],
            "shared_players": [
                {
                    "tables": [str(self.tables[first].path), str(self.tables[second].path)],
                    "players": players,
                }
                for (first, second), players in self.shared_players.items()
            ],
        }


def overview(tables: Sequence[LabelTable], *, video_root: Path | None = None) -> LabelOverview:
    """Count labels, levels, players and files.

    Parameters
    ----------
    tables : sequence of LabelTable
    video_root : Path, optional
        Where the videos are; guessed from the files where it is not given.
    """
    if video_root is not None:
        require_folder(video_root)
    root = video_root or guess_video_root(tables)
    return LabelOverview(
        video_root=root,
        tables=tuple(_table_overview(table, root) for table in tables),
        shared_players=shared_players(tables),
    )


def unused_end(level_counts: Sequence[npt.ArrayLike]) -> str:
    """A sentence where no label has the first or the last level: mostly the scale is another one.

    Parameters
    ----------
    level_counts : sequence of array_like of int, (n_skills, K)
        Of each label file; together they are one data set.

    Returns
    -------
    str
        Empty where all is well.

    Examples
    --------
    >>> unused_end([[[3, 2, 4]], [[0, 2, 2]]])
    ''
    >>> unused_end([[[3, 2, 0, 0]]])
    'No label is above 1: where that is the best level, say so with --levels 2'
    """
    counts = np.sum([np.sum(each, axis=0) for each in level_counts], axis=0)
    used = np.flatnonzero(counts)
    if used.size < 2:  # nobody can tell a scale from that
        return ""
    lowest, highest = used[0], used[-1]
    if lowest > 0:
        return (
            f"No label is below {lowest}: levels count from 0, so subtract {lowest} from all where "
            "that is the lowest level"
        )
    if highest + 1 < counts.size:
        return (
            f"No label is above {highest}: where that is the best level, say so with --levels "
            f"{highest + 1}"
        )
    return ""


def _table_overview(table: LabelTable, root: Path | None) -> TableOverview:
    reels = [reel for name in table.video_ids if (reel := parse_reel_name(name))]
    return TableOverview(
        path=table.path,
        videos=len(table),
        players=len(set(table.players)),
        seasons=tuple(sorted({reel.season for reel in reels})),
        leagues=tuple(sorted({reel.league for reel in reels})),
        skills=table.skills,
        level_counts=tuple(tuple(row) for row in table.level_counts().tolist()),
        missing_labels=tuple((table.levels < 0).sum(axis=0).tolist()),
        duplicates=table.duplicates,
        missing_files=None if root is None else tuple(table.missing_files(root)),
    )
