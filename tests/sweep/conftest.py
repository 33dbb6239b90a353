"""A cache and label files small enough that a sweep takes a second."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from basket.cache import FeatureSetSpec, VideoFeatures, VideoRow, open_cache
from basket.sweep.data import SweepData

SKILLS = ("Steals", "Fouls", "Impact")


@dataclass(frozen=True)
class Court:
    cache: Path
    train: Path
    val: Path
    test: Path

    @property
    def data(self) -> SweepData:
        return SweepData(self.cache, self.train, self.val)

    @property
    def files(self) -> dict[str, Path]:
        return {"cache": self.cache, "train": self.train, "val": self.val, "test": self.test}


def _features(levels, *, width, signal, random):
    segments = 4
    start_s = np.arange(segments) * 2.0
    values = random.normal(size=(segments, width))
    values[:, : len(levels)] += signal * levels
    return VideoFeatures(
        {"pooled": values.astype(np.float16)},
        start_s,
        start_s + 2.0,
        np.full(segments, 16, dtype=np.int32),
    )


@pytest.fixture(scope="session")
def court(tmp_path_factory):
    """Two feature sets of 180 reels of 90 players: ``good`` shows the levels, ``noise`` nothing."""
    root = tmp_path_factory.mktemp("court")
    random = np.random.default_rng(0)
    ids = [f"{s}-{s + 1}/NBA/{p}_{s}_{s + 1}.mp4" for p in range(90) for s in (18, 19)]
    levels = random.integers(0, 5, size=(180, 3))
    labels = levels.copy()
    labels[::7, 1] = -1
    cache = open_cache(root / "cache", create=True)
    for name, signal in (("good", 0.8), ("noise", 0.0)):
        spec = FeatureSetSpec(name, name, {}, {"name": "dense"}, {"pooled": 6})
        with cache.feature_set(spec).writer() as writer:
            for video, level in zip(ids, levels, strict=True):
                row = VideoRow(
                    video,
                    source_bytes=1,
                    source_mtime_ns=1,
                    duration_s=8.0,
                    fps=30.0,
                    width_px=64,
                    height_px=64,
                    provenance={},
                )
                writer.add(row, _features(level, width=6, signal=signal, random=random))
    parts = {"train": slice(0, 100), "val": slice(100, 140), "test": slice(140, 180)}
    for name, rows in parts.items():
        lines = [",".join(["path", *SKILLS])]
        lines += [
            ",".join([video, *map(str, level)])
            for video, level in zip(ids[rows], labels[rows].tolist(), strict=True)
        ]
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")
    return Court(root / "cache", *(root / f"{name}.csv" for name in parts))
