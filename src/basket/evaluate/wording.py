"""The report's summary in plain words, for page and markdown alike."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from basket.evaluate.comparison_words import digest
from basket.evaluate.metric_words import (
    ALL_METRICS,
    METRICS,
    UNDEFINED,
    MetricWords,
    count,
    split_title,
)
from basket.evaluate.report import EvaluationReport, RunReport
from basket.evaluate.results import MetricScores, SplitScores
from basket.metrics import HIGHER_IS_BETTER

__all__ = [
    "ALL_METRICS",
    "METRICS",
    "UNDEFINED",
    "banners",
    "count",
    "leaks",
    "run_title",
    "split_title",
    "summary",
]

#: Longest list of names that a sentence spells out.
_NAMED = 3


def run_title(run: RunReport) -> str:
    """What a run is, for reading: head on features."""
    return f"{run.description.head} on {run.description.feature_names}"


def banners(report: EvaluationReport) -> list[str]:
    """Sentences that stand across the page: what keeps these numbers from being about people."""
    return cautions(
        simulated=any(run.description.simulated for run in report.runs),
        random_weights=[
            feature.name
            for run in report.runs
            for feature in run.description.features
            if feature.random_weights
        ],
    )


def cautions(*, simulated: bool, random_weights: Iterable[str]) -> list[str]:
    """What must stand beside scores of simulated players, or of features by these names."""
    said = []
    if simulated:
        said.append(
            "Simulated players: these numbers show that the tool works, not how people play."
        )
    if names := ", ".join(dict.fromkeys(random_weights)):
        said.append(f"Random weights: {names} was never trained and is a control.")
    return said


def summary(report: EvaluationReport) -> list[str]:
    """How good the run is beside prior and chance, what it is, what is missing: one paragraph each.

    The first paragraph is the verdict.
    """
    run = report.primary_run
    scores = run.splits[report.main_split]
    if scores.n_videos:
        verdict = _accuracy(scores, report.n_levels)
        more = [_distance(scores), _extremes(scores.metrics["accuracy"], report.skills)]
    else:
        where = split_title(scores.split)
        lost = count(len(scores.left_out), "video")
        verdict, more = f"No video of test set “{where}” could be scored: {lost} left out.", []
    more.append(_published(scores))
    made = [_fitted(run, report), _scored(scores)]
    missing = [_left_out(report), _undefined(scores)]
    compared = digest(report.comparisons)
    paragraphs = [
        verdict,
        *(" ".join(filter(None, part)) for part in (more, compared, made, missing)),
    ]
    return [paragraph for paragraph in (*paragraphs, *report.notes) if paragraph]


def leaks(report: EvaluationReport) -> list[str]:
    """A warning per test set with players that were in training; players unknown is said too."""
    said = {}
    for run in report.runs:
        for split, scores in run.splits.items():
            if scores.seen_players:
                share = f"{len(scores.seen_players):,} of {count(scores.n_players, 'player')}"
                said[split] = (
                    f"{share} in {split_title(split)} were in training too "
                    f"({count(scores.n_seen_videos, 'video')}): scores there are partly memory."
                )
            elif scores.seen_players is None and scores.n_videos:
                said[split] = (
                    f"Whether players in {split_title(split)} were in training is not known: "
                    "the run does not list its training players."
                )
    return list(said.values())


def _fitted(run: RunReport, report: EvaluationReport) -> str:
    about = run.description
    pooling = f" pooled by {about.pooling}" if about.pooling else ""
    known = [
        count(number, noun)
        for number, noun in ((about.n_train_videos, "video"), (about.n_train_players, "player"))
        if number is not None
    ]
    trained = f", fitted on {' of '.join(known)}" if known else ""
    others = len(report.runs) - 1
    shown = f" It is one of {others + 1} runs compared here." if others else ""
    reason = f" It was chosen for {report.primary_reason}." if report.primary_reason else ""
    return (
        f"Shown in detail: the head {about.head} on {about.feature_names} features"
        f"{pooling}{trained}.{shown}{reason}"
    )


def _scored(scores: SplitScores) -> str:
    if not scores.n_videos:
        return ""
    unseen = " it never saw in training" if scores.seen_players == () else ""
    return (
        f"It was scored once on test set “{split_title(scores.split)}”: "
        f"{count(scores.n_videos, 'video')} of {count(scores.n_players, 'player')}{unseen}."
    )


def _accuracy(scores: SplitScores, n_levels: int) -> str:
    words, found = METRICS["accuracy"], scores.metrics["accuracy"]
    if math.isnan(found.mean):
        return "No video has a label, so nothing can be scored."
    return (
        f"The exact level is named {words.text(found.mean)} of the time"
        f"{_bracketed(found, words)}. Always answering the most frequent training level is right "
        f"{words.text(found.prior_mean)} of the time, chance {1 / n_levels:.0%}."
        f"{_verdict('accuracy', found)}"
    )


def _verdict(metric: str, found: MetricScores) -> str:
    """What the interval says about the prior; nothing where there is no interval."""
    if found.interval is None or math.isnan(found.prior_mean):
        return ""
    better, worse = (
        (found.interval.low > found.prior_mean, found.interval.high < found.prior_mean)
        if HIGHER_IS_BETTER[metric]
        else (found.interval.high < found.prior_mean, found.interval.low > found.prior_mean)
    )
    if better:
        return " The whole interval lies above that baseline."
    if worse:
        return " The whole interval lies below that baseline: it is worse than knowing nothing."
    return " The interval includes that baseline: no skill has been shown."


def _distance(scores: SplitScores) -> str:
    mae, qwk = scores.metrics["mae"], scores.metrics["qwk"]
    if math.isnan(mae.mean):
        return ""
    words = METRICS["mae"]
    kappa = METRICS["qwk"].text(qwk.mean)
    return (
        f"On average the answer is {words.text(mae.mean)} levels off{_bracketed(mae, words)}, the "
        f"baseline {words.text(mae.prior_mean)}. Quadratic weighted kappa is {kappa}"
        f"{_bracketed(qwk, METRICS['qwk'])}, where 0 is chance and 1 is perfect."
    )


def _bracketed(found: MetricScores, words: MetricWords) -> str:
    return f" (95% interval {words.range_text(found.interval)})" if found.interval else ""


def _extremes(found: MetricScores, skills: Sequence[str]) -> str:
    """The skills that gain most and least over the prior, where there are enough to tell."""
    gains = [
        (value - prior, name)
        for value, prior, name in zip(found.per_skill, found.prior_per_skill, skills, strict=True)
        if not math.isnan(value)
    ]
    gains.sort(key=lambda gain: -gain[0])
    if len(gains) < 2 * _NAMED or gains[0][0] <= 0:
        return ""
    words = METRICS["accuracy"]

    def named(some: list[tuple[float, str]]) -> str:
        return ", ".join(f"{name} ({words.change_text(gain)})" for gain, name in some)

    most, least = named(gains[:_NAMED]), named(gains[-_NAMED:][::-1])
    return f"Most gained over the baseline: {most}; least: {least}."


def _left_out(report: EvaluationReport) -> str:
    ids = {
        (split, video_id)
        for run in report.runs
        for split, scores in run.splits.items()
        for video_id in scores.left_out
    }
    if not ids:
        return "No labelled video was left out."
    verb = "was" if len(ids) == 1 else "were"
    return (
        f"{count(len(ids), 'labelled video')} {verb} left out of scoring; each is listed below."
        f"{_worst(report.primary_run.splits[report.main_split])}"
    )


def _worst(scores: SplitScores) -> str:
    """What the missing videos of the main test set could have cost at most."""
    found = {name: scores.metrics[name] for name in METRICS}
    if any(math.isnan(each.worst_mean) for each in found.values()):
        return ""
    written = ", ".join(
        f"{METRICS[name].title} {METRICS[name].text(each.worst_mean)}"
        for name, each in found.items()
    )
    return (
        f" Had each one missing from {split_title(scores.split)} been answered with the farthest "
        f"level, the scores would be: {written}."
    )


def _published(scores: SplitScores) -> str:
    """Where the run stands among published accuracies on the same test set."""
    if not scores.references:
        return ""
    words = METRICS["accuracy"]
    listed = "; ".join(
        f"{reference.name} {words.text(reference.accuracy)} ({reference.source})"
        for reference in scores.references
    )
    return f"Published mean accuracies on this test set: {listed}."


def _undefined(scores: SplitScores) -> str:
    missing = [
        f"{METRICS[name].title} for {count(found.n_undefined, 'skill')}"
        for name in METRICS
        if (found := scores.metrics[name]).n_undefined
    ]
    if not missing or not scores.n_videos:
        return ""
    return (
        f"Undefined and left out of the means: {', '.join(missing)} "
        "(no labels here or in training, or truth and prediction are one and the same constant)."
    )
