"""What moved a prediction, as it is told on the card: a timeline and its strongest moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from basket.predict.evidence import Evidence
from basket.predict.phrases import PhraseScores

#: Moments shown for the direction that made the skill stand out, and against it.
FOR, AGAINST = 3, 1
#: Units of a timeline's drawing: width, and height above and below its axis.
WIDTH, HEIGHT = 1000.0, 20.0


@dataclass(frozen=True)
class Moment:
    """One segment of a reel that moved a skill.

    Parameters
    ----------
    segment : int
    start_s, end_s : float
    effect : float
        On the latent score; positive is towards better play, whatever the label's polarity.
    phrase : str
        What it looks like in the words of the prompt bank; empty where there are none.
    strip : int or None
        Position of its picture among the card's strips.
    """

    segment: int
    start_s: float
    end_s: float
    effect: float
    phrase: str = ""
    strip: int | None = None

    @property
    def time_code(self) -> str:
        """Minutes and seconds of its start.

        >>> Moment(0, 125.3, 127.4, 0.1).time_code
        '2:05'
        """
        return time_code(self.start_s)


@dataclass(frozen=True)
class Story:
    """One skill over a whole reel.

    Parameters
    ----------
    skill, word : str
        And its stated level in words.
    raised, lowered : tuple of Moment
        Strongest first.
    raised_path, lowered_path : str
        Bars of all segments, as SVG paths over ``0..1000`` by ``-20..20`` (up is better).
    text_path : str
        The same of the text scores, as a line; empty where there are none.
    featured : bool
        Among the strongest or weakest skills.
    total_s : float
        Of the reel; where that is unknown, to the end of the last segment.
    """

    skill: str
    word: str
    raised: tuple[Moment, ...]
    lowered: tuple[Moment, ...]
    raised_path: str
    lowered_path: str
    text_path: str = ""
    featured: bool = False
    total_s: float = 0.0

    @property
    def moments(self) -> tuple[Moment, ...]:
        """All moments, in the order of the reel."""
        return tuple(sorted((*self.raised, *self.lowered), key=lambda moment: moment.start_s))

    def with_strips(self, strip_of: Callable[[int], int | None]) -> Story:
        """With the picture of each moment's segment."""
        raised, lowered = (
            tuple(replace(moment, strip=strip_of(moment.segment)) for moment in moments)
            for moments in (self.raised, self.lowered)
        )
        return replace(self, raised=raised, lowered=lowered)


@dataclass(frozen=True)
class Season:
    """The same player in another season.

    Parameters
    ----------
    video_id, season, league : str
    words : tuple of str
        Stated level of each of the run's skills, in their order.
    ranks : tuple of int
        The same from poor (0) upwards.
    """

    video_id: str
    season: str
    league: str
    words: tuple[str, ...]
    ranks: tuple[int, ...]


def tell(
    evidence: Evidence,
    skill: int,
    *,
    name: str,
    word: str,
    high_is_good: bool,
    better: bool,
    featured: bool,
    duration_s: float = 0.0,
    phrases: PhraseScores | None = None,
) -> Story:
    """Tell the story of one skill.

    Parameters
    ----------
    evidence : Evidence
    skill : int
        Column of the evidence.
    name, word : str
        The skill, and its stated level in words.
    high_is_good : bool
        Polarity of the label.
    better : bool
        Whether the skill stands out for the better: then more raising moments are told.
    featured : bool
    duration_s : float
        Of the reel; 0 where unknown.
    phrases : PhraseScores, optional
    """
    effects = evidence.effects[:, skill] * (1 if high_is_good else -1)
    raised = _moments(evidence, effects, FOR if better else AGAINST, name, phrases, good=True)
    lowered = _moments(evidence, -effects, AGAINST if better else FOR, name, phrases, good=False)
    total_s = duration_s or float(evidence.end_s[-1])
    largest = float(np.abs(effects).max())
    heights = effects / largest * HEIGHT if largest > 0 else effects
    balance = None if phrases is None else phrases.balance[:, skill]
    return Story(
        skill=name,
        word=word,
        raised=raised,
        lowered=tuple(replace(moment, effect=-moment.effect) for moment in lowered),
        raised_path=_bars(evidence, np.maximum(heights, 0), total_s),
        lowered_path=_bars(evidence, np.minimum(heights, 0), total_s),
        text_path="" if balance is None else _line(evidence, balance, total_s),
        featured=featured,
        total_s=total_s,
    )


def time_code(seconds: float) -> str:
    """Seconds as ``m:ss``, the whole ones.

    >>> time_code(65.9)
    '1:05'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _moments(
    evidence: Evidence,
    effects: npt.NDArray[np.float64],
    count: int,
    name: str,
    phrases: PhraseScores | None,
    *,
    good: bool,
) -> tuple[Moment, ...]:
    order = np.argsort(-effects, kind="stable")[:count].tolist()
    return tuple(
        Moment(
            segment=segment,
            start_s=float(evidence.start_s[segment]),
            end_s=float(evidence.end_s[segment]),
            effect=float(effects[segment]),
            phrase="" if phrases is None else phrases.best(segment, name, good=good),
        )
        for segment in order
        if effects[segment] > 0
    )


def _bars(evidence: Evidence, heights: npt.NDArray[np.float64], total_s: float) -> str:
    """One path of the bars that are not flat; y grows downwards in an SVG."""
    starts, ends = (evidence.start_s / total_s * WIDTH, evidence.end_s / total_s * WIDTH)
    return "".join(
        f"M{start:.1f} 0V{-height:.1f}H{end:.1f}V0z"
        for start, end, height in zip(starts, ends, heights.tolist(), strict=True)
        if abs(height) >= 0.1
    )


def _line(evidence: Evidence, values: npt.NDArray[np.float64], total_s: float) -> str:
    largest = float(np.abs(values).max(initial=0.0)) if np.isfinite(values).all() else 0.0
    if largest <= 0:
        return ""
    middle = (evidence.start_s + evidence.end_s) / 2 / total_s * WIDTH
    points = zip(middle.tolist(), (-values / largest * HEIGHT).tolist(), strict=True)
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)


def unique_segments(stories: Sequence[Story]) -> list[int]:
    """Segments whose pictures the featured stories show, rising."""
    return sorted(
        {moment.segment for story in stories if story.featured for moment in story.moments}
    )
