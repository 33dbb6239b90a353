"""The 20 skills: groups and the one inverted polarity."""

from basket.dataset import GROUPS, LEVEL_NAMES, SKILLS, skill_named


def test_twenty_skills_in_known_groups():
    assert len(SKILLS) == len({skill.name for skill in SKILLS}) == 20
    assert {skill.group for skill in SKILLS} == set(GROUPS) - {"other"}


def test_only_defensive_consistency_is_inverted():
    assert [skill.name for skill in SKILLS if not skill.high_is_good] == ["Defensive Consistency"]


def test_levels_in_words_follow_polarity():
    assert [skill_named("Steals").level_name(level) for level in range(5)] == list(LEVEL_NAMES)
    inverted = skill_named("defensive_consistency")
    assert [inverted.level_name(level) for level in range(5)] == list(LEVEL_NAMES)[::-1]


def test_names_are_found_whatever_their_spelling():
    assert skill_named("2-pts").name == "2-PTs"
    assert skill_named("FREE_THROW").group == "shooting"
    assert skill_named("dribbling").group == "other"
