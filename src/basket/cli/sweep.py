"""``basket sweep`` and ``basket leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from basket.cli.options import (
    DATA,
    DEFAULT_CACHE,
    Cache,
    Json,
    Levels,
    Player,
    Quiet,
    RayAddress,
    SetAside,
    Train,
    Verbose,
    VideoRoot,
)
from basket.cli.tracking import Track, send
from basket.errors import UsageError

Metric = Literal["accuracy", "mae", "qwk"]

#: Panels of the help.
TRY = "What to try"
HOW = "How to search"


#: What a specification says too.
SPACE_FLAGS = (
    "features", "pool", "segments", "head", "settings", "seeds", "search", "budget", "metric",
)  # fmt: skip


def sweep(
    context: typer.Context,
    spec: Annotated[
        Path | None, typer.Argument(help="YAML specification; or use the flags.", metavar="SPEC")
    ] = None,
    features: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[:STREAM][+NAME]",
            help="Feature set, or several side by side; may be repeated.",
            rich_help_panel=TRY,
        ),
    ] = None,
    pool: Annotated[
        list[str] | None,
        typer.Option(metavar="POOLING", help="Pooling; may be repeated.", rich_help_panel=TRY),
    ] = None,
    segments: Annotated[
        list[str] | None,
        typer.Option(
            metavar="SUBSET",
            help="Which segments take part: all, every:N, first:N, …; may be repeated.",
            rich_help_panel=TRY,
        ),
    ] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Head; may be repeated.", rich_help_panel=TRY),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="HEAD.KEY=V1,V2",
            help="Values of a head's parameter.",
            rich_help_panel=TRY,
        ),
    ] = None,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Fits per configuration.", rich_help_panel=TRY)
    ] = 1,
    search: Annotated[
        Literal["grid", "random", "halving", "optuna"],
        typer.Option(help="How the space is walked.", rich_help_panel=HOW),
    ] = "grid",
    budget: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Configurations to try at most.", rich_help_panel=HOW
        ),
    ] = None,
    metric: Annotated[
        Metric, typer.Option(help="What to select by, on validation.", rich_help_panel=HOW)
    ] = "accuracy",
    jobs: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, help="Processes; they share the cores.", rich_help_panel=HOW
        ),
    ] = 1,
    worker: Annotated[
        bool,
        typer.Option(
            "--worker",
            help="Only take part in a sweep of other processes on the same folder.",
            rich_help_panel=HOW,
        ),
    ] = False,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="With ray, --jobs is the cores of each helper.", rich_help_panel=HOW),
    ] = "local",
    ray_address: RayAddress = None,
    train: Train = None,
    val: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Label file to select on; without it, a fifth of the training players.",
            rich_help_panel=DATA,
        ),
    ] = None,
    test: Annotated[
        Path | None,
        typer.Option(
            metavar="CSV",
            help="Label file that the chosen one is scored on, once.",
            rich_help_panel=DATA,
        ),
    ] = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    player: Player = None,
    set_aside: SetAside = 0.1,
    cache: Cache = DEFAULT_CACHE,
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder of the sweep; run again to continue.")
    ] = Path("sweep"),
    track: Track = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Try many heads and poolings on one cache.

    The best is chosen on validation players, and it alone is scored on the test set, once.

    What is finished is never done again: a killed sweep is continued by the same command, and
    several processes may work on one folder.

    \b
    Example:
      basket sweep --pool mean --pool mean+std --head ridge --head gbdt --seeds 3
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.sweep import sweep_tables
    from basket.sweep import read_space, space_from_flags

    # Only click knows a default from the same value written out.
    given = [each for each in SPACE_FLAGS if _is_written(context, each)]
    if spec is not None and given:
        flag = "set" if given[0] == "settings" else given[0]
        raise UsageError(
            f"Give a specification or flags of what to try, not both: --{flag} belongs in {spec}"
        )
    output = Output(json, quiet)
    space = (
        read_space(spec)
        if spec is not None
        else space_from_flags(
            features=features or (),
            pools=pool or (),
            segments=segments or (),
            heads=head or (),
            settings=settings or (),
            seeds=seeds,
            search=search,
            budget=budget,
            metric=metric,
        )
    )
    with output.progress("Fitting") as report:
        found = workflows.run_sweep(
            space,
            cache=cache,
            train=train,
            val=val,
            test=test,
            video_root=video_root,
            out=out,
            jobs=jobs,
            worker=worker,
            engine=engine,
            ray_address=ray_address,
            n_levels=levels,
            player=player,
            set_aside=set_aside,
            say=output.note,
            on_progress=report,
        )
    output.result(found.to_json(), *sweep_tables(found))
    send(found, track, output=output)


def _is_written(context: typer.Context, option: str) -> bool:
    source = context.get_parameter_source(option)
    return source is not None and source.name != "DEFAULT"


def leaderboard(
    folder: Annotated[Path, typer.Argument(help="Folder of a sweep.", metavar="DIR")],
    metric: Annotated[
        Metric | None, typer.Option(help="What to order by; by default what was selected by.")
    ] = None,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="HTML file to write.")] = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Show the configurations of a sweep in order.

    And what each choice is worth, the others averaged.

    \b
    Example:
      basket leaderboard sweep --metric qwk --html leaderboard.html
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.sweep import leaderboard_tables

    output = Output(json, quiet)
    board = workflows.leaderboard(folder, metric=metric, html=html)
    output.result(board.to_json(), *leaderboard_tables(board))
    if html is not None:
        output.note(f"Leaderboard: {html}")
