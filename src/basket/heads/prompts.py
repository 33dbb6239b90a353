"""The zero-shot baseline: levels from text scores alone; labels say only how frequent each is.

X-CLIP's stream ``prompts`` scores every segment against phrases of playing a skill well and badly
(:mod:`basket.dataset.prompts`). The score of a skill is the mean of its good phrases minus the mean
of its bad ones. Labels say only how often each level occurs; which player is the better one, the
text decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from basket.dataset.skills import skill_named
from basket.errors import UsageError
from basket.heads.base import SkillHead
from basket.heads.linear import linear_scores
from basket.heads.parameters import check_range
from basket.heads.pooling import parse_poolings
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

STREAM = "prompts"

_BISECTIONS = 80  # of an interval of some 40 logits: far past the last digit


class PromptsHead(SkillHead):
    """Good phrases minus bad ones, with thresholds at the frequencies of the levels.

    Parameters
    ----------
    n_levels : int, optional
        K.
    columns : sequence of str, optional
        Name of each feature: ``<skill>:<good or bad>:<position>`` for the mean text score of a
        phrase, anything else for what is not looked at. ``fit-head`` fills it in. Without it, every
        feature counts as a good phrase of every skill.
    skills : sequence of str, optional
        Name of each skill; ``fit-head`` fills it in. A skill without phrases answers with its
        prior.
    strength : float, default=1.0
        Logits per standard deviation of a score: how much the text is trusted. No label can tell,
        as none is learned from.

    Attributes
    ----------
    coef_ : ndarray, float64, (P, n_active)
    intercept_ : ndarray, float64, (n_active,)
    thresholds_ : ndarray, float64, (n_active, K-1)
        Of the cumulative logit.

    Examples
    --------
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> head = PromptsHead(n_levels=2, columns=["Steals:good:0"], skills=["Steals"], strength=9.0)
    >>> head.fit(X, np.repeat([[0], [1]], 25, axis=0)).predict([[-0.8], [0.8]]).tolist()
    [[0], [1]]
    """

    #: It learns from no label which row is the better one.
    poor_score = True

    def __init__(
        self,
        *,
        n_levels: int | None = None,
        columns: Sequence[str] | None = None,
        skills: Sequence[str] | None = None,
        strength: float = 1.0,
    ) -> None:
        self.n_levels = n_levels
        self.columns = columns
        self.skills = skills
        self.strength = strength

    def _fit(self, rows: TrainingRows) -> None:
        rows = rows.learned()
        share = rows.weights / rows.weights.sum()
        X = np.asarray(rows.X, dtype=np.float64)
        mean = share @ X
        spread = np.sqrt(share @ (X - mean) ** 2)
        varies = spread > 1e-12 * np.maximum(np.abs(mean), 1e-300)
        # Some phrases fit any clip of basketball: each is counted in its own deviations.
        signs = (
            self._signs(X.shape[1]) * np.where(varies, 1 / np.where(varies, spread, 1), 0)[:, None]
        )
        scores = (X - mean) @ signs
        size = np.sqrt(share @ scores**2)
        self.coef_ = signs * np.where(size > 0, self.strength / np.where(size > 0, size, 1), 0)
        self.intercept_ = -(mean @ self.coef_)
        latent = X @ self.coef_ + self.intercept_
        self.thresholds_ = np.stack(
            [
                _matching_thresholds(
                    latent[:, skill], rows.levels[:, skill], rows.weights_of(skill), rows.n_levels
                )
                for skill in range(rows.n_skills)
            ]
        )

    def _check_parameters(self) -> None:
        check_range(self, "strength", above=0)

    def _signs(self, width: int) -> Float:
        """Weight of each feature in each active skill's score, (P, n_active)."""
        if self.columns is None:
            return np.full((width, len(self.active_)), 1.0 / width)
        if len(self.columns) != width or self.skills is None:
            raise UsageError(
                f"prompts needs the names of its {width} features and of the skills, got "
                f"{len(self.columns)} and {'none' if self.skills is None else len(self.skills)}"
            )
        if len(self.skills) != self.n_skills_:
            raise UsageError(f"prompts got {len(self.skills)} names for {self.n_skills_} skills")
        parts = [name.rsplit(":", 2) for name in self.columns]
        signs = np.zeros((width, len(self.active_)))
        for position, skill in enumerate(self.skills[index] for index in self.active_.tolist()):
            for side, sign in (("good", 1.0), ("bad", -1.0)):
                mine = [row for row, part in enumerate(parts) if part[:2] == [skill, side]]
                signs[mine, position] = sign / max(len(mine), 1)
            # A label that is high where play is bad falls with the score of good play.
            if not skill_named(skill).high_is_good:
                signs[:, position] *= -1
        if not signs.any():
            raise UsageError(
                "none of the features is a mean text score of these skills; --head prompts needs "
                "the stream prompts of an X-CLIP feature set: --features xclip:prompts --pool mean"
            )
        return signs

    def _latent(self, X: Array) -> Float:
        return linear_scores(X, self.coef_, self.intercept_)

    def _arrays(self) -> dict[str, tuple[int, ...]]:
        return {
            "coef": self._shape("features", "active"),
            "intercept": self._shape("active"),
            "thresholds": self._shape("active", "cuts"),
        }


def names_of_features(feature_sets: Sequence[Mapping[str, Any]], pooling: str) -> list[str]:
    """Name of each column of X that is the mean score of a phrase; empty for all others.

    Parameters
    ----------
    feature_sets : sequence of mapping
        ``stream`` and ``spec`` of each source, in column order.
    pooling : str
        How they were pooled.
    """
    names: list[str] = []
    poolings = parse_poolings(pooling, len(feature_sets))
    for source, parsed in zip(feature_sets, poolings, strict=True):
        spec, stream = source["spec"], source["stream"]
        dim = int(spec.streams[stream])
        known = list(spec.columns.get(stream, ())) if stream.partition("@")[0] == STREAM else []
        for term in parsed.terms:
            means = term.family == "mean" and len(known) == dim
            names += known if means else [""] * (dim * term.repeats)
    return names


def _matching_thresholds(
    latent: Float, levels: npt.NDArray[np.int64], weights: Float, n_levels: int
) -> Float:
    """Thresholds (K-1,) at which the mean probability of each level is its frequency."""
    counts = np.array([weights[levels == level].sum() for level in range(n_levels)])
    # A level that never occurs keeps a sliver, so that thresholds stay finite.
    counts += 1e-3 * counts.sum() / n_levels
    wanted = np.cumsum(counts)[:-1] / counts.sum()
    known = weights > 0
    share, scores = weights[known] / weights[known].sum(), latent[known]
    low = np.full(n_levels - 1, scores.min() - 20.0)
    high = np.full(n_levels - 1, scores.max() + 20.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        below = share @ expit(middle[None, :] - scores[:, None])
        low, high = np.where(below < wanted, middle, low), np.where(below < wanted, high, middle)
    return np.asarray((low + high) / 2)
