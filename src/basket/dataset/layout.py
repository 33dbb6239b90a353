"""Where things are in BASKET: season, league and player of a path, label files, video files.

BASKET stores ``<season>/<league>/<player>_<season with _>.mp4``, for example
``18-19/NBA/1_18_19.mp4``, and its labels under ``BASKET_Labels``. A player id recurs across
seasons, so everything that splits or resamples does it by :func:`player_key`, never by file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from basket.errors import LabelError, NotThereError

#: Label files of the data set, by the name of the split.
SPLIT_FILES: Mapping[str, str] = {
    "train": "BASKET_Labels/BASKET/train.csv",
    "val": "BASKET_Labels/BASKET/val.csv",
    "test": "BASKET_Labels/BASKET/test.csv",
    "cross_season": "BASKET_Labels/cross_season/test.csv",
    "cross_league": "BASKET_Labels/cross_league/test.csv",
    "cross_season_and_league": "BASKET_Labels/cross_season_and_league/test.csv",
}

#: Test sets, in the order of a report.
TEST_SPLITS = tuple(name for name in SPLIT_FILES if name not in ("train", "val"))

VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg"),
        *(".ts", ".mts", ".m2ts", ".flv", ".wmv", ".3gp", ".ogv"),
    }
)

_LABEL_FILES = "label files (BASKET_Labels/BASKET/train.csv …)"

#: What ``basket demo`` leaves in the root of the data it makes up.
SIMULATION_FILE = "simulation.json"

_SEASON = re.compile(r"\d\d-\d\d")


@dataclass(frozen=True)
class ReelName:
    """What a BASKET path says about its reel.

    Parameters
    ----------
    season : str
        ``18-19``.
    league : str
        ``NBA``.
    player : str
        The player id, the same in every season of a league.
    """

    season: str
    league: str
    player: str


def parse_reel_name(video_id: str) -> ReelName | None:
    """Read season, league and player from a path, or None where it is not BASKET's.

    >>> parse_reel_name("18-19/NBA/1_18_19.mp4")
    ReelName(season='18-19', league='NBA', player='1')
    >>> parse_reel_name("clips/holiday.mp4") is None
    True
    """
    parts = PurePosixPath(video_id).parts
    if len(parts) < 3 or not _SEASON.fullmatch(parts[-3]):
        return None
    season, league, stem = parts[-3], parts[-2], PurePosixPath(parts[-1]).stem
    suffix = "_" + season.replace("-", "_")
    player = stem.removesuffix(suffix)
    if player == stem or not player:
        return None
    return ReelName(season, league, player)


def player_key(video_id: str) -> str:
    """Name the person in a video: the unit of splitting and resampling.

    Player ids are unique within a league, as far as the data set says; a path that is not BASKET's
    is a person of its own.

    >>> player_key("19-20/NBA/1_19_20.mp4") == player_key("18-19/NBA/1_18_19.mp4") == "NBA/1"
    True
    """
    reel = parse_reel_name(video_id)
    return f"{reel.league}/{reel.player}" if reel else video_id


def resolve_video(video_root: Path, video_id: str) -> Path:
    """Find the file of a video id and make sure that it stays under the video root.

    Raises
    ------
    LabelError
        The file is a link to somewhere outside the root. (Whether it exists is not checked.)
    """
    root = video_root.resolve()
    path = (root / video_id).resolve()
    if not path.is_relative_to(root):
        raise LabelError(
            f"it leads out of the video root {root} (to {path}); put the file itself there"
        )
    return path


def find_videos(folder: Path) -> tuple[list[Path], int]:
    """All video files below a folder, sorted, and how many other files were passed over."""
    # A link to what is not there now (a disk that is not mounted) is a video all the same.
    files = sorted(path for path in folder.rglob("*") if path.is_file() or not path.exists())
    videos = [path for path in files if path.suffix.lower() in VIDEO_SUFFIXES]
    return videos, len(files) - len(videos)


@dataclass(frozen=True)
class BasketFolder:
    """A copy of BASKET on disk: where its videos are, and which label files it has."""

    video_root: Path
    splits: Mapping[str, Path]


def find_basket(root: Path | None = None) -> BasketFolder:
    """Look for BASKET's layout under ``root``, ``$BASKET_ROOT`` or the current folder.

    Raises
    ------
    UsageError
        No label file or no season folder there; says which was looked for, and where.
    """
    base = _base(root)
    splits = _splits_in(base)
    video_root = next(
        (folder for folder in (base, base / "BASKET", base / "videos") if _has_season(folder)),
        None,
    )
    if splits and video_root is not None:
        return BasketFolder(video_root, splits)
    missing = [] if splits else [_LABEL_FILES]
    if video_root is None:
        missing.append("season folders (18-19/NBA/1_18_19.mp4 …)")
    raise _not_found(
        base, " and no ".join(missing), "name videos or label files yourself: VIDEO or --labels CSV"
    )


def find_splits(
    root: Path | None, *, names: Sequence[str], needed: Sequence[str], option: str
) -> dict[str, Path]:
    """BASKET's label files alone: what is cached already needs no video.

    Parameters
    ----------
    root : Path, optional
        Else ``$BASKET_ROOT`` or the current folder.
    names : sequence of str
        The splits that are wanted, where they are there.
    needed : sequence of str
        Of these at least one must be there.
    option : str
        How to name a label file instead, for the message.

    Raises
    ------
    UsageError
        None of the needed ones is there.
    """
    base = _base(root)
    splits = _splits_in(base)
    if not any(name in splits for name in needed):
        missing = _LABEL_FILES if not splits else f"label file {SPLIT_FILES[needed[0]]}"
        raise _not_found(base, missing, f"name a label file yourself: {option}")
    return {name: splits[name] for name in names if name in splits}


def require_folder(folder: Path) -> None:
    """Refuse a video root that is no folder.

    Raises
    ------
    NotThereError
    """
    if not folder.is_dir():
        raise NotThereError(
            f"There is no folder {folder}; --video-root names the folder that the paths in label "
            "files are relative to"
        )


def _base(root: Path | None) -> Path:
    return root or Path(os.environ.get("BASKET_ROOT") or ".")


def _splits_in(base: Path) -> dict[str, Path]:
    return {name: base / file for name, file in SPLIT_FILES.items() if (base / file).is_file()}


def _not_found(base: Path, missing: str, instead: str) -> NotThereError:
    return NotThereError(
        f"No {missing} in {base.resolve()}: run this where BASKET is, set BASKET_ROOT to that "
        f"folder, or {instead}"
    )


def is_simulated(file: Path) -> bool:
    """Whether a file lies in a simulated data set (``basket demo`` leaves ``simulation.json``)."""
    return any((folder / SIMULATION_FILE).is_file() for folder in list(file.resolve().parents)[:5])


def _has_season(folder: Path) -> bool:
    return folder.is_dir() and any(
        _SEASON.fullmatch(entry.name) and entry.is_dir() for entry in folder.iterdir()
    )
