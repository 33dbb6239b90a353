"""A cache of made-up features with its label files, quick to make and to learn from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from basket.cache import FeatureSetSpec, VideoFeatures, VideoRow, open_cache

SKILLS = ("Steals", "Fouls", "Impact")
WIDTH = 5


@dataclass(frozen=True)
class SmallLeague:
    """Sixty reels of sixty players; the level of every skill shows in the features."""

    cache: Path
    train: Path
    val: Path
    test: Path


def video_id(player: int) -> str:
    return f"18-19/NBA/{player}_18_19.mp4"


def make_small_league(
    root: Path, *, per_shard: int = 16, random_weights: bool = False
) -> SmallLeague:
    """Write the cache and the label files below ``root``."""
    random = np.random.default_rng(0)
    levels = random.integers(0, 5, size=(60, len(SKILLS)))
    spec = FeatureSetSpec(
        "motion",
        "motion",
        {"size": 32},
        {"name": "dense", "window_s": 2.0},
        {"pooled": WIDTH},
        notes={"checkpoint": "made/up", "random_weights": random_weights},
    )
    feature_set = open_cache(root / "cache", create=True).feature_set(spec)
    with feature_set.writer() as writer:
        for player in range(60):
            segments = 2 + player % 3
            values = random.normal(scale=0.2, size=(segments, WIDTH))
            values[:, : len(SKILLS)] += levels[player]
            start_s = np.arange(segments) * 2.0
            features = VideoFeatures(
                {"pooled": values.astype(np.float16)},
                start_s,
                start_s + 2.0,
                np.full(segments, 16, dtype=np.int32),
            )
            row = VideoRow(video_id(player), source_bytes=1, source_mtime_ns=1, duration_s=9.0)
            writer.add(row, features)
            if player % per_shard == per_shard - 1:
                writer.flush()
        writer.add(VideoRow("18-19/NBA/99_18_19.mp4", status="failed", reason="it is empty"))
    files = {}
    for name, players in {"train": range(36), "val": range(36, 48), "test": range(48, 60)}.items():
        lines = [f"path,{','.join(SKILLS)}"]
        lines += [f"{video_id(p)},{','.join(map(str, levels[p]))}" for p in players]
        files[name] = root / f"{name}.csv"
        files[name].write_text("\n".join(lines) + "\n")
    return SmallLeague(root / "cache", **files)
