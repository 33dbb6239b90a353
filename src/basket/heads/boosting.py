"""Growing the boosters of several skills side by side on one binned data set.

Skills grow in step, ten rounds at a time, so that each can borrow from the others when the number
of rounds is chosen: a skill's own held-out loss on a few dozen players is mostly noise.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp, softmax

from basket.heads import link
from basket.heads.booster_text import trees_only
from basket.heads.folds import first_best
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float = npt.NDArray[np.float64]

#: Rounds between two fits of the thresholds, and between two looks at the held-out loss.
STEP = 10

#: A skill's held-out loss counts as many players as it has; the mean over skills counts as many as
#: this.
_BORROWED_PLAYERS = 200


@dataclass(frozen=True)
class Recipe:
    """LightGBM parameters and stopping rule."""

    params: dict[str, Any]
    rounds: int
    patience: int
    validation_fraction: float
    softmax: bool = False
    threads: int = 1


@dataclass(frozen=True)
class Grown:
    """One skill: the model text (empty: no tree helped) and offsets.

    Offsets are the K-1 thresholds, or K log frequencies with the softmax.
    """

    text: str
    thresholds: Float


class Bins:
    """Binned features of some rows, made when they are first needed.

    Boosters that grow in different ways share one: what they share then are ``bins``, the rows,
    and which of them are held out.
    """

    def __init__(self) -> None:
        self._data: lightgbm.Dataset | None = None

    def of(self, X: Array, params: dict[str, Any]) -> lightgbm.Dataset:
        """The data set of these rows (n, P)."""
        if self._data is None:
            self._data = _bin(X, params)
        return self._data


def grow(recipe: Recipe, rows: TrainingRows, bins: Bins | None = None) -> list[Grown]:
    """Grow one booster per skill of ``rows``, which must have all its labels.

    Parameters
    ----------
    recipe : Recipe
    rows : TrainingRows
    bins : Bins, optional
        Of an earlier call with the same rows, number of bins and held-out share.
    """
    rows = rows if recipe.patience else rows.learned()
    held = rows.held_out(recipe.validation_fraction) & (recipe.patience > 0)
    learned = rows.X[~held]
    if len(learned) < 2 * recipe.params["min_data_in_leaf"] or (learned == learned[:1]).all():
        # No split is possible, and LightGBM fails where a bag of rows comes out empty or no column
        # varies.
        return [_no_trees(recipe, rows, skill) for skill in range(rows.n_skills)]
    params = {**recipe.params, "num_threads": recipe.threads}
    data = (bins or Bins()).of(learned, params)
    kind = _SoftmaxSkill if recipe.softmax else _Skill
    # Boosters side by side scale with the cores; threads within one wait for each other at every
    # leaf.
    jobs = min(recipe.threads, rows.n_skills)
    params = {**recipe.params, "num_threads": recipe.threads // jobs}
    skills = [kind(data, params, rows, held, skill) for skill in range(rows.n_skills)]
    with ThreadPoolExecutor(jobs, initializer=_hush) as pool:
        if not held.any():
            list(pool.map(lambda skill: skill.grow_all(recipe.rounds), skills))
            return [skill.result(skill.rounds) for skill in skills]
        best = _grow_in_step(recipe, skills, pool, n_held=int(held.sum()))
    return [skill.result(rounds) for skill, rounds in zip(skills, best, strict=True)]


def _no_trees(recipe: Recipe, rows: TrainingRows, skill: int) -> Grown:
    kind = _SoftmaxSkill if recipe.softmax else _Skill
    rows = rows.learned()
    return Grown("", kind.start(rows.levels[:, skill], rows.weights_of(skill), rows.n_levels))


def _grow_in_step(
    recipe: Recipe, skills: list[_Skill], pool: ThreadPoolExecutor, *, n_held: int
) -> list[int]:
    """Grow until no skill improves; returns the best number of rounds of each skill."""
    losses = [np.array([skill.held_out_loss() for skill in skills])]
    growing = np.ones(len(skills), dtype=bool)
    patience = max(1, recipe.patience // STEP)
    for _ in range(-(-recipe.rounds // STEP)):
        chosen = np.flatnonzero(growing)
        growing[chosen] = list(
            pool.map(lambda skill: skill.grow(recipe.rounds), [skills[i] for i in chosen])
        )
        losses.append(np.array([skill.held_out_loss() for skill in skills]))
        best = first_best(_shared(np.array(losses), n_held))
        growing &= len(losses) - 1 - best < patience
        if not growing.any():
            break
    return [int(min(step * STEP, recipe.rounds)) for step in best]


def _shared(losses: Float, n_held: int) -> Float:
    """Held-out losses (steps, n_skills), each drawn towards the mean over the skills."""
    gained = losses - losses[0]
    mean = gained.mean(axis=1, keepdims=True)
    return np.asarray((n_held * gained + _BORROWED_PLAYERS * mean) / (n_held + _BORROWED_PLAYERS))


def _bin(X: Array, params: dict[str, Any]) -> lightgbm.Dataset:
    # LightGBM insists on a label; the objective brings the real ones.
    unused = np.zeros(len(X), dtype=np.float32)
    return lightgbm.Dataset(X, label=unused, params=params, free_raw_data=True).construct()


def _hush() -> None:
    # LightGBM remembers its verbosity per thread, and forgets to ask the booster.
    unused = np.zeros((4, 1))
    lightgbm.Dataset(unused, label=unused[:, 0], params={"verbosity": -1}).construct()


class _Skill:
    """One booster in the making."""

    def __init__(
        self,
        data: lightgbm.Dataset,
        params: dict[str, Any],
        rows: TrainingRows,
        held: npt.NDArray[np.bool_],
        skill: int,
    ) -> None:
        self.n_levels = rows.n_levels
        self.threads = int(params["num_threads"])
        self.booster = lightgbm.Booster({**params, **self.outputs(rows.n_levels)}, data)
        weights = rows.weights_of(skill)
        self.levels, self.weights = rows.levels[~held, skill], weights[~held]
        self.held_X, self.held_levels = rows.X[held], rows.levels[held, skill]
        self.held_weights = weights[held]
        self.held_latent: Any = 0.0
        self.history = [self.start(self.levels, self.weights, rows.n_levels)]

    @staticmethod
    def outputs(n_levels: int) -> dict[str, Any]:  # noqa: ARG004 - the softmax asks
        """LightGBM parameters that say how many scores a round gives."""
        return {}

    @staticmethod
    def start(levels: npt.NDArray[np.int64], weights: Float, n_levels: int) -> Float:
        """Offsets that say the frequencies where no tree has grown."""
        return link.marginal_thresholds(levels, weights, n_levels)

    @property
    def rounds(self) -> int:
        """Trees so far."""
        return int(self.booster.current_iteration())

    def grow(self, limit: int) -> bool:
        """Grow some trees, refit the thresholds; False if no tree could be split any more."""
        first = self.rounds
        finished = False
        while not finished and self.rounds < min(first + STEP, limit):
            finished = self.booster.update(fobj=self._objective)
        grown = self.rounds - first
        self.history.append(self._next_offsets())
        if grown and len(self.held_levels):
            self.held_latent = self.held_latent + self.booster.predict(
                self.held_X,
                start_iteration=first,
                num_iteration=grown,
                raw_score=True,
                # Predicting does not ask the booster, and would wake every core for a few rows.
                num_threads=self.threads,
            )
        return not finished

    def grow_all(self, limit: int) -> None:
        """Grow until the limit, or until no tree can be split any more."""
        while self.rounds < limit and self.grow(limit):
            pass

    def held_out_loss(self) -> float:
        """Mean negative log probability of the held-out labels."""
        total = self.held_weights.sum()
        return -float(self.held_weights @ self._held_log_p() / total) if total > 0 else 0.0

    def _held_log_p(self) -> Float:
        latent = np.broadcast_to(self.held_latent, self.held_levels.shape)
        return link.log_likelihood(latent, self.history[-1], self.held_levels)

    def _next_offsets(self) -> Float:
        latent, last = self._train_latent(), self.history[-1]
        return link.fit_thresholds(latent, self.levels, self.weights, self.n_levels, start=last)

    def result(self, rounds: int) -> Grown:
        """The first ``rounds`` trees, with the thresholds that were right for them."""
        thresholds = self.history[-(-min(rounds, self.rounds) // STEP)]
        if rounds == 0 or self.rounds == 0:
            return Grown("", self.history[0])
        return Grown(trees_only(self.booster.model_to_string(num_iteration=rounds)), thresholds)

    def _objective(self, latent: Float, _: lightgbm.Dataset) -> tuple[Float, Float]:
        gradient, hessian = link.gradient_hessian(latent, self.history[-1], self.levels)
        return gradient * self.weights, hessian * self.weights

    def _train_latent(self) -> Float:
        """LightGBM's own running scores: reading them costs a copy, predicting again a pass."""
        kept: list[Float] = []

        def keep(latent: Float, _: lightgbm.Dataset) -> tuple[str, float, bool]:
            kept.append(latent.copy())
            return "unused", 0.0, False

        self.booster.eval_train(keep)
        return kept[0]


class _SoftmaxSkill(_Skill):
    """K scores per round and a softmax: blind to the order of the levels."""

    @staticmethod
    def outputs(n_levels: int) -> dict[str, Any]:
        """K trees per round."""
        return {"num_class": n_levels}

    @staticmethod
    def start(levels: npt.NDArray[np.int64], weights: Float, n_levels: int) -> Float:
        """Log frequencies, (K,)."""
        below = link.marginal_thresholds(levels, weights, n_levels)
        return np.asarray(np.log(link.probabilities(np.zeros((1, 1)), below[None])[0, 0]))

    def _held_log_p(self) -> Float:
        scores = np.broadcast_to(
            self.held_latent + self.history[0], (len(self.held_levels), self.n_levels)
        )
        chosen = scores[np.arange(len(scores)), self.held_levels]
        return np.asarray(chosen - logsumexp(scores, axis=1))

    def _next_offsets(self) -> Float:
        return self.history[0]

    def _objective(self, latent: Float, _: lightgbm.Dataset) -> tuple[Float, Float]:
        p = softmax(latent.reshape(-1, self.n_levels) + self.history[0], axis=1)
        truth = self.levels[:, None] == np.arange(self.n_levels)
        # LightGBM's own Hessian for K classes: an upper bound that couples them.
        factor = self.n_levels / (self.n_levels - 1)
        weights = self.weights[:, None]
        return weights * (p - truth), weights * factor * p * (1 - p)
