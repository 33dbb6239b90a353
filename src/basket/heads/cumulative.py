"""Linear ordinal models by maximum likelihood: cumulative links, linear CORAL, linear CORN.

All skills, penalties and folds are solved side by side (:mod:`basket.heads.linear_fit`). The
penalty of each skill has the smallest loss on players it was not fitted on. How far leading
directions are trusted (:mod:`basket.heads.powers`) is chosen before that, by the closed form of
ridge: which directions speak of a skill hardly depends on the loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.heads import folds as fold_rules
from basket.heads.base import SkillHead
from basket.heads.corn import at_or_above, corn_probabilities
from basket.heads.folds import first_best
from basket.heads.linear import linear_scores
from basket.heads.linear_fit import Problems, RotatedRows, Rotation, search
from basket.heads.links import LINKS
from basket.heads.parameters import check_range
from basket.heads.partial import fit_partial, offsets_of, rising
from basket.heads.powers import best_powers, candidate_powers
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

LOSSES = ("cumulative", "coral", "corn")

#: Default penalties, in units of the total weight: from nearly the prior to almost nothing. With
#: steps of 4.6 instead of 2.5 the best penalty can fall between two candidates, at a visible loss.
RELATIVE_PENALTIES = np.logspace(2.5, -3.5, 16)

#: Leading directions in which gaps between thresholds may depend on the features.
_PARTIAL_DIRECTIONS = 32


class CumulativeHead(SkillHead):
    r"""Ordinal regression with linear scores.

    Parameters
    ----------
    n_levels : int, optional
        K.
    loss : {"cumulative", "coral", "corn"}, default="cumulative"
        ``cumulative``: the likelihood of a cumulative link (proportional odds with ``logit``).
        ``coral``: the sum of the K-1 binary log losses with a shared slope, which is
        ``mord.LogisticAT``. ``corn``: K-1 logistic regressions, the k-th on rows at or above k.
    link : {"logit", "probit", "cloglog"}, default="logit"
        Of the cumulative loss.
    penalties : float or sequence of float, optional
        Candidates for the weight of half the squared coefficients (mord's ``alpha``; 0 is
        allowed); 16 values around the total sample weight if not given.
    powers : float or sequence of float, optional
        Candidates for how much leading directions are trusted; 1 penalises all coefficients alike.
        1, 2 and 4 if not given; 1 alone where penalties are given.
    partial : bool, default=False
        Let the gaps between thresholds depend on the features (cumulative loss only).
    standardize : bool, default=True
        Penalise coefficients of features scaled to unit variance.
    folds : int, default=5
        Player-grouped folds for choosing penalty and power.
    class_weight : "balanced", mapping or sequence, optional
        Weight of each level.
    tolerance : float, default=1e-12
        Of the final fit, in nats per row.
    seed : int, default=0
        Deals the players out to the folds.

    Attributes
    ----------
    penalties_, powers_ : ndarray, float64, (n_active,)
        The chosen penalties and powers.
    losses_ : ndarray, float64, (n_penalties, n_active)
        Held-out loss of each candidate, summed over rows.
    coef_ : ndarray, float64, (P, n_active), or (P, n_active * (K-1)) with corn
        Change of the score per unit of a feature.
    intercept_ : ndarray, float64
        Added to the scores.
    thresholds_ : ndarray, float64, (n_active, K-1)
        Of the link; 0 with corn, whose cuts are in the intercepts.

    Notes
    -----
    Every objective is convex, so the fit does not depend on where it starts. Sources: McCullagh
    (1980); Rennie & Srebro (2005) and Cao et al. (2020, CORAL); Shi et al. (2021, CORN).

    Examples
    --------
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> levels = (X > -0.3).astype(int) + (X > 0.4)
    >>> CumulativeHead(n_levels=3).fit(X, levels).predict([[-0.9], [0.9]]).tolist()
    [[0], [2]]
    """

    poor_score = True

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        loss: str = "cumulative",
        link: str = "logit",
        penalties: float | Sequence[float] | None = None,
        powers: float | Sequence[float] | None = None,
        partial: bool = False,
        standardize: bool = True,
        folds: int = 5,
        class_weight: str | Mapping[Any, float] | Sequence[float] | None = None,
        tolerance: float = 1e-12,
        seed: int = 0,
    ) -> None:
        self.n_levels = n_levels
        self.loss = loss
        self.link = link
        self.penalties = penalties
        self.powers = powers
        self.partial = partial
        self.standardize = standardize
        self.folds = folds
        self.class_weight = class_weight
        self.tolerance = tolerance
        self.seed = seed

    def _split_seed(self) -> int:
        # With one penalty there is nothing to choose, and no fold is dealt.
        return self.seed if self._chooses() else 0

    def _acted(self) -> dict[str, Any]:
        return {"penalties": self.penalties_.tolist(), "powers": self.powers_.tolist()}

    def _own_parameters(self) -> frozenset[str]:
        # Heads that are fitted together share their powers, which given penalties decide.
        own = frozenset({"tolerance"} if self.penalties is None else {"penalties", "tolerance"})
        return own if self._chooses() else own | {"seed"}

    def _chooses(self) -> bool:
        sizes = [np.size(each) for each in (self.penalties, self.powers) if each is not None]
        return self.penalties is None or max(sizes) > 1

    def _fit(self, rows: TrainingRows) -> None:
        self._fit_many([self], rows)

    @classmethod
    def _fit_many(cls, heads: Sequence[Self], rows: TrainingRows) -> None:
        """Rotate the features once; heads of one penalty each are a path, from strong to weak."""
        weight = float(rows.learned().weights.sum())
        for head in heads:
            head._make_room(rows)
        path = sorted(heads, key=lambda head: -float(head._candidates(weight).max()))
        for skills, part in rows.by_missingness():
            rotated = RotatedRows(part, standardize=path[0].standardize)
            powers = path[0]._choose_powers(rotated.learned)
            rotated.costs = rotated.rotation.costs(powers)
            problems = path[0]._problems(
                rotated, rotated.learned, rotated.exact, rotated.learned.cells
            )
            last = problems.start
            for head in path:
                head.powers_[skills] = powers
                start = problems.start if head._chooses() else last
                last = head._fit_part(skills, rotated, problems, start)
        for head in heads:
            head._flatten()

    def _make_room(self, rows: TrainingRows) -> None:
        width, per_skill = rows.X.shape[1], self._scores_per_skill(rows.n_levels)
        self.coef_: Float = np.zeros((width, rows.n_skills, per_skill))
        self.intercept_: Float = np.zeros((rows.n_skills, per_skill))
        self.thresholds_ = np.zeros((rows.n_skills, rows.n_levels - 1))
        self.penalties_ = np.zeros(rows.n_skills)
        self.powers_ = np.zeros(rows.n_skills)
        self.losses_ = np.zeros((len(self._candidates(1.0)), rows.n_skills))
        self.gap_slopes_: Float = np.zeros((width, rows.n_skills, rows.n_levels - 2))
        self.gap_offsets_ = np.zeros((rows.n_skills, rows.n_levels - 2))

    def _flatten(self) -> None:
        self.coef_ = self.coef_.reshape(len(self.coef_), -1)
        self.intercept_ = self.intercept_.ravel()
        self.gap_slopes_ = self.gap_slopes_.reshape(len(self.gap_slopes_), -1)

    def _check_parameters(self) -> None:
        if self.loss not in LOSSES or self.link not in LINKS:
            raise UsageError(
                f"cumulative knows the losses {', '.join(LOSSES)} and the links "
                f"{', '.join(LINKS)}, got {self.loss!r} and {self.link!r}"
            )
        if self.loss != "cumulative" and (self.link != "logit" or self.partial):
            raise UsageError(f"loss={self.loss!r} has the logit link and no partial slopes")
        if self.folds < 2:
            raise UsageError(f"cumulative needs at least 2 folds, got folds={self.folds}")
        check_range(self, "tolerance", above=0)
        candidate_powers(self.powers, self.penalties)
        self._candidates(1.0)

    def _choose_powers(self, learned: TrainingRows) -> Float:
        powers = candidate_powers(self.powers, self.penalties)
        return best_powers(learned, powers, self.folds, standardize=self.standardize)

    def _scores_per_skill(self, n_levels: int) -> int:
        return n_levels - 1 if self.loss == "corn" else 1

    def _fit_part(
        self, skills: npt.NDArray[np.int64], rotated: RotatedRows, problems: Problems, start: Float
    ) -> Float:
        """Fit skills that share their rows, beginning at ``start``; returns the parameters."""
        part, learned = rotated.part, rotated.learned
        penalties = self._candidates(float(learned.weights.sum()))
        if len(penalties) > 1:
            self.losses_[:, skills] = self._search(rotated, penalties)
        chosen = penalties[first_best(self.losses_[:, skills])]
        self.penalties_[skills] = chosen
        each = np.repeat(chosen, self._scores_per_skill(part.n_levels))
        parameters = problems.solve(each, start, tolerance=self.tolerance)
        self._keep(skills, rotated.rotation, problems, parameters)
        if self.partial and part.n_levels > 2:
            self._fit_gaps(skills, learned, rotated.rotation, rotated.exact)
        return parameters

    def _search(self, rotated: RotatedRows, penalties: Float) -> Float:
        """Held-out loss (n_penalties, n_skills) on player-grouped folds or the given rows."""
        part = rotated.part
        held, cells = self._held_masks(part), part.cells
        per_skill = self._scores_per_skill(part.n_levels)
        fitted = np.concatenate([cells * ~mask[:, None] for mask in held], axis=1)
        judged = np.concatenate([cells * mask[:, None] for mask in held], axis=1)
        problems = self._problems(rotated, part, rotated.rough, fitted)
        if self.loss == "corn":
            judged = at_or_above(part.levels, judged, part.n_levels)
        found = search(problems, list(judged.T), penalties)
        each = found.reshape(len(penalties), len(held), part.n_skills, per_skill)
        return np.asarray(each.sum(axis=(1, 3)))

    def _held_masks(self, part: TrainingRows) -> list[npt.NDArray[np.bool_]]:
        if part.given is not None:
            return [part.given]
        fold = fold_rules.folds_of(part.keys, self.folds)
        n_folds = int(fold.max()) + 1
        # With a single player there is nothing to judge by: every penalty has loss 0.
        return [
            fold == index if n_folds > 1 else np.zeros(len(fold), bool) for index in range(n_folds)
        ]

    def _problems(
        self, rotated: RotatedRows, part: TrainingRows, Z: Array, weights: Float
    ) -> Problems:
        """One problem per column of ``weights`` (skills within folds), K-1 each with corn."""
        repeats = weights.shape[1] // part.n_skills
        skill = np.tile(np.arange(part.n_skills), repeats)
        values, costs = rotated.rotation.values, rotated.costs[skill]
        link, coral = LINKS[self.link], self.loss == "coral"
        if self.loss != "corn":
            return Problems(
                Z, values, part.levels, weights, skill,
                n_levels=part.n_levels, link=link, costs=costs, coral=coral,
            )  # fmt: skip
        cuts = part.n_levels - 1
        above = (part.levels[:, :, None] > np.arange(cuts)).astype(np.int64)
        return Problems(
            Z,
            values,
            above.reshape(len(above), -1),
            at_or_above(part.levels, weights, part.n_levels),
            (skill[:, None] * cuts + np.arange(cuts)).ravel(),
            n_levels=2,
            link=link,
            costs=np.repeat(costs, cuts, axis=0),
        )

    def _keep(
        self, skills: npt.NDArray[np.int64], rotation: Rotation, problems: Problems, found: Float
    ) -> None:
        per_skill = len(problems.skill) // len(skills)
        coef = rotation.back(found[:, : len(rotation.values)])
        intercept = -(coef @ rotation.mean)
        cuts = problems.thresholds(found)
        if self.loss == "corn":
            intercept = intercept - cuts[:, 0]
        else:
            self.thresholds_[skills] = cuts
        self.coef_[:, skills] = coef.T.reshape(-1, len(skills), per_skill)
        self.intercept_[skills] = intercept.reshape(len(skills), per_skill)

    def _fit_gaps(
        self, skills: npt.NDArray[np.int64], part: TrainingRows, rotation: Rotation, Z: Float
    ) -> None:
        self.gap_offsets_[skills] = offsets_of(self.thresholds_[skills])
        leading = np.argsort(-rotation.values)[:_PARTIAL_DIRECTIONS]
        spread = np.sqrt(rotation.values[leading])
        standard = Z[:, leading] / spread
        back = rotation.back(np.eye(len(rotation.values))[leading]) / spread[:, None]
        for column, skill in enumerate(skills):
            weights, cuts = part.weights_of(column), self.thresholds_[skill]
            occur, levels = np.unique(part.levels[:, column][weights > 0], return_inverse=True)
            if len(occur) < 3:
                continue
            base = part.X.astype(np.float64) @ self.coef_[:, skill, 0] + self.intercept_[skill, 0]
            correction, first, offsets, slopes = fit_partial(
                standard[weights > 0],
                levels,
                weights[weights > 0],
                base=base[weights > 0],
                thresholds=cuts[occur[:-1]],
                penalty=float(self.penalties_[skill]),
                link=LINKS[self.link],
            )
            more = correction @ back
            self.coef_[:, skill, 0] += more
            self.intercept_[skill] -= more @ rotation.mean
            gap_slopes = back.T @ slopes
            # Gaps at levels that do not occur depend on no feature.
            self.thresholds_[skill] = cuts + (first - cuts[occur[0]])
            self.gap_slopes_[:, skill, occur[1:-1] - 1] = gap_slopes
            self.gap_offsets_[skill, occur[1:-1] - 1] = offsets - rotation.mean @ gap_slopes

    def _candidates(self, total_weight: float) -> Float:
        # From strong to weak: of equal losses, the first is the most cautious.
        if self.penalties is None:
            return RELATIVE_PENALTIES * total_weight
        penalties = np.sort(np.asarray(self.penalties, dtype=np.float64).ravel())[::-1]
        if not len(penalties) or not (penalties >= 0).all() or not np.isfinite(penalties).all():
            raise UsageError(f"penalties must be numbers >= 0, got {self.penalties!r}")
        return penalties

    def _scores(self, X: Array) -> Float:
        return linear_scores(X, self.coef_, self.intercept_)

    def _latent(self, X: Array) -> Float:
        if self.loss != "corn":
            return self._scores(X)
        return self._proba(X) @ np.arange(len(self.classes_), dtype=np.float64)

    def _proba(self, X: Array) -> Float:
        scores = self._scores(X)
        if self.loss == "corn":
            return corn_probabilities(scores.reshape(len(X), len(self.active_), -1))
        thresholds = self.thresholds_
        if self.partial and len(self.classes_) > 2:
            shape = (len(X), len(self.active_), len(self.classes_) - 2)
            raw = (X.astype(np.float64) @ self.gap_slopes_).reshape(shape) + self.gap_offsets_
            thresholds = rising(thresholds[:, 0], raw)
        return LINKS[self.link].probabilities(scores, thresholds)

    def _arrays(self) -> dict[str, tuple[int, ...]]:
        """What is stored, with its shape."""
        width, n_active, cuts = self._shape("features", "active", "cuts")
        scores = n_active * self._scores_per_skill(cuts + 1)
        arrays: dict[str, tuple[int, ...]] = {
            "coef": (width, scores),
            "intercept": (scores,),
            "thresholds": (n_active, cuts),
            "penalties": (n_active,),
            "powers": (n_active,),
        }
        if self.partial and cuts > 1:
            arrays |= {
                "gap_slopes": (width, n_active * (cuts - 1)),
                "gap_offsets": (n_active, cuts - 1),
            }
        return arrays
