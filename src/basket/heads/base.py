"""The contract of all heads: a scikit-learn classifier that learns every skill at once.

:class:`SkillHead` does what all heads share: it checks the input, turns classes into levels, drops
rows that say nothing, answers for skills that cannot be learned, and hands a subclass only what is
worth learning. A subclass writes ``_fit`` and ``_latent`` (and ``_proba`` where its probabilities
are not a cumulative link on the latent score).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from basket import metrics
from basket.errors import UsageError
from basket.heads import folds, link
from basket.heads.decision import DecisionRules
from basket.heads.parameters import check_types
from basket.heads.rows import TrainingRows as TrainingRows  # re-exported: part of the contract
from basket.heads.rows import class_factors, join, take

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Levels = npt.NDArray[np.int64]

#: How scikit-learn is to check features; what is not finite is refused with its column named.
_FEATURES: Any = {
    "dtype": [np.float64, np.float32], "order": "C", "ensure_all_finite": False,
}  # fmt: skip
#: Beyond this, single precision has no room left for squares.
_LARGEST = 1e15
#: That are inferred from labels; more have to be asked for.
_MOST_LEVELS = 10_000


@dataclass(frozen=True)
class HeadState:
    """A fitted head as plain data: what goes to head.json, head.safetensors and booster files."""

    values: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Array] = field(default_factory=dict)
    boosters: dict[int, str] = field(default_factory=dict)


class DataError(UsageError, ValueError):
    """Features or labels that cannot be learned; for scikit-learn a ValueError."""


class SkillHead(ClassifierMixin, BaseEstimator, ABC):  # type: ignore[misc]
    """Ordinal classifier of one or many skills.

    Parameters
    ----------
    n_levels : int, optional
        K. With it, levels are ``0..K-1`` (-1 missing) and a level that does not occur keeps its
        place. Without it, classes are inferred from the labels.

    Attributes
    ----------
    classes_ : ndarray, (K,)
        Levels, or the sorted classes of a one-dimensional y, which must be ordered as they sort.
    n_skills_ : int
        Columns of a two-dimensional y (1 for a one-dimensional y).
    prior_ : ndarray, float64, (n_skills, K)
        Weighted frequencies of the levels in training; uniform for a skill without labels.
    active_ : ndarray, int64
        Skills that were learned: those with at least two levels (of some weight) in training. The
        others answer with their prior and a latent score of 0.
    """

    #: Whether X is RaggedFeatures (pooling ``segments``) rather than one row per video.
    takes_segments: ClassVar[bool] = False
    #: scikit-learn's tag: below 83 % on three blobs that lie off any line, which one linear score
    #: of an order cannot tell apart, and is not meant to.
    poor_score: ClassVar[bool] = False

    n_levels: int | None
    #: Cuts of the latent score, (n_active, K-1); a head without them, or with others, says so.
    thresholds_: Any

    def fit(
        self,
        X: Any,
        y: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
        *,
        validation: tuple[Any, npt.ArrayLike] | None = None,
    ) -> Self:
        """Learn all skills.

        Parameters
        ----------
        X : array_like, float, (n, P)
            Pooled features; heads of segments take RaggedFeatures of n videos.
        y : array_like, (n, n_skills) or (n,)
            Two-dimensional: levels, -1 missing. One-dimensional: one skill, numbers that rise with
            the level. Ordered pandas categories keep their order; text without one is refused.
        groups : array_like, (n,), optional
            Players; inner splits do not cut through one.
        sample_weight : array_like, (n,), optional
            Not negative. 2 counts as two equal rows; weights that are all below 1 are shares, and
            count as if their mean were 1.
        validation : (X, y), optional
            Other players' features and labels. Heads that stop early or choose a setting on
            held-out players use these instead of holding out some of their own; they are never
            learned from. Heads that choose by cross-validation look at none of it.

        Raises
        ------
        ValueError
            NaN, infinity or a magnitude beyond 1e15 in X, labels that are missing or in no known
            order, shapes that do not fit, a level outside ``-1..K-1``.
        UsageError
            A parameter with which nothing can be fitted.
        """
        self.check_parameters()
        rows = self._begin(X, y, groups, sample_weight, validation)
        if rows is not None:
            self._fit(rows)
        return self

    def check_parameters(self) -> None:
        """Refuse parameters with which nothing can be fitted, before anything is read for it.

        Raises
        ------
        UsageError
            Which parameter, what was expected and what was given.
        """
        check_types(type(self), self.get_params(deep=False))
        self._check_parameters()
        if self.n_levels is not None:
            class_factors(getattr(self, "class_weight", None), np.ones((1, self.n_levels)))

    def _begin(
        self,
        X: Any,
        y: npt.ArrayLike,
        groups: npt.ArrayLike | None,
        sample_weight: npt.ArrayLike | None,
        validation: tuple[Any, npt.ArrayLike] | None,
    ) -> TrainingRows | None:
        """Check the input and set all attributes of this class; None: nothing can be learned."""
        y, declared = _numbers(y)
        features, y = self._check_training(X, y)
        weights = _check_sample_weight(
            sample_weight, np.empty((len(features), 1)), dtype=np.float64, ensure_non_negative=True
        )
        if weights.any() and weights.max() < 1:
            weights = weights * (len(weights) / weights.sum())
        if groups is not None and np.shape(groups) != (len(features),):
            raise ValueError(f"groups must have shape ({len(features)},), got {np.shape(groups)}")
        levels = self._encode(np.asarray(y), declared)
        counts = _level_weights(levels, weights, len(self.classes_))
        self.prior_ = _frequencies(counts)
        self.n_skills_ = levels.shape[1]
        factors = class_factors(getattr(self, "class_weight", None), counts)
        # A level of no weight is none that could be told from another.
        weighed = counts if factors is None else counts * factors
        self.active_ = np.flatnonzero((weighed > 0).sum(axis=1) >= 2)
        if not len(self.active_):
            return None
        rows = self._training_rows(features, levels[:, self.active_], weights, groups)
        rows = replace(rows, factors=None if factors is None else factors[self.active_])
        return rows if validation is None else self._with_validation(rows, *validation)

    def predict_proba(self, X: Any) -> Float:
        """Probabilities of the levels, (n, n_skills, K), or (n, K) if fitted on a 1-D y."""
        X = self._check_input(X)
        proba = np.repeat(self.prior_[None], len(X), axis=0)
        if len(self.active_):
            proba[:, self.active_] = self._proba(X)
        return proba if self.multi_skill_ else proba[:, 0]

    def latent(self, X: Any) -> Float:
        """Scores that rise with the level, (n, n_skills), or (n,) if fitted on a 1-D y."""
        X = self._check_input(X)
        out = np.zeros((len(X), self.n_skills_))
        if len(self.active_):
            out[:, self.active_] = self._latent(X)
        return out if self.multi_skill_ else out[:, 0]

    def predict(self, X: Any, metric: str = "accuracy") -> Array:
        """Levels (or classes) by the decision rule of ``metric``.

        ``qwk`` uses the uncalibrated cuts of :class:`DecisionRules`; a run has fitted ones.
        """
        proba = self.predict_proba(X)
        rules = DecisionRules.uncalibrated(self.n_skills_, len(self.classes_))
        if not self.multi_skill_:
            return np.asarray(self.classes_[rules.predict(proba[:, None], metric)[:, 0]])
        return rules.predict(proba, metric)

    def score(self, X: Any, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None) -> float:
        """Accuracy; for several skills its mean over them, missing labels left out."""
        truth, proba = self._levels_like_training(y), self.predict_proba(X)
        if not self.multi_skill_:
            weights = _check_sample_weight(sample_weight, truth)
            return float(np.average(proba.argmax(axis=1) == truth[:, 0], weights=weights))
        confusion = metrics.confusion_matrices(truth, proba.argmax(axis=2), len(self.classes_))
        return metrics.mean_over_skills(metrics.accuracy(confusion))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        tags.classifier_tags.poor_score = self.poor_score
        return tags

    @abstractmethod
    def _fit(self, rows: TrainingRows) -> None:
        """Learn from rows that have labels; every skill of ``rows`` has at least two levels."""

    @classmethod
    def _fit_many(cls, heads: Sequence[Self], rows: TrainingRows) -> None:
        """Learn heads that differ in nothing but their ``_own_parameters`` from the same rows."""
        for head in heads:
            head._fit(rows)

    def _own_parameters(self) -> frozenset[str]:
        """Parameters in which heads may differ that ``_fit_many`` fits together."""
        return frozenset()

    @abstractmethod
    def _latent(self, X: Any) -> Float:
        """Latent scores of the active skills, float64, (n, n_active)."""

    def _proba(self, X: Any) -> Float:
        """Probabilities of the active skills, float64, (n, n_active, K)."""
        return link.probabilities(self._latent(X), self.thresholds_)

    def _state(self) -> HeadState:
        """What ``_restore`` needs beside the attributes of this class."""
        return HeadState(arrays={name: getattr(self, f"{name}_") for name in self._arrays()})

    def _restore(self, state: HeadState) -> None:
        """Take back what ``_state`` gave; the attributes of this class are already set.

        Raises
        ------
        ValueError, KeyError
            The state does not fit.
        """
        self._check_parameters()
        for name, shape in self._arrays().items():
            setattr(self, f"{name}_", checked(state.arrays, name, shape))

    def _arrays(self) -> dict[str, tuple[int, ...]]:
        """Fitted attributes that are stored, without their last underscore, and their shapes."""
        return {"thresholds": self._shape("active", "cuts")}

    def _check_parameters(self) -> None:
        """Refuse parameters with which nothing can be fitted or loaded, whatever the data are."""

    def _shape(self, *names: str) -> tuple[int, ...]:
        """Sizes by name, for checking what was loaded."""
        sizes = {
            "active": len(self.active_),
            "cuts": len(self.classes_) - 1,
            "levels": len(self.classes_),
            "features": self.n_features_in_,
        }
        return tuple(sizes[name] for name in names)

    def _acted(self) -> dict[str, Any]:
        """What stood in for parameters that may be None; a list is by learned skill."""
        return {}

    def _split_seed(self) -> int:
        """Deals players out to inner splits."""
        return int(getattr(self, "seed", 0))

    def _check_training(self, X: Any, y: npt.ArrayLike) -> tuple[Any, Array]:
        """Features and labels as arrays; heads of ragged features look at them otherwise."""
        checked_X, checked_y = validate_data(self, X, y, multi_output=True, **_FEATURES)
        return checked_magnitudes(checked_X, self), checked_y

    def _check_input(self, X: Any) -> Any:
        check_is_fitted(self)
        return checked_magnitudes(validate_data(self, X, reset=False, **_FEATURES), self)

    def _with_validation(self, rows: TrainingRows, X: Any, y: npt.ArrayLike) -> TrainingRows:
        """Append the labelled rows of a given validation set, marked as such."""
        features = self._check_input(X)
        levels = self._levels_like_training(y)
        if len(levels) != len(features) or levels.shape[1] != self.n_skills_:
            raise ValueError(
                f"validation has {len(features)} rows and labels of shape {levels.shape}; expected "
                f"one row of {self.n_skills_} labels each"
            )
        more = self._training_rows(
            features, levels[:, self.active_], np.ones(len(features)), groups=None
        )
        if not len(more.X):
            return rows
        return replace(
            rows,
            X=join(rows.X, more.X),
            levels=np.concatenate([rows.levels, more.levels]),
            weights=np.concatenate([rows.weights, more.weights]),
            keys=np.concatenate([rows.keys, more.keys]),
            given=np.repeat([False, True], [len(rows.X), len(more.X)]),
        )

    def _levels_like_training(self, y: npt.ArrayLike) -> Levels:
        """Labels of other rows as levels (n, n_skills), by the classes met in training."""
        if not self.multi_skill_ and self.n_levels is None:
            place = {each: level for level, each in enumerate(self.classes_.tolist())}
            # A class that training never saw is nothing that a loss could be computed for.
            found = [[place.get(each, -1)] for each in np.asarray(y).tolist()]
            return np.array(found, dtype=np.int64)
        labels = np.asarray(_numbers(y)[0])
        levels = labels.reshape(len(labels), -1).astype(np.int64)
        if levels.size and (levels.min() < -1 or levels.max() >= len(self.classes_)):
            raise ValueError(f"levels must lie in 0..{len(self.classes_) - 1} (-1 missing)")
        return levels

    def _encode(self, Y: Array, declared: Array | None) -> Levels:
        """Classes to levels ``0..K-1``, (n, n_skills); sets ``classes_`` and ``multi_skill_``."""
        self.multi_skill_ = Y.ndim == 2
        if self.n_levels is not None and self.n_levels < 2:
            raise UsageError(f"n_levels must be at least 2, got {self.n_levels}")
        if not self.multi_skill_ and self.n_levels is None:
            check_classification_targets(Y)
            self.classes_, levels = np.unique(Y, return_inverse=True)
            if declared is not None:
                self.classes_, levels = declared, Y
            return levels.reshape(-1, 1).astype(np.int64)
        columns = Y.reshape(len(Y), -1)
        if not np.array_equal(np.round(columns), columns):
            raise ValueError("levels must be whole numbers, got fractions")
        known = 0 if declared is None else len(declared)
        n_levels = self.n_levels or int(min(max(2, columns.max() + 1, known), _MOST_LEVELS))
        if columns.min() < -1 or columns.max() >= n_levels:
            raise ValueError(
                f"levels must lie in 0..{n_levels - 1} (-1 missing), "
                f"got {columns.min():g}..{columns.max():g}"
            )
        self.classes_ = np.arange(n_levels)
        return columns.astype(np.int64)

    def _training_rows(
        self, X: Any, levels: Levels, weights: Float, groups: npt.ArrayLike | None
    ) -> TrainingRows:
        """Keep the rows that say something, in canonical order."""
        used = np.flatnonzero((weights > 0) & (levels >= 0).any(axis=1))
        if len(used) < len(levels):
            X, levels, weights = take(X, used), levels[used], weights[used]
            groups = None if groups is None else np.asarray(groups)[used]
        keys = folds.group_keys(groups, X, seed=self._split_seed())
        # Without groups, the keys are hashes of the rows already.
        content = keys if groups is None else folds.row_hashes(X)
        order = folds.canonical_order(content, levels, weights, keys)
        return TrainingRows(
            take(X, order), levels[order], weights[order], keys[order], len(self.classes_)
        )


def checked_magnitudes(X: Array, head: Any = None) -> Array:
    """Features (n, P), if none is NaN, infinite or so large that squares lose all digits."""
    largest = np.maximum(X.max(axis=0), -X.min(axis=0)).astype(np.float64)
    absurd = np.flatnonzero(~(largest <= _LARGEST))
    if len(absurd):
        name = getattr(head, "feature_names_in_", np.arange(X.shape[1]))[absurd[0]]
        raise DataError(
            f"column {name} of the features holds {largest[absurd[0]]:.3g}; expected numbers "
            f"within ±{_LARGEST:g}, no NaN: scale the column, or repair or leave out its values"
        )
    return X


def _numbers(y: Any) -> tuple[Any, Array | None]:
    """Labels as numbers, and the categories these count where pandas has declared their order."""
    frame = hasattr(y, "iloc") and y.ndim == 2
    columns = [y[name] for name in y] if frame else [y]
    kinds = [getattr(column, "dtype", None) for column in columns]
    labels, names = None if y is None else np.asarray(y), None
    if all(getattr(kind, "ordered", False) and kind == kinds[0] for kind in kinds):
        codes = np.stack([getattr(each, "cat", each).codes for each in columns], axis=1)
        labels, names = codes if frame else codes[:, 0], np.asarray(columns[0].dtype.categories)
        missing = bool((codes < 0).any())
        whole = names.dtype.kind in "biuf" and np.array_equal(np.round(names), names)
        if whole and not missing and (names[1:] > names[:-1]).all():
            labels, names = names[labels], None
    elif labels is not None:
        labels = np.array(labels.tolist()) if labels.dtype == object else labels
        missing = labels.dtype.kind not in "biufc" or bool((labels != labels).any())
    if labels is not None and missing:
        raise DataError(
            "labels must be numbers that rise with the level, none of them NaN (-1 is a missing "
            "one of given levels), or a pandas Categorical with ordered=True; got "
            f"{', '.join(map(repr, labels.ravel()[:3].tolist()))} …"
        )
    return labels, names


def checked(arrays: dict[str, Array], name: str, shape: tuple[int, ...]) -> Any:
    """The array called ``name``, if it is finite and of that shape.

    Raises
    ------
    ValueError
        It is missing, of another shape, not floating, or not finite.
    """
    array = arrays.get(name)
    if array is None:
        raise ValueError(f"array {name!r} is missing")
    if array.shape != shape or array.dtype.kind != "f":
        raise ValueError(
            f"array {name!r} is {array.dtype} {array.shape}, expected floats of shape {shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"array {name!r} is not finite")
    return array


def _level_weights(levels: Levels, weights: Float, n_levels: int) -> Float:
    """Sum of weights per skill and level, (n_skills, K)."""
    # fsum is exact, so the order of the rows cannot show in the last digit.
    return np.array(
        [[math.fsum(weights[column == level]) for level in range(n_levels)] for column in levels.T]
    )


def _frequencies(counts: Float) -> Float:
    """Rows scaled to sum to 1; uniform where there is nothing to count."""
    total = counts.sum(axis=1, keepdims=True)
    uniform = np.full_like(counts, 1.0 / counts.shape[1])
    return np.where(total > 0, counts / np.where(total > 0, total, 1.0), uniform)
