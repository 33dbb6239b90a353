"""Which settings each search asks for, by scores that are made up."""

import pytest

from basket.sweep import HeadSpace, Search, Space
from basket.sweep.search import rungs_of, walk
from basket.sweep.setting import make_setting
from basket.sweep.space import Range

DROPOUTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)


def batches_of(space, folder, *, failed=()):
    """What was fitted together, and whether in full; a setting scores its dropout."""
    asked = []

    def run(settings, full):
        asked.append((settings, full))
        return {
            each: {"error": "no good"}
            if each.parameters["dropout"] in failed
            else {"scores": {space.metric: {"mean": each.parameters["dropout"]}}}
            for each in settings
        }

    walk(space, run, folder=folder)
    return asked


def halved(metric):
    params = {"dropout": DROPOUTS, "epochs": (90,)}
    return Space(heads=(HeadSpace("mlp", params),), search=Search("halving"), metric=metric)


@pytest.mark.parametrize(
    ("metric", "failed", "thirds"),
    [("accuracy", 0.9, [0.6, 0.7, 0.8]), ("mae", 0.1, [0.2, 0.3, 0.4])],
)
def test_halving_goes_on_with_what_scores_best_and_never_with_a_failure(
    tmp_path, metric, failed, thirds
):
    first, second, last = batches_of(halved(metric), tmp_path, failed=[failed])
    assert sorted(each.parameters["dropout"] for each in second[0]) == thirds
    best = max(thirds) if metric == "accuracy" else min(thirds)
    assert [each.parameters for each in last[0]] == [{"dropout": best, "epochs": 90}]
    epochs = [{each.parameters["epochs"] for each in batch} for batch, _ in (first, second, last)]
    assert epochs == [{10}, {30}, {90}]
    assert [full for _, full in (first, second, last)] == [False, False, True]


@pytest.mark.parametrize(
    ("head", "parts"),
    [
        ("mlp", [{"epochs": 11}, {"epochs": 33}]),
        ("gbdt", [{"rounds": 33}, {"rounds": 100}]),
        ("attention", [{"epochs": 3}, {"epochs": 10}]),
        ("ridge", []),
    ],
)
def test_the_whole_resource_is_what_a_head_takes_unless_it_is_told(head, parts):
    setting = make_setting((), "mean", "all", head, {})
    assert [each.parameters for each in rungs_of(Space(), setting)] == parts


@pytest.mark.parametrize(
    ("search", "dropout", "n"),
    [
        (Search(), DROPOUTS, 9),
        (Search(budget=4), DROPOUTS, 4),
        (Search(budget=40), DROPOUTS, 9),
        (Search("random", budget=4), DROPOUTS, 4),
        (Search("random", budget=4), Range(0.1, 0.9), 4),
        (Search("random", budget=99), DROPOUTS, 9),
    ],
)
def test_a_budget_counts_configurations_and_each_has_every_seed(tmp_path, search, dropout, n):
    space = Space(heads=(HeadSpace("mlp", {"dropout": dropout}),), seeds=2, search=search)
    [(settings, full)] = batches_of(space, tmp_path)
    assert full
    assert len({each.without_seed() for each in settings}) == n
    assert len(settings) == 2 * n


@pytest.mark.parametrize(("metric", "failed", "best"), [("accuracy", 0.9, 0.8), ("mae", 0.1, -0.2)])
def test_optuna_is_told_what_is_better_and_that_a_failure_is_worst(tmp_path, metric, failed, best):
    optuna = pytest.importorskip("optuna")
    space = Space(
        heads=(HeadSpace("mlp", {"dropout": DROPOUTS}),),
        search=Search("optuna", budget=9),
        metric=metric,
    )
    asked = batches_of(space, tmp_path, failed=[failed])
    assert len(asked) == 9
    journal = optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.journal"))
    storage = optuna.storages.JournalStorage(journal)
    [name] = optuna.get_all_study_names(storage)
    assert optuna.load_study(study_name=name, storage=storage).best_value == best
