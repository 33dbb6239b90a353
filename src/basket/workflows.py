"""The composed calls that commands and Python users share.

Each command of the command line is one call of a function here; what a command prints, the function
returns. Heavy packages are imported inside the functions, so that ``import basket`` stays cheap.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.dataset import (
    N_LEVELS,
    LabelTable,
    find_basket,
    is_simulated,
    read_labels,
)
from basket.dataset.overview import LabelOverview, overview
from basket.dataset.prompts import read_prompts
from basket.errors import RunError, UsageError

if TYPE_CHECKING:
    from basket.cache import FeatureCache
    from basket.evaluate.description import RunDescription
    from basket.evaluate.report import EvaluationReport
    from basket.extract.decoding import Source
    from basket.extract.dry_run import Estimate
    from basket.extract.recipe import BackboneRecipe
    from basket.extract.segments import SegmentPlan
    from basket.extract.summary import ExtractionSummary, Progress
    from basket.heads.matrix import Matrix
    from basket.heads.persist import Run
    from basket.predict.predictor import Prediction
    from basket.workflows_predict import VideoRun

PathLike = str | Path
Say = Callable[[str], None]

DEFAULT_CACHE = "basket-cache"
DEFAULT_RUNS = "runs"


def _silent(_: str) -> None:
    """Say nothing."""


def open_cache(path: PathLike = DEFAULT_CACHE, *, create: bool = False) -> FeatureCache:
    """Open a feature cache; see :func:`basket.cache.open_cache`."""
    from basket.cache import open_cache as open_it

    return open_it(path, create=create)


def load_run(path: PathLike) -> VideoRun:
    """Open a run folder; ``run.predict("reel.mp4")`` predicts from a video."""
    from basket.workflows_predict import load_run as load_it

    return load_it(path)


def predict_videos(run: PathLike | Run, videos: Sequence[PathLike], **options: Any) -> Prediction:
    """Predict the skills of the players in videos.

    Parameters
    ----------
    run : path or Run
    videos : sequence of path
        Video files, folders of them, and CSV files that list them.
    **options
        See :func:`basket.workflows_predict.predict_videos`.
    """
    from basket.workflows_predict import predict_videos as predict_them

    return predict_them(run, videos, **options)


def describe_labels(
    labels: Sequence[PathLike], *, video_root: PathLike | None = None, n_levels: int = N_LEVELS
) -> LabelOverview:
    """Count what label files hold: levels per skill, missing files, duplicates, shared players.

    Raises
    ------
    LabelError
        A file is not a label table.
    """
    tables = [read_labels(path, video_root=video_root, n_levels=n_levels) for path in labels]
    return overview(tables, video_root=None if video_root is None else Path(video_root))


def extract_features(
    videos: Sequence[PathLike] = (),
    *,
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    models: Sequence[str] = ("videomae",),
    weights: Mapping[str, PathLike] | None = None,
    revision: str | None = None,
    cache: PathLike = DEFAULT_CACHE,
    plan: SegmentPlan | None = None,
    streams: Sequence[str] = ("pooled",),
    prompts: PathLike | None = None,
    decoder: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    batch_size: int | None = None,
    timeout_s: float = 900.0,
    workers: int | None = None,
    shard: tuple[int, int] | None = None,
    engine: str = "local",
    ray_address: str | None = None,
    actors: int | None = None,
    limit: int | None = None,
    retry_failed: bool = False,
    hash_sources: bool = False,
    n_levels: int = N_LEVELS,
    say: Say = _silent,
    on_progress: Callable[[Progress], None] | None = None,
) -> ExtractionSummary:
    """Extract the features of videos into a cache; what is already there is left alone.

    Parameters
    ----------
    videos : sequence of path
        Files and folders. With none of them and no ``labels``, the videos that BASKET's own label
        files list under ``$BASKET_ROOT`` or the current folder.
    labels : sequence of path
        Label files whose videos are meant.
    video_root : path, optional
        Folder that video ids are relative to.
    models : sequence of str
        Names of backbones (``basket models`` lists them); all are fed from one pass.
    weights : mapping of str to path or str, optional
        Model name to a folder in the Hugging Face format, or to a repository. The empty name is
        the only model.
    revision : str, optional
        Revision of the weights on the hub.
    cache : path, default="basket-cache"
        Made when missing.
    plan : SegmentPlan, optional
        Dense by default.
    streams : sequence of str, default=("pooled",)
        ``pooled``, ``layers:-4,-3``, ``tubelets``, ``prompts``; ``NAME=STREAM`` for one model.
    prompts : path, optional
        YAML file of phrases for the stream ``prompts``; the bank of BASKET's skills by default.
    decoder, device, precision, batch_size, timeout_s, workers
        See the command ``basket extract``.
    shard : (int, int), optional
        ``(i, n)``: only the i-th of n parts, by a hash of the video id; i counts from 0.
    engine : {"local", "ray"}
        This machine, or a Ray cluster.
    ray_address : str, optional
        ``auto`` or ``host:port`` of a running cluster; one on this machine unless given.
    actors : int, optional
        As many as fit, unless given.
    limit : int, optional
        Only the first so many videos.
    retry_failed : bool, default=False
        Try videos again that failed before.
    hash_sources : bool, default=False
        Record the SHA-256 of each source file; where one is recorded, it decides whether a video
        is done: a copy with another time is the same video, and a file replaced by one of the same
        size and time is not. Reads every file once more.
    n_levels : int, default=5
        K of the label files.
    say : callable
        Receives sentences about what was chosen.
    on_progress : callable, optional

    Returns
    -------
    ExtractionSummary

    Raises
    ------
    BasketError
        In one sentence; see :mod:`basket.errors`. Videos that cannot be read are no error: they
        are in the summary.
    """
    from basket.extract.engines import run_extraction
    from basket.extract.workers import WorkerLimits

    sources, recipe = _prepare(
        videos,
        labels=labels,
        video_root=video_root,
        models=models,
        weights=weights,
        revision=revision,
        streams=streams,
        prompts=prompts,
        device=device,
        precision=precision,
        shard=shard,
        limit=limit,
        n_levels=n_levels,
        say=say,
    )
    return run_extraction(
        sources,
        recipe=recipe,
        plan=plan or _dense_plan(),
        cache=Path(cache),
        engine=engine,
        ray_address=ray_address,
        actors=actors,
        decoder=decoder,
        workers=workers,
        limits=WorkerLimits(timeout_s=timeout_s),
        batch_size=batch_size,
        retry_failed=retry_failed,
        hash_sources=hash_sources,
        say=say,
        on_progress=on_progress,
    )


def estimate_extraction(
    videos: Sequence[PathLike] = (),
    *,
    cache: PathLike = DEFAULT_CACHE,
    plan: SegmentPlan | None = None,
    decoder: str = "auto",
    workers: int | None = None,
    retry_failed: bool = False,
    hash_sources: bool = False,
    **what: Any,
) -> Estimate:
    """Tell what :func:`extract_features` with the same arguments would cost; writes nothing.

    Parameters
    ----------
    videos, cache, plan, decoder, workers, retry_failed, hash_sources
        As there.
    **what
        Every other argument of :func:`extract_features` that says what to extract.
    """
    from basket.extract.device import choose_device
    from basket.extract.devices import device_list
    from basket.extract.dry_run import estimate
    from basket.extract.pipeline import feature_set_spec, plan_jobs, usable_cores

    sources, recipe = _prepare(videos, **what)
    device, precision = choose_device(device_list(recipe.device)[0], recipe.precision)
    backbones = replace(recipe, device=device, precision=precision).load()
    plan = plan or _dense_plan()
    specs = [feature_set_spec(backbone.spec, plan) for backbone in backbones]
    sets = []
    if (Path(cache) / "cache.json").exists():
        opened = open_cache(cache)
        by_digest = {opened[name].spec.digest: opened[name] for name in opened.feature_sets}
        sets = [by_digest[spec.digest] for spec in specs if spec.digest in by_digest]
    if len(sets) < len(specs):
        sets = []  # a new feature set: everything is to do
    jobs, _ = plan_jobs(
        sources,
        backbones,
        sets,
        plan=plan,
        retry_failed=retry_failed,
        hash_sources=hash_sources,
    )
    return estimate(
        jobs,
        already_there=len(sources) - len(jobs),
        backbones=backbones,
        plan=plan,
        cache=Path(cache),
        decoder=decoder,
        workers=workers or usable_cores(),
        device=device,
    )


def _dense_plan() -> SegmentPlan:
    from basket.extract.segments import SegmentPlan

    return SegmentPlan()


def _prepare(
    videos: Sequence[PathLike],
    *,
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    models: Sequence[str] = ("videomae",),
    weights: Mapping[str, PathLike] | None = None,
    revision: str | None = None,
    streams: Sequence[str] = ("pooled",),
    prompts: PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    shard: tuple[int, int] | None = None,
    limit: int | None = None,
    n_levels: int = N_LEVELS,
    say: Say = _silent,
) -> tuple[list[Source], BackboneRecipe]:
    """Find the videos, and write down how the backbones are loaded."""
    from basket.extract.backbones import streams_for, weights_by_model
    from basket.extract.recipe import BackboneRecipe
    from basket.extract.sources import find_sources, share_of

    sources = find_sources(videos, labels=labels, video_root=video_root, n_levels=n_levels, say=say)
    sources = share_of(sources, shard)[:limit]
    if not sources:
        raise UsageError("No videos are left to extract after --shard and --limit")
    return sources, BackboneRecipe(
        models=tuple(models),
        weights={
            # Another process, on another node, may work in another folder.
            name: Path(given).absolute() if Path(given).is_dir() else given
            for name, given in weights_by_model(weights or {}, models).items()
        },
        revision=revision,
        streams=streams_for(streams, models),
        prompts=read_prompts(prompts) if prompts is not None else None,
        device=device,
        precision=precision,
    )


def fit_head(
    *,
    cache: PathLike = DEFAULT_CACHE,
    features: Sequence[str] = (),
    train: PathLike | None = None,
    val: PathLike | None = None,
    video_root: PathLike | None = None,
    pool: str | None = None,
    head: str = "ridge",
    params: Mapping[str, Any] | None = None,
    calibrate: bool = False,
    seed: int = 0,
    set_aside: float | None = None,
    out: PathLike | None = None,
    n_levels: int = N_LEVELS,
    say: Say = _silent,
    on_stage: Say | None = None,
) -> VideoRun:
    """Fit one head for all skills from cached features, and leave a run folder.

    Parameters
    ----------
    cache : path, default="basket-cache"
    features : sequence of str
        ``NAME`` or ``NAME:STREAM`` of feature sets, side by side; a unique beginning is enough.
        None of them: the only feature set there is.
    train, val : path, optional
        Label files; without ``train``, BASKET's own under ``$BASKET_ROOT`` or the current folder.
    video_root : path, optional
        Folder that absolute paths in label files are under.
    pool : str, optional
        What the head takes, by default: ``mean+std``, or ``segments`` for attention.
    head : str, default="ridge"
    params : mapping, optional
        Parameters of the head.
    calibrate : bool, default=False
        Scale the probabilities of each skill by a temperature chosen on held-out players.
    seed : int, default=0
    set_aside : float, optional
        Share of the training players kept apart to measure how often the run is right; a tenth by
        default, 0 for none.
    out : path, optional
        The run folder to make; ``runs/<time>-<digest>`` by default.
    n_levels : int, default=5
    say : callable
        Receives sentences about what was chosen and left out.
    on_stage : callable, optional
        Told the name of each stage as it begins.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.heads.calibration import DEFAULT_SHARE, MIN_PLAYERS
    from basket.heads.fit import fit_run
    from basket.heads.matrix import build_matrix
    from basket.heads.sources import sources_by_name
    from basket.heads.table import pooling_for
    from basket.workflows_predict import VideoRun

    pool = pooling_for(head, pool)
    aside = DEFAULT_SHARE if set_aside is None else set_aside
    if train is None:
        found = find_basket(None if video_root is None else Path(video_root))
        if "train" not in found.splits:
            raise UsageError("BASKET's train.csv is not there; name a label file with --train")
        train, val = found.splits["train"], val or found.splits.get("val")
        say(f"Labels: {train}" + (f" and {val}" if val else ""))
    sources = sources_by_name(open_cache(cache), features)
    say(f"Features: {', '.join(f'{each.name} ({stream})' for each, stream in sources)}")
    tables = {
        name: read_labels(path, video_root=video_root, n_levels=n_levels)
        for name, path in {"train": train, "val": val}.items()
        if path is not None
    }
    matrices: dict[str, Matrix] = {}
    for name, table in tables.items():
        (on_stage or _silent)(f"reading {name}")
        matrices[name] = build_matrix(sources, table, pooling=pool)
        tell_left_out(name, matrices[name].left_out, say)
    described = {
        "cache": str(Path(cache).resolve()),
        "simulated": any(is_simulated(table.path) for table in tables.values()),
        **{
            name: {"path": str(table.path.resolve()), "sha256": table.sha256}
            for name, table in tables.items()
        },
    }
    feature_sets = [
        {"name": each.name, "stream": stream, "spec": each.spec} for each, stream in sources
    ]
    folder = (
        Path(out)
        if out is not None
        else _default_run_folder(
            [
                head,
                dict(params or {}),
                calibrate,
                aside,
                seed,
                pool,
                described,
                [each.spec.digest for each, _ in sources],
            ]
        )
    )
    run = fit_run(
        matrices["train"],
        matrices.get("val"),
        head=head,
        params=params or {},
        seed=seed,
        pooling=pool,
        feature_sets=feature_sets,
        out=folder,
        labels=described,
        calibrate=calibrate,
        aside=aside,
        on_stage=on_stage,
    )
    if run.config["set_aside"] is None and aside:
        say(
            f"{matrices['train'].n_players} training players are fewer than {MIN_PLAYERS}: none is "
            "set aside, and the run cannot tell how often it is right"
        )
    return VideoRun.of(run)


def combine_runs(
    runs: Sequence[PathLike | Run], *, calibrate: bool = False, out: PathLike | None = None
) -> Run:
    """Average fitted runs as one run; see :func:`basket.heads.combine.combine_runs`.

    Parameters
    ----------
    runs : sequence of path or Run
        At least two, of the same skills, with held-out videos in common.
    calibrate : bool, default=False
        Scale the averaged probabilities of each skill by a temperature.
    out : path, optional
        The run folder to make; ``runs/<time>-<digest>`` by default.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.heads.combine import combine_runs as combine

    loaded = [load_run(run) if isinstance(run, str | Path) else run for run in runs]
    folder = (
        Path(out)
        if out is not None
        else _default_run_folder(["combined", [str(run.path) for run in loaded], calibrate])
    )
    return combine(loaded, calibrate=calibrate, out=folder)


def evaluate_run(
    runs: Sequence[PathLike],
    *,
    tests: Mapping[str, PathLike] | None = None,
    cache: PathLike | None = None,
    video_root: PathLike | None = None,
    meta: PathLike | None = None,
    report: PathLike | None = None,
    title: str | None = None,
    primary: str | None = None,
    primary_reason: str = "",
    sections: Callable[[EvaluationReport], Sequence[tuple[str, str]]] | None = None,
    say: Say = _silent,
) -> EvaluationReport:
    """Score fitted runs on test sets, beside the prior-only baseline, and compare them in pairs.

    Parameters
    ----------
    runs : sequence of path
    tests : mapping of str to path, optional
        Name of a test set to its label file; without it, BASKET's own test and cross sets.
    cache : path, optional
        By default the one each run was fitted from.
    video_root : path, optional
        Folder that absolute paths in label files are under.
    meta : path, optional
        CSV of what is known about videos or players, to slice by.
    report : path, optional
        HTML file to write, with its JSON and markdown twins beside it.
    title, primary, primary_reason, sections
        For the report; see :func:`basket.evaluate.report.assemble_report`.
    say : callable
        Receives sentences about what was left out.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.evaluate import protocol
    from basket.evaluate.answers import answers_of
    from basket.evaluate.compare import compare_runs
    from basket.evaluate.report import DEFAULT_TITLE, RunReport, assemble_report
    from basket.evaluate.scores import evaluate
    from basket.evaluate.slices import read_meta, unmatched
    from basket.heads.sources import sources_of_run

    loaded = [load_run(path) for path in runs]
    if not loaded:
        raise UsageError("Name at least one run folder")
    if not tests:
        splits = find_basket(None if video_root is None else Path(video_root)).splits
        tests = {name: path for name, path in splits.items() if name not in ("train", "val")}
        if not tests:
            raise UsageError("BASKET's test.csv is not there; name a test set: --test NAME=CSV")
        say(f"Test sets: {', '.join(tests)}")
    reports = []
    known = None if meta is None else read_meta(meta)
    main_split = next(iter(tests))
    answered = []
    matrices: dict[tuple[Any, ...], tuple[LabelTable, Matrix]] = {}
    for run in loaded:
        sources = sources_of_run(_cache_of(run, cache), run)
        splits_of_run = {}
        for name, path in tests.items():
            # Runs on the same features share the pooled matrix.
            key = (name, run.pooling, *((each.path, stream) for each, stream in sources))
            if key not in matrices:
                table = read_labels(path, video_root=video_root, n_levels=run.n_levels)
                table = _in_order_of(run.skills, table)
                matrix = protocol.matrix_of_test_set(sources, table, pooling=run.pooling)
                matrices[key] = (table, matrix)
                tell_left_out(name, matrix.left_out, say)
                for column in unmatched(table.video_ids, known or {}):
                    say(f"{name}: {column} of {meta} is known of none of its videos")
            table, matrix = matrices[key]
            about, answers = describe_run(run), answers_of(run, matrix, split=name)
            if name == main_split and answers.ids:
                answered.append((about, answers))
            splits_of_run[name] = evaluate(
                run,
                matrix,
                split=name,
                train_level_counts=run.config["train"]["level_counts"],
                train_players=run.train_players,
                answers=answers,
                lost=protocol.lost_levels(table, matrix.ids),
                meta=known,
                references=protocol.references_for(table, simulated=about.simulated),
            )
        reports.append(RunReport(describe_run(run), splits_of_run))
    assembled = assemble_report(
        reports,
        skills=loaded[0].skills,
        n_levels=loaded[0].n_levels,
        primary=primary,
        primary_reason=primary_reason,
        main_split=main_split,
        comparisons=compare_runs(
            answered, primary=primary or loaded[0].path.name, split=main_split
        ),
        created=time.strftime("%Y-%m-%d %H:%M"),
        title=title or DEFAULT_TITLE,
    )
    if report is not None:
        assembled.write(Path(report), sections=sections(assembled) if sections else ())
    return assembled


def tell_left_out(name: str, left_out: Mapping[str, str], say: Say) -> None:
    """Say how many labelled videos could not be used, and why the first of them."""
    if left_out:
        video_id, reason = next(iter(left_out.items()))
        count = (
            "1 labelled video is" if len(left_out) == 1 else f"{len(left_out)} labelled videos are"
        )
        say(f"{name}: {count} left out, e.g. {video_id} ({reason})")


def _cache_of(run: Run, cache: PathLike | None) -> FeatureCache:
    """The named cache, or the one that a run was fitted from."""
    path = Path(cache) if cache is not None else Path(run.config["labels"]["cache"])
    if not path.exists():
        raise RunError(
            f"The cache {path} that run {run.path} was fitted from is not there; name one that has "
            "its features with --cache"
        )
    return open_cache(path)


def _in_order_of(skills: Sequence[str], table: LabelTable) -> LabelTable:
    """The table with its columns in the order of a run's skills, where it has the same skills."""
    if tuple(skills) == table.skills or set(skills) != set(table.skills):
        return table  # the same order, or a mismatch that the evaluation explains
    order = [table.skills.index(skill) for skill in skills]
    return replace(table, skills=tuple(skills), levels=table.levels[:, order])


def _default_run_folder(settings: Any) -> Path:
    canonical = json.dumps(settings, sort_keys=True, default=str)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:8]
    return Path(DEFAULT_RUNS) / f"{time.strftime('%Y%m%d-%H%M%S')}-{digest}"


def describe_run(run: Run) -> RunDescription:
    """What a report says of a run."""
    from basket.evaluate.description import FeatureIdentity, RunDescription

    config = run.config
    return RunDescription(
        name=run.path.name,
        head=config["head"],
        pooling=run.pooling,
        features=tuple(
            FeatureIdentity.from_spec(each.spec, stream=each.stream) for each in run.feature_sets
        ),
        seed=config["seed"],
        simulated=bool(config["simulated"]),
        n_train_videos=config["train"]["n_videos"],
        n_train_players=config["train"]["n_players"],
        settings={name: str(value) for name, value in config["params"].items()},
        versions=config["versions"],
    )
