"""Each metric's rule is the best one for it."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from basket import metrics
from basket.errors import IntegrityError, UsageError
from basket.heads.decision import RULES, DecisionRules, rounded


@pytest.fixture(scope="module")
def weak_signal():
    """The Bayes-optimal posterior at the benchmark's signal strength: latent correlation .35."""
    random = np.random.default_rng(0)
    skill = random.normal(size=40_000)
    seen = 0.35 * skill + np.sqrt(1 - 0.35**2) * random.normal(size=len(skill))
    edges = norm.ppf(np.linspace(0, 1, 6))
    levels = np.searchsorted(edges[1:-1], skill)
    below = norm.cdf((edges[None] - 0.35 * seen[:, None]) / np.sqrt(1 - 0.35**2))
    return np.diff(below, axis=1)[:, None], levels[:, None]


def test_each_metric_is_served_best_by_its_own_rule(weak_signal):
    proba, levels = weak_signal
    rules = DecisionRules.fit(proba[:20_000], levels[:20_000])
    scores = {
        rule: {
            metric: score(
                metrics.confusion_matrices(levels[20_000:], rules.apply(rule, proba[20_000:]), 5)
            )[0]
            for metric, score in metrics.CONFUSION_METRICS.items()
        }
        for rule in ("argmax", "median", "rounded", "matched")
    }
    for metric in metrics.CONFUSION_METRICS:
        rule = RULES[metric]
        choose = max if metrics.HIGHER_IS_BETTER[metric] else min
        assert choose(scores, key=lambda name: scores[name][metric]) == rule
    # So much is to be had at this signal strength: more would be a leak, less a mistake.
    assert scores["argmax"]["accuracy"] == pytest.approx(0.281, abs=0.01)
    assert scores["median"]["mae"] == pytest.approx(1.118, abs=0.02)
    assert scores["matched"]["qwk"] == pytest.approx(0.315, abs=0.02)


def off_by_one(confusion):
    hit = np.abs(np.subtract.outer(np.arange(5), np.arange(5))) <= 1
    return (confusion * hit).sum() / confusion.sum()


def balanced_mae(confusion):
    distance = np.abs(np.subtract.outer(np.arange(5), np.arange(5)))
    return ((confusion * distance).sum(axis=1) / confusion.sum(axis=1)).mean()


def test_off_by_one_and_balanced_mae_are_served_best_by_their_own_rules(weak_signal):
    proba, levels = weak_signal
    # Unequal frequencies: the posterior under a prior that has few high levels.
    random = np.random.default_rng(1)
    prior = np.array([0.4, 0.3, 0.15, 0.1, 0.05])
    kept = random.random(len(levels)) < prior[levels[:, 0]] / prior.max()
    skewed = proba[kept] * prior
    skewed /= skewed.sum(axis=2, keepdims=True)
    rules = DecisionRules.fit(skewed, levels[kept])
    scores = {
        rule: metrics.confusion_matrices(levels[kept], rules.apply(rule, skewed), 5)[0]
        for rule in ("argmax", "median", "rounded", "matched", "window", "balanced")
    }
    assert max(scores, key=lambda rule: off_by_one(scores[rule])) == RULES["off_by_one"]
    assert min(scores, key=lambda rule: balanced_mae(scores[rule])) == RULES["balanced_mae"]


def test_temperature_makes_exaggerated_probabilities_right_again(weak_signal):
    proba, levels = weak_signal
    sharp = proba**2.5 / (proba**2.5).sum(axis=2, keepdims=True)
    rules = DecisionRules.fit(sharp, levels, temperature=True)
    assert rules.temperatures[0] == pytest.approx(2.5, abs=0.2)
    assert rules.calibrate(sharp) == pytest.approx(proba, abs=0.02)
    assert DecisionRules.from_json(rules.to_json()) == rules
    plain = DecisionRules.fit(sharp, levels)
    assert plain.calibrate(sharp) is sharp
    # Decisions on scaled probabilities are those of the probabilities that were right.
    assert (
        np.mean(rules.predict(rules.calibrate(sharp), "mae") == plain.predict(proba, "mae")) > 0.97
    )


def test_cuts_are_those_of_scaled_probabilities(weak_signal):
    proba, levels = weak_signal
    sharp = proba**2.5 / (proba**2.5).sum(axis=2, keepdims=True)
    rules = DecisionRules.fit(sharp, levels, temperature=True)
    decided = rules.predict(rules.calibrate(sharp), "qwk")
    assert np.bincount(decided[:, 0]) == pytest.approx(np.bincount(levels[:, 0]), abs=2)


def test_a_skill_without_labels_is_not_scaled(weak_signal):
    proba = np.tile(weak_signal[0][:200], (1, 2, 1)) ** 2
    levels = np.column_stack([weak_signal[1][:200], np.full(200, -1)])
    rules = DecisionRules.fit(proba, levels, temperature=True)
    assert rules.temperatures[0] > 1.5
    assert rules.temperatures[1] == 1.0


def test_window_holds_the_most_of_three_levels():
    proba = np.random.default_rng(0).dirichlet(np.ones(5), size=(400, 1))
    near = np.abs(np.arange(5)[:, None] - np.arange(5)) <= 1
    held = proba[:, 0] @ near.T
    decided = DecisionRules.uncalibrated(1, 5).predict(proba, "off_by_one")[:, 0]
    assert held[np.arange(400), decided] == pytest.approx(held.max(axis=1), abs=1e-8)


def test_window_takes_the_most_probable_of_equal_windows():
    proba = np.array([[[0.0, 0.6, 0.4, 0.0, 0.0]]])
    assert DecisionRules.uncalibrated(1, 5).predict(proba, "off_by_one").item() == 1


def test_matched_predictions_are_spread_as_the_truth(weak_signal):
    proba, levels = weak_signal
    skewed = np.where(levels > 2, 3, levels)
    predicted = DecisionRules.fit(proba, skewed).predict(proba, "qwk")
    assert np.bincount(predicted[:, 0], minlength=5) == pytest.approx(
        np.bincount(skewed[:, 0], minlength=5), abs=2
    )


@given(st.lists(st.floats(0, 1), min_size=3, max_size=3).filter(lambda p: sum(p) > 0.01))
def test_rules_equal_their_definitions(weights):
    proba = np.array(weights) / sum(weights)
    rules = DecisionRules.uncalibrated(1, 3)
    assert rules.predict(proba[None, None], "accuracy").item() == int(np.argmax(proba))
    cost = [np.abs(np.arange(3) - level) @ proba for level in range(3)]
    chosen = rules.predict(proba[None, None], "mae").item()
    assert cost[chosen] == pytest.approx(min(cost), abs=1e-9)
    expected = float(proba @ np.arange(3))
    assert abs(rounded(proba[None, None]).item() - expected) <= 0.5 + 1e-9


def test_missing_labels_take_no_part(weak_signal):
    proba, levels = weak_signal[0][:500], weak_signal[1][:500].copy()
    without = DecisionRules.fit(proba[100:], levels[100:])
    levels[:100] = -1
    assert DecisionRules.fit(proba, levels) == without


def test_a_head_that_says_the_same_of_everybody_is_rounded():
    proba = np.tile([[[0.1, 0.2, 0.7]]], (9, 1, 1))
    rules = DecisionRules.fit(proba, np.arange(9)[:, None] % 3)
    assert rules == DecisionRules.uncalibrated(1, 3)
    assert DecisionRules.fit(proba, np.full((9, 1), -1)) == rules


def test_levels_that_never_occur_are_never_predicted_for_kappa():
    random = np.random.default_rng(0)
    proba = random.dirichlet([0.2] * 5, size=(500, 1))
    levels = np.clip(random.integers(5, size=(500, 1)), 1, 3)
    decided = DecisionRules.fit(proba, levels).predict(proba, "qwk")
    assert set(decided.ravel().tolist()) == {1, 2, 3}


def test_a_level_that_never_occurred_costs_nothing_where_levels_count_alike():
    rules = DecisionRules(cuts=((0.5, 1.5),), frequencies=((0.8, 0.2, 0.0),))
    # 0.6 / 0.8 against 0.2 / 0.2, whatever is said of the last one; alone, it is all there is.
    proba = np.array([[[0.6, 0.2, 0.2]], [[0.5, 0.1, 0.4]], [[0.0, 0.0, 1.0]]])
    assert rules.predict(proba, "balanced_mae").ravel().tolist() == [1, 0, 2]


@pytest.mark.parametrize("n_values", [2, 3])
def test_equal_predictions_are_spread_as_well_as_they_can_be(n_values):
    """A head that says few different things: cutting in the midst of them would cost kappa."""
    random = np.random.default_rng(n_values)
    kind = random.integers(n_values, size=6000)
    skill = 0.6 * np.linspace(-1.5, 1.5, n_values)[kind] + random.normal(size=len(kind))
    levels = np.searchsorted(np.quantile(skill, [0.2, 0.4, 0.6, 0.8]), skill)[:, None]
    counts = np.array([np.bincount(levels[kind == k, 0], minlength=5) for k in range(n_values)])
    proba = (counts / counts.sum(axis=1, keepdims=True))[kind][:, None]
    rules = DecisionRules.fit(proba[:3000], levels[:3000])
    test = slice(3000, None)
    found = {
        rule: metrics.quadratic_weighted_kappa(
            metrics.confusion_matrices(levels[test], rules.apply(rule, proba[test]), 5)
        )[0]
        for rule in ("matched", "rounded", "argmax")
    }
    assert found["matched"] > max(found["rounded"], found["argmax"]) - 0.01
    assert found["matched"] > 0.25


def test_cuts_do_not_part_equal_predictions_by_their_rounding():
    random = np.random.default_rng(0)
    levels = random.integers(5, size=(500, 1))
    proba = np.where(
        random.random(500)[:, None] < 0.5, [0.3, 0.3, 0.2, 0.1, 0.1], [0.1, 0.2, 0.3, 0.2, 0.2]
    )
    noise = 1e-15 * random.normal(size=proba.shape)
    rules = DecisionRules.fit((proba + noise)[:, None], levels)
    decided = rules.apply("matched", (proba - noise)[:, None])[:, 0]
    first = proba[:, 0] == 0.3
    assert len(set(decided[first])) == len(set(decided[~first])) == 1


def test_json_round_trip_is_exact(weak_signal):
    rules = DecisionRules.fit(*weak_signal)
    assert DecisionRules.from_json(rules.to_json()) == rules


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"version": 2, "cuts": [[0.5]]}',
        '{"version": 1, "cuts": [[1.5, 0.5]]}',
        '{"version": 1, "cuts": [[NaN, 0.5]]}',
        '{"version": 1, "cuts": [["a"]]}',
        '{"version": 1, "cuts": 3}',
        '{"version": 1, "cuts": [[0.5]], "frequencies": [[0.5]], "temperatures": []}',
        '{"version": 1, "cuts": [[0.5]], "frequencies": [[1, 0]], "temperatures": [0]}',
        "[" * 100_000,
    ],
)
def test_foreign_rules_are_refused(text):
    with pytest.raises(IntegrityError, match=r"decision\.json holds no"):
        DecisionRules.from_json(text)


def test_unknown_metric_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'accuracy'"):
        DecisionRules.uncalibrated(1, 5).predict(np.full((1, 1, 5), 0.2), "acuracy")
    assert json.loads(DecisionRules.uncalibrated(1, 3).to_json())["rules"] == RULES
