"""``basket fit-head`` and ``basket combine``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli.options import (
    DATA,
    DEFAULT_CACHE,
    Cache,
    Calibrate,
    Json,
    Levels,
    Player,
    Quiet,
    RunFolder,
    SetAside,
    Train,
    Verbose,
    VideoRoot,
)
from basket.cli.tracking import Track, send
from basket.cli.values import settings_of


def fit_head(
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:STREAM]",
            help="Feature set, or a unique beginning of its name; may be repeated. By default "
            "the only one in the cache.",
            rich_help_panel=DATA,
        ),
    ] = None,
    train: Train = None,
    val: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Label file on which decision rules are chosen; by default BASKET's val.csv.",
            rich_help_panel=DATA,
        ),
    ] = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    player: Player = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="POOLING",
            help="How segments become one row: mean, std, max, … joined by +, of a subset "
            "(mean+std/every:4); mean+std unless given. Attention takes segments or "
            "segments/every:4.",
        ),
    ] = None,
    head: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="prior, ridge, cumulative, mlp, gbdt, attention or prompts."
        ),
    ] = "ridge",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the head."),
    ] = None,
    calibrate: Calibrate = False,
    set_aside: SetAside = 0.1,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="For everything random.")] = 0,
    cache: Cache = DEFAULT_CACHE,
    out: RunFolder = None,
    track: Track = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Fit one head for all skills, in seconds.

    From cached features, on a CPU; leaves a run folder.

    \b
    Example:
      basket fit-head --features videomae --head gbdt --train train.csv --val val.csv
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.scores import fit_tables, run_document

    output = Output(json, quiet)
    with output.working("Fitting") as stage:
        run = workflows.fit_head(
            cache=cache,
            features=features or (),
            train=train,
            val=val,
            video_root=video_root,
            n_levels=levels,
            player=player,
            pool=pool,
            head=head,
            params=settings_of(settings or []),
            calibrate=calibrate,
            set_aside=set_aside,
            seed=seed,
            out=out,
            say=output.note,
            on_stage=stage,
        )
    document = run_document(run)
    output.result(document, *fit_tables(document))
    send(run, track, output=output)


def combine(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.", metavar="RUN")],
    calibrate: Calibrate = False,
    out: RunFolder = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Average fitted runs into one.

    The weights are chosen on the held-out players that the runs share. The result is a run like any
    other: evaluate it, predict with it.

    \b
    Example:
      basket combine runs/ridge runs/gbdt runs/mlp --out runs/together
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.scores import fit_tables, run_document

    run = workflows.combine_runs(runs, calibrate=calibrate, out=out)
    document = run_document(run)
    shares = zip(run.config["params"]["members"], run.config["params"]["weights"], strict=True)
    said = ", ".join(f"{name} {share:.2f}" for name, share in shares)
    Output(json, quiet).result(document, *fit_tables(document), f"Weights: {said}")
