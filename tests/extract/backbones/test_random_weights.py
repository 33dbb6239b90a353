"""Random checkpoints: reproducible, marked, and loadable by transformers itself."""

import json

from basket.extract.backbones import load_backbone
from basket.extract.backbones.random_weights import save_random, save_random_videomae


def digest(family, folder):
    return load_backbone(family, weights=folder).spec.weights_sha256


def test_the_seed_decides_the_weights(tmp_path):
    for family in ("videomae", "xclip"):
        one = digest(family, save_random(family, tmp_path / f"{family}-1", seed=5))
        same = digest(family, save_random(family, tmp_path / f"{family}-2", seed=5))
        other = digest(family, save_random(family, tmp_path / f"{family}-3", seed=6))
        assert one == same != other


def test_the_seed_leaves_torch_s_own_generator_in_charge_of_others(tmp_path):
    import torch

    torch.manual_seed(1)
    one = digest("videomae", save_random_videomae(tmp_path / "a"))
    torch.manual_seed(2)
    assert digest("videomae", save_random_videomae(tmp_path / "b")) == one


def test_writing_again_replaces_and_leaves_nothing_behind(tmp_path):
    save_random_videomae(tmp_path / "tiny", seed=1)
    before = digest("videomae", tmp_path / "tiny")
    save_random_videomae(tmp_path / "tiny", seed=2)
    assert digest("videomae", tmp_path / "tiny") != before
    assert sorted(file.name for file in (tmp_path / "tiny").iterdir()) == [
        "config.json",
        "model.safetensors",
        "preprocessor_config.json",
    ]


def test_the_marker_is_in_the_configuration(checkpoints):
    for folder in checkpoints.values():
        assert json.loads((folder / "config.json").read_text())["basket_random_weights"] is True


def test_sizes_are_as_asked(tmp_path):
    folder = save_random_videomae(
        tmp_path / "w", hidden_size=48, layers=3, heads=3, image_size=64, patch_size=32, frames=8
    )
    spec = load_backbone("videomae", weights=folder, streams=("pooled", "layer-3", "tubelet3")).spec
    assert spec.frames == 8 and spec.geometry.height_px == 64
    assert spec.streams == {"pooled": 48, "layer-3": 48, "tubelet3": 48}
