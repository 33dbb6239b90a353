"""What a person sees of fitted and of evaluated runs."""

from __future__ import annotations

import collections
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.markup import escape

from basket.console.tables import plain_table, reasons_table
from basket.console.words import listed

if TYPE_CHECKING:
    from basket.evaluate.report import EvaluationReport
    from basket.heads.persist import Run

#: Least width of names of features: longer ones are folded where the terminal is narrow.
_FEATURES_COLUMNS = 12


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
    from basket.heads.persist import cautions

    held_out = [item for item in document["metrics"].items() if item[0] != "train"]
    split, scores = held_out[0] if held_out else ("train", document["metrics"]["train"])
    table = plain_table(
        f"{document['head']} on {split}: {scores['n_videos']} videos, "
        f"{scores['n_players']} players (prior in brackets)"
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
    if unscored := [each for each, score in head["mae"]["per_skill"].items() if score is None]:
        yield f"No labels here or in training, and in no mean: {escape(', '.join(unscored))}"
    spent = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in document["seconds"].items())
    yield f"\nTime: {spent}"
    if aside := document["set_aside"]:
        yield (
            f"Set aside: {aside['n_players']} players ({aside['n_videos']} videos), on whom only "
            "how often the run is right was measured"
        )
    yield from (f"[yellow]{sentence}[/]" for sentence in cautions(document))
    yield f"Run: {escape(document['run'])}"


def evaluation_tables(report: EvaluationReport) -> Iterator[RenderableType]:
    """Scores per run and test set, and everything that was left out of them."""
    from basket.evaluate.wording import banners

    yield from results_tables([*report.results(), *_prior_rows(report)])
    yield from (f"[yellow]{escape(sentence)}[/]" for sentence in banners(report))
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
    table = plain_table(f"Mean over the skills, on {escape(splits[0])}", gap=1)
    table.add_column("features", overflow="fold", min_width=_FEATURES_COLUMNS)
    table.add_column("head")
    for column in ("accuracy", "MAE", "QWK", *splits[1:]):
        table.add_column(escape(column.replace("_", " ")), justify="right", max_width=8)
    by_run: dict[tuple[str, ...], dict[str, Mapping[str, Any]]] = {}
    for row in results:
        key = (row["features"], row["head"], row["run"])
        by_run.setdefault(key, {})[row["split"]] = row
    alike = collections.Counter((features, head) for features, head, _ in by_run)
    shown = None
    for (features, head, run), rows in by_run.items():
        main = rows.get(splits[0], {})
        table.add_row(
            escape(features) if features != shown else "",
            escape(head if alike[features, head] == 1 else f"{head} ({run})"),
            *(_score(name, main.get(name)) for name in ("accuracy", "mae", "qwk")),
            *(_score("accuracy", rows.get(split, {}).get("accuracy")) for split in splits[1:]),
        )
        shown = features
    yield table
    if len(splits) > 1:
        yield f"The columns after QWK are accuracy % on {escape(', '.join(splits[1:]))}."


def _prior_rows(report: EvaluationReport) -> list[Mapping[str, Any]]:
    """What the training labels alone would score, as one more run; once where runs agree."""
    if any(run.description.head == "prior" for run in report.runs):
        return []
    rows: dict[tuple[Any, ...], Mapping[str, Any]] = {}
    for run in report.runs:
        for split, scores in run.splits.items():
            prior = {name: found.prior_mean for name, found in scores.metrics.items()}
            row = {"features": "labels alone", "head": "prior", "run": run.description.name}
            rows.setdefault((split, *prior.values()), {**row, "split": split, **prior})
    return list(rows.values())


def _beside(metric: str, score: float | None, prior: float | None) -> str:
    """A score with the prior's in brackets; a dash where it is undefined."""
    shown = _score(metric, score)
    return shown if prior is None else f"{shown} [dim]({_score(metric, prior)})[/]"


def _score(metric: str, score: float | None) -> str:
    if score is None or score != score:
        return "-"
    return f"{100 * score:.1f}" if metric == "accuracy" else f"{score:.3f}"
