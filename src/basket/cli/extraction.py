"""``basket extract``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from basket.cli.options import (
    DATA,
    DEFAULT_CACHE,
    EXIT_VIDEOS_FAILED,
    HOW,
    Cache,
    Json,
    Levels,
    Quiet,
    RayAddress,
    Verbose,
    VideoRoot,
    Weights,
    Workers,
)
from basket.cli.values import listed, part_of, weights_by_model, whole_number

if TYPE_CHECKING:
    from basket.extract.segments import SegmentPlan


def extract(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="VIDEO", help="Video files or folders; by default what BASKET's labels list."
        ),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="CSV",
            help="Label file whose videos are meant; may be repeated.",
            rich_help_panel=DATA,
        ),
    ] = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Backbone (basket models lists them); videomae unless given; may be repeated.",
            rich_help_panel=HOW,
        ),
    ] = None,
    weights: Weights = None,
    revision: Annotated[
        str | None,
        typer.Option(metavar="SHA", help="Revision of the checkpoint.", rich_help_panel=HOW),
    ] = None,
    untrained: Annotated[
        bool,
        typer.Option(
            "--untrained",
            help="Smoke test: let weights in that were never trained, labelled random.",
            rich_help_panel=HOW,
        ),
    ] = False,
    segments: Annotated[
        str,
        typer.Option(
            metavar="dense|N", help="dense, or a number of segments.", rich_help_panel=HOW
        ),
    ] = "dense",
    window: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS", help="Seconds of a segment; 64/30 unless given.", rich_help_panel=HOW
        ),
    ] = None,
    scales: Annotated[
        str,
        typer.Option(
            metavar="1,2,…", help="Window lengths, in windows: 1,2,4.", rich_help_panel=HOW
        ),
    ] = "1",
    align: Annotated[
        Literal["exact", "keyframe"],
        typer.Option(
            help="keyframe: starts move to the nearest key frame; fast, but samples the beginnings "
            "of plays.",
            rich_help_panel=HOW,
        ),
    ] = "exact",
    crop: Annotated[
        Literal["center", "squash", "three"],
        typer.Option(help="How a wide frame becomes a square one.", rich_help_panel=HOW),
    ] = "center",
    streams: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]STREAM,…",
            help="What to store: pooled (unless given), layers:-4,-3, tubelets, prompts; may be "
            "repeated.",
            rich_help_panel=HOW,
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="YAML", help="YAML of phrases for the stream prompts.", rich_help_panel=HOW
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            metavar="DEVICE", help="auto, cpu, cuda, cuda:0,1 or all.", rich_help_panel=HOW
        ),
    ] = "auto",
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"],
        typer.Option(help="Number format of the networks.", rich_help_panel=HOW),
    ] = "auto",
    decoder: Annotated[
        str,
        typer.Option(metavar="NAME", help="auto, pyav, decord or torchcodec.", rich_help_panel=HOW),
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Clips per call; chosen unless given.", rich_help_panel=HOW
        ),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=1, help="Seconds of decoding per video.", rich_help_panel=HOW
        ),
    ] = 900.0,
    workers: Workers = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Only part I (from 0) of N, by a hash of the id.",
            rich_help_panel=DATA,
        ),
    ] = None,
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="This machine, or a Ray cluster.", rich_help_panel=HOW),
    ] = "local",
    ray_address: RayAddress = None,
    actors: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=1, help="Ray actors; as many as fit unless given.", rich_help_panel=HOW
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Only the first so many.", rich_help_panel=DATA),
    ] = None,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Try videos again that failed before.")
    ] = False,
    hash_sources: Annotated[
        bool,
        typer.Option(
            "--hash-sources",
            help="Go by the content of video files rather than their size and time.",
            rich_help_panel=DATA,
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only tell what it would cost; write nothing.")
    ] = False,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Embed videos with frozen backbones, once.

    The embeddings of every segment go into the cache.

    What is in the cache already is left alone, so an interrupted run is continued by the same
    command. Ends with 3 when some videos could not be read; each of them is listed with its reason.

    \b
    Example:
      basket extract --model videomae --labels train.csv --labels test.csv
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.extraction import estimate_lines, extraction_progress, extraction_tables

    output = Output(json, quiet)
    plan = plan_of(segments=segments, window=window, align=align, scales=scales, crop=crop)
    what: dict[str, Any] = {
        "videos": videos or (),
        "labels": labels or (),
        "video_root": video_root,
        "n_levels": levels,
        "models": model or ["videomae"],
        "weights": weights_by_model(weights or []),
        "revision": revision,
        "untrained": untrained,
        "cache": cache,
        "plan": plan,
        "streams": listed(streams or ["pooled"]),
        "prompts": prompts,
        "decoder": decoder,
        "device": device,
        "precision": precision,
        "workers": workers,
        "shard": part_of(shard),
        "limit": limit,
        "retry_failed": retry_failed,
        "hash_sources": hash_sources,
        "say": output.note,
    }
    if dry_run:
        cost = workflows.estimate_extraction(**what)
        output.result(cost.to_json(), *estimate_lines(cost))
        return
    with output.progress("Extracting") as report:
        summary = workflows.extract_features(
            **what,
            engine=engine,
            ray_address=ray_address,
            actors=actors,
            batch_size=batch_size,
            timeout_s=timeout,
            on_progress=extraction_progress(report),
        )
    output.result(summary.to_json(), *extraction_tables(summary, cache))
    if summary.failed:
        raise typer.Exit(EXIT_VIDEOS_FAILED)


def plan_of(
    *, segments: str, window: float | None, align: Any, scales: str, crop: Any
) -> SegmentPlan:
    """The plan that these options describe.

    Raises
    ------
    UsageError
        One of them has no meaning.
    """
    from basket.extract.segments import DEFAULT_WINDOW_S, SegmentPlan

    return SegmentPlan(
        count=None if segments == "dense" else whole_number("--segments", segments, "dense"),
        window_s=DEFAULT_WINDOW_S if window is None else window,
        align=align,
        scales=tuple(whole_number("--scales", part) for part in scales.split(",")),
        crop=crop,
    )
