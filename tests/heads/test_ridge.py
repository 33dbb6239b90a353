"""Ridge in closed form equals scikit-learn's, fold by fold and penalty by penalty."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from basket.errors import UsageError
from basket.heads import folds, link, make_head
from basket.heads.ridge_search import RidgeSearch
from basket.heads.rows import TrainingRows

PENALTIES = np.array([1e3, 30.0, 1.0, 0.05])


def problem(n, width, *, dtype=np.float64, seed=0):
    random = np.random.default_rng(seed)
    # Columns of unequal scale, far from zero: what un-centred moments would lose digits on.
    X = random.normal(size=(n, width)) * np.logspace(-2, 2, width) + 100
    latent = (X - 100) / np.logspace(-2, 2, width) @ random.normal(size=(width, 3))
    latent = latent / latent.std(axis=0) + random.normal(size=latent.shape)
    levels = (latent[:, None] > np.array([-1.0, -0.3, 0.4, 1.1])[None, :, None]).sum(axis=1)
    weights = random.uniform(0.5, 2.0, size=n)
    X = X.astype(dtype)
    return TrainingRows(X, levels, weights, folds.row_hashes(X), 5)


@pytest.mark.parametrize("standardize", [True, False])
@pytest.mark.parametrize(("n", "width"), [(150, 12), (40, 90)])
def test_every_fold_and_penalty_equals_scikit_learn(n, width, standardize):
    rows = problem(n, width)
    search = RidgeSearch(rows, PENALTIES, 4, standardize=standardize)
    errors = np.zeros((len(PENALTIES), 3))
    scores = np.zeros((len(PENALTIES), n, 3))
    deviations = np.zeros((n, 3))
    for fold in range(4):
        train, test = search.fold != fold, search.fold == fold
        for index, penalty in enumerate(PENALTIES):
            model = make_pipeline(
                StandardScaler(with_std=standardize), Ridge(penalty, solver="svd")
            )
            weights = rows.weights[train]
            model.fit(
                rows.X[train],
                rows.levels[train],
                standardscaler__sample_weight=weights,
                ridge__sample_weight=weights,
            )
            predicted = model.predict(rows.X[test])
            errors[index] += rows.weights[test] @ (rows.levels[test] - predicted) ** 2
            mean = np.average(rows.levels[train], axis=0, weights=weights)
            scores[index, test] = predicted - mean
            deviations[test] = rows.levels[test] - mean
    assert search.errors == pytest.approx(errors, rel=1e-8)
    # The link rescales the scores: a slope through the origin, fitted by least squares.
    weights = rows.weights[:, None]
    slopes = (weights * scores * deviations).sum(axis=1) / (weights * scores**2).sum(axis=1)
    left = deviations - np.maximum(slopes, 0)[:, None] * scores
    assert search.errors_at_best_slope == pytest.approx((weights * left**2).sum(axis=1), rel=1e-8)
    for index in range(len(PENALTIES)):
        ours = search.out_of_fold(np.full(3, index))
        assert ours == pytest.approx(scores[index], abs=1e-8)


@pytest.mark.parametrize(("n", "width"), [(60, 8), (30, 45)])
def test_leave_one_out_chooses_what_ridgecv_chooses(n, width):
    rows = problem(n, width)
    rows = TrainingRows(rows.X, rows.levels, np.ones(n), rows.keys, 5)
    grid = np.logspace(3, -2, 12)
    search = RidgeSearch(rows, grid, n, standardize=False)
    chosen = search.errors.argmin(axis=0)
    theirs = RidgeCV(grid, alpha_per_target=True, gcv_mode="eigen").fit(rows.X, rows.levels)
    assert np.array_equal(grid[chosen], theirs.alpha_)
    coef, _ = search.refit(chosen)
    np.testing.assert_allclose(coef.T, theirs.coef_, atol=1e-8)


def test_head_is_the_chosen_ridge_with_a_link_fitted_out_of_fold():
    rows = problem(300, 10, dtype=np.float32)
    head = make_head("ridge", n_levels=5, penalties=PENALTIES.tolist())
    head.fit(rows.X, rows.levels, sample_weight=rows.weights)
    order = np.lexsort((head.latent(rows.X)[:, 0],))
    assert (np.diff(head.predict(rows.X[order], "mae")[:, 0]) >= 0).all()
    for skill in range(3):
        model = make_pipeline(StandardScaler(), Ridge(head.penalties_[skill], solver="svd"))
        model.fit(
            rows.X.astype(np.float64),
            rows.levels[:, skill],
            standardscaler__sample_weight=rows.weights,
            ridge__sample_weight=rows.weights,
        )
        predicted = model.predict(rows.X.astype(np.float64))
        slope = np.polyfit(predicted, head.latent(rows.X)[:, skill], 1)
        mean = np.average(rows.levels[:, skill], weights=rows.weights)
        assert head.latent(rows.X)[:, skill] == pytest.approx(
            slope[0] * (predicted - mean), abs=1e-5
        )


def test_the_penalty_is_chosen_for_the_direction_of_the_scores():
    # Five strong columns of signal, many weak ones of noise: a strong penalty points the right way
    # but shrinks, which squared errors hold against it and the link undoes.
    random = np.random.default_rng(5)
    X = random.normal(size=(600, 150)) * np.where(np.arange(150) < 5, 1.0, 0.3)
    noisy = X[:, :5].sum(axis=1) + 4 * random.normal(size=600)
    levels = (noisy[:, None] > np.quantile(noisy, [0.2, 0.4, 0.6, 0.8])).sum(axis=1)[:, None]
    head = make_head("ridge", n_levels=5, standardize=False).fit(X, levels)
    rows = TrainingRows(X, levels, np.ones(600), folds.row_hashes(X), 5)
    grid = np.logspace(5, -4, 30) * 600
    plain = grid[RidgeSearch(rows, grid, 5, standardize=False).errors.argmin()]
    assert head.penalties_[0] > plain


@pytest.mark.parametrize("power", [2.0, 4.0])
@pytest.mark.parametrize(("n", "width"), [(150, 12), (40, 90)])
def test_a_power_is_ridge_on_principal_components_scaled_by_their_variance(n, width, power):
    rows = problem(n, width)
    search = RidgeSearch(
        rows, PENALTIES, 4, standardize=True, powers=np.full(len(PENALTIES), power)
    )
    scaler = StandardScaler().fit(rows.X, sample_weight=rows.weights)
    X = scaler.transform(rows.X)
    root = np.sqrt(rows.weights / rows.weights.sum())[:, None]
    _, singular, axes = np.linalg.svd(root * X, full_matrices=False)
    # The mean variance of standardised columns is 1.
    components = X @ axes.T * singular ** (power - 1)
    for index, penalty in enumerate(PENALTIES):
        model = Ridge(penalty, solver="svd").fit(components, rows.levels, rows.weights)
        coef, mean = search.refit(np.full(3, index))
        expected = model.predict(components) - np.average(rows.levels, axis=0, weights=rows.weights)
        assert (rows.X - mean) @ coef == pytest.approx(expected, abs=1e-7)


def league_of(signal, *, seed):
    """1,500 players whose features have a 1/k spectrum; some directions tell the level."""
    random = np.random.default_rng(seed)
    axes = np.linalg.qr(random.normal(size=(150, 150)))[0]
    shown = random.normal(size=(1500, 150))
    latent = shown[:, signal].sum(axis=1) / np.sqrt(len(range(150)[signal]))
    latent = 0.7 * latent + random.normal(size=1500)
    cuts = np.quantile(latent, [0.2, 0.4, 0.6, 0.8])
    return shown * np.arange(1, 151) ** -0.5 @ axes, np.searchsorted(cuts, latent)[:, None]


@pytest.mark.parametrize("name", ["ridge", "cumulative"])
def test_leading_directions_are_trusted_more_where_they_tell_more(name):
    gained = []
    for seed in range(3):
        X, levels = league_of(slice(12), seed=seed)
        train, test = (X[:750], levels[:750]), (X[750:], levels[750:])
        plain, head = (
            make_head(name, n_levels=5, powers=powers).fit(*train) for powers in ([1], None)
        )
        assert head.powers_[0] > 1
        assert plain.powers_[0] == 1

        def loss(fitted, test=test):
            rows = np.arange(len(test[1]))
            return -np.log(fitted.predict_proba(test[0])[rows, 0, test[1][:, 0]]).mean()

        gained.append(loss(plain) - loss(head))
    assert min(gained) > 0
    assert np.mean(gained) > 0.003


@pytest.mark.parametrize("name", ["ridge", "cumulative"])
def test_ridge_stays_ridge_where_the_last_directions_tell_the_level(name):
    X, levels = league_of(slice(138, 150), seed=0)
    assert make_head(name, n_levels=5).fit(X, levels).powers_[0] == 1


@pytest.mark.parametrize("name", ["ridge", "cumulative"])
def test_given_penalties_are_those_of_plain_ridge_unless_powers_are_given_too(name):
    X, levels = league_of(slice(12), seed=0)
    alone = make_head(name, n_levels=5, penalties=[30.0, 300.0]).fit(X, levels)
    assert alone.powers_.tolist() == [1]
    both = make_head(name, n_levels=5, penalties=[300.0], powers=[4]).fit(X, levels)
    assert both.powers_.tolist() == [4]
    assert np.abs(both.coef_ - alone.coef_).max() > 0.01
    for powers in ([0.5], [], [np.nan]):
        with pytest.raises(UsageError, match=r"powers must be .*number"):
            make_head(name, n_levels=5, powers=powers).fit(X, levels)


def test_probabilities_promise_no_more_than_new_players_keep():
    random = np.random.default_rng(3)
    X = random.normal(size=(3000, 200)).astype(np.float32)
    noisy = X[:, :5].sum(axis=1) * 0.6 + 1.5 * random.logistic(size=3000)
    levels = (noisy[:, None] > np.quantile(noisy, [0.2, 0.4, 0.6, 0.8])).sum(axis=1)

    def best_slope(latent, truth):
        return link.fit_thresholds_and_slope(latent, truth, np.ones(len(truth)), 5)[1]

    head = make_head("ridge", n_levels=5).fit(X[:1000], levels[:1000, None])
    latent = head.latent(X)[:, 0]
    assert 0.75 < best_slope(latent[1000:], levels[1000:]) < 1.35
    # What a link fitted on training scores would have done: promise far too much.
    assert best_slope(latent[:1000], levels[:1000]) > 1.5


def test_skills_with_different_rows_are_fitted_as_if_alone():
    rows = problem(200, 6)
    levels = rows.levels.copy()
    levels[:50, 1] = -1
    together = make_head("ridge", n_levels=5).fit(rows.X, levels)
    alone = make_head("ridge", n_levels=5).fit(rows.X[50:], levels[50:, 1:2])
    assert together.predict_proba(rows.X)[:, 1] == pytest.approx(
        alone.predict_proba(rows.X)[:, 0], abs=1e-12
    )


def test_on_thresholds_each_question_is_a_ridge_of_its_own_and_the_answers_fall():
    rows = problem(400, 10, dtype=np.float32)
    head = make_head("ridge", n_levels=5, target="thresholds", penalties=[5.0])
    head.fit(rows.X, rows.levels, sample_weight=rows.weights)
    assert head.coef_.shape == (10, 3 * 4)
    proba = head.predict_proba(rows.X)
    assert (proba >= 0).all()
    assert proba.sum(axis=2) == pytest.approx(1.0, abs=1e-12)
    X = rows.X.astype(np.float64)
    for skill, cut in [(0, 0), (2, 3)]:
        model = make_pipeline(StandardScaler(), Ridge(5.0, solver="svd")).fit(
            X,
            rows.levels[:, skill] > cut,
            standardscaler__sample_weight=rows.weights,
            ridge__sample_weight=rows.weights,
        )
        ours = X @ head.coef_[:, skill * 4 + cut]
        assert np.corrcoef(ours, model.predict(X))[0, 1] == pytest.approx(1.0, abs=1e-8)


def test_thresholds_may_look_at_different_features():
    random = np.random.default_rng(0)
    X = random.normal(size=(2000, 6)).astype(np.float32)
    # Who is above 0 is told by the first feature, who is then above 1 by the second: no one score
    # orders them.
    first = X[:, 0] + 0.5 * random.normal(size=2000) > 0
    levels = first.astype(int) * (1 + (X[:, 1] + 0.5 * random.normal(size=2000) > 0))
    scores = {
        target: make_head("ridge", n_levels=3, target=target)
        .fit(X[:1000], levels[:1000, None])
        .score(X[1000:], levels[1000:, None])
        for target in ("level", "thresholds")
    }
    assert scores["thresholds"] > scores["level"] + 0.03


def test_an_unknown_target_is_refused():
    with pytest.raises(UsageError, match="knows the targets level, thresholds"):
        make_head("ridge", n_levels=5, target="levels").fit(np.eye(4), [0, 1, 2, 3])
