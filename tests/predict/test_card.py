"""The card reads from poor to excellent whatever the polarity, and escapes what it is given."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from basket.dataset.skills import SKILLS
from basket.predict.card import make_card
from basket.predict.confidence import verdict
from basket.predict.page import card_fragment, card_html, cards_html

NAMES = tuple(skill.name for skill in SKILLS)
HOSTILE = "<script>alert(1)</script>"


class Cells(HTMLParser):
    """Rows (one per skill) with their probability blocks, and all tags and text."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.rows, self.tags, self.pieces = {}, [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.tags.append((tag, attributes))
        if "data-skill" in attributes:
            self.row = self.rows[attributes["data-skill"]] = {
                **attributes,
                "shares": [],
                "meter": [],
            }
        if "data-share" in attributes:
            self.row["shares"].append(float(attributes["data-share"]))
        if (
            tag == "i"
            and self.rows
            and "style" not in attributes
            and "tri" not in attributes["class"]
        ):
            self.row["meter"].append(attributes["class"].split())

    def handle_data(self, data):
        self.pieces.append(data)

    @property
    def text(self):
        return " ".join("".join(self.pieces).split())


def make(**changes):
    random = np.random.default_rng(0)
    proba = random.dirichlet(np.ones(5), size=20)
    settings = {
        "skills": NAMES,
        "levels": proba.argmax(1),
        "probabilities": proba,
        "run": "motion-gbdt",
        "features": "motion",
        "head": "gbdt",
    } | changes
    return make_card("18-19/NBA/7_18_19.mp4", **settings)


def one_skill(name, level, **changes):
    proba = np.full((1, 5), 0.05)
    proba[0, level] = 0.8
    return make(skills=(name,), levels=[level], probabilities=proba, **changes)


@pytest.mark.parametrize(
    ("name", "level", "word", "filled"),
    [
        ("Steals", 4, "excellent", 5),
        ("Steals", 0, "poor", 1),
        ("Defensive Consistency", 0, "excellent", 5),
        ("Defensive Consistency", 4, "poor", 1),
        ("Defensive Consistency", 1, "good", 4),
    ],
)
def test_good_is_right_for_both_polarities(name, level, word, filled):
    card = one_skill(name, level, true_levels=[level])
    row = Cells(card_html(card)).rows[name]
    assert card.readings[0].word == row["data-word"] == word
    assert row["data-level"] == str(level)
    assert sum("on" in block for block in row["meter"]) == filled
    assert [index for index, block in enumerate(row["meter"]) if "true" in block] == [filled - 1]
    # The likely block lies where the word says.
    assert int(np.argmax(row["shares"])) == filled - 1


def test_polarity_is_explained_where_low_is_good_and_nowhere_else():
    assert "label 0 is excellent" in card_html(one_skill("Defensive Consistency", 2))
    assert "label 0 is excellent" not in card_html(one_skill("Steals", 2))


def test_all_skills_in_their_groups_with_their_probabilities():
    card = make()
    cells = Cells(card_html(card))
    assert set(cells.rows) == set(NAMES)
    assert [group for group, _ in card.groups] == [
        "shooting",
        "rebounding",
        "defence",
        "playmaking",
        "overall",
    ]
    for reading in card.readings:
        assert cells.rows[reading.name]["shares"] == pytest.approx(
            reading.ranked_probabilities, abs=1e-4
        )
        assert f"{reading.confidence:.0%}" in cells.text


def test_season_league_and_player_come_from_the_path():
    card = make()
    assert (card.season, card.league, card.player) == ("18-19", "NBA", "7")
    assert "Player 7" in Cells(card_html(card)).text
    other = make_card("holiday.mp4", skills=("Steals",), levels=[1], probabilities=[[0.5, 0.5]])
    assert other.player == ""
    assert "holiday.mp4" in Cells(card_html(other)).text


def test_strongest_and_weakest_respect_polarity():
    proba = np.full((20, 5), 0.05)
    proba[:, 2] = 0.8
    inverted = NAMES.index("Defensive Consistency")
    proba[inverted] = [0.96, 0.01, 0.01, 0.01, 0.01]
    proba[NAMES.index("Fouls")] = [0.96, 0.01, 0.01, 0.01, 0.01]
    card = make(probabilities=proba, levels=proba.argmax(1))
    assert card.strongest[0].name == "Defensive Consistency"
    assert card.weakest[0].name == "Fouls"
    assert make(skills=NAMES[:2], levels=[0, 1], probabilities=proba[:2]).strongest == []


def test_the_stated_level_orders_strongest_and_weakest():
    """A reader sees words: nothing called average may stand above something called excellent."""
    card = make()
    stated = [reading.rank(reading.level) for reading in card.strongest + card.weakest[::-1]]
    assert stated == sorted(stated, reverse=True)
    ranks = [reading.rank(reading.level) for reading in card.readings]
    assert (stated[0], stated[-1]) == (max(ranks), min(ranks))


def test_true_levels_are_marked_only_where_known():
    true = np.full(20, -1)
    true[0] = 3
    html = card_html(make(true_levels=true))
    assert html.count("truly ") == 1
    assert "true level</span>" in html
    assert "true level</span>" not in card_html(make())


@pytest.mark.parametrize(
    ("flag", "sentence"), [("simulated", "Simulated head"), ("random_weights", "Random weights")]
)
def test_warnings_stand_on_page_and_fragment(flag, sentence):
    card = make(**{flag: True})
    assert Cells(card_html(card)).text.count(sentence) == 1
    assert sentence in Cells(card_fragment(card)).text
    assert sentence not in card_html(make())


def test_several_cards_share_a_page_and_only_what_holds_for_all_stands_across_it():
    simulated, real = (
        make(simulated=True),
        make_card("holiday.mp4", skills=("Steals",), levels=[1], probabilities=[[0.5, 0.5]]),
    )
    cells = Cells(cards_html([simulated, real]))
    articles = [a["data-video"] for tag, a in cells.tags if tag == "article"]
    assert articles == ["18-19/NBA/7_18_19.mp4", "holiday.mp4"]
    assert cells.text.count("Simulated head") == 1
    assert cells.text.index("Nobody measured") < cells.text.index("Simulated head")
    both = Cells(cards_html([simulated, simulated]))
    assert {"banner", "flags"} & {a.get("class") for _, a in both.tags} == {"banner"}
    assert [a["href"] for tag, a in both.tags if tag == "a"] == ["#card-1", "#card-2"]


@pytest.mark.parametrize("changes", [{}, {"beyond": 12}])
def test_what_nothing_speaks_for_comes_first_and_is_toned_down(changes):
    if changes:
        changes["calibration"] = calibration(0.7)
    page = card_html(make(**changes))
    headline = make(**changes).verdict.headline
    text = Cells(page).text
    assert text.index(headline) < text.index("Player 7")
    assert 'class="skill-card toned-down"' in page
    measured = card_html(make(calibration=calibration(0.7)))
    assert 'class="skill-card"' in measured
    assert "toned-down" not in measured.partition("</style>")[2]


def test_a_skill_of_which_everyone_is_told_the_same_stands_out_nowhere():
    flat = np.zeros(20, bool)
    flat[3] = True
    levels = np.full(20, 2)
    levels[3] = 4
    card = make(levels=levels, is_flat=flat)
    assert NAMES[3] not in [each.name for each in (*card.strongest, *card.weakest)]
    text = Cells(card_html(card)).text
    assert text.count("says nearly the same of everyone") == 2
    few = make(is_flat=np.arange(20) > 4)
    assert few.strongest == few.weakest == []


def test_a_word_and_a_place_that_seem_at_odds_are_explained():
    levels, places = np.full(20, 2), np.full(20, 0.5)
    levels[:4], places[:4] = [4, 4, 0, 2], [0.1, 0.9, 0.9, 0.95]
    shown = make(levels=levels, percentiles=places).readings[:5]
    assert [bool(each.surprise) for each in shown] == [True, False, True, True, False]
    assert "the run expects more of most players" in shown[0].surprise
    assert "the run expects less of most players" in shown[2].surprise


def test_too_few_players_to_compare_with_are_counted_and_no_share_is_shown():
    text = Cells(card_html(make(compared_with="8 training players", is_compared=False))).text
    assert "only 8 training players to compare with" in text
    assert "ahead of 0" not in text


def test_a_reel_has_one_duration_in_one_unit():
    text = Cells(card_html(make(duration_s=83.4))).text
    assert "reel of 1:23 ·" in text


def test_other_scales_and_unknown_skills():
    card = make_card("a.mp4", skills=("backhand",), levels=[2], probabilities=[[0.1, 0.2, 0.7]])
    cells = Cells(card_html(card))
    assert cells.rows["backhand"]["data-word"] == "level 2 (0 to 2)"
    assert cells.rows["backhand"]["shares"] == [0.1, 0.2, 0.7]
    assert "lowest" in cells.text
    assert "highest" in cells.text


def test_skills_of_another_data_set_are_a_group_of_their_own_with_names_that_fit():
    names = ("Bow control", "Holds the bow without pressing it at all", "Tempo" * 20)
    card = make_card("a.mp4", skills=names, levels=[0] * 3, probabilities=[[0.7, 0.3]] * 3)
    assert [group for group, _ in card.groups] == ["skills"]
    ((group, chart),) = card.radars
    assert group == "skills"
    lines = [lines for *_, lines in chart.labels]
    assert lines[0] == ("Bow control",)
    assert max(len(line) for each in lines for line in each) <= 13
    assert all(len(each) == 3 and each[-1].endswith("…") for each in lines[1:])
    assert "Holds the bow without pressing it at all" in Cells(card_html(card)).text


def test_a_group_of_many_skills_has_no_chart():
    """Twelve names around one circle would lie over each other."""
    many = [f"skill {index}" for index in range(12)]
    card = make_card("a.mp4", skills=many, levels=[0] * 12, probabilities=[[0.7, 0.3]] * 12)
    assert card.radars == []
    cells = Cells(card_html(card))
    assert len(cells.rows) == 12
    assert "In the charts" not in cells.text
    assert "In the charts" in Cells(card_html(make())).text


@pytest.mark.parametrize("cards", [1, 2])
def test_headings_start_at_the_first_level(cards):
    headings = [tag for tag, _ in Cells(cards_html([make()] * cards)).tags if tag in ("h1", "h2")]
    assert headings == ["h1", *["h2"] * cards]


def test_hostile_names_are_escaped():
    settings = {"run": HOSTILE, "features": HOSTILE, "head": HOSTILE, "notes": [HOSTILE]}
    card = make_card(
        f"{HOSTILE}.mp4", skills=(HOSTILE,), levels=[0], probabilities=[[0.6, 0.4]], **settings
    )
    for html in (card_html(card), card_fragment(card)):
        assert "<script" not in html
        assert "script" not in {tag for tag, _ in Cells(html).tags}
        assert HOSTILE in Cells(html).text


def test_the_page_leaves_the_machine_for_nothing():
    html = card_html(make())
    assert not re.search(r"https?://|url\(|@import", html)
    cells = Cells(html)
    assert {"script", "link", "img"}.isdisjoint(tag for tag, _ in cells.tags)
    assert not any("src" in attributes or "href" in attributes for _, attributes in cells.tags)


def test_the_fragment_is_markup_that_a_report_embeds_as_it_is():
    fragment = card_fragment(make())
    assert fragment.__html__() == fragment
    assert "<html" not in fragment
    assert "<style>" in fragment


@pytest.mark.parametrize(
    "changes",
    [
        {"levels": [0] * 19},
        {"levels": [5] * 20},
        {"levels": [-1] * 20},
        {"probabilities": np.ones(20)},
        {"true_levels": [7] * 20},
    ],
)
def test_predictions_that_do_not_fit_are_refused(changes):
    with pytest.raises(ValueError, match="levels"):
        make(**changes)


def rate(share, low=0.2):
    from basket.heads.calibration import Rate

    return Rate(0.4, 200, 20, int(200 * share), int(200 * min(1, share + low)), 100.0)


def calibration(share, guess=0.25):
    from basket.heads.calibration import Calibration

    return Calibration(20, 20, rate(share), guess, (rate(share),), {})


@pytest.mark.parametrize(
    ("share", "said"),
    [
        (0.26, "Not shown to be better than guessing"),
        (0.42, "Better than guessing, wrong more often than right"),
        (0.7, "Right more often than not"),
    ],
)
def test_the_page_says_how_sure_it_is(share, said):
    text = Cells(card_html(make(calibration=calibration(share)))).text
    assert said in text
    assert f"{share:.0%} right" in text
    assert "guessing 25%" in text
    assert f"right {share:.0%} of the time" in text
    assert "all skills are counted together" in text


def test_without_a_calibration_nobody_claims_one():
    text = Cells(card_html(make())).text
    assert "Nobody measured how often this run is right" in text
    assert "of the time" not in text


def test_a_strange_reel_is_called_strange_whatever_was_measured_on_others():
    text = Cells(card_html(make(calibration=calibration(0.7), beyond=12))).text
    assert "Unlike any reel it was checked on" in text
    assert "For 12 of 20 skills" in text
    assert "Right more often than not" not in text
    assert "Right more often" in Cells(card_html(make(calibration=calibration(0.7), beyond=3))).text


def test_standing_counts_from_poor_to_excellent_for_both_polarities():
    places = np.full(20, np.nan)
    places[NAMES.index("Steals")] = places[NAMES.index("Defensive Consistency")] = 0.9
    html = card_html(make(percentiles=places, compared_with="30 validation players"))
    text = Cells(html).text
    assert text.count("ahead of ") == 2
    assert "ahead of 90%" in text
    assert "ahead of 10%" in text
    assert "30 validation players" in text


def test_a_radar_per_group_says_the_same_in_words():
    card = make()
    charts = dict(card.radars)
    assert set(charts) == {group for group, readings in card.groups if len(readings) > 2}
    shooting = [reading for reading in card.readings if reading.skill.group == "shooting"]
    for reading in shooting:
        assert f"{reading.name} {reading.word}" in charts["shooting"].description
    # The further out, the better: an excellent skill's corner lies on the outermost ring.
    best = one_skill("Steals", 4)
    assert best.radars == []
    excellent = make(levels=np.where(np.array(NAMES) == "Defensive Consistency", 0, 4))
    for _, chart in excellent.radars:
        assert chart.outline == chart.rings[-1]
    html = card_html(card)
    assert html.count("<svg") == len(charts)
    assert html.count("<title>") == len(charts) + 1


def test_nothing_on_the_page_is_fetched_from_elsewhere():
    html = card_html(make(notes=[HOSTILE], calibration=calibration(0.4)))
    assert HOSTILE not in html
    for tag, attributes in Cells(html).tags:
        assert tag not in ("script", "link", "iframe", "object")
        assert not set(attributes) & {"src", "srcset", "onclick", "onload"}
        assert not attributes.get("href", "#").startswith("http")


@pytest.mark.parametrize(("beyond", "strange"), [(1, False), (2, True)])
def test_one_skill_of_three_beyond_all_players_is_no_strange_reel(beyond, strange):
    """Three skills and twenty players: every fourth reel would be one."""
    found = verdict(calibration(0.7), beyond=beyond, n_skills=3)
    assert (found.headline == "Unlike any reel it was checked on") == strange
