"""Label tables: a CSV file of paths and ordinal levels, read strictly.

The format is BASKET's: one header line, then ``path,level,level,...``. Any number of skills, named
by the header; levels are ``0..K-1``; an empty cell or ``-1`` is a missing label. Whatever cannot be
meant is an error that names file, line and column: a label read wrongly is worse than none.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.dataset.delimited import read_rows
from basket.dataset.layout import player_key, resolve_video
from basket.dataset.roots import ids_below_root
from basket.dataset.skills import N_LEVELS
from basket.errors import LabelError, UsageError
from basket.registry import nearest

#: K at most: levels are stored in 16 bits.
MAX_LEVELS = 2**15
MISSING = -1
_MISSING_WORDS = frozenset({"", "nan", "na", "none", "null"})
#: ``2``, ``3.0``, ``2,0`` (a spreadsheet of a country that writes so).
_LEVEL = re.compile(r"([+-]?\d{1,9})([.,]0*)?")


@dataclass(frozen=True)
class LabelTable:
    """Levels of n videos in several skills.

    Parameters
    ----------
    path : Path
        The file it was read from.
    sha256 : str
        Hash of that file's bytes.
    video_root : Path or None
        Folder that the ids are relative to, where it is known.
    video_ids : tuple of str
        Paths relative to the video root, with forward slashes; unique.
    skills : tuple of str
        Names, in the order of the header.
    levels : ndarray, int8 or (more than 128 levels) int16, (n, n_skills)
        ``0..n_levels-1``, or -1 where missing.
    n_levels : int
        K.
    duplicates : tuple of str
        Ids that stood in more than one row with the same levels (one row was kept).
    named_players : tuple of str
        The person in each video, of a column of the file; empty where the paths say it.
    """

    path: Path
    sha256: str
    video_root: Path | None
    video_ids: tuple[str, ...]
    skills: tuple[str, ...]
    levels: npt.NDArray[np.signedinteger]
    n_levels: int = N_LEVELS
    duplicates: tuple[str, ...] = ()
    named_players: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.video_ids)

    def __repr__(self) -> str:
        return (
            f"LabelTable({str(self.path)!r}: {len(self)} videos, {len(self.skills)} skills of "
            f"{self.n_levels} levels)"
        )

    @cached_property
    def players(self) -> tuple[str, ...]:
        """The person in each video: of the player column, or as the layout says.

        That is ``league/player``; a foreign path is a person of its own.
        """
        return self.named_players or tuple(player_key(each) for each in self.video_ids)

    def level_counts(self) -> npt.NDArray[np.int64]:
        """How often each level occurs, int64, (n_skills, K)."""
        counts = [
            np.bincount(column[column >= 0], minlength=self.n_levels) for column in self.levels.T
        ]
        return np.array(counts, dtype=np.int64).reshape(len(self.skills), self.n_levels)

    def missing_files(self, video_root: Path) -> list[str]:
        """Ids whose file is absent, empty, or a link out of ``video_root``: not to be extracted."""
        return [name for name in self.video_ids if not _has_bytes(video_root, name)]


def read_labels(
    path: str | Path,
    *,
    video_root: str | Path | None = None,
    n_levels: int = N_LEVELS,
    player: str | None = None,
) -> LabelTable:
    """Read one label file; several of one data set: :func:`read_tables`.

    Parameters
    ----------
    path : path
        CSV with one header line, of any delimiter.
    video_root : path, optional
        Folder the paths are relative to. Absolute paths must lie under it. When it is not given
        and the file has absolute paths, it is inferred from them.
    n_levels : int, default=5
        K; a level outside ``0..K-1`` is an error.
    player : str, optional
        Column that names the person in each video; by default the paths do (:func:`player_key`).

    Raises
    ------
    NotThereError
        No such file.
    LabelError
        File empty, wrong number of columns, a level that is no whole number in range, a
        path that leaves the video root, one video with two different sets of levels.
    """
    return read_tables([path], video_root=video_root, n_levels=n_levels, player=player)[0]


def read_tables(
    paths: Sequence[str | Path],
    *,
    video_root: str | Path | None = None,
    n_levels: int = N_LEVELS,
    player: str | None = None,
    ids_only: bool = False,
) -> list[LabelTable]:
    """Read the label files of one command, whose ids are relative to one folder.

    Parameters
    ----------
    paths : sequence of path
    video_root, n_levels, player
        As :func:`read_labels`.
    ids_only : bool, default=False
        The videos are wanted and not their levels: columns without any number are passed over.

    Raises
    ------
    NotThereError, LabelError
        As :func:`read_labels`; or one id would stand for two different files.
    UsageError
        ``n_levels`` is out of bounds.
    """
    if not 2 <= n_levels <= MAX_LEVELS:
        raise UsageError(f"A scale has 2 to {MAX_LEVELS} levels (--levels K), got {n_levels}")
    files = [_File.read(Path(path)) for path in paths]
    root, ids = ids_below_root(
        [list(zip(file.places(), file.listed, strict=True)) for file in files],
        video_root=None if video_root is None else Path(video_root),
    )
    return [
        file.table(names, root=root, n_levels=n_levels, player=player, ids_only=ids_only)
        for file, names in zip(files, ids, strict=True)
    ]


def read_splits(
    files: Mapping[str, str | Path | None],
    *,
    skills: Sequence[str] = (),
    video_root: str | Path | None = None,
    n_levels: int = N_LEVELS,
    player: str | None = None,
) -> dict[str, LabelTable]:
    """Read the label files that are learned from or scored on, with columns matched by name.

    Parameters
    ----------
    files : mapping of str to path or None
        Name of the split to its file; None where there is none.
    skills : sequence of str
        The columns and their order, of the first file by default.
    video_root, n_levels, player
        As :func:`read_labels`.

    Raises
    ------
    NotThereError, LabelError, UsageError
        As :func:`read_tables`. UsageError too where a file has other skills.
    """
    named = {name: path for name, path in files.items() if path is not None}
    tables = read_tables(
        list(named.values()), video_root=video_root, n_levels=n_levels, player=player
    )
    skills = tuple(skills) or tables[0].skills
    return {name: _in_order(skills, table, name) for name, table in zip(named, tables, strict=True)}


def _in_order(skills: tuple[str, ...], table: LabelTable, name: str) -> LabelTable:
    missing = [each for each in skills if each not in table.skills]
    surplus = [each for each in table.skills if each not in skills]
    if missing or surplus:
        told = [f"missing: {', '.join(missing[:5])}"] if missing else []
        told += [f"unknown: {each}{nearest(each, missing)}" for each in surplus[:5]]
        raise UsageError(
            f"The skills of {name} ({table.path}) are not those of the training labels "
            f"({'; '.join(told)}); give its columns the same names"
        )
    order = [table.skills.index(skill) for skill in skills]
    return replace(table, skills=skills, levels=table.levels[:, order])


@dataclass(frozen=True)
class _File:
    """A label file as text: the numbers of its lines, the paths listed there, and its columns."""

    path: Path
    raw: bytes
    lines: list[int]
    listed: list[str]
    columns: dict[str, list[str]]

    @classmethod
    def read(cls, path: Path) -> _File:
        raw, rows = read_rows(path)
        header = rows.pop(0)[1]
        _check_header(path, header)
        if not rows:
            raise LabelError(f"{path} has a header and no rows; expected one row per video")
        for number, row in rows:
            if len(row) != len(header):
                raise LabelError(
                    f"{path} line {number} has {len(row)} columns, the header has {len(header)} "
                    f"({header[0]} and {len(header) - 1} skills); correct that line"
                )
        listed, *columns = (list(cells) for cells in zip(*(row for _, row in rows), strict=True))
        lines = [number for number, _ in rows]
        return cls(path, raw, lines, listed, dict(zip(header[1:], columns, strict=True)))

    def places(self) -> list[str]:
        return [f"{self.path} line {line}" for line in self.lines]

    def table(
        self,
        ids: list[str],
        *,
        root: Path | None,
        n_levels: int,
        player: str | None,
        ids_only: bool,
    ) -> LabelTable:
        columns = dict(self.columns)
        players = () if player is None else tuple(self._players(player))
        columns.pop(player or "", None)
        if ids_only:
            numbers = {
                name: cells for name, cells in columns.items() if any(map(_LEVEL.fullmatch, cells))
            }
            columns = numbers or columns
        levels = np.array(
            [self._levels(name, n_levels) for name in columns],
            dtype=np.min_scalar_type(-n_levels),
        ).T.reshape(len(ids), len(columns))
        said = list(zip(levels.tolist(), players or ids, strict=True))
        kept, duplicates = self._unique(ids, said)
        return LabelTable(
            path=self.path,
            sha256=hashlib.sha256(self.raw).hexdigest(),
            video_root=root,
            video_ids=tuple(ids[row] for row in kept),
            skills=tuple(columns),
            levels=levels[kept],
            n_levels=n_levels,
            duplicates=duplicates,
            named_players=tuple(players[row] for row in kept) if players else (),
        )

    def _players(self, column: str) -> list[str]:
        if column not in self.columns:
            known = list(self.columns)
            hint = nearest(column, known) or f"; it has {', '.join(known[:5])}"
            raise LabelError(f"{self.path} has no column {column!r} (--player){hint}")
        if "" in (cells := self.columns[column]):
            place = self.places()[cells.index("")]
            raise LabelError(f"{place} names no {column}; say who is in that video")
        return cells

    def _levels(self, skill: str, n_levels: int) -> list[int]:
        levels = []
        for place, cell in zip(self.places(), self.columns[skill], strict=True):
            level = _level(cell)
            if level is None or not MISSING <= level < n_levels:
                raise LabelError(
                    f"{place}, {skill}: {cell!r} is not a level; expected a whole number 0 to "
                    f"{n_levels - 1}, or -1 or nothing where it is missing (--levels K sets "
                    "another scale, --player COLUMN says which column names persons)"
                )
            levels.append(level)
        return levels

    def _unique(
        self, ids: list[str], said: list[tuple[list[int], str]]
    ) -> tuple[list[int], tuple[str, ...]]:
        """Positions of the rows to keep, and the ids that were repeated with the same levels."""
        first: dict[str, int] = {}
        duplicates: dict[str, None] = {}
        for index, name in enumerate(ids):
            seen = first.setdefault(name, index)
            if seen == index:
                continue
            if said[seen] != said[index]:
                raise LabelError(
                    f"{self.path} lines {self.lines[seen]} and {self.lines[index]} give {name} "
                    "different levels; keep one of them"
                )
            duplicates[name] = None
        return list(first.values()), tuple(duplicates)


def shared_players(tables: Sequence[LabelTable]) -> dict[tuple[int, int], list[str]]:
    """Players that occur in two tables, by the pair's positions: a leak if one of them trains.

    Returns
    -------
    dict
        ``(i, j) -> sorted player keys``, only for pairs that share at least one.
    """
    players = [set(table.players) for table in tables]
    pairs = {
        (first, second): sorted(players[first] & players[second])
        for first in range(len(tables))
        for second in range(first + 1, len(tables))
    }
    return {pair: shared for pair, shared in pairs.items() if shared}


def guess_video_root(tables: Iterable[LabelTable]) -> Path | None:
    """Find the folder under which the listed files exist, when nobody said.

    Tried in order: a root the file itself implies, ``$BASKET_ROOT``, the current folder, the folder
    of the label file and its parents. None where no listed file exists in any of them.
    """
    for table in tables:
        if table.video_root is not None:
            return table.video_root
        candidates = [Path(), *list(table.path.resolve().parents)[:4]]
        if os.environ.get("BASKET_ROOT"):
            candidates.insert(0, Path(os.environ["BASKET_ROOT"]))
        probe = table.video_ids[:50]
        for root in candidates:
            if any((root / name).is_file() for name in probe):
                return root
    return None


def _check_header(path: Path, header: list[str]) -> None:
    if len(header) < 2:
        raise LabelError(f"{path} has one column; expected a path and at least one skill")
    if any(map(_LEVEL.fullmatch, header[1:])):
        raise LabelError(
            f"{path} seems to have no header line (its first line is {','.join(header)[:60]!r}); "
            "the first line must name the skills"
        )
    if len(set(header[1:])) < len(header) - 1 or "" in header[1:]:
        raise LabelError(f"{path} names a skill twice or not at all in its header: {header[1:]}")


def _level(cell: str) -> int | None:
    if cell.lower() in _MISSING_WORDS:
        return MISSING
    found = _LEVEL.fullmatch(cell)
    return int(found[1]) if found else None


def _has_bytes(root: Path, name: str) -> bool:
    try:
        return (file := resolve_video(root, name)).is_file() and file.stat().st_size > 0
    except (OSError, LabelError):
        return False
