"""Which reels are meant: files, folders, and CSV files that list them."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from basket.dataset import parse_reel_name
from basket.dataset.layout import VIDEO_SUFFIXES
from basket.errors import LabelError, UsageError
from basket.extract.decoding import Source
from basket.extract.sources import find_sources, source_named

#: Headers of the column that names the video; without any of them it is the first column.
_PATH_COLUMNS = ("path", "video", "video_id", "file")

Say = Callable[[str], None]


def find_reels(
    arguments: Sequence[str | Path],
    *,
    video_root: str | Path | None = None,
    say: Say = lambda _: None,
) -> list[Source]:
    """The reels that some arguments mean, each once, in the order of the arguments.

    A file in BASKET's layout keeps its season, league and player in its id, wherever the data set
    lies.

    Parameters
    ----------
    arguments : sequence of path
        Video files, folders of them, and CSV files (``.csv``) with a video path in each row: label
        files, or any table with a column ``path`` or else the path in its first column.
    video_root : path, optional
        Folder that ids and the paths in CSV files are relative to.
    say : callable
        Receives sentences about what was chosen.

    Returns
    -------
    list of Source
        A video of a CSV file need not exist: its features may be in a cache.

    Raises
    ------
    UsageError
        Nothing there, or a named file does not exist.
    LabelError
        A CSV file lists no videos.
    """
    paths = [Path(each) for each in arguments]
    if not paths:
        raise UsageError("Name a video, a folder of videos or a CSV file that lists some")
    reels: dict[str, Source] = {}
    named = [path for path in paths if path.suffix.lower() != ".csv"]
    for source in find_sources(named, video_root=video_root, say=say) if named else []:
        known = _with_basket_id(source) if video_root is None else source
        # Two copies of the data set would give two files one name: then the longer names stay.
        reels.setdefault(known.video_id if known.video_id not in reels else source.video_id, known)
    for path in paths:
        if path.suffix.lower() == ".csv":
            for source in _listed(path, video_root):
                _require_same_file(reels.setdefault(source.video_id, source), source, path)
    return [replace(source, video_id=video_id) for video_id, source in reels.items()]


def _require_same_file(known: Source, listed: Source, listing: Path) -> None:
    """Refuse two videos of one name; files that are nowhere may be one video of a cache.

    In BASKET a name says who plays, wherever the file lies.
    """
    if known.path.resolve() == listed.path.resolve():
        return
    there = known.path.exists() or listed.path.exists()
    if there and not parse_reel_name(listed.video_id):
        raise UsageError(
            f"{listing} lists {listed.video_id} as {listed.path}, and {known.path} has that name "
            "too; name the folder above both as --video-root and list both relative to it, or "
            "predict them one after the other"
        )


def _with_basket_id(source: Source) -> Source:
    name = "/".join(source.path.absolute().parts[-3:])
    return replace(source, video_id=name) if parse_reel_name(name) else source


def _listed(path: Path, video_root: str | Path | None) -> list[Source]:
    names = _names_in(path)
    root = Path(video_root) if video_root is not None else _root_of(names, path)
    sources = []
    for name in names:
        given = Path(name)
        relative = Path(os.path.relpath(given, root)).as_posix() if given.is_absolute() else name
        sources.append(source_named(root, relative))
    return sources


def _names_in(path: Path) -> list[str]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); give a CSV file") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise LabelError(f"{path} is no CSV file in UTF-8 ({error})") from error
    header = [cell.strip().casefold() for cell in rows[0]] if rows else []
    column = next((header.index(name) for name in _PATH_COLUMNS if name in header), 0)
    if header and not _is_video(header[column]):
        rows = rows[1:]
    names = [row[column].strip() if column < len(row) else "" for row in rows]
    wrong = next((line for line, name in enumerate(names, 2) if not _is_video(name)), None)
    if not names or wrong is not None:
        where = "it has no rows" if not names else f"row {wrong} names {names[wrong - 2]!r}"  # type: ignore[operator]
        raise LabelError(
            f"{path} does not list videos: {where}; put a video path into a column 'path' or into "
            "the first column of every row"
        )
    return list(dict.fromkeys(names))


def _is_video(name: str) -> bool:
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _root_of(names: Sequence[str], listing: Path) -> Path:
    """The first of these folders in which a listed file lies; else that of the CSV file."""
    folders = [listing.absolute().parent, Path().absolute()]
    folders += list(folders[0].parents)[:3]
    if os.environ.get("BASKET_ROOT"):
        folders.insert(0, Path(os.environ["BASKET_ROOT"]))
    probes = names[:50]
    found = (root for root in folders if any((root / name).is_file() for name in probes))
    return next(found, folders[0])
