"""Attention over segments: ragged, unpadded, and better than the mean where evidence is rare."""

import numpy as np
import pytest
import torch

from basket.cache.features import RaggedFeatures
from basket.errors import UsageError
from basket.heads import make_head
from basket.heads.attention_training import Recipe, _Model

CUTS = np.array([-0.8, -0.25, 0.25, 0.8])


def reels(n, *, seed=0, sparse=True):
    """Reels of 3 to 8 segments; one of them (marked in column 0), or all, tell the skill."""
    random = np.random.default_rng(seed)
    offsets = np.append(0, np.cumsum(random.integers(3, 9, size=n)))
    values = random.normal(size=(offsets[-1], 12)).astype(np.float16)
    skill = random.normal(size=n)
    for video in range(n):
        segments = slice(offsets[video], offsets[video + 1])
        if sparse:
            told = random.integers(offsets[video], offsets[video + 1])
            values[told, 0] += 6
            values[told, 1] = 4 * skill[video]
        else:
            values[segments, 1] += skill[video]
    return RaggedFeatures(values, offsets), (skill[:, None] > CUTS).sum(axis=1)[:, None]


def test_attention_finds_the_segment_that_tells():
    X, Y = reels(500)
    train, test = X.take(np.arange(350)), X.take(np.arange(350, 500))
    head = make_head("attention", n_levels=5, epochs=120, patience=20, learning_rate=4e-3)
    head.fit(train, Y[:350])
    mean = make_head("ridge", n_levels=5).fit(
        np.stack([segments.mean(axis=0) for segments in train]), Y[:350]
    )
    at_mean = mean.score(np.stack([segments.mean(axis=0) for segments in test]), Y[350:])
    assert head.score(test, Y[350:]) > at_mean + 0.1
    weights = head.attention(test)
    assert all(each.sum(axis=0) == pytest.approx(1.0) for each in weights)
    found = [
        each[:, 0].argmax() == segments[:, 0].argmax()
        for each, segments in zip(weights, test, strict=True)
    ]
    assert np.mean(found) > 0.9


def test_evenly_spread_evidence_loses_nothing_against_ridge_on_the_mean():
    X, Y = reels(500, sparse=False)
    train, test = X.take(np.arange(350)), X.take(np.arange(350, 500))
    head = make_head("attention", n_levels=5).fit(train, Y[:350])
    mean = make_head("ridge", n_levels=5).fit(
        np.stack([segments.mean(axis=0) for segments in train]), Y[:350]
    )
    at_mean = mean.score(np.stack([segments.mean(axis=0) for segments in test]), Y[350:])
    assert head.score(test, Y[350:]) > at_mean - 0.05


@pytest.mark.parametrize("pool", ["attention", "topk"])
@pytest.mark.parametrize("queries", ["skill", "shared", [3, 3]])
def test_a_video_is_scored_the_same_alone_and_in_company(pool, queries):
    X, Y = reels(80)
    Y = np.hstack([Y, 4 - Y])
    Y[::6, 1] = -1
    head = make_head("attention", n_levels=5, pool=pool, queries=queries, epochs=3, patience=0)
    head.fit(X, Y)
    together = head.predict_proba(X)
    for video in (0, 17, 79):
        alone = head.predict_proba(X.take([video]))
        assert alone[0] == pytest.approx(together[video], abs=1e-6)
    backwards = head.predict_proba(X.take(np.arange(80)[::-1]))[::-1]
    assert backwards == pytest.approx(together, abs=1e-6)


@pytest.mark.parametrize("top", [0, 2])
def test_what_is_trained_is_what_is_applied(top):
    X, Y = reels(40)
    random = np.random.default_rng(1)
    head = make_head(
        "attention", n_levels=5, epochs=1, patience=0, pool="topk" if top else "attention", top=2
    ).fit(X, Y)
    head.slope_ = random.normal(size=(12, 1)).astype(np.float32)
    head.query_ = random.normal(size=(12, 1)).astype(np.float32)
    recipe = Recipe(top, (0,), 0.0, 0.0, 1, 1, 1, 0)
    model = _Model(recipe, head.slope_, head.thresholds_)
    with torch.no_grad():
        model.query.copy_(torch.from_numpy(head.query_))
        lengths = torch.from_numpy(X.lengths)
        video = torch.repeat_interleave(torch.arange(40), lengths)
        segments = torch.from_numpy(head._standardise(X.values))
        ours = model.latent(segments, video, lengths).numpy()
    assert head.latent(X) == pytest.approx(ours, abs=1e-4)


def test_skills_of_one_group_look_at_the_same_segments():
    X, Y = reels(60)
    Y = np.hstack([Y, 4 - Y, np.roll(Y, 1), np.full_like(Y, 2)])
    head = make_head("attention", n_levels=5, queries=[7, 2, 2, 9], epochs=2, patience=0)
    weights = head.fit(X, Y).attention(X)[0]
    # The last skill has a single level and is not learned: its group needs no query.
    assert head.query_.shape == (12, 2)
    assert np.array_equal(weights[:, 1], weights[:, 2])
    assert not np.array_equal(weights[:, 0], weights[:, 1])
    assert np.array_equal(head.attention(X.take([0]))[0], weights)
    with pytest.raises(UsageError, match="group of each of the 4 skills"):
        make_head("attention", n_levels=5, queries=[0, 1]).fit(X, Y)
    with pytest.raises(UsageError, match="fit-head knows the groups"):
        make_head("attention", n_levels=5, queries="group").fit(X, Y)


def test_company_of_other_lengths_changes_no_score_while_training():
    # What padding would do: a video scored beside longer ones would see their places.
    X, _ = reels(30)
    for top in (0, 3):
        start = np.random.default_rng(2).normal(size=(12, 1)).astype(np.float32)
        model = _Model(Recipe(top, (0,), 0.0, 0.0, 1, 1, 1, 0), start, CUTS[None])
        with torch.no_grad():
            model.query.copy_(torch.from_numpy(start))

            def scores(videos, model=model):
                part = X.take(videos)
                video = torch.repeat_interleave(
                    torch.arange(len(part)), torch.from_numpy(part.lengths)
                )
                values = torch.from_numpy(part.values.astype(np.float32))
                return model.latent(values, video, torch.from_numpy(part.lengths)).numpy()

            together = scores(np.arange(30))
            for video in range(0, 30, 7):
                assert scores([video])[0] == pytest.approx(together[video], abs=1e-5)


def test_plain_rows_are_single_segments():
    X, Y = reels(60)
    rows = np.stack([segments[0] for segments in X]).astype(np.float32)
    ragged = RaggedFeatures(rows, np.arange(61))
    one = make_head("attention", n_levels=5, epochs=3).fit(rows, Y)
    two = make_head("attention", n_levels=5, epochs=3).fit(ragged, Y)
    assert np.array_equal(one.predict_proba(rows), two.predict_proba(ragged))


def test_half_precision_segments_are_computed_in_full():
    # Products of half-precision numbers are slow on a CPU, and lose digits.
    X, Y = reels(60)
    full = RaggedFeatures(X.values.astype(np.float32), X.offsets)
    one = make_head("attention", n_levels=5, epochs=3, patience=0).fit(X, Y)
    two = make_head("attention", n_levels=5, epochs=3, patience=0).fit(full, Y)
    assert np.array_equal(one.predict_proba(X), two.predict_proba(full))
    assert one.slope_.dtype == np.float32


def test_order_of_the_videos_changes_nothing():
    X, Y = reels(60)
    order = np.random.default_rng(3).permutation(60)
    one = make_head("attention", n_levels=5, epochs=3).fit(X, Y)
    two = make_head("attention", n_levels=5, epochs=3).fit(X.take(order), Y[order])
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X))


def test_what_cannot_be_meant_is_refused():
    X, Y = reels(20)
    head = make_head("attention", n_levels=5, epochs=1)
    with pytest.raises(ValueError, match="20 videos have 19"):
        head.fit(X, Y[:19])
    holes = RaggedFeatures(X.values, np.append(0, X.offsets))
    with pytest.raises(ValueError, match="position 0 has no segments"):
        head.fit(holes, np.append(Y, [[0]], axis=0))
    broken = RaggedFeatures(X.values.copy(), X.offsets)
    broken.values[3, 3] = np.nan
    with pytest.raises(ValueError, match=r"column 3 .* holds nan"):
        head.fit(broken, Y)
    with pytest.raises(ValueError, match="fitted on 12"):
        head.fit(X, Y).predict(RaggedFeatures(X.values[:, :3], X.offsets))
    with pytest.raises(UsageError, match="pool="):
        make_head("attention", n_levels=5, pool="max").fit(X, Y)
    with pytest.raises(UsageError, match="no attention weights"):
        make_head("attention", n_levels=5, pool="topk", epochs=1).fit(X, Y).attention(X)
