"""What a person sees of two runs that are compared on the same videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape

from basket.console.tables import plain_table
from basket.evaluate.comparison_words import SPELLED_OUT, digest, sentences
from basket.evaluate.metric_words import METRICS

if TYPE_CHECKING:
    from basket.evaluate.results import Comparison, Difference


def comparison_tables(
    comparisons: Sequence[Comparison], skills: Sequence[str]
) -> Iterator[RenderableType]:
    """Pairs of runs skill by skill, and in plain sentences what can be told apart.

    Of many pairs there is one sentence each: the report has the rest.
    """
    if len(comparisons) > SPELLED_OUT:
        yield from map(escape, digest(comparisons))
        yield "Skill by skill, and with all metrics: --report FILE, or --json"
        return
    for compared in comparisons:
        table = plain_table(
            f"{escape(compared.first)} minus {escape(compared.second)} on "
            f"{escape(compared.split)}: {compared.n_videos} videos, {compared.n_players} players"
        )
        table.add_column("skill")
        for name in compared.metrics:
            table.add_column(METRICS[name].title, justify="right")
        for index, skill in enumerate(skills):
            found = (each.per_skill[index] for each in compared.metrics.values())
            cells = zip(compared.metrics, found, strict=True)
            table.add_row(escape(skill), *(_difference(*cell) for cell in cells))
        yield table
        if any(each.told_apart for found in compared.metrics.values() for each in found.per_skill):
            yield "* differs (Holm over the skills, 5%)"
        yield from (escape(sentence) for sentence in sentences(compared))
        if compared.n_dropped:
            yield f"{compared.n_dropped} videos that only one of the two scored take no part"


def _difference(metric: str, found: Difference) -> str:
    change = METRICS[metric].change_text(found.value).removesuffix(" points")
    return change + (" *" if found.told_apart else "  ")
