"""Which videos are meant: named files and folders, the rows of label files, or BASKET's own."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from basket.cache.rows import fault_of_video_id
from basket.dataset import (
    N_LEVELS,
    find_basket,
    find_videos,
    guess_video_root,
    read_tables,
    require_folder,
    resolve_video,
)
from basket.errors import UNPRINTABLE, LabelError, NotThereError, UsageError
from basket.extract.decoding import Source


def find_sources(
    videos: Sequence[str | Path] = (),
    *,
    labels: Sequence[str | Path] = (),
    video_root: str | Path | None = None,
    n_levels: int = N_LEVELS,
    say: Callable[[str], None] = lambda _: None,
) -> list[Source]:
    """The videos that are meant: named ones, those of label files, or BASKET's own.

    Returns
    -------
    list of Source
        Unique ids, in the order of the arguments.

    Raises
    ------
    UsageError
        Nothing there, a named file does not exist, or nobody knows where the videos of a label
        file are.
    LabelError
        A label file is wrong.
    """
    if videos and labels:
        again = " ".join(f"--labels {each}" for each in (*labels, *videos))
        more = f"; for several label files: {again}" if _all_csv(videos) else ""
        raise UsageError(f"Give videos or --labels, not both{more}")
    if video_root is not None:
        require_folder(Path(video_root))
    if videos:
        return _named_sources([Path(each) for each in videos], video_root, say)
    if not labels:
        found = find_basket(None if video_root is None else Path(video_root))
        say(f"Videos of {', '.join(found.splits)} in {found.video_root.resolve()}")
        labels, video_root = list(found.splits.values()), found.video_root
    tables = read_tables(labels, video_root=video_root, n_levels=n_levels, ids_only=True)
    root = Path(video_root) if video_root is not None else guess_video_root(tables)
    if root is None:
        raise UsageError(
            f"None of the first videos listed in {tables[0].path} was found near it; "
            "name the folder the paths are relative to with --video-root"
        )
    ids = dict.fromkeys(name for table in tables for name in table.video_ids)
    return [source_named(root, name) for name in ids]


def source_named(root: Path, name: str) -> Source:
    """A video of that name; one that cannot be taken costs itself alone.

    A link may lead out of the root, and a file may have a name that no row of a cache can: what is
    not text (names from another system), control characters, backslashes.

    Raises
    ------
    UsageError
        No row can be called so, or nearly so: better said now than when features are committed.
    """
    if fault := fault_of_video_id(name):
        readable = UNPRINTABLE.sub(_spelled_out, name.replace("\\", "%5C"))
        if fault_of_video_id(readable):
            raise UsageError(f"{name!r} cannot be the id of a video: {fault}; rename the file")
        reason = f"its name cannot be the id of a video: {fault}; rename the file"
        return Source(readable, root / name, refused=reason)
    try:
        return Source(name, resolve_video(root, name))
    except LabelError as error:
        return Source(name, root / name, refused=str(error))


def _spelled_out(character: re.Match[str]) -> str:
    code = ord(character[0])
    return f"%{code & 0xFF if 0xDC80 <= code <= 0xDCFF else code:02X}"  # a byte that is no UTF-8


def _all_csv(paths: Sequence[str | Path]) -> bool:
    return all(Path(each).suffix.lower() == ".csv" for each in paths)


def _named_sources(
    paths: Sequence[Path], video_root: str | Path | None, say: Callable[[str], None]
) -> list[Source]:
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            found, others = find_videos(path)
            if not found:
                raise UsageError(f"There are no video files in {path} ({others} other files)")
            if others:
                say(f"{path}: {others} files that are no videos are passed over")
            files += found
        elif path.suffix.lower() == ".csv":
            raise UsageError(f"{path} is no video; the videos of a label file: --labels {path}")
        elif path.exists() or path.is_symlink():
            files.append(path)
        else:
            raise NotThereError(f"There is no file or folder {path}")
    if video_root is not None:
        root = Path(video_root)
    else:
        folders = {path if path.is_dir() else path.parent for path in paths}
        root = folders.pop() if len(folders) == 1 else _common_folder(folders)
    base = root.resolve()
    sources = {}
    for file in files:
        if not file.absolute().is_relative_to(root.absolute()):
            raise UsageError(f"{file} is not below the video root {root}")
        name = file.absolute().relative_to(root.absolute()).as_posix()
        sources[name] = source_named(base, name)
    return list(sources.values())


def _common_folder(folders: set[Path]) -> Path:
    try:
        return Path(os.path.commonpath([folder.absolute() for folder in folders]))
    except ValueError:  # other drives
        raise UsageError("The videos have no common folder; extract them drive by drive") from None


def share_of(sources: list[Source], shard: tuple[int, int] | None) -> list[Source]:
    """The sources of shard ``(i, n)``: a hash of the id decides, so no coordinator is needed."""
    if shard is None:
        return sources
    index, parts = shard
    if parts < 1:
        raise UsageError(f"--shard I/N needs at least one part, got {index}/{parts}")
    if not 0 <= index < parts:
        raise UsageError(f"--shard I/N counts from 0: I must be 0 to {parts - 1}, got {index}")
    return [source for source in sources if _bucket(source.video_id, parts) == index]


def _bucket(video_id: str, parts: int) -> int:
    return int.from_bytes(hashlib.sha256(video_id.encode()).digest()[:8], "big") % parts
