"""What is at rest: features in a cache to probabilities, and what a run measured of itself."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from basket.cache import FeatureSet
from basket.heads.calibration import Calibration
from basket.heads.matrix import side_by_side
from basket.heads.persist import Run
from basket.heads.pooling import parse_poolings
from basket.heads.reference import Reference
from basket.heads.streaming import pool_feature_set

Float = npt.NDArray[np.float64]


def predict_stored(run: Run, sets: Sequence[FeatureSet], names: Sequence[str]) -> Float:
    """Probabilities (n, n_skills, K) of videos by their ids in a run's feature sets."""
    poolings = parse_poolings(run.pooling, len(run.feature_sets))
    return run.predict_proba(
        side_by_side(
            [
                # The cache is only read here: nothing pooled is kept in it.
                pool_feature_set(each, list(names), wanted.stream, pooling, keep=False)
                for each, wanted, pooling in zip(sets, run.feature_sets, poolings, strict=True)
            ]
        )
    )


def reference_of_run(run: Run) -> Reference | None:
    """Players to compare with; None for runs that stored none."""
    data = run.extra_file("reference.json")
    if data is None:
        return None
    return Reference.from_json(
        data.decode(), skills=run.skills, origin=str(run.path / "reference.json")
    )


def calibration_of_run(run: Run) -> Calibration | None:
    """How often the run is right; None where no players were set aside."""
    data = run.extra_file("calibration.json")
    if data is None:
        return None
    return Calibration.from_json(data.decode(), origin=str(run.path / "calibration.json"))
