"""The JSON twin of a report: strict JSON, undefined scores as null, and back."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from basket.errors import RunError
from basket.evaluate.bootstrap import Interval
from basket.evaluate.description import FeatureIdentity, RunDescription
from basket.evaluate.report import EvaluationReport, RunReport
from basket.evaluate.results import (
    Comparison,
    Difference,
    Estimate,
    MetricComparison,
    MetricScores,
    Reference,
    SliceScores,
    SplitScores,
    ThresholdCalibration,
)

REPORT_FORMAT = "basket-report"
REPORT_VERSION = 2


def dump_report(report: EvaluationReport) -> str:
    """Serialise a report; no NaN is ever written."""
    document = {"format": REPORT_FORMAT, "version": REPORT_VERSION, **asdict(report)}
    return json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def load_report(text: str) -> EvaluationReport:
    """Read back what :func:`dump_report` wrote.

    Raises
    ------
    RunError
        Not a report, damaged, or of another version.
    """
    try:
        document = json.loads(text)
        kind, version = document.pop("format"), document.pop("version")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
        raise RunError(f"this is not a basket report in JSON ({error})") from error
    if (kind, version) != (REPORT_FORMAT, REPORT_VERSION):
        raise RunError(
            f"this is {kind!r} version {version!r}, and {REPORT_FORMAT!r} version "
            f"{REPORT_VERSION} can be read; run `basket evaluate` again to rewrite it"
        )
    try:
        document["runs"] = tuple(_run(run) for run in document["runs"])
        document["skills"] = tuple(document["skills"])
        document["notes"] = tuple(document["notes"])
        document["comparisons"] = tuple(map(_comparison, document["comparisons"]))
        return EvaluationReport(**document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise RunError(f"this basket report in JSON is damaged ({error!r})") from error


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _number(value) if isinstance(value, float) else value


def _run(document: dict[str, Any]) -> RunReport:
    description = dict(document["description"])
    description["features"] = tuple(FeatureIdentity(**item) for item in description["features"])
    return RunReport(
        RunDescription(**description),
        {name: _split(scores) for name, scores in document["splits"].items()},
    )


def _split(document: dict[str, Any]) -> SplitScores:
    seen = document["seen_players"]
    return SplitScores(
        **{
            **document,
            "n_labels": tuple(document["n_labels"]),
            "metrics": {name: _metric(item) for name, item in document["metrics"].items()},
            "confusion": tuple(
                tuple(tuple(row) for row in matrix) for matrix in document["confusion"]
            ),
            "seen_players": None if seen is None else tuple(seen),
            "calibration": tuple(map(_calibration, document["calibration"])),
            "slices": tuple(map(_slice, document["slices"])),
            "references": tuple(Reference(**item) for item in document["references"]),
        }
    )


def _metric(document: dict[str, Any]) -> MetricScores:
    return MetricScores(
        mean=_float(document["mean"]),
        interval=_interval(document["interval"]),
        per_skill=tuple(map(_float, document["per_skill"])),
        skill_intervals=tuple(map(_interval, document["skill_intervals"])),
        prior_mean=_float(document["prior_mean"]),
        prior_per_skill=tuple(map(_float, document["prior_per_skill"])),
        rule=document["rule"],
        worst_mean=_float(document["worst_mean"]),
        worst_per_skill=tuple(map(_float, document["worst_per_skill"])),
        groups=_estimates(document["groups"]),
    )


def _calibration(document: dict[str, Any]) -> ThresholdCalibration:
    return ThresholdCalibration(
        document["threshold"],
        _float(document["error"]),
        tuple(tuple(part) for part in document["bins"]),
    )


def _slice(document: dict[str, Any]) -> SliceScores:
    return SliceScores(**{**document, "metrics": _estimates(document["metrics"])})


def _estimates(document: dict[str, Any]) -> dict[str, Estimate]:
    return {
        name: Estimate(_float(item["value"]), _interval(item["interval"]), _float(item["prior"]))
        for name, item in document.items()
    }


def _float(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _interval(document: dict[str, float] | None) -> Interval | None:
    return None if document is None else Interval(**document)


def _comparison(document: dict[str, Any]) -> Comparison:
    first, second = document["n_seeds"]
    metrics = {
        name: MetricComparison(
            _difference(item["mean"]), tuple(map(_difference, item["per_skill"]))
        )
        for name, item in document["metrics"].items()
    }
    return Comparison(**{**document, "n_seeds": (first, second), "metrics": metrics})


def _difference(document: dict[str, Any]) -> Difference:
    return Difference(
        _float(document["first"]),
        _float(document["second"]),
        _interval(document["interval"]),
        _float(document["p"]),
        _float(document["p_holm"]),
    )
