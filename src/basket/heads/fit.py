"""Matrix -> head -> decision rules -> run folder: what ``basket fit-head`` does."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from basket.errors import UsageError
from basket.heads.calibration import calibration_files, check_share, set_aside
from basket.heads.decision import DecisionRules
from basket.heads.filled_in import head_for
from basket.heads.held_out import Predictions, out_of_fold, predict, predictions_parquet
from basket.heads.matrix import Matrix
from basket.heads.persist import Run, RunFeatures, check_free, load_run, publish_run
from basket.heads.reference import Reference, reference_of
from basket.heads.scoring import score
from basket.heads.stored_head import head_to_files
from basket.heads.table import check_parameters

if TYPE_CHECKING:
    from basket.heads.base import SkillHead

PACKAGES = ("basket", "numpy", "scipy", "scikit-learn", "lightgbm", "torch", "safetensors")


def fit_run(
    train: Matrix,
    val: Matrix | None,
    *,
    head: str,
    params: Mapping[str, Any],
    seed: int,
    pooling: str,
    feature_sets: Sequence[Mapping[str, Any]],
    out: Path,
    labels: Mapping[str, Any],
    calibrate: bool = False,
    aside: float = 0.0,
    on_stage: Callable[[str], None] | None = None,
) -> Run:
    """Fit a head, choose its decision rules on players it has not seen, write the run folder.

    Parameters
    ----------
    train : Matrix
        What the head is fitted on.
    val : Matrix or None
        What training is stopped by and the decision rules are chosen on. Without it, heads hold
        out players of their own, and five player-grouped folds of ``train``
        are predicted by heads fitted on the other four.
    head : str
        Name in :data:`basket.heads.HEADS`.
    params : mapping
        Parameters of the head beside ``n_levels`` and ``seed``.
    seed : int
        For everything random.
    pooling : str
        How the matrices were pooled.
    feature_sets : sequence of mapping
        ``name``, ``stream`` and ``spec`` (a FeatureSetSpec) of each source, in column order.
    out : Path
        The run folder to make.
    labels : mapping
        Provenance of the labels, as JSON values (paths, hashes, ``simulated``).
    calibrate : bool, default=False
        Scale the probabilities of each skill by a temperature chosen on the same players as the
        decision rules.
    aside : float, default=0.0
        Share of the training players that are set aside before anything is fitted, to measure on
        them how often the run is right (:mod:`basket.heads.calibration`); nothing else uses them.
        With fewer than 20 players none are.
    on_stage : callable, optional
        Told the name of each stage as it begins.

    Raises
    ------
    UsageError
        As :func:`check_settings`; skills or levels of ``val`` are not those of ``train``.
    RunError
        ``out`` exists, or cannot be written.
    """
    check_settings(head, params, n_levels=train.n_levels, aside=aside)
    check_free(out)
    _check_same_labels(train, val)
    in_both = frozenset() if val is None else frozenset(val.groups.tolist())
    train, unseen = set_aside(train, aside, seed=seed, seen_elsewhere=in_both)
    stages = _Stages(on_stage)
    model = head_for(
        head,
        params,
        seed=seed,
        skills=train.skills,
        n_levels=train.n_levels,
        feature_sets=feature_sets,
        pooling=pooling,
    )
    with stages("fit"):
        given = None if val is None else (val.X, val.Y)
        model.fit(train.X, train.Y, groups=train.groups, validation=given)
    with stages("decide"):
        held = predict(model, val) if val is not None else out_of_fold(model, train, seed=seed)
        rules = (
            DecisionRules.fit(held.proba, held.levels, temperature=calibrate)
            if held is not None
            else DecisionRules.uncalibrated(len(train.skills), train.n_levels)
        )
    with stages("score"):
        splits = {"train": predict(model, train).calibrated(rules)}
        if held is not None:
            held = held.calibrated(rules)
            splits["val" if val is not None else "out_of_fold"] = held
        counts = train.level_counts().astype(np.float64)
        scores = {split: score(each, rules, train.skills, counts) for split, each in splits.items()}
        files = {}
        if held is not None:
            reference = _reference(model, train, held, validated=val is not None)
            files["reference.json"] = reference.to_json().encode()
        if unseen is not None:
            tried = predict(model, unseen).calibrated(rules)
            files |= calibration_files(tried, rules, train.skills, counts)
    config = _config(
        train=train,
        val=val,
        unseen=unseen,
        options={"calibrate": calibrate, "set_aside": 0.0 if unseen is None else aside},
        model=model,
        head=head,
        seed=seed,
        pooling=pooling,
        features=[RunFeatures(f["name"], f["stream"], f["spec"]) for f in feature_sets],
        labels=labels,
        seconds=stages.seconds,
    )
    files |= {
        **head_to_files(model, head),
        "decision.json": rules.to_json().encode(),
        "metrics.json": (json.dumps(scores, indent=2, allow_nan=False) + "\n").encode(),
        "training.parquet": _training_parquet(train),
    }
    if held is not None:
        files["predictions.parquet"] = predictions_parquet(held, rules, train.skills)
    with stages("write"):
        publish_run(out, config, files)
    # What is returned is what was stored: a run that cannot be read back is noticed now.
    return load_run(out)


def check_settings(head: str, params: Mapping[str, Any], *, n_levels: int, aside: float) -> None:
    """Refuse what a run cannot be fitted with, before anything slow is done for it.

    Raises
    ------
    UsageError
        As :func:`basket.heads.table.check_parameters`, or the seed or the number of levels, which
        are the whole run's, or a share of players to set aside that is none.
    """
    check_parameters(head, {"n_levels": n_levels, **params})
    check_share(aside)
    if params.get("n_levels", n_levels) != n_levels:
        raise UsageError(f"n_levels is {n_levels} by the labels and cannot be set otherwise")
    if "seed" in params:
        raise UsageError(
            f"the seed belongs to the whole run, not to its head alone; give --seed "
            f"{params['seed']} instead (in Python: seed={params['seed']})"
        )


def _reference(model: SkillHead, train: Matrix, held: Predictions, *, validated: bool) -> Reference:
    """Where the held-out players stand: those of validation, or those of the folds."""
    # A player whom the head has learned from stands further out than anybody new.
    new = held.rows(~np.isin(held.groups, train.groups)) if validated else held
    return reference_of(
        new if new.ids else held,
        population="validation" if validated else "training",
        mean_latent=model.latent(train.X).mean(axis=0),
    )


def _check_same_labels(train: Matrix, val: Matrix | None) -> None:
    if val is not None and (val.skills, val.n_levels) != (train.skills, train.n_levels):
        raise UsageError(
            "the validation labels have other skills or levels than the training labels "
            f"({len(val.skills)} skills of {val.n_levels} levels, not {len(train.skills)} of "
            f"{train.n_levels}); use files with the same header"
        )


def _config(
    *,
    train: Matrix,
    val: Matrix | None,
    unseen: Matrix | None,
    options: Mapping[str, Any],
    model: SkillHead,
    head: str,
    seed: int,
    pooling: str,
    features: Sequence[RunFeatures],
    labels: Mapping[str, Any],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The content of run.json."""
    notes = [each.spec.notes for each in features]
    given = model.get_params(deep=False)
    acted = model._acted() if len(model.active_) else {}
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "head": head,
        "params": {name: value for name, value in given.items() if name != "seed"},
        "acted": {name: value for name, value in acted.items() if given[name] is None},
        "seed": seed,
        "skills": list(train.skills),
        "n_levels": train.n_levels,
        "pooling": pooling,
        "feature_sets": [each.to_dict() for each in features],
        "random_weights": any(each.spec.random_weights for each in features),
        "simulated": any([labels.get("simulated", False), *(n.get("simulated") for n in notes)]),
        "labels": dict(labels),
        "train": {**_counts(train), "level_counts": train.level_counts().tolist()},
        "val": None if val is None else _counts(val),
        "set_aside": None
        if unseen is None
        else {"n_videos": len(unseen), "n_players": unseen.n_players},
        "options": dict(options),
        "seconds": {
            **{name: round(value, 4) for name, value in _reading(train, val).items()},
            **{name: round(value, 4) for name, value in seconds.items()},
        },
        "versions": _versions(),
    }


def _counts(matrix: Matrix) -> dict[str, Any]:
    return {
        "n_videos": len(matrix),
        "n_players": matrix.n_players,
        "left_out": dict(matrix.left_out),
    }


def _reading(*matrices: Matrix | None) -> dict[str, float]:
    """Seconds of reading and pooling over all matrices."""
    out: dict[str, float] = {}
    for matrix in matrices:
        for name, seconds in (matrix.seconds if matrix is not None else {}).items():
            out[name] = out.get(name, 0.0) + seconds
    return out


def _training_parquet(train: Matrix) -> bytes:
    from basket.heads.held_out import table_bytes

    return table_bytes({"video_id": list(train.ids), "player": train.groups.tolist()})


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found


class _Stages:
    """Announces each stage and records how long it took."""

    def __init__(self, on_stage: Callable[[str], None] | None) -> None:
        self.seconds: dict[str, float] = {}
        self._announce = on_stage or (lambda _: None)

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._announce(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - start
