"""LightGBM's traps do not catch us."""

import lightgbm
import numpy as np
import pytest

from basket.heads import gbdt, link, make_head


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(240, 6)).astype(np.float32)
    latent = X[:, :2] * 2 + random.logistic(size=(240, 2))
    return X, (latent[:, None] > np.array([-1.5, 0.0, 1.5])[None, :, None]).sum(axis=1)


def test_skills_share_a_binning_but_never_labels(data):
    # A subset's labels set before construct() are silently those of its parent.
    X, Y = data
    together = make_head("gbdt", n_levels=4, rounds=20, patience=0).fit(X, Y)
    for skill in range(2):
        alone = make_head("gbdt", n_levels=4, rounds=20, patience=0).fit(X, Y[:, [skill]])
        # Rows are ordered by features, so one binning or two are the same.
        assert np.array_equal(together.latent(X)[:, skill], alone.latent(X)[:, 0])
    missing = Y.copy()
    missing[100:, 1] = -1
    partly = make_head("gbdt", n_levels=4, rounds=20, patience=0).fit(X, missing)
    alone = make_head("gbdt", n_levels=4, rounds=20, patience=0).fit(X[:100], Y[:100, [1]])
    assert np.array_equal(partly.latent(X)[:, 1], alone.latent(X)[:, 0])


def test_weights_do_not_outlive_their_fit(data):
    # LightGBM: set_weight(None) keeps the old weights on a constructed Dataset.
    X, Y = data
    fresh = make_head("gbdt", n_levels=4, rounds=20).fit(X, Y)
    used = make_head("gbdt", n_levels=4, rounds=20)
    used.fit(X, Y, sample_weight=np.linspace(0.1, 5, 240))
    weighted = used.latent(X)
    used.fit(X, Y, sample_weight=None)
    assert np.array_equal(used.latent(X), fresh.latent(X))
    assert not np.array_equal(weighted, fresh.latent(X))


def test_without_a_split_the_answer_is_the_frequencies(data):
    # With an objective of one's own LightGBM ignores boost_from_average; and the first
    # answer of a head that has nothing to go by must not be that of equally frequent levels.
    levels = np.repeat([0, 1, 2, 3], [20, 140, 60, 20])[:, None]
    for objective in ("cumulative", "frank-hall", "multiclass"):
        head = make_head("gbdt", n_levels=4, objective=objective, rounds=5, patience=0)
        proba = head.fit(np.zeros((240, 3), dtype=np.float32), levels).predict_proba(
            np.ones((1, 3))
        )
        assert proba[0, 0] == pytest.approx([20 / 240, 140 / 240, 60 / 240, 20 / 240], abs=0.01)


def test_dense_embeddings_give_each_tree_a_tenth_of_their_columns():
    # A small feature_fraction is five times cheaper on columns that say much the same.
    head = make_head("gbdt")
    assert head._lightgbm_params(18_000, 768)["feature_fraction"] == pytest.approx(0.1)
    assert head._lightgbm_params(500, 13)["feature_fraction"] == 1.0


def test_trees_follow_the_gradient_of_the_likelihood(data):
    X, Y = data
    head = make_head(
        "gbdt",
        n_levels=4,
        rounds=1,
        patience=0,
        leaves=2,
        learning_rate=1.0,
        l2=0.0,
        row_fraction=1.0,
        feature_fraction=1.0,
    ).fit(X, Y[:, [0]])
    levels = Y[:, 0]
    start = link.marginal_thresholds(levels, np.ones(240), 4)
    gradient, hessian = link.gradient_hessian(np.zeros(240), start, levels)
    latent = head.latent(X)[:, 0]
    assert len(np.unique(latent)) == 2
    for value in np.unique(latent):
        leaf = latent == value
        assert value == pytest.approx(-gradient[leaf].sum() / hessian[leaf].sum(), rel=1e-5)


def test_thresholds_are_those_of_the_trees_that_were_kept(data):
    X, Y = data
    head = make_head("gbdt", n_levels=4, rounds=30, patience=0).fit(X, Y)
    for skill in range(2):
        refitted = link.fit_thresholds(head.latent(X)[:, skill], Y[:, skill], np.ones(240), 4)
        assert head.thresholds_[skill] == pytest.approx(refitted, abs=1e-6)


def test_noise_is_not_learned(data):
    X, _ = data
    Y = np.random.default_rng(1).integers(0, 4, size=(240, 8))
    head = make_head("gbdt", n_levels=4).fit(X, Y)
    assert np.mean(head.rounds_) < 30


def test_threads_are_always_said(data, monkeypatch):
    # An oversubscribed LightGBM runs ten times slower, so the number is never left open.
    given = []
    booster = lightgbm.Booster

    def remember(params=None, *args, **kwargs):
        given.append(params)
        return booster(params, *args, **kwargs)

    monkeypatch.setattr(lightgbm, "Booster", remember)
    make_head("gbdt", n_levels=4, rounds=5).fit(*data)
    # Two skills side by side share two threads; one alone has both.
    monkeypatch.setattr(gbdt, "usable_cores", lambda: 2)
    make_head("gbdt", n_levels=4, rounds=5, threads=2).fit(*data)
    make_head("gbdt", n_levels=4, rounds=5, threads=9999).fit(data[0], data[1][:, :1])
    threads = [params["num_threads"] for params in given if params]
    assert threads == [1, 1, 1, 1, 2]


def test_skills_side_by_side_are_the_same_as_after_each_other(data):
    X, Y = data
    one = make_head("gbdt", n_levels=4, rounds=30, threads=1).fit(X, Y)
    two = make_head("gbdt", n_levels=4, rounds=30, threads=2).fit(X, Y)
    assert one.texts_ == two.texts_


@pytest.mark.parametrize("objective", ["frank-hall", "multiclass"])
@pytest.mark.parametrize("patience", [0, 40])
def test_alternatives_learn_and_are_probabilities(objective, patience, data):
    X, Y = data
    head = make_head("gbdt", n_levels=4, objective=objective, rounds=40, patience=patience)
    head.fit(X[:180], Y[:180])
    proba = head.predict_proba(X)
    assert (proba >= 0).all()
    assert proba.sum(axis=2) == pytest.approx(1.0)
    assert head.score(X[180:], Y[180:]) > 0.42
    few = make_head("gbdt", n_levels=4, objective=objective).fit(X[:6], Y[:6])
    assert few.predict_proba(X).sum(axis=2) == pytest.approx(1.0)


def test_softmax_trees_are_those_of_lightgbms_own_objective(data):
    X, Y = data
    head = make_head(
        "gbdt", n_levels=4, objective="multiclass", rounds=15, patience=0, leaves=5,
        min_data_in_leaf=10, row_fraction=1.0, feature_fraction=1.0, threads=1,
    ).fit(X, Y[:, [0]])  # fmt: skip
    order = np.lexsort(X.T)
    theirs = lightgbm.LGBMClassifier(
        n_estimators=15, num_leaves=5, learning_rate=0.05, min_child_samples=10, reg_lambda=1.0,
        max_bin=63, verbosity=-1, n_jobs=1, min_split_gain=0.0, deterministic=True,
    ).fit(X[order], Y[order, 0])  # fmt: skip
    # Our first scores hold one invented player, and the hessian a float64: small differences.
    assert head.predict_proba(X)[:, 0] == pytest.approx(theirs.predict_proba(X), abs=0.03)


def test_principal_components_come_first(data):
    X, Y = data
    head = make_head("gbdt", n_levels=4, rounds=20, pca=3).fit(X, Y)
    centred = X - X.mean(axis=0)
    _, _, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    assert np.abs(directions[:3] @ head.components_) == pytest.approx(np.eye(3), abs=1e-4)
    whole = make_head("gbdt", n_levels=4, rounds=20, pca=99).fit(X, Y)
    assert whole.components_.shape == (6, 6)


def test_falling_is_the_isotonic_regression():
    from sklearn.isotonic import IsotonicRegression

    from basket.heads.exceedance import falling

    random = np.random.default_rng(0)
    values = random.random((50, 5))
    repaired = falling(values)
    for row, expected in zip(repaired, values, strict=True):
        isotonic = IsotonicRegression(increasing=False).fit_transform(np.arange(5), expected)
        assert row == pytest.approx(isotonic, abs=1e-12)
