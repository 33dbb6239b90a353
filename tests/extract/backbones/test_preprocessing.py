"""The checkpoint's own pixel values are what is used and recorded."""

import json

import pytest

from basket.errors import WeightsError
from basket.extract.backbones import FrameGeometry, load_backbone

FILE = "preprocessor_config.json"


def test_mean_std_and_rescaling_are_recorded(checkpoints):
    values = load_backbone("videomae", weights=checkpoints["finetuned"]).spec.preprocessing
    assert values["mean"] == [0.485, 0.456, 0.406]
    assert values["std"] == [0.229, 0.224, 0.225]
    assert values["rescale_factor"] == pytest.approx(1 / 255)
    assert values["network"]["num_attention_heads"] == 2


def test_other_values_make_other_features_and_another_record(
    checkpoints, copied, edit_json, make_clips
):
    folder = copied("finetuned")
    edit_json(folder / FILE, image_mean=[0.5] * 3, image_std=[0.5] * 3)
    ours = load_backbone("videomae", weights=checkpoints["finetuned"])
    other = load_backbone("videomae", weights=folder)
    clips = make_clips(ours.spec, 1)
    assert other.spec.preprocessing["mean"] == [0.5] * 3
    assert other.spec.weights_sha256 == ours.spec.weights_sha256
    assert abs(ours.embed(clips)["pooled"] - other.embed(clips)["pooled"]).max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "geometry"),
    [
        ({}, FrameGeometry(32, 32, crop="center", shorter_side_px=32)),
        # As published in 2022: a bare number, no crop size, no rescaling entries.
        (
            {"size": 40, "crop_size": None, "do_rescale": None, "rescale_factor": None},
            FrameGeometry(32, 32, crop="center", shorter_side_px=40),
        ),
        ({"resample": 3}, FrameGeometry(32, 32, shorter_side_px=32, resample="bicubic")),
        (
            {"size": {"height": 32, "width": 32}},
            FrameGeometry(32, 32, crop="squash"),
        ),
    ],
)
def test_geometry_follows_the_file(copied, edit_json, changes, geometry):
    folder = copied("ssl")
    path = folder / FILE
    edit_json(path, **changes)
    spec = load_backbone("videomae", weights=folder).spec
    assert spec.geometry == geometry
    assert spec.preprocessing["rescale_factor"] == pytest.approx(1 / 255)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_mean": None}, "image_mean"),
        ({"image_std": [0.2, 0.2]}, "image_std"),
        ({"image_std": [0.2, 0.2, 0]}, "positive"),
        ({"crop_size": {"height": 16, "width": 16}}, "crop_size"),
        ({"size": {"shortest_edge": 16}}, "smaller"),
        ({"size": {"height": 16, "width": 16}}, "size"),
        ({"resample": 0}, "resample"),
        ({"resample": [2]}, "resample"),
        ({"rescale_factor": [1]}, "rescale_factor"),
        ({"rescale_factor": -1}, "rescale_factor"),
        ({"image_mean": [0, float("inf"), 0]}, "image_mean"),
        ({"crop_size": [32]}, "crop_size"),
        ({"crop_size": {"height": "32", "width": 32}}, "crop_size"),
        ({"size": {"longest_edge": 32}}, "size"),
        ({"size": [32, 16]}, "size"),
        ({"size": {"shortest_edge": "32"}}, "size"),
        ({"do_normalize": "no"}, "do_normalize is 'no'"),
        ({"do_resize": False}, "do_resize is false, which basket does not do"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is true"),
        ({"do_pad": True}, "do_pad is true"),
        ({"do_center_crop": False}, "do_center_crop is false"),
    ],
)
def test_values_that_are_missing_or_contradict_the_network_are_refused(
    copied, edit_json, changes, message
):
    folder = copied("ssl")
    edit_json(folder / FILE, **changes)
    with pytest.raises(WeightsError, match=message):
        load_backbone("videomae", weights=folder)


@pytest.mark.parametrize("name", ["size", "rescale_factor", "do_resize"])
def test_null_where_a_value_acts_is_refused(copied, name):
    folder = copied("ssl")
    document = json.loads((folder / FILE).read_text())
    (folder / FILE).write_text(json.dumps({**document, name: None}))
    with pytest.raises(WeightsError, match=f"{name} is None"):
        load_backbone("videomae", weights=folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"size": [32, 32], "do_center_crop": False},
        {"size": {"height": 32, "width": 32}, "crop_size": [32, 32]},
        {"size": {"height": 32, "width": 32}, "crop_size": 16, "do_center_crop": False},
    ],
)
def test_sides_are_read_as_transformers_reads_them(copied, edit_json, changes):
    folder = copied("ssl")
    edit_json(folder / FILE, **changes)
    assert load_backbone("videomae", weights=folder).spec.geometry.crop == "squash"


@pytest.mark.parametrize("kind", ["image_processor", "video_processor"])
def test_what_transformers_5_saves_is_read(copied, kind):
    folder = copied("xclip")
    before = load_backbone("xclip", weights=folder).spec
    values = json.loads((folder / FILE).read_text())
    processor = {kind: values, "processor_class": "XCLIPProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(processor))
    (folder / FILE).write_text(json.dumps({**values, "image_mean": [0, 0, 0]}))
    # Where both are there, transformers takes the nested values.
    assert load_backbone("xclip", weights=folder).spec == before
    (folder / FILE).unlink()
    assert load_backbone("xclip", weights=folder).spec == before
