"""Every head is a scikit-learn classifier, and keeps the promises of SkillHead."""

import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from basket import metrics
from basket.errors import UsageError
from basket.heads import HEADS, make_head

LEARNERS = ("ridge", "cumulative", "mlp", "gbdt", "attention")
QUICK = {"mlp": {"epochs": 40}, "attention": {"epochs": 5}, "gbdt": {"rounds": 60}}

_CONTRACT = (
    "by contract, predict_proba of several skills is (n, n_skills, K); scikit-learn expects a "
    "list, or, for two levels only, (n, n_skills)"
)
_TEXT = "text has no order that could be known; scikit-learn's check gives names of classes"
_BATCHES = "batches and the early stop see rows, not their weights"
EXPECTED_FAILURES = {
    "MlpHead": {
        "check_classifier_multioutput": _CONTRACT,
        "check_sample_weight_equivalence_on_dense_data": _BATCHES,
    },
    "AttentionHead": {"check_sample_weight_equivalence_on_dense_data": _BATCHES},
    "GbdtHead": {
        "check_classifier_multioutput": _CONTRACT,
        "check_sample_weight_equivalence_on_dense_data": (
            "bins, leaves and bags of rows count rows, not their weights"
        ),
    },
}


def head(name, **params):
    return make_head(name, **{**QUICK.get(name, {}), **params})


@pytest.fixture(scope="module")
def ordinal():
    """Three skills of five levels that depend on ten of twelve columns."""
    random = np.random.default_rng(0)
    X = random.normal(size=(900, 12)).astype(np.float32)
    latent = X[:, :10] @ random.normal(size=(10, 3))
    latent = latent / latent.std(axis=0) + 0.5 * random.normal(size=latent.shape)
    cuts = np.quantile(latent, [0.2, 0.4, 0.6, 0.8], axis=0)
    Y = (latent[:, None] > cuts[None]).sum(axis=1)
    return X, Y


QUICK_MLP = make_head("mlp", epochs=30, learning_rate=0.01, hidden=32)


@parametrize_with_checks(
    [
        make_head("prior"),
        make_head("ridge"),
        make_head("ridge", target="thresholds"),
        make_head("cumulative"),
        make_head("cumulative", loss="corn"),
        QUICK_MLP,
        make_head("gbdt"),
        make_head("attention", epochs=5),
    ],
    expected_failed_checks=lambda estimator: {
        "check_classifiers_classes": _TEXT,
        **EXPECTED_FAILURES.get(type(estimator).__name__, {}),
    },
)
def test_is_a_scikit_learn_classifier(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)


@pytest.mark.parametrize("name", LEARNERS)
def test_beats_the_prior_in_every_metric(name, ordinal):
    X, Y = ordinal
    fitted = head(name, n_levels=5).fit(X[:500], Y[:500])
    prior = make_head("prior", n_levels=5).fit(X[:500], Y[:500])
    for metric, score in metrics.CONFUSION_METRICS.items():
        ours, theirs = (
            metrics.mean_over_skills(
                score(metrics.confusion_matrices(Y[500:], each.predict(X[500:], metric), 5))
            )
            for each in (fitted, prior)
        )
        margin = {"accuracy": 0.15, "mae": -0.4, "qwk": 0.4}[metric]
        assert (ours - theirs - margin) * (1 if metrics.HIGHER_IS_BETTER[metric] else -1) > 0


@pytest.mark.parametrize("name", HEADS)
def test_probabilities_are_probabilities_and_latent_scores_rise_with_the_level(name, ordinal):
    X, Y = ordinal
    fitted = head(name, n_levels=5).fit(X[:500], Y[:500])
    proba, latent = fitted.predict_proba(X[500:]), fitted.latent(X[500:])
    assert proba.shape == (400, 3, 5)
    assert (proba >= 0).all()
    assert np.abs(proba.sum(axis=2) - 1).max() <= 1e-6
    assert latent.shape == (400, 3)
    if name not in ("prior", "prompts"):  # these learn from no feature which way is up
        for skill in range(3):
            assert np.corrcoef(latent[:, skill], Y[500:, skill])[0, 1] > 0.6
    far = fitted.predict_proba(X[500:] * 1e4)
    assert np.isfinite(far).all()
    assert (far >= 0).all()


@pytest.mark.parametrize("name", HEADS)
def test_order_of_the_rows_changes_nothing(name, ordinal):
    X, Y = ordinal[0][:200], ordinal[1][:200].copy()
    Y[::7, 1] = -1
    groups = np.array([f"player {row // 2}" for row in range(200)])
    weights = np.linspace(0.5, 2.0, 200)
    order = np.random.default_rng(1).permutation(200)
    one = head(name, n_levels=5).fit(X, Y, groups=groups, sample_weight=weights)
    two = head(name, n_levels=5).fit(
        X[order], Y[order], groups=groups[order], sample_weight=weights[order]
    )
    assert np.array_equal(one.predict_proba(X), two.predict_proba(X))


@pytest.mark.parametrize("name", HEADS)
def test_seed_decides_everything_random(name, ordinal):
    X, Y = ordinal[0][:200], ordinal[1][:200]
    first = head(name, n_levels=5).fit(X, Y)
    np.random.default_rng().normal()
    assert np.array_equal(first.predict_proba(X), clone(first).fit(X, Y).predict_proba(X))
    # Refitting the same object forgets what it knew.
    again = head(name, n_levels=5).fit(X[::-1] + 1, Y, sample_weight=np.arange(200.0)).fit(X, Y)
    assert np.array_equal(first.predict_proba(X), again.predict_proba(X))
    if name == "cumulative":
        # Folds only choose among ten penalties: another deal may choose the same.
        assert not np.array_equal(first.losses_, head(name, n_levels=5, seed=1).fit(X, Y).losses_)
    elif name not in ("prior", "prompts"):
        other = head(name, n_levels=5, seed=1).fit(X, Y)
        assert not np.array_equal(first.predict_proba(X), other.predict_proba(X))


@pytest.mark.parametrize("name", ["ridge", "cumulative", "gbdt"])
def test_a_row_without_a_label_for_a_skill_cannot_touch_that_skill(name, ordinal):
    X, Y = ordinal[0][:240].copy(), ordinal[1][:240].copy()
    groups = np.arange(240)
    Y[:60, 0] = -1
    before = head(name, n_levels=5).fit(X, Y, groups=groups).predict_proba(ordinal[0][500:])
    X[:60] = 1e3 * X[:60] + 7
    after = head(name, n_levels=5).fit(X, Y, groups=groups).predict_proba(ordinal[0][500:])
    assert np.array_equal(before[:, 0], after[:, 0])
    assert not np.array_equal(before[:, 1], after[:, 1])


@pytest.mark.parametrize("name", HEADS)
def test_a_row_without_any_label_or_weight_cannot_touch_anything(name, ordinal):
    X, Y = ordinal[0][:200].copy(), ordinal[1][:200].copy()
    Y[:30] = -1
    weights = np.ones(200)
    weights[30:50] = 0
    before = head(name, n_levels=5).fit(X, Y, sample_weight=weights)
    X[:50] = 1e3
    Y[30:50] = 4
    after = head(name, n_levels=5).fit(X, Y, sample_weight=weights)
    assert np.array_equal(before.predict_proba(ordinal[0]), after.predict_proba(ordinal[0]))


@pytest.mark.parametrize("name", HEADS)
def test_a_level_that_does_not_occur_keeps_its_place(name, ordinal):
    X, Y = ordinal[0][:200], ordinal[1][:200].copy()
    Y[Y == 2] = 1
    Y[Y == 4] = 3
    proba = head(name, n_levels=5).fit(X, Y).predict_proba(X)
    assert proba.shape == (200, 3, 5)
    assert np.isfinite(proba).all()
    assert proba[:, :, [2, 4]].mean() < 0.02
    assert np.abs(proba.sum(axis=2) - 1).max() <= 1e-6


@pytest.mark.parametrize("name", HEADS)
def test_constant_columns_are_harmless(name, ordinal):
    X, Y = ordinal[0][:200], ordinal[1][:200]
    constant = np.full((200, 2), [[0.0, 1e6]], dtype=np.float32)
    fitted = head(name, n_levels=5).fit(np.hstack([X, constant]), Y)
    elsewhere = np.full((200, 2), [[5.0, -3.0]], dtype=np.float32)
    assert np.array_equal(
        fitted.predict_proba(np.hstack([X, constant])),
        fitted.predict_proba(np.hstack([X, elsewhere])),
    )
    only = head(name, n_levels=5).fit(constant, Y)
    assert np.isfinite(only.predict_proba(constant)).all()


@pytest.mark.parametrize("name", HEADS)
def test_a_skill_that_cannot_be_learned_answers_with_its_prior(name, ordinal):
    X, Y = ordinal[0][:200], ordinal[1][:200].copy()
    Y[:, 1], Y[:, 2] = 3, -1
    fitted = head(name, n_levels=5).fit(X, Y)
    proba = fitted.predict_proba(X)
    assert np.array_equal(proba[:, 1], np.tile([0, 0, 0, 1.0, 0], (200, 1)))
    assert np.array_equal(proba[:, 2], np.full((200, 5), 0.2))
    assert not fitted.latent(X)[:, 1:].any()
    Y[:, 0] = -1
    assert head(name, n_levels=5).fit(X, Y).predict(X).shape == (200, 3)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("n", [2, 3, 6])
def test_a_handful_of_rows_or_a_single_player_is_enough(name, n, ordinal):
    X = ordinal[0][:n]
    Y = np.array([0, 4, 2, 1, 3, 0])[:n, None]
    for groups in (None, ["one"] * n):
        proba = head(name, n_levels=5).fit(X, Y, groups=groups).predict_proba(X)
        assert np.abs(proba.sum(axis=2) - 1).max() <= 1e-6


@pytest.mark.parametrize("name", HEADS)
def test_labels_that_cannot_be_meant_are_refused(name, ordinal):
    X, Y = ordinal[0][:50], ordinal[1][:50].astype(float)
    for bad in (np.nan, 5, -2, 1.5):
        broken = Y.copy()
        broken[3, 1] = bad
        with pytest.raises(ValueError, match=r"NaN|0\.\.4|whole"):
            head(name, n_levels=5).fit(X, broken)
    with pytest.raises(ValueError, match="groups must have shape"):
        head(name, n_levels=5).fit(X, Y, groups=["a"])


@pytest.mark.parametrize("name", HEADS)
def test_one_dimensional_labels_with_fixed_levels(name, ordinal):
    X, y = ordinal[0][:200], ordinal[1][:200, 0]
    fitted = head(name, n_levels=7).fit(X, y)
    assert fitted.predict_proba(X).shape == (200, 7)
    assert fitted.latent(X).shape == fitted.predict(X).shape == (200,)
    two = head(name, n_levels=7).fit(X, y[:, None])
    assert np.array_equal(fitted.predict_proba(X), two.predict_proba(X)[:, 0])


def test_half_precision_features_are_computed_in_full(ordinal):
    X, Y = ordinal[0][:100].astype(np.float16), ordinal[1][:100]
    same = head("ridge", n_levels=5).fit(X.astype(np.float64), Y)
    ours = head("ridge", n_levels=5).fit(X, Y)
    assert np.array_equal(ours.predict_proba(X), same.predict_proba(X.astype(np.float64)))


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ridge", {"folds": 1}),
        ("ridge", {"penalties": [1.0, -1.0]}),
        ("cumulative", {"folds": 1}),
        ("cumulative", {"penalties": [-1.0]}),
        ("cumulative", {"link": "cauchit"}),
        ("cumulative", {"loss": "coral", "partial": True}),
        ("cumulative", {"tolerance": 0}),
        ("mlp", {"loss": "coral?"}),
        ("mlp", {"dropout": 1.0}),
        ("mlp", {"depth": 17}),
        ("mlp", {"learning_rate": -1}),
        ("mlp", {"batch_size": 0}),
        ("mlp", {"validation_fraction": 2}),
        ("gbdt", {"leaves": 1}),
        ("gbdt", {"learning_rate": -5}),
        ("gbdt", {"feature_fraction": 0}),
        ("attention", {"batch_size": 0}),
        ("attention", {"learning_rate": 0}),
        ("prior", {"n_levels": 1}),
    ],
)
def test_impossible_parameters_are_usage_errors(name, params, ordinal):
    with pytest.raises(UsageError):
        make_head(name, **params).fit(ordinal[0][:50], ordinal[1][:50] // 3)


@pytest.mark.parametrize(
    ("name", "params", "expected"),
    [
        ("ridge", {"penalties": "1,10"}, r"a number or a list of numbers such as \[1, 10\]"),
        ("ridge", {"powers": "x"}, "a number or a list of numbers"),
        ("ridge", {"folds": 2.5}, "a whole number"),
        ("ridge", {"standardize": "maybe"}, "true or false"),
        ("ridge", {"folds": True}, "a whole number"),
        ("cumulative", {"tolerance": float("nan")}, "a number"),
        ("cumulative", {"partial": "maybe"}, "true or false"),
        ("mlp", {"epochs": 1.5}, "a whole number"),
        ("mlp", {"batch_size": "abc"}, "a whole number"),
        ("mlp", {"hierarchy": [0.5, 1]}, "true or false or a list of whole numbers"),
        ("gbdt", {"l2": "abc"}, "a number"),
        ("attention", {"epochs": "abc"}, "a whole number"),
        ("prompts", {"strength": None}, "a number"),
    ],
)
def test_a_value_of_another_type_is_told_with_what_was_expected(name, params, expected, ordinal):
    (parameter,) = params
    with pytest.raises(UsageError, match=f"{parameter} must be {expected}.*, got"):
        make_head(name, **params)
    with pytest.raises(UsageError, match=f"{parameter} must be {expected}.*, got"):
        HEADS[name](**params).fit(ordinal[0][:50], ordinal[1][:50])


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ridge", {"penalties": np.float32(3), "folds": np.int64(3), "standardize": np.True_}),
        ("ridge", {"penalties": np.array([1, 2]), "powers": (1, 2.0), "class_weight": None}),
        ("cumulative", {"penalties": 3, "powers": np.array([1.0]), "tolerance": 1}),
        ("mlp", {"epochs": 1, "hierarchy": np.array([0, 1, 1]), "weight_decay": 0}),
        ("gbdt", {"rounds": np.int32(2), "l2": 1, "class_weight": {4: np.float64(2)}}),
    ],
)
def test_numpy_values_and_whole_numbers_are_numbers(name, params, ordinal):
    assert (
        make_head(name, n_levels=5, **params).fit(ordinal[0][:50], ordinal[1][:50]).n_skills_ == 3
    )


@pytest.mark.parametrize("name", LEARNERS)
def test_levels_of_no_weight_are_none_to_tell_apart(name, ordinal):
    """A skill whose levels weigh nothing, but for one, cannot be learned and answers its prior."""
    X, Y = ordinal
    Y = Y.copy()
    Y[:, 0] = np.minimum(Y[:, 0], 1)
    fitted = head(name, n_levels=5, class_weight=[0, 1, 1, 1, 1]).fit(X, Y)
    assert fitted.active_.tolist() == list(range(1, Y.shape[1]))
    assert (fitted.latent(X)[:, 0] == 0).all()
    assert np.isfinite(fitted.predict_proba(X)).all()


@pytest.mark.parametrize("name", LEARNERS)
def test_class_weight_moves_probability_to_what_it_favours(name, ordinal):
    X, Y = ordinal[0][:300], ordinal[1][:300]
    plain = head(name, n_levels=5).fit(X, Y).predict_proba(X).mean(axis=0)
    for given in ({4: 20.0}, {"4": 20.0}, [1, 1, 1, 1, 20.0]):
        favoured = head(name, n_levels=5, class_weight=given).fit(X, Y).predict_proba(X)
        assert (favoured.mean(axis=0)[:, 4] > plain[:, 4] + 0.1).all()
    rare = Y.copy()
    rare[np.arange(300) % 4 > 0] = np.minimum(rare[np.arange(300) % 4 > 0], 1)
    balanced = head(name, n_levels=5, class_weight="balanced").fit(X, rare).predict_proba(X)
    unbalanced = head(name, n_levels=5).fit(X, rare).predict_proba(X)
    assert (balanced.mean(axis=0)[:, 3] > unbalanced.mean(axis=0)[:, 3]).all()
    for bad in ("even", {7: 1.0}, {0: -1.0}):
        with pytest.raises(UsageError, match="class_weight"):
            head(name, n_levels=5, class_weight=bad).fit(X, Y)


@pytest.mark.parametrize("name", HEADS)
def test_a_given_validation_set_is_never_learned_from(name, ordinal):
    X, Y = ordinal[0][:300], ordinal[1][:300]
    params = {"penalties": [1.0]} if name == "cumulative" else {}
    if "patience" in make_head(name).get_params():
        params["patience"] = 0
    alone = head(name, n_levels=5, **params).fit(X[:200], Y[:200]).predict_proba(X)
    given = head(name, n_levels=5, **params)
    given.fit(X[:200], Y[:200], validation=(X[200:], Y[200:]))
    assert np.array_equal(given.predict_proba(X), alone)
    with pytest.raises(ValueError, match="validation has"):
        given.fit(X[:200], Y[:200], validation=(X[200:], Y[200:, :2]))


@pytest.mark.parametrize("name", ["mlp", "attention"])
def test_a_validation_set_that_stops_training_does_not_scale_its_features(name, ordinal):
    X, Y = ordinal[0][:300], ordinal[1][:300]
    fits = [
        make_head(name, n_levels=5, epochs=1, patience=1).fit(
            X[:200], Y[:200], validation=(far * X[200:], Y[200:])
        )
        for far in (1, 1000)
    ]
    assert fits[0].scale_ == pytest.approx(1 / X[:200].std(axis=0), rel=1e-5)
    assert np.array_equal(fits[0].scale_, fits[1].scale_)
    assert np.array_equal(fits[0].mean_, fits[1].mean_)


@pytest.mark.parametrize("name", HEADS)
def test_levels_that_nobody_has_are_told_of_nobody(name, ordinal):
    """Neither between others nor beyond them, however far out a row lies."""
    X, ranks = ordinal[0][:200], np.minimum(ordinal[1][:200, :1], 3)
    few = head(name, n_levels=4).fit(X, ranks).predict(X)[:, 0]
    for occur in ([0, 2, 4, 6], [10, 40, 70, 100]):
        many = head(name, n_levels=occur[-1] + 3).fit(X, np.array(occur)[ranks])
        assert (many.predict(X)[:, 0] == np.array(occur)[few]).mean() > 0.9
        assert many.predict_proba(X)[:, 0, occur].sum(axis=1).min() > 0.7


ORDERED = {"low": 0, "mid": 1, "high": 2}


@pytest.mark.parametrize("name", HEADS)
def test_ordered_categories_keep_the_order_that_was_declared(name, ordinal):
    pandas = pytest.importorskip("pandas")
    X, levels = ordinal[0][:60], ordinal[1][:60, 0] // 2
    names = np.array([*ORDERED])[levels]
    declared = pandas.Categorical(names, categories=[*ORDERED, "top"], ordered=True)
    plain = head(name).fit(X, levels)
    for y in (declared, pandas.Series(declared)):
        fitted = head(name).fit(X, y, validation=(X, y))
        assert fitted.classes_.tolist() == [*ORDERED, "top"]
        assert {*fitted.predict(X)} <= {*ORDERED}
        assert fitted.score(X, y) == (fitted.predict(X) == names).mean() == fitted.score(X, names)
    shares = head(name).fit(X, declared).predict_proba(X)
    assert shares[:, :3] == pytest.approx(plain.predict_proba(X), abs=0.05)
    table = pandas.DataFrame({"a": declared, "b": declared})
    numbers = np.stack([levels, levels], axis=1)
    assert np.array_equal(
        head(name, n_levels=4).fit(X, table).predict_proba(X),
        head(name, n_levels=4).fit(X, numbers).predict_proba(X),
    )
    hits = head(name, n_levels=4).fit(X, table).score(X, table)
    assert hits == pytest.approx(plain.score(X, levels), abs=0.05)
    bins = pandas.cut(levels, [-1, 0, 1, 5])
    assert head(name).fit(X, bins).score(X, bins) == plain.score(X, levels)
    # Numbers that rise are what they are; any other order of theirs was declared on purpose.
    for order, expected in (([0, 1, 2], [0, 1, 2]), ([2, 1, 0], [2, 1, 0])):
        y = pandas.Categorical(levels, categories=order, ordered=True)
        assert head(name).fit(X, y).classes_.tolist() == expected


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("n_levels", [None, 3])
def test_labels_without_a_known_order_are_refused_with_advice(name, n_levels, ordinal):
    pandas = pytest.importorskip("pandas")
    X, levels = ordinal[0][:60], ordinal[1][:60, 0] // 2
    names = np.array([*ORDERED])[levels]
    missing = pandas.array([None, *levels[1:]], dtype="Int64")
    for y in (
        names, names.tolist(), names.astype(object), names.astype("S"), levels.astype(str),
        pandas.Series(names), pandas.Series(names, dtype="string"), pandas.Categorical(names),
        pandas.DataFrame({"a": names, "b": names}), np.array(["a", *levels[1:]], dtype=object),
        missing, pandas.DataFrame({"a": missing}), np.array([None, *levels[1:]], dtype=object),
        np.array([np.nan, *levels[1:]]), pandas.Series(missing).astype("category"),
        pandas.Categorical([None, *names[1:]], categories=[*ORDERED], ordered=True),
        pandas.to_datetime("2026-01-01") + pandas.to_timedelta(levels, unit="D"),
    ):  # fmt: skip
        with pytest.raises(
            ValueError, match=r"labels must be numbers .* ordered=True; got"
        ) as error:
            head(name, n_levels=n_levels).fit(X, y)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", HEADS)
def test_numbers_of_any_type_are_levels(name, ordinal):
    pandas = pytest.importorskip("pandas")
    X, levels = ordinal[0][:60], ordinal[1][:60, 0] // 2
    expected = head(name).fit(X, levels)
    for y in (
        levels.astype(object), pandas.array(levels, dtype="Int64"),
        pandas.Series(levels).astype("category"),
    ):  # fmt: skip
        found = head(name).fit(X, y)
        assert np.array_equal(found.predict_proba(X), expected.predict_proba(X))
        assert found.classes_.tolist() == [0, 1, 2]
    for y in ((levels > 0).astype(object), pandas.array(levels > 0, dtype="boolean")):
        assert head(name).fit(X, y).classes_.tolist() == [False, True]
    with pytest.raises(ValueError, match=r"0\.\.2 .* got 0\.\.2e\+30"):
        head(name, n_levels=3).fit(X, levels * 1e30)


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("shift", [1e6, 1e9])
def test_features_far_from_zero_say_what_they_say_near_it(name, shift, ordinal):
    X, Y = ordinal[0].astype(np.float64), ordinal[1][:, :1]
    near = head(name, n_levels=5).fit(X[:300], Y[:300])
    far = head(name, n_levels=5).fit(X[:300] + shift, Y[:300])
    hits = [
        (each.predict(X[300:] + at) == Y[300:]).mean() for each, at in ((near, 0), (far, shift))
    ]
    assert hits[1] > hits[0] - 0.08


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("absurd", [1e30, -1e300, np.inf, np.nan])
def test_an_absurd_number_is_told_with_its_column(name, absurd, ordinal):
    pandas = pytest.importorskip("pandas")
    X, Y = ordinal[0][:60].astype(np.float64), ordinal[1][:60]
    fitted = head(name, n_levels=5).fit(pandas.DataFrame(X).add_prefix("x"), Y)
    X[7, 3] = absurd
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UsageError, match=r"^column 3 of the features holds .*$"):
            head(name, n_levels=5).fit(X, Y)
        with pytest.raises(ValueError, match=r"^column x3 of the features holds .*$"):
            fitted.predict(pandas.DataFrame(X).add_prefix("x"))


@pytest.mark.parametrize(
    ("name", "params"),
    [*((each, {}) for each in HEADS), *((each, {"penalties": 1.0}) for each in LEARNERS[:2])],
    ids=str,
)
def test_weights_that_sum_to_one_are_weights_whose_mean_is_one(name, params, ordinal):
    X, Y = ordinal[0][:100], ordinal[1][:100, :1]
    weights = np.random.default_rng(0).uniform(0.2, 3.0, size=100)
    weights[:15] = 0
    one, mean = (
        head(name, n_levels=5, **params).fit(X, Y, sample_weight=weights / size).predict_proba(X)
        for size in (weights.sum(), weights.mean())
    )
    assert one == pytest.approx(mean, abs=1e-9)
    if name in LEARNERS:
        even = head(name, n_levels=5, class_weight=[0.2] * 5, **params).fit(X, Y)
        assert even.predict_proba(X) == pytest.approx(
            head(name, n_levels=5, **params).fit(X, Y).predict_proba(X), abs=1e-9
        )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        head(name, n_levels=5).fit(X, Y, sample_weight=np.logspace(-9, 9, 100))
