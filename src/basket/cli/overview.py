"""What there is: label files, backbones, this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli.options import DEFAULT_CACHE, Cache, Json, Levels, Player, Verbose, VideoRoot


def labels(
    files: Annotated[list[Path], typer.Argument(help="Label files.", metavar="CSV")],
    video_root: VideoRoot = None,
    levels: Levels = 5,
    player: Player = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count what label files hold.

    Levels per skill, missing files, repeated rows, and players who are in two files.

    \b
    Example:
      basket labels BASKET_Labels/BASKET/*.csv --video-root .
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.labels import label_tables

    found = workflows.describe_labels(files, video_root=video_root, n_levels=levels, player=player)
    Output(json).result(found.to_json(), *label_tables(found))


def models(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A model, for all about it.")
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the backbones, or tell all of one.

    \b
    Example:
      basket models videomae
    """
    from basket.console import Output
    from basket.console.machine import model_tables
    from basket.extract.backbones import model_details, model_table

    if name is None:
        rows = model_table()
        Output(json).result({"models": rows}, *model_tables(rows))
    else:
        details = model_details(name)
        Output(json).result(details, *model_tables([details], whole=True))


def doctor(
    cache: Cache = DEFAULT_CACHE,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not try to reach the model hub.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Tell what this machine can do.

    And what to do about what it cannot.

    \b
    Example:
      basket doctor --cache /scratch/basket-cache
    """
    from basket.console import Output
    from basket.console.machine import check_table
    from basket.doctor import examine, worst

    checks = examine(cache, hub=not offline)
    Output(json).result({"checks": [check.to_json() for check in checks]}, check_table(checks))
    worst(checks)
