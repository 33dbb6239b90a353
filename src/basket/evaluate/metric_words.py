"""How metrics, numbers and test sets are called and written, everywhere."""

from __future__ import annotations

import math
from dataclasses import dataclass

from basket.evaluate.bootstrap import Interval

UNDEFINED = "–"  # noqa: RUF001 - the dash that tables use for "no value"
_MINUS = "−"  # noqa: RUF001 - a true minus sign keeps columns aligned


@dataclass(frozen=True)
class MetricWords:
    """How a metric is called, explained and written."""

    title: str
    explanation: str
    percent: bool = False

    def text(self, value: float, *, signed: bool = False) -> str:
        """Write a score.

        >>> METRICS["accuracy"].text(0.4321), METRICS["qwk"].text(0.1, signed=True)
        ('43.2%', '+0.10')
        """
        if math.isnan(value):
            return UNDEFINED
        digits = f"{abs(value) * 100:.1f}" if self.percent else f"{abs(value):.2f}"
        nothing = float(digits) == 0.0
        sign = _MINUS if value < 0 and not nothing else "+" if signed and not nothing else ""
        return sign + digits + ("%" if self.percent else "")

    def change_text(self, change: float) -> str:
        """Write a difference of two scores: ``+2.1 points``, ``−0.04``."""  # noqa: RUF002
        written = self.text(change, signed=True)
        return f"{written.removesuffix('%')} points" if written.endswith("%") else written

    def range_text(self, interval: Interval | None) -> str:
        """Write an interval as ``40.1 to 46.0%``; empty where there is none."""
        if interval is None:
            return ""
        return f"{self.text(interval.low).removesuffix('%')} to {self.text(interval.high)}"

    def change_range_text(self, interval: Interval | None) -> str:
        """Write the interval of a difference as ``+0.4 to +3.1``; empty where there is none."""
        if interval is None:
            return ""
        low, high = (self.text(end, signed=True) for end in (interval.low, interval.high))
        return f"{low.removesuffix('%')} to {high.removesuffix('%')}"


METRICS: dict[str, MetricWords] = {
    "accuracy": MetricWords("Accuracy", "share of exact levels", percent=True),
    "mae": MetricWords("MAE", "mean distance in levels; lower is better"),
    "qwk": MetricWords("QWK", "quadratic weighted kappa; 0 is chance agreement, 1 is perfect"),
}

#: Every metric, the three of the headline first.
ALL_METRICS: dict[str, MetricWords] = {
    **METRICS,
    "balanced_accuracy": MetricWords(
        "Balanced accuracy", "share of exact levels, each true level counting alike", percent=True
    ),
    "off_by_one": MetricWords(
        "Off by one", "share of answers at most one level away", percent=True
    ),
    "balanced_mae": MetricWords(
        "Balanced MAE", "mean distance, each true level counting alike; lower is better"
    ),
    "spearman": MetricWords("Spearman", "rank correlation of the expected level"),
    "kendall": MetricWords("Kendall", "tau-b of the expected level: pairs in the right order"),
    "rps": MetricWords(
        "Ranked probability score", "squared error of the cumulated probabilities; lower is better"
    ),
    "nll": MetricWords("Log loss", "minus log probability of the label, in nats; lower is better"),
    "calibration_error": MetricWords(
        "Calibration error",
        "distance between promised and found share above a threshold; lower is better",
        percent=True,
    ),
}


def split_title(split: str) -> str:
    """A test set's name for reading: ``cross_season`` becomes ``cross season``."""
    return split.replace("_", " ")


def count(number: int, noun: str) -> str:
    """A number and its noun: ``1 player``, ``1,200 players``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
