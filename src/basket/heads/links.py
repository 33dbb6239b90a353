r"""Cumulative links: logit, probit and complementary log-log, with exact tails.

A link is a distribution function :math:`F` with :math:`P(y \le k) = F(\theta_k - f)`. The log
probability of an interval and its derivatives are computed from logarithms throughout: differences
of distribution functions have lost every digit long before they should be 0.

Source: McCullagh (1980), Regression models for ordinal data.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, log_ndtr, logit, ndtr, ndtri

Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]


class Link(ABC):
    """One distribution function.

    Subclasses give :meth:`cdf`, :meth:`quantile`, :meth:`log_density` and :meth:`log_interval`.
    """

    @abstractmethod
    def cdf(self, z: Float) -> Float:
        """F(z)."""

    @abstractmethod
    def quantile(self, p: Float) -> Float:
        """The inverse of F."""

    @abstractmethod
    def log_density(self, z: Float) -> Float:
        """Log F'(z); -inf at both infinities."""

    @abstractmethod
    def log_interval(self, upper: Float, lower: Float) -> Float:
        """Log (F(upper) - F(lower)) for upper > lower, either of them possibly infinite."""

    def terms(self, upper: Float, lower: Float) -> tuple[Float, Float, Float]:
        """Log probability of the interval, its derivative in ``upper``, minus that in ``lower``.

        Both derivatives are at least 0; any equal shapes.
        """
        log_p = self.log_interval(upper, lower)
        return (
            log_p,
            np.exp(self.log_density(upper) - log_p),
            np.exp(self.log_density(lower) - log_p),
        )

    def terms_at(self, latent: Float, thresholds: Float, levels: Levels) -> tuple[Float, ...]:
        """:meth:`terms` of each row's level, (n,) each, for thresholds (K-1,)."""
        padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
        return self.terms(padded[levels + 1] - latent, padded[levels] - latent)

    def probabilities(self, latent: Float, thresholds: Float) -> Float:
        """Probabilities of all levels.

        Parameters
        ----------
        latent : ndarray, float64, (n, n_skills)
            Latent scores.
        thresholds : ndarray, float64, (n_skills, K-1) or (n, n_skills, K-1)
            Rising along the last axis.

        Returns
        -------
        ndarray, float64, (n, n_skills, K)
            Not negative, sums to 1.
        """
        below = self.cdf(thresholds - latent[:, :, None])
        ends = np.zeros((*latent.shape, 1))
        # Rounding can make a difference of almost equal values negative by a unit in the last place
        proba = np.maximum(np.diff(np.concatenate([ends, below, ends + 1], axis=2), axis=2), 0.0)
        return np.asarray(proba / proba.sum(axis=2, keepdims=True))

    def information(self, thresholds: Float) -> tuple[Float, float]:
        """Expected second derivatives per row where all latent scores are 0.

        Returns
        -------
        ndarray, float64, (K-1, K-1)
            Of the thresholds.
        float
            Of the latent score.
        """
        below = self.cdf(thresholds)
        share = np.diff(np.concatenate([[0.0], below, [1.0]])).clip(min=1e-12)
        density = np.exp(self.log_density(thresholds))
        matrix = np.diag(density**2 * (1 / share[:-1] + 1 / share[1:]))
        beside = -density[:-1] * density[1:] / share[1:-1]
        matrix += np.diag(beside, 1) + np.diag(beside, -1)
        step = np.diff(np.concatenate([[0.0], density, [0.0]]))
        return matrix, float((step**2 / share).sum())


class Logit(Link):
    """The logistic distribution: proportional odds."""

    def cdf(self, z: Float) -> Float:
        """``expit``."""
        return np.asarray(expit(z))

    def quantile(self, p: Float) -> Float:
        """Log-odds."""
        return np.asarray(logit(p))

    def log_density(self, z: Float) -> Float:
        """Symmetric in z."""
        return np.asarray(log_expit(z) + log_expit(-z))

    def log_interval(self, upper: Float, lower: Float) -> Float:
        """A product of three factors, none of which cancels."""
        return np.asarray(log_expit(upper) + log_expit(-lower) + log1mexp(upper - lower))

    def terms_at(self, latent: Float, thresholds: Float, levels: Levels) -> tuple[Float, ...]:
        """:meth:`Link.terms`, four times faster: what depends on the gap depends on the level."""
        padded = np.concatenate([[-np.inf], thresholds, [np.inf]])
        gap = np.diff(padded)
        with np.errstate(over="ignore"):
            log_gap, beyond = log1mexp(gap), 1.0 / np.expm1(gap)
        above, log_above = expit_and_log1m(latent - padded[levels + 1])
        below, log_below = expit_and_log1m(padded[levels] - latent)
        # 1 - sigma(u) is what expit_and_log1m was asked for, so log sigma(u) is its second answer.
        log_p = log_above + log_below + log_gap[levels]
        return log_p, above + beyond[levels], below + beyond[levels]


class Probit(Link):
    """The normal distribution."""

    def cdf(self, z: Float) -> Float:
        """Normal distribution function."""
        return np.asarray(ndtr(z))

    def quantile(self, p: Float) -> Float:
        """Normal quantiles."""
        return np.asarray(ndtri(p))

    def log_density(self, z: Float) -> Float:
        """A parabola."""
        return np.asarray(-0.5 * z**2 - 0.5 * np.log(2 * np.pi))

    def log_interval(self, upper: Float, lower: Float) -> Float:
        """In the lower tail, where the logarithm has digits; the distribution is symmetric."""
        flip = lower > -upper
        high, low = np.where(flip, -lower, upper), np.where(flip, -upper, lower)
        log_high = log_ndtr(high)
        with np.errstate(invalid="ignore"):
            return np.asarray(log_high + log1mexp(log_high - log_ndtr(low)))


class Cloglog(Link):
    """The extreme-value distribution F(z) = 1 - exp(-exp(z)): proportional hazards."""

    def cdf(self, z: Float) -> Float:
        """``1 - exp(-exp(z))``."""
        return np.asarray(-np.expm1(-np.exp(np.minimum(z, 700.0))))

    def quantile(self, p: Float) -> Float:
        """``log(-log(1 - p))``."""
        return np.asarray(np.log(-np.log1p(-p)))

    def log_density(self, z: Float) -> Float:
        """``z - exp(z)``."""
        near = np.minimum(z, 700.0)
        return np.asarray(near - np.exp(near))

    def log_interval(self, upper: Float, lower: Float) -> Float:
        """From the survival functions, whose logarithms are simple."""
        low = np.exp(np.minimum(lower, 700.0))
        return np.asarray(-low + log1mexp(np.exp(np.minimum(upper, 701.0)) - low))


#: Name -> link.
LINKS: dict[str, Link] = {"logit": Logit(), "probit": Probit(), "cloglog": Cloglog()}


def all_thresholds(
    cuts: Float, occurs: npt.NDArray[np.bool_], marginal: Float, latent: Float
) -> Float:
    """Thresholds of all levels from those between levels that occur.

    A level that no row has would lie between two equal thresholds, or beyond an infinite one: no
    step reaches such an optimum, so it is looked for among the levels that occur.

    Parameters
    ----------
    cuts : ndarray, float64, (number of levels that occur - 1,)
        Rising.
    occurs : ndarray of bool, (K,)
    marginal : ndarray, float64, (K-1,)
        Rising; how little room it gives to what does not occur is what that gets.
    latent : ndarray, float64, (n,)
        Scores; levels beyond the ends stay out of reach of scores twice as far out.

    Returns
    -------
    ndarray, float64, (K-1,)
    """
    places = np.flatnonzero(occurs)
    if len(places) < 2:
        return marginal.copy()
    rank = np.clip(np.cumsum(occurs)[:-1] - 1, 0, len(cuts) - 1)
    out = marginal + (cuts - marginal[places[:-1]])[rank]
    low, high = latent.min(), latent.max()
    out[: places[0]] -= max(cuts[0] - (2 * low - high), 0.0)
    out[places[-1] :] += max((2 * high - low) - cuts[-1], 0.0)
    return np.asarray(out)


def log1mexp(gap: Float) -> Float:
    """``log(1 - exp(-gap))`` for gap > 0, exact on both sides of log 2 (Maechler 2012)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gap > np.log(2.0), np.log1p(-np.exp(-gap)), np.log(-np.expm1(-gap)))


def expit_and_log1m(z: Float) -> tuple[Float, Float]:
    """``expit(z)`` and ``log(1 - expit(z))`` from one exponential."""
    small = np.exp(-np.abs(z))
    positive = z > 0
    sigmoid = np.where(positive, 1.0, small) / (1.0 + small)
    return sigmoid, -np.log1p(small) - np.where(positive, z, 0.0)
