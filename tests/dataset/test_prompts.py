"""Prompt banks: basket's own, users' own, and what is refused."""

import pytest

from basket.dataset.prompts import PromptBank, default_bank, read_prompts
from basket.dataset.skills import SKILLS
from basket.errors import LabelError, UsageError

GOOD = """
Steals:
  good:
    - a player   steals the ball
    - a defender intercepts a pass
  bad: [a player is dribbled past]
3-PTs:
  bad: [a long shot misses]
  good: [a long shot goes in]
"""


@pytest.fixture
def write(tmp_path):
    def to_file(text):
        path = tmp_path / "bank.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return to_file


def test_our_bank_has_every_skill_and_only_once():
    bank = default_bank()
    assert list(bank.prompts) == [skill.name for skill in SKILLS]
    assert all(len(sides[side]) >= 2 for sides in bank.prompts.values() for side in sides)
    assert len(set(bank.texts)) == len(bank.texts) == len(bank.columns) == len(set(bank.columns))


def test_our_phrases_fit_into_any_text_tower():
    assert max(len(text) for text in default_bank().texts) <= 75  # one token a letter at worst


def test_columns_name_skill_side_and_position(write):
    bank = read_prompts(write(GOOD))
    assert bank.columns == (
        "Steals:good:0",
        "Steals:good:1",
        "Steals:bad:0",
        "3-PTs:good:0",
        "3-PTs:bad:0",
    )
    assert bank.texts == (
        "a player steals the ball",
        "a defender intercepts a pass",
        "a player is dribbled past",
        "a long shot goes in",
        "a long shot misses",
    )


def test_the_digest_follows_content_and_order_not_spelling_of_the_file(write):
    bank = read_prompts(write(GOOD))
    same = PromptBank(bank.prompts)
    spaced = read_prompts(
        write("# a comment\n" + GOOD.replace("a player   steals", "a player steals"))
    )
    assert bank.sha256 == same.sha256 == spaced.sha256
    assert len(bank.sha256) == 64
    turned = PromptBank(dict(reversed(bank.prompts.items())))
    other = read_prompts(write(GOOD.replace("intercepts", "catches")))
    assert len({bank.sha256, turned.sha256, other.sha256, default_bank().sha256}) == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no prompt bank"),
        ("[]", "no prompt bank"),
        ("just text", "no prompt bank"),
        ("Steals: [a]", "'good' and 'bad'"),
        ("Steals: {good: [a]}", "it has good"),
        ("Steals: {good: [a], bad: [b], worse: [c]}", "it has good, bad, worse"),
        ("Steals: {good: [], bad: [b]}", "Steals, good: expected a list"),
        ("Steals: {good: a, bad: [b]}", "Steals, good: expected a list"),
        ("Steals: {good: [1], bad: [b]}", "expected a list of phrases"),
        ("Steals: {good: ['  '], bad: [b]}", "expected a list of phrases"),
        ("Steals: {good: [a, a], bad: [b]}", "'a' twice"),
        ("Steals: {good: [a], bad: [a]}", "'a' twice"),
        ("3: {good: [a], bad: [b]}", "3 is no skill name"),
        ("'a:b': {good: [a], bad: [b]}", "is no skill name"),
        ("Steals: {good: [a], bad: [b]}\nSteals: {good: [c], bad: [d]}", "stands there twice"),
        ("Steals: {good: [a], good: [c], bad: [b]}", "stands there twice"),
        ("Steals: {good: [a", "cannot be read as YAML"),
        ("!!python/object/apply:os.system ['true']", "cannot be read as YAML"),
        ("[a]: {good: [a], bad: [b]}", "cannot be read as YAML"),
    ],
)
def test_what_is_no_bank_is_refused_in_one_sentence(write, text, words):
    with pytest.raises(LabelError) as caught:
        read_prompts(write(text))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value) and "bank.yaml" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        read_prompts(tmp_path / "nowhere.yaml")
    (tmp_path / "latin.yaml").write_bytes("Fouls: {good: [é], bad: [b]}".encode("latin-1"))
    with pytest.raises(LabelError, match="not UTF-8"):
        read_prompts(tmp_path / "latin.yaml")
