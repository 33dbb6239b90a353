"""Feature sets and labels small enough to know by heart."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from basket.cache.features import RaggedFeatures
from basket.cache.fingerprint import FeatureSetSpec
from basket.dataset.labels import LabelTable
from basket.heads.matrix import build_matrix


class FakeFeatureSet:
    """The part of a feature set that heads use, in memory."""

    def __init__(self, name, videos, *, failed=None, width=4, notes=None):
        self.spec = FeatureSetSpec(
            name, name, {}, {"name": "dense"}, {"pooled": width}, notes=notes or {}
        )
        self.name, self.videos, self.failed = name, videos, failed or {}

    @property
    def video_ids(self):
        return tuple(self.videos)

    def n_segments(self, video_ids):
        return np.array([len(self.videos[video_id]) for video_id in video_ids])

    def stream(self, video_ids, *, stream, block_bytes):
        for video_id in sorted(video_ids, reverse=True):
            yield (video_id,), RaggedFeatures.from_list([self.videos[video_id]])


def label_table(levels, *, skills=("Steals", "Fouls", "Impact"), ids=None):
    levels = np.asarray(levels, dtype=np.int8)
    seasons = ("18-19", "19-20")
    ids = ids or tuple(
        f"{seasons[row % 2]}/NBA/{row // 2}_{seasons[row % 2].replace('-', '_')}.mp4"
        for row in range(len(levels))
    )
    return LabelTable(
        path=Path("train.csv"),
        sha256="0" * 64,
        video_root=None,
        video_ids=tuple(ids),
        skills=skills[: levels.shape[1]],
        levels=levels,
        n_levels=5,
    )


@pytest.fixture(scope="session")
def league():
    """160 reels of 80 players: features, labels (some missing), matrices of both halves."""
    random = np.random.default_rng(0)
    skill = random.normal(size=(160, 3))
    videos, levels = {}, (skill[:, None] > np.array([-1, -0.3, 0.3, 1])[None, :, None]).sum(axis=1)
    levels[::9, 1] = -1
    table = label_table(levels)
    for row, video_id in enumerate(table.video_ids):
        noise = random.normal(size=(3 + row % 4, 4))
        noise[:, :3] += 3 * skill[row]
        videos[video_id] = noise.astype(np.float16)
    source = FakeFeatureSet("motion", videos, failed={"elsewhere.mp4": "cannot be opened"})
    matrix = build_matrix([(source, "pooled")], table, pooling="mean+std")
    return SimpleNamespace(source=source, labels=table, matrix=matrix)
