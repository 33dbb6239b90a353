"""Scores of parts of a test set: by league, by season, and by any column joined from a CSV file."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.dataset.layout import parse_reel_name, player_key
from basket.errors import LabelError, NotThereError

#: Column -> video or player -> value.
Meta = Mapping[str, Mapping[str, str]]

#: A number with more values than this is cut at its quartiles.
MAX_VALUES = 12
#: A column with more values than this makes no slices: a page of them would say nothing.
MAX_SLICES = 48
UNKNOWN = "not known"


@dataclass(frozen=True)
class Slice:
    """Rows of a test set that have something in common.

    Parameters
    ----------
    column, value : str
        ``league``, ``NBA``.
    rows : ndarray of bool, (n,)
    """

    column: str
    value: str
    rows: npt.NDArray[np.bool_]


def read_meta(path: str | Path) -> dict[str, dict[str, str]]:
    """Read a table of what is known about videos or players.

    The first column names videos, as label files do (``18-19/NBA/1_18_19.mp4``), or players
    (``NBA/1``); the header says what the others are: gender, age, …

    Parameters
    ----------
    path : path
        CSV with one header line; comma, semicolon or tab.

    Returns
    -------
    dict
        Column to video or player to value. Empty cells are left out.

    Raises
    ------
    NotThereError
        No such file.
    LabelError
        The file cannot be read, has no second column, or gives one key two values.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise NotThereError(f"There is no file {path}; --meta names a CSV file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LabelError(f"The table {path} cannot be read: {error}; expected a CSV file") from None
    delimiter = max(",;\t", key=text.split("\n", 1)[0].count)
    lines = [row for row in csv.reader(text.splitlines(), delimiter=delimiter) if any(row)]
    if len(lines) < 2 or len(lines[0]) < 2:
        raise LabelError(
            f"{path} needs a header line and at least two columns: a video or player, and what is "
            "known about it; expected for example player,gender"
        )
    header = [name.strip() for name in lines[0]]
    columns: dict[str, dict[str, str]] = {name: {} for name in header[1:]}
    for number, row in enumerate(lines[1:], start=2):
        if len(row) != len(header):
            raise LabelError(f"{path} row {number} has {len(row)} cells, expected {len(header)}")
        key = row[0].strip()
        for name, value in zip(header[1:], row[1:], strict=True):
            value = value.strip()
            if value and columns[name].setdefault(key, value) != value:
                raise LabelError(
                    f"{path} row {number}: {key} has {name} {columns[name][key]!r} and {value!r}; "
                    "keep one of them"
                )
    return columns


def slices_of(video_ids: Sequence[str], *, meta: Meta | None = None) -> list[Slice]:
    """Slices by league, season and metadata; a column with one value alone gives none.

    Parameters
    ----------
    video_ids : sequence of str, (n,)
    meta : mapping, optional
        From :func:`read_meta`. Videos that it does not name form the slice ``not known``.
    """
    reels = [parse_reel_name(video_id) for video_id in video_ids]
    columns: dict[str, list[str]] = {
        "league": [reel.league if reel else UNKNOWN for reel in reels],
        "season": [reel.season if reel else UNKNOWN for reel in reels],
        **_values(video_ids, meta or {}),
    }
    slices = []
    for column, values in columns.items():
        distinct = sorted(set(values), key=_natural)
        if 1 < len(distinct) <= MAX_SLICES:
            rows = np.array(values, dtype=object)
            slices += [Slice(column, value, rows == value) for value in distinct]
    return slices


def unmatched(video_ids: Sequence[str], meta: Meta) -> list[str]:
    """Columns of the metadata that say nothing about any of these videos."""
    keys = {key for video in video_ids for key in (video, player_key(video))}
    return [column for column, known in meta.items() if keys.isdisjoint(known)]


def too_many(video_ids: Sequence[str], meta: Meta) -> dict[str, int]:
    """Columns of the metadata that make no slices of these videos: how many values each has."""
    counts = {column: len(set(values)) for column, values in _values(video_ids, meta).items()}
    return {column: count for column, count in counts.items() if count > MAX_SLICES}


def _values(video_ids: Sequence[str], meta: Meta) -> dict[str, list[str]]:
    """What each column of the metadata says of each video."""
    return {
        column: _in_bins(
            [known.get(video, known.get(player_key(video), UNKNOWN)) for video in video_ids]
        )
        for column, known in meta.items()
    }


def _in_bins(values: list[str]) -> list[str]:
    """Numbers with many values as quartile ranges; everything else as it is."""
    numbers = [_number(value) for value in values]
    known = [number for number in numbers if number is not None]
    named = sum(value != UNKNOWN for value in values)
    if not known or len(known) < named or len(set(known)) <= MAX_VALUES:
        return values
    cuts = np.unique(np.quantile(known, [0.25, 0.5, 0.75]))
    write: Callable[[float], str] = "{:g}".format
    labels = [
        f"up to {write(cuts[0])}",
        *(f"{write(low)} to {write(high)}" for low, high in pairwise(cuts)),
        f"above {write(cuts[-1])}",
    ]
    return [
        UNKNOWN if number is None else labels[int(np.searchsorted(cuts, number, side="left"))]
        for number in numbers
    ]


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def _natural(value: str) -> tuple[bool, bool, float, str]:
    """Numbers and ranges by size, words by the alphabet, what is not known last."""
    if value.startswith(("up to ", "above ")):
        number: float | None = -np.inf if value.startswith("up") else np.inf
    else:
        number = _number(value.split(" to ")[0])
    return (value == UNKNOWN, number is None, number or 0.0, value)
