"""What a sweep is fitted and selected on: matrices, pooled once, and the digest of their rows."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from basket.cache import FeatureCache, FeatureSet, open_cache
from basket.dataset.labels import LabelTable, read_splits
from basket.dataset.skills import N_LEVELS
from basket.errors import UsageError
from basket.heads import folds
from basket.heads.matrix import Matrix, build_matrix
from basket.heads.sources import sources_by_name
from basket.sweep.setting import Setting

#: Share of the training players that selection uses where no validation file is given.
HELD_OUT = 0.2

#: Matrices kept in memory; work is ordered so that a matrix is not needed again once it is gone.
_KEPT = 2


@dataclass(frozen=True)
class SweepData:
    """Where features and labels are: plain values, so that worker processes can be told.

    Parameters
    ----------
    cache : Path
    train : Path
    val : Path or None
        Without it, a fifth of the training players is held out for selection.
    video_root : Path or None
    n_levels : int
    test : Path or None
        Nothing is fitted or selected on it.
    player : str or None
        Column that names the players; by default the paths do.
    """

    cache: Path
    train: Path
    val: Path | None = None
    video_root: Path | None = None
    n_levels: int = N_LEVELS
    test: Path | None = None
    player: str | None = None


@dataclass
class Loaded:
    """Opened labels and cache, and the matrices made of them.

    Parameters
    ----------
    data : SweepData
    """

    data: SweepData
    tables: tuple[LabelTable, LabelTable] = field(init=False)
    test: LabelTable | None = field(init=False)
    cache: FeatureCache = field(init=False)
    _matrices: OrderedDict[tuple[tuple[str, ...], str], tuple[Matrix, Matrix]] = field(
        init=False, default_factory=OrderedDict
    )
    _digests: dict[tuple[str, ...], str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        data = self.data
        splits = read_splits(
            {"train": data.train, "val": data.val, "test": data.test},
            video_root=data.video_root,
            n_levels=data.n_levels,
            player=data.player,
        )
        train, self.test = splits["train"], splits.get("test")
        self.tables = (train, splits["val"]) if "val" in splits else _parts(train)
        self.cache = open_cache(self.data.cache)

    def sources(self, features: tuple[str, ...]) -> list[tuple[FeatureSet, str]]:
        """Feature sets and streams by name."""
        return sources_by_name(self.cache, features)

    def digest(self, features: tuple[str, ...]) -> str:
        """Digest of everything about the data that a score depends on.

        Labels and their scale, which players train, the identity of the features, which videos have
        them, and since when: a cache that grew, or was made anew, makes another result.
        """
        if features not in self._digests:
            self._digests[features] = self.digest_of(features, self.tables)
        return self._digests[features]

    def digest_of(self, features: tuple[str, ...], tables: Sequence[LabelTable]) -> str:
        """The same of other tables."""
        sources = self.sources(features)
        usable = set.intersection(*(set(source.video_ids) for source, _ in sources))
        videos = [[video for video in table.video_ids if video in usable] for table in tables]
        parts = [
            [
                table.sha256,
                names,
                *([table.named_players] if table.named_players else []),
                [source.generations(names) for source, _ in sources],
            ]
            for table, names in zip(tables, videos, strict=True)
        ]
        identity = [[source.spec.digest, stream] for source, stream in sources]
        text = json.dumps([self.data.n_levels, parts, identity])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def matrices(self, setting: Setting) -> tuple[Matrix, Matrix]:
        """Training and validation matrix of a setting; read and pooled once."""
        key = (setting.features, setting.pooling)
        if key not in self._matrices:
            while len(self._matrices) >= _KEPT:
                self._matrices.popitem(last=False)
            sources = self.sources(setting.features)
            train, val = (
                build_matrix(sources, table, pooling=setting.pooling) for table in self.tables
            )
            self._matrices[key] = (train, val)
        self._matrices.move_to_end(key)
        return self._matrices[key]


def _parts(train: LabelTable) -> tuple[LabelTable, LabelTable]:
    """Training labels without part of the players, and those, to select on."""
    if len(set(train.players)) < 2:
        raise UsageError(
            f"{train.path} shows one player alone, and none can be held out to select on; give "
            "--val CSV, or labels of more players"
        )
    keys = folds.group_keys(list(train.players), np.zeros((len(train), 1)))
    held = folds.held_out(keys, HELD_OUT)
    return _part(train, np.flatnonzero(~held).tolist()), _part(train, np.flatnonzero(held).tolist())


def _part(table: LabelTable, rows: Sequence[int]) -> LabelTable:
    return replace(
        table,
        video_ids=tuple(table.video_ids[row] for row in rows),
        levels=table.levels[list(rows)],
        named_players=tuple(table.players[row] for row in rows) if table.named_players else (),
    )
