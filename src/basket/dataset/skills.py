"""The 20 skills of BASKET: name, group and polarity.

The order below is that of the authors' own scorer. The published order differs between places, so
nothing here is used to interpret a CSV file: its header is. This table answers only "what group is
this skill in" and "is a high level good".

Source: BASKET (arXiv 2503.20781) and its repository.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Group = Literal["shooting", "rebounding", "defence", "playmaking", "overall", "other"]

GROUPS: tuple[Group, ...] = (
    "shooting",
    "rebounding",
    "defence",
    "playmaking",
    "overall",
    "other",
)

N_LEVELS = 5
LEVEL_NAMES = ("poor", "fair", "average", "good", "excellent")


@dataclass(frozen=True)
class Skill:
    """One skill as the data set defines it.

    Parameters
    ----------
    name : str
        The name as the authors' scorer prints it.
    group : str
        One of :data:`GROUPS`.
    high_is_good : bool, default=True
        False where level 0 is the excellent one. Labels are never flipped: polarity is for display.
    """

    name: str
    group: Group
    high_is_good: bool = True

    def level_name(self, level: int, n_levels: int = N_LEVELS) -> str:
        """Name a level in words, polarity applied; on a scale that has none, by its label.

        >>> SKILLS[0].level_name(4), skill_named("Defensive Consistency").level_name(0)
        ('excellent', 'excellent')
        >>> SKILLS[0].level_name(2, n_levels=3)
        'level 2 (0 to 2)'
        """
        if n_levels != N_LEVELS:
            return f"level {level} (0 to {n_levels - 1})"
        return LEVEL_NAMES[level if self.high_is_good else n_levels - 1 - level]


SKILLS: tuple[Skill, ...] = (
    Skill("Free Throw", "shooting"),
    Skill("2-PTs", "shooting"),
    Skill("3-PTs", "shooting"),
    Skill("Contested-shots", "shooting"),
    Skill("Overall Shooting", "shooting"),
    Skill("Rebounds", "rebounding"),
    Skill("Defensive Rebounds", "rebounding"),
    Skill("Offensive Rebounds", "rebounding"),
    Skill("Steals", "defence"),
    Skill("Turnovers", "playmaking"),
    Skill("Points-allowed", "defence"),
    Skill("Defensive Consistency", "defence", high_is_good=False),
    Skill("Assists", "playmaking"),
    Skill("Passing Accuracy", "playmaking"),
    Skill("Fouls", "defence"),
    Skill("Contribution", "overall"),
    Skill("Offensive Consistency", "overall"),
    Skill("Teamwork", "playmaking"),
    Skill("Impact", "overall"),
    Skill("Efficiency", "overall"),
)


def _key(name: str) -> str:
    return "".join(character for character in name.casefold() if character.isalnum())


_BY_KEY = {_key(skill.name): skill for skill in SKILLS}


def skill_named(name: str) -> Skill:
    """Find a skill by its name, ignoring case, spaces and punctuation.

    A name that BASKET does not have is a skill too (any data set works): it lands in the group
    ``other`` with a high level good.

    >>> skill_named("defensive_consistency").high_is_good
    False
    >>> skill_named("dribbling").group
    'other'
    """
    return _BY_KEY.get(_key(name), Skill(name, "other"))


def skill_as_named(name: str) -> Skill:
    """Find a skill as :func:`skill_named` does, under the name that was asked for.

    >>> skill_as_named("defensive_consistency").name
    'defensive_consistency'
    """
    return replace(skill_named(name), name=name)
