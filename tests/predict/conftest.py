"""A fitted run on a small cache, without decoding anything: players whose skill is a direction."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from basket.cache import FeatureSetSpec, VideoFeatures, VideoRow, open_cache
from basket.dataset import read_labels
from basket.extract.backbones import load_backbone
from basket.extract.planning import feature_set_spec
from basket.extract.segments import SegmentPlan

SKILLS = ("Steals", "Defensive Consistency", "Impact")
COLUMNS = [f"{skill}:{side}:0" for skill in SKILLS for side in ("good", "bad")]
DIM, SEGMENTS = 8, 6


@dataclass(frozen=True)
class World:
    """Where things are."""

    root: Path
    cache: Path
    train: Path
    names: tuple[str, ...]
    spec: FeatureSetSpec
    other: FeatureSetSpec


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """Sixty players with two feature sets of one plan in a cache, and their label file."""
    root = tmp_path_factory.mktemp("world")
    motion = feature_set_spec(load_backbone("motion").spec, SegmentPlan())
    spec = replace(
        motion,
        streams={"pooled": DIM, "prompts": len(COLUMNS)},
        columns={"prompts": COLUMNS},
        prompts_sha256="ab" * 32,
    )
    other = replace(motion, backbone="other", streams={"pooled": 3}, columns={})
    random = np.random.default_rng(0)
    levels = random.integers(0, 5, size=(60, 3))
    names = [f"18-19/NBA/{player}_18_19.mp4" for player in range(60)]
    start = np.arange(SEGMENTS) * 2.0
    cache = open_cache(root / "cache", create=True)
    with cache.feature_set(spec).writer() as first, cache.feature_set(other).writer() as second:
        for name, level in zip(names, levels, strict=True):
            pooled = random.normal(size=(SEGMENTS, DIM))
            pooled[:, :3] += level
            texts = random.normal(size=(SEGMENTS, len(COLUMNS))) * 0.3
            texts[:, 0::2] += level * [1, -1, 1]  # the level of Defensive Consistency runs down
            times = {"start_s": start, "end_s": start + 2.0}
            valid = np.full(SEGMENTS, 16, np.int32)
            row = VideoRow(name, duration_s=12.0, fps=10.0, width_px=96, height_px=64)
            features = {"pooled": pooled.astype(np.float16), "prompts": texts.astype(np.float16)}
            first.add(row, VideoFeatures(features, frames_valid=valid, **times))
            small = {"pooled": random.normal(size=(SEGMENTS, 3)).astype(np.float16)}
            second.add(row, VideoFeatures(small, frames_valid=valid, **times))
    lines = [f"{name},{','.join(map(str, row))}" for name, row in zip(names, levels, strict=True)]
    train = root / "train.csv"
    train.write_text("\n".join(["path," + ",".join(SKILLS), *lines]) + "\n")
    return World(root, root / "cache", train, tuple(names), spec, other)


@pytest.fixture(scope="session")
def fit(world, tmp_path_factory):
    """``fit(head="ridge", streams=("pooled",), **settings)``: a run, made once per settings."""
    from basket import workflows

    made = {}
    sets = {}
    cache = open_cache(world.cache)
    for name in cache.feature_sets:
        sets[cache[name].spec.backbone] = name

    def call(head="ridge", streams=("motion:pooled",), **settings):
        key = (head, streams, tuple(sorted((name, str(value)) for name, value in settings.items())))
        if key not in made:
            features = [
                f"{sets[backbone]}:{stream}"
                for backbone, _, stream in (each.partition(":") for each in streams)
            ]
            made[key] = workflows.fit_head(
                cache=world.cache,
                features=features,
                train=world.train,
                head=head,
                out=tmp_path_factory.mktemp("runs") / "run",
                **settings,
            )
        return made[key]

    return call


@pytest.fixture(scope="session")
def labels(world):
    return read_labels(world.train)
