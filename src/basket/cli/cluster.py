"""``basket slurm``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from basket.cli.extraction import extract, plan_of
from basket.cli.options import Json, Quiet, Verbose
from basket.cli.values import listed
from basket.errors import UsageError

_NOT_IN_AN_ARRAY = {
    "shard": "--shard is what the array sets",
    "dry_run": "--dry-run is not for an array; run basket extract --dry-run here",
    "ray_address": "Ray and an array exclude each other",
}

#: How the command is made: it takes the options of ``extract`` too.
PASSES_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def slurm(
    context: typer.Context,
    array: Annotated[int, typer.Option(metavar="N", min=1, help="Tasks: each does one shard.")],
    at_once: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Tasks that run at the same time at most."),
    ] = None,
    cpus: Annotated[
        int, typer.Option(metavar="N", min=1, help="Cores of a task, all for decoding.")
    ] = 8,
    gpus: Annotated[int, typer.Option(metavar="N", min=0, help="GPUs of a task.")] = 0,
    memory: Annotated[str, typer.Option(metavar="SIZE", help="Memory of a task.")] = "32G",
    time: Annotated[
        str,
        typer.Option(metavar="H:MM:SS", help="Longest time of a task; then it is queued again."),
    ] = "12:00:00",
    partition: Annotated[
        str | None, typer.Option(metavar="NAME", help="Partition to run in.")
    ] = None,
    account: Annotated[str | None, typer.Option(metavar="NAME", help="Account to charge.")] = None,
    name: Annotated[str, typer.Option(metavar="NAME", help="Name of the job.")] = "basket",
    out: Annotated[Path, typer.Option(metavar="FILE", help="Script to write.")] = Path(
        "basket.sbatch"
    ),
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Write the script of a Slurm array.

    An extraction in as many tasks as you like. All other options are those of basket extract.
    Tasks are warned before their time is over,
    commit what is finished, and are queued again until everything is done.

    \b
    Example:
      basket slurm --array 64 --gpus 1 --model videomae --labels train.csv
    """
    from basket import workflows
    from basket.console import Output
    from basket.extract.slurm import ArrayJob

    read = _checked_extract_options(context.args)
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
    path = workflows.write_array_script(context.args, job, out)
    output = Output(json, quiet)
    not_here = [str(each) for each in read if not each.exists()]
    if not_here:
        output.warn(f"Not there now: {', '.join(not_here)}. The tasks will have to find it.")
    output.result(
        {"script": str(path), "tasks": array, "arguments": context.args, "not_here": not_here},
        f"{path}: {array} tasks. Submit it with: sbatch {shlex.quote(str(path))}",
        "Watch all of them with: basket cache status --watch",
    )


def _checked_extract_options(arguments: list[str]) -> list[Path]:
    """Have ``basket extract`` itself say what is wrong, now instead of in 64 logs.

    Returns the files and folders that it will read.
    """
    alone = typer.Typer(add_completion=False)
    alone.command()(extract)
    given = typer.main.get_command(alone).make_context("basket extract", list(arguments)).params
    for parameter, why in _NOT_IN_AN_ARRAY.items():
        if given.get(parameter):
            raise UsageError(f"{why}; leave it away")
    if given.get("engine", "local") != "local":
        raise UsageError("Ray and an array exclude each other; leave --engine away")
    _check_names_and_plan(given)
    several = [*(given.get("videos") or ()), *(given.get("labels") or ())]
    return [Path(each) for each in (*several, given.get("video_root")) if each is not None]


def _check_names_and_plan(given: Mapping[str, Any]) -> None:
    """What ``basket extract`` finds out before it reads videos or weights."""
    from basket.extract.backbones import BACKBONES, resolve, streams_for
    from basket.extract.device import choose_device
    from basket.extract.devices import device_list

    plan_of(**{name: given[name] for name in ("segments", "window", "align", "scales", "crop")})
    models = given["model"] or ["videomae"]
    for model in models:
        resolve(BACKBONES.admit(model))
    streams_for(listed(given["streams"] or ["pooled"]), models)
    # What there is in the node that writes the script says nothing about the tasks': no auto.
    precision = "fp32" if given["precision"] == "auto" else given["precision"]
    for device in device_list(given["device"], cuda_devices=lambda: 1):
        choose_device("cpu" if device == "auto" else device, precision)
