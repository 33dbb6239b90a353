"""Where an extraction runs: in this process, on several devices here, or on a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from basket.cache import open_cache
from basket.errors import UsageError
from basket.extract.decoding import Source
from basket.extract.device import choose_device
from basket.extract.devices import device_list, forward_processes
from basket.extract.pipeline import extract
from basket.extract.recipe import BackboneRecipe, SpecOnly, tell_random
from basket.extract.segments import SegmentPlan
from basket.extract.summary import ExtractionSummary
from basket.extract.workers import WorkerLimits

ENGINES = ("local", "ray")


def run_extraction(
    sources: Sequence[Source],
    *,
    recipe: BackboneRecipe,
    plan: SegmentPlan,
    cache: Path,
    engine: str = "local",
    ray_address: str | None = None,
    actors: int | None = None,
    decoder: str = "pyav",
    workers: int | None = None,
    limits: WorkerLimits | None = None,
    batch_size: int | None = None,
    retry_failed: bool = False,
    say: Callable[[str], None] = lambda _: None,
    on_progress: Callable[..., None] | None = None,
    **options: Any,
) -> ExtractionSummary:
    """Extract the features of all sources, wherever the engine and the recipe's device say.

    Parameters
    ----------
    sources : sequence of Source
    recipe : BackboneRecipe
        Its device may be ``auto``, one, a list, or ``all``; see :func:`.device_list`.
    plan : SegmentPlan
    cache : Path
        Made where it is missing.
    engine : {"local", "ray"}
    ray_address : str, optional
    actors : int, optional
        For ``ray``; see :class:`basket.extract.ray_cluster.RayCluster`.
    decoder, workers, limits, batch_size, retry_failed, say, on_progress, **options
        See :func:`basket.extract.pipeline.extract`.

    Raises
    ------
    BasketError
        In one sentence; see :mod:`basket.errors`.
    """
    if engine not in ENGINES:
        raise UsageError(f"--engine is one of {', '.join(ENGINES)}, got {engine!r}")
    if engine == "ray":
        from basket.extract.ray_actor import ActorSetup
        from basket.extract.ray_cluster import RayCluster
        from basket.extract.ray_engine import extract_on_ray

        return extract_on_ray(
            sources,
            setup=ActorSetup(
                recipe=recipe,
                plan=plan,
                cache=str(cache.absolute()),
                decoder=decoder,
                limits=limits or WorkerLimits(),
                batch_size=batch_size,
                retry_failed=retry_failed,
                options=options,
            ),
            cluster=RayCluster(ray_address, actors),
            workers=workers,
            say=say,
            on_progress=on_progress,
        )
    if ray_address is not None or actors is not None:
        raise UsageError("--ray-address and --actors go with --engine ray")
    devices = device_list(recipe.device)
    device, precision = choose_device(devices[0], recipe.precision)
    recipe = replace(recipe, device=device, precision=precision)
    what: dict[str, Any] = {
        "plan": plan,
        "decoder": decoder,
        "workers": workers,
        "limits": limits,
        "batch_size": batch_size,
        "retry_failed": retry_failed,
        "provenance": {"precision": precision},
        "say": say,
        "on_progress": on_progress,
        **options,
    }
    if len(devices) == 1:
        backbones = recipe.load()
        tell_random([each.spec for each in backbones], say)
        opened = open_cache(cache, create=True)
        return extract(sources, backbones=backbones, cache=opened, device=device, **what)
    with forward_processes(recipe, devices, batch_size=batch_size) as (specs, embedders):
        tell_random(specs, say)
        return extract(
            sources,
            backbones=[SpecOnly(spec) for spec in specs],
            cache=open_cache(cache, create=True),
            device=device,
            embedders=embedders,
            **what,
        )
