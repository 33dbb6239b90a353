"""What a person sees of two runs that are compared on the same videos."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape

from basket.console.tables import plain_table
from basket.evaluate.comparison_words import sentences
from basket.evaluate.details import p_text
from basket.evaluate.metric_words import METRICS, UNDEFINED

if TYPE_CHECKING:
    from basket.evaluate.results import Comparison, Difference


def comparison_tables(
    comparisons: Sequence[Comparison], skills: Sequence[str]
) -> Iterator[RenderableType]:
    """Two runs skill by skill, and in plain sentences what can be told apart."""
    for compared in comparisons:
        table = plain_table(
            f"{escape(compared.first)} minus {escape(compared.second)} on "
            f"{escape(compared.split)}: {compared.n_videos} videos, {compared.n_players} players"
        )
        table.add_column("skill")
        for name in compared.metrics:
            table.add_column(METRICS[name].title, justify="right")
            table.add_column("95% interval", justify="right")
            table.add_column("p (Holm)", justify="right")
        rows = [("mean", [each.mean for each in compared.metrics.values()])]
        rows += [
            (escape(skill), [each.per_skill[index] for each in compared.metrics.values()])
            for index, skill in enumerate(skills)
        ]
        for name, differences in rows:
            cells = zip(compared.metrics, differences, strict=True)
            table.add_row(name, *(text for cell in cells for text in _difference(*cell)))
        yield table
        yield from (escape(sentence) for sentence in sentences(compared))
        if compared.n_dropped:
            yield f"{compared.n_dropped} videos that only one of the two scored take no part"


def _difference(metric: str, found: Difference) -> tuple[str, str, str]:
    words = METRICS[metric]
    change = words.change_text(found.value).removesuffix(" points")
    low_high = (
        UNDEFINED
        if found.interval is None
        else " to ".join(
            words.text(end, signed=True).removesuffix("%")
            for end in (found.interval.low, found.interval.high)
        )
    )
    return change, low_high, UNDEFINED if math.isnan(found.p_holm) else p_text(found.p_holm)
