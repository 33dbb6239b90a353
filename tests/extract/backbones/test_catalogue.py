"""Names that users type."""

import re
import subprocess
import sys

import pytest

from basket.errors import UsageError
from basket.extract.backbones import ALIASES, BACKBONES, CATALOGUE, Checkpoint, resolve
from basket.extract.backbones.cost import (
    image_tflop,
    timesformer_tflop,
    videomae_tflop,
    vivit_tflop,
    vjepa2_tflop,
    xclip_tflop,
)


def test_aliases_are_the_documented_ones():
    assert resolve("videomae").name == "videomae/base-k400"
    assert resolve("videomae").repo == "MCG-NJU/videomae-base-finetuned-kinetics"
    assert resolve("xclip").repo == "microsoft/xclip-base-patch32"
    assert resolve("motion") == CATALOGUE["motion"]
    assert set(ALIASES.values()) <= set(CATALOGUE)


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("videomea", "videomae"),
        ("videomae/base-k40", "videomae/base-k400"),
        ("xclip/base-patch23", "xclip/base-patch32"),
        ("moton", "motion"),
    ],
)
def test_the_nearest_name_is_suggested(typed, meant):
    with pytest.raises(UsageError, match=f"unknown model .*did you mean '{meant}'"):
        resolve(typed)


def test_something_quite_different_names_the_short_names_and_where_all_are():
    with pytest.raises(UsageError, match=r"known are motion, videomae, .* basket models"):
        resolve("zzzzzz")


def test_entries_are_complete_and_revisions_are_commits_or_references():
    for name, entry in CATALOGUE.items():
        assert entry.name == name and entry.family in BACKBONES and entry.licence
        assert re.fullmatch(r"|[0-9a-f]{40}|refs/pr/\d+", entry.revision)
        assert bool(entry.repo) == (entry.family != "motion")
        if entry.repo:
            assert entry.tflop_per_clip and entry.dims and entry.frames and entry.size_px


def test_a_family_of_another_package_needs_no_entry(monkeypatch):
    monkeypatch.setattr(BACKBONES, "_third_parties", {"theirs": "some.module:load"})
    assert resolve("theirs/large") == Checkpoint(name="theirs/large", family="theirs")


@pytest.mark.parametrize("size", ["base", "large", "huge"])
def test_costs_of_videomae_are_those_of_its_paper(size):
    from transformers import VideoMAEConfig

    width, layers = {"base": (768, 12), "large": (1024, 24), "huge": (1280, 32)}[size]
    config = VideoMAEConfig(
        hidden_size=width, num_hidden_layers=layers, intermediate_size=4 * width
    )
    listed = CATALOGUE[f"videomae/{size}-k400"].tflop_per_clip
    assert videomae_tflop(config) == pytest.approx(listed, rel=0.005)


@pytest.mark.parametrize(
    ("name", "vision"),
    [
        ("base-patch32", {}),
        ("base-patch32-16-frames", {"num_frames": 16}),
        ("base-patch16", {"patch_size": 16}),
        ("base-patch16-16-frames", {"patch_size": 16, "num_frames": 16}),
        ("large-patch14", {"large": True}),
        ("large-patch14-16-frames", {"large": True, "num_frames": 16, "image_size": 336}),
    ],
)
def test_xclip_costs_in_the_catalogue_are_the_counted_ones(name, vision):
    from transformers import XCLIPConfig

    large = {
        "patch_size": 14,
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "mit_hidden_size": 768,
        "mit_intermediate_size": 3072,
    }
    options = {**(large if vision.pop("large", False) else {}), **vision}
    dims = CATALOGUE[f"xclip/{name}"].dims
    config = XCLIPConfig(vision_config=options, projection_dim=dims)
    listed = CATALOGUE[f"xclip/{name}"].tflop_per_clip
    assert xclip_tflop(config) == pytest.approx(listed, rel=0.005)


WIDTHS = {  # width, layers, heads, feed-forward width
    "small": (384, 12, 6, 1536),
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
    "huge": (1280, 32, 16, 5120),
    "vitg": (1408, 40, 22, 6144),
    "giant": (1536, 40, 24, 6144),
    "so400m": (1152, 27, 16, 4304),
}


def sizes(kind, *, inner=True):
    width, layers, heads, feed = WIDTHS[kind]
    values = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
    return {**values, "intermediate_size": feed} if inner else values


def counted(entry):
    """The cost by our count, from a configuration of the published sizes."""
    import transformers as t

    kind = entry.name.partition("/")[2].partition("-")[0]
    if entry.family == "videomae":
        return videomae_tflop(t.VideoMAEConfig(**sizes(kind)))
    if entry.family == "vjepa2":
        kind = "vitg" if kind == "giant" else kind
        width, _, _, feed = WIDTHS[kind]
        config = t.VJEPA2Config(
            **sizes(kind, inner=False), mlp_ratio=feed / width, crop_size=entry.size_px
        )
        return vjepa2_tflop(config, entry.frames)
    if entry.family == "timesformer":
        return timesformer_tflop(
            t.TimesformerConfig(image_size=entry.size_px, num_frames=entry.frames)
        )
    if entry.family == "vivit":
        return vivit_tflop(t.VivitConfig())
    sides, options = (entry.size_px, entry.size_px), {"frames": entry.frames}
    patch = int(re.search(r"patch(\d+)", entry.repo + "patch14")[1])
    if entry.family == "dinov2":
        config = t.Dinov2Config(**sizes(kind, inner=False), image_size=518)
        return image_tflop(config, sides, prefix=1, **options)
    config_class = {"clip": t.CLIPVisionConfig, "siglip2": t.SiglipVisionConfig}[entry.family]
    config = config_class(**sizes(kind), patch_size=patch, image_size=entry.size_px)
    one = entry.family == "clip"
    return image_tflop(config, sides, prefix=int(one), attention_pooling=not one, **options)


@pytest.mark.parametrize(
    "name", [name for name, entry in CATALOGUE.items() if entry.family not in ("motion", "xclip")]
)
def test_costs_of_all_other_families_are_the_counted_ones(name):
    assert counted(CATALOGUE[name]) == pytest.approx(CATALOGUE[name].tflop_per_clip, rel=0.005)


@pytest.mark.parametrize(
    "family", ["videomae", "xclip", "timesformer", "vivit", "clip", "siglip2", "dinov2", "vjepa2"]
)
def test_counted_costs_agree_with_torch_s_own_counter(family, loaded, make_clips):
    """Matrix products as torch sees them, attention included."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    backbone = loaded(family)
    # Torch does not count inside its fused attention for CPUs.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.embed(make_clips(backbone.spec, 1))
    ours = backbone.spec.tflop_per_clip * 1e12
    assert counter.get_total_flops() == pytest.approx(ours, rel=0.01)


def test_listing_models_and_running_motion_import_no_torch():
    code = (
        "import sys, basket.extract.backbones as b; b.load_backbone('motion');"
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'huggingface_hub')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
