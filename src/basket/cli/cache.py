"""``basket cache``: the commands on this machine (``hub`` adds those that push and pull)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from basket.cli.options import (
    DEFAULT_CACHE,
    EXIT_INTEGRITY,
    EXIT_VIDEOS_FAILED,
    GROUP,
    Cache,
    Json,
    Levels,
    Quiet,
    Verbose,
    VideoRoot,
)

cache_app = typer.Typer(help="See, check, mend, merge, export and import cached features.", **GROUP)

Names = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="NAME", help="Feature sets, or unique beginnings of their names; by default all."
    ),
]
Labels = Annotated[
    list[Path] | None,
    typer.Option(metavar="CSV", help="Label file whose videos are meant; may be repeated."),
]


@cache_app.command("ls")
def ls(
    names: Names = None,
    cache: Cache = DEFAULT_CACHE,
    labels: Labels = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the feature sets.

    Videos done, failed and missing, size, when they were added, and by what.

    \b
    Example:
      basket cache ls --labels train.csv --labels test.csv
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import cache_tables

    found = workflows.list_cache(
        cache, names=names or (), labels=labels or (), video_root=video_root, n_levels=levels
    )
    Output(json).result(found.to_json(), *cache_tables(found))


@cache_app.command()
def status(
    names: Names = None,
    cache: Cache = DEFAULT_CACHE,
    labels: Labels = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    watch: Annotated[
        bool, typer.Option("--watch", help="How far all writers are, until nobody is at work.")
    ] = False,
    every: Annotated[
        float, typer.Option(metavar="SECONDS", help="With --watch: seconds between looks.")
    ] = 5.0,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Tell all of each feature set.

    Where its rows come from, failed videos with their reasons, missing ones.

    \b
    Example:
      basket cache status videomae --labels train.csv
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import status_tables

    if watch:
        from basket.console.watch import show_progress

        looks = workflows.watch_cache(
            cache,
            names=names or (),
            labels=labels or (),
            video_root=video_root,
            n_levels=levels,
            every_s=every,
        )
        show_progress(Output(json), looks)
        return
    found = workflows.list_cache(
        cache, names=names or (), labels=labels or (), video_root=video_root, n_levels=levels
    )
    Output(json).result(found.to_json(), *status_tables(found))


@cache_app.command()
def verify(
    names: Names = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Read every value too: checksums, finiteness.")
    ] = False,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check that nothing is damaged.

    Every shard against its name, its structure and the manifest; nothing is changed. Ends with 4
    and a list where something is wrong.

    \b
    Example:
      basket cache verify --deep
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import verify_tables

    output = Output(json, quiet)
    with output.progress("Verifying") as report:
        found = workflows.verify_cache(cache, names=names or (), deep=deep, tell=report)
    output.result({"feature_sets": [each.to_json() for each in found]}, *verify_tables(found))
    if any(each.problems for each in found):
        raise typer.Exit(EXIT_INTEGRITY)


@cache_app.command()
def repair(
    names: Names = None,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Set damaged shards aside.

    The next extraction makes exactly their videos again. Nothing is deleted but abandoned temporary
    files; the manifest is written anew.

    \b
    Example:
      basket cache repair
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import repair_tables

    output = Output(json, quiet)
    with output.progress("Repairing") as report:
        found = workflows.repair_cache(cache, names=names or (), tell=report)
    output.result({"feature_sets": [each.to_json() for each in found]}, *repair_tables(found))


@cache_app.command()
def pack(
    names: Names = None,
    megabytes: Annotated[
        int, typer.Option(metavar="N", min=1, max=2048, help="Largest size of a packed shard.")
    ] = 256,
    delete: Annotated[
        bool,
        typer.Option("--delete", help="Delete the small shards instead of setting them aside."),
    ] = False,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Merge small shards into large ones.

    Others may write and read meanwhile.

    \b
    Example:
      basket cache pack --delete
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import pack_tables

    output = Output(json, quiet)
    with output.progress("Packing") as report:
        found = workflows.pack_cache(
            cache,
            names=names or (),
            target_bytes=megabytes << 20,
            delete=delete,
            tell=report,
        )
    output.result({"feature_sets": [each.to_json() for each in found]}, *pack_tables(found))


@cache_app.command("export")
def export_(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Feature set, or a unique beginning of its name.")
    ],
    out: Annotated[
        Path, typer.Argument(metavar="OUT", help="x.parquet, x.npz, or a folder for npy files.")
    ],
    format: Annotated[  # noqa: A002 - the option's name
        Literal["auto", "parquet", "npz", "npy"], typer.Option(help="auto: by the name of OUT.")
    ] = "auto",
    streams: Annotated[
        str, typer.Option(metavar="STREAM,…", help="Joined by commas; by default all.")
    ] = "",
    labels: Labels = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Write features for other programs.

    As parquet, one npz, or a npy file per video. Ends with 3 when some videos of --labels have
    no features; each of them is listed with its reason.

    \b
    Example:
      basket cache export videomae features.parquet --labels test.csv
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import export_tables

    output = Output(json, quiet)
    with output.progress("Exporting") as report:
        found = workflows.export_features(
            name,
            out,
            cache=cache,
            format="" if format == "auto" else format,
            streams=[part.strip() for part in streams.split(",") if part.strip()],
            labels=labels or (),
            video_root=video_root,
            n_levels=levels,
            tell=report,
        )
    output.result(found.to_json(), *export_tables(found))
    if found.left_out:  # a script that goes on with fewer rows than it asked for must know
        raise typer.Exit(EXIT_VIDEOS_FAILED)


@cache_app.command("import")
def import_(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="SOURCE", help="Folder of npy or npz files by video id, or one npz or parquet."
        ),
    ],
    spec: Annotated[
        Path,
        typer.Option(
            metavar="YAML", help="YAML or JSON: backbone, plan (window_s, stride_s), streams."
        ),
    ],
    cache: Cache = DEFAULT_CACHE,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Take in features of another program.

    They become a feature set of their own. Ends with 3 when some files could not be taken; each of
    them is listed with its reason.

    \b
    Example:
      basket cache import slowfast-features/ --spec slowfast.yaml
    """
    from basket import workflows
    from basket.console import Output
    from basket.console.cache import import_tables

    output = Output(json, quiet)
    with output.progress("Importing") as report:
        found = workflows.import_features(
            source,
            spec=spec,
            cache=cache,
            tell=lambda done, total: report(done, total) if total else None,
        )
    output.result(found.to_json(), *import_tables(found))
    if found.failed:
        raise typer.Exit(EXIT_VIDEOS_FAILED)
