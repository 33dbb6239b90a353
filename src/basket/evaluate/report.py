"""The evaluation report: the numbers of one or several runs, and their JSON, HTML and markdown.

The frozen :class:`EvaluationReport` is the one source; every form of it is derived, so the numbers
on the page are the numbers in the file.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from basket.errors import UsageError
from basket.evaluate.description import RunDescription
from basket.evaluate.results import Comparison, SplitScores
from basket.notebook import html_table

DEFAULT_TITLE = "Skill estimation report"

#: The test set shown first where a report has several.
MAIN_SPLIT = "test"


@dataclass(frozen=True)
class RunReport:
    """One run and its scores per test set."""

    description: RunDescription
    splits: Mapping[str, SplitScores]


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of one or several runs on the same skills.

    Build it with :func:`assemble_report`.

    Parameters
    ----------
    title : str
    skills : tuple of str
    n_levels : int
    runs : tuple of RunReport
    primary : str
        Name of the run that is shown in detail.
    primary_reason : str
        What it was chosen for, in words: ``the best accuracy on the validation players``. Nothing
        may be chosen on a test set.
    main_split : str
        The test set shown in detail.
    created : str
        ISO 8601 time; empty if not wanted.
    notes : tuple of str
        Plain sentences for the summary.
    comparisons : tuple of Comparison
        The primary run against others, video by video, on the main test set.
    """

    title: str
    skills: tuple[str, ...]
    n_levels: int
    runs: tuple[RunReport, ...]
    primary: str
    primary_reason: str = ""
    main_split: str = MAIN_SPLIT
    created: str = ""
    notes: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()

    def __repr__(self) -> str:
        names = ", ".join(run.description.name for run in self.runs)
        return f"EvaluationReport({names} on {', '.join(self.split_names)})"

    def _repr_html_(self) -> str:
        from basket.evaluate.wording import banners

        rows = self.results()
        notes = (*banners(self), *self.notes)
        return html_table(
            self.title, list(rows[0]), [list(row.values()) for row in rows], notes=notes
        )

    @property
    def primary_run(self) -> RunReport:
        """The run shown in detail."""
        return next(run for run in self.runs if run.description.name == self.primary)

    @property
    def split_names(self) -> tuple[str, ...]:
        """Test sets in order of first appearance, the main one first."""
        names = dict.fromkeys(name for run in self.runs for name in run.splits)
        return tuple(sorted(names, key=lambda name: name != self.main_split))

    def results(self) -> list[dict[str, Any]]:
        """One row per run and test set: features, head, split, run, and the mean of every metric.

        A score that is undefined is None.
        """
        return [
            {
                "run": run.description.name,
                "features": run.description.feature_names,
                "head": run.description.head,
                "split": split,
                **{
                    name: None if math.isnan(scores.mean) else scores.mean
                    for name, scores in result.metrics.items()
                },
            }
            for run in self.runs
            for split, result in run.splits.items()
        ]

    def to_json(self) -> str:
        """Strict JSON; undefined scores are null. :meth:`from_json` restores an equal report."""
        from basket.evaluate.report_json import dump_report

        return dump_report(self)

    @classmethod
    def from_json(cls, text: str) -> EvaluationReport:
        """Read a report back.

        Raises
        ------
        RunError
            Not a report, damaged, or of another version.
        """
        from basket.evaluate.report_json import load_report

        return load_report(text)

    def to_html(self, *, sections: Sequence[tuple[str, str]] = ()) -> str:
        """One self-contained page that asks nothing of the network.

        Parameters
        ----------
        sections : sequence of (title, content)
            Extra sections before the settings, such as a skill card. Content that is a
            ``markupsafe.Markup`` is trusted as HTML; a plain string is escaped.
        """
        from basket.evaluate.page import render_report

        return render_report(self, sections=sections)

    def to_markdown(self) -> str:
        """The main numbers as GitHub-flavoured markdown."""
        from basket.evaluate.markdown import render_markdown

        return render_markdown(self)

    def write(self, path: str | Path, *, sections: Sequence[tuple[str, str]] = ()) -> None:
        """Write the page to ``path`` and its JSON and markdown twins beside it."""
        from basket.cache.durable import make_room_for, write_atomically

        path = Path(path)
        check_room_for_report(path)
        make_room_for(path)
        texts = (self.to_json(), self.to_markdown(), self.to_html(sections=sections))
        for file, text in dict(zip(_report_files(path), texts, strict=True)).items():
            write_atomically(file, text.encode())


def check_room_for_report(path: Path) -> None:
    """Refuse a page that could not be written with its twins; nothing is made yet.

    Raises
    ------
    BasketError
        As :func:`basket.cache.durable.check_room_for`.
    """
    from basket.cache.durable import check_room_for

    check_room_for(path)  # first, as a folder may have no name to derive the others from
    for file in _report_files(path):
        check_room_for(file)


def _report_files(path: Path) -> tuple[Path, Path, Path]:
    """The page last, so that it stands if its path ends in .json or .md."""
    return path.with_suffix(".json"), path.with_suffix(".md"), path


def assemble_report(
    runs: Sequence[RunReport],
    *,
    skills: Sequence[str],
    n_levels: int,
    title: str = DEFAULT_TITLE,
    primary: str | None = None,
    primary_reason: str = "",
    main_split: str = MAIN_SPLIT,
    created: str = "",
    notes: Sequence[str] = (),
    comparisons: Sequence[Comparison] = (),
) -> EvaluationReport:
    """Put runs on the same skills into one report.

    Parameters
    ----------
    runs : sequence of RunReport
        Runs of equal name are told apart by a number.
    skills : sequence of str
    n_levels : int
        K.
    title : str
    primary : str, optional
        Name of the run to show in detail; the first one by default. Choose it on validation data,
        and say so in ``primary_reason``.
    main_split : str
        The test set to show in detail; where the primary run lacks it, its first one.
    created : str
        ISO 8601 time, for the heading.
    notes : sequence of str
        Plain sentences for the summary.
    comparisons : sequence of Comparison
        From :func:`basket.evaluate.compare.compare_with_first`.

    Raises
    ------
    UsageError
        No run, no test set, an unknown primary run, or runs on other skills than these.
    """
    names = unique_names([run.description.name for run in runs])
    named = tuple(
        replace(run, description=replace(run.description, name=name))
        for run, name in zip(runs, names, strict=True)
    )
    if not named:
        raise UsageError("a report needs at least one run")
    shape = (len(skills), n_levels)
    for run in named:
        if not run.splits:
            raise UsageError(f"run {run.description.name} was scored on no test set; name one")
        for scores in run.splits.values():
            found = (len(scores.confusion), len(scores.confusion[0]) if scores.confusion else 0)
            if found != shape:
                raise UsageError(
                    f"run {run.description.name} has {found[0]} skills of {found[1]} levels, the "
                    f"report has {shape[0]} of {shape[1]}; report such runs separately"
                )
    chosen = next((run for run in named if run.description.name == primary), None)
    if primary is not None and chosen is None:
        raise UsageError(
            f"no run is called {primary!r}; there are "
            + ", ".join(run.description.name for run in named)
        )
    shown = chosen or named[0]
    return EvaluationReport(
        title=title,
        skills=tuple(skills),
        n_levels=n_levels,
        runs=named,
        primary=shown.description.name,
        primary_reason=primary_reason,
        main_split=main_split if main_split in shown.splits else next(iter(shown.splits)),
        created=created,
        notes=tuple(notes),
        comparisons=tuple(comparisons),
    )


def unique_names(names: Sequence[str]) -> list[str]:
    """Names in their order, a number behind each that was there before.

    >>> unique_names(["ridge", "mlp", "ridge"])
    ['ridge', 'mlp', 'ridge (2)']
    """
    taken: dict[str, None] = {}
    for name in names:
        unique, number = name, 1
        while unique in taken:
            number += 1
            unique = f"{name} ({number})"
        taken[unique] = None
    return list(taken)
