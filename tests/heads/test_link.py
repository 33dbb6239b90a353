"""The cumulative link: exact derivatives, finite where sigmoids have run out of digits."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import approx_fprime, minimize
from scipy.special import expit

from basket.heads import link


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    latent = random.normal(size=300) * 2
    levels = np.clip(np.round(latent + random.logistic(size=300) + 2), 0, 4).astype(np.int64)
    return latent, levels, random.uniform(0.5, 2.0, size=300)


THRESHOLDS = np.array([-1.5, -0.4, 0.3, 2.0])


def test_log_likelihood_is_that_of_the_definition(rows):
    latent, levels, _ = rows
    edges = np.concatenate([[-np.inf], THRESHOLDS, [np.inf]])
    naive = np.log(expit(edges[levels + 1] - latent) - expit(edges[levels] - latent))
    assert link.log_likelihood(latent, THRESHOLDS, levels) == pytest.approx(naive, abs=1e-10)
    chosen = link.probabilities(latent[:, None], THRESHOLDS[None])[np.arange(300), 0, levels]
    assert np.log(chosen) == pytest.approx(naive, abs=1e-10)


def test_gradient_and_hessian_equal_finite_differences(rows):
    latent, levels, _ = rows
    step = 1e-5
    up, here, down = (
        -link.log_likelihood(latent + shift, THRESHOLDS, levels) for shift in (step, 0, -step)
    )
    gradient, hessian = link.gradient_hessian(latent, THRESHOLDS, levels)
    assert gradient == pytest.approx((up - down) / (2 * step), abs=1e-8)
    assert hessian == pytest.approx((up - 2 * here + down) / step**2, abs=1e-4)


@pytest.mark.parametrize("far", [20.0, 40.0, 700.0, 1e5])
def test_far_out_scores_stay_finite_and_keep_their_digits(far):
    latent = np.array([far, -far, far, -far])
    levels = np.array([1, 1, 2, 2])
    thresholds = np.array([-1.0, 1.0])
    value = link.log_likelihood(latent, thresholds, levels)
    gradient, hessian = link.gradient_hessian(latent, thresholds, levels)
    assert np.isfinite(value).all()
    # e^(1 - f) - e^(-1 - f) over (1 + e^(1 - f)) (1 + e^(-1 - f)), in logarithms.
    exact = 1 - far + np.log1p(-np.exp(-2)) - np.log1p(np.exp([1 - far, -1 - far])).sum()
    assert value[0] == pytest.approx(exact, rel=1e-14)
    assert value[1] == pytest.approx(value[0], rel=1e-12)
    assert value[2] == pytest.approx(0.0, abs=1e-8)
    assert gradient == pytest.approx([1, -1, 0, -1], abs=1e-8)
    assert (hessian >= 0).all()


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5),
    st.lists(st.floats(-50, 50), min_size=1, max_size=6),
)
def test_probabilities_are_never_negative_and_sum_to_one(latent, thresholds):
    proba = link.probabilities(np.array(latent)[:, None], np.sort(thresholds)[None])
    assert (proba >= 0).all()
    assert proba.sum(axis=2) == pytest.approx(1.0, abs=1e-12)


def test_newtons_derivatives_equal_finite_differences(rows):
    start = np.append(THRESHOLDS, 0.7)
    value, gradient, hessian = link._derivatives(start, rows, slope=-1)
    latent, levels, weights = rows
    exact = weights @ link.log_likelihood(0.7 * latent, THRESHOLDS, levels)
    assert value == pytest.approx(exact, rel=1e-12)
    numeric = approx_fprime(start, lambda p: link._derivatives(p, rows, -1)[0], 1e-6)
    assert gradient == pytest.approx(numeric, rel=1e-4)
    numeric = approx_fprime(start, lambda p: link._derivatives(p, rows, -1)[1], 1e-6)
    assert hessian == pytest.approx(numeric, rel=1e-3, abs=1e-2)


def test_fitted_optimum_is_that_of_a_general_optimiser(rows):
    latent, levels, weights = rows

    def negative(p):
        return -weights @ link.log_likelihood(p[-1] * latent, p[:-1], levels)

    found = minimize(
        negative,
        np.append(THRESHOLDS, 0.5),
        method="Nelder-Mead",
        options={"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-9, "fatol": 1e-12},
    )
    thresholds, slope = link.fit_thresholds_and_slope(latent, levels, weights, 5, pseudo_weight=0)
    assert [*thresholds, slope] == pytest.approx(found.x, abs=1e-5)
    fixed = link.fit_thresholds(slope * latent, levels, weights, 5, pseudo_weight=0)
    assert fixed == pytest.approx(thresholds, abs=1e-7)


def test_a_score_that_points_the_wrong_way_gets_no_say(rows):
    latent, levels, weights = rows
    thresholds, slope = link.fit_thresholds_and_slope(-latent, levels, weights, 5)
    assert slope == 0
    assert np.array_equal(thresholds, link.marginal_thresholds(levels, weights, 5))


def test_marginal_thresholds_are_the_log_odds_of_the_cumulated_frequencies():
    levels = np.repeat([0, 1, 2], [2, 3, 5])
    thresholds = link.marginal_thresholds(levels, np.ones(10), 3, pseudo_weight=0)
    assert expit(thresholds) == pytest.approx([0.2, 0.5])
    proba = link.probabilities(np.zeros((1, 1)), thresholds[None])
    assert proba[0, 0] == pytest.approx([0.2, 0.3, 0.5])


def test_perfect_separation_and_absent_levels_end_at_finite_thresholds():
    latent = np.repeat([-5.0, 5.0], 20)
    levels = np.repeat([1, 3], 20)
    thresholds, slope = link.fit_thresholds_and_slope(latent, levels, np.ones(40), 6)
    assert np.isfinite([*thresholds, slope]).all()
    assert (np.diff(thresholds) > 0).all()


def test_the_networks_loss_is_the_same_formula(rows):
    torch = pytest.importorskip("torch")
    from basket.heads.mlp_losses import CumulativeOutput, cumulative_loss

    latent, levels, _ = rows
    score = torch.tensor(latent, requires_grad=True)
    loss = cumulative_loss(
        score[:, None], torch.tensor(THRESHOLDS[None]), torch.tensor(levels)[:, None]
    )
    assert loss[:, 0].detach().numpy() == pytest.approx(
        -link.log_likelihood(latent, THRESHOLDS, levels), abs=1e-10
    )
    loss.sum().backward()
    gradient, _ = link.gradient_hessian(latent, THRESHOLDS, levels)
    assert score.grad.numpy() == pytest.approx(gradient, abs=1e-8)
    output = CumulativeOutput(THRESHOLDS[None])
    assert output.thresholds().detach().numpy()[0] == pytest.approx(THRESHOLDS, abs=1e-6)
    far = torch.tensor([[60.0], [-60.0]], requires_grad=True)
    output.loss(far, torch.tensor([[0], [4]])).sum().backward()
    assert far.grad.numpy().ravel() == pytest.approx([1.0, -1.0], abs=1e-6)
