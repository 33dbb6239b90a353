"""Text scores: in words beside the evidence, as a head of their own, as extra features."""

import numpy as np
import pytest

from basket.cache import open_cache
from basket.dataset.prompts import PromptBank
from basket.predict.backbones import _bank
from basket.predict.cards import cards_of
from basket.predict.page import card_html
from basket.predict.phrases import phrase_scores


def scores_of(world, name, bank=None):
    cache = open_cache(world.cache)
    (source,) = (
        cache[each] for each in cache.feature_sets if cache[each].spec.backbone == "motion"
    )
    skills = ("Steals", "Impact", "Dribbling")
    return phrase_scores([source.read(name)], [source.spec], skills=skills, bank=bank)


def test_phrases_are_counted_from_their_own_mean_over_the_reel(world):
    found = scores_of(world, world.names[0])
    assert found.scores.mean(axis=0) == pytest.approx(np.zeros(6), abs=1e-9)
    assert found.scores.std(axis=0) == pytest.approx(np.ones(6))
    # Columns are Steals good and bad, Defensive Consistency good and bad, Impact good and bad.
    assert found.balance[:, 0] == pytest.approx(found.scores[:, 0] - found.scores[:, 1])
    assert found.balance[:, 1] == pytest.approx(found.scores[:, 4] - found.scores[:, 5])
    assert np.isnan(found.balance[:, 2]).all()
    best = int(found.scores[:, 0].argmax())
    assert found.best(best, "Steals", good=True) == "Steals:good:0"
    worst = int(found.scores[:, 0].argmin())
    assert found.best(worst, "Steals", good=True) == ""


def test_a_bank_of_ones_own_gives_the_words(world, monkeypatch):
    skills = {name: {"good": (f"{name} done well",), "bad": (f"{name} done badly",)}
              for name in ("Steals", "Defensive Consistency", "Impact")}  # fmt: skip
    bank = PromptBank(skills)
    assert scores_of(world, world.names[0], bank).texts[0] == "Steals:good:0"  # another hash
    monkeypatch.setattr(PromptBank, "sha256", property(lambda _self: world.spec.prompts_sha256))
    assert scores_of(world, world.names[0], bank).texts[0] == "Steals done well"


def test_a_run_asks_for_the_bank_it_was_fitted_with(fit):
    from basket.dataset.prompts import default_bank
    from basket.errors import UsageError

    run = fit("ridge", pool="mean")
    assert _bank("", None, run) is None
    assert _bank(default_bank().sha256, None, run) is default_bank()
    with pytest.raises(UsageError, match="--prompts"):
        _bank("ab" * 32, default_bank(), run)


def test_the_zero_shot_head_reads_the_text_and_explains_itself(fit, world, labels):
    run = fit("prompts", streams=("motion:prompts",), pool="mean")
    listed = world.root / "some.csv"
    listed.write_text("path\n" + "\n".join(world.names[:20]) + "\n")
    found = run.predict(listed, cache=world.cache)
    true = dict(zip(labels.video_ids, labels.levels, strict=True))
    for skill in range(3):
        places = [video.percentiles[skill] for video in found.videos]
        known = [true[video.video_id][skill] for video in found.videos]
        assert np.corrcoef(places, known)[0, 1] > 0.5
    assert found.evidence()[world.names[0]].method == "exact"
    cards = cards_of(found)
    html = card_html(cards[0])
    assert "what the text model sees" in html
    assert "Steals:good:0" in html  # the bank is not at hand, so the column's name is shown
    assert "no pictures of the moments" in html


def test_text_scores_are_extra_features(fit, world):
    alone = fit("ridge", pool="mean")
    both = fit("ridge", streams=("motion:pooled", "motion:prompts"), pool="mean")
    assert both.width == alone.width + 6
    listed = world.root / "one.csv"
    listed.write_text(f"path\n{world.names[0]}\n")
    (video,) = both.predict(listed, cache=world.cache).videos
    assert video.proba.shape == (3, 5)
