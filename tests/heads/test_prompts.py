"""Zero-shot levels: the text says who is better, the labels only how often each level occurs."""

import numpy as np
import pytest

from basket.errors import UsageError
from basket.heads import make_head
from basket.heads.prompts import names_of_features

SKILLS = ["Steals", "Defensive Consistency", "Dribbling"]
COLUMNS = [
    "Steals:good:0", "Steals:good:1", "Steals:bad:0", "",
    "Defensive Consistency:good:0", "Defensive Consistency:bad:0",
]  # fmt: skip


@pytest.fixture
def scores():
    random = np.random.default_rng(0)
    better = random.normal(size=(400, 2))
    X = random.normal(size=(400, 6)) * [0.5, 5.0, 0.5, 9.0, 0.5, 0.5] + [30, 5, 20, 0, 25, 25]
    X[:, :2] += better[:, :1] * [1, 10]  # phrases are on scales of their own
    X[:, 2] -= better[:, 0]
    X[:, 4] += better[:, 1]
    X[:, 5] -= better[:, 1]
    Y = random.choice(5, p=[0.4, 0.3, 0.15, 0.1, 0.05], size=(400, 3))  # luck: nothing to learn
    return X, Y, better


def test_the_text_decides_the_order_and_the_labels_the_frequencies(scores):
    X, Y, better = scores
    head = make_head("prompts", n_levels=5, columns=COLUMNS, skills=SKILLS).fit(X, Y)
    latent, proba = head.latent(X), head.predict_proba(X)
    assert np.corrcoef(latent[:, 0], better[:, 0])[0, 1] > 0.8
    # Level 0 of Defensive Consistency is the excellent one.
    assert np.corrcoef(latent[:, 1], better[:, 1])[0, 1] < -0.8
    frequencies = np.stack([np.bincount(column, minlength=5) for column in Y.T]) / len(Y)
    assert proba.mean(axis=0) == pytest.approx(frequencies, abs=2e-3)
    # Without phrases, a skill is its prior.
    assert (latent[:, 2] == 0).all()
    assert proba[:, 2] == pytest.approx(np.tile(frequencies[2], (400, 1)), abs=2e-3)


def test_no_label_is_learned_from_but_its_frequency(scores):
    X, Y, _ = scores
    head = make_head("prompts", n_levels=5, columns=COLUMNS, skills=SKILLS)
    one = head.fit(X, Y).predict_proba(X)
    shuffled = np.random.default_rng(1).permutation(Y)
    assert head.fit(X, shuffled).predict_proba(X) == pytest.approx(one)


def test_names_that_do_not_fit_are_told(scores):
    X, Y, _ = scores
    with pytest.raises(UsageError, match="stream prompts of an X-CLIP feature set"):
        make_head("prompts", n_levels=5, columns=[""] * 6, skills=SKILLS).fit(X, Y)
    with pytest.raises(UsageError, match="names of its 6 features"):
        make_head("prompts", n_levels=5, columns=COLUMNS[:2], skills=SKILLS).fit(X, Y)
    with pytest.raises(UsageError, match="strength"):
        make_head("prompts", n_levels=5, strength=0).fit(X, Y)


def test_only_means_of_text_scores_have_names():
    class Spec:
        streams = {"pooled": 2, "prompts": 3}  # noqa: RUF012
        columns = {"prompts": ["a:good:0", "a:bad:0", "b:good:0"]}  # noqa: RUF012

    sources = [{"stream": "pooled", "spec": Spec}, {"stream": "prompts", "spec": Spec}]
    assert names_of_features(sources, "mean+std") == [
        *("", "", "", ""), "a:good:0", "a:bad:0", "b:good:0", "", "", "",
    ]  # fmt: skip
