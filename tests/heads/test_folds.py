"""Folds never cut through a player, and do not depend on the order of the rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basket.heads import folds

PLAYERS = st.lists(st.integers(0, 12), min_size=1, max_size=60)


@given(PLAYERS, st.integers(2, 6), st.integers(0, 3))
def test_a_player_is_in_one_fold_and_folds_are_even(players, n_folds, seed):
    names = np.array([f"NBA/{player}" for player in players])
    keys = folds.group_keys(names, np.arange(len(names), dtype=float)[:, None], seed=seed)
    fold = folds.folds_of(keys, n_folds)
    if len(set(players)) == 1:
        return
    assert len({(name, int(f)) for name, f in zip(names, fold, strict=True)}) == len(set(names))
    sizes = [len(set(names[fold == f])) for f in range(fold.max() + 1)]
    assert max(sizes) - min(sizes) <= 1
    assert len(sizes) == min(n_folds, len(set(players)))


@given(PLAYERS, st.floats(0.01, 0.99))
def test_inner_split_holds_out_whole_players_and_keeps_some(players, fraction):
    names = np.array([f"p{player}" for player in players])
    held = folds.held_out(folds.group_keys(names, np.ones((len(names), 1))), fraction)
    assert not set(names[held]) & set(names[~held]) or len(set(players)) == 1
    assert (~held).any()
    assert held.any() == (len(set(players)) > 1)


@given(PLAYERS)
def test_assignment_follows_the_row_wherever_it_stands(players):
    names = np.array([f"p{player}" for player in players])
    X = np.arange(len(names), dtype=np.float32)[:, None]
    order = np.random.default_rng(0).permutation(len(names))
    there = folds.folds_of(folds.group_keys(names[order], X[order]), 3)
    assert np.array_equal(folds.folds_of(folds.group_keys(names, X), 3)[order], there)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_equal_rows_have_equal_hashes_and_others_do_not(dtype):
    X = np.random.default_rng(0).integers(0, 50, size=(500, 4)).astype(dtype)
    hashes = folds.row_hashes(np.concatenate([X, X]))
    assert np.array_equal(hashes[:500], hashes[500:])
    assert len(np.unique(hashes)) == len(np.unique(X, axis=0))
    if dtype != np.int64:
        assert folds.row_hashes(np.array([[-0.0, 1]], dtype)) == folds.row_hashes(
            np.array([[0.0, 1]], dtype)
        )


def test_without_groups_duplicates_stay_together():
    X = np.repeat(np.arange(20.0)[:, None], 3, axis=0)
    fold = folds.folds_of(folds.group_keys(None, X), 5).reshape(20, 3)
    assert (fold == fold[:, :1]).all()
