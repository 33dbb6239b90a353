"""A small network for all skills together: shared hidden layers, one output per skill.

It learns what is to be added to ridge: what is linear is found in closed form, and the network has
to find the rest.

Trained with PyTorch, stored and applied with NumPy: predicting from a run needs no torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.heads import link
from basket.heads.base import HeadState, SkillHead, checked
from basket.heads.corn import corn_probabilities
from basket.heads.linear import standardisation
from basket.heads.linear_start import LinearStart
from basket.heads.parameters import check_range
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]

LOSSES = ("cumulative", "ce", "coral", "corn", "sord", "emd")
STARTS = ("ridge", "prior")

_PREDICT_ROWS = 8192
_MAX_HIDDEN_LAYERS = 16
#: Hidden units of all networks that are trained side by side: memory is bounded by them.
_PACKED_UNITS = 8192


class MlpHead(SkillHead):
    """Multi-layer perceptron with ReLU and dropout, joint over skills.

    Parameters
    ----------
    n_levels : int, optional
        K.
    loss : {"cumulative", "ce"}, default="cumulative"
        ``cumulative``: one latent score per skill and K-1 ordered thresholds (order is known, so it
        needs no learning). ``ce``: K free logits per skill and cross-entropy. ``coral``, ``corn``,
        ``sord``, ``emd``: see :mod:`basket.heads.mlp_losses`.
    start : {"ridge", "prior"}, default="ridge"
        What the network adds to: a ridge fitted to the same players, or the frequencies of the
        levels.
    hidden : int, default=256
        Units per hidden layer.
    depth : int, default=1
        Hidden layers.
    dropout : float, default=0.5
        Share of hidden units left out in each step.
    weight_decay : float, default=0.01
        Of AdamW.
    learning_rate : float, default=0.0005
        Of AdamW.
    batch_size : int, optional
        Rows per step; if not given, so that an epoch has about 32 steps (32 to 1,024 rows).
    epochs : int, default=100
        At most.
    patience : int, default=10
        Epochs without a better held-out loss before training stops; 0 trains all epochs on all
        rows.
    validation_fraction : float, default=0.15
        Share of players held out to find the best epoch.
    hierarchy : bool or sequence of int, default=False
        Group ``0..G-1`` of each skill: every group has a shared layer of ``hidden // 2`` units
        between the trunk and its skills. ``fit-head`` turns True into the groups of the skills'
        names.
    class_weight : "balanced", mapping or sequence, optional
        Weight of each level.
    seed : int, default=0
        First weights and dropout. Batches and held-out players are the same for every seed, so
        that many seeds can be trained side by side (:func:`basket.heads.together.fit_many`).

    Attributes
    ----------
    best_epoch_ : int
        The epoch whose weights were kept; 0 is the start.
    layers_ : list of (ndarray, ndarray)
        Weights (in, out) and biases (out,) of each layer, float32.
    start_ : LinearStart
        What the network adds to, on standardised features.
    mean_, scale_ : ndarray, float32 or float64 as the features, (P,)
        Standardisation, fitted on the training rows (those of a given validation set are none);
        scale 0 drops a constant column.
    """

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        loss: str = "cumulative",
        start: str = "ridge",
        hidden: int = 256,
        depth: int = 1,
        dropout: float = 0.5,
        weight_decay: float = 0.01,
        learning_rate: float = 5e-4,
        batch_size: int | None = None,
        epochs: int = 100,
        patience: int = 10,
        validation_fraction: float = 0.15,
        hierarchy: bool | Sequence[int] = False,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_levels = n_levels
        self.loss = loss
        self.start = start
        self.hidden = hidden
        self.depth = depth
        self.dropout = dropout
        self.weight_decay = weight_decay
        self.learning_rate = learning_rate
        self.batch_size = batch_size
        self.epochs = epochs
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.hierarchy = hierarchy
        self.class_weight = class_weight
        self.seed = seed

    def _split_seed(self) -> int:
        return 0

    def _acted(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size_}

    def _own_parameters(self) -> frozenset[str]:
        return frozenset({"dropout", "weight_decay", "learning_rate", "seed"})

    def _fit(self, rows: TrainingRows) -> None:
        train_together([self], rows)

    @classmethod
    def _fit_many(cls, heads: Sequence[Self], rows: TrainingRows) -> None:
        at_once = max(1, _PACKED_UNITS // max(max(heads[0]._widths()[1:-1], default=1), 1))
        for start in range(0, len(heads), at_once):
            train_together(heads[start : start + at_once], rows)

    def _check_parameters(self) -> None:
        if self.loss not in LOSSES:
            raise UsageError(f"mlp knows the losses {', '.join(LOSSES)}, got {self.loss!r}")
        if self.start not in STARTS:
            raise UsageError(f"mlp starts at {' or '.join(STARTS)}, got {self.start!r}")
        check_range(self, "hidden", "epochs", "batch_size", at_least=1)
        check_range(self, "depth", at_least=0, at_most=_MAX_HIDDEN_LAYERS)
        check_range(self, "dropout", at_least=0, below=1)
        check_range(self, "learning_rate", above=0)
        check_range(self, "weight_decay", "patience", at_least=0)
        check_range(self, "validation_fraction", above=0, below=1)

    def _groups(self) -> tuple[int, ...] | None:
        """Group of each active skill, renumbered without holes; None without a hierarchy."""
        if self.hierarchy is False:
            return None
        if self.hierarchy is True or len(self.hierarchy) != self.n_skills_:
            raise UsageError(
                f"hierarchy needs the group of each of the {self.n_skills_} skills, got "
                f"{self.hierarchy!r}; fit-head knows the groups of BASKET's skills"
            )
        groups = np.asarray(self.hierarchy, dtype=np.int64)[self.active_]
        return tuple(np.unique(groups, return_inverse=True)[1].tolist())

    def _widths(self) -> tuple[int, ...]:
        """Inputs of each layer, then outputs."""
        width, n_active = self._shape("features", "active")
        groups = self._groups()
        shared = () if groups is None else ((max(groups) + 1) * max(1, self.hidden // 2),)
        outputs = n_active * self._outputs_per_skill()
        return (width, *(self.hidden,) * self.depth, *shared, outputs)

    def _outputs_per_skill(self) -> int:
        (cuts,) = self._shape("cuts")
        return {"cumulative": 1, "coral": 1, "corn": cuts}.get(self.loss, cuts + 1)

    def _standardise(self, X: Array) -> Float32:
        standard = X - self.mean_
        standard *= self.scale_
        return np.asarray(standard, dtype=np.float32)

    def _outputs(self, X: Array) -> Float:
        """Last layer before the link, float64, (n, n_active) or (n, n_active * K)."""
        blocks = []
        for start in range(0, max(len(X), 1), _PREDICT_ROWS):
            standard = self._standardise(X[start : start + _PREDICT_ROWS])
            begun = self.start_.outputs(standard, self.loss)
            # In double precision what is said of a row does not depend on its place in a product.
            values = standard.astype(np.float64)
            for index, (weight, bias) in enumerate(self.layers_):
                values = values @ weight.astype(np.float64) + bias
                if index < len(self.layers_) - 1:
                    np.maximum(values, 0.0, out=values)
            blocks.append(values + begun)
        return np.concatenate(blocks)

    def _latent(self, X: Array) -> Float:
        if self._outputs_per_skill() == 1 and self.loss != "corn":
            return self._outputs(X)
        return self._proba(X) @ np.arange(len(self.classes_), dtype=np.float64)

    def _proba(self, X: Array) -> Float:
        outputs = self._outputs(X)
        if self.loss in ("cumulative", "coral"):
            # CORAL's biases are ordered where training has converged; elsewhere they need not be.
            return link.probabilities(outputs, np.sort(self.thresholds_, axis=1))
        logits = outputs.reshape(len(X), len(self.active_), -1)
        if self.loss == "corn":
            return corn_probabilities(logits)
        odds = np.exp(logits - logits.max(axis=2, keepdims=True))
        return np.asarray(odds / odds.sum(axis=2, keepdims=True))

    def _state(self) -> HeadState:
        arrays: dict[str, Array] = {"mean": self.mean_, "scale": self.scale_}
        arrays |= {"start_slope": self.start_.slope, "start_thresholds": self.start_.thresholds}
        if self.thresholds_ is not None:
            arrays["thresholds"] = self.thresholds_
        for index, (weight, bias) in enumerate(self.layers_):
            arrays |= {f"weight_{index}": weight, f"bias_{index}": bias}
        return HeadState(values={"best_epoch": self.best_epoch_}, arrays=arrays)

    def _restore(self, state: HeadState) -> None:
        if self.loss not in LOSSES or not 0 <= self.depth <= _MAX_HIDDEN_LAYERS:
            raise ValueError(f"no such network: loss {self.loss!r}, depth {self.depth!r}")
        (width,), (n_active,) = self._shape("features"), self._shape("active")
        self.mean_ = checked(state.arrays, "mean", (width,))
        self.scale_ = checked(state.arrays, "scale", (width,))
        self.thresholds_ = None
        if self.loss in ("cumulative", "coral"):
            self.thresholds_ = checked(state.arrays, "thresholds", self._shape("active", "cuts"))
        self.start_ = LinearStart(
            checked(state.arrays, "start_slope", (width, n_active)),
            checked(state.arrays, "start_thresholds", self._shape("active", "cuts")),
        )
        widths = self._widths()
        self.layers_ = [
            (
                checked(state.arrays, f"weight_{index}", (rows, columns)),
                checked(state.arrays, f"bias_{index}", (columns,)),
            )
            for index, (rows, columns) in enumerate(pairwise(widths))
        ]
        self.best_epoch_ = int(state.values["best_epoch"])


def train_together(heads: Sequence[MlpHead], rows: TrainingRows) -> None:
    """Train networks of one shape, batch size and stopping rule on the same rows."""
    from basket.heads.mlp_pack import Knobs, Shape
    from basket.heads.mlp_training import train

    first = heads[0]
    rows = rows if first.patience else rows.learned()
    held = rows.held_out(first.validation_fraction) & (first.patience > 0)
    n_learned = int((~held).sum())
    shape = Shape(
        loss=first.loss,
        widths=first._widths(),
        batch_size=first.batch_size or min(max(n_learned // 32, 32), 1024),
        epochs=first.epochs,
        patience=first.patience or first.epochs,
        group_of_skill=first._groups(),
    )
    learned = rows.weights if rows.given is None else rows.weights * ~rows.given
    mean, scale = _standardisation(rows.X, learned)
    for head in heads:
        head.mean_, head.scale_ = mean, scale
    knobs = [Knobs(h.dropout, h.weight_decay, h.learning_rate, h.seed) for h in heads]
    X = first._standardise(rows.X)
    start = LinearStart.prior(X.shape[1], rows)
    if first.start == "ridge":
        start = LinearStart.ridge(X[~held] if held.any() else X, rows, ~held)
    trained = train(shape, knobs, X, rows, held, start=start)
    for head, result in zip(heads, trained, strict=True):
        head.layers_, head.thresholds_ = result.layers, result.thresholds
        head.start_, head.best_epoch_ = start, result.best_epoch
        head.batch_size_ = shape.batch_size


def _standardisation(X: Array, weights: Float) -> tuple[Array, Array]:
    """Weighted mean and inverse standard deviation per column; 0 for constant columns."""
    total = weights.sum()
    mean = np.zeros(X.shape[1])
    square = np.zeros(X.shape[1])
    blocks = range(0, len(X), _PREDICT_ROWS)
    for start in blocks:
        part = slice(start, start + _PREDICT_ROWS)
        mean += weights[part] @ X[part].astype(np.float64)
    mean /= total
    for start in blocks:
        part = slice(start, start + _PREDICT_ROWS)
        square += weights[part] @ (X[part] - mean) ** 2
    return standardisation(mean, square / total, X.dtype)
