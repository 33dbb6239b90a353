"""The vectorised bootstrap equals a loop that resamples players' videos one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basket.evaluate import bootstrap
from basket.metrics import CONFUSION_METRICS, confusion_matrices


def naive_replicates(y_true, y_pred, players, draws, metric, n_levels):
    """Build every resampled data set in full and score it."""
    keys = np.unique(players)
    rows = []
    for draw in draws.astype(int):
        chosen = [
            np.flatnonzero(players == key)
            for key, n in zip(keys, draw, strict=True)
            for _ in range(n)
        ]
        index = np.concatenate(chosen)
        rows.append(metric(confusion_matrices(y_true[index], y_pred[index], n_levels)))
    return np.array(rows)


@pytest.mark.parametrize("metric", CONFUSION_METRICS)
def test_replicates_equal_a_loop_over_resampled_videos(metric):
    random = np.random.default_rng(1)
    y_true = random.integers(-1, 4, size=(40, 3))
    y_pred = random.integers(0, 4, size=(40, 3))
    players = random.choice(list("abcdefghij"), size=40)
    draws = bootstrap.draw_players(len(set(players)), n_replicates=25, seed=7)
    clusters = bootstrap.player_confusions(y_true, y_pred, players=players, n_levels=4)
    found = bootstrap.replicate_scores(clusters, draws, metric=metric)
    expected = naive_replicates(y_true, y_pred, players, draws, CONFUSION_METRICS[metric], 4)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(
        bootstrap.mean_per_replicate(found), np.nanmean(expected, axis=1), rtol=1e-12
    )


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_every_draw_takes_as_many_players_as_there_are(n_players, seed):
    draws = bootstrap.draw_players(n_players, n_replicates=5, seed=seed)
    assert draws.shape == (5, n_players)
    assert (draws.sum(1) == n_players).all()
    np.testing.assert_array_equal(
        draws, bootstrap.draw_players(n_players, n_replicates=5, seed=seed)
    )


def test_player_confusions_add_up_to_the_whole():
    random = np.random.default_rng(2)
    y_true, y_pred = random.integers(-1, 5, (30, 4)), random.integers(0, 5, (30, 4))
    clusters = bootstrap.player_confusions(
        y_true, y_pred, players=random.integers(6, size=30), n_levels=5
    )
    np.testing.assert_array_equal(clusters.sum(0), confusion_matrices(y_true, y_pred, 5))


def test_videos_of_one_player_widen_the_interval():
    """Copies of a video are no new evidence: resampling videos would claim they are."""
    random = np.random.default_rng(3)
    y_true = np.repeat(random.integers(0, 5, (30, 1)), 8, axis=0)
    y_pred = np.repeat(random.integers(0, 5, (30, 1)), 8, axis=0)

    def width(players):
        clusters = bootstrap.player_confusions(y_true, y_pred, players=players, n_levels=5)
        scores = bootstrap.replicate_scores(
            clusters, bootstrap.draw_players(len(clusters)), metric="mae"
        )
        interval = bootstrap.percentile_interval(scores[:, 0], len(clusters))
        return interval.high - interval.low

    assert width(np.arange(240) // 8) > 2 * width(np.arange(240))


def test_mostly_undefined_replicates_give_no_interval():
    scores = np.full(100, np.nan)
    assert bootstrap.percentile_interval(scores, 50) is None
    scores[:40] = 0.5
    assert bootstrap.percentile_interval(scores, 50) is None
    scores[:60] = 0.5
    assert bootstrap.percentile_interval(scores, 50) == bootstrap.Interval(0.5, 0.5)


@pytest.mark.parametrize("n_players", [4, 10, 40])
def test_interval_of_a_mean_is_as_wide_as_students_t(n_players):
    """For a mean the right width is known: percentiles as they are would fall short of it."""
    from scipy import stats

    random = np.random.default_rng(1)
    values = random.normal(size=n_players)
    draws = bootstrap.draw_players(n_players, n_replicates=20_000)
    interval = bootstrap.percentile_interval(draws @ values / n_players, n_players)
    expected = stats.t.interval(0.95, n_players - 1, values.mean(), stats.sem(values))
    # Four values have few resamples, so their tails end before Student's do.
    ratio = (interval.high - interval.low) / np.ptp(expected)
    assert (0.55 if n_players == 4 else 0.93) < ratio < 1.03


def test_one_player_has_no_interval():
    assert bootstrap.percentile_interval(np.full(100, 0.5), 1) is None


def test_means_equal_a_loop_and_pass_over_what_is_unknown():
    random = np.random.default_rng(3)
    cells = random.normal(size=(30, 2))
    cells[random.random(cells.shape) < 0.3] = np.nan
    players = random.choice(list("abcdef"), size=30)
    draws = bootstrap.draw_players(len(set(players)), n_replicates=20, seed=1)
    found = bootstrap.replicate_means(cells, draws, players=players)
    keys = np.unique(players)
    for replicate, draw in enumerate(draws.astype(int)):
        drawn = [cells[players == key] for key, n in zip(keys, draw, strict=True) for _ in range(n)]
        np.testing.assert_allclose(found[replicate], np.nanmean(np.concatenate(drawn), axis=0))


def test_a_mean_over_skills_passes_over_those_without_a_score():
    scores = np.array([[0.25, np.nan, 0.75], [np.nan, np.nan, np.nan]])
    np.testing.assert_array_equal(bootstrap.mean_per_replicate(scores), [0.5, np.nan])


def test_rank_correlations_do_not_depend_on_the_blocks(monkeypatch):
    random = np.random.default_rng(4)
    y_true, expected = random.integers(0, 5, (25, 2)), random.normal(size=(25, 2))
    players = np.arange(25) // 2
    draws = bootstrap.draw_players(13, n_replicates=11, seed=2)
    whole = bootstrap.replicate_rank_correlations(
        y_true, expected, draws, players=players, n_levels=5
    )
    monkeypatch.setattr(bootstrap, "_REPLICATE_BLOCK", 4)
    parts = bootstrap.replicate_rank_correlations(
        y_true, expected, draws, players=players, n_levels=5
    )
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole, parts)


def test_two_players_are_enough_for_an_interval_but_say_little():
    scores = np.linspace(0, 1, 101)
    interval = bootstrap.percentile_interval(scores, 2)
    assert interval is not None
    assert interval.high - interval.low > 0.99


def test_an_equal_statistic_counts_in_spite_of_its_last_digit():
    permuted = np.array([0.3 - 1e-14, -0.3 + 1e-14, 0.1, np.nan])
    assert bootstrap.p_value(np.array(0.3), permuted) == (1 + 2) / (1 + 3)
