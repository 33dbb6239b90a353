"""A run's scores on a test set: the head's, the prior's, the intervals, the leaks."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_absolute_error

from basket import metrics
from basket.errors import UsageError
from basket.evaluate import evaluate, prior_levels
from basket.heads.prior import PriorHead

COUNTS = [[9, 1, 1, 1, 8], [1, 2, 3, 2, 1], [0, 0, 0, 0, 0]]


def uniform_counts(matrix):
    return np.ones((len(matrix.skills), matrix.n_levels))


def score(run, matrix, **settings):
    settings = {"train_level_counts": uniform_counts(matrix), "split": "test"} | settings
    return evaluate(run, matrix, **settings)


def test_scores_equal_scikit_learn_on_the_labels_that_exist(test_set, fake_run):
    matrix = test_set()
    run = fake_run(matrix.skills)
    found = score(run, matrix)
    proba = run.predict_proba(matrix.X)
    for skill in range(len(matrix.skills)):
        known = matrix.Y[:, skill] >= 0
        truth = matrix.Y[known, skill]

        def by(metric, skill=skill, known=known):
            return run.decision.predict(proba, metric)[known, skill]

        assert found.metrics["accuracy"].per_skill[skill] == pytest.approx(
            accuracy_score(truth, by("accuracy"))
        )
        assert found.metrics["mae"].per_skill[skill] == pytest.approx(
            mean_absolute_error(truth, by("mae"))
        )
        assert found.metrics["qwk"].per_skill[skill] == pytest.approx(
            cohen_kappa_score(truth, by("qwk"), weights="quadratic", labels=range(5))
        )
        assert found.n_labels[skill] == known.sum()
    for scores in found.metrics.values():
        assert scores.mean == pytest.approx(np.mean(scores.per_skill))
    assert [found.metrics[name].rule for name in ("accuracy", "mae", "qwk")] == [
        "argmax",
        "median",
        "matched",
    ]


def test_the_head_runs_once_per_test_set(test_set, fake_run):
    matrix = test_set()
    run = fake_run(matrix.skills)
    score(run, matrix)
    assert run.calls == 1


def test_the_interval_contains_the_point_estimate(test_set, fake_run):
    matrix = test_set(n=200, players=100)
    found = score(fake_run(matrix.skills), matrix)
    for name, scores in found.metrics.items():
        if name == "calibration_error":
            assert scores.interval is None
            continue
        assert scores.interval.low < scores.mean < scores.interval.high
        for value, interval in zip(scores.per_skill, scores.skill_intervals, strict=True):
            assert interval.low <= value <= interval.high


def test_one_player_gives_no_interval(test_set, fake_run):
    matrix = test_set(players=1)
    found = score(fake_run(matrix.skills), matrix)
    assert found.n_players == 1
    assert found.metrics["accuracy"].interval is None
    assert not np.isnan(found.metrics["accuracy"].mean)


def test_prior_levels_are_the_mode_and_the_median():
    assert prior_levels(COUNTS, metric="accuracy").tolist() == [0, 2, 0]
    assert prior_levels(COUNTS, metric="mae").tolist() == [1, 2, 2]


@pytest.mark.parametrize("metric", ["accuracy", "mae", "qwk"])
def test_the_baseline_is_the_best_constant_scored_directly(test_set, fake_run, metric):
    matrix = test_set(skills=("Free Throw", "2-PTs", "Steals"))
    found = score(fake_run(matrix.skills), matrix, train_level_counts=COUNTS).metrics[metric]
    constant = np.tile(prior_levels(COUNTS, metric=metric), (len(matrix.Y), 1))
    direct = metrics.CONFUSION_METRICS[metric](
        metrics.confusion_matrices(matrix.Y, constant, matrix.n_levels)
    )
    # Of the third skill there is no training label: nobody can be scored on it.
    assert found.prior_per_skill[:2] == tuple(direct[:2])
    assert np.isnan(found.prior_per_skill[2])
    assert found.prior_mean == pytest.approx(direct[:2].mean())
    if metric == "qwk":
        assert found.prior_mean == 0.0


@pytest.mark.parametrize("metric", ["accuracy", "mae"])
def test_the_prior_head_scores_what_the_baseline_scores(test_set, fake_run, metric):
    """The baseline that every report shows and the head called ``prior`` are one thing."""
    train, matrix = test_set(seed=4, n=80), test_set(seed=5)
    counts = (train.Y[:, :, None] == np.arange(5)).sum(0)
    head = PriorHead(n_levels=5).fit(train.X, train.Y)
    matrix.X = head.predict_proba(matrix.X).reshape(len(matrix.Y), -1)
    found = score(fake_run(matrix.skills), matrix, train_level_counts=counts).metrics[metric]
    assert found.per_skill == pytest.approx(found.prior_per_skill)


def test_missing_labels_and_absent_levels(test_set, fake_run):
    matrix = test_set()
    matrix.Y[:, 0] = -1
    matrix.Y[:, 1] = np.where(np.arange(len(matrix.Y)) % 2, 0, 1)
    found = score(fake_run(matrix.skills), matrix)
    assert found.n_labels[0] == 0
    for scores in found.metrics.values():
        assert np.isnan(scores.per_skill[0])
        assert scores.skill_intervals[0] is None
        assert scores.n_undefined == 1
        assert scores.mean == pytest.approx(np.nanmean(scores.per_skill))
    confusion = np.array(found.confusion[1])
    assert confusion.shape == (5, 5)
    assert confusion[2:].sum() == 0
    assert confusion.sum() == len(matrix.Y)


def test_a_skill_without_a_training_label_is_in_no_mean(test_set, fake_run):
    matrix = test_set()
    counts = uniform_counts(matrix)
    counts[1] = 0
    lost = np.zeros((4, len(matrix.skills)), dtype=int)
    found = score(fake_run(matrix.skills), matrix, train_level_counts=counts, lost=lost)
    plain = score(fake_run(matrix.skills), matrix, lost=lost)
    assert found.n_labels == plain.n_labels
    for name, scores in found.metrics.items():
        others = np.delete(plain.metrics[name].per_skill, 1)
        assert np.isnan(scores.per_skill[1])
        assert scores.mean == pytest.approx(np.mean(others))
        assert scores.n_undefined == plain.metrics[name].n_undefined + 1
        assert np.isnan(scores.prior_per_skill[1])
        assert np.isnan(scores.worst_per_skill[1])


def test_a_set_that_lost_every_video_has_no_scores_and_keeps_its_list(test_set, fake_run):
    matrix = test_set(n=0)
    matrix.left_out = {"a.mp4": "empty file", "b.mp4": "no video stream"}
    run = fake_run(matrix.skills)
    found = score(run, matrix)
    assert (found.n_videos, found.n_players, run.calls) == (0, 0, 0)
    assert np.isnan(found.metrics["accuracy"].mean)
    assert found.metrics["accuracy"].interval is None
    assert dict(found.left_out) == matrix.left_out


def test_one_foreign_skill_of_three_levels(test_set, fake_run):
    matrix = test_set(skills=("backhand",), n_levels=3)
    found = score(fake_run(("backhand",), 3), matrix)
    assert np.array(found.confusion).shape == (1, 3, 3)
    assert 0 < found.metrics["accuracy"].mean <= 1


def test_players_seen_in_training_are_named(test_set, fake_run):
    matrix = test_set(n=60, players=20)
    run = fake_run(matrix.skills)
    found = score(run, matrix, train_players={"NBA/3", "NBA/7", "WNBA/1"})
    assert found.seen_players == ("NBA/3", "NBA/7")
    assert found.n_seen_videos == 6
    assert score(run, matrix, train_players=set()).seen_players == ()
    assert score(run, matrix).seen_players is None


def test_other_skills_than_the_run_are_refused(test_set, fake_run):
    matrix = test_set(skills=("Steals", "Dunks"))
    with pytest.raises(UsageError, match=r"not those of the run, in its order"):
        score(fake_run(("Steals", "Fouls")), matrix)
    with pytest.raises(UsageError, match="in its order"):
        score(fake_run(("Dunks", "Steals")), matrix)


def test_training_counts_of_another_shape_are_refused(test_set, fake_run):
    matrix = test_set()
    with pytest.raises(ValueError, match=r"shape \(20, 5\)"):
        score(fake_run(matrix.skills), matrix, train_level_counts=np.ones((20, 4)))
