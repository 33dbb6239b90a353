"""Tiny checkpoints with random weights, and ways to damage a copy of one."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from basket.extract.backbones import load_backbone
from basket.extract.backbones.random_networks import BUILDERS
from basket.extract.backbones.random_weights import save_random, save_random_videomae


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory) -> dict[str, Path]:
    """Read-only: one per family under its name, and ``finetuned`` and ``ssl`` (VideoMAE)."""
    root = tmp_path_factory.mktemp("checkpoints")
    sizes = {"hidden_size": 32, "image_size": 32, "heads": 2}
    more = {"projection_dim": 16}
    families = {
        family: save_random(family, root / family, seed=3, **sizes, **more) for family in BUILDERS
    }
    return families | {
        "finetuned": save_random_videomae(root / "finetuned", seed=1, **sizes),
        "ssl": save_random_videomae(root / "ssl", seed=2, layout="self-supervised", **sizes),
    }


@pytest.fixture(scope="session")
def loaded(checkpoints) -> Callable:
    """Load a family's tiny checkpoint, once per set of streams; the backbones are shared."""

    @cache
    def load(family: str, streams: tuple[str, ...] = ("pooled",)):
        return load_backbone(family, weights=checkpoints.get(family), streams=streams)

    return load


@pytest.fixture
def copied(checkpoints, tmp_path) -> Callable[[str], Path]:
    """A copy of a checkpoint that a test may damage."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(checkpoints[name], tmp_path / name))

    return copy


@pytest.fixture
def edit_json() -> Callable[..., None]:
    """Change or (with None) drop entries of a JSON file."""

    def edit(path: Path, **changes) -> None:
        document = {**json.loads(path.read_text()), **changes}
        path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))

    return edit


@pytest.fixture
def edit_weights() -> Callable[..., None]:
    """Rewrite ``model.safetensors`` through a function from tensors to tensors."""

    def edit(folder: Path, change: Callable[[dict], dict]) -> None:
        from safetensors.torch import load_file, save_file

        file = folder / "model.safetensors"
        save_file(change(load_file(file)), file, metadata={"format": "pt"})

    return edit


@pytest.fixture(scope="session")
def make_clips() -> Callable[..., np.ndarray]:
    """Random clips in the geometry of a specification."""

    def make(spec, count: int, seed: int = 0) -> np.ndarray:
        shape = (count, spec.frames, spec.geometry.height_px, spec.geometry.width_px, 3)
        return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)

    return make
