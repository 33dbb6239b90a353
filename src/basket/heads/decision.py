"""Probabilities -> levels: each metric has its own best decision.

Accuracy wants the most probable level, absolute error the median, and quadratic weighted kappa
the expectation stretched until predictions vary as much as the truth does: expectations of
uncertain predictions crowd around the middle, and kappa punishes that.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp

from basket.errors import IntegrityError, UsageError
from basket.registry import nearest

Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

#: Metric -> rule: which is best was measured on Bayes-optimal probabilities as uncertain as those
#: of BASKET's best models; ``tests/heads/test_decision.py`` measures it again.
RULES = {
    "accuracy": "argmax",
    "mae": "median",
    "qwk": "matched",
    "off_by_one": "window",
    "balanced_mae": "balanced",
}

#: Expected levels this near are the same but for rounding.
_EQUAL = 1e-9


def argmax(proba: Float) -> Levels:
    """Return the most probable level; the lower one of equals. (..., K) -> (...)."""
    return np.asarray(proba.argmax(axis=-1), dtype=np.int64)


def median(proba: Float) -> Levels:
    """Return the first level at which the cumulated probability reaches one half."""
    # The slack keeps a row that sums to 1 - 1e-16 from missing an exact half.
    reached = np.cumsum(proba, axis=-1) >= 0.5 - 1e-12
    return np.asarray(reached.argmax(axis=-1), dtype=np.int64)


def expectation(proba: Float) -> Float:
    """Return the expected level, float64. (..., K) -> (...)."""
    return np.asarray(proba @ np.arange(proba.shape[-1], dtype=np.float64))


def best_window(proba: Float) -> Levels:
    """Return the centre of the three neighbouring levels that hold most probability together."""
    padded = np.concatenate([0 * proba[..., :1], proba, 0 * proba[..., :1]], axis=-1)
    window = padded[..., :-2] + padded[..., 1:-1] + padded[..., 2:]
    # Of windows that hold the same, the one around the more probable level.
    return np.asarray((window + 1e-9 * proba).argmax(axis=-1), dtype=np.int64)


def rounded(proba: Float) -> Levels:
    """Return the expected level, rounded half up."""
    return np.asarray(np.floor(expectation(proba) + 0.5), dtype=np.int64)


_WITHOUT_CUTS: dict[str, Callable[[Float], Levels]] = {
    "argmax": argmax,
    "median": median,
    "rounded": rounded,
    "window": best_window,
}


@dataclass(frozen=True)
class DecisionRules:
    """One rule per metric, with what rules need to know of the levels.

    Parameters
    ----------
    cuts : tuple of tuple of float, n_skills x (K-1)
        For ``matched``: level k is predicted where the expectation lies above k of the cuts.
    frequencies : tuple of tuple of float, n_skills x K
        For ``balanced``: how often each level occurs; probabilities are divided by it before the
        median is taken, so that rare levels count as much as common ones.
    temperatures : tuple of float, optional
        One per skill: probabilities are raised to 1/T. Empty: they are left as they are.

    Examples
    --------
    >>> rules = DecisionRules.uncalibrated(1, 3)
    >>> rules.predict(np.array([[[0.4, 0.3, 0.3]]]), "accuracy").item()
    0
    >>> rules.predict(np.array([[[0.4, 0.3, 0.3]]]), "mae").item()
    1
    """

    cuts: tuple[tuple[float, ...], ...]
    frequencies: tuple[tuple[float, ...], ...]
    temperatures: tuple[float, ...] = ()

    @classmethod
    def uncalibrated(cls, n_skills: int, n_levels: int) -> DecisionRules:
        """Cuts half-way between levels, all levels equally frequent."""
        return cls(
            ((*(level + 0.5 for level in range(n_levels - 1)),),) * n_skills,
            ((1.0 / n_levels,) * n_levels,) * n_skills,
        )

    @classmethod
    def fit(cls, proba: Float, levels: Levels, *, temperature: bool = False) -> DecisionRules:
        """Choose cuts, frequencies and temperatures on players the head was not fitted on.

        Each skill's cuts are the quantiles of its expectations at the cumulated frequencies of the
        true levels, so that predictions are spread as the truth is.

        Parameters
        ----------
        proba : ndarray, float64, (n, n_skills, K)
            Probabilities of held-out rows.
        levels : ndarray, int64, (n, n_skills)
            Their levels, -1 missing.
        temperature : bool, default=False
            Scale the probabilities of each skill (Guo et al. 2017); cuts are for scaled ones.
        """
        n_levels = proba.shape[2]
        skills = [(skill, known) for skill, known in enumerate((levels >= 0).T)]
        temperatures = tuple(
            fit_temperature(proba[known, skill], levels[known, skill]) if temperature else 1.0
            for skill, known in skills
        )
        scaled = proba if not temperature else scale_probabilities(proba, temperatures)
        expected = expectation(scaled)
        return cls(
            tuple(
                _matched_cuts(expected[known, skill], levels[known, skill], n_levels)
                for skill, known in skills
            ),
            tuple(_frequencies(levels[known, skill], n_levels) for skill, known in skills),
            temperatures if temperature else (),
        )

    def calibrate(self, proba: Float) -> Float:
        """Probabilities at the fitted temperatures, (n, n_skills, K); unchanged without them."""
        return scale_probabilities(proba, self.temperatures) if self.temperatures else proba

    @property
    def n_levels(self) -> int:
        """K."""
        return len(self.cuts[0]) + 1

    def predict(self, proba: Float, metric: str = "accuracy") -> Levels:
        """Decide.

        Parameters
        ----------
        proba : ndarray, (n, n_skills, K)
            Probabilities, calibrated where that is wanted.
        metric : {"accuracy", "mae", "qwk", "off_by_one", "balanced_mae"}
            What the decision is to be good at.

        Raises
        ------
        UsageError
            No rule is known for the metric.
        """
        if metric not in RULES:
            hint = nearest(metric, list(RULES))
            raise UsageError(
                f"no decision rule for {metric!r}{hint or '.'} Known: {', '.join(RULES)}"
            )
        return self.apply(RULES[metric], proba)

    def apply(self, rule: str, proba: Float) -> Levels:
        """Decide by the name of a rule: argmax, median, rounded, window, matched, balanced."""
        if rule in _WITHOUT_CUTS:
            return _WITHOUT_CUTS[rule](proba)
        if rule == "balanced":
            # A level that never occurred has no cost to balance.
            share = np.array(self.frequencies)
            weighted = proba * np.where(share > 0, 1.0 / np.where(share > 0, share, 1.0), 0.0)
            total = weighted.sum(axis=2, keepdims=True)
            return median(np.where(total > 0, weighted / np.where(total > 0, total, 1.0), proba))
        if rule != "matched":
            raise UsageError(f"unknown decision rule {rule!r}")
        cuts = np.array(self.cuts)
        return np.asarray((expectation(proba)[:, :, None] > cuts).sum(axis=2), dtype=np.int64)

    def to_json(self) -> str:
        """Serialise; :meth:`from_json` restores equal rules."""
        document = {
            "version": 1,
            "rules": RULES,
            "cuts": self.cuts,
            "frequencies": self.frequencies,
            "temperatures": self.temperatures,
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, *, origin: str = "decision.json") -> DecisionRules:
        """Read rules back.

        Raises
        ------
        IntegrityError
            Not the JSON that :meth:`to_json` wrote.
        """
        try:
            document = json.loads(text)
            if document["version"] != 1:
                raise ValueError(f"version {document['version']!r}, expected 1")
            cuts = np.array(document["cuts"], dtype=np.float64)
            shares = np.array(document["frequencies"], dtype=np.float64)
            temperatures = np.array(document["temperatures"], dtype=np.float64)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise IntegrityError(f"{origin} holds no decision rules: {error}") from error
        if cuts.ndim != 2 or not np.isfinite(cuts).all() or (np.diff(cuts, axis=1) < 0).any():
            raise IntegrityError(f"{origin} holds no rising cuts, one row per skill")
        if shares.shape != (len(cuts), cuts.shape[1] + 1) or not (shares >= 0).all():
            raise IntegrityError(f"{origin} holds no frequencies of the levels, one row per skill")
        if temperatures.shape not in ((0,), (len(cuts),)) or not (temperatures > 0).all():
            raise IntegrityError(f"{origin} holds no temperatures, one per skill")
        return cls(_nested(cuts), _nested(shares), tuple(temperatures.tolist()))


def fit_temperature(proba: Float, levels: Levels) -> float:
    """The T in 1/20..20 that makes ``proba ** (1/T)`` (n, K) most likely for levels (n,)."""
    if not len(levels):
        return 1.0
    log_p = np.log(np.maximum(proba, 1e-300))

    def loss(log_t: float) -> float:
        scaled = log_p / np.exp(log_t)
        return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(levels)), levels]).mean())

    bound = float(np.log(20.0))
    found = minimize_scalar(loss, bounds=(-bound, bound), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def scale_probabilities(proba: Float, temperatures: tuple[float, ...]) -> Float:
    """Probabilities (n, n_skills, K) raised to one over the temperature of each skill."""
    scaled = np.log(np.maximum(proba, 1e-300)) / np.array(temperatures)[None, :, None]
    odds = np.exp(scaled - scaled.max(axis=2, keepdims=True))
    return np.asarray(odds / odds.sum(axis=2, keepdims=True))


def _frequencies(levels: Levels, n_levels: int) -> tuple[float, ...]:
    if not len(levels):
        return (1.0 / n_levels,) * n_levels
    return tuple((np.bincount(levels, minlength=n_levels) / len(levels)).tolist())


def _nested(rows: Float) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in rows.tolist())


def _matched_cuts(expected: Float, levels: Levels, n_levels: int) -> tuple[float, ...]:
    default = np.arange(n_levels - 1) + 0.5
    if len(expected) < 2 or np.ptp(expected) < _EQUAL:
        # A head that says the same of everybody has no spread to match.
        return tuple(default.tolist())
    below = np.cumsum(np.bincount(levels, minlength=n_levels))[:-1] / len(levels)
    ordered = np.sort(expected)
    # A cut through equal expectations would put them all on one side, however many there are, or
    # part them by their rounding: it falls at the nearer end of theirs.
    ends = np.flatnonzero(np.concatenate([[True], np.diff(ordered) > _EQUAL, [True]]))
    rank = ends[np.abs(ends[:, None] - np.round(below * len(expected))).argmin(axis=0)]
    # Midpoints between order statistics; beyond the ends nobody is predicted.
    padded = np.concatenate([[-1.0], ordered, [float(n_levels)]])
    return tuple(((padded[rank] + padded[rank + 1]) / 2).tolist())
