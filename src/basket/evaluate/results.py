"""What an evaluation found: frozen values, from one mean with its interval to a whole test set."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from basket.evaluate.bootstrap import Interval

#: Below this p-value, and with an interval that leaves out zero, a difference is called one.
ALPHA = 0.05


def number(value: float) -> float:
    """A score as a plain float; every undefined one is the same NaN, so that results compare."""
    return math.nan if math.isnan(value) else float(value)


def numbers(values: Iterable[float]) -> tuple[float, ...]:
    """Scores as a tuple of plain floats."""
    return tuple(number(value) for value in values)


@dataclass(frozen=True)
class Estimate:
    """A mean over skills, its interval, and the prior's score on the same cells."""

    value: float
    interval: Interval | None
    prior: float


@dataclass(frozen=True)
class MetricScores:
    """One metric on one test set. Sequences run over the skills; NaN is "undefined".

    Parameters
    ----------
    mean : float
        Mean over the skills that have a score.
    interval : Interval or None
        Player-clustered interval of the mean; None with fewer than two players, and for the
        calibration error, which resampling makes larger than it is.
    per_skill : tuple of float
    skill_intervals : tuple of Interval or None
    prior_mean : float
        The same of always answering the training labels' best constant (or their frequencies,
        for metrics of probabilities).
    prior_per_skill : tuple of float
    rule : str
        Decision rule that turned probabilities into levels for this metric.
    worst_mean : float
        The mean if every video that was left out had been answered with the farthest level; NaN
        where none was left out or the metric knows no worst answer.
    worst_per_skill : tuple of float
    groups : mapping of str to Estimate
        Mean over the skills of a group.
    """

    mean: float
    interval: Interval | None
    per_skill: tuple[float, ...]
    skill_intervals: tuple[Interval | None, ...]
    prior_mean: float
    prior_per_skill: tuple[float, ...]
    rule: str = ""
    worst_mean: float = math.nan
    worst_per_skill: tuple[float, ...] = ()
    groups: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def n_undefined(self) -> int:
        """Skills without a score.

        No labels, here or in training, or (QWK) truth and prediction are the same constant.
        """
        return int(np.isnan(self.per_skill).sum())


@dataclass(frozen=True)
class ThresholdCalibration:
    """Promise and frequency of "the level lies above this one", pooled over the skills.

    Parameters
    ----------
    threshold : int
        The level that is to be exceeded.
    error : float
        Calibration error, averaged over the skills.
    bins : tuple of (float, float, int)
        Mean promised probability, frequency, and number of cells, of each bin that has any.
    """

    threshold: int
    error: float
    bins: tuple[tuple[float, float, int], ...]


@dataclass(frozen=True)
class SliceScores:
    """A part of a test set: who is in it, and the mean scores there."""

    column: str
    value: str
    n_videos: int
    n_players: int
    metrics: Mapping[str, Estimate]


@dataclass(frozen=True)
class Reference:
    """A published score, shown as a line beside ours."""

    name: str
    accuracy: float
    source: str


@dataclass(frozen=True)
class SplitScores:
    """One run on one test set.

    Parameters
    ----------
    split : str
        ``test``, ``cross_season``, …
    n_videos, n_players : int
        Scored.
    n_labels : tuple of int
        Scored labels per skill.
    metrics : mapping of str to MetricScores
        By the names of :data:`basket.metrics.HIGHER_IS_BETTER`.
    confusion : tuple of tuple of tuple of int, (n_skills, K, K)
        True levels in rows; predictions by the accuracy rule.
    left_out : mapping of str to str
        Video id to reason: labelled, not scored.
    seen_players : tuple of str or None
        Players of this set that were in training too; None where nobody could tell.
    n_seen_videos : int
        Scored videos of those players.
    calibration : tuple of ThresholdCalibration
        One per threshold.
    slices : tuple of SliceScores
    references : tuple of Reference
        Published scores on this very test set.
    """

    split: str
    n_videos: int
    n_players: int
    n_labels: tuple[int, ...]
    metrics: Mapping[str, MetricScores]
    confusion: tuple[tuple[tuple[int, ...], ...], ...]
    left_out: Mapping[str, str]
    seen_players: tuple[str, ...] | None
    n_seen_videos: int
    calibration: tuple[ThresholdCalibration, ...] = ()
    slices: tuple[SliceScores, ...] = ()
    references: tuple[Reference, ...] = ()


@dataclass(frozen=True)
class Difference:
    """First run minus second on the same videos.

    Parameters
    ----------
    first, second : float
        Scores of the two; the mean over seeds where there are several.
    interval : Interval or None
        Of the difference: players (and seeds) resampled together.
    p : float
        Two-sided, by permuting whose answers are whose, player by player.
    p_holm : float
        Adjusted over the skills; for a mean over skills the same as ``p``.

    Examples
    --------
    >>> Difference(0.4, 0.3, Interval(0.02, 0.18), p=0.01, p_holm=0.03).told_apart
    True
    """

    first: float
    second: float
    interval: Interval | None
    p: float
    p_holm: float

    @property
    def value(self) -> float:
        """First minus second."""
        return self.first - self.second

    @property
    def told_apart(self) -> bool:
        """Whether it counts: the adjusted p is small, and the interval leaves out zero."""
        if self.interval is None or not self.p_holm <= ALPHA:
            return False
        return not self.interval.low <= 0 <= self.interval.high


@dataclass(frozen=True)
class MetricComparison:
    """Differences by one metric: of the mean over skills, and of each skill."""

    mean: Difference
    per_skill: tuple[Difference, ...]


@dataclass(frozen=True)
class Comparison:
    """Two runs on one test set, video by video.

    Parameters
    ----------
    first, second : str
        Names of the runs.
    split : str
    n_videos, n_players : int
        Scored by both.
    n_dropped : int
        Videos that only one of the two could score, which take no part.
    n_seeds : (int, int)
        Fits of each that differ in their seed alone.
    metrics : mapping of str to MetricComparison
    """

    first: str
    second: str
    split: str
    n_videos: int
    n_players: int
    n_dropped: int
    n_seeds: tuple[int, int]
    metrics: Mapping[str, MetricComparison]
