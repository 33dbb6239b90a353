"""Cache + labels + pooling -> X, Y, groups, ids, and a reason for every video left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from basket.cache.features import RaggedFeatures
from basket.dataset.labels import LabelTable
from basket.errors import UsageError
from basket.heads.pooling import Features, parse_poolings
from basket.heads.rows import take
from basket.heads.streaming import BLOCK_BYTES, FeatureSource, pool_feature_set


@dataclass(frozen=True)
class Matrix:
    """What a head is fitted on or scored on.

    Parameters
    ----------
    X : ndarray, float32, (n, P), or RaggedFeatures
        Pooled features, or segments; several feature sets stand side by side.
    Y : ndarray, int64, (n, n_skills)
        Levels ``0..n_levels-1``; -1 is missing.
    groups : ndarray of str, (n,)
        The player in each row.
    ids : tuple of str, (n,)
        Video ids.
    skills : tuple of str
        Names of the columns of Y.
    n_levels : int
        K.
    left_out : mapping of str to str
        Labelled videos that are not in the matrix, and why.
    seconds : mapping of str to float
        Time spent: ``read`` and ``pool``.
    """

    X: Features
    Y: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    ids: tuple[str, ...]
    skills: tuple[str, ...]
    n_levels: int
    left_out: Mapping[str, str] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self, chosen: npt.NDArray[np.bool_]) -> Matrix:
        """The rows of a mask (n,)."""
        return replace(
            self,
            X=take(self.X, chosen),
            Y=self.Y[chosen],
            groups=self.groups[chosen],
            ids=tuple(each for each, kept in zip(self.ids, chosen, strict=True) if kept),
        )

    @property
    def n_players(self) -> int:
        """How many different players the rows show."""
        return len(np.unique(self.groups))

    def level_counts(self) -> npt.NDArray[np.int64]:
        """How often each level occurs, int64, (n_skills, K)."""
        return np.asarray((self.Y[:, :, None] == np.arange(self.n_levels)).sum(axis=0))


def build_matrix(
    sources: Sequence[tuple[FeatureSource, str]],
    labels: LabelTable,
    *,
    pooling: str,
    block_bytes: int = BLOCK_BYTES,
) -> Matrix:
    """Join features and labels.

    Parameters
    ----------
    sources : sequence of (FeatureSet, str)
        Feature sets and the stream to take of each; only videos that are in all of them are kept.
    labels : LabelTable
        Rows and their order.
    pooling : str
        ``mean+std``, one per source joined by commas, or ``segments``; see
        :mod:`basket.heads.pooling`.
    block_bytes : int
        Bound on the segments held in memory at a time.

    Raises
    ------
    UsageError
        No source, an unknown stream or pooling, no labelled video has features, or segments of
        different plans would have to stand side by side.
    """
    if not sources:
        raise UsageError("no feature set was given; name at least one")
    poolings = parse_poolings(pooling, len(sources))
    reasons = reasons_left_out(sources, labels)
    kept = [row for row, video_id in enumerate(labels.video_ids) if video_id not in reasons]
    if not kept:
        some = next(iter(reasons.items()), None)
        example = f", for example {some[0]}: {some[1]}" if some else ""
        known = next((f", which has for example {video}" for video in sources[0][0].video_ids), "")
        raise UsageError(
            f"none of the {len(labels.video_ids)} videos of {labels.path} can be used{example}; "
            f"check that the labels name videos of {sources[0][0].name}{known}"
        )
    ids = tuple(labels.video_ids[row] for row in kept)
    seconds: dict[str, float] = {}
    columns = [
        pool_feature_set(source, ids, stream, each, block_bytes=block_bytes, seconds=seconds)
        for (source, stream), each in zip(sources, poolings, strict=True)
    ]
    return Matrix(
        X=side_by_side(columns),
        Y=labels.levels[kept].astype(np.int64),
        groups=np.array([labels.players[row] for row in kept], dtype=np.str_),
        ids=ids,
        skills=tuple(labels.skills),
        n_levels=labels.n_levels,
        left_out=reasons,
        seconds=seconds,
    )


def reasons_left_out(
    sources: Sequence[tuple[FeatureSource, str]], labels: LabelTable
) -> dict[str, str]:
    """Why videos of a label file cannot take part, for those that cannot.

    Parameters
    ----------
    sources : sequence of (FeatureSet, str)
        As of :func:`build_matrix`, which leaves out these videos.
    labels : LabelTable

    Returns
    -------
    dict of str to str
        Video id to what is missing in each feature set.
    """
    labelled = np.asarray((labels.levels >= 0).any(axis=1)).tolist()
    present = [set(source.video_ids) for source, _ in sources]
    empty = {source.name: _without_segments(source, labels.video_ids) for source, _ in sources}
    reasons = {}
    for video_id, has_label in zip(labels.video_ids, labelled, strict=True):
        said = [] if has_label else ["no labels"]
        for (source, _), ids in zip(sources, present, strict=True):
            # A video that failed once and succeeded later may stand in both.
            if video_id in ids:
                if video_id in empty[source.name]:
                    said.append(f"no segments in {source.name}")
                continue
            failure = source.failed.get(video_id)
            said.append(
                f"failed in {source.name}: {failure}"
                if failure is not None
                else f"not in {source.name}"
            )
        if said:
            reasons[video_id] = "; ".join(said)
    return reasons


def side_by_side(parts: Sequence[Features]) -> Features:
    """Columns of several feature sets for the same videos.

    Raises
    ------
    UsageError
        They are ragged, and a video has different numbers of segments in two of them.
    """
    first = parts[0]
    if len(parts) == 1:
        return first
    if not isinstance(first, RaggedFeatures):
        return np.concatenate([np.asarray(part) for part in parts], axis=1)
    ragged = [part for part in parts if isinstance(part, RaggedFeatures)]
    if any(not np.array_equal(part.offsets, first.offsets) for part in ragged):
        raise UsageError(
            "the feature sets cut videos into different segments, which cannot stand side by "
            "side; pool them, or choose feature sets of one plan"
        )
    return RaggedFeatures(np.concatenate([part.values for part in ragged], axis=1), first.offsets)


def _without_segments(source: FeatureSource, video_ids: Sequence[str]) -> set[str]:
    """Those of some videos that the feature set holds with no segment at all."""
    present = set(source.video_ids)
    held = [video_id for video_id in video_ids if video_id in present]
    if not held:
        return set()
    lengths = np.asarray(source.n_segments(held)).tolist()
    return {video_id for video_id, length in zip(held, lengths, strict=True) if not length}
