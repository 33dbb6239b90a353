"""Two runs in plain sentences: what is, and what is not, distinguishable."""

from __future__ import annotations

import math
from collections.abc import Sequence

from basket.evaluate.metric_words import METRICS, split_title
from basket.evaluate.results import Comparison, Difference, MetricComparison
from basket.metrics import HIGHER_IS_BETTER

_BETTER, _WORSE, _ALIKE = "is better than", "is worse than", "cannot be told apart from"

#: Comparisons of which everything is said.
SPELLED_OUT = 2


def sentences(compared: Comparison) -> list[str]:
    """What is and what is not distinguishable between two runs, one sentence per metric."""
    n_seeds = "" if compared.n_seeds == (1, 1) else ", players and seeds resampled"
    said = []
    for name in METRICS:
        if name not in compared.metrics:
            continue
        words, found = METRICS[name], compared.metrics[name]
        mean = found.mean
        if math.isnan(mean.p) or mean.interval is None:
            said.append(f"Too few players to compare {words.title}.")
            continue
        numbers = (
            f"{words.text(mean.first)} against {words.text(mean.second)}, difference "
            f"{words.change_text(mean.value)}, 95% interval "
            f"{words.change_range_text(mean.interval)}{n_seeds}, p = {mean.p:.2g}"
        )
        where = f"{compared.first} and {compared.second} ({split_title(compared.split)})"
        said.append(f"{words.title}: {_told_apart(name, compared, where)} ({numbers}).")
        said[-1] += f" {_skills_apart(found)}"
    return said


def digest(comparisons: Sequence[Comparison]) -> list[str]:
    """All sentences of one or two comparisons; of more with one first run, one on accuracy."""
    if len(comparisons) > SPELLED_OUT:
        return [_at_a_glance(comparisons)]
    return [sentence for compared in comparisons for sentence in sentences(compared)]


def _told_apart(metric: str, compared: Comparison, where: str) -> str:
    first_is = _verb(metric, compared.metrics[metric].mean)
    if first_is == _ALIKE:
        return f"{where} cannot be told apart on these players"
    better, worse = (
        (compared.first, compared.second)
        if first_is == _BETTER
        else (compared.second, compared.first)
    )
    return f"{better} is better than {worse} ({split_title(compared.split)})"


def _verb(metric: str, mean: Difference) -> str:
    """What the first run is beside the second."""
    if not mean.told_apart:
        return _ALIKE
    return _BETTER if (mean.value > 0) == HIGHER_IS_BETTER[metric] else _WORSE


def _at_a_glance(comparisons: Sequence[Comparison]) -> str:
    metric = next(name for name in METRICS if name in comparisons[0].metrics)
    words, first = METRICS[metric], comparisons[0]
    others: dict[str, list[str]] = {_BETTER: [], _WORSE: [], _ALIKE: []}
    for compared in comparisons:
        mean = compared.metrics[metric].mean
        change = words.change_text(mean.value)
        others[_verb(metric, mean)].append(f"{compared.second} ({change})")
    said = "; it ".join(f"{verb} {', '.join(names)}" for verb, names in others.items() if names)
    return f"{words.title} on {split_title(first.split)}: {first.first} {said}."


def _skills_apart(found: MetricComparison) -> str:
    tested = [each for each in found.per_skill if not math.isnan(each.p_holm)]
    if len(tested) < 2:
        return ""
    different = sum(each.told_apart for each in tested)
    return (
        f"Taken one by one, {different or 'none'} of {len(tested)} skills "
        f"{'differs' if different == 1 else 'differ'} (Holm, 5%)."
    )
