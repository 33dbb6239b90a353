"""VideoMAE weights with lost attention biases never become features."""

import pytest

from basket.errors import WeightsError
from basket.extract.backbones import load_backbone, videomae


def old_names(tensors):
    """The spelling of 2022, which all published checkpoints have."""
    return {
        name.replace("query.bias", "q_bias").replace("value.bias", "v_bias"): tensor
        for name, tensor in tensors.items()
    }


def zeroed(ending):
    def change(tensors):
        return {k: v * 0 if k.endswith(ending) else v for k, v in tensors.items()}

    return change


@pytest.fixture
def transformers_without_the_rule(monkeypatch):
    """A release that does not know the old names, and no rule of ours either."""
    from transformers import conversion_mapping

    known = conversion_mapping.get_checkpoint_conversion_mapping
    monkeypatch.setattr(
        conversion_mapping,
        "get_checkpoint_conversion_mapping",
        lambda name: None if "videomae" in name.lower() else known(name),
    )


@pytest.mark.parametrize("name", ["finetuned", "ssl"])
@pytest.mark.parametrize("release", ["this", "without the rule"])
def test_both_spellings_give_the_same_features(
    name, release, copied, checkpoints, edit_weights, make_clips, request
):
    if release == "without the rule":
        request.getfixturevalue("transformers_without_the_rule")
    folder = copied(name)
    edit_weights(folder, old_names)
    new = load_backbone("videomae", weights=checkpoints[name])
    old = load_backbone("videomae", weights=folder)
    clips = make_clips(new.spec, 2)
    assert (new.embed(clips)["pooled"] == old.embed(clips)["pooled"]).all()
    assert new.spec.weights_sha256 != old.spec.weights_sha256  # names are part of the digest


def test_a_transformers_release_that_loses_them_is_refused(
    copied, edit_weights, transformers_without_the_rule, monkeypatch
):
    folder = copied("finetuned")
    edit_weights(folder, old_names)
    monkeypatch.setattr(videomae, "RENAMED", {})
    with pytest.raises(WeightsError, match=r"attention biases were lost .*did not load"):
        load_backbone("videomae", weights=folder)


@pytest.mark.parametrize(
    "lost", ["layer.0.attention.attention.query", "layer.1.attention.attention.value"]
)
def test_every_layer_and_both_kinds_are_compared(copied, lost, monkeypatch):
    import torch

    loaded = videomae.load_pretrained

    def lossy(*args, **kwargs):
        model = loaded(*args, **kwargs)
        with torch.no_grad():
            model.videomae.encoder.get_submodule(lost).bias.zero_()
        return model

    monkeypatch.setattr(videomae, "load_pretrained", lossy)
    with pytest.raises(WeightsError, match="attention biases were lost"):
        load_backbone("videomae", weights=copied("finetuned"))


@pytest.mark.parametrize("spelling", [lambda tensors: tensors, old_names])
def test_a_checkpoint_saved_with_zeros_is_refused(copied, edit_json, edit_weights, spelling):
    folder = copied("ssl")
    edit_json(folder / "config.json", basket_random_weights=None)
    edit_weights(folder, lambda tensors: spelling(zeroed("query.bias")(tensors)))
    with pytest.raises(WeightsError, match="every query bias is exactly zero"):
        load_backbone("videomae", weights=folder)


def test_zeros_in_one_layer_are_a_checkpoint_s_own_affair(copied, edit_weights):
    folder = copied("ssl")
    edit_weights(folder, zeroed("layer.0.attention.attention.query.bias"))
    assert load_backbone("videomae", weights=folder).spec.family == "videomae"


def test_a_checkpoint_without_the_biases_is_refused(copied, edit_weights):
    folder = copied("finetuned")
    edit_weights(
        folder, lambda tensors: {k: v for k, v in tensors.items() if "query.bias" not in k}
    )
    with pytest.raises(WeightsError, match=r"attention biases were lost .*the file has none"):
        load_backbone("videomae", weights=folder)


def test_a_configuration_that_would_drop_the_biases_is_refused(copied, edit_json):
    folder = copied("finetuned")
    edit_json(folder / "config.json", qv_bias=None, qkv_bias=False)
    with pytest.raises(WeightsError, match=r"attention biases were lost .*qkv_bias false"):
        load_backbone("videomae", weights=folder)
