"""Paired comparison: resampled and permuted by player, adjusted by Holm, said in words."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from basket import metrics
from basket.errors import UsageError
from basket.evaluate import RunDescription, bootstrap
from basket.evaluate.answers import answers_of
from basket.evaluate.bootstrap import Interval
from basket.evaluate.compare import compare_answers, compare_runs, compare_with_first
from basket.evaluate.comparison_words import digest, sentences
from basket.evaluate.results import Difference

SKILLS = ("Steals", "Fouls", "Impact")


@pytest.fixture
def answer(test_set, fake_run):
    """Answers of a run on the same labels, leaning towards them by ``signal``."""

    def make(signal, *, noise=0, n=240, players=120, rows=None):
        matrix = test_set(n=n, players=players, skills=SKILLS, seed=1, signal=signal)
        if noise:
            other = test_set(n=n, players=players, skills=SKILLS, seed=noise, signal=0)
            mixed = np.sqrt(matrix.X * other.X).reshape(n, len(SKILLS), 5)
            matrix.X = (mixed / mixed.sum(-1, keepdims=True)).reshape(n, -1)
        answers = answers_of(fake_run(SKILLS), matrix)
        return answers if rows is None else answers.rows(rows)

    return make


def test_a_run_does_not_differ_from_itself(answer):
    found = compare_answers([answer(2.0)], [answer(2.0)], names=("a", "b"), n_replicates=50)
    for each in found.metrics.values():
        assert each.mean.value == 0
        assert each.mean.p == 1
        assert (each.mean.interval.low, each.mean.interval.high) == (0, 0)
        assert [one.p_holm for one in each.per_skill] == [1, 1, 1]


def test_a_better_run_is_better_in_every_metric(answer):
    found = compare_answers([answer(9.0)], [answer(1.0)], names=("good", "bad"), n_replicates=300)
    for name, each in found.metrics.items():
        sign = 1 if metrics.HIGHER_IS_BETTER[name] else -1
        assert sign * each.mean.value > 0
        assert each.mean.p < 0.01
        ends = sign * np.array([each.mean.interval.low, each.mean.interval.high])
        assert (ends > 0).all()
    said = " ".join(sentences(found))
    assert said.count("good is better than bad") == 3
    back = compare_answers([answer(1.0)], [answer(9.0)], names=("bad", "good"), n_replicates=300)
    assert "good is better than bad" in " ".join(sentences(back))


def test_what_cannot_be_told_apart_is_said_to_be_so(answer):
    found = compare_answers(
        [answer(2.0, noise=5)], [answer(2.0, noise=6)], names=("a", "b"), n_replicates=200
    )
    assert "a and b (test) cannot be told apart" in sentences(found)[0]
    assert "none of 3 skills differ" in sentences(found)[0]


def test_many_runs_are_told_apart_in_one_sentence(answer):
    against = {"good": 9.0, "bad": 1.0, "same": 3.0}
    found = [
        compare_answers([answer(3.0)], [answer(skill)], names=("mine", name), n_replicates=300)
        for name, skill in against.items()
    ]
    (said,) = digest(found)
    assert said.startswith("Accuracy on test: mine is better than bad (+")
    assert "; it is worse than good (" in said
    assert said.endswith("; it cannot be told apart from same (0.0 points).")
    assert len(digest(found[:2])) == 6  # two are spelled out, metric by metric


def test_the_paired_interval_is_that_of_a_loop_over_players(answer):
    first, second = answer(3.0), answer(2.0, noise=3)
    found = compare_answers([first], [second], names=("a", "b"), n_replicates=60, seed=4)
    draws = bootstrap.draw_players(first.n_players, n_replicates=60, seed=4).astype(int)
    order = np.argsort(first.ids)
    keys, players = np.unique(first.players), first.players[order]
    differences = []
    for draw in draws:
        rows = np.concatenate(
            [
                np.flatnonzero(players == k)
                for k, n in zip(keys, draw, strict=True)
                for _ in range(n)
            ]
        )
        scores = [
            metrics.quadratic_weighted_kappa(
                metrics.confusion_matrices(
                    run.truth[order][rows], run.levels["qwk"][order][rows], 5
                )
            ).mean()
            for run in (first, second)
        ]
        differences.append(scores[0] - scores[1])
    expected = bootstrap.percentile_interval(np.array(differences), len(keys))
    interval = found.metrics["qwk"].mean.interval
    assert [interval.low, interval.high] == pytest.approx([expected.low, expected.high])


def test_the_permutation_test_is_scipys(answer):
    """One skill, accuracy: players' hits swapped between the runs, as scipy swaps samples."""
    first, second = answer(3.0, n=60, players=30), answer(2.0, noise=3, n=60, players=30)
    found = compare_answers([first], [second], names=("a", "b"), n_replicates=4000)
    known = first.truth[:, 0] >= 0
    _, player = np.unique(first.players, return_inverse=True)

    def hits(run):
        right = (run.levels["accuracy"][:, 0] == run.truth[:, 0]) & known
        return np.bincount(player, weights=right)

    theirs = stats.permutation_test(
        (hits(first), hits(second)),
        lambda a, b, axis: a.sum(axis) - b.sum(axis),
        permutation_type="samples",
        n_resamples=4000,
        rng=np.random.default_rng(0),
    )
    assert found.metrics["accuracy"].per_skill[0].p == pytest.approx(theirs.pvalue, abs=0.04)


def test_players_not_videos_are_exchanged(answer):
    """Eight copies of each video are no more evidence than one."""
    first, second = answer(2.6, n=60, players=60), answer(2.0, noise=3, n=60, players=60)
    rows = np.repeat(np.arange(60), 8)

    def copies(run):
        many = run.rows(rows)
        return type(run)(
            tuple(f"{i}-{n}" for n, i in enumerate(many.ids)),
            *(many.players, many.truth, many.proba, many.levels, many.rules),
        )

    once = compare_answers([first], [second], names=("a", "b"), n_replicates=500)
    again = compare_answers([copies(first)], [copies(second)], names=("a", "b"), n_replicates=500)
    for name in once.metrics:
        assert again.metrics[name].mean.p == pytest.approx(once.metrics[name].mean.p, abs=0.05)


def test_seeds_that_scatter_widen_the_interval(answer):
    same = [answer(2.0, noise=3)] * 3
    scattered = [answer(2.0, noise=3), answer(6.0), answer(0.0, noise=9)]
    base = [answer(1.0)]
    widths = []
    for seeds in (same, scattered):
        found = compare_answers(seeds, base, names=("a", "b"), n_replicates=400)
        assert found.n_seeds == (3, 1)
        interval = found.metrics["accuracy"].mean.interval
        widths.append(interval.high - interval.low)
    assert widths[1] > 1.5 * widths[0]
    assert "players and seeds resampled" in " ".join(sentences(found))


def test_runs_are_compared_on_the_videos_both_scored(answer):
    first = answer(2.0, rows=np.arange(0, 200))
    second = answer(2.0, noise=2, rows=np.arange(20, 240)[::-1])
    found = compare_answers([first], [second], names=("a", "b"), n_replicates=20)
    assert (found.n_videos, found.n_dropped) == (180, 60)
    with pytest.raises(UsageError, match="no video in common"):
        compare_answers(
            [answer(2.0, rows=np.arange(5))], [answer(2.0, rows=np.arange(5, 9))], names=("a", "b")
        )
    wrong = answer(2.0)
    wrong.truth[3] = (wrong.truth[3] + 1) % 5
    with pytest.raises(UsageError, match="different labels"):
        compare_answers([answer(2.0)], [wrong], names=("a", "b"))


def test_one_player_gives_no_p_value(answer):
    one = answer(2.0, n=10, players=1)
    found = compare_answers([one], [one], names=("a", "b"), n_replicates=10)
    assert np.isnan(found.metrics["mae"].mean.p)
    assert found.metrics["mae"].mean.interval is None
    assert "Too few players" in sentences(found)[0]


def test_the_first_setting_is_compared_with_each_other_one(answer):
    settings = {"a": [answer(2.0)], "b": [answer(1.0)], "c": [answer(3.0)]}
    found = compare_with_first(settings, n_replicates=10)
    assert [(each.first, each.second) for each in found] == [("a", "b"), ("a", "c")]


def test_runs_that_differ_in_their_seed_alone_are_one_setting(answer):
    answered = [
        (RunDescription("a0", "ridge", seed=0), answer(2.0)),
        (RunDescription("b0", "gbdt", seed=0), answer(3.0)),
        (RunDescription("a1", "ridge", seed=1), answer(2.2)),
    ]
    [found] = compare_runs(answered, primary="b0", n_replicates=10)
    assert (found.first, found.second) == ("b0", "a0 (and 1 more seed)")
    assert found.n_seeds == (1, 2)
    assert compare_runs(answered[:1], primary="a0") == ()
    same = [answered[0], answered[2]]
    assert compare_runs(same, primary="a0") == ()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_rejects_what_the_textbook_procedure_rejects(p):
    adjusted = bootstrap.holm(p)
    order = np.argsort(p, kind="stable")
    rejecting = True
    for rank, index in enumerate(order):
        rejecting = rejecting and p[index] * (len(p) - rank) <= 0.05
        assert (adjusted[index] <= 0.05) == rejecting
    assert (adjusted >= np.array(p)).all()


def test_holm_leaves_out_what_was_not_tested():
    adjusted = bootstrap.holm([0.01, np.nan, 0.04])
    assert np.isnan(adjusted[1])
    assert adjusted[[0, 2]].tolist() == [0.02, 0.04]


def test_runs_that_learned_from_other_data_are_no_seeds_of_one_another(answer):
    answered = [
        (RunDescription("few", "ridge", seed=0, learned_from="a"), answer(1.0)),
        (RunDescription("many", "ridge", seed=1, learned_from="b"), answer(3.0)),
    ]
    [found] = compare_runs(answered, primary="few", n_replicates=10)
    assert (found.first, found.second, found.n_seeds) == ("few", "many", (1, 1))


def test_a_run_of_the_same_seed_is_no_second_seed(answer):
    about = RunDescription("a", "ridge", seed=0), RunDescription("again", "ridge", seed=0)
    answered = [(each, answer(2.0)) for each in about]
    [found] = compare_runs(answered, primary="a", n_replicates=10)
    assert (found.first, found.second, found.n_seeds) == ("a", "again", (1, 1))


def test_a_skill_that_only_one_run_has_a_score_for_is_not_compared(answer):
    """Truth and the first run's answer are one constant: its kappa is undefined, the other's 0."""
    first, second = answer(2.0), answer(1.0)
    for each in (first, second):
        each.truth[:, 0] = 1
    first.levels["qwk"][:, 0] = 1
    mean = compare_answers([first], [second], names=("a", "b"), n_replicates=200).metrics["qwk"]
    others = [each.value for each in mean.per_skill[1:]]
    assert np.isnan(mean.per_skill[0].value)
    assert mean.mean.value == pytest.approx(np.mean(others))
    assert mean.mean.interval.low < mean.mean.value < mean.mean.interval.high


def test_every_seed_counts_alike_in_the_p_value(answer):
    """Two seeds against three: exchanged as six pairs, whatever their order."""
    two, three = [answer(2.0), answer(3.0)], [answer(s, noise=4) for s in (1.0, 2.0, 5.0)]
    found = [
        compare_answers(first, second, names=("a", "b"), n_replicates=100).metrics["accuracy"]
        for first, second in ((two, three), (two[::-1], three))
    ]
    assert [each.p for each in found[0].per_skill] == [each.p for each in found[1].per_skill]
    assert found[0].mean.p == found[1].mean.p


def test_seeds_that_answer_alike_tell_what_one_of_them_tells(answer):
    """Resampled or paired, two equal seeds weigh as much as one."""
    one, other = answer(2.0, noise=3), answer(2.0, noise=4)
    alone, twice = (
        compare_answers([one] * n, [other] * n, names=("a", "b"), n_replicates=200).metrics["mae"]
        for n in (1, 2)
    )
    assert any(each.p > 0.1 for each in alone.per_skill)
    for found, expected in zip(twice.per_skill, alone.per_skill, strict=True):
        assert found.value == pytest.approx(expected.value)
        assert found.p == expected.p
        assert found.interval.low == pytest.approx(expected.interval.low)
        assert found.interval.high == pytest.approx(expected.interval.high)


def test_the_order_of_settings_makes_no_other_setting(answer):
    settings = {"folds": "5", "target": "level"}
    backwards = dict(reversed(settings.items()))
    answered = [
        (RunDescription("a0", "ridge", seed=0, settings=settings), answer(2.0)),
        (RunDescription("a1", "ridge", seed=1, settings=backwards), answer(2.2)),
    ]
    assert compare_runs(answered, primary="a0") == ()


def test_a_difference_needs_an_interval_that_leaves_out_zero():
    assert Difference(0.4, 0.3, Interval(0.01, 0.2), p=0.01, p_holm=0.04).told_apart
    assert not Difference(0.4, 0.3, Interval(-0.01, 0.2), p=0.01, p_holm=0.04).told_apart
    assert not Difference(0.4, 0.3, Interval(0.01, 0.2), p=0.01, p_holm=0.06).told_apart
    assert not Difference(0.4, 0.3, None, p=0.01, p_holm=0.04).told_apart
