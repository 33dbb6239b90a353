"""What a person sees: notes, progress, tables, or one JSON document. The only module that prints.

Results go to standard output; everything else (notes, progress, errors) to standard error, so that
a pipe gets results alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import get_terminal_size
from typing import TYPE_CHECKING, Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from basket.dataset.overview import LabelOverview, TableOverview
    from basket.doctor import Check
    from basket.evaluate.report import EvaluationReport
    from basket.extract.dry_run import Estimate
    from basket.extract.summary import ExtractionSummary, Progress
    from basket.heads.persist import Run
    from basket.predict.predictor import Prediction

_PLAIN_PROGRESS_S = 5.0
_PIPED_COLUMNS = 200  # a pipe has no width; a table that wraps is hard to grep
_LISTED = 10  # entries of a list that are shown before "and N more"


@dataclass
class Output:
    """How one command speaks.

    Parameters
    ----------
    json_mode : bool
        One JSON document on standard output instead of tables.
    quiet : bool
        No notes and no progress; results and errors remain.
    """

    json_mode: bool = False
    quiet: bool = False

    def __post_init__(self) -> None:
        self.out = Console(highlight=False, soft_wrap=False)
        if not self.out.is_terminal and "COLUMNS" not in os.environ:
            self.out.width = _PIPED_COLUMNS
        self.err = Console(stderr=True, highlight=False)

    def note(self, text: str) -> None:
        """Tell something that is neither a result nor an error."""
        if not self.quiet:
            self.err.print(escape(text), style="dim", soft_wrap=True)

    def warn(self, text: str) -> None:
        """Tell something a person should act on; shown even when quiet."""
        self.err.print(f"[yellow]{escape(text)}[/]", soft_wrap=True)

    def result(self, document: Mapping[str, Any], *shown: RenderableType) -> None:
        """Print the result of a command: ``document`` as JSON, or what is ``shown``."""
        if self.json_mode:
            sys.stdout.write(json.dumps(document, indent=1, default=str, ensure_ascii=False) + "\n")
            return
        for each in shown:
            self.out.print(each, soft_wrap=isinstance(each, str))

    @contextmanager
    def progress(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        """A line of progress: the value is called with ``(done, total, details)``.

        A live bar on a terminal; elsewhere a plain line every few seconds.
        """
        if self.quiet:
            yield lambda _done, _total, _details: None
        elif self.err.is_terminal or self.err.is_jupyter:
            with self._bar(what) as report:
                yield report
        else:
            yield self._lines(what)

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[str], None]]:
        """A line that names the stage at work: the value is called with each stage's name."""
        if self.quiet:
            yield lambda _stage: None
        elif self.err.is_terminal:
            with self.err.status(f"{what} …") as status:
                yield lambda stage: status.update(f"{what}: {escape(stage)} …")
        else:
            yield lambda stage: self.err.print(f"{what}: {stage}", soft_wrap=True)

    @contextmanager
    def _bar(self, what: str) -> Iterator[Callable[[int, int, str], None]]:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Bar

        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[details]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        with Bar(*columns, console=self.err, transient=True, expand=True) as bar:
            task = bar.add_task(what, total=None, details="")
            yield lambda done, total, details: bar.update(
                task, completed=done, total=total, details=details
            )

    def _lines(self, what: str) -> Callable[[int, int, str], None]:
        start = last = time.monotonic()

        def report(done: int, total: int, details: str) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last < _PLAIN_PROGRESS_S:
                return
            last = now
            left = (now - start) / done * (total - done) if done else None
            rest = f", {duration(left)} left" if left is not None else ""
            self.err.print(f"{what}: {done} of {total} {details}{rest}", soft_wrap=True)

        return report


def print_error(message: str) -> None:
    """Print an error as one readable message on standard error."""
    Console(stderr=True, highlight=False).print(
        f"[bold red]error:[/] {escape(message)}", soft_wrap=True
    )


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(7.2), duration(125), duration(7380)
    ('7 s', '2 min 05 s', '2 h 03 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listed(names: Sequence[str], limit: int = _LISTED) -> str:
    """Names on one line, shortened to the first few.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def reasons_table(title: str, reasons: Mapping[str, str], limit: int = 20) -> Table:
    """Videos and why each of them was left out; the first ones where there are many."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("video", overflow="fold")
    table.add_column("reason", overflow="fold")
    for name, reason in list(reasons.items())[:limit]:
        table.add_row(escape(name), escape(reason))
    if len(reasons) > limit:
        table.add_row(f"… and {len(reasons) - limit} more", "--json lists them all")
    return table


def label_tables(found: LabelOverview) -> Iterator[RenderableType]:
    """An overview of label files as tables and sentences."""
    files = Table(title="Label files", title_justify="left", box=None, padding=(0, 2, 0, 0))
    for column in ("file", "videos", "players", "seasons", "leagues", "missing files", "repeated"):
        files.add_column(column, justify="left" if column == "file" else "right")
    for table in found.tables:
        missing = "?" if table.missing_files is None else str(len(table.missing_files))
        files.add_row(
            escape(str(table.path)),
            str(table.videos),
            str(table.players),
            str(len(table.seasons) or "-"),
            str(len(table.leagues) or "-"),
            missing,
            str(len(table.duplicates)),
        )
    yield files
    for table in found.tables:
        yield ""
        yield _balance_table(table)
    yield ""
    yield from _label_notes(found)


def _balance_table(table: TableOverview) -> Table:
    shown = Table(
        title=f"Level balance of {escape(table.path.name)} (% of labels)",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    shown.add_column("skill")
    for level in range(len(table.level_counts[0])):
        shown.add_column(str(level), justify="right")
    shown.add_column("missing", justify="right")
    for skill, counts, missing in zip(
        table.skills, table.level_counts, table.missing_labels, strict=True
    ):
        total = sum(counts)
        shares = [f"{100 * count / total:.0f}" if total else "-" for count in counts]
        shown.add_row(escape(skill), *shares, str(missing))
    return shown


def _label_notes(found: LabelOverview) -> Iterator[str]:
    if found.video_root is None:
        yield "[yellow]No listed video was found; name their folder with --video-root[/]"
    for table in found.tables:
        if table.missing_files:
            yield (
                f"[yellow]{len(table.missing_files)} videos of {escape(str(table.path))} are "
                f"missing or empty:[/] {escape(listed(table.missing_files))}"
            )
        if table.duplicates:
            yield (
                f"[yellow]{len(table.duplicates)} rows of {escape(str(table.path))} are repeated "
                f"(kept once):[/] {escape(listed(table.duplicates))}"
            )
    for (first, second), players in found.shared_players.items():
        names = f"{found.tables[first].path} and {found.tables[second].path}"
        yield (
            f"[bold red]Leak:[/] {len(players)} players are in both {escape(names)}: "
            f"{escape(listed(players))}"
        )
    if len(found.tables) > 1 and not found.shared_players:
        yield "No player is in two of these files."


def extraction_tables(summary: ExtractionSummary, cache: Path) -> Iterator[RenderableType]:
    """What an extraction did, as sentences and a table of failures."""
    for backbone, name in summary.feature_sets.items():
        yield f"{escape(backbone)} -> {escape(str(cache / name))}"
    rate = summary.video_s / summary.elapsed_s if summary.elapsed_s else 0.0
    parts = [f"{summary.done} videos extracted"]
    if summary.already_there:
        parts.append(f"{summary.already_there} were there already")
    if summary.failed:
        parts.append(f"[bold red]{len(summary.failed)} failed[/]")
    yield (
        f"{', '.join(parts)}; {summary.clips} clips, {duration(summary.video_s)} of video in "
        f"{duration(summary.elapsed_s)} ({rate:.0f}x real time)"
    )
    if summary.notes:
        yield reasons_table("Extracted, but look at these", summary.notes)
    if summary.failed:
        yield reasons_table("Not extracted", summary.failed)


def extraction_details(now: Progress) -> str:
    """Rates and failures of a running extraction, for the progress line."""
    rate = now.video_s / now.elapsed_s if now.elapsed_s else 0.0
    clips = now.clips / now.elapsed_s if now.elapsed_s else 0.0
    failed = f", {now.videos_failed} failed" if now.videos_failed else ""
    return f"{clips:.0f} clips/s, {rate:.0f}x real time, bound by {now.bound_by}{failed}"


def run_document(run: Run) -> dict[str, Any]:
    """A fitted run as plain JSON values: where it is, its settings and its scores."""
    return {
        "run": str(run.path),
        **{key: run.config[key] for key in ("head", "params", "seed", "pooling", "seconds")},
        "features": [each.name for each in run.feature_sets],
        "simulated": run.config["simulated"],
        "random_weights": run.config["random_weights"],
        "set_aside": run.config.get("set_aside"),
        "metrics": run.metrics,
    }


def fit_tables(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Scores of a run on held-out players, per skill and beside the prior; time per stage."""
    held_out = [item for item in document["metrics"].items() if item[0] != "train"]
    split, scores = held_out[0] if held_out else ("train", document["metrics"]["train"])
    table = Table(
        title=f"{document['head']} on {split}: {scores['n_videos']} videos, "
        f"{scores['n_players']} players (prior in brackets)",
        title_justify="left",
        box=None,
        padding=(0, 2, 0, 0),
    )
    table.add_column("skill")
    names = {"accuracy": "accuracy %", "mae": "MAE", "qwk": "QWK"}
    for name in names.values():
        table.add_column(name, justify="right")
    head, prior = scores["head"], scores["prior"]
    for skill in head["accuracy"]["per_skill"]:
        table.add_row(
            escape(skill),
            *(
                _beside(name, head[name]["per_skill"][skill], prior[name]["per_skill"][skill])
                for name in names
            ),
        )
    table.add_section()
    table.add_row(
        "[bold]mean[/]",
        *(f"[bold]{_beside(name, head[name]['mean'], prior[name]['mean'])}[/]" for name in names),
    )
    yield table
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in document["seconds"].items())
    yield f"\nTime: {spent}"
    if aside := document["set_aside"]:
        yield (
            f"Set aside: {aside['n_players']} players ({aside['n_videos']} videos), on whom only "
            "how often the run is right was measured"
        )
    yield from _labels_of_truth(document["simulated"], document["random_weights"])
    yield f"Run: {escape(document['run'])}"


def evaluation_tables(report: EvaluationReport) -> Iterator[RenderableType]:
    """Scores per run and test set, and everything that was left out of them."""
    yield from results_tables(report.results())
    for run in report.runs:
        yield from _labels_of_truth(run.description.simulated, run.description.random_weights)
        break
    for run in report.runs:
        for split, scores in run.splits.items():
            if scores.seen_players:
                yield (
                    f"[bold red]Leak:[/] {len(scores.seen_players)} players of {escape(split)} "
                    f"were in the training of {escape(run.description.name)}: "
                    f"{escape(listed(scores.seen_players))}"
                )
    for split, scores in report.primary_run.splits.items():
        if scores.left_out:
            yield reasons_table(f"Left out of {split}", scores.left_out)


def results_tables(results: Sequence[Mapping[str, Any]]) -> Iterator[RenderableType]:
    """Mean scores over the skills: all three on the first test set, accuracy on the others."""
    splits = list(dict.fromkeys(row["split"] for row in results))
    table = Table(
        title=f"Mean over the skills, on {escape(splits[0])}",
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
    )
    table.add_column("features", overflow="fold", min_width=20)
    table.add_column("head")
    for column in ("accuracy", "MAE", "QWK", *splits[1:]):
        table.add_column(escape(column.replace("_", " ")), justify="right", max_width=8)
    by_run: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for row in results:
        key = (row["features"], row["head"], row["run"])
        by_run.setdefault(key, {})[row["split"]] = row
    shown = None
    for (features, head, _), rows in by_run.items():
        main = rows.get(splits[0], {})
        table.add_row(
            escape(features) if features != shown else "",
            escape(head),
            *(_score(name, main.get(name)) for name in ("accuracy", "mae", "qwk")),
            *(_score("accuracy", rows.get(split, {}).get("accuracy")) for split in splits[1:]),
        )
        shown = features
    yield table
    if len(splits) > 1:
        yield f"The columns after QWK are accuracy % on {escape(', '.join(splits[1:]))}."


def prediction_tables(found: Prediction) -> Iterator[RenderableType]:
    """Levels in words with their probabilities, a table for each video."""
    from basket.dataset.skills import skill_named
    from basket.predict.confidence import verdict

    measured = found.calibration
    for video in found.videos[:_LISTED]:
        table = Table(
            title=f"{escape(video.video_id)} ({duration(video.duration_s)}, "
            f"{video.n_segments} segments)",
            title_justify="left",
            box=None,
            padding=(0, 2, 0, 0),
        )
        for column in ("group", "skill", "level"):
            table.add_column(column)
        table.add_column("in words")
        for level in range(found.run.n_levels):
            table.add_column(f"p({level})", justify="right")
        if measured is not None:
            table.add_column("was right", justify="right")
        for name, level, proba in zip(found.run.skills, video.levels, video.proba, strict=True):
            skill = skill_named(name)
            right = (
                [] if measured is None else [f"{measured.at(name, float(proba[level])).share:.0%}"]
            )
            table.add_row(
                skill.group,
                escape(name) + ("" if skill.high_is_good else " (low is good)"),
                str(level),
                skill.level_name(int(level), found.run.n_levels),
                *(f"[bold]{p:.2f}[/]" if k == level else f"{p:.2f}" for k, p in enumerate(proba)),
                *right,
            )
        yield table
        if video.note:
            yield f"[yellow]{escape(video.note)}[/]"
        strange = verdict(measured, beyond=video.beyond, n_skills=len(found.run.skills))
        if strange != verdict(measured):
            yield f"[yellow]{strange.headline}. {strange.details[0]}[/]"
    if len(found.videos) > _LISTED:
        yield f"… and {len(found.videos) - _LISTED} more videos; --out FILE or --json has them all"
    if found.videos:
        said = verdict(measured)
        yield f"{said.headline}. {' '.join(said.details)}"
    yield from _labels_of_truth(
        bool(found.run.config["simulated"]), bool(found.run.config["random_weights"])
    )
    if found.failed:
        yield reasons_table("Not predicted", found.failed)


def _labels_of_truth(simulated: bool, random_weights: bool) -> Iterator[str]:
    if simulated:
        yield "[yellow]Fitted on simulated players: this says nothing about real ones.[/]"
    if random_weights:
        yield "[yellow]Features of random weights: a control, not a model.[/]"


def _beside(metric: str, score: float | None, prior: float | None) -> str:
    """A score with the prior's in brackets; a dash where it is undefined."""
    shown = _score(metric, score)
    return shown if prior is None else f"{shown} [dim]({_score(metric, prior)})[/]"


def _score(metric: str, score: float | None) -> str:
    if score is None or score != score:
        return "-"
    return f"{100 * score:.1f}" if metric == "accuracy" else f"{score:.3f}"


def model_tables(
    rows: Sequence[Mapping[str, Any]], *, whole: bool = False
) -> Iterator[RenderableType]:
    """Known models, a row each; or everything about one, a line for each fact."""
    if whole:
        for row in rows:
            facts = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
            facts.add_column(style="bold", no_wrap=True)
            facts.add_column(overflow="fold")
            for key, value in row.items():
                if value not in (None, "", [], {}):
                    facts.add_row(escape(key), "\n".join(map(escape, _fact_lines(value))))
            yield facts
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("model", no_wrap=True)
    for column in ("dims", "frames", "px", "TFLOP/clip"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold", min_width=12)
    # A narrow terminal has no room for it; `basket models NAME` and --json always tell it.
    is_wide = get_terminal_size().columns >= 120
    if is_wide:
        table.add_column("checkpoint", overflow="fold")
    for row in rows:
        name = row["name"] + (f" ({row['alias']})" if row["alias"] else "")
        cost = row["tflop_per_clip"]
        table.add_row(
            escape(name),
            *(str(row[key] or "-") for key in ("dims", "frames", "size_px")),
            f"{cost:.3g}" if cost else "-",
            escape(row["licence"] or "-"),
            *([escape(row["checkpoint"] or "-")] if is_wide else []),
        )
    yield table


def _fact_lines(value: Any) -> list[str]:
    """A fact in lines: one for each entry of a mapping, one for anything else."""
    if isinstance(value, Mapping):
        return [f"{key}: {_plain_fact(item)}" for key, item in value.items()]
    return [_plain_fact(value)]


def _plain_fact(value: Any) -> str:
    if isinstance(value, Mapping):
        return "; ".join(f"{key}: {_plain_fact(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain_fact, value))
    return str(value)


def check_table(checks: Sequence[Check]) -> Table:
    """What was examined, what was found, what to do."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    table.add_column("what to do", overflow="fold")
    marks = {"ok": "[green]ok[/]", "note": "[yellow]note[/]", "problem": "[bold red]problem[/]"}
    for check in checks:
        table.add_row(
            marks[check.state], escape(check.name), escape(check.found), escape(check.advice)
        )
    return table


def estimate_lines(cost: Estimate) -> Iterator[RenderableType]:
    """What an extraction would cost, in sentences."""
    yield f"{cost.videos} videos to extract, {cost.already_there} are there already"
    if not cost.videos:
        return
    unreadable = f", {cost.unreadable} of them unreadable" if cost.unreadable else ""
    yield (
        f"about {cost.segments:,} segments, {cost.clips:,} clips, {cost.frames:,} frames "
        f"(extrapolated from {cost.sampled} videos{unreadable})"
    )
    yield (
        f"cache: {cost.cache_bytes / 1e9:.2f} GB; {cost.free_bytes / 1e9:.0f} GB are free"
        + (" [bold red]- not enough[/]" if cost.cache_bytes > cost.free_bytes else "")
    )
    yield (
        f"time: about {duration(cost.total_s)} (decoding {duration(cost.decode_s)}, "
        f"forward {duration(cost.forward_s)}; from a short calibration on these files)"
    )
