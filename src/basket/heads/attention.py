"""Attentive pooling: which segments of a reel matter is learned together with what they say.

Each skill has a query and a slope. A segment's query score says how much it counts (a softmax over
the segments of its video), its slope score says what it tells; both are one matrix product, and no
segment is ever padded. Training starts where all segments count the same and the slopes are those
of ridge on the mean, so a video whose evidence is spread evenly loses nothing.

Trained with PyTorch, stored and applied with NumPy.

Source: attention-based multiple-instance learning, Ilse et al. (2018), without projections.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from basket.cache.features import RaggedFeatures
from basket.errors import UsageError
from basket.heads.base import HeadState, SkillHead, checked_magnitudes
from basket.heads.linear import standardisation
from basket.heads.linear_start import LinearStart
from basket.heads.parameters import check_range
from basket.heads.pooling import pool
from basket.heads.pooling_terms import Block
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

POOLS = ("attention", "topk")
QUERIES = ("skill", "group", "shared")

_PREDICT_ROWS = 16_384


class AttentionHead(SkillHead):
    """Linear scores of attentively pooled segments, with a cumulative link.

    Takes :class:`~basket.cache.features.RaggedFeatures` (pooling ``segments``); a plain
    two-dimensional X is one segment per row.

    Parameters
    ----------
    n_levels : int, optional
        K.
    pool : {"attention", "topk"}, default="attention"
        ``topk``: the mean of the k highest segment scores instead (multiple-instance learning).
    queries : {"skill", "group", "shared"} or sequence of int, default="skill"
        One query per skill, per group of skills, or one for all of them. A sequence says the group
        of each skill; ``fit-head`` turns ``group`` into the groups of the skills' names.
    top : int, default=4
        k of ``topk``; shorter videos use all segments.
    weight_decay : float, default=0.01
        Of AdamW.
    learning_rate : float, default=0.002
        Of AdamW.
    batch_size : int, default=256
        Videos per step.
    epochs : int, default=30
        At most.
    patience : int, default=4
        Epochs without a better held-out loss before training stops; 0 trains all epochs on all
        rows.
    validation_fraction : float, default=0.15
        Share of players held out to find the best epoch.
    class_weight : "balanced", mapping or sequence, optional
        Weight of each level.
    seed : int, default=0
        Batches and the held-out players.

    Attributes
    ----------
    query_ : ndarray, float32, (P, n_queries)
        Of standardised features; absent with ``topk``.
    slope_ : ndarray, float32, (P, n_active)
        Of standardised features.
    thresholds_ : ndarray, float64, (n_active, K-1)
        Of the cumulative link.
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the start, ridge on the mean.
    """

    takes_segments = True
    #: With one segment per row it is a linear score.
    poor_score = True

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        pool: str = "attention",
        queries: str | Sequence[int] = "skill",
        top: int = 4,
        weight_decay: float = 0.01,
        learning_rate: float = 2e-3,
        batch_size: int = 256,
        epochs: int = 30,
        patience: int = 4,
        validation_fraction: float = 0.15,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_levels = n_levels
        self.pool = pool
        self.queries = queries
        self.top = top
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.class_weight = class_weight
        self.seed = seed

    def _check_training(self, X: Any, y: npt.ArrayLike) -> tuple[RaggedFeatures, Array]:
        if not isinstance(X, RaggedFeatures):
            features, labels = super()._check_training(X, y)
            return _one_segment_each(features), labels
        labels = np.asarray(check_array(y, ensure_2d=False, dtype=None, ensure_min_samples=1))
        if len(labels) != len(X):
            raise ValueError(f"{len(X)} videos have {len(labels)} rows of labels")
        self.n_features_in_ = X.dim
        return _checked(X), labels

    def _check_input(self, X: Any) -> RaggedFeatures:
        check_is_fitted(self)
        if not isinstance(X, RaggedFeatures):
            return _one_segment_each(super()._check_input(X))
        if X.dim != self.n_features_in_:
            raise ValueError(
                f"segments have {X.dim} columns, but this head was fitted on {self.n_features_in_}"
            )
        return _checked(X)

    def _fit(self, rows: TrainingRows) -> None:
        from basket.heads.attention_training import Recipe, train

        rows = rows if self.patience else rows.learned()
        held = rows.held_out(self.validation_fraction) & (self.patience > 0)
        self.mean_, self.scale_ = _standardisation(rows.X, rows.given)
        slope, thresholds = self._start(rows, held)
        trained = train(
            Recipe(
                top=self.top if self.pool == "topk" else 0,
                query_of_skill=tuple(self._query_of_skill().tolist()),
                weight_decay=self.weight_decay,
                learning_rate=self.learning_rate,
                batch_size=self.batch_size,
                epochs=self.epochs,
                patience=self.patience or self.epochs,
                seed=self.seed,
            ),
            rows,
            held,
            mean=self.mean_,
            scale=self.scale_,
            slope=slope,
            thresholds=thresholds,
        )
        self.query_, self.slope_ = trained.query, trained.slope
        self.thresholds_, self.best_epoch_ = trained.thresholds, trained.best_epoch

    def _check_parameters(self) -> None:
        if self.pool not in POOLS or (
            isinstance(self.queries, str) and self.queries not in QUERIES
        ):
            raise UsageError(
                f"attention knows pool={' or '.join(POOLS)} and queries={' or '.join(QUERIES)}, "
                f"got {self.pool!r} and {self.queries!r}"
            )
        check_range(self, "top", "epochs", "batch_size", at_least=1)
        check_range(self, "learning_rate", above=0)
        check_range(self, "weight_decay", "patience", at_least=0)
        check_range(self, "validation_fraction", above=0, below=1)

    def _query_of_skill(self) -> npt.NDArray[np.int64]:
        """Which query each active skill has, (n_active,), counted without holes."""
        if self.queries == "shared":
            return np.zeros(len(self.active_), dtype=np.int64)
        if self.queries == "skill":
            return np.arange(len(self.active_))
        if isinstance(self.queries, str) or len(self.queries) != self.n_skills_:
            raise UsageError(
                f"queries needs the group of each of the {self.n_skills_} skills, got "
                f"{self.queries!r}; fit-head knows the groups of BASKET's skills"
            )
        groups = np.asarray(self.queries, dtype=np.int64)[self.active_]
        return np.unique(groups, return_inverse=True)[1].ravel()

    def _start(
        self, rows: TrainingRows, held: npt.NDArray[np.bool_]
    ) -> tuple[Float32, npt.NDArray[np.float64]]:
        """Slopes (P, n_skills) and thresholds of ridge on the mean, fitted on what is learned."""
        # A pooling is stored in single precision, where what lies far from zero has no digits left.
        double = rows.X.values.dtype == np.float64
        mean = self._standardise((Block(rows.X).mean if double else pool(rows.X, "mean"))[~held])
        start = LinearStart.ridge(mean, rows, ~held)
        return start.slope, start.thresholds

    def _standardise(self, X: Array) -> Float32:
        return np.asarray((X - self.mean_) * self.scale_, dtype=np.float32)

    def _latent(self, X: RaggedFeatures) -> Float:
        out = np.zeros((len(X), len(self.active_)))
        videos = max(1, _PREDICT_ROWS // max(1, int(X.lengths.mean()) if len(X) else 1))
        for start in range(0, len(X), videos):
            stop = min(start + videos, len(X))
            low, high = X.offsets[start], X.offsets[stop]
            offsets = X.offsets[start:stop] - low
            out[start:stop] = self._pooled_scores(X.values[low:high], offsets)
        return out

    def _pooled_scores(self, segments: Array, starts: npt.NDArray[np.int64]) -> Float:
        values = self._standardise(segments)
        # In double precision a video's score does not depend on its place in a product.
        values = values.astype(np.float64)
        scores = values @ self.slope_.astype(np.float64)
        ends = np.append(starts[1:], len(segments))
        if self.pool == "topk":
            return np.stack(
                [
                    np.sort(scores[low:high], axis=0)[-self.top :].mean(axis=0)
                    for low, high in zip(starts, ends, strict=True)
                ]
            )
        weights = values @ self.query_.astype(np.float64)
        weights -= np.repeat(np.maximum.reduceat(weights, starts, axis=0), ends - starts, axis=0)
        np.exp(weights, out=weights)
        query = self._query_of_skill()
        total = np.add.reduceat(weights, starts, axis=0)[:, query]
        return np.asarray(np.add.reduceat(weights[:, query] * scores, starts, axis=0) / total)

    def attention(self, X: Any) -> list[Float]:
        """How much each segment counts, per video (S, n_active); sums to 1 over a video."""
        features = self._check_input(X)
        if self.pool == "topk":
            raise UsageError("pool='topk' has no attention weights; it uses the highest scores")
        out, query = [], self._query_of_skill()
        for segments in features:
            weights = (self._standardise(segments) @ self.query_).astype(np.float64)
            weights = np.exp(weights - weights.max(axis=0))
            out.append((weights / weights.sum(axis=0))[:, query])
        return out

    def _state(self) -> HeadState:
        return replace(super()._state(), values={"best_epoch": self.best_epoch_})

    def _restore(self, state: HeadState) -> None:
        super()._restore(state)
        self.best_epoch_ = int(state.values["best_epoch"])

    def _arrays(self) -> dict[str, tuple[int, ...]]:
        width, n_active = self._shape("features", "active")
        arrays: dict[str, tuple[int, ...]] = {
            "mean": (width,),
            "scale": (width,),
            "slope": (width, n_active),
            "thresholds": self._shape("active", "cuts"),
        }
        if self.pool == "attention":
            arrays["query"] = (width, int(self._query_of_skill().max(initial=-1)) + 1)
        return arrays


def _one_segment_each(X: Array) -> RaggedFeatures:
    return RaggedFeatures(X, np.arange(len(X) + 1))


def _checked(X: RaggedFeatures) -> RaggedFeatures:
    if (X.lengths == 0).any():
        raise ValueError(f"video at position {int(X.lengths.argmin())} has no segments")
    checked_magnitudes(X.values)
    return X


def _standardisation(X: RaggedFeatures, given: npt.NDArray[np.bool_] | None) -> tuple[Array, Array]:
    """Mean and inverse standard deviation over segments; 0 for constant columns.

    Those of a ``given`` validation set do not count.
    """
    learned = None if given is None else np.repeat(~given, X.lengths)

    def blocks() -> Iterator[Array]:
        for start in range(0, len(X.values), _PREDICT_ROWS):
            part = slice(start, start + _PREDICT_ROWS)
            yield X.values[part] if learned is None else X.values[part][learned[part]]

    total = len(X.values) if learned is None else int(learned.sum())
    mean = np.asarray(sum(block.sum(axis=0, dtype=np.float64) for block in blocks())) / total
    square = sum(((block - mean) ** 2).sum(axis=0) for block in blocks())
    return standardisation(mean, np.asarray(square) / total, X.values.dtype)
