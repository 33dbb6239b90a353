"""``basket predict``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli.options import (
    DATA,
    EXIT_VIDEOS_FAILED,
    HOW,
    Json,
    Quiet,
    Verbose,
    VideoRoot,
    Workers,
)
from basket.cli.values import weights_by_model


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")],
    videos: Annotated[
        list[Path],
        typer.Argument(
            help="Video files, folders of them, CSV files that list them.", metavar="VIDEO"
        ),
    ],
    report: Annotated[
        Path | None, typer.Option(metavar="FILE", help="HTML file to write the skill cards to.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table to write (.parquet, .csv or .json). An interrupted call with --out "
            "continues where it stopped.",
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Videos whose features are in this cache are not decoded; by default "
            "basket-cache, where it is there. It is only read.",
            rich_help_panel=DATA,
        ),
    ] = None,
    video_root: VideoRoot = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR|REPO",
            help="Checkpoint, where the recorded one is not at hand.",
            rich_help_panel=HOW,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="YAML",
            help="YAML of the phrases that the run's text scores were made with, where they are "
            "not basket's own.",
            rich_help_panel=HOW,
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu or cuda.", rich_help_panel=HOW)
    ] = "auto",
    workers: Workers = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Predict the skills of the player in a reel.

    As levels with probabilities and how often such statements are right; with --report, as a page
    that shows the moments behind them. Ends with 3 when some videos could not be read; each of
    them is listed with its reason.

    \b
    Example:
      basket predict runs/gbdt reel.mp4 --report card.html
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.extraction import extraction_progress
    from basket.console.prediction import prediction_tables

    output = Output(json, quiet)
    with output.progress("Watching") as progress:
        found = workflows.predict_videos(
            run,
            videos,
            video_root=video_root,
            cache=cache,
            weights=weights_by_model(weights or []),
            device=device,
            prompts=prompts,
            workers=workers,
            report=report,
            out=out,
            say=output.note,
            on_progress=extraction_progress(progress),
        )
    output.result(found.to_json(), *prediction_tables(found))
    if report is not None and found.videos:
        output.note(f"Skill cards: {report}")
    if out is not None:
        output.note(f"Predictions: {out}")
    if found.failed:
        raise typer.Exit(EXIT_VIDEOS_FAILED)
