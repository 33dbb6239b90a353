"""``basket demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from basket.cli.options import Json, Quiet, Verbose


def demo(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder for reels, cache, runs and report.")
    ] = Path("basket-demo"),
    players: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Players in train, val and test together; 240 unless given."
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Length of a reel; 30 unless given."),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Decides everything.")] = 0,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole chain on simulated reels.

    Real mp4 files, cache, heads, report.

    Needs no network and no GPU. Run it again to continue where it was interrupted.

    \b
    Example:
      basket demo --out my-demo --seed 7
    """
    from basket.console import Output
    from basket.console.scores import results_tables
    from basket.demo.demo import run_demo

    output = Output(json, quiet)
    found = run_demo(
        out,
        players=players,
        seconds=seconds,
        seed=seed,
        say=output.note,
        progress=output.progress,
    )
    output.result(found.to_json(), *results_tables(found.results), "", f"Report: {found.report}")
