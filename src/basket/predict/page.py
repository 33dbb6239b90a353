"""Skill cards as HTML: one self-contained page, or a fragment of a report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from basket.dataset.skills import LEVEL_NAMES
from basket.predict.card import SkillCard
from basket.predict.story import time_code

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup


def card_html(card: SkillCard) -> str:
    """The card as a self-contained page that asks nothing of the network."""
    return cards_html([card])


def cards_html(cards: Sequence[SkillCard]) -> str:
    """Several cards as one self-contained page, with a list of players where there are many."""
    # A warning that holds for some of the cards only has to stand on those.
    said = dict.fromkeys(sentence for card in cards for sentence in card.warnings)
    shared = [sentence for sentence in said if all(sentence in card.warnings for card in cards)]
    return (
        _environment()
        .get_template("card_page.html.j2")
        .render(cards=[(card, _level_names(card)) for card in cards], banner=shared)
    )


def card_fragment(card: SkillCard) -> Markup:
    """The card as escaped HTML for a section of a report; brings its own style.

    Give it to ``EvaluationReport.to_html(sections=[(title, card_fragment(card))])``.
    """
    from markupsafe import Markup

    template = _environment().get_template("card_fragment.html.j2")
    # The template escapes every value; what it returns is HTML.
    return Markup(  # noqa: S704
        template.render(card=card, level_names=_level_names(card), banner=[], number=0)
    )


def _environment() -> Environment:
    from basket.evaluate.page import environment

    env = environment("basket.predict")
    env.filters["time_code"] = time_code
    env.filters["lower_first"] = lambda text: text[:1].lower() + text[1:]
    return env


def _level_names(card: SkillCard) -> list[str]:
    """Words for the scale from poor to excellent; for other scales the ends only."""
    n_levels = max((reading.n_levels for reading in card.readings), default=len(LEVEL_NAMES))
    if n_levels == len(LEVEL_NAMES):
        return list(LEVEL_NAMES)
    return ["lowest", *("" for _ in range(n_levels - 2)), "highest"]
