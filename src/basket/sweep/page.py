"""The leaderboard as one self-contained page, in the report's clothes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from basket.evaluate.bootstrap import Interval
from basket.evaluate.metric_words import METRICS, UNDEFINED
from basket.evaluate.page import environment
from basket.sweep.effects import Effect
from basket.sweep.leaderboard import Leaderboard, Row


@dataclass(frozen=True)
class Mark:
    """A point with an interval on a common axis, in percent; the zero line where there is one."""

    point: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    @classmethod
    def over(cls, values: Iterable[float], *, with_zero: bool = False) -> _Scale:
        known = [value for value in values if not math.isnan(value)] + [0.0] * with_zero
        low, high = (min(known), max(known)) if known else (0.0, 1.0)
        slack = 0.05 * (high - low) or 0.01
        return cls(low - slack, high + slack)

    def place(self, value: float) -> float:
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def mark(self, value: float, interval: Interval | None) -> Mark:
        return Mark(
            None if math.isnan(value) else self.place(value),
            None if interval is None else self.place(interval.low),
            None if interval is None else self.place(interval.high),
        )


def render_leaderboard(board: Leaderboard) -> str:
    """The whole page; it asks nothing of the network."""
    words = METRICS[board.metric]
    scale = _Scale.over(_ends_of_rows(board.rows, board.metric))
    slow = _Scale.over([row.seconds for row in board.rows], with_zero=True)
    groups: dict[str, list[Effect]] = {}
    for effect in board.effects:
        groups.setdefault(effect.axis, []).append(effect)
    change = _Scale.over(_ends_of_effects(board.effects), with_zero=True)
    dots = [
        (slow.place(row.seconds), round(100 - scale.place(row.means[board.metric]), 2), row)
        for row in board.rows
        if not math.isnan(row.means[board.metric])
    ]
    template = environment("basket.sweep").get_template("leaderboard.html.j2")
    return template.render(
        board=board,
        words=words,
        metrics=METRICS,
        undefined=UNDEFINED,
        rows=[
            (row, scale.mark(row.means[board.metric], row.intervals[board.metric]))
            for row in board.rows
        ],
        groups=[
            (axis, [(effect, change.mark(effect.effect, effect.interval)) for effect in effects])
            for axis, effects in groups.items()
        ],
        zero=change.place(0.0),
        dots=dots,
        slowest=max(row.seconds for row in board.rows),
    )


def _ends_of_rows(rows: Iterable[Row], metric: str) -> list[float]:
    ends = []
    for row in rows:
        interval = row.intervals[metric]
        ends += [row.means[metric], *([interval.low, interval.high] if interval else [])]
    return ends


def _ends_of_effects(effects: Iterable[Effect]) -> list[float]:
    ends = []
    for each in effects:
        ends += [each.effect, *([each.interval.low, each.interval.high] if each.interval else [])]
    return ends
