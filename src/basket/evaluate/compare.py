"""Paired comparison of runs on the same videos: differences, intervals, p-values, Holm.

Two runs that answer the same videos share what makes a video easy, so their difference is known
better than either score. Intervals resample players (jointly over skills and runs) and, where a
setting was fitted with several seeds, seeds as well. P-values ask how large a difference chance
makes when it does not matter whose answers are whose: player by player, in all skills at once, the
two runs' answers are swapped or not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.evaluate import bootstrap
from basket.evaluate.answers import Answers
from basket.evaluate.bootstrap import Counts, mean_per_replicate, percentile_interval
from basket.evaluate.description import RunDescription
from basket.evaluate.results import Comparison, Difference, MetricComparison, number
from basket.metrics import CONFUSION_METRICS, LEVEL_METRICS, Scores, mean_over_skills

N_REPLICATES = 2_000


def compare_answers(
    first: Sequence[Answers],
    second: Sequence[Answers],
    *,
    names: tuple[str, str],
    split: str = "test",
    metrics: Sequence[str] = tuple(CONFUSION_METRICS),
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> Comparison:
    """Compare two settings on the videos that all their runs answered.

    Parameters
    ----------
    first, second : sequence of Answers
        One entry per seed.
    names : (str, str)
    split : str
    metrics : sequence of str
        Keys of :data:`basket.metrics.LEVEL_METRICS`.
    n_replicates : int
        Resamples, and as many permutations: the smallest p-value is ``1 / (n_replicates + 1)``.
    seed : int

    Raises
    ------
    UsageError
        No video in common, or labels that differ between the runs.
    """
    mine, n_dropped = _on_common_videos([*first, *second], names)
    truth, players = mine[0].truth, mine[0].players
    n_players = mine[0].n_players
    random = np.random.default_rng(seed)
    draws = bootstrap.draw_players(n_players, n_replicates=n_replicates, seed=seed)
    swaps = random.integers(0, 2, size=(n_replicates, n_players)).astype(np.float32)
    seed_weights = [_seed_weights(len(runs), n_replicates, random) for runs in (first, second)]
    found = {}
    for metric in metrics:
        clusters = [
            bootstrap.player_confusions(
                truth, answers.levels[metric], players=players, n_levels=answers.n_levels
            )
            for answers in mine
        ]
        sides = clusters[: len(first)], clusters[len(first) :]
        found[metric] = _compare_metric(
            sides, metric, draws=draws, swaps=swaps, seed_weights=seed_weights
        )
    return Comparison(
        *names,
        split=split,
        n_videos=len(truth),
        n_players=n_players,
        n_dropped=n_dropped,
        n_seeds=(len(first), len(second)),
        metrics=found,
    )


def compare_with_first(
    settings: Mapping[str, Sequence[Answers]],
    *,
    split: str = "test",
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare the first setting with each of the others.

    Parameters
    ----------
    settings : mapping of str to sequence of Answers
        Name of a setting to the answers of its fits, one per seed.
    split, n_replicates, seed
        See :func:`compare_answers`.
    """
    names = list(settings)
    return tuple(
        compare_answers(
            settings[names[0]],
            settings[other],
            names=(names[0], other),
            split=split,
            n_replicates=n_replicates,
            seed=seed,
        )
        for other in names[1:]
    )


def compare_runs(
    answered: Sequence[tuple[RunDescription, Answers]],
    *,
    primary: str,
    split: str = "test",
    n_replicates: int = N_REPLICATES,
    seed: int = 0,
) -> tuple[Comparison, ...]:
    """Compare the primary run with every other; runs that differ in their seed alone are one.

    Runs of one setting *and* one seed repeat nothing, and stay apart.

    Parameters
    ----------
    answered : sequence of (RunDescription, Answers)
        What was fitted, and what it answers on one test set. Names are unique.
    primary : str
        Name of the run that the others are compared with.
    split, n_replicates, seed
        See :func:`compare_answers`.
    """
    settings: dict[tuple[str, int], list[tuple[str, Answers]]] = {}
    seen: Counter[tuple[str, int | None]] = Counter()
    for about, answers in answered:
        same = repr(
            (
                about.head,
                about.pooling,
                about.feature_keys,
                about.learned_from,
                sorted(about.settings.items()),
            )
        )
        settings.setdefault((same, seen[same, about.seed]), []).append((about.name, answers))
        seen[same, about.seed] += 1
    ordered = sorted(settings.values(), key=lambda runs: primary not in [name for name, _ in runs])
    named = {
        _name_of([name for name, _ in runs]): [answers for _, answers in runs] for runs in ordered
    }
    if len(named) < 2:
        return ()
    return compare_with_first(named, split=split, n_replicates=n_replicates, seed=seed)


def _name_of(runs: Sequence[str]) -> str:
    """How a setting is called: by its first run, and how many more there are."""
    if len(runs) == 1:
        return runs[0]
    return f"{runs[0]} (and {len(runs) - 1} more seed{'s' if len(runs) > 2 else ''})"


def _on_common_videos(
    all_answers: Sequence[Answers], names: tuple[str, str]
) -> tuple[list[Answers], int]:
    """The same videos in the same order from everybody, and how many were dropped for that."""
    common = set(all_answers[0].ids)
    everything = set(common)
    for answers in all_answers[1:]:
        common &= set(answers.ids)
        everything |= set(answers.ids)
    if not common:
        raise UsageError(
            f"{names[0]} and {names[1]} scored no video in common, so they cannot be compared; "
            "evaluate both on one test set"
        )
    ids = sorted(common)
    aligned = []
    for answers in all_answers:
        place = {video: row for row, video in enumerate(answers.ids)}
        aligned.append(answers.rows(np.array([place[video] for video in ids])))
    if any(not np.array_equal(other.truth, aligned[0].truth) for other in aligned[1:]):
        raise UsageError(
            f"{names[0]} and {names[1]} were scored against different labels of the same videos; "
            "evaluate both on one label file"
        )
    return aligned, len(everything) - len(common)


def _seed_weights(
    n_seeds: int, n_replicates: int, random: np.random.Generator
) -> npt.NDArray[np.float64]:
    """How much each seed counts in each replicate, rows sum to 1: seeds are drawn like players."""
    drawn = random.multinomial(n_seeds, np.full(n_seeds, 1.0 / n_seeds), size=n_replicates)
    return np.asarray(drawn / n_seeds)


def _compare_metric(
    sides: tuple[Sequence[Counts], Sequence[Counts]],
    metric: str,
    *,
    draws: Counts,
    swaps: Counts,
    seed_weights: Sequence[npt.NDArray[np.float64]],
) -> MetricComparison:
    formula = LEVEL_METRICS[metric]
    points = [
        np.mean([formula(clusters.sum(0, dtype=np.float64)) for clusters in side], axis=0)
        for side in sides
    ]
    drawn = [
        sum(
            weight[:, None] * bootstrap.replicate_scores(clusters, draws, metric=metric)
            for weight, clusters in zip(weights.T, side, strict=True)
        )
        for weights, side in zip(seed_weights, sides, strict=True)
    ]
    replicated = np.asarray(drawn[0] - drawn[1])
    observed, permuted = _permutations(sides, metric, swaps)
    n_players = draws.shape[1]
    enough = n_players > 1  # one player says nothing about others
    p_mean = bootstrap.p_value(_mean(observed[None]), mean_per_replicate(permuted))
    p_skills = bootstrap.p_value(observed, permuted)
    adjusted = bootstrap.holm(p_skills)
    # A skill that one of them has no score for says nothing of their difference.
    in_both = ~np.isnan(points[0] - points[1])
    return MetricComparison(
        Difference(
            number(mean_over_skills(points[0][in_both])),
            number(mean_over_skills(points[1][in_both])),
            percentile_interval(mean_per_replicate(replicated), n_players),
            number(float(p_mean)) if enough else number(np.nan),
            number(float(p_mean)) if enough else number(np.nan),
        ),
        tuple(
            Difference(
                number(points[0][skill]),
                number(points[1][skill]),
                percentile_interval(replicated[:, skill], n_players),
                number(p_skills[skill]) if enough else number(np.nan),
                number(adjusted[skill]) if enough else number(np.nan),
            )
            for skill in range(len(observed))
        ),
    )


def _permutations(
    sides: tuple[Sequence[Counts], Sequence[Counts]], metric: str, swaps: Counts
) -> tuple[Scores, Scores]:
    """The difference as it is ``(n_skills,)`` and with players' answers swapped ``(R, n_skills)``.

    Where one setting has fewer seeds they are paired over again, until all count alike.
    """
    formula = LEVEL_METRICS[metric]
    first, second = sides
    n_pairs = math.lcm(len(first), len(second))
    n_skills = first[0].shape[1]
    observed, permuted = np.zeros(n_skills), np.zeros((len(swaps), n_skills))
    for index in range(n_pairs):
        mine, theirs = first[index % len(first)], second[index % len(second)]
        moved = bootstrap.replicate_confusions(mine - theirs, swaps)
        totals = [clusters.sum(0, dtype=np.float64) for clusters in (mine, theirs)]
        observed = observed + (formula(totals[0]) - formula(totals[1])) / n_pairs
        permuted = permuted + (formula(totals[0] - moved) - formula(totals[1] + moved)) / n_pairs
    return observed, permuted


def _mean(scores: Scores) -> Scores:
    return np.asarray(mean_per_replicate(scores)[0])
