"""A radar chart of a group of skills, as geometry for an SVG."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

RADIUS = 62.0
#: The poorest level stays off the centre, so that every corner of the outline shows.
_INNER = 0.12
#: Between these shares of the probability lies the band: the run holds it four in five.
_LOW, _HIGH = 0.1, 0.9
#: Skills that span an area, and whose names have room around it.
_FEWEST, _MOST = 3, 8
#: Characters of a line of a name, lines of it, and the height of one.
_LINE_CHARACTERS, _LINES = 13, 3
LINE = 12.0

Point = tuple[float, float]


@dataclass(frozen=True)
class Radar:
    """Outlines around (0, 0), x to the right and y down, in units of an SVG.

    Parameters
    ----------
    outline : str
        Points of the stated levels, for a polygon.
    band : str
        Path of the ring that holds four fifths of the probability (even-odd fill).
    rings : tuple of str
        Points of the polygon of each level, from poor to excellent.
    axes : tuple of (x, y)
        Ends of the axes.
    labels : tuple of (x, y, anchor, lines)
        Names in up to three lines, longer ones cut short.
    dots : tuple of (x, y)
        Corners of the outline.
    description : str
        The same in words.
    """

    outline: str
    band: str
    rings: tuple[str, ...]
    axes: tuple[Point, ...]
    labels: tuple[tuple[float, float, str, tuple[str, ...]], ...]
    dots: tuple[Point, ...]
    description: str


def radar(
    names: Sequence[str],
    ranks: Sequence[int],
    probabilities: Sequence[Sequence[float]],
    words: Sequence[str],
) -> Radar | None:
    """Lay out a chart; None for fewer than three skills or more than eight.

    Parameters
    ----------
    names, words : sequence of str
        Skills, and their stated levels in words.
    ranks : sequence of int
        Stated levels from poor (0) to excellent.
    probabilities : sequence of sequence of float
        Of the levels from poor to excellent, per skill.
    """
    n = len(names)
    if not _FEWEST <= n <= _MOST:
        return None
    top = len(probabilities[0]) - 1
    # Four axes stand as a cross of diagonals: beside an upright one, names have no room.
    turn = math.pi / 4 if n == 4 else math.pi / 2
    angles = [2 * math.pi * index / n - turn for index in range(n)]

    def at(place: float, angle: float) -> Point:
        radius = RADIUS * (_INNER + (1 - _INNER) * place / top)
        return round(radius * math.cos(angle), 1), round(radius * math.sin(angle), 1)

    dots = tuple(at(rank, angle) for rank, angle in zip(ranks, angles, strict=True))
    low = [at(_quantile(row, _LOW), a) for row, a in zip(probabilities, angles, strict=True)]
    high = [at(_quantile(row, _HIGH), a) for row, a in zip(probabilities, angles, strict=True)]
    return Radar(
        outline=_points(dots),
        band=f"M{'L'.join(map(_pair, high))}ZM{'L'.join(map(_pair, low))}Z",
        rings=tuple(_points([at(level, angle) for angle in angles]) for level in range(top + 1)),
        axes=tuple(at(top, angle) for angle in angles),
        labels=tuple(_label(name, angle) for name, angle in zip(names, angles, strict=True)),
        dots=dots,
        description="; ".join(f"{name} {word}" for name, word in zip(names, words, strict=True)),
    )


def _quantile(shares: Sequence[float], part: float) -> float:
    """Level below which a part of the probability lies, between levels linearly.

    >>> _quantile([0.5, 0.5], 0.5)
    0.5
    """
    below = 0.0
    for level, share in enumerate(shares):
        if share > 0 and below + share >= part:
            # Level k stands for the span k - 1/2 to k + 1/2.
            return min(max(level - 0.5 + (part - below) / share, 0.0), len(shares) - 1.0)
        below += share
    return len(shares) - 1.0


def _label(name: str, angle: float) -> tuple[float, float, str, tuple[str, ...]]:
    x, y = (RADIUS + 9) * math.cos(angle), (RADIUS + 9) * math.sin(angle)
    lines = _lines(name)
    diagonal = abs(abs(x) - abs(y)) < 1
    anchor = "middle" if abs(x) < 8 or diagonal else "start" if x > 0 else "end"
    # Text hangs from its baseline: above the chart its last line, below it its first.
    above = (len(lines) - 1) * LINE
    return round(x, 1), round(y - above if y < -8 else y + 9 if y > 8 else y, 1), anchor, lines


def _lines(name: str) -> tuple[str, ...]:
    """A name in lines, cut short where it is too long for them.

    >>> _lines("Offensive Consistency"), _lines("Contested-shots"), _lines("Contribution")
    (('Offensive', 'Consistency'), ('Contested-', 'shots'), ('Contribution',))
    >>> _lines("Holds the bow without pressing it at all")
    ('Holds the bow', 'without', 'pressing it…')
    """
    return tuple(textwrap.wrap(name, _LINE_CHARACTERS, max_lines=_LINES, placeholder="…"))


def _pair(point: Point) -> str:
    return f"{point[0]},{point[1]}"


def _points(points: Sequence[Point]) -> str:
    return " ".join(map(_pair, points))
