"""Second moments of features and levels, and the ridge path that one eigendecomposition holds.

Everything is float64. Moments add and subtract: the training part of a fold is the total minus the
fold, so the data are read once however many folds there are. Centring and scaling act on moments,
which is why each fold can be standardised by its own training part at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

#: A column whose variance in the training part is this share of its variance in all rows did not
#: vary there: what is left is the rounding of a subtraction.
_VANISHED = 1e-10


@dataclass(frozen=True)
class Moments:
    """Weighted sums over some rows.

    Parameters
    ----------
    weight : float
        Sum of weights.
    x, y : ndarray, (P,), (n_skills,)
        Sums of features and levels.
    xx, xy : ndarray, (P, P), (P, n_skills)
        Sums of products.
    yy : ndarray, (n_skills,)
        Sums of squared levels.
    """

    weight: float
    x: Float
    y: Float
    xx: Float
    xy: Float
    yy: Float

    @classmethod
    def of(cls, X: Float, Y: Float, weights: Float) -> Moments:
        """Sum up rows ``X`` (n, P) and ``Y`` (n, n_skills)."""
        root = np.sqrt(weights)[:, None]
        # Unweighted rows spare a copy, and X.T @ X of one array is a symmetric product (half the
        # work of a general one).
        Xw = X if (weights == 1).all() else X * root
        return cls(
            float(weights.sum()),
            weights @ X,
            weights @ Y,
            Xw.T @ Xw,
            Xw.T @ (Y * root),
            weights @ Y**2,
        )

    def __add__(self, other: Moments) -> Moments:
        return Moments(*(mine + theirs for mine, theirs in zip(*_fields(self, other), strict=True)))

    def __sub__(self, other: Moments) -> Moments:
        return Moments(*(mine - theirs for mine, theirs in zip(*_fields(self, other), strict=True)))

    def around(self, x_mean: Float, y_mean: Float) -> tuple[Float, Float, Float]:
        """``xx``, ``xy`` and ``yy`` of the same rows after subtracting these means."""
        xx = self.xx - np.outer(self.x, x_mean) - np.outer(x_mean, self.x)
        xx += self.weight * np.outer(x_mean, x_mean)
        xy = self.xy - np.outer(x_mean, self.y) - np.outer(self.x, y_mean)
        xy += self.weight * np.outer(x_mean, y_mean)
        yy = self.yy - 2 * self.y * y_mean + self.weight * y_mean**2
        return xx, xy, yy


@dataclass(frozen=True)
class Fit:
    """Products of levels and predictions on held-out rows, both without the training mean.

    Parameters
    ----------
    yy : ndarray, (n_skills,)
        Sum of the squared levels.
    yf, ff : ndarray, (n_candidates, n_skills)
        Sums of their products with the predictions, and of the squared predictions.
    """

    yy: Float
    yf: Float
    ff: Float

    def __add__(self, other: Fit) -> Fit:
        return Fit(self.yy + other.yy, self.yf + other.yf, self.ff + other.ff)

    @property
    def errors(self) -> Float:
        """Sum of squared errors, (n_candidates, n_skills)."""
        return np.asarray(self.yy - 2 * self.yf + self.ff)

    @property
    def errors_at_best_slope(self) -> Float:
        """Sum of squared errors once a factor >= 0 has rescaled the predictions."""
        known = self.ff > 0
        explained = np.maximum(self.yf, 0.0) ** 2 / np.where(known, self.ff, 1.0)
        return np.asarray(self.yy - np.where(known, explained, 0.0))


@dataclass(frozen=True)
class Spectrum:
    """The ridge solutions of all candidates, in the eigenvectors of the standardised Gram matrix.

    A candidate is a penalty and a power: the coefficient of a direction whose variance is ``u``
    times the mean is penalised by ``penalty * u ** (1 - power)``. Power 1 is ridge; a higher one
    trusts the leading directions more.

    Parameters
    ----------
    mean, scale : ndarray, (P,)
        A feature is used as ``(x - mean) * scale``; scale 0 drops it.
    y_mean : ndarray, (n_skills,)
        Mean levels of the training part.
    vectors, values : ndarray, (P, r), (r,)
        Eigenvectors and eigenvalues.
    projected : ndarray, (r, n_skills)
        Products of levels and features in these directions.
    """

    mean: Float
    scale: Float
    y_mean: Float
    vectors: Float
    values: Float
    projected: Float

    def coef(self, penalties: Float, powers: Float) -> Float:
        """Coefficients of raw features, (P, n_skills), for one candidate per skill (n_skills,)."""
        weights = self._shrink(penalties, powers) * self.projected
        return self.scale[:, None] * (self.vectors @ weights)

    def fit_to_moments(self, held: Moments, penalties: Float, powers: Float) -> Fit:
        """How the solutions fit rows of which only moments are known."""
        xx, xy, yy = held.around(self.mean, self.y_mean)
        basis = self.scale[:, None] * self.vectors
        weights = self._path(penalties, powers)
        flat = weights.reshape(weights.shape[0], np.prod(weights.shape[1:]))
        quadratic = (flat * ((basis.T @ xx @ basis) @ flat)).sum(axis=0)
        linear = np.einsum("rls,rs->ls", weights, basis.T @ xy)
        return Fit(yy, linear, quadratic.reshape(linear.shape))

    def fit_to_rows(
        self, X: Float, Y: Float, row_weights: Float, penalties: Float, powers: Float
    ) -> Fit:
        """How the solutions fit rows."""
        weights = self._path(penalties, powers)
        directions = ((X - self.mean) * self.scale) @ self.vectors
        predicted = directions @ weights.reshape(weights.shape[0], np.prod(weights.shape[1:]))
        predicted = predicted.reshape(len(X), *weights.shape[1:])
        levels = Y - self.y_mean
        return Fit(
            row_weights @ levels**2,
            np.einsum("n,ns,nls->ls", row_weights, levels, predicted, optimize=True),
            np.einsum("n,nls->ls", row_weights, predicted**2),
        )

    def _path(self, penalties: Float, powers: Float) -> Float:
        """Weights of every candidate and skill, (r, n_candidates, n_skills)."""
        shrink = self._shrink(penalties, powers)
        return np.asarray(shrink[:, :, None] * self.projected[:, None, :])

    def _shrink(self, penalties: Float, powers: Float) -> Float:
        """Weight of each direction per unit of its product with the levels, (r, n_candidates)."""
        # (values + penalty * u^(1 - power))^-1, in a form that a direction of variance 0 survives.
        trust = relative_variance(self.values, self.scale)[:, None] ** (powers - 1.0)
        return np.asarray(trust / (self.values[:, None] * trust + penalties))


def relative_variance(values: Float, scale: Float) -> Float:
    """Variance of each principal direction beside the mean over all columns that vary, (r,)."""
    total = values.sum()
    return np.asarray(values * (np.count_nonzero(scale) / total if total > 0 else 0.0))


def primal_spectrum(train: Moments, total: Moments, *, standardize: bool) -> Spectrum:
    """Decompose the (P, P) Gram matrix: for more rows than features.

    ``total`` are the moments that ``train`` was subtracted from.
    """
    mean, y_mean = train.x / train.weight, train.y / train.weight
    xx, xy, _ = train.around(mean, y_mean)
    variance = np.diag(xx) / train.weight
    reference = np.diag(total.xx) / total.weight
    scale = _inverse_std(variance, _VANISHED * reference, standardize)
    values, vectors = eigh(scale[:, None] * xx * scale, driver="evd", check_finite=False)
    values = np.maximum(values, 0.0)
    return Spectrum(mean, scale, y_mean, vectors, values, vectors.T @ (scale[:, None] * xy))


def dual_spectrum(X: Float, Y: Float, weights: Float, *, standardize: bool) -> Spectrum:
    """Decompose the (n, n) Gram matrix: for more features than rows, with the same solutions."""
    total = weights.sum()
    mean, y_mean = weights @ X / total, weights @ Y / total
    centred = X - mean
    variance = weights @ centred**2 / total
    floor = (1e-14 * np.abs(X).max(axis=0, initial=0.0)) ** 2
    scale = _inverse_std(variance, floor, standardize)
    root = np.sqrt(weights)[:, None]
    centred *= scale * root
    values, left = eigh(centred @ centred.T, driver="evd", check_finite=False)
    kept = values > max(values[-1], 0.0) * 1e-12
    singular = np.sqrt(values[kept])
    vectors = (centred.T @ left[:, kept]) / singular
    projected = singular[:, None] * (left[:, kept].T @ (root * (Y - y_mean)))
    return Spectrum(mean, scale, y_mean, vectors, values[kept], projected)


def _inverse_std(variance: Float, floor: Float, standardize: bool) -> Float:
    varies = variance > floor
    safe = np.where(varies, variance, 1.0)
    return np.where(varies, 1.0 / np.sqrt(safe) if standardize else 1.0, 0.0)


def _fields(*moments: Moments) -> list[tuple[Any, ...]]:
    return [(m.weight, m.x, m.y, m.xx, m.xy, m.yy) for m in moments]
