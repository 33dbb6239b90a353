"""What a person sees of ``basket predict``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape

from basket.console.tables import plain_table, reasons_table
from basket.console.words import LISTED, counted, duration

if TYPE_CHECKING:
    from basket.predict.predictor import Prediction


def prediction_tables(found: Prediction) -> Iterator[RenderableType]:
    """Levels in words with their probabilities, a table for each video."""
    from basket.dataset.skills import skill_named
    from basket.heads.persist import cautions
    from basket.predict.confidence import verdict

    measured = found.calibration
    # Of more levels than fit a terminal, the one that is stated alone.
    every_level = found.run.n_levels <= 10
    for video in found.videos[:LISTED]:
        table = plain_table(
            f"{escape(video.video_id)} ({duration(video.duration_s)}, "
            f"{counted(video.n_segments, 'segment')})",
            gap=1,
        )
        for column in ("skill", "level", "in words"):
            table.add_column(column)
        for name in [f"p({k})" for k in range(found.run.n_levels)] if every_level else ["p"]:
            table.add_column(name, justify="right")
        if measured is not None:
            table.add_column("was right", justify="right")
        for name, level, proba in zip(found.run.skills, video.levels, video.proba, strict=True):
            skill = skill_named(name)
            right = (
                [] if measured is None else [f"{measured.at(name, float(proba[level])).share:.0%}"]
            )
            table.add_row(
                escape(name) + ("" if skill.high_is_good else " *"),
                str(level),
                skill.level_name(int(level), found.run.n_levels),
                *(
                    f"[bold]{p:.2f}[/]" if k == level else f"{p:.2f}"
                    for k, p in enumerate(proba)
                    if every_level or k == level
                ),
                *right,
            )
        yield table
        if not all(skill_named(name).high_is_good for name in found.run.skills):
            yield "* 0 is the best level"
        if video.note:
            yield f"[yellow]{escape(video.note)}[/]"
        strange = verdict(measured, beyond=video.beyond, n_skills=len(found.run.skills))
        if strange != verdict(measured):
            alone = len(found.videos) == 1
            how = (
                f". {strange.details[0]}"
                if alone
                else f": {counted(video.beyond, 'skill')} beyond all players"
            )
            yield f"[yellow]{strange.headline}{how}[/]"
    if len(found.videos) > LISTED:
        yield f"… and {len(found.videos) - LISTED} more videos; --out FILE or --json has them all"
    if noted := sum(bool(video.note) for video in found.videos):
        yield f"[yellow]{noted} of {counted(len(found.videos), 'video')} carry a note[/]"
    if found.videos:
        said = verdict(measured)
        yield f"{said.headline}. {' '.join(said.details)}"
    yield from (f"[yellow]{sentence}[/]" for sentence in cautions(found.run.config))
    if found.failed:
        yield reasons_table("Not predicted", found.failed)
