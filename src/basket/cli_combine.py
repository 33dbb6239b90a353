"""The command ``combine``: parse, one call of workflows, show the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer


def _forget(_: bool) -> None:
    """Until :func:`add_to` says who wants to know."""


_verbose_is: Callable[[bool], None] = _forget


def combine(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.", metavar="RUN")],
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Scale each skill's probabilities by a temperature."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make; by default runs/<time>-<digest>.")
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout, all else on stderr.")
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose", help="With an error, its traceback.", callback=lambda on: _verbose_is(on)
        ),
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")] = False,
) -> None:
    """Average fitted runs; the weights are chosen on the held-out players they share.

    The result is a run like any other: evaluate it, predict with it.

    Example: basket combine runs/ridge runs/gbdt runs/mlp --out runs/together
    """
    from basket import workflows
    from basket.console import Output, fit_tables, run_document

    run = workflows.combine_runs(runs, calibrate=calibrate, out=out)
    document = run_document(run)
    shares = zip(run.config["params"]["members"], run.config["params"]["weights"], strict=True)
    said = ", ".join(f"{name} {share:.2f}" for name, share in shares)
    Output(json, quiet).result(document, *fit_tables(document), f"Weights: {said}")


def add_to(app: typer.Typer, *, verbose_is: Callable[[bool], None] = _forget) -> None:
    """Register the command.

    Parameters
    ----------
    app : Typer
    verbose_is : callable
        Told whether ``--verbose`` was given.
    """
    global _verbose_is
    _verbose_is = verbose_is
    app.command()(combine)
