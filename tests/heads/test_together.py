"""Heads fitted together are the heads fitted alone, and what they share is done once."""

from collections import Counter

import numpy as np
import pytest
from sklearn.base import clone

from basket.errors import UsageError
from basket.heads import boosting, linear_fit, make_head, ridge_search
from basket.heads.mlp import MlpHead
from basket.heads.together import fit_many, share_key

PLAYERS = np.arange(240) // 2


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(240, 8)).astype(np.float32)
    latent = X @ random.normal(size=(8, 3))
    latent = latent / latent.std(axis=0) + 0.5 * random.normal(size=latent.shape)
    Y = (latent[:, None] > np.array([-1, -0.3, 0.3, 1])[None, :, None]).sum(axis=1)
    Y[::7, 1] = -1
    return X, Y


@pytest.fixture
def count(monkeypatch):
    """How often the expensive part of each family was done."""
    calls = Counter()

    def counted(name, place, attribute):
        done = getattr(place, attribute)

        def call(*args, **kwargs):
            calls[name] += 1
            return done(*args, **kwargs)

        monkeypatch.setattr(place, attribute, call)

    counted("gram", ridge_search.Moments, "of")
    counted("rotation", linear_fit.Rotation, "of")
    counted("binning", boosting, "_bin")
    return calls


PACKS = {
    "ridge": (
        "ridge",
        [{"penalties": [1.0]}, {"penalties": [300.0, 3.0]}, {"penalties": [30.0]}],
        {"class_weight": "balanced"},
        {"gram": 10},
    ),
    "ridge on thresholds": (
        "ridge",
        [{"penalties": [1.0]}, {"penalties": [300.0, 3.0]}],
        {"target": "thresholds"},
        {"gram": 10},
    ),
    "cumulative path": (
        "cumulative",
        [{"penalties": [p], "seed": seed} for p in (1.0, 100.0, 10.0) for seed in (0, 1)],
        {},
        {"rotation": 2},
    ),
    "cumulative search": (
        "cumulative",
        [{"penalties": [3.0, 30.0]}, {"penalties": [1.0, 300.0]}],
        {"loss": "corn"},
        {"rotation": 2},
    ),
    "partial": (
        "cumulative",
        [{"penalties": [3.0]}, {"penalties": [30.0]}],
        {"partial": True},
        {"rotation": 2},
    ),
    "gbdt": (
        "gbdt",
        [{"leaves": 3}, {"leaves": 5, "learning_rate": 0.1}, {"objective": "frank-hall"}],
        {"rounds": 10, "patience": 10},
        {"binning": 2},
    ),
    "gbdt on components": (
        "gbdt",
        [{"leaves": 3}, {"leaves": 5}],
        {"rounds": 5, "pca": 4, "patience": 0},
        {"binning": 2},
    ),
}


@pytest.mark.parametrize("name", PACKS)
def test_heads_fitted_together_are_the_heads_fitted_alone(name, data, count):
    X, Y = data
    family, own, common, shared = PACKS[name]
    heads = [make_head(family, n_levels=5, **each, **common) for each in own]
    assert len({share_key(head) for head in heads}) == 1
    alone = [clone(head).fit(X, Y, groups=PLAYERS) for head in heads]
    before = dict(count)
    fit_many(heads, X, Y, groups=PLAYERS)
    # Labels of one skill are missing in some rows, so there are two sets of rows.
    assert {what: count[what] - before[what] for what in shared} == shared
    probabilities = [head.predict_proba(X) for head in heads]
    for together, single in zip(probabilities, alone, strict=True):
        assert together == pytest.approx(single.predict_proba(X), abs=1e-5)
    assert np.abs(probabilities[0] - probabilities[-1]).max() > 1e-3


def test_what_a_fold_or_a_row_depends_on_is_not_shared(data):
    alike = {"n_levels": 5, "penalties": [1.0]}
    different = [
        make_head("ridge", **alike),
        make_head("ridge", **alike, seed=1),
        make_head("ridge", **alike, folds=3),
        make_head("ridge", **alike, class_weight="balanced"),
        make_head("cumulative", **alike),
        make_head("cumulative", n_levels=5, seed=1),
        make_head("cumulative", n_levels=5),
    ]
    assert len({share_key(head) for head in different}) == len(different)
    fit_many(different[:3], *data)
    for head in different[:3]:
        expected = clone(head).fit(*data).predict_proba(data[0])
        assert head.predict_proba(data[0]) == pytest.approx(expected, abs=1e-9)


def test_a_mistake_in_one_head_is_told(data):
    heads = [MlpHead(n_levels=5, dropout=value, epochs=1) for value in (0.1, 1.5)]
    with pytest.raises(UsageError, match=r"dropout must be .* got 1\.5"):
        fit_many(heads, *data)
