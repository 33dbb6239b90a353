"""Score one fitted run on one test set: levels, baseline, intervals, and what was left out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from basket import metrics as formulas
from basket.dataset.skills import GROUPS, skill_named
from basket.evaluate import bootstrap
from basket.evaluate.all_metrics import (
    draws_for,
    farthest,
    point_scores,
    prior_answers,
    replicated_scores,
)
from basket.evaluate.answers import Answers, FittedRun, LabelledMatrix, answers_of
from basket.evaluate.baseline import prior_levels
from basket.evaluate.results import (
    Estimate,
    MetricScores,
    Reference,
    SliceScores,
    SplitScores,
    ThresholdCalibration,
    number,
    numbers,
)
from basket.evaluate.slices import Meta, slices_of
from basket.metrics import (
    CONFUSION_METRICS,
    LEVEL_METRICS,
    PROBABILITY_METRICS,
    IntArray,
    Scores,
    confusion_matrices,
    mean_over_skills,
    of_trained_skills,
)

__all__ = ["MetricScores", "SplitScores", "evaluate", "prior_levels"]


def evaluate(
    run: FittedRun,
    matrix: LabelledMatrix,
    *,
    split: str,
    train_level_counts: npt.ArrayLike,
    train_players: Collection[str] | None = None,
    answers: Answers | None = None,
    lost: IntArray | None = None,
    meta: Meta | None = None,
    references: Sequence[Reference] = (),
    n_replicates: int = bootstrap.N_REPLICATES,
    seed: int = 0,
) -> SplitScores:
    """Score a run on a test set, once, beside the prior-only baseline.

    Parameters
    ----------
    run : FittedRun
    matrix : LabelledMatrix
        Same skills in the same order as the run.
    split : str
        Name of the test set.
    train_level_counts : array_like, (n_skills, K)
        How often each level occurs among the training labels: all that the prior knows.
    train_players : collection of str, optional
        Player keys in training, to find leaks.
    answers : Answers, optional
        The run's answers on this matrix, where they were asked for already.
    lost : ndarray of int, (m, n_skills), optional
        True levels of the videos that were left out, for the worst case; see
        :func:`basket.evaluate.protocol.lost_levels`.
    meta : mapping, optional
        Columns to slice by; see :func:`basket.evaluate.slices.read_meta`.
    references : sequence of Reference
        Published scores on this test set.
    n_replicates : int
        Of the bootstrap.
    seed : int
        Of the bootstrap. Test sets with equal players get equal draws.

    Raises
    ------
    UsageError
        The test set's skills are not the run's.
    """
    given = answers or answers_of(run, matrix, split=split)
    skills, n_levels, truth = list(run.skills), run.n_levels, given.truth
    counts = np.asarray(train_level_counts, dtype=np.float64)
    if counts.shape != (len(skills), n_levels):
        raise ValueError(
            f"train_level_counts must have shape {(len(skills), n_levels)}, got {counts.shape}"
        )
    seen = np.isin(given.players, sorted(train_players or ()))
    given = replace(given, truth=of_trained_skills(truth, counts))
    lost_levels = np.zeros((0, len(skills)), dtype=np.int64) if lost is None else lost
    lost_levels = of_trained_skills(lost_levels, counts)
    return SplitScores(
        split=split,
        n_videos=len(truth),
        n_players=given.n_players,
        n_labels=tuple(int(n) for n in (truth >= 0).sum(0)),
        metrics=_all_metrics(
            given, counts, skills, lost_levels, n_replicates=n_replicates, seed=seed
        ),
        confusion=_as_tuples(confusion_matrices(truth, given.levels["accuracy"], n_levels)),
        left_out=dict(matrix.left_out),
        seen_players=(
            None if train_players is None else tuple(sorted(set(given.players[seen].tolist())))
        ),
        n_seen_videos=int(seen.sum()),
        calibration=_calibration(given),
        slices=tuple(
            _slice_scores(
                given.rows(part.rows),
                counts,
                part.column,
                part.value,
                n_replicates=n_replicates,
                seed=seed,
            )
            for part in slices_of(given.ids, meta=meta)
        ),
        references=tuple(references),
    )


def _all_metrics(
    answers: Answers,
    counts: npt.NDArray[np.float64],
    skills: Sequence[str],
    lost: IntArray,
    *,
    n_replicates: int,
    seed: int,
) -> dict[str, MetricScores]:
    points = point_scores(answers)
    priors = point_scores(prior_answers(answers, counts))
    draws = draws_for(answers, n_replicates=n_replicates, seed=seed)
    replicates = {} if draws is None else replicated_scores(answers, draws)
    of_group = [skill_named(skill).group for skill in skills]
    n_players = answers.n_players
    found = {}
    for name in (*LEVEL_METRICS, *PROBABILITY_METRICS):
        drawn = replicates.get(name)
        groups = {
            str(group): _estimate(
                points[name], priors[name], drawn, [g == group for g in of_group], n_players
            )
            for group in GROUPS
            if group in of_group
        }
        whole = _estimate(points[name], priors[name], drawn, [True] * len(skills), n_players)
        worst = _worst(answers, lost, name)
        found[name] = MetricScores(
            mean=whole.value,
            interval=whole.interval,
            per_skill=numbers(points[name]),
            skill_intervals=tuple(
                None if drawn is None else bootstrap.percentile_interval(drawn[:, skill], n_players)
                for skill in range(len(skills))
            ),
            prior_mean=whole.prior,
            prior_per_skill=numbers(priors[name]),
            rule=answers.rules.get(name, ""),
            worst_mean=number(mean_over_skills(worst)),
            worst_per_skill=numbers(worst),
            groups=groups,
        )
    return found


def _estimate(
    point: Scores,
    prior: Scores,
    replicates: Scores | None,
    some: Sequence[bool],
    n_players: int,
) -> Estimate:
    """Mean over some skills, with its interval and the prior's mean."""
    mask = np.array(some, dtype=bool)
    interval = (
        None
        if replicates is None
        else bootstrap.percentile_interval(
            bootstrap.mean_per_replicate(replicates[:, mask]), n_players
        )
    )
    return Estimate(
        number(mean_over_skills(point[mask])), interval, number(mean_over_skills(prior[mask]))
    )


def _worst(answers: Answers, lost: IntArray, metric: str) -> Scores:
    """The score if every lost video had been answered with the farthest level, ``(n_skills,)``."""
    if metric not in LEVEL_METRICS or not (lost >= 0).any():
        return np.full(answers.truth.shape[1], np.nan)
    n_levels = answers.n_levels
    confusion = confusion_matrices(answers.truth, answers.levels[metric], n_levels)
    return LEVEL_METRICS[metric](
        confusion + confusion_matrices(lost, farthest(lost, n_levels), n_levels)
    )


def _calibration(answers: Answers) -> tuple[ThresholdCalibration, ...]:
    if not len(answers.truth):
        return ()
    sums = formulas.calibration_sums(answers.truth, answers.proba)
    errors = formulas.calibration_errors(sums)
    return tuple(
        ThresholdCalibration(
            threshold,
            number(mean_over_skills(errors[:, threshold])),
            tuple(
                (float(promised / count), float(happened / count), int(count))
                for count, promised, happened in bins
                if count
            ),
        )
        for threshold, bins in enumerate(sums.sum(axis=0))
    )


def _slice_scores(
    answers: Answers,
    counts: npt.NDArray[np.float64],
    column: str,
    value: str,
    *,
    n_replicates: int,
    seed: int,
) -> SliceScores:
    draws = draws_for(answers, n_replicates=n_replicates, seed=seed)
    levels = {name: answers.levels[name] for name in CONFUSION_METRICS}
    replicates = (
        {}
        if draws is None
        else bootstrap.replicate_level_metrics(
            answers.truth, levels, draws, players=answers.players, n_levels=answers.n_levels
        )
    )
    everything = [True] * answers.truth.shape[1]
    found = {}
    for name, predicted in levels.items():
        constant = np.broadcast_to(prior_levels(counts, metric=name), predicted.shape)
        point, prior = (
            CONFUSION_METRICS[name](confusion_matrices(answers.truth, some, answers.n_levels))
            for some in (predicted, constant)
        )
        found[name] = _estimate(point, prior, replicates.get(name), everything, answers.n_players)
    return SliceScores(column, value, len(answers.truth), answers.n_players, found)


def _as_tuples(confusion: npt.NDArray[np.float64]) -> tuple[tuple[tuple[int, ...], ...], ...]:
    return tuple(
        tuple(tuple(int(count) for count in row) for row in matrix) for matrix in confusion
    )
