"""The command line: parse the options, make one call of workflows, show what it returns.

No logic lives here. Heavy modules are imported inside the commands, so that ``--help`` is instant.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from basket import __version__, cli_cluster, cli_combine, cli_hub, cli_sweep
from basket.cli_cache import cache_app, tell_verbose_to
from basket.cli_track import Track, send
from basket.errors import BasketError, UsageError

_verbose = False


def _remember_verbose(value: bool) -> None:
    global _verbose
    _verbose = value


tell_verbose_to(_remember_verbose)

app = typer.Typer(
    help="Frozen video foundation models once, ordinal skill heads in seconds.",
    no_args_is_help=True,
    add_completion=True,
    # Plain help: rich would take longer to import than everything else together.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[
    bool, typer.Option("--json", help="One JSON document on stdout, all else on stderr.")
]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", help="With an error, its traceback.", callback=_remember_verbose),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Results and errors only.")]
Cache = Annotated[Path, typer.Option(help="Folder of the feature cache.")]
VideoRoot = Annotated[
    Path | None, typer.Option(help="Folder that the paths in label files are relative to.")
]
Levels = Annotated[int, typer.Option(min=2, help="Levels of the scale.")]

DATA = "What to read"
HOW = "How to compute"

_EXIT_VIDEOS_FAILED = 3
_EXIT_INTERRUPTED = 75


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; never raises for a deliberate error."""
    from typer.main import get_command

    try:
        return int(get_command(app).main(list(arguments), "basket", standalone_mode=False) or 0)
    except BasketError as error:
        return _complain(error, str(error), error.exit_code)
    except typer.Abort:
        return _complain(None, "Stopped.", _EXIT_INTERRUPTED)
    except KeyboardInterrupt:
        return _complain(None, "Interrupted; what was finished is kept.", _EXIT_INTERRUPTED)
    except (BrokenPipeError, SystemExit) as error:
        # click makes an exit of a broken pipe; any other exit is as it should be.
        if isinstance(error, SystemExit) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read our output has enough of it; nothing more may be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if hasattr(error, "exit_code") and hasattr(error, "show"):  # click's own usage errors
            error.show()
            return int(error.exit_code)
        if hasattr(error, "exit_code"):  # typer.Exit
            return int(error.exit_code)
        raise


def _complain(error: BaseException | None, message: str, code: int) -> int:
    from basket.console import print_error

    if _verbose and error is not None:
        traceback.print_exception(error)
    print_error(message)
    return code


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Frozen video foundation models once, ordinal skill heads in seconds."""
    if version:
        typer.echo(f"basket {__version__}")
        raise typer.Exit


@app.command()
def labels(
    files: Annotated[list[Path], typer.Argument(help="Label files.", metavar="CSV")],
    video_root: VideoRoot = None,
    levels: Levels = 5,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count what label files hold.

    Levels per skill, missing files, repeated rows, and players who are in two files.

    Example: basket labels BASKET_Labels/BASKET/*.csv --video-root .
    """
    from basket import workflows
    from basket.console import Output, label_tables

    found = workflows.describe_labels(files, video_root=video_root, n_levels=levels)
    Output(json).result(found.to_json(), *label_tables(found))


@app.command()
def extract(
    videos: Annotated[
        list[Path] | None,
        typer.Argument(help="Video files or folders; by default what BASKET's labels list."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Label files whose videos are meant.", rich_help_panel=DATA),
    ] = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    model: Annotated[
        list[str] | None, typer.Option(help="Backbone; may be repeated.", rich_help_panel=HOW)
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]DIR|REPO",
            help="Checkpoint in the Hugging Face format, instead of the model's own.",
            rich_help_panel=HOW,
        ),
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Revision of the checkpoint.", rich_help_panel=HOW)
    ] = None,
    segments: Annotated[
        str, typer.Option(help="dense, or a number of segments.", rich_help_panel=HOW)
    ] = "dense",
    window: Annotated[
        float | None,
        typer.Option(help="Seconds of a segment; 64/30 unless given.", rich_help_panel=HOW),
    ] = None,
    scales: Annotated[
        str, typer.Option(help="Window lengths, in windows: 1,2,4.", rich_help_panel=HOW)
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
        str,
        typer.Option(
            metavar="[NAME=]STREAM,…",
            help="What to store: pooled, layers:-4,-3, tubelets, prompts.",
            rich_help_panel=HOW,
        ),
    ] = "pooled",
    prompts: Annotated[
        Path | None,
        typer.Option(help="YAML of phrases for the stream prompts.", rich_help_panel=HOW),
    ] = None,
    device: Annotated[
        str, typer.Option(help="auto, cpu, cuda, cuda:0,1 or all.", rich_help_panel=HOW)
    ] = "auto",
    precision: Annotated[
        str, typer.Option(help="auto, fp32, bf16 or fp16.", rich_help_panel=HOW)
    ] = "auto",
    decoder: Annotated[
        str, typer.Option(help="auto, pyav, decord or torchcodec.", rich_help_panel=HOW)
    ] = "auto",
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Clips per call; chosen unless given.", rich_help_panel=HOW),
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds of decoding per video.", rich_help_panel=HOW)
    ] = 900.0,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Decode processes; one per core unless given.", rich_help_panel=HOW
        ),
    ] = None,
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
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="auto|HOST:PORT",
            help="Ray cluster to use; one on this machine unless given.",
            rich_help_panel=HOW,
        ),
    ] = None,
    actors: Annotated[
        int | None,
        typer.Option(min=1, help="Ray actors; as many as fit unless given.", rich_help_panel=HOW),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first so many.", rich_help_panel=DATA)
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
    cache: Cache = Path("basket-cache"),
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Embed videos with frozen backbones, once.

    The embeddings of every segment go into the cache.

    What is in the cache already is left alone, so an interrupted run is continued by the same
    command. Ends with 3 when some videos could not be read; each of them is listed with its reason.

    Example: basket extract --model videomae --labels train.csv --labels test.csv
    """
    from basket import workflows
    from basket.console import Output, estimate_lines, extraction_details, extraction_tables
    from basket.extract.segments import DEFAULT_WINDOW_S, SegmentPlan

    output = Output(json, quiet)
    plan = SegmentPlan(
        count=None if segments == "dense" else _whole_number("--segments", segments, "dense"),
        window_s=DEFAULT_WINDOW_S if window is None else window,
        align=align,
        scales=tuple(_whole_number("--scales", part) for part in scales.split(",")),
        crop=crop,
    )
    what: dict[str, Any] = {
        "videos": videos or (),
        "labels": labels or (),
        "video_root": video_root,
        "n_levels": levels,
        "models": model or ["videomae"],
        "weights": _weights(weights or []),
        "revision": revision,
        "cache": cache,
        "plan": plan,
        "streams": [part.strip() for part in streams.split(",")],
        "prompts": prompts,
        "decoder": decoder,
        "device": device,
        "precision": precision,
        "workers": workers,
        "shard": _shard(shard),
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
            on_progress=lambda now: report(
                now.videos_done, now.videos_total, extraction_details(now)
            ),
        )
    output.result(summary.to_json(), *extraction_tables(summary, cache))
    if summary.failed:
        raise typer.Exit(_EXIT_VIDEOS_FAILED)


@app.command()
def models(
    name: Annotated[str | None, typer.Argument(help="A model, for all about it.")] = None,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List the backbones, or tell all of one.

    Example: basket models videomae
    """
    from basket.console import Output, model_tables
    from basket.extract.backbones import model_details, model_table

    if name is None:
        rows = model_table()
        Output(json).result({"models": rows}, *model_tables(rows))
    else:
        details = model_details(name)
        Output(json).result(details, *model_tables([details], whole=True))


@app.command()
def doctor(
    cache: Cache = Path("basket-cache"),
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not try to reach the model hub.")
    ] = False,
    json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Tell what this machine can do.

    And what to do about what it cannot.

    Example: basket doctor --cache /scratch/basket-cache
    """
    from basket.console import Output, check_table
    from basket.doctor import examine, worst

    checks = examine(cache, hub=not offline)
    Output(json).result({"checks": [check.to_json() for check in checks]}, check_table(checks))
    worst(checks)


app.add_typer(cache_app, name="cache")


@app.command("fit-head")
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
    train: Annotated[
        Path | None,
        typer.Option(help="Label file; by default BASKET's train.csv.", rich_help_panel=DATA),
    ] = None,
    val: Annotated[
        Path | None,
        typer.Option(
            help="Label file on which decision rules are chosen; by default BASKET's val.csv.",
            rich_help_panel=DATA,
        ),
    ] = None,
    video_root: VideoRoot = None,
    levels: Levels = 5,
    pool: Annotated[
        str | None,
        typer.Option(
            help="How segments become one row: mean, std, max, … joined by +, of a subset "
            "(mean+std/every:4); mean+std unless given. Attention takes segments or "
            "segments/every:4."
        ),
    ] = None,
    head: Annotated[
        str, typer.Option(help="prior, ridge, cumulative, mlp, gbdt, attention or prompts.")
    ] = "ridge",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A parameter of the head."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Scale each skill's probabilities by a temperature."),
    ] = False,
    set_aside: Annotated[
        float,
        typer.Option(
            min=0,
            max=0.5,
            help="Share of the training players kept apart, to measure on them how often the run "
            "is right.",
        ),
    ] = 0.1,
    seed: Annotated[int, typer.Option(help="For everything random.")] = 0,
    cache: Cache = Path("basket-cache"),
    out: Annotated[
        Path | None, typer.Option(help="Run folder to make; by default runs/<time>-<digest>.")
    ] = None,
    track: Track = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Fit one head for all skills, in seconds.

    From cached features, on a CPU; leaves a run folder.

    Example: basket fit-head --features videomae --head gbdt --train train.csv --val val.csv
    """
    from basket import workflows
    from basket.console import Output, fit_tables, run_document

    output = Output(json, quiet)
    with output.working("Fitting") as stage:
        run = workflows.fit_head(
            cache=cache,
            features=features or (),
            train=train,
            val=val,
            video_root=video_root,
            n_levels=levels,
            pool=pool,
            head=head,
            params=_settings(settings or []),
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


cli_combine.add_to(app, verbose_is=_remember_verbose)


@app.command()
def evaluate(
    runs: Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN")],
    test: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=CSV",
            help="A test set; may be repeated. By default BASKET's test and cross sets.",
        ),
    ] = None,
    cache: Annotated[
        Path | None, typer.Option(help="By default the cache each run was fitted from.")
    ] = None,
    video_root: VideoRoot = None,
    meta: Annotated[
        Path | None,
        typer.Option(help="CSV of what is known about videos or players, to slice by."),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="HTML file to write (JSON and markdown beside it).")
    ] = None,
    track: Track = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Score fitted runs on test sets.

    Accuracy, MAE and kappa, beside the prior-only baseline.

    Example: basket evaluate runs/gbdt --test test=test.csv --report report.html
    """
    from json import loads

    from basket import workflows
    from basket.console import Output, evaluation_tables
    from basket.console_sweep import comparison_tables

    output = Output(json, quiet)
    found = workflows.evaluate_run(
        runs,
        tests=_named_files("--test", test or []),
        cache=cache,
        video_root=video_root,
        meta=meta,
        report=report,
        say=output.note,
    )
    output.result(
        loads(found.to_json()),
        *evaluation_tables(found),
        *comparison_tables(found.comparisons, found.skills),
    )
    if report is not None:
        output.note(f"Report: {report}")
    send(found, track, output=output)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    videos: Annotated[
        list[Path],
        typer.Argument(
            help="Video files, folders of them, CSV files that list them.", metavar="VIDEO"
        ),
    ],
    report: Annotated[
        Path | None, typer.Option(help="HTML file to write the skill cards to.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Table to write (.parquet, .csv or .json). An interrupted call with --out "
            "continues where it stopped."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
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
            help="YAML of the phrases that the run's text scores were made with, where they are "
            "not basket's own.",
            rich_help_panel=HOW,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.", rich_help_panel=HOW)] = "auto",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Decode processes; one per core unless given.", rich_help_panel=HOW
        ),
    ] = None,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Predict the skills of the player in a reel.

    As levels with probabilities and how often such statements are right; with --report, as a page
    that shows the moments behind them. Ends with 3 when some videos could not be read; each of
    them is listed with its reason.

    Example: basket predict runs/gbdt reel.mp4 --report card.html
    """
    from basket import workflows
    from basket.console import Output, extraction_details, prediction_tables

    output = Output(json, quiet)
    with output.progress("Watching") as progress:
        found = workflows.predict_videos(
            run,
            videos,
            video_root=video_root,
            cache=cache,
            weights=_weights(weights or []),
            device=device,
            prompts=prompts,
            workers=workers,
            report=report,
            out=out,
            say=output.note,
            on_progress=lambda now: progress(
                now.videos_done, now.videos_total, extraction_details(now)
            ),
        )
    output.result(found.to_json(), *prediction_tables(found))
    if report is not None and found.videos:
        output.note(f"Skill cards: {report}")
    if out is not None:
        output.note(f"Predictions: {out}")
    if found.failed:
        raise typer.Exit(_EXIT_VIDEOS_FAILED)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Folder for reels, cache, runs and report.")] = Path(
        "basket-demo"
    ),
    players: Annotated[
        int | None, typer.Option(help="Players in train, val and test together.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Length of a reel.")] = None,
    seed: Annotated[int, typer.Option(help="Decides everything.")] = 0,
    json: Json = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    """Run the whole chain on simulated reels.

    Real mp4 files, cache, heads, report.

    Needs no network and no GPU. Run it again to continue where it was interrupted.

    Example: basket demo --out my-demo --seed 7
    """
    from basket.console import Output, results_tables
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


cli_sweep.add_to(app, verbose_is=_remember_verbose)
cli_cluster.add_to(app, verbose_is=_remember_verbose)
cli_hub.add_to(app)


def _whole_number(option: str, text: str, *words: str) -> int:
    try:
        return int(text)
    except ValueError:
        allowed = " or ".join([*map(repr, words), "a whole number"])
        raise UsageError(f"{option} must be {allowed}, got {text!r}") from None


def _weights(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=DIR`` pairs; a bare ``DIR`` goes under the empty name: the only model there is."""
    weights: dict[str, str] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not equals:
            name, folder = "", pair
        if name in weights:
            raise UsageError(f"--weights is given twice for {name or 'the only model'}")
        weights[name] = folder
    return weights


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, parts = text.partition("/")
    if not slash:
        raise UsageError(f"--shard takes I/N, for example 0/4; got {text!r}")
    return _whole_number("--shard", index), _whole_number("--shard", parts)


def _settings(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` pairs; values are read as YAML: numbers, true, false, lists, words."""
    import yaml

    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes KEY=VALUE, for example learning_rate=0.01; got {pair!r}")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise UsageError(f"--set {pair}: {value!r} is not a value") from None
    return settings


def _named_files(option: str, pairs: Sequence[str]) -> dict[str, Path]:
    """``NAME=CSV`` pairs; a bare file is called by its stem."""
    files = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        path = Path(file if equals else pair)
        name = name if equals else path.stem
        if name in files:
            raise UsageError(f"{option} names {name!r} twice; write {option} NAME=CSV")
        files[name] = path
    return files
