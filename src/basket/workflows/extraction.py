"""The composed calls behind ``basket extract``: extract features, or tell what it would cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.dataset import N_LEVELS
from basket.dataset.prompts import read_prompts
from basket.errors import UsageError
from basket.workflows.common import DEFAULT_CACHE, PathLike, Say, one_or_several, silent

if TYPE_CHECKING:
    from basket.extract.decoding import Source
    from basket.extract.dry_run import Estimate
    from basket.extract.recipe import BackboneRecipe
    from basket.extract.segments import SegmentPlan
    from basket.extract.summary import ExtractionSummary, Progress


def extract_features(
    videos: Sequence[PathLike] = (),
    *,
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    models: Sequence[str] = ("videomae",),
    weights: Mapping[str, PathLike] | None = None,
    revision: str | None = None,
    untrained: bool = False,
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
    say: Say = silent,
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
    untrained : bool, default=False
        The weights were never trained: they are let in for smoke tests, and labelled random.
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
    from basket.extract.signals import interrupted_by_signals
    from basket.extract.workers import WorkerLimits

    with interrupted_by_signals():
        sources, recipe = _prepare(
            videos,
            labels=labels,
            video_root=video_root,
            models=models,
            weights=weights,
            revision=revision,
            untrained=untrained,
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
    from basket.cache import open_cache
    from basket.cache.store import CACHE_FILE, refuse_no_place_for_a_cache
    from basket.cores import usable_cores
    from basket.extract.device import choose_device
    from basket.extract.devices import device_list
    from basket.extract.dry_run import estimate
    from basket.extract.planning import identities, plan_jobs

    sources, recipe = _prepare(videos, **what)
    device, precision = choose_device(device_list(recipe.device)[0], recipe.precision)
    backbones = replace(recipe, device=device, precision=precision).load()
    plan = plan or _dense_plan()
    refuse_no_place_for_a_cache(Path(cache))
    by_digest = {}
    if (Path(cache) / CACHE_FILE).exists():
        opened = open_cache(cache)
        by_digest = {opened[name].spec.digest: opened[name] for name in opened.feature_sets}
    specs = identities([backbone.spec for backbone in backbones], plan)
    jobs, failed_before = plan_jobs(
        sources,
        backbones,
        [by_digest.get(spec.digest) for spec in specs],
        plan=plan,
        retry_failed=retry_failed,
        hash_sources=hash_sources,
    )
    return estimate(
        jobs,
        already_there=len(sources) - len(jobs) - len(failed_before),
        failed_before=len(failed_before),
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


@one_or_several("videos", "labels", "models", "streams")
def _prepare(
    videos: Sequence[PathLike],
    *,
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    models: Sequence[str] = ("videomae",),
    weights: Mapping[str, PathLike] | None = None,
    revision: str | None = None,
    untrained: bool = False,
    streams: Sequence[str] = ("pooled",),
    prompts: PathLike | None = None,
    device: str = "auto",
    precision: str = "auto",
    shard: tuple[int, int] | None = None,
    limit: int | None = None,
    n_levels: int = N_LEVELS,
    say: Say = silent,
) -> tuple[list[Source], BackboneRecipe]:
    """Find the videos, and write down how the backbones are loaded."""
    from basket.extract.backbones import streams_for, weights_by_model
    from basket.extract.recipe import BackboneRecipe
    from basket.extract.sources import find_sources, share_of

    found = find_sources(videos, labels=labels, video_root=video_root, n_levels=n_levels, say=say)
    sources = share_of(found, shard)[:limit]
    if not sources and shard is not None and found and limit != 0:
        # Of an array of jobs, one that has nothing to do has done it.
        say(f"None of the {len(found)} videos falls into shard {shard[0]}/{shard[1]}")
    elif not sources:
        raise UsageError("No videos are left to extract after --shard and --limit")
    return sources, BackboneRecipe(
        models=tuple(models),
        weights={
            # Another process, on another node, may work in another folder.
            name: Path(given).absolute() if Path(given).is_dir() else given
            for name, given in weights_by_model(weights or {}, models).items()
        },
        revision=revision,
        untrained=untrained,
        streams=streams_for(streams, models),
        prompts=read_prompts(prompts) if prompts is not None else None,
        device=device,
        precision=precision,
    )
