"""``basket evaluate``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli.options import Json, Player, Quiet, Verbose, VideoRoot
from basket.cli.tracking import Track, send
from basket.cli.values import named_files


def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN")],
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CSV",
            help="A test set; may be repeated. By default BASKET's test and cross sets.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="By default the cache each run was fitted from."),
    ] = None,
    video_root: VideoRoot = None,
    player: Player = None,
    meta: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV", help="CSV of what is known about videos or players, to slice by."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="HTML file to write (JSON and markdown beside it)."),
    ] = None,
    track: Track = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Score fitted runs on test sets.

    Accuracy, MAE and kappa, beside the prior-only baseline.

    \b
    Example:
      basket evaluate runs/gbdt --test test=test.csv --report report.html
    """
    from json import loads

    from basket import workflows
    from basket.console import Output
    from basket.console.comparison import comparison_tables
    from basket.console.scores import evaluation_tables

    output = Output(json, quiet)
    with output.working("Evaluating") as stage:
        found = workflows.evaluate_run(
            runs,
            tests=named_files("--test", test or []),
            cache=cache,
            video_root=video_root,
            player=player,
            meta=meta,
            report=report,
            say=output.note,
            on_stage=stage,
        )
    output.result(
        loads(found.to_json()),
        *evaluation_tables(found),
        *comparison_tables(found.comparisons, found.skills),
    )
    if report is not None:
        output.note(f"Report: {report}")
    send(found, track, output=output)
