"""Report to page: the Jinja environment (escaping on, nothing from outside) and the one render."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from basket.evaluate import details, view, wording
from basket.evaluate.protocol import split_changes
from basket.evaluate.report import EvaluationReport
from basket.evaluate.results import SplitScores

if TYPE_CHECKING:
    from jinja2 import Environment


def environment(*packages: str) -> Environment:
    """A Jinja environment over the template folders of packages, autoescape on.

    Parameters
    ----------
    *packages : str
        Packages with a ``templates`` folder, searched in order; this one comes last, so that other
        pages share its theme.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    loaders = [PackageLoader(package) for package in (*packages, "basket.evaluate")]
    env = Environment(
        autoescape=True,
        loader=ChoiceLoader(loaders),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    env.filters["data_number"] = _data_number
    env.filters["split_title"] = wording.split_title
    return env


def render_report(report: EvaluationReport, *, sections: Sequence[tuple[str, str]] = ()) -> str:
    """The whole page.

    Parameters
    ----------
    report : EvaluationReport
    sections : sequence of (title, content)
        Content that is a ``markupsafe.Markup`` is trusted as HTML; a plain string is escaped.
    """
    run = report.primary_run
    scores = run.splits[report.main_split]
    splits = [run.splits[name] for name in report.split_names if name in run.splits]
    split_axes = view.axes_of(splits, per_skill=False)
    template = environment().get_template("report.html.j2")
    return template.render(
        report=report,
        run=run,
        scores=scores,
        run_title=wording.run_title(run),
        banners=wording.banners(report),
        summary=wording.summary(report),
        leaks=wording.leaks(report),
        metrics=wording.METRICS,
        headline=[
            (name, view.mean_bar(split_axes[name], scores.metrics[name]))
            for name in wording.METRICS
        ],
        result_groups=view.result_groups(report),
        result_axes=view.axes_of(
            [found for each in report.runs for found in each.splits.values()], per_skill=False
        ),
        skill_groups=view.skill_groups(scores, report.skills),
        skill_axes=view.axes_of([scores], per_skill=True),
        panels=view.confusion_panels(scores, report.skills),
        splits=[
            (
                found,
                {
                    name: view.mean_bar(split_axes[name], found.metrics[name])
                    for name in wording.METRICS
                },
            )
            for found in splits
        ],
        drop=_drops(splits),
        all_metrics=wording.ALL_METRICS,
        group_names=_groups_with_company(scores),
        has_worst=not math.isnan(scores.metrics["accuracy"].worst_mean),
        curves=details.curves(scores),
        slices=details.slices_by_column(scores),
        comparisons=details.comparison_tables(report),
        reference_bar=details.reference_bar(scores),
        left_out=view.left_out_rows(report),
        features=_distinct_features(report),
        versions=_versions(report),
        sections=sections,
    )


def _drops(splits: Sequence[SplitScores]) -> dict[str, tuple[str, str]]:
    """Change of mean accuracy against the main test set and its interval, in writing."""
    words = wording.METRICS["accuracy"]
    first, *others = splits
    written = {first.split: ("", "")}
    for other in others:
        change, interval = split_changes(first, other)["accuracy"]
        written[other.split] = (words.change_text(change), words.change_range_text(interval))
    return written


def _groups_with_company(scores: SplitScores) -> list[str]:
    """Groups of skills; none where all skills are in one group, whose mean is the mean."""
    groups = list(scores.metrics["accuracy"].groups)
    return groups if len(groups) > 1 else []


def _distinct_features(report: EvaluationReport) -> list[object]:
    known = {
        (feature.digest or feature.name, feature.name): feature
        for run in report.runs
        for feature in run.description.features
    }
    return list(known.values())


def _versions(report: EvaluationReport) -> list[str]:
    """Each package with the versions seen: one, unless runs were fitted with different ones."""
    seen: dict[str, dict[str, None]] = {}
    for run in report.runs:
        for package, version in run.description.versions.items():
            seen.setdefault(package, {})[version] = None
    return [f"{package} {' and '.join(found)}" for package, found in seen.items()]


def _data_number(value: float) -> str:
    """A score at full precision for a ``data-value`` attribute; empty where undefined."""
    return "" if math.isnan(value) else repr(float(value))
