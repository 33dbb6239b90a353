"""Fitted runs -> one run: the weighted average that suits held-out players best.

Every run keeps the probabilities of players its head had not seen. The weights are chosen on those
that all runs share, so nothing is read again and no head is fitted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import IntegrityError, RunError, UsageError
from basket.heads.calibration import SET_ASIDE_FILE, calibration_files
from basket.heads.combined import COMBINED, CombinedHead
from basket.heads.decision import DecisionRules
from basket.heads.held_out import Predictions, predictions_parquet, table_bytes
from basket.heads.persist import Run, RunFeatures, check_free, load_run, publish_run
from basket.heads.pooling import parse_poolings
from basket.heads.scoring import score
from basket.heads.stored_head import head_to_files

Float = npt.NDArray[np.float64]

#: EM on a handful of weights: steps shrink geometrically, and this is far past the last digit that
#: matters.
_STEPS = 500

#: What a run keeps of players that its head has not seen.
HELD_OUT_FILE = "predictions.parquet"


def combine_runs(
    runs: Sequence[Run | str | Path], *, out: str | Path, calibrate: bool = False
) -> Run:
    """Average the probabilities of fitted runs, with weights chosen on shared held-out players.

    Parameters
    ----------
    runs : sequence of Run or path
        At least two, of the same skills and levels. Features and poolings may differ.
    out : path
        The run folder to make.
    calibrate : bool, default=False
        Scale the averaged probabilities of each skill by a temperature.

    Returns
    -------
    Run
        Predicts from the columns of all feature sets side by side.

    Raises
    ------
    UsageError
        Fewer than two runs, other skills or levels, a combined run among them, segments beside
        pooled rows, or no held-out video in common.
    RunError, IntegrityError
        A run cannot be read, or ``out`` exists.
    """
    started = time.perf_counter()
    loaded = [run if isinstance(run, Run) else load_run(run) for run in runs]
    _check(loaded)
    check_free(Path(out))
    held, probabilities = _held_out(loaded)
    weights = mixture_weights(probabilities, held.levels)
    mixed = _mixed(weights, probabilities)
    rules = DecisionRules.fit(mixed, held.levels, temperature=calibrate)
    held = Predictions(mixed, held.levels, held.ids, held.groups).calibrated(rules)
    layout = _Layout.of(loaded)
    head = CombinedHead(
        members=[run.head for run in loaded],
        weights=weights.tolist(),
        columns=layout.columns,
        temperatures=[run.decision.temperatures for run in loaded],
    )
    counts = np.array(loaded[0].config["train"]["level_counts"], dtype=np.float64)
    skills = loaded[0].skills
    tried = _set_aside_by_all(loaded, weights, rules)
    # The members were scored on players that none of them had seen, given or folded out.
    split = "val" if "val" in loaded[0].metrics else "out_of_fold"
    files = {
        **head_to_files(head, COMBINED),
        "decision.json": rules.to_json().encode(),
        "metrics.json": (
            json.dumps({split: score(held, rules, skills, counts)}, indent=2) + "\n"
        ).encode(),
        "training.parquet": _training(loaded),
        HELD_OUT_FILE: predictions_parquet(held, rules, skills),
    }
    if tried is not None:
        files |= calibration_files(tried, rules, skills, counts)
    seconds = time.perf_counter() - started
    config = _config(
        loaded, layout, weights, calibrate=calibrate, seconds=seconds, held=held, tried=tried
    )
    publish_run(Path(out), config, files)
    return load_run(out)


def mixture_weights(probabilities: Float, levels: npt.NDArray[np.int64]) -> Float:
    """Weights of the most likely mixture, (m,), shared by all skills.

    Parameters
    ----------
    probabilities : ndarray, float64, (m, n, n_skills, K)
        Of m models.
    levels : ndarray, int64, (n, n_skills)
        -1 missing.

    Notes
    -----
    Expectation-maximisation; the likelihood is concave in the weights, so there is one answer.
    """
    known = levels >= 0
    chosen = np.take_along_axis(probabilities, np.maximum(levels, 0)[None, ..., None], axis=3)
    likelihood = np.maximum(chosen[..., 0][:, known], 1e-300)
    weights = np.full(len(probabilities), 1.0 / len(probabilities))
    for _ in range(_STEPS if likelihood.size else 0):
        share = weights[:, None] * likelihood
        weights = (share / share.sum(axis=0)).mean(axis=1)
    return weights


@dataclass(frozen=True)
class _Layout:
    """Which sources stand side by side, and which columns each run takes of them."""

    features: list[RunFeatures]
    poolings: list[str]
    columns: list[list[tuple[int, int]]]

    @classmethod
    def of(cls, runs: Sequence[Run]) -> _Layout:
        features: list[RunFeatures] = []
        poolings: list[str] = []
        taken: list[list[int]] = []
        for run in runs:
            mine = []
            for pooling, source in zip(
                parse_poolings(run.pooling, len(run.feature_sets)), run.feature_sets, strict=True
            ):
                known = [
                    index
                    for index, (other, text) in enumerate(zip(features, poolings, strict=True))
                    if (other.spec.digest, other.stream, text)
                    == (source.spec.digest, source.stream, str(pooling))
                ]
                if not known:
                    features.append(source)
                    poolings.append(str(pooling))
                mine.append(known[0] if known else len(features) - 1)
            taken.append(mine)
        widths = [
            pooling.width(source.spec.streams[source.stream])
            for pooling, source in zip(
                parse_poolings(",".join(poolings), len(features)), features, strict=True
            )
        ]
        ends = list(accumulate(widths))
        spans = [(end - width, end) for end, width in zip(ends, widths, strict=True)]
        return cls(features, poolings, [[spans[index] for index in mine] for mine in taken])


def _check(runs: Sequence[Run]) -> None:
    if len(runs) < 2:
        raise UsageError("combine needs at least two runs")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise UsageError("a run is named twice; combine different runs")
    first = runs[0]
    for run in runs[1:]:
        if (run.skills, run.n_levels) != (first.skills, first.n_levels):
            raise UsageError(f"{run.path} has other skills or levels than {first.path}")
    for run in runs:
        if isinstance(run.head, CombinedHead):
            raise UsageError(f"{run.path} is combined already; combine the runs it was made of")
    ragged = [run.pooling for run in runs if run.pooling.startswith("segments")]
    if ragged and (len(ragged) < len(runs) or len(set(ragged)) > 1):
        raise UsageError("runs on segments can only be combined with runs on the same segments")


def _held_out(runs: Sequence[Run]) -> tuple[Predictions, Float]:
    """Held-out videos that all runs share, and each run's probabilities, (m, n, n_skills, K)."""
    for run in runs:
        if not (run.path / HELD_OUT_FILE).exists():
            raise RunError(
                f"{run.path} has no held-out predictions to choose weights on; fit it with --val"
            )
    shared = _shared_predictions(runs, HELD_OUT_FILE)
    if shared is None:
        raise UsageError(
            "the runs have no held-out video in common to choose weights on; fit them with the "
            "same validation labels"
        )
    return shared


def _set_aside_by_all(
    runs: Sequence[Run], weights: Float, rules: DecisionRules
) -> Predictions | None:
    """The mixture's predictions of players whom every run set aside; None where there are none."""
    if not all((run.path / SET_ASIDE_FILE).exists() for run in runs):
        return None
    shared = _shared_predictions(runs, SET_ASIDE_FILE)
    if shared is None:
        return None
    tried, probabilities = shared
    return replace(tried, proba=_mixed(weights, probabilities)).calibrated(rules)


def _mixed(weights: Float, probabilities: Float) -> Float:
    return np.asarray(np.einsum("m,mnsk->nsk", weights, probabilities))


def _shared_predictions(runs: Sequence[Run], file: str) -> tuple[Predictions, Float] | None:
    """Videos that a file of each run has, and each run's probabilities, (m, n, n_skills, K)."""
    tables = [_predictions(run, file) for run in runs]
    shared = [video for video in tables[0] if all(video in table for table in tables[1:])]
    if not shared:
        return None
    first = [tables[0][video] for video in shared]
    levels = np.stack([levels for _, levels, _ in first])
    for run, table in zip(runs[1:], tables[1:], strict=True):
        if not np.array_equal(levels, np.stack([table[video][1] for video in shared])):
            raise UsageError(f"{run.path} was fitted with other labels than the first")
    probabilities = np.stack([np.stack([table[video][2] for video in shared]) for table in tables])
    groups = tuple(player for player, _, _ in first)
    return Predictions(probabilities[0], levels, tuple(shared), groups), probabilities


_Row = tuple[str, npt.NDArray[np.int64], Float]


def _predictions(run: Run, file: str) -> dict[str, _Row]:
    """Videos new to a run: player, levels (n_skills,), probabilities (n_skills, K)."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(run.path / file)
        skills = len(run.skills)
        names = table["video_id"].to_pylist()[::skills]
        players = table["player"].to_pylist()[::skills]
        levels = table["label"].to_numpy().reshape(-1, skills).astype(np.int64)
        proba = np.stack([table[f"p{level}"].to_numpy() for level in range(run.n_levels)], axis=-1)
        proba = proba.reshape(-1, skills, run.n_levels)
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise IntegrityError(f"the predictions of {run.path} cannot be read: {error}") from error
    return {
        name: (player, row, probabilities)
        for name, player, row, probabilities in zip(names, players, levels, proba, strict=True)
    }


def _training(runs: Sequence[Run]) -> bytes:
    """Whoever any of the heads has seen."""
    players = sorted({player for run in runs for player in run.train_players})
    return table_bytes({"video_id": [""] * len(players), "player": players})


def _config(
    runs: Sequence[Run],
    layout: _Layout,
    weights: Float,
    *,
    calibrate: bool,
    seconds: float,
    held: Predictions,
    tried: Predictions | None,
) -> Mapping[str, Any]:
    first = runs[0].config
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "head": COMBINED,
        "params": {
            "members": [run.path.name for run in runs],
            "weights": [round(float(weight), 6) for weight in weights],
        },
        "seed": first["seed"],
        "skills": first["skills"],
        "n_levels": first["n_levels"],
        "pooling": ",".join(layout.poolings),
        "feature_sets": [each.to_dict() for each in layout.features],
        "random_weights": any(run.config["random_weights"] for run in runs),
        "simulated": any(run.config["simulated"] for run in runs),
        "labels": first["labels"],
        "train": first["train"],
        "val": {**_counts(held), "left_out": {}},
        "set_aside": None if tried is None else _counts(tried),
        "options": {"calibrate": calibrate},
        "seconds": {"combine": round(seconds, 4)},
        "versions": first["versions"],
    }


def _counts(predictions: Predictions) -> dict[str, int]:
    return {"n_videos": len(predictions.ids), "n_players": len(set(predictions.groups))}
