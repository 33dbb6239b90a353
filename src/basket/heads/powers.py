"""How much more the leading directions of the features are trusted than the others.

Ridge penalises every principal direction alike, whatever its variance. Embeddings put what they
know into their leading directions; where that holds for a skill too, a penalty that grows as the
variance falls keeps noise out: ``penalty * u ** (1 - power)`` on a direction whose variance is
``u`` times the mean over columns. Power 1 is ridge; with a growing power the path approaches
regression on the leading principal components. Held-out players say which power a skill gets.

Source: generalised ridge regression, Hoerl & Kennard (1970).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.heads.folds import first_best
from basket.heads.ridge_search import RELATIVE_PENALTIES, RidgeSearch
from basket.heads.rows import TrainingRows

Float = npt.NDArray[np.float64]

#: Tried where neither powers nor penalties are given.
DEFAULT_POWERS = (1.0, 2.0, 4.0)


def candidate_powers(
    powers: float | Sequence[float] | None, penalties: float | Sequence[float] | None
) -> Float:
    """Powers to choose from, rising.

    Given penalties are those of plain ridge unless powers are given too.
    """
    if powers is None:
        return np.array(DEFAULT_POWERS if penalties is None else (1.0,))
    found = np.unique(np.asarray(powers, dtype=np.float64))
    if not len(found) or not (found >= 1).all() or not np.isfinite(found).all():
        raise UsageError(f"powers must be numbers >= 1, got {powers!r}")
    return found


def candidates(powers: Float, penalties: Float) -> Float:
    """Power and negative penalty of every combination, (n_candidates, 2), rising.

    So of equal errors the first is the most cautious: plain ridge, and the strong penalty.
    """
    pairs = [(power, -penalty) for power in powers for penalty in np.sort(penalties)[::-1]]
    return np.array(pairs)


def best_powers(rows: TrainingRows, powers: Float, n_folds: int, *, standardize: bool) -> Float:
    """Power of each skill, (n_skills,): that of the ridge that errs least on held-out players."""
    if len(powers) == 1:
        return np.full(rows.n_skills, powers[0])
    tried = candidates(powers, RELATIVE_PENALTIES * rows.weights.sum())
    search = RidgeSearch(rows, -tried[:, 1], n_folds, standardize=standardize, powers=tried[:, 0])
    return np.asarray(tried[first_best(search.errors_at_best_slope), 0])
