"""The folder that ids are relative to: one for all tables of a command, kept with the cache.

A root that is made up for each file alone gives two videos of one name in two folders one id, and
then test labels are scored on the features of training videos.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from basket.dataset.layout import parse_reel_name
from basket.errors import LabelError

_NO_PATH = {
    re.compile(r"\\\\|[A-Za-z]:[\\/]"): "is a path of Windows",
    re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/"): "is a URL",
    re.compile(r"~[^/]*/"): "begins with '~', which stands for no folder in a file",
}

#: Where a path stands (``train.csv line 3``), and the path.
Listed = tuple[str, str]


def ids_below_root(
    tables: Sequence[Sequence[Listed]], *, video_root: Path | None
) -> tuple[Path | None, list[list[str]]]:
    """Ids of the videos of all tables of a command, relative to one folder.

    Parameters
    ----------
    tables : sequence of sequence of (str, str)
    video_root : Path, optional
        Where the person says that it is; by default the common path of all tables.

    Returns
    -------
    root : Path or None
        None where all paths are relative.
    ids : list of list of str

    Raises
    ------
    LabelError
        A path that leaves the root, or is no path here; an id that would stand for two files.
    """
    paths = [[(where, _path(where, cell)) for where, cell in table] for table in tables]
    absolute = [path for table in paths for _, path in table if path.is_absolute()]
    root = video_root if video_root is not None or not absolute else _common_root(absolute)
    return root, [[_id(where, path, root) for where, path in table] for table in paths]


def _path(where: str, cell: str) -> PurePosixPath:
    """A path as it is listed, refusing what is no path below a folder of this machine."""
    for pattern, what in _NO_PATH.items():
        if pattern.match(cell):
            raise LabelError(
                f"{where}: {cell} {what}; write the path relative to the folder that holds all "
                "videos, for example 18-19/NBA/1_18_19.mp4, and name that folder with --video-root"
            )
    listed = PurePosixPath(cell.replace("\\", "/"))
    if not listed.parts or ".." in listed.parts:
        raise LabelError(
            f"{where}: {cell!r} is not a path below the video root; expected one such as "
            "18-19/NBA/1_18_19.mp4, without '..'"
        )
    return listed


def _common_root(paths: Sequence[PurePosixPath]) -> Path:
    """The folder above the season folders of absolute paths, or their common folder."""
    above = 2 if all(parse_reel_name(path.as_posix()) for path in paths) else 0
    return Path(os.path.commonpath([path.parents[above].as_posix() for path in paths]))


def _id(where: str, path: PurePosixPath, root: Path | None) -> str:
    if not path.is_absolute():
        return path.as_posix()
    for base in {root, root.resolve()} if root is not None else ():
        if path.is_relative_to(base.absolute().as_posix()):
            return path.relative_to(base.absolute().as_posix()).as_posix()
    raise LabelError(
        f"{where}: {path} does not lie under the video root {root}; give the folder that holds "
        "all videos as --video-root"
    )
