"""Simulated players: latent skills, the possessions of their season, its statistics, their levels.

A player's 20 skills share six factors (a good shooter is good from everywhere) and move the odds
of every event. A season is a list of games; each statistic of the season is a weighted count of its
events, so the sign of a weight says what one event does to a level. A reel later shows a part of
the season: about a third of the possessions behind the labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from basket.dataset.skills import N_LEVELS, SKILLS
from basket.demo.events import DEFENCE, OFFENCE, SHOTS, Event, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

NAMES = tuple(skill.name for skill in SKILLS)

# Columns: touch, strength, hands, vision, calm, motor.
_LOADINGS: Mapping[str, tuple[float, ...]] = {
    "Free Throw": (0.8, 0.0, 0.0, 0.0, 0.6, 0.0),
    "2-PTs": (0.6, 0.5, 0.0, 0.0, 0.0, 0.5),
    "3-PTs": (1.0, -0.4, 0.0, 0.0, 0.0, 0.0),
    "Contested-shots": (0.7, 0.5, 0.0, -0.3, 0.0, 0.3),
    "Overall Shooting": (1.0, 0.0, 0.0, 0.0, 0.3, 0.0),
    "Rebounds": (0.0, 1.0, 0.0, 0.0, 0.0, 0.4),
    "Defensive Rebounds": (0.0, 1.0, 0.0, 0.0, 0.0, 0.3),
    "Offensive Rebounds": (-0.2, 0.8, 0.0, 0.0, 0.0, 0.6),
    "Steals": (0.0, -0.2, 1.0, 0.0, 0.0, 0.3),
    "Turnovers": (0.0, 0.0, 0.3, 0.2, 0.9, 0.0),
    "Points-allowed": (0.0, 0.3, 0.7, 0.0, 0.3, 0.3),
    "Defensive Consistency": (0.0, 0.0, 0.6, 0.0, 0.6, 0.2),
    "Assists": (0.0, -0.3, 0.0, 1.0, 0.0, 0.0),
    "Passing Accuracy": (0.0, 0.0, 0.0, 0.7, 0.7, 0.0),
    "Fouls": (0.0, -0.2, 0.3, 0.0, 0.9, 0.0),
    "Contribution": (0.4, 0.4, 0.3, 0.3, 0.0, 0.5),
    "Offensive Consistency": (0.6, 0.0, 0.0, 0.0, 0.8, 0.0),
    "Teamwork": (0.0, 0.0, 0.0, 0.9, 0.3, 0.3),
    "Impact": (0.5, 0.3, 0.5, 0.3, 0.0, 0.3),
    "Efficiency": (0.6, 0.2, 0.0, 0.2, 0.6, 0.0),
}
# What a league is known for: the mean of each factor among its players.
_STYLES: Mapping[str, tuple[float, ...]] = {
    "North": (0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
    "Coast": (0.3, -0.2, 0.0, 0.2, 0.0, 0.0),
    "Harbor": (-0.2, 0.3, 0.2, 0.0, 0.0, 0.1),
    "Summit": (0.1, 0.0, -0.2, 0.0, 0.2, 0.2),
}
_SHARED_VARIANCE = 0.75
_YEAR_TO_YEAR = 0.3

# How often an average player does each thing, and which skills change the odds (log odds per
# standard deviation). Better players are given the ball where they are better.
_OFFENCE_ODDS: Mapping[Kind, tuple[float, Mapping[str, float]]] = {
    Kind.FREE_THROW: (0.10, {"Free Throw": 0.9, "Contested-shots": 0.3}),
    Kind.THREE: (0.17, {"3-PTs": 1.2, "Overall Shooting": 0.3}),
    Kind.DRIVE: (0.13, {"2-PTs": 1.1, "Impact": 0.2}),
    Kind.CONTESTED: (0.11, {"Contested-shots": 1.1}),
    Kind.PUT_BACK: (0.11, {"Offensive Rebounds": 1.0, "Rebounds": 0.5}),
    Kind.ASSIST: (0.13, {"Assists": 1.2, "Contribution": 0.2}),
    Kind.SWING: (0.09, {"Teamwork": 1.3}),
    Kind.BAD_PASS: (0.12, {"Passing Accuracy": -1.3, "Efficiency": -0.3}),
    Kind.LOST_BALL: (0.12, {"Turnovers": -1.3, "Efficiency": -0.3}),
}
_DEFENCE_ODDS: Mapping[Kind, tuple[float, Mapping[str, float]]] = {
    Kind.STEAL: (0.17, {"Steals": 1.3, "Impact": 0.2}),
    Kind.DEFENSIVE_REBOUND: (0.23, {"Defensive Rebounds": 1.1, "Rebounds": 0.5}),
    Kind.STOP: (0.16, {"Points-allowed": 1.0, "Defensive Consistency": 0.3}),
    Kind.FOUL: (0.18, {"Fouls": -1.4}),
    Kind.BEATEN: (0.24, {"Points-allowed": -1.2, "Defensive Consistency": -0.5}),
}
_MAKE_ODDS: Mapping[Kind, tuple[float, Mapping[str, float]]] = {
    Kind.FREE_THROW: (0.75, {"Free Throw": 1.2, "Overall Shooting": 0.3}),
    Kind.THREE: (0.45, {"3-PTs": 1.0, "Overall Shooting": 0.5}),
    Kind.DRIVE: (0.60, {"2-PTs": 1.0, "Overall Shooting": 0.5}),
    Kind.CONTESTED: (0.45, {"Contested-shots": 1.0, "Overall Shooting": 0.5}),
    Kind.PUT_BACK: (0.60, {"Offensive Rebounds": 0.4, "Overall Shooting": 0.6}),
}

_OFFENCE_PER_GAME = 6
_DEFENCE_PER_GAME = 4
_MIN_GAMES = 5
_SEASON_PER_REEL = 3


def _made(**weights: float) -> dict[Event, float]:
    return {Event(Kind[name], made=True): weight for name, weight in weights.items()}


def _missed(**weights: float) -> dict[Event, float]:
    return {Event(Kind[name], made=False): weight for name, weight in weights.items()}


_SHOT_NAMES = tuple(kind.name for kind in SHOTS)
_POINTS = _made(FREE_THROW=1, THREE=3, DRIVE=2, CONTESTED=2, PUT_BACK=2)
_ALL_MISSES = _missed(**dict.fromkeys(_SHOT_NAMES, -1.0))
_TURNOVERS = _made(BAD_PASS=-1, LOST_BALL=-1)
_OFFENSIVE_REBOUNDS = _made(PUT_BACK=1) | _missed(PUT_BACK=1)
_GOOD_DEFENCE = _made(STEAL=1, DEFENSIVE_REBOUND=1, STOP=1)

# The box score: what one event adds to each statistic. Polarity as in BASKET: a high level is good
# in all but Defensive Consistency, so turnovers, fouls and points allowed count negatively.
WEIGHTS: Mapping[str, Mapping[Event, float]] = {
    "Free Throw": _made(FREE_THROW=1) | _missed(FREE_THROW=-0.5),
    "2-PTs": _made(DRIVE=1, CONTESTED=1, PUT_BACK=0.5) | _missed(DRIVE=-0.5, CONTESTED=-0.5),
    "3-PTs": _made(THREE=1) | _missed(THREE=-0.3),
    "Contested-shots": _made(CONTESTED=1) | _missed(CONTESTED=-0.3),
    "Overall Shooting": _made(FREE_THROW=0.5, THREE=1.3, DRIVE=1, CONTESTED=1, PUT_BACK=0.6)
    | _missed(**dict.fromkeys(_SHOT_NAMES, -0.7)),
    "Rebounds": _OFFENSIVE_REBOUNDS | _made(DEFENSIVE_REBOUND=1),
    "Defensive Rebounds": _made(DEFENSIVE_REBOUND=1),
    "Offensive Rebounds": _OFFENSIVE_REBOUNDS,
    "Steals": _made(STEAL=1),
    "Turnovers": _TURNOVERS,
    "Points-allowed": _made(STOP=1, BEATEN=-2),
    "Defensive Consistency": _made(STEAL=-1, DEFENSIVE_REBOUND=-1, STOP=-1, FOUL=1, BEATEN=1),
    "Assists": _made(ASSIST=1),
    "Passing Accuracy": _made(ASSIST=1, SWING=1, BAD_PASS=-2),
    "Fouls": _made(FOUL=-1),
    "Contribution": _POINTS | _OFFENSIVE_REBOUNDS | _made(ASSIST=2, SWING=1) | _GOOD_DEFENCE,
    "Offensive Consistency": _POINTS | _ALL_MISSES | _TURNOVERS,
    "Teamwork": _made(ASSIST=1, SWING=2) | _missed(CONTESTED=-0.5),
    "Impact": _POINTS
    | _TURNOVERS
    | _made(ASSIST=2, SWING=1, STEAL=2, DEFENSIVE_REBOUND=1, STOP=2, FOUL=-1, BEATEN=-2),
    "Efficiency": _POINTS | _ALL_MISSES | _made(ASSIST=2, SWING=1, BAD_PASS=-2, LOST_BALL=-2),
}

# Statistics of steadiness: the mean over games, divided by one plus the spread between games.
_STEADINESS = ("Defensive Consistency", "Offensive Consistency")
# Counts tie; the latent skill decides between players with equal counts, and only between them.
_TIE_BREAK = 1e-3


@dataclass(frozen=True)
class Season:
    """What one player did in one season.

    Parameters
    ----------
    games : tuple of tuple of Event
        Every possession, game by game, offence before defence within a game.
    statistics : ndarray of float64, shape (20,)
        In the order of :data:`NAMES`; larger means a higher level.
    """

    games: tuple[tuple[Event, ...], ...]
    statistics: NDArray[np.float64]


def draw_skills(rng: np.random.Generator, *, style: str) -> NDArray[np.float64]:
    """Draw one player's latent skills.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source.
    style : str
        The league the player plays in: leagues differ a little in what they are good at.

    Returns
    -------
    ndarray of float64, shape (20,)
        Unit variance, correlated through six factors, in the order of :data:`NAMES`; high is the
        better player in all of them.
    """
    loadings = np.array([_LOADINGS[name] for name in NAMES])
    loadings /= np.linalg.norm(loadings, axis=1, keepdims=True)
    shared = loadings @ (np.array(_STYLES[style]) + rng.standard_normal(loadings.shape[1]))
    own = rng.standard_normal(len(NAMES))
    skills: NDArray[np.float64] = (
        math.sqrt(_SHARED_VARIANCE) * shared + math.sqrt(1 - _SHARED_VARIANCE) * own
    )
    return skills


def a_year_later(skills: NDArray[np.float64], *, rng: np.random.Generator) -> NDArray[np.float64]:
    """Let a player's skills change between two seasons, their variance kept."""
    keep = math.sqrt(1 - _YEAR_TO_YEAR**2)
    aged: NDArray[np.float64] = keep * skills + _YEAR_TO_YEAR * rng.standard_normal(skills.size)
    return aged


def play_season(
    skills: NDArray[np.float64], *, reel_possessions: int, rng: np.random.Generator
) -> Season:
    """Play out a season about three times as long as a reel of ``reel_possessions``."""
    by_name = dict(zip(NAMES, skills.tolist(), strict=True))
    per_game = _OFFENCE_PER_GAME + _DEFENCE_PER_GAME
    n_games = max(_MIN_GAMES, math.ceil(_SEASON_PER_REEL * reel_possessions / per_game))
    games = tuple(
        (
            *_possessions(_OFFENCE_ODDS, by_name, n=_OFFENCE_PER_GAME, rng=rng),
            *_possessions(_DEFENCE_ODDS, by_name, n=_DEFENCE_PER_GAME, rng=rng),
        )
        for _ in range(n_games)
    )
    return Season(games=games, statistics=_statistics(games, by_name))


def pick_reel(
    season: Season, *, reel_possessions: int, rng: np.random.Generator
) -> tuple[Event, ...]:
    """Choose what a reel shows: possessions of the season, at random, in random order.

    The number of possessions at each end of the court is the same in every reel, so that how much
    of either basket a reel shows says nothing about the player.
    """
    events = [event for game in season.games for event in game]
    n_offence = offence_share(reel_possessions)
    chosen: list[Event] = []
    for kinds, n in ((OFFENCE, n_offence), (DEFENCE, reel_possessions - n_offence)):
        pool = [event for event in events if event.kind in kinds]
        chosen += [pool[i] for i in rng.choice(len(pool), size=n, replace=False)]
    return tuple(chosen[i] for i in rng.permutation(len(chosen)))


def offence_share(reel_possessions: int) -> int:
    """How many of a reel's possessions are attacks of the player's own team."""
    per_game = _OFFENCE_PER_GAME + _DEFENCE_PER_GAME
    return round(reel_possessions * _OFFENCE_PER_GAME / per_game)


def thresholds(statistics: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Cut a league into five levels of equal size.

    Parameters
    ----------
    statistics : sequence of ndarray of float64, each of shape (20,)
        One season per reel of the cohort that defines the levels.

    Returns
    -------
    ndarray of float64, shape (4, 20)
        The quintiles of each statistic.
    """
    inner = np.linspace(0, 1, N_LEVELS + 1)[1:-1]
    cuts: NDArray[np.float64] = np.quantile(np.stack(list(statistics)), inner, axis=0)
    return cuts


def levels(statistics: NDArray[np.float64], cuts: NDArray[np.float64]) -> tuple[int, ...]:
    """Levels 0..4 of one season, one per skill: how many thresholds lie below its statistic."""
    return tuple((statistics[None] > cuts).sum(axis=0).tolist())


def contributions(event: Event) -> dict[str, int]:
    """Which labelled levels one event pushes up (+1) or down (-1).

    The sign is that of the level, so conceding is +1 for Defensive Consistency, whose level 0 is
    the excellent one.
    """
    return {
        name: 1 if WEIGHTS[name][event] > 0 else -1
        for name in NAMES
        if WEIGHTS[name].get(event, 0.0) != 0.0
    }


def _possessions(
    odds: Mapping[Kind, tuple[float, Mapping[str, float]]],
    skills: Mapping[str, float],
    *,
    n: int,
    rng: np.random.Generator,
) -> list[Event]:
    kinds = list(odds)
    weights = np.exp([math.log(base) + _push(push, skills) for base, push in odds.values()])
    chosen = rng.choice(len(kinds), size=n, p=weights / weights.sum())
    return [Event(kinds[i], made=_goes_in(kinds[i], skills, rng=rng)) for i in chosen]


def _goes_in(kind: Kind, skills: Mapping[str, float], *, rng: np.random.Generator) -> bool:
    if kind not in _MAKE_ODDS:
        return True
    average, push = _MAKE_ODDS[kind]
    logit = math.log(average / (1 - average)) + _push(push, skills)
    return bool(rng.random() < 1 / (1 + math.exp(-logit)))


def _push(push: Mapping[str, float], skills: Mapping[str, float]) -> float:
    return sum(coefficient * skills[name] for name, coefficient in push.items())


def _statistics(
    games: Sequence[Sequence[Event]], skills: Mapping[str, float]
) -> NDArray[np.float64]:
    values = np.empty(len(NAMES))
    for column, name in enumerate(NAMES):
        weights = WEIGHTS[name]
        per_game = np.array([sum(weights.get(e, 0.0) for e in game) for game in games])
        value = per_game.mean()
        if name in _STEADINESS:
            value /= 1 + per_game.std()
        sign = 1 if SKILLS[column].high_is_good else -1
        values[column] = value + sign * _TIE_BREAK * skills[name]
    return values
