"""Scores equal scikit-learn's and scipy's where those are right, and are defined where not."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    log_loss,
    mean_absolute_error,
)

from basket import metrics

LEVELS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=60)
# Few distinct scores make ties, many make none.
SCORED = st.lists(
    st.tuples(st.integers(0, 4), st.one_of(st.integers(0, 3).map(float), st.floats(0, 4))),
    min_size=2,
    max_size=40,
)


def random_cells(seed, *, n=80, n_skills=3, n_levels=5, missing=0.2):
    random = np.random.default_rng(seed)
    true = random.integers(0, n_levels, size=(n, n_skills))
    true[random.random(true.shape) < missing] = -1
    proba = random.dirichlet(np.full(n_levels, 0.7), size=(n, n_skills))
    return true, proba


@settings(max_examples=40)
@given(LEVELS)
def test_scores_equal_scikit_learn(pairs):
    true, predicted = np.array(pairs).T
    confusion = metrics.confusion_matrices(true, predicted, 5)
    assert metrics.accuracy(confusion)[0] == pytest.approx(accuracy_score(true, predicted))
    assert metrics.mean_absolute_error(confusion)[0] == pytest.approx(
        mean_absolute_error(true, predicted)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # levels that are predicted and never true
        assert metrics.balanced_accuracy(confusion)[0] == pytest.approx(
            balanced_accuracy_score(true, predicted)
        )
    assert metrics.balanced_mean_absolute_error(confusion)[0] == pytest.approx(
        np.mean([np.abs(predicted[true == k] - k).mean() for k in set(true.tolist())])
    )
    assert metrics.off_by_one_accuracy(confusion)[0] == np.mean(np.abs(true - predicted) <= 1)
    kappa = metrics.quadratic_weighted_kappa(confusion)[0]
    if len(set(true)) == 1 and set(true) == set(predicted):
        assert np.isnan(kappa)
    else:
        theirs = cohen_kappa_score(true, predicted, weights="quadratic", labels=range(5))
        assert kappa == pytest.approx(theirs)


@pytest.mark.parametrize("seed", range(5))
def test_ordinal_scores_equal_dlordinal(seed):
    dlordinal = pytest.importorskip("dlordinal.metrics")
    true, proba = random_cells(seed, n_skills=1, missing=0)
    predicted = proba.argmax(-1)
    confusion = metrics.confusion_matrices(true, predicted, 5)
    assert metrics.balanced_mean_absolute_error(confusion)[0] == pytest.approx(
        dlordinal.amae(true[:, 0], predicted[:, 0])
    )
    assert metrics.off_by_one_accuracy(confusion)[0] == pytest.approx(
        dlordinal.accuracy_off1(true[:, 0], predicted[:, 0], labels=range(5))
    )
    assert metrics.ranked_probability(true, proba).mean() == pytest.approx(
        dlordinal.ranked_probability_score(true[:, 0], proba[:, 0])
    )


@settings(max_examples=30)
@given(SCORED)
def test_rank_correlations_equal_scipy_with_and_without_ties(pairs):
    levels, score = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    spearman, kendall = metrics.rank_correlations(levels, score, 5)
    if np.ptp(levels) == 0 or np.ptp(score) == 0:
        assert np.isnan(spearman[0])
        assert np.isnan(kendall[0])
    else:
        assert spearman[0] == pytest.approx(stats.spearmanr(levels, score).statistic, abs=1e-9)
        assert kendall[0] == pytest.approx(stats.kendalltau(levels, score).statistic, abs=1e-9)


@settings(max_examples=30)
@given(SCORED, st.integers(0, 2**32 - 1))
def test_a_weight_counts_a_row_that_many_times(pairs, seed):
    levels, score = np.array([a for a, _ in pairs]), np.array([b for _, b in pairs])
    weights = np.random.default_rng(seed).integers(0, 4, size=(len(pairs), 3)).astype(np.float64)
    found = metrics.rank_correlations(levels, score, 5, weights=weights)
    for column, weight in enumerate(weights.T.astype(int)):
        repeated = metrics.rank_correlations(np.repeat(levels, weight), np.repeat(score, weight), 5)
        for ours, theirs in zip(found, repeated, strict=True):
            np.testing.assert_allclose(ours[column], theirs[0], atol=1e-9)


def test_rank_correlations_leave_missing_labels_out():
    levels, score = np.array([0, 1, -1, 2, 2]), np.array([0.1, 0.4, 9.0, 0.3, 0.8])
    known = levels >= 0
    for ours, theirs in zip(
        metrics.rank_correlations(levels, score, 5),
        metrics.rank_correlations(levels[known], score[known], 5),
        strict=True,
    ):
        assert ours[0] == theirs[0]
    assert all(np.isnan(one[0]) for one in metrics.rank_correlations([-1, -1], [0.0, 1.0], 5))


@pytest.mark.parametrize("seed", range(5))
def test_log_likelihood_equals_scikit_learn(seed):
    true, proba = random_cells(seed)
    found = metrics.negative_log_likelihood(true, proba)
    for skill in range(3):
        known = true[:, skill] >= 0
        theirs = log_loss(true[known, skill], proba[known, skill], labels=range(5))
        assert np.nanmean(found[:, skill]) == pytest.approx(theirs)
        assert np.isnan(found[~known, skill]).all()


def test_an_impossible_label_is_dear_and_finite():
    found = metrics.negative_log_likelihood([1], [[1.0, 0.0]])
    assert found.item() == pytest.approx(log_loss([1], [[1.0, 0.0]], labels=[0, 1]))


@pytest.mark.parametrize("seed", range(3))
def test_ranked_probability_is_the_sum_of_brier_scores_of_the_thresholds(seed):
    true, proba = random_cells(seed)
    found = metrics.ranked_probability(true, proba)
    expected = sum(
        (proba[..., : k + 1].sum(-1) - ((true <= k) & (true >= 0))) ** 2 for k in range(4)
    )
    np.testing.assert_allclose(found[true >= 0], expected[true >= 0])
    assert np.isnan(found[true < 0]).all()


def test_a_certain_answer_costs_its_distance_in_levels():
    for answer in range(5):
        found = metrics.ranked_probability(np.arange(5), np.tile(np.eye(5)[answer], (5, 1)))
        assert found.ravel().tolist() == np.abs(np.arange(5) - answer).tolist()


def test_calibration_by_hand():
    # Threshold 0 is promised with .75 four times and happens twice; never with 0.
    proba = np.array([[0.25, 0.75]] * 4 + [[1.0, 0.0]] * 4)
    true = np.array([1, 1, 0, 0, 0, 0, 0, 0])
    sums = metrics.calibration_sums(true, proba)
    assert sums.shape == (1, 1, 10, 3)
    assert sums[0, 0, 7].tolist() == [4, 3, 2]
    assert sums[0, 0, 0].tolist() == [4, 0, 0]
    assert metrics.calibration_errors(sums).tolist() == [[0.125]]


def test_true_probabilities_are_nearly_calibrated_and_bold_ones_are_not():
    random = np.random.default_rng(0)
    proba = random.dirichlet(np.ones(5), size=20_000)
    true = (random.random((20_000, 1)) > proba.cumsum(1)).sum(1)
    bold = proba**3 / (proba**3).sum(1, keepdims=True)
    honest, loud = (
        metrics.calibration_errors(metrics.calibration_sums(true, p)).mean() for p in (proba, bold)
    )
    assert honest < 0.01 < 0.05 < loud


def test_one_level_alone_is_scored_as_far_as_it_can_be():
    true, predicted = np.full(6, 2), np.array([2, 2, 3, 1, 2, 4])
    confusion = metrics.confusion_matrices(true, predicted, 5)
    assert metrics.balanced_accuracy(confusion)[0] == 0.5
    assert metrics.balanced_mean_absolute_error(confusion)[0] == pytest.approx(4 / 6)
    assert metrics.quadratic_weighted_kappa(confusion)[0] == 0.0


def test_no_labels_leave_every_score_undefined():
    true, proba = np.full((4, 2), -1), np.full((4, 2, 5), 0.2)
    confusion = metrics.confusion_matrices(true, proba.argmax(-1), 5)
    for score in metrics.LEVEL_METRICS.values():
        assert np.isnan(score(confusion)).all()
    errors = metrics.calibration_errors(metrics.calibration_sums(true, proba))
    assert np.isnan(errors).all()
    assert np.isnan(metrics.ranked_probability(true, proba)).all()
    assert metrics.confusion_matrices(np.zeros((0, 2), int), np.zeros((0, 2), int), 5).sum() == 0


def test_every_metric_says_which_way_is_better():
    assert set(metrics.HIGHER_IS_BETTER) == {*metrics.LEVEL_METRICS, *metrics.PROBABILITY_METRICS}
    assert set(metrics.CONFUSION_METRICS) < set(metrics.LEVEL_METRICS)


def test_missing_labels_take_no_part():
    true = np.array([[0, -1], [1, 4], [-1, 4]])
    predicted = np.array([[0, 0], [0, 4], [3, 4]])
    confusion = metrics.confusion_matrices(true, predicted, 5)
    assert confusion.sum((1, 2)).tolist() == [2, 2]
    assert metrics.accuracy(confusion).tolist() == [0.5, 1.0]


def test_a_skill_without_labels_has_no_score_and_leaves_the_mean_alone():
    confusion = metrics.confusion_matrices([[-1, 1], [-1, 0]], [[0, 1], [1, 0]], 2)
    scores = metrics.accuracy(confusion)
    assert np.isnan(scores[0])
    assert metrics.mean_over_skills(scores) == 1.0


@pytest.mark.parametrize(("true", "predicted"), [([5], [0]), ([0], [-1]), ([0], [5])])
def test_a_level_outside_the_scale_is_refused(true, predicted):
    with pytest.raises(ValueError, match="levels must lie"):
        metrics.confusion_matrices(true, predicted, 5)


def test_probabilities_of_another_shape_are_refused():
    with pytest.raises(ValueError, match="do not belong together"):
        metrics.ranked_probability([[0, 1]], np.full((1, 3, 5), 0.2))
    with pytest.raises(ValueError, match="do not belong together"):
        metrics.negative_log_likelihood([5], np.full((1, 5), 0.2))


def test_float_levels_are_refused():
    with pytest.raises(ValueError, match="integers"):
        metrics.confusion_matrices([0.5], [0], 5)
