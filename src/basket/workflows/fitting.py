"""The composed calls behind ``basket fit-head`` and ``basket combine``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.dataset import N_LEVELS, find_splits, read_splits
from basket.workflows.common import (
    DEFAULT_CACHE,
    PathLike,
    Say,
    default_run_folder,
    one_or_several,
    origin_of,
    silent,
    tell_doubts,
    tell_left_out,
)

if TYPE_CHECKING:
    from basket.heads.matrix import Matrix
    from basket.heads.persist import Run
    from basket.workflows.prediction import VideoRun


@one_or_several("features")
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
    player: str | None = None,
    say: Say = silent,
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
    player : str, optional
        Column of the label files that names the person in each video; by default the paths do.
    say : callable
        Receives sentences about what was chosen and left out.
    on_stage : callable, optional
        Told the name of each stage as it begins.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.cache import open_cache
    from basket.heads.calibration import DEFAULT_SHARE, MIN_PLAYERS
    from basket.heads.fit import check_settings, fit_run
    from basket.heads.matrix import build_matrix
    from basket.heads.persist import check_free
    from basket.heads.sources import described, sources_by_name
    from basket.heads.table import pooling_for
    from basket.workflows.prediction import VideoRun

    # What can be refused is refused before a cache is read.
    aside = DEFAULT_SHARE if set_aside is None else set_aside
    check_settings(head, params or {}, n_levels=n_levels, aside=aside)
    pool = pooling_for(head, pool)
    if out is not None:
        check_free(Path(out))
    if train is None:
        root = None if video_root is None else Path(video_root)
        found = find_splits(root, names=("train", "val"), needed=("train",), option="--train CSV")
        train, val = found["train"], val or found.get("val")
        say(f"Labels: {train}" + (f" and {val}" if val else ""))
    sources = sources_by_name(open_cache(cache), features)
    say(f"Features: {', '.join(f'{each.name} ({stream})' for each, stream in sources)}")
    tables = read_splits(
        {"train": train, "val": val}, video_root=video_root, n_levels=n_levels, player=player
    )
    tell_doubts(tables, say)
    matrices: dict[str, Matrix] = {}
    for name, table in tables.items():
        (on_stage or silent)(f"reading {name}")
        matrices[name] = build_matrix(sources, table, pooling=pool)
        tell_left_out(name, matrices[name].left_out, say)
    labels = origin_of(tables, cache, player=player)
    digests = [each.spec.digest for each, _ in sources]
    decided = [head, dict(params or {}), calibrate, aside, seed, pool, labels, digests]
    run = fit_run(
        matrices["train"],
        matrices.get("val"),
        head=head,
        params=params or {},
        seed=seed,
        pooling=pool,
        feature_sets=described(sources),
        out=default_run_folder(decided) if out is None else Path(out),
        labels=labels,
        calibrate=calibrate,
        aside=aside,
        on_stage=on_stage,
    )
    if run.config["set_aside"] is None and aside:
        say(
            f"Fewer than {MIN_PLAYERS} training players that are not in validation: none is set "
            "aside, and the run cannot tell how often it is right"
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
    from basket.workflows.prediction import load_run

    loaded = [load_run(run) if isinstance(run, str | Path) else run for run in runs]
    folder = (
        Path(out)
        if out is not None
        else default_run_folder(["combined", [str(run.path) for run in loaded], calibrate])
    )
    return combine(loaded, calibrate=calibrate, out=folder)
