"""BASKET's protocol: which test sets there are, who is missing from them, what was published."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.dataset.labels import LabelTable
from basket.dataset.layout import SPLIT_FILES, is_simulated
from basket.dataset.skills import N_LEVELS, SKILLS, skill_named
from basket.evaluate.bootstrap import Interval, difference_interval
from basket.evaluate.results import Reference, SplitScores
from basket.heads.matrix import Matrix, build_matrix, reasons_left_out
from basket.heads.streaming import FeatureSource
from basket.metrics import CONFUSION_METRICS

_PAPER = "BASKET, CVPR 2025, arXiv 2503.20781"

#: Mean accuracies on BASKET's main test set, and on nothing else.
PUBLISHED = (
    Reference("random", 0.20, "one in five levels"),
    Reference("best fine-tuned model", 0.285, f"{_PAPER}: about 28.5 %, trained end to end"),
    Reference("human experts", 0.72, f"{_PAPER}: up to about 72 %"),
)


def references_for(table: LabelTable, *, simulated: bool) -> tuple[Reference, ...]:
    """Published scores that stand beside this test set: on BASKET's own main test set alone.

    Parameters
    ----------
    table : LabelTable
        The test set. It is BASKET's by where it lies (``BASKET_Labels/BASKET/test.csv``) and by
        its 20 skills of five levels.
    simulated : bool
        Whether the run was fitted on simulated players.
    """
    own = Path(SPLIT_FILES["test"]).parts
    known = {skill.name for skill in SKILLS}
    is_basket = (
        table.path.resolve().parts[-len(own) :] == own
        and table.n_levels == N_LEVELS
        and len(table.skills) == len(SKILLS)
        and {skill_named(name).name for name in table.skills} == known
    )
    return PUBLISHED if is_basket and not simulated and not is_simulated(table.path) else ()


def lost_levels(table: LabelTable, scored: Collection[str]) -> npt.NDArray[np.int64]:
    """True levels of the videos of a label file that were not scored, ``(m, n_skills)``.

    They are scored twice: left out, and at their worst.
    """
    there = set(scored)
    rows = [row for row, video in enumerate(table.video_ids) if video not in there]
    return np.asarray(table.levels[rows], dtype=np.int64)


def matrix_of_test_set(
    sources: Sequence[tuple[FeatureSource, str]], table: LabelTable, *, pooling: str
) -> Matrix:
    """The matrix of a test set; one without rows where no video of it can be used.

    A head cannot be fitted on nothing, which is why :func:`build_matrix` refuses; a report can say
    that a whole test set was lost, with the reason of each video.
    """
    left_out = reasons_left_out(sources, table)
    if len(left_out) < len(table):
        return build_matrix(sources, table, pooling=pooling)
    return Matrix(
        X=np.zeros((0, 0), dtype=np.float32),
        Y=np.zeros((0, len(table.skills)), dtype=np.int64),
        groups=np.zeros(0, dtype=np.str_),
        ids=(),
        skills=tuple(table.skills),
        n_levels=table.n_levels,
        left_out=left_out,
    )


def split_changes(
    main: SplitScores, other: SplitScores
) -> Mapping[str, tuple[float, Interval | None]]:
    """How much each main metric changes from one test set to another, with the interval.

    The two sets show different players, so their errors are taken as independent.
    """
    changes = {}
    for name in CONFUSION_METRICS:
        now, before = other.metrics[name], main.metrics[name]
        interval = difference_interval(now.mean, now.interval, before.mean, before.interval)
        changes[name] = (now.mean - before.mean, interval)
    return changes
