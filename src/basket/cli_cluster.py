"""The command ``slurm``: parse, one call of workflows, show the result."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from basket.errors import UsageError

_NOT_IN_AN_ARRAY = {
    "shard": "--shard is what the array sets",
    "dry_run": "--dry-run is not for an array; run basket extract --dry-run here",
    "ray_address": "Ray and an array exclude each other",
}


def _forget(_: bool) -> None:
    """Until :func:`add_to` says who wants to know."""


_verbose_is: Callable[[bool], None] = _forget
_app = typer.Typer()


def slurm(
    context: typer.Context,
    array: Annotated[int, typer.Option(min=1, help="Tasks: each does one shard.")],
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Tasks that run at the same time at most.")
    ] = None,
    cpus: Annotated[int, typer.Option(min=1, help="Cores of a task, all for decoding.")] = 8,
    gpus: Annotated[int, typer.Option(min=0, help="GPUs of a task.")] = 0,
    memory: Annotated[str, typer.Option(help="Memory of a task.")] = "32G",
    time: Annotated[
        str, typer.Option(help="Longest time of a task; then it is queued again.")
    ] = "12:00:00",
    partition: Annotated[str | None, typer.Option(help="Partition to run in.")] = None,
    account: Annotated[str | None, typer.Option(help="Account to charge.")] = None,
    name: Annotated[str, typer.Option(help="Name of the job.")] = "basket",
    out: Annotated[Path, typer.Option(help="Script to write.")] = Path("basket.sbatch"),
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
    """Write the sbatch script of an extraction that runs as a Slurm array.

    All other options are those of basket extract. Tasks are warned before their time is over,
    commit what is finished, and are queued again until everything is done.

    Example: basket slurm --array 64 --gpus 1 --model videomae --labels train.csv
    """
    from basket import workflows_cluster
    from basket.console import Output
    from basket.extract.slurm import ArrayJob

    _require_extract_options(context.args)
    job = ArrayJob(
        parts=array,
        at_once=at_once,
        cpus=cpus,
        gpus=gpus,
        memory=memory,
        time=time,
        partition=partition,
        account=account,
        name=name,
    )
    path = workflows_cluster.write_array_script(context.args, job, out)
    Output(json, quiet).result(
        {"script": str(path), "tasks": array, "arguments": context.args},
        f"{path}: {array} tasks. Submit it with: sbatch {path}",
        "Watch all of them with: basket cache status --watch",
    )


def _require_extract_options(arguments: list[str]) -> None:
    """Have ``basket extract`` itself say what is wrong, now instead of in 64 logs."""
    extract = typer.main.get_command(_app).commands["extract"]  # type: ignore[attr-defined]
    given = extract.make_context("basket extract", list(arguments)).params
    for parameter, why in _NOT_IN_AN_ARRAY.items():
        if given.get(parameter):
            raise UsageError(f"{why}; leave it away")
    if given.get("engine", "local") != "local":
        raise UsageError("Ray and an array exclude each other; leave --engine away")


def add_to(app: typer.Typer, *, verbose_is: Callable[[bool], None] = _forget) -> None:
    """Register the command.

    Parameters
    ----------
    app : Typer
        Has the command ``extract``, whose options are passed on.
    verbose_is : callable
        Told whether ``--verbose`` was given.
    """
    global _app, _verbose_is
    _app, _verbose_is = app, verbose_is
    app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(slurm)
