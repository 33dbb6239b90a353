"""Gradient-boosted trees with the cumulative-link objective: one LightGBM booster per skill.

LightGBM knows no ordinal objective, so gradient and Hessian of the latent score are ours
(:mod:`basket.heads.link`) and so are the thresholds: they start at the marginal log-odds, where the
latent score 0 is the right first answer, and are refitted every few rounds. Features are binned
once for all skills that are labelled in the same rows. Labels never enter LightGBM: the objective
holds them, so nothing there can keep an old one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
from scipy.linalg import eigh
from scipy.special import expit, softmax

from basket.cores import usable_cores
from basket.errors import UsageError
from basket.heads.base import HeadState, SkillHead, checked
from basket.heads.booster_text import check_booster_text
from basket.heads.exceedance import level_probabilities
from basket.heads.parameters import check_range
from basket.heads.rows import TrainingRows

if TYPE_CHECKING:
    from basket.heads.boosting import Bins

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

OBJECTIVES = ("cumulative", "frank-hall", "multiclass")

_SMALL_CELLS = 2_000_000
#: LightGBM's own limit.
_MAX_LEAVES = 131_072
#: What the binning and the held-out players do not depend on.
_GROWTH = frozenset(
    {
        "objective", "rounds", "learning_rate", "leaves", "min_data_in_leaf", "feature_fraction",
        "row_fraction", "l2", "threads",
    }
)  # fmt: skip


class GbdtHead(SkillHead):
    """Boosted trees for ordered levels.

    Parameters
    ----------
    n_levels : int, optional
        K.
    objective : {"cumulative", "frank-hall", "multiclass"}, default="cumulative"
        ``cumulative``: one booster per skill on the latent score of a cumulative logit.
        ``frank-hall``: K-1 binary boosters "above level k?", repaired to be monotone.
        ``multiclass``: a softmax of K scores, blind to the order.
    pca : int, optional
        Turn the features into this many principal components first.
    rounds : int, default=300
        Trees per skill at most (per binary booster or score with the alternatives).
    learning_rate : float, default=0.05
        Step per tree.
    leaves : int, default=7
        Leaves per tree at most.
    min_data_in_leaf : int, optional
        Rows per leaf at least; a tenth of the training rows, 5 to 100, if not given.
    feature_fraction : float, optional
        Share of columns each tree may use; if not given, about 64 columns and at least a tenth:
        the columns of dense embeddings say much the same, and time falls with the share.
    row_fraction : float, default=0.8
        Share of rows each tree sees.
    l2 : float, default=1.0
        Penalty on leaf values.
    bins : int, default=63
        Bins per feature.
    patience : int, default=40
        Rounds without a better held-out loss before a skill stops; 0 grows all rounds on all rows.
    validation_fraction : float, default=0.2
        Share of players held out to find the number of rounds.
    threads : int, optional
        Threads of LightGBM: those this process may use (or ``OMP_NUM_THREADS``) if not given, one
        for small data. Never more: an oversubscribed LightGBM is ten times slower.
    class_weight : "balanced", mapping or sequence, optional
        Weight of each level.
    seed : int, default=0
        Columns, rows and the held-out players.

    Attributes
    ----------
    rounds_ : list of int
        Rounds kept per booster: n_active of them, or n_active * (K-1) with ``frank-hall``.
    thresholds_ : ndarray, float64, (n_active, K-1)
        Of the cumulative link; (n_active * (K-1), 1) with ``frank-hall``, and log frequencies
        (n_active, K) with ``multiclass``.

    Notes
    -----
    Frank & Hall (2001), A simple approach to ordinal classification; the repair is the isotonic
    regression of the K-1 answers.
    """

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        objective: str = "cumulative",
        pca: int | None = None,
        rounds: int = 300,
        learning_rate: float = 0.05,
        leaves: int = 7,
        min_data_in_leaf: int | None = None,
        feature_fraction: float | None = None,
        row_fraction: float = 0.8,
        l2: float = 1.0,
        bins: int = 63,
        patience: int = 40,
        validation_fraction: float = 0.2,
        threads: int | None = None,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        seed: int = 0,
    ) -> None:
        self.n_levels = n_levels
        self.objective = objective
        self.pca = pca
        self.rounds = rounds
        self.learning_rate = learning_rate
        self.leaves = leaves
        self.min_data_in_leaf = min_data_in_leaf
        self.feature_fraction = feature_fraction
        self.row_fraction = row_fraction
        self.l2 = l2
        self.bins = bins
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.threads = threads
        self.class_weight = class_weight
        self.seed = seed

    def _acted(self) -> dict[str, Any]:
        names = ("min_data_in_leaf", "feature_fraction", "threads")
        return {name: [acted[name] for _, acted in sorted(self.acted_.items())] for name in names}

    def _own_parameters(self) -> frozenset[str]:
        return _GROWTH

    def _fit(self, rows: TrainingRows) -> None:
        self._fit_many([self], rows)

    @classmethod
    def _fit_many(cls, heads: Sequence[Self], rows: TrainingRows) -> None:
        """Bin the features once for all heads; boosters themselves have nothing to share."""
        from basket.heads.boosting import Bins

        first = heads[0]
        if first.pca is not None:
            mean, components = principal_components(rows.learned(), first.pca)
            for head in heads:
                head.mean_, head.components_ = mean, components
            rows = replace(rows, X=first._reduced(rows.X))
        texts: list[dict[int, str]] = [{} for _ in heads]
        for head in heads:
            n_boosters = rows.n_skills * head._boosters_per_skill()
            head.thresholds_ = np.zeros((n_boosters, head._offsets_per_booster()))
            head.acted_ = {}
        for skills, part in rows.by_missingness():
            bins = Bins()
            for head, text in zip(heads, texts, strict=True):
                text |= head._grow(skills, part, bins)
        for head, text in zip(heads, texts, strict=True):
            head._set_boosters(text)

    def _grow(
        self, skills: npt.NDArray[np.int64], part: TrainingRows, bins: Bins
    ) -> dict[int, str]:
        """Boosters of skills that share their rows; sets their offsets."""
        from basket.heads.boosting import Recipe, grow

        recipe = Recipe(
            params=self._lightgbm_params(*_learned_shape(part)),
            rounds=self.rounds,
            patience=self.patience,
            validation_fraction=self.validation_fraction,
            softmax=self.objective == "multiclass",
            threads=self._threads(part.X.size),
        )
        if self.objective == "frank-hall":
            part = _questions(part)
        acted = {**recipe.params, "threads": recipe.threads}
        self.acted_ |= dict.fromkeys(skills.tolist(), acted)
        per_skill = self._boosters_per_skill()
        boosters = (skills[:, None] * per_skill + np.arange(per_skill)).ravel()
        grown: dict[int, str] = {}
        for booster, result in zip(boosters.tolist(), grow(recipe, part, bins), strict=True):
            self.thresholds_[booster] = result.thresholds
            grown[booster] = result.text
        return grown

    def _check_parameters(self) -> None:
        if self.objective not in OBJECTIVES:
            raise UsageError(
                f"gbdt knows the objectives {', '.join(OBJECTIVES)}, got {self.objective!r}"
            )
        if self.objective == "frank-hall" and self.class_weight is not None:
            raise UsageError("class_weight is for the objectives cumulative and multiclass")
        check_range(self, "rounds", "pca", "min_data_in_leaf", "threads", at_least=1)
        check_range(self, "leaves", at_least=2, at_most=_MAX_LEAVES)
        check_range(self, "bins", at_least=2)
        check_range(self, "learning_rate", above=0)
        check_range(self, "l2", "patience", at_least=0)
        check_range(self, "feature_fraction", "row_fraction", above=0, at_most=1)
        check_range(self, "validation_fraction", above=0, below=1)

    def _boosters_per_skill(self) -> int:
        return len(self.classes_) - 1 if self.objective == "frank-hall" else 1

    def _offsets_per_booster(self) -> int:
        cuts = len(self.classes_) - 1
        return {"cumulative": cuts, "frank-hall": 1, "multiclass": cuts + 1}[self.objective]

    def _reduced(self, X: Array) -> Array:
        if self.pca is None:
            return X
        return np.asarray((X - self.mean_) @ self.components_, dtype=np.float32)

    def _lightgbm_params(self, n_rows: int, n_columns: int) -> dict[str, Any]:
        fraction = self.feature_fraction or min(1.0, max(0.1, 64 / n_columns))
        smallest = self.min_data_in_leaf or min(max(n_rows // 10, 5), 100)
        return {
            "objective": "none",
            "verbosity": -1,
            "learning_rate": self.learning_rate,
            "num_leaves": self.leaves,
            "min_data_in_leaf": smallest,
            "feature_fraction": fraction,
            "bagging_fraction": self.row_fraction,
            "bagging_freq": 1 if self.row_fraction < 1 else 0,
            "lambda_l2": self.l2,
            "max_bin": self.bins,
            "seed": self.seed,
            "deterministic": True,
            "force_col_wise": True,
            # Filtering columns by min_data_in_leaf would happen once, when the data are binned.
            "feature_pre_filter": False,
        }

    def _threads(self, cells: int) -> int:
        if self.threads is not None:
            return min(self.threads, usable_cores())
        # Threads cost more than they give when a histogram takes microseconds.
        return 1 if cells < _SMALL_CELLS else _usable_threads()

    def _set_boosters(self, texts: dict[int, str]) -> None:
        """Keep the model texts, and boosters made from them: fitted and loaded are the same."""
        import lightgbm

        self.texts_ = texts
        self.boosters_ = {
            skill: lightgbm.Booster(model_str=text) for skill, text in texts.items() if text
        }
        self.rounds_ = [
            self.boosters_[index].current_iteration() if index in self.boosters_ else 0
            for index in range(len(self.active_) * self._boosters_per_skill())
        ]

    def _scores(self, X: Array) -> Float:
        """Raw scores of every booster, (n, n_boosters, scores per booster)."""
        X = self._reduced(X)
        n_scores = len(self.classes_) if self.objective == "multiclass" else 1
        out = np.zeros((len(X), len(self.rounds_), n_scores))
        threads = self._threads(X.size)
        for index, booster in self.boosters_.items():
            raw = booster.predict(X, raw_score=True, num_threads=threads)
            out[:, index] = raw.reshape(len(X), n_scores)
        return out

    def _latent(self, X: Array) -> Float:
        if self.objective == "cumulative":
            return self._scores(X)[:, :, 0]
        return self._proba(X) @ np.arange(len(self.classes_), dtype=np.float64)

    def _proba(self, X: Array) -> Float:
        if self.objective == "cumulative":
            return super()._proba(X)
        scores = self._scores(X)
        if self.objective == "multiclass":
            return np.asarray(softmax(scores + self.thresholds_, axis=2))
        above = expit(scores[:, :, 0] - self.thresholds_[:, 0])
        return level_probabilities(above.reshape(len(X), len(self.active_), -1))

    def _state(self) -> HeadState:
        arrays: dict[str, Array] = {"thresholds": self.thresholds_}
        if self.pca is not None:
            arrays |= {"mean": self.mean_, "components": self.components_}
        boosters = {index: text for index, text in self.texts_.items() if text}
        return HeadState(arrays=arrays, boosters=boosters)

    def _restore(self, state: HeadState) -> None:
        self._check_parameters()
        n_boosters = len(self.active_) * self._boosters_per_skill()
        self.thresholds_ = checked(
            state.arrays, "thresholds", (n_boosters, self._offsets_per_booster())
        )
        (width,) = self._shape("features")
        if self.pca is not None:
            self.mean_ = checked(state.arrays, "mean", (width,))
            columns = state.arrays["components"].shape[-1]
            self.components_ = checked(state.arrays, "components", (width, columns))
            width = columns
        if not set(state.boosters) <= set(range(n_boosters)):
            raise ValueError("it has boosters for skills that it did not learn")
        n_outputs = len(self.classes_) if self.objective == "multiclass" else 1
        for text in state.boosters.values():
            check_booster_text(text, n_features=width, n_outputs=n_outputs)
        self._set_boosters(state.boosters)


def principal_components(rows: TrainingRows, count: int) -> tuple[Array, npt.NDArray[np.float32]]:
    """Weighted mean (P,) and the leading eigenvectors (P, at most count) of the covariance."""
    share = rows.weights / rows.weights.sum()
    X = rows.X.astype(np.float64)
    mean = share @ X
    X -= mean
    X *= np.sqrt(share)[:, None]
    width = X.shape[1]
    _, vectors = eigh(X.T @ X, subset_by_index=[max(0, width - count), width - 1])
    # Signs are an eigensolver's whim; trees would not mind, but equal fits should look equal.
    vectors = (
        vectors[:, ::-1]
        * np.sign(vectors[np.abs(vectors).argmax(axis=0), range(vectors.shape[1])])[::-1]
    )
    return mean.astype(rows.X.dtype), np.ascontiguousarray(vectors, dtype=np.float32)


def _learned_shape(rows: TrainingRows) -> tuple[int, int]:
    n_given = 0 if rows.given is None else int(rows.given.sum())
    return len(rows.X) - n_given, rows.X.shape[1]


def _questions(rows: TrainingRows) -> TrainingRows:
    """Each skill as K-1 binary ones: does the level lie above k? All labels must be there."""
    cuts = np.arange(rows.n_levels - 1)
    above = (rows.levels[:, :, None] > cuts).astype(np.int64)
    return replace(rows, levels=above.reshape(len(above), -1), n_levels=2)


def _usable_threads() -> int:
    """CPUs this process may run on, or ``OMP_NUM_THREADS`` where that is smaller."""
    usable = usable_cores()
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(usable, int(wanted)) if wanted.isdigit() and int(wanted) else usable
