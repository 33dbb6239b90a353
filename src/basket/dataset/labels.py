"""Label tables: a CSV file of paths and ordinal levels, read strictly.

The format is BASKET's: one header line, then ``path,level,level,...``. Any number of skills, named
by the header; levels are ``0..K-1``; an empty cell or ``-1`` is a missing label. Whatever cannot be
meant is an error that names file, line and column: a label read wrongly is worse than none.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from basket.dataset.layout import parse_reel_name, player_key, resolve_video
from basket.dataset.skills import N_LEVELS
from basket.errors import LabelError, NotThereError

MISSING = -1
_MISSING_WORDS = frozenset({"", "nan", "na", "none", "null"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


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
    levels : ndarray, int8, (n, n_skills)
        ``0..n_levels-1``, or -1 where missing.
    n_levels : int
        K.
    duplicates : tuple of str
        Ids that stood in more than one row with the same levels (one row was kept).
    """

    path: Path
    sha256: str
    video_root: Path | None
    video_ids: tuple[str, ...]
    skills: tuple[str, ...]
    levels: npt.NDArray[np.int8]
    n_levels: int = N_LEVELS
    duplicates: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.video_ids)

    def __repr__(self) -> str:
        return (
            f"LabelTable({str(self.path)!r}: {len(self)} videos, {len(self.skills)} skills of "
            f"{self.n_levels} levels)"
        )

    @cached_property
    def players(self) -> tuple[str, ...]:
        """The person in each video, ``league/player``; a foreign path is a person of its own."""
        return tuple(player_key(video_id) for video_id in self.video_ids)

    def level_counts(self) -> npt.NDArray[np.int64]:
        """How often each level occurs, int64, (n_skills, K)."""
        levels = np.arange(self.n_levels)
        return np.asarray((self.levels[:, :, None] == levels).sum(axis=0), dtype=np.int64)

    def missing_files(self, video_root: Path) -> list[str]:
        """Ids whose file is absent, empty, or a link out of ``video_root``: not to be extracted."""
        return [name for name in self.video_ids if not _has_bytes(video_root, name)]


def read_labels(
    path: str | Path, *, video_root: str | Path | None = None, n_levels: int = N_LEVELS
) -> LabelTable:
    """Read one label file.

    Parameters
    ----------
    path : path
        CSV with one header line; comma, semicolon or tab.
    video_root : path, optional
        Folder the paths are relative to. Absolute paths must lie under it. When it is not given
        and the file has absolute paths, it is inferred from them.
    n_levels : int, default=5
        K; a level outside ``0..K-1`` is an error.

    Raises
    ------
    NotThereError
        No such file.
    LabelError
        File empty, wrong number of columns, a level that is no whole number in range, a
        path that leaves the video root, one video with two different sets of levels.
    """
    path = Path(path)
    raw = _read_bytes(path)
    header, rows = _split_rows(path, raw)
    skills = _skill_names(path, header)
    root = Path(video_root) if video_root is not None else _infer_root(rows)
    ids = [_video_id(path, line, row[0], root) for line, row in rows]
    levels = np.array(
        [_levels(path, line, row, skills, n_levels) for line, row in rows], dtype=np.int8
    ).reshape(len(rows), len(skills))
    kept, duplicates = _unique(path, ids, levels, [line for line, _ in rows])
    return LabelTable(
        path=path,
        sha256=hashlib.sha256(raw).hexdigest(),
        video_root=root,
        video_ids=tuple(ids[index] for index in kept),
        skills=skills,
        levels=levels[kept],
        n_levels=n_levels,
        duplicates=duplicates,
    )


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


def _read_bytes(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise NotThereError(f"There is no label file {path}; check the path") from None
    except IsADirectoryError:
        raise NotThereError(f"{path} is a folder; name its label files: {path}/*.csv") from None
    except OSError as error:
        raise LabelError(f"The label file {path} cannot be read: {error.strerror}") from error
    if not raw.strip():
        raise LabelError(f"The label file {path} is empty; expected a header and rows of levels")
    return raw


def _split_rows(path: Path, raw: bytes) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Header and ``(line number, cells)`` of every row that is not blank."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise LabelError(
            f"{path} is not UTF-8 text (byte {error.start}); save it as CSV in UTF-8"
        ) from None
    first_line = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=first_line.count)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        lines = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    except csv.Error as error:
        raise LabelError(f"{path} is not a CSV file: {error}") from None
    lines = [(number, row) for number, row in lines if any(row)]
    for number, row in lines:
        if strange := next((cell for cell in row if _CONTROL.search(cell)), None):
            # A terminal would do what it says: clear the screen, or rename the window.
            raise LabelError(
                f"{path} line {number}: {strange!r} contains a control character; remove it"
            )
    (_, header), rows = lines[0], lines[1:]
    if not rows and not any(_is_number(name) for name in header[1:]):
        raise LabelError(f"{path} has a header and no rows; expected one row per video")
    for number, row in rows:
        if len(row) != len(header):
            raise LabelError(
                f"{path} line {number} has {len(row)} columns, the header has {len(header)} "
                f"({header[0]} and {len(header) - 1} skills); correct that line"
            )
    return header, rows


def _skill_names(path: Path, header: list[str]) -> tuple[str, ...]:
    skills = tuple(header[1:])
    if not skills:
        raise LabelError(f"{path} has one column; expected a path and at least one skill")
    if any(_is_number(name) for name in skills):
        raise LabelError(
            f"{path} seems to have no header line (its first line is {','.join(header)[:60]!r}); "
            "the first line must name the skills"
        )
    repeated = {name for name in skills if skills.count(name) > 1}
    if repeated or "" in skills:
        raise LabelError(f"{path} names a skill twice or not at all in its header: {skills}")
    return skills


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _levels(
    path: Path, line: int, row: list[str], skills: tuple[str, ...], n_levels: int
) -> list[int]:
    levels = []
    for skill, cell in zip(skills, row[1:], strict=True):
        try:
            value = MISSING if cell.lower() in _MISSING_WORDS else float(cell)
            level = int(value)
        except (ValueError, OverflowError):
            level, value = 0, float("nan")
        if level != value or not MISSING <= level < n_levels:
            raise LabelError(
                f"{path} line {line}, {skill}: {cell!r} is not a level; expected a whole number "
                f"0 to {n_levels - 1}, or -1 or nothing where it is missing "
                "(--levels K sets another scale)"
            )
        levels.append(level)
    return levels


def _video_id(path: Path, line: int, cell: str, root: Path | None) -> str:
    """Turn a cell into a path relative to the root, refusing whatever leaves it."""
    listed = PurePosixPath(cell.replace("\\", "/"))
    where = f"{path} line {line}: "
    if not cell or ".." in listed.parts:
        raise LabelError(
            f"{where}{cell!r} is not a path below the video root; expected one such as "
            "18-19/NBA/1_18_19.mp4, without '..'"
        )
    if not listed.is_absolute():
        return listed.as_posix()
    for base in {root, root.resolve()} if root is not None else ():
        if listed.is_relative_to(base.absolute().as_posix()):
            return listed.relative_to(base.absolute().as_posix()).as_posix()
    raise LabelError(
        f"{where}{cell} does not lie under the video root {root}; give the folder that holds "
        "all videos as --video-root"
    )


def _infer_root(rows: list[tuple[int, list[str]]]) -> Path | None:
    """The folder above the season folders of absolute paths, or their common folder."""
    absolute = [PurePosixPath(row[0]) for _, row in rows if row[0].startswith("/")]
    if not absolute:
        return None
    if all(parse_reel_name(listed.as_posix()) for listed in absolute):
        folders = {listed.parents[2] for listed in absolute}
    else:
        folders = {listed.parent for listed in absolute}
    return Path(os.path.commonpath([folder.as_posix() for folder in folders]))


def _unique(
    path: Path, ids: list[str], levels: npt.NDArray[np.int8], lines: list[int]
) -> tuple[list[int], tuple[str, ...]]:
    """Positions of the rows to keep, and the ids that were repeated with the same levels."""
    first: dict[str, int] = {}
    duplicates: dict[str, None] = {}
    for index, name in enumerate(ids):
        seen = first.setdefault(name, index)
        if seen == index:
            continue
        if not np.array_equal(levels[seen], levels[index]):
            raise LabelError(
                f"{path} lines {lines[seen]} and {lines[index]} give {name} different levels; "
                "keep one of them"
            )
        duplicates[name] = None
    return list(first.values()), tuple(duplicates)


def _has_bytes(root: Path, name: str) -> bool:
    try:
        return (file := resolve_video(root, name)).is_file() and file.stat().st_size > 0
    except (OSError, LabelError):
        return False
