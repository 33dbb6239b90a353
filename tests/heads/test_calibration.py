"""How often a run is right: counted on players that it used for nothing else."""

import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from basket.errors import IntegrityError, UsageError
from basket.heads.calibration import Calibration, measure, set_aside
from basket.heads.decision import DecisionRules
from basket.heads.fit import fit_run
from basket.heads.held_out import Predictions
from basket.heads.reference import Reference, reference_of


def predictions(stated, right, players, *, n_levels=5):
    """One skill; level 1 is stated with each probability, and is right or off by two."""
    proba = np.full((len(stated), 1, n_levels), 0.0)
    proba[:, 0] = ((1 - np.asarray(stated)) / (n_levels - 1))[:, None]
    proba[:, 0, 1] = stated
    levels = np.where(right, 1, 3)[:, None]
    ids = tuple(f"{row}.mp4" for row in range(len(stated)))
    return Predictions(proba, levels, ids, tuple(map(str, players)))


def measured(held, counts=(4.0, 1, 1, 1, 1)):
    return measure(held, DecisionRules.uncalibrated(1, 5), ["Steals"], np.array([counts]))


def test_confident_statements_are_counted_apart_from_hesitant_ones():
    random = np.random.default_rng(0)
    stated = np.repeat([0.3, 0.9], 300)
    right = random.random(600) < np.repeat([0.25, 0.8], 300)
    found = measured(predictions(stated, right, range(600)))
    assert not found.is_pooled("Steals")
    low, high = found.at("Steals", 0.31), found.at("Steals", 0.88)
    assert low.share == pytest.approx(right[:300].mean(), abs=0.05)
    assert high.share == pytest.approx(right[300:].mean(), abs=0.05)
    for rate, truth in ((low, 0.25), (high, 0.8)):
        assert rate.interval[0] < truth < rate.interval[1]
    assert found.guess == pytest.approx(0.2)  # its most frequent level never occurs here


def test_few_ratings_are_pooled_over_the_skills():
    found = measured(predictions([0.5] * 40, [True] * 20 + [False] * 20, range(40)))
    assert found.is_pooled("Steals")
    assert found.at("Steals", 0.5).ratings == 40


def test_ratings_of_one_player_count_as_one_where_they_agree():
    right = np.repeat([True, False], 50)
    alone = measured(predictions([0.5] * 100, right, range(100))).overall
    alike = measured(predictions([0.5] * 100, right, np.arange(100) // 10)).overall
    assert alone.independent == pytest.approx(99, abs=2)
    assert alike.independent == pytest.approx(9, abs=1)
    assert np.diff(alike.interval) > 2 * np.diff(alone.interval)
    never = measured(predictions([0.5] * 100, np.ones(100, bool), np.arange(100) // 10)).overall
    assert never.interval[0] < 0.75  # ten players, not a hundred


def test_ratings_of_one_player_that_differ_count_each():
    right = np.tile([True, False], 50)
    mixed = measured(predictions([0.5] * 100, right, np.arange(100) // 10)).overall
    assert mixed.independent == 100


def test_one_level_off_is_near_and_two_are_not():
    held = predictions([0.5] * 40, [True] * 40, range(40))
    held = replace(held, levels=np.repeat([1, 0, 2, 3], 10)[:, None])
    overall = measured(held).overall
    assert (overall.share, overall.near_share) == (0.25, 0.75)


@pytest.mark.parametrize(("ratings", "bins"), [(99, 1), (100, 2), (249, 4), (1000, 5)])
def test_a_curve_has_no_bin_of_few_ratings_and_no_more_than_five(ratings, bins):
    found = measured(
        predictions(np.linspace(0.25, 0.95, ratings), [True] * ratings, range(ratings))
    )
    assert len(found.pooled) == bins
    assert min(rate.ratings for rate in found.pooled) >= ratings // bins - 1


def test_what_was_never_right_is_read_back():
    found = measured(predictions([0.5] * 40, [False] * 40, range(40)))
    assert (found.overall.right, found.overall.near) == (0, 0)
    assert Calibration.from_json(found.to_json()) == found


@pytest.fixture
def fitted(league, tmp_path):
    def call(name, **settings):
        return fit_run(
            settings.pop("train", league.matrix), settings.pop("val", None),
            head="ridge", params={}, seed=0,
            pooling="mean+std", out=tmp_path / name, labels={},
            feature_sets=[{"name": "m", "stream": "pooled", "spec": league.source.spec}],
            **settings,
        )  # fmt: skip

    return call


def test_players_set_aside_are_used_for_nothing_else(league, fitted):
    run = fitted("run", aside=0.2)
    kept, aside = set_aside(league.matrix, 0.2, seed=0)
    assert not set(kept.groups) & set(aside.groups)
    assert aside.n_players == pytest.approx(0.2 * league.matrix.n_players, abs=1)
    assert run.config["set_aside"] == {"n_videos": len(aside), "n_players": aside.n_players}
    assert set(run.train_players) == set(kept.groups)
    # Their labels, whatever they are, change nothing but the calibration.
    spoiled = np.isin(league.matrix.groups, aside.groups)
    Y = np.where(spoiled[:, None], 4 - league.matrix.Y, league.matrix.Y)
    other = fitted("other", aside=0.2, train=replace(league.matrix, Y=Y))
    for file in ("head.safetensors", "decision.json", "metrics.json", "reference.json"):
        assert (run.path / file).read_bytes() == (other.path / file).read_bytes()
    first, second = (
        Calibration.from_json(each.extra_file("calibration.json").decode()) for each in (run, other)
    )
    assert first.overall.share > second.overall.share
    table = pq.read_table(run.path / "calibration.parquet")
    assert set(table["player"].to_pylist()) == set(aside.groups)
    right = np.array(table["label"]) == np.array(table["predicted"])
    assert first.overall.right == right.sum()


def test_runs_without_it_load_and_say_so(league, fitted):
    run = fitted("plain")
    assert run.extra_file("calibration.json") is None
    assert run.config["set_aside"] is None
    few = league.matrix.rows(np.isin(league.matrix.groups, np.unique(league.matrix.groups)[:10]))
    assert set_aside(few, 0.2) == (few, None)
    with pytest.raises(UsageError, match="share of players"):
        fitted("wrong", aside=1.5)


def test_changed_files_are_noticed(fitted):
    run = fitted("run", aside=0.2)
    text = (run.path / "calibration.json").read_text()
    assert Calibration.from_json(text).to_json() == text
    (run.path / "calibration.json").write_text(text + " ")
    with pytest.raises(IntegrityError, match="not the file that was written"):
        run.extra_file("calibration.json")
    document = json.loads(text)
    document["overall"]["right"] = document["overall"]["ratings"] + 1
    for broken in ("[]", "{", json.dumps({**document, "version": 2}), json.dumps(document)):
        with pytest.raises(IntegrityError):
            Calibration.from_json(broken)
    reference = run.extra_file("reference.json").decode()
    assert Reference.from_json(reference, skills=run.skills).to_json() == reference
    with pytest.raises(IntegrityError, match="not for 1 skills"):
        Reference.from_json(reference, skills=["Steals"])


def test_percentiles_are_shares_of_the_reference_players():
    random = np.random.default_rng(0)
    proba = random.dirichlet(np.ones(5), size=(400, 1))
    held = Predictions(proba, np.zeros((400, 1), int), ("v",) * 400, tuple(map(str, range(400))))
    reference = reference_of(held, population="training", mean_latent=np.zeros(1))
    new = random.dirichlet(np.ones(5), size=(50, 1))
    levels = np.arange(5)
    behind = (proba[:, 0] @ levels)[None] < (new[:, 0] @ levels)[:, None]
    up, down = np.array([True]), np.array([False])
    assert np.array_equal(reference.percentile(new, high_is_good=up)[:, 0], behind.mean(axis=1))
    # Whoever ties is behind neither way: not with the good labels above, not with them below.
    assert reference.percentile(proba[:1], high_is_good=up) < reference.percentile(
        proba[:1], high_is_good=down
    )
    assert not reference.beyond(proba).any()
    assert reference.beyond(np.array([[[0, 0, 0, 0, 1.0]], [[1.0, 0, 0, 0, 0]]])).all()
    same = replace(held, proba=np.full_like(proba, 0.2))
    flat = reference_of(same, population="training", mean_latent=np.zeros(1))
    assert flat.is_flat.all()
    assert np.isnan(flat.percentile(new, high_is_good=up)).all()
    few = replace(reference, players=19)
    assert np.isnan(few.percentile(new, high_is_good=up)).all()


def test_players_with_several_videos_count_once_and_many_are_thinned():
    random = np.random.default_rng(0)
    proba = random.dirichlet(np.ones(5), size=(900, 2))
    held = Predictions(
        proba, np.zeros((900, 2), int), ("v",) * 900, tuple(str(i % 450) for i in range(900))
    )
    reference = reference_of(held, population="validation", mean_latent=np.zeros(2))
    assert (reference.players, reference.quantiles.shape) == (450, (2, 401))
    means = (proba.reshape(2, 450, 2, 5) @ np.arange(5)).mean(axis=0)
    assert (
        pytest.approx(np.stack([means.min(axis=0), means.max(axis=0)]))
        == reference.quantiles[:, [0, -1]].T
    )


def test_players_whom_validation_decides_by_are_not_set_aside(league):
    elsewhere = set(np.unique(league.matrix.groups)[::2].tolist())
    kept, aside = set_aside(league.matrix, 0.2, seed=0, seen_elsewhere=elsewhere)
    assert aside is not None
    assert not elsewhere & set(aside.groups.tolist())
    assert not set(kept.groups.tolist()) & set(aside.groups.tolist())
    assert len(kept) + len(aside) == len(league.matrix)
    everybody = set(league.matrix.groups.tolist())
    assert set_aside(league.matrix, 0.2, seen_elsewhere=everybody) == (league.matrix, None)


def test_validation_players_who_were_learned_from_are_no_reference(league, fitted):
    names = np.unique(league.matrix.groups)
    train = league.matrix.rows(np.isin(league.matrix.groups, names[: len(names) // 2]))
    val = league.matrix.rows(np.isin(league.matrix.groups, names[len(names) // 3 :]))
    run = fitted("run", train=train, val=val)
    reference = Reference.from_json(run.extra_file("reference.json").decode(), skills=run.skills)
    assert reference.players == len(set(val.groups) - set(train.groups)) > 0
    same = fitted("same", train=train, val=train)  # nobody new: all of them, and a leak is told
    reference = Reference.from_json(same.extra_file("reference.json").decode(), skills=run.skills)
    assert reference.players == train.n_players
