"""Players, seasons and levels."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from basket.dataset.skills import SKILLS
from basket.demo import league
from basket.demo.events import DEFENCE, OFFENCE, SHOTS, Event, Kind

ALL_EVENTS = [
    Event(kind, made=made)
    for kind in Kind
    for made in ((True, False) if kind in SHOTS else (True,))
]


def season(skill: str, value: float, *, seed: int) -> league.Season:
    skills = np.zeros(len(league.NAMES))
    skills[league.NAMES.index(skill)] = value
    return league.play_season(skills, reel_possessions=40, rng=np.random.default_rng(seed))


def test_every_skill_has_a_statistic_and_every_event_moves_a_level() -> None:
    assert set(league.WEIGHTS) == {skill.name for skill in SKILLS}
    assert all(league.contributions(event) for event in ALL_EVENTS)
    counted = {event for weights in league.WEIGHTS.values() for event in weights}
    assert counted <= set(ALL_EVENTS)


@pytest.mark.parametrize("skill", ["3-PTs", "Steals", "Fouls", "Turnovers", "Points-allowed"])
def test_a_better_player_has_the_better_statistic(skill: str) -> None:
    column = league.NAMES.index(skill)
    good, bad = (
        np.mean([season(skill, value, seed=seed).statistics[column] for seed in range(12)])
        for value in (1.5, -1.5)
    )
    assert good > bad


def test_defensive_consistency_is_inverted() -> None:
    column = league.NAMES.index("Defensive Consistency")
    good, bad = (
        np.mean(
            [
                season("Defensive Consistency", value, seed=seed).statistics[column]
                for seed in range(30)
            ]
        )
        for value in (2.0, -2.0)
    )
    assert good < bad
    assert league.contributions(Event(Kind.BEATEN))["Defensive Consistency"] == 1
    assert league.contributions(Event(Kind.STEAL))["Defensive Consistency"] == -1


def test_a_reel_is_a_part_of_the_season() -> None:
    rng = np.random.default_rng(0)
    whole = league.play_season(league.draw_skills(rng, style="North"), reel_possessions=14, rng=rng)
    reel = league.pick_reel(whole, reel_possessions=14, rng=rng)
    assert len(reel) == 14
    assert Counter(reel) <= Counter(event for game in whole.games for event in game)
    assert sum(event.kind in OFFENCE for event in reel) == league.offence_share(14)
    assert sum(event.kind in DEFENCE for event in reel) == 14 - league.offence_share(14)


def test_ties_are_broken_so_that_levels_stay_balanced() -> None:
    rng = np.random.default_rng(5)
    statistics = [
        league.play_season(
            league.draw_skills(rng, style="Coast"), reel_possessions=14, rng=rng
        ).statistics
        for _ in range(100)
    ]
    cuts = league.thresholds(statistics)
    levels = np.array([league.levels(one, cuts) for one in statistics])
    counts = np.stack([(levels == k).sum(axis=0) for k in range(5)])
    assert counts.min() >= 19
    assert counts.max() <= 21


def test_skills_are_correlated_as_in_life() -> None:
    rng = np.random.default_rng(1)
    skills = np.array([league.draw_skills(rng, style="North") for _ in range(1500)])
    correlation = np.corrcoef(skills.T)
    at = league.NAMES.index
    assert correlation[at("Rebounds"), at("Offensive Rebounds")] > 0.5
    assert abs(correlation[at("Rebounds"), at("Assists")]) < 0.35
    assert np.allclose(skills.std(axis=0), 1.0, atol=0.1)
