"""Predictions as a table: one row per video and skill, as Parquet, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from basket.cache.durable import make_room_for, write_atomically
from basket.dataset import parse_reel_name
from basket.dataset.skills import skill_as_named
from basket.errors import UsageError
from basket.predict.predictor import Prediction

FORMATS = (".parquet", ".csv", ".json")


def check_table_name(path: Path) -> None:
    """Refuse a name that says no format, before anything is computed.

    Raises
    ------
    UsageError
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--out {path} must end in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")


def write_table(path: Path, found: Prediction) -> None:
    """Write all predictions at once: the file is the old one or the whole new one.

    A video that failed has its rows too, with a ``reason`` and without a level.
    """
    make_room_for(path)
    suffix = path.suffix.lower()
    if suffix == ".json":
        text = json.dumps(found.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
        write_atomically(path, text.encode())
        return
    columns = table_columns(found)
    if suffix == ".csv":
        write_atomically(path, _csv(columns).encode())
        return
    from basket.heads.held_out import table_bytes

    write_atomically(path, table_bytes(columns))


def table_columns(found: Prediction) -> dict[str, list[Any]]:
    """Columns of equal length; what is not known is None.

    ``level`` is the label, in its own polarity; ``word`` says it in words. ``right`` is how often
    the run was right at such a stated probability, between ``right_low`` and ``right_high``.
    """
    rows = list(_rows(found))
    names = [
        *("video_id", "season", "league", "player", "skill", "level", "word"),
        *(f"p{level}" for level in range(found.run.n_levels)),
        *("percentile", "right", "right_low", "right_high", "reason"),
    ]
    return {name: [row.get(name) for row in rows] for name in names}


def _rows(found: Prediction) -> Iterator[dict[str, Any]]:
    skills = [skill_as_named(name) for name in found.run.skills]
    n_levels = found.run.n_levels
    for video in found.videos:
        who = _who(video.video_id)
        for skill, level, proba, place in zip(
            skills, video.levels.tolist(), video.proba.tolist(), video.percentiles, strict=True
        ):
            row = {
                **who,
                "skill": skill.name,
                "level": level,
                "word": skill.level_name(level, n_levels),
                **{f"p{each}": share for each, share in enumerate(proba)},
                "percentile": None if np.isnan(place) else float(place),
                "reason": "",
            }
            if found.calibration is not None:
                rate = found.calibration.at(skill.name, proba[level])
                low, high = rate.interval
                row |= {"right": rate.share, "right_low": low, "right_high": high}
            yield row
    for video_id, reason in found.failed.items():
        for skill in skills:
            yield {**_who(video_id), "skill": skill.name, "reason": reason}


def _who(video_id: str) -> dict[str, str]:
    reel = parse_reel_name(video_id)
    return {
        "video_id": video_id,
        "season": reel.season if reel else "",
        "league": reel.league if reel else "",
        "player": reel.player if reel else "",
    }


def _csv(columns: dict[str, list[Any]]) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        table.writerow(["" if cell is None else cell for cell in row])
    return text.getvalue()
