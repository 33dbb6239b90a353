"""Two runs in plain sentences: what is, and what is not, distinguishable."""

from __future__ import annotations

import math
from collections.abc import Sequence

from basket.evaluate.metric_words import METRICS, split_title
from basket.evaluate.results import Comparison, Difference, MetricComparison
from basket.metrics import HIGHER_IS_BETTER

#: Below this p-value, and with an interval that leaves out zero, a difference is called one.
_ALPHA = 0.05

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
            f"{words.text(mean.interval.low, signed=True).removesuffix('%')} to "
            f"{words.text(mean.interval.high, signed=True).removesuffix('%')}{n_seeds}, "
            f"p = {mean.p:.2g}"
        )
        where = f"{compared.first} and {compared.second} ({split_title(compared.split)})"
        said.append(f"{words.title}: {_told_apart(name, compared, where)} ({numbers}).")
        said[-1] += f" {_skills_apart(found)}"
    return said


def digest(comparisons: Sequence[Comparison]) -> list[str]:
    """All sentences of one or two comparisons; of more, one sentence on accuracy for each."""
    each = [sentences(compared) for compared in comparisons]
    if len(each) <= SPELLED_OUT:
        return [sentence for said in each for sentence in said]
    return [said[0] for said in each if said]


def differs(found: Difference) -> bool:
    """Whether two runs are told apart on one skill, all skills taken into account (Holm)."""
    return found.p_holm <= _ALPHA


def _told_apart(metric: str, compared: Comparison, where: str) -> str:
    mean = compared.metrics[metric].mean
    assert mean.interval is not None
    excludes = mean.interval.low > 0 or mean.interval.high < 0
    if mean.p > _ALPHA or not excludes:
        return f"{where} cannot be told apart on these players"
    first_wins = (mean.value > 0) == HIGHER_IS_BETTER[metric]
    better, worse = (
        (compared.first, compared.second) if first_wins else (compared.second, compared.first)
    )
    return f"{better} is better than {worse} ({split_title(compared.split)})"


def _skills_apart(found: MetricComparison) -> str:
    tested = [each for each in found.per_skill if not math.isnan(each.p_holm)]
    if len(tested) < 2:
        return ""
    different = sum(map(differs, tested))
    return (
        f"Taken one by one, {different or 'none'} of {len(tested)} skills "
        f"{'differs' if different == 1 else 'differ'} (Holm, 5%)."
    )
