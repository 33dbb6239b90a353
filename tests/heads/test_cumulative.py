"""Linear ordinal models have the optimum of statsmodels, mord and scikit-learn."""

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from basket.heads import link as logit_link
from basket.heads import make_head
from basket.heads.corn import corn_probabilities
from basket.heads.cumulative import RELATIVE_PENALTIES
from basket.heads.linear_fit import Problems, Rotation
from basket.heads.links import LINKS
from basket.heads.newton_path import minimise
from basket.heads.partial import fit_partial

DISTRIBUTIONS = {"logit": "logit", "probit": "probit", "cloglog": stats.gumbel_l}


@pytest.fixture(scope="module")
def data():
    random = np.random.default_rng(0)
    X = random.normal(size=(400, 6)) * np.logspace(-1, 1, 6) + 3
    latent = (X - 3) / np.logspace(-1, 1, 6) @ random.normal(size=(6, 2))
    latent += random.logistic(size=latent.shape)
    return X, (latent[:, None] > np.array([-2, -0.5, 0.7, 2])[None, :, None]).sum(axis=1)


def problems_of(X, levels, *, loss="cumulative", link="logit", weights=None):
    weights = np.ones((len(X), 1)) if weights is None else weights
    return Problems(
        X,
        np.ones(X.shape[1]),
        levels[:, None],
        weights,
        np.array([0]),
        n_levels=5,
        link=LINKS[link],
        coral=loss == "coral",
    )


def derivative(function, at, step=5e-3):
    """Central differences of order eight: exact to about ten digits where function is smooth."""
    weights = np.array([4 / 5, -1 / 5, 4 / 105, -1 / 280]) / step
    steps = step * np.arange(1, 5)
    return np.array(
        [
            sum(
                weight * (function(at + move * axis) - function(at - move * axis))
                for weight, move in zip(weights, steps, strict=True)
            )
            for axis in np.eye(len(at))
        ]
    )


@pytest.mark.parametrize("link", LINKS)
def test_objective_and_gradient_equal_those_of_statsmodels(data, link):
    ordinal_model = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    X, Y = (data[0] - 3) / data[0].std(axis=0), data[1]
    model = ordinal_model.OrderedModel(Y[:, 0], X, distr=DISTRIBUTIONS[link])
    thresholds, coef = np.array([-2.0, -1.0, 0.0, 0.8]), np.linspace(-0.3, 0.4, 6)
    theirs = np.concatenate([coef, thresholds[:1], np.log(np.diff(thresholds))])
    problems = problems_of(X, Y[:, 0], link=link)
    ours = np.concatenate([coef, thresholds])[None]
    value, gradient = problems.evaluate(ours, np.array([0]), np.zeros(1))
    assert value[0] == pytest.approx(-model.loglike(theirs), rel=1e-12)
    # Their own score is numeric, and right to five digits: these are differences of high order of
    # their objective. In closed form they have the slopes only (NaN with scipy's extreme values).
    expected = -derivative(model.loglike, theirs)
    if link != "cloglog":
        closed = -model.score_obs_(theirs).sum(axis=0)[:6]
        assert expected[:6] == pytest.approx(closed, abs=1e-8)
    # Their last K-2 parameters are logarithms of gaps: each gap moves all later thresholds.
    cuts = np.cumsum(gradient[0, :5:-1])[::-1] * np.append(1.0, np.diff(thresholds))
    assert np.concatenate([gradient[0, :6], cuts]) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("link", LINKS)
def test_optimum_is_that_of_statsmodels(data, link):
    ordinal_model = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    X, Y = data
    head = make_head("cumulative", n_levels=5, link=link, penalties=[0], tolerance=1e-14)
    head.fit(X, Y)
    for skill in range(2):
        model = ordinal_model.OrderedModel(Y[:, skill], X, distr=DISTRIBUTIONS[link])
        thresholds = head.thresholds_[skill] - head.intercept_[skill]
        ours = np.array([*head.coef_[:, skill], thresholds[0], *np.log(np.diff(thresholds))])
        # From their own start, as far as their numeric gradient sees; then Newton steps with
        # exact gradients of their objective.
        theirs = model.fit(method="bfgs", disp=0, maxiter=1000, gtol=1e-4).params
        hessian = model.hessian(theirs)
        for _ in range(3):
            theirs = theirs - np.linalg.solve(hessian, derivative(model.loglike, theirs))
        assert ours == pytest.approx(theirs, abs=1e-5)
        assert -model.loglike(ours) <= -model.loglike(theirs) + 1e-9


@pytest.mark.filterwarnings("ignore:scipy.optimize:DeprecationWarning")
def test_linear_coral_is_that_of_mord(data):
    mord = pytest.importorskip("mord")
    X, Y = data
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    coef, thresholds = np.linspace(-0.3, 0.4, 6), np.array([-3.0, -1.0, 0.5, 2.5])
    problems = problems_of(X, Y[:, 0], loss="coral")
    value, gradient = problems.evaluate(
        np.concatenate([coef, thresholds])[None], np.array([0]), np.full(1, 0.7)
    )
    steps = np.tril(np.ones((4, 4)))
    theirs = (
        np.concatenate([coef, thresholds[:1], np.diff(thresholds)]),
        X, Y[:, 0], 0.7, 5, np.ones((5, 4)), steps, None,
    )  # fmt: skip
    assert value[0] == pytest.approx(mord.threshold_based.obj_margin(*theirs), rel=1e-10)
    ours = np.concatenate([gradient[0, :6], steps.T @ gradient[0, 6:]])
    assert ours == pytest.approx(mord.threshold_based.grad_margin(*theirs), abs=1e-8)
    head = make_head(
        "cumulative", n_levels=5, loss="coral", penalties=[0.7], standardize=False, tolerance=1e-15
    ).fit(X, Y)
    for skill in range(2):
        model = mord.LogisticAT(alpha=0.7).fit(X, Y[:, skill])
        assert head.coef_[:, skill] == pytest.approx(model.coef_, abs=1e-5)
        assert head.thresholds_[skill] - head.intercept_[skill] == pytest.approx(
            model.theta_, abs=1e-5
        )


def test_linear_corn_is_a_logistic_regression_per_level(data):
    X, Y = data
    head = make_head(
        "cumulative", n_levels=5, loss="corn", penalties=[0.7], standardize=False, tolerance=1e-15
    ).fit(X, Y)
    for skill in range(2):
        for level in range(4):
            rows = Y[:, skill] >= level
            model = LogisticRegression(C=1 / 0.7, tol=1e-12, max_iter=20_000, solver="newton-cg")
            model.fit(X[rows], Y[rows, skill] > level)
            column = 4 * skill + level
            assert head.coef_[:, column] == pytest.approx(model.coef_[0], abs=1e-5)
            assert head.intercept_[column] == pytest.approx(model.intercept_[0], abs=1e-5)


def test_gradient_is_zero_at_the_fitted_optimum_with_weights_and_missing_labels(data):
    X, Y = data[0], data[1].copy()
    Y[::5, 1] = -1
    weights = np.random.default_rng(1).uniform(0.2, 2.0, size=len(X))
    head = make_head("cumulative", n_levels=5, penalties=[3.0], tolerance=1e-15)
    head.fit(X, Y, sample_weight=weights)
    for skill in range(2):
        known = Y[:, skill] >= 0
        latent = head.latent(X)[known, skill]
        slope, _ = logit_link.gradient_hessian(latent, head.thresholds_[skill], Y[known, skill])
        Z = (X[known] - np.average(X[known], axis=0, weights=weights[known])) / np.sqrt(
            np.average(
                (X[known] - np.average(X[known], axis=0, weights=weights[known])) ** 2,
                axis=0,
                weights=weights[known],
            )
        )
        scale = 1 / (Z.std(axis=0) / X[known].std(axis=0))
        pull = 3.0 * head.coef_[:, skill] * scale
        assert (weights[known] * slope) @ Z + pull == pytest.approx(np.zeros(6), abs=1e-4)
        assert (weights[known] * slope).sum() == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("link", LINKS)
def test_links_keep_their_digits_far_out(link):
    this = LINKS[link]
    z = np.linspace(-30, 3, 200)
    for upper, lower in ((z + 0.5, z), (np.full(200, np.inf), z), (z, np.full(200, -np.inf))):
        log_p, above, below = this.terms(upper, lower)
        assert np.isfinite(log_p).all()
        assert (log_p <= 0).all()
        assert (above >= 0).all()
        assert (below >= 0).all()
    middle = np.linspace(-2, 1, 50)
    exact = np.log(this.cdf(middle + 0.5) - this.cdf(middle))
    log_p, above, below = this.terms(middle + 0.5, middle)
    assert log_p == pytest.approx(exact, abs=1e-10)
    step = 1e-6
    moved = this.terms(middle + 0.5 + step, middle)[0] - this.terms(middle + 0.5 - step, middle)[0]
    assert above == pytest.approx(moved / (2 * step), rel=1e-6)
    moved = this.terms(middle + 0.5, middle + step)[0] - this.terms(middle + 0.5, middle - step)[0]
    assert below == pytest.approx(-moved / (2 * step), rel=1e-6)
    assert this.cdf(this.quantile(np.array([0.01, 0.5, 0.99]))) == pytest.approx([0.01, 0.5, 0.99])


def test_logit_is_the_link_of_the_other_heads():
    latent, thresholds = np.linspace(-40, 40, 81), np.array([-1.5, -0.4, 0.3, 2.0])
    levels = np.arange(81) % 5
    log_p, above, below = LINKS["logit"].terms_at(latent, thresholds, levels)
    slow = super(type(LINKS["logit"]), LINKS["logit"]).terms_at(latent, thresholds, levels)
    assert log_p == pytest.approx(logit_link.log_likelihood(latent, thresholds, levels), abs=1e-12)
    gradient, _ = logit_link.gradient_hessian(latent, thresholds, levels)
    assert above - below == pytest.approx(gradient, abs=1e-12)
    assert above == pytest.approx(slow[1], rel=1e-10)
    assert below == pytest.approx(slow[2], rel=1e-10)


def test_skills_and_folds_side_by_side_are_the_same_as_alone(data):
    X, Y = data
    together = make_head("cumulative", n_levels=5).fit(X, Y)
    for skill in range(2):
        alone = make_head("cumulative", n_levels=5).fit(X, Y[:, [skill]])
        assert together.penalties_[skill] == alone.penalties_[0]
        # Side by side the path may go on for the other skill's sake.
        tried = np.isfinite(alone.losses_[:, 0])
        assert together.losses_[tried, skill] == pytest.approx(alone.losses_[tried, 0], rel=1e-3)
        assert together.coef_[:, skill] == pytest.approx(alone.coef_[:, 0], abs=1e-4)


def test_more_features_than_rows_have_the_same_optimum_as_their_gram_matrix():
    random = np.random.default_rng(2)
    X = random.normal(size=(60, 150))
    y = (X[:, :3].sum(axis=1) > 0).astype(int) + (X[:, :3].sum(axis=1) > 1.5)
    head = make_head("cumulative", n_levels=3, penalties=[20.0], tolerance=1e-14).fit(X, y[:, None])
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    latent = head.latent(X)[:, 0]
    slope, _ = logit_link.gradient_hessian(latent, head.thresholds_[0], y)
    assert slope @ Z + 20.0 * head.coef_[:, 0] * X.std(axis=0) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("loss", ["cumulative", "corn"])
def test_a_power_is_a_fit_to_principal_components_scaled_by_their_variance(data, loss):
    X, Y = data
    settings = {"n_levels": 5, "loss": loss, "penalties": [20.0], "tolerance": 1e-14}
    head = make_head("cumulative", powers=[3], **settings).fit(X, Y)
    standard = (X - X.mean(axis=0)) / X.std(axis=0)
    _, singular, axes = np.linalg.svd(standard / np.sqrt(len(X)), full_matrices=False)
    components = standard @ axes.T * singular**2
    plain = make_head("cumulative", standardize=False, **settings).fit(components, Y)
    assert head.predict_proba(X) == pytest.approx(plain.predict_proba(components), abs=1e-6)
    other = make_head("cumulative", **settings).fit(X, Y)
    assert np.abs(head.predict_proba(X) - other.predict_proba(X)).max() > 1e-3


def test_given_validation_chooses_the_penalty(data):
    X, Y = data
    head = make_head("cumulative", n_levels=5).fit(X[:300], Y[:300], validation=(X[300:], Y[300:]))
    best = int(head.losses_[:, 0].argmin())
    penalty = np.sort(300 * RELATIVE_PENALTIES)[::-1][best]
    assert head.penalties_[0] == pytest.approx(penalty)
    alone = make_head("cumulative", n_levels=5, penalties=[penalty]).fit(X[:300], Y[:300])
    proba = alone.predict_proba(X[300:])[np.arange(100), 0, Y[300:, 0]]
    assert head.losses_[best, 0] == pytest.approx(-np.log(proba).sum(), rel=3e-3)


def test_partial_slopes_follow_what_shifts_only_some_thresholds():
    random = np.random.default_rng(3)
    X = random.normal(size=(3000, 4))
    # The spread of the latent score grows with the first feature: no single slope says that.
    latent = X[:, 1] + np.exp(0.7 * X[:, 0]) * random.logistic(size=3000)
    y = (latent[:, None] > np.array([-2, -0.5, 0.5, 2])).sum(axis=1)
    proportional = make_head("cumulative", n_levels=5).fit(X[:2000], y[:2000, None])
    partial = make_head("cumulative", n_levels=5, partial=True).fit(X[:2000], y[:2000, None])

    def loss(head):
        return -np.log(head.predict_proba(X[2000:])[np.arange(1000), 0, y[2000:]]).mean()

    assert loss(partial) < loss(proportional) - 0.02
    far = partial.predict_proba(1e3 * X)
    assert np.isfinite(far).all()
    assert (far >= 0).all()


def test_partial_gradient_leads_to_the_optimum(data):
    X, Y = data
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    correction, first, offsets, slopes = fit_partial(
        Z,
        Y[:, 0],
        np.ones(len(Z)),
        base=np.zeros(len(Z)),
        thresholds=np.array([-2.0, -0.5, 0.5, 2.0]),
        penalty=1e7,
        link=LINKS["logit"],
    )
    # All slopes are held at 0, so what is left is the model that looks at no feature.
    assert np.abs(correction).max() < 1e-3
    assert np.abs(slopes).max() < 1e-3
    cuts = first + np.append(0, np.cumsum(np.logaddexp(0, offsets)))
    expected = logit_link.marginal_thresholds(Y[:, 0], np.ones(len(Z)), 5, pseudo_weight=0)
    assert cuts == pytest.approx(expected, abs=1e-3)


def test_corn_probabilities_are_products():
    logits = np.array([[0.0, 50.0, -50.0]])
    assert corn_probabilities(logits)[0] == pytest.approx([0.5, 0.0, 0.5, 0.0], abs=1e-12)


def test_rotation_is_undone_by_back():
    random = np.random.default_rng(4)
    X = random.normal(size=(50, 5)) * 10 + 4
    X[:, 2] = 7.0
    rotation = Rotation.of(X, np.ones(50), standardize=True)
    coef = random.normal(size=(1, len(rotation.values)))
    scores = rotation.apply(X, np.float64) @ coef[0]
    raw = rotation.back(coef)[0]
    assert (X - rotation.mean) @ raw == pytest.approx(scores, abs=1e-10)
    assert raw[2] == 0


@pytest.mark.parametrize("penalties", [None, [1.0]])
def test_corn_asks_nothing_where_nobody_reaches_a_level(penalties):
    """Two levels at the top that never occur: a question without rows, and probabilities near 0."""
    random = np.random.default_rng(0)
    X = random.normal(size=(200, 5))
    Y = np.digitize(X[:, :1] + 0.5 * random.normal(size=(200, 1)), [-0.5, 0.5])
    head = make_head("cumulative", n_levels=5, loss="corn", penalties=penalties).fit(X, Y)
    found = head.predict_proba(X).mean(axis=0)[0]
    assert found == pytest.approx(np.bincount(Y[:, 0], minlength=5) / 200, abs=0.02)


EMPTY_LEVELS = {
    "none": (5, [0, 1, 2, 3, 4]),
    "between": (9, [0, 2, 4, 6, 8]),
    "the first": (7, [2, 3, 4, 5, 6]),
    "the last": (8, [0, 1, 2, 3, 4]),
    "several in a row": (12, [1, 5, 6, 10, 11]),
    "all but two": (9, [0, 8]),
}


def few_levels(n_levels):
    random = np.random.default_rng(0)
    X = random.normal(size=(120, 4))
    score = X @ [1.5, -1.0, 0.5, 0.0] + 0.5 * random.logistic(size=120)
    return X, np.digitize(score, np.quantile(score, np.arange(1, n_levels) / n_levels))


@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("kind", EMPTY_LEVELS)
def test_optimum_is_that_of_scipy_where_levels_do_not_occur(kind, link):
    n_levels, occur = EMPTY_LEVELS[kind]
    X, ranks = few_levels(len(occur))
    Z = (X - X.mean(axis=0)) / X.std(axis=0)

    def objective(p):
        cuts = p[4] + np.append(0.0, np.cumsum(np.exp(p[5:])))
        log_p = LINKS[link].terms_at(Z @ p[:4], cuts, ranks)[0]
        return -log_p.sum() + 0.5 * p[:4] @ p[:4]

    theirs = optimize.minimize(objective, np.append(np.zeros(4), [-1.0] + [0.0] * (len(occur) - 2)))
    head = make_head("cumulative", n_levels=n_levels, link=link, penalties=1.0)
    head.fit(X, np.array(occur)[ranks][:, None])
    slopes = head.coef_[:, 0] * X.std(axis=0)
    log_p = np.log(head.predict_proba(X)[np.arange(120), 0, np.array(occur)[ranks]])
    assert -log_p.sum() + 0.5 * slopes @ slopes == pytest.approx(theirs.fun, abs=1e-6)
    assert slopes == pytest.approx(theirs.x[:4], abs=1e-4)
    # Also of rows far outside of what was seen: a level that nobody had is nobody's.
    assert np.isin(head.predict(1.5 * X), occur).all()


@pytest.mark.parametrize(
    "params",
    [{"link": link, "partial": True} for link in LINKS] + [{"loss": "coral"}, {"loss": "corn"}],
    ids=str,
)
def test_levels_that_do_not_occur_change_nothing(params):
    X, ranks = few_levels(4)
    known = make_head("cumulative", n_levels=4, penalties=1.0, **params).fit(X, ranks[:, None])
    for occur in ([0, 2, 4, 6], [3, 4, 7, 8], [2, 3, 5, 6]):
        more = make_head("cumulative", n_levels=9, penalties=1.0, **params)
        more.fit(X, np.array(occur)[ranks][:, None])
        shares = more.predict_proba(X)[..., occur]
        assert shares == pytest.approx(known.predict_proba(X), abs=5e-6)


def test_a_hundred_levels_most_of_which_nobody_has_are_told_apart():
    random = np.random.default_rng(0)
    X = random.normal(size=(150, 3))
    marks = np.clip(np.round(50 + 20 * X[:, 0] + 3 * random.normal(size=150)), 0, 100).astype(int)
    head = make_head("cumulative", n_levels=101).fit(X[:100], marks[:100, None])
    missed = np.abs(head.predict(X[100:], "mae")[:, 0] - marks[100:]).mean()
    assert missed < 6 < np.abs(np.median(marks[:100]) - marks[100:]).mean()


def test_an_optimiser_that_gives_up_says_so():
    def stuck(x, problems):
        """Without a minimum: every step goes down, for ever."""
        return x[:, 0], np.ones((len(problems), 1))

    with pytest.warns(ConvergenceWarning, match="1 of 1 fits of a linear head stopped before"):
        minimise(stuck, lambda v, _: v, np.zeros((1, 1)), tolerance=1e-9, max_evaluations=5)
