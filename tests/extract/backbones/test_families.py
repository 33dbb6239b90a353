"""Streams of every family equal a direct transformers forward in float32 on the same frames."""

import json

import numpy as np
import pytest

from basket.errors import UsageError, WeightsError
from basket.extract.backbones import load_backbone
from basket.extract.backbones.checkpoints import Checkpoint
from basket.extract.backbones.random_weights import save_random

STREAMS = ("pooled", "layers:-1,-2", "tubelets")


def normalised(folder, clips):
    """What people's processors make of frames that are already cut out: ``(N, T, 3, H, W)``."""
    import torch

    values = json.loads((folder / "preprocessor_config.json").read_text())
    pixels = torch.from_numpy(clips).float() * values["rescale_factor"]
    pixels = pixels - float(values.get("offset", False))
    pixels = (pixels - torch.tensor(values["image_mean"])) / torch.tensor(values["image_std"])
    return pixels.permute(0, 1, 4, 2, 3)


def direct(folder, clips, network_class, run):
    import torch

    model = network_class.from_pretrained(folder).eval()
    with torch.no_grad():
        return run(model, normalised(folder, clips))


def layers(hidden_states, prefix):
    """Means over patch tokens of the last two blocks."""
    return {f"layer{k}": hidden_states[k][:, prefix:].mean(1) for k in (-1, -2)}


def by_step(means):
    return {f"tubelet{t}": means[:, t] for t in range(means.shape[1])}


def vjepa2(model, pixels):
    # Hidden states end with the normalised one here: hooks on blocks show what blocks return.
    caught = []
    for block in model.encoder.layer:
        block.register_forward_hook(lambda _b, _i, output: caught.append(output[0]))
    tokens = model(pixel_values_videos=pixels, skip_predictor=True).last_hidden_state
    steps = tokens.reshape(len(pixels), 8, -1, tokens.shape[-1]).mean(2)
    return {"pooled": tokens.mean(1), **layers(caught, 0), **by_step(steps)}


def timesformer(model, pixels):
    output = model(pixels, output_hidden_states=True)
    tokens = output.last_hidden_state
    # Tokens lie place by place, the frames of a place together.
    steps = tokens[:, 1:].reshape(len(pixels), -1, 8, tokens.shape[-1]).mean(1)
    return {"pooled": tokens[:, 0], **layers(output.hidden_states, 1), **by_step(steps)}


def vivit(model, pixels):
    caught = []
    for block in model.layers:
        block.register_forward_hook(lambda _b, _i, output: caught.append(output))
    tokens = model(pixels).last_hidden_state
    steps = tokens[:, 1:].reshape(len(pixels), 4, -1, tokens.shape[-1]).mean(2)
    return {"pooled": tokens[:, 0], **layers(caught, 1), **by_step(steps)}


def per_frame(embed, prefix, blocks):
    def run(model, pixels):
        caught = {k: [] for k in (-1, -2)}
        for k in caught:
            blocks(model)[k].register_forward_hook(
                lambda _b, _i, output, k=k: caught[k].append(output[:, prefix:].mean(1))
            )
        embeddings = np.stack([embed(model, clip) for clip in pixels])
        means = {f"layer{k}": np.stack([m.mean(0) for m in caught[k]]) for k in caught}
        return {"pooled": embeddings.mean(1), **means, **by_step(embeddings)}

    return run


FAMILIES = {
    "vjepa2": ("VJEPA2Model", vjepa2),
    "timesformer": ("TimesformerModel", timesformer),
    "vivit": ("VivitModel", vivit),
    "clip": (
        "CLIPModel",
        per_frame(
            lambda model, clip: model.get_image_features(clip).pooler_output,
            1,
            lambda model: model.vision_model.encoder.layers,
        ),
    ),
    "siglip2": (
        "SiglipModel",
        per_frame(
            lambda model, clip: model.get_image_features(clip).pooler_output,
            0,
            lambda model: model.vision_model.encoder.layers,
        ),
    ),
    "dinov2": (
        "Dinov2Model",
        per_frame(
            lambda model, clip: model(clip).pooler_output, 1, lambda model: model.encoder.layer
        ),
    ),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_all_streams_equal_a_direct_forward(family, checkpoints, loaded, make_clips):
    import transformers

    class_name, run = FAMILIES[family]
    backbone = loaded(family, STREAMS)
    clips = make_clips(backbone.spec, 2, seed=5)
    theirs = direct(checkpoints[family], clips, getattr(transformers, class_name), run)
    ours = backbone.embed(clips)
    assert set(ours) == set(theirs)
    for name, values in ours.items():
        expected = np.asarray(theirs[name])
        assert np.abs(expected).max() > 0.05  # equality of zeros would say nothing
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("family", "network"),
    [
        ("timesformer", "TimesformerForVideoClassification"),
        ("vivit", "VivitForVideoClassification"),
    ],
)
def test_the_pooled_stream_is_what_the_classifier_saw(
    family, network, checkpoints, loaded, make_clips
):
    import torch
    import transformers

    backbone = loaded(family, STREAMS)
    clips = make_clips(backbone.spec, 2)
    network_class = getattr(transformers, network)
    model = network_class.from_pretrained(checkpoints[family]).eval()
    with torch.no_grad():
        logits = model(normalised(checkpoints[family], clips)).logits
        ours = model.classifier(torch.from_numpy(backbone.embed(clips)["pooled"]))
    np.testing.assert_allclose(ours, logits, rtol=0, atol=1e-5)


#: Names of parameters in transformers 5.23, and what published files call them.
PUBLISHED_NAMES = {
    "vivit": [
        ("vivit.layers.", "vivit.encoder.layer."),
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
        (".mlp.fc1.", ".intermediate.dense."),
        (".mlp.fc2.", ".output.dense."),
    ],
    "dinov2": [
        (".attention.q_proj.", ".attention.attention.query."),
        (".attention.k_proj.", ".attention.attention.key."),
        (".attention.v_proj.", ".attention.attention.value."),
        (".attention.o_proj.", ".attention.output.dense."),
    ],
}


@pytest.mark.parametrize("family", PUBLISHED_NAMES)
def test_names_as_published_give_the_same_features(
    family, copied, edit_weights, loaded, make_clips
):
    def rename(tensors):
        renamed = {}
        for name, tensor in tensors.items():
            for new, old in PUBLISHED_NAMES[family]:
                name = name.replace(new, old)
            renamed[name] = tensor
        assert set(renamed) != set(tensors)
        return renamed

    folder = copied(family)
    edit_weights(folder, rename)
    ours = loaded(family, STREAMS)
    published = load_backbone(family, weights=folder, streams=STREAMS)
    clips = make_clips(ours.spec, 1)
    for name, values in published.embed(clips).items():
        np.testing.assert_allclose(values, ours.embed(clips)[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("family", "lost"),
    [
        ("vjepa2", "encoder.layer.1.mlp.fc2.weight"),
        ("timesformer", "timesformer.encoder.layer.0.temporal_dense.bias"),
        ("vivit", "vivit.layers.1.attention.q_proj.bias"),
        ("clip", "visual_projection.weight"),
        ("siglip2", "vision_model.head.probe"),
        ("dinov2", "encoder.layer.0.layer_scale1.lambda1"),
    ],
)
def test_a_missing_weight_is_never_random(family, lost, copied, edit_weights):
    folder = copied(family)
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if k != lost})
    with pytest.raises(WeightsError, match="lacks 1 weights"):
        load_backbone(family, weights=folder)


@pytest.mark.parametrize("family", FAMILIES)
def test_layers_beyond_the_configuration_are_refused(family, copied, edit_json):
    path = copied(family) / "config.json"
    config = json.loads(path.read_text())
    config.get("vision_config", config)["num_hidden_layers"] = 1
    path.write_text(json.dumps(config))
    with pytest.raises(WeightsError, match=r"would not use|do not fit"):
        load_backbone(family, weights=path.parent)


def test_the_naflex_variant_of_siglip2_is_refused_by_name(copied, edit_json):
    folder = copied("siglip2")
    edit_json(folder / "config.json", model_type="siglip2")
    with pytest.raises(WeightsError, match="'siglip2', but siglip2 needs 'siglip'"):
        load_backbone("siglip2", weights=folder)


class TestVJEPA2:
    def test_the_predictor_is_not_needed(self, copied, edit_weights, loaded, make_clips):
        folder = copied("vjepa2")
        edit_weights(folder, lambda t: {k: v for k, v in t.items() if "predictor" not in k})
        backbone = load_backbone("vjepa2", weights=folder)
        clips = make_clips(backbone.spec, 1)
        whole = loaded("vjepa2", STREAMS).embed(clips)["pooled"]
        np.testing.assert_array_equal(backbone.embed(clips)["pooled"], whole)

    def test_frames_are_the_entry_s_else_the_checkpoint_s(self, tmp_path):
        folder = save_random(
            "vjepa2", tmp_path / "v", frames=4, hidden_size=32, heads=2, image_size=32
        )
        assert load_backbone("vjepa2", weights=folder).spec.frames == 16
        assert load_backbone("vjepa2/large-64-frames", weights=folder).spec.frames == 64
        from basket.extract.backbones.vjepa2 import load

        assert load(Checkpoint("vjepa2/mine", "vjepa2"), weights=folder).spec.frames == 4
        with pytest.raises(WeightsError, match="groups of 2"):
            load(Checkpoint("vjepa2/odd", "vjepa2", frames=15), weights=folder)

    def test_the_video_preprocessor_file_is_found(self, copied, loaded):
        folder = copied("vjepa2")
        (folder / "preprocessor_config.json").rename(folder / "video_preprocessor_config.json")
        found = load_backbone("vjepa2", weights=folder).spec
        assert found.geometry == loaded("vjepa2", STREAMS).spec.geometry
        assert found.geometry.shorter_side_px == 36  # 32 * 256 / 224


def test_a_dinov2_picture_that_patches_do_not_fill_is_refused(copied, edit_json):
    folder = copied("dinov2")
    edit_json(
        folder / "preprocessor_config.json",
        crop_size={"height": 30, "width": 30},
        size={"shortest_edge": 40},
    )
    with pytest.raises(WeightsError, match="do not fill"):
        load_backbone("dinov2", weights=folder)


def test_timesformer_without_attention_over_time_is_refused(copied, edit_json):
    folder = copied("timesformer")
    edit_json(folder / "config.json", attention_type="space_only")
    with pytest.raises(WeightsError, match=r"no clip embedding|would not use"):
        load_backbone("timesformer", weights=folder)


def test_random_weights_of_an_unknown_family(tmp_path):
    with pytest.raises(UsageError, match="known: videomae"):
        save_random("motion", tmp_path)
