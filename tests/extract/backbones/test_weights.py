"""Finding, checking and refusing checkpoints; no test here needs a network."""

import json
import shutil

import numpy as np
import pytest

from basket.errors import NotThereError, UsageError, WeightsError
from basket.extract.backbones import CATALOGUE, load_backbone
from basket.extract.backbones.weights import locate

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def refused(name, folder, *words):
    with pytest.raises((NotThereError, WeightsError)) as caught:
        load_backbone(name, weights=folder)
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


@pytest.mark.parametrize(
    "missing", ["config.json", "preprocessor_config.json", "model.safetensors"]
)
def test_a_missing_file_is_named(copied, missing):
    folder = copied("finetuned")
    (folder / missing).unlink()
    refused("videomae", folder, missing)


def test_pickled_weights_are_refused_unopened(copied):
    folder = copied("finetuned")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    refused("videomae", folder, "pytorch_model.bin", "can run code")


def test_a_broken_json_file_is_named(copied):
    folder = copied("xclip")
    (folder / "config.json").write_text("{")
    refused("xclip", folder, "config.json", "JSON")


def test_another_architecture_is_refused_by_name(checkpoints):
    refused("videomae", checkpoints["xclip"], "'xclip'", "'videomae'")
    refused("xclip", checkpoints["finetuned"], "'videomae'", "'xclip'")


@pytest.mark.parametrize(
    ("model", "name", "lost"),
    [
        ("videomae", "finetuned", "videomae.encoder.layer.1.output.dense.weight"),
        ("videomae", "finetuned", "fc_norm.bias"),
        ("videomae", "ssl", "embeddings.patch_embeddings.projection.weight"),
        ("xclip", "xclip", "visual_projection.weight"),
        ("xclip", "xclip", "mit.position_embedding"),
    ],
)
def test_a_missing_weight_is_never_random(copied, edit_weights, model, name, lost):
    folder = copied(name)
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if k != lost})
    refused(model, folder, "lacks 1 weights")


@pytest.mark.parametrize(
    ("model", "name", "lost"),
    [("videomae", "finetuned", "classifier."), ("xclip", "xclip", "text_model.")],
)
def test_weights_that_no_feature_depends_on_may_be_absent(copied, edit_weights, model, name, lost):
    folder = copied(name)
    edit_weights(folder, lambda tensors: {k: v for k, v in tensors.items() if lost not in k})
    assert load_backbone(model, weights=folder).spec.streams


def test_a_fine_tuned_encoder_without_its_norm_is_refused(copied, edit_weights):
    folder = copied("finetuned")
    edit_weights(
        folder, lambda tensors: {k: v for k, v in tensors.items() if k.startswith("videomae.")}
    )
    refused("videomae", folder, "neither fc_norm", "layernorm")


def test_a_configuration_that_would_drop_the_final_norm_is_refused(copied, edit_json):
    folder = copied("ssl")
    edit_json(folder / "config.json", use_mean_pooling=True)
    refused("videomae", folder, "would not use", "layernorm")


def test_more_layers_in_the_file_than_in_the_configuration_are_refused(copied, edit_json):
    folder = copied("finetuned")
    edit_json(folder / "config.json", num_hidden_layers=1)
    refused("videomae", folder, "would not use")


def test_weights_of_another_size_than_configured_are_refused(copied, edit_json):
    folder = copied("finetuned")
    edit_json(folder / "config.json", intermediate_size=96)
    refused("videomae", folder, "(128,) in the file", "config.json (96,)")


def test_a_shard_that_the_index_names_must_be_there_and_in_the_folder(copied):
    folder = copied("finetuned")
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(
        json.dumps(
            {
                "weight_map": {
                    "a": "model-00001-of-00002.safetensors",
                    "b": "model-00002-of-00002.safetensors",
                }
            }
        )
    )
    refused("videomae", folder, "lacks 1 of 2 weight files", "00002-of-00002")
    index.write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))
    refused("videomae", folder, "of its own folder")


def test_names_and_the_random_marker(checkpoints, copied, edit_json, tmp_path):
    spec = load_backbone("videomae", weights=checkpoints["finetuned"]).spec
    assert (spec.name, spec.random_weights) == ("videomae/finetuned-random", True)
    assert (spec.checkpoint, spec.revision) == (str(checkpoints["finetuned"]), "")

    tiny = tmp_path / "tiny-random"
    shutil.copytree(checkpoints["finetuned"], tiny)
    assert load_backbone("videomae", weights=tiny).spec.name == "videomae/tiny-random"

    trained = copied("finetuned")
    edit_json(trained / "config.json", basket_random_weights=None)
    spec = load_backbone("videomae", weights=str(trained)).spec
    assert (spec.name, spec.random_weights) == ("videomae/finetuned", False)


def test_a_folder_that_is_not_there(tmp_path):
    refused("videomae", tmp_path / "nowhere", "nowhere", "model.safetensors")


class TestHub:
    """A cache folder and a hub of our own making."""

    @pytest.fixture
    def cache(self, tmp_path, monkeypatch):
        from huggingface_hub import HfApi, constants

        def no_network(*args, **kwargs):
            raise ConnectionError("no route to host")

        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
        monkeypatch.setattr(HfApi, "model_info", no_network)
        return tmp_path / "hub"

    def fill(self, cache, checkpoints, repo, branch=None):
        root = cache / f"models--{repo.replace('/', '--')}"
        shutil.copytree(checkpoints["finetuned"], root / "snapshots" / COMMIT)
        if branch:
            (root / "refs").mkdir()
            (root / "refs" / branch).write_text(COMMIT)

    def test_offline_and_not_cached_says_how_to_bring_it_here(self, cache):
        message = refused("videomae", None, "MCG-NJU/videomae-base-finetuned-kinetics")
        assert "hf download" in message and "--weights DIR" in message

    def test_a_cached_commit_needs_no_network(self, cache, checkpoints):
        self.fill(cache, checkpoints, "someone/videomae-tiny")
        backbone = load_backbone("videomae", weights="someone/videomae-tiny", revision=COMMIT)
        assert backbone.spec.revision == COMMIT
        assert backbone.spec.name == "videomae/videomae-tiny-random"
        assert backbone.spec.checkpoint == "someone/videomae-tiny"

    def test_a_branch_falls_back_to_what_it_last_was_and_says_which(self, cache, checkpoints):
        self.fill(cache, checkpoints, "someone/videomae-tiny", branch="main")
        backbone = load_backbone("videomae", weights="someone/videomae-tiny")
        assert backbone.spec.revision == COMMIT

    def test_half_a_download_is_not_taken_for_a_whole_one(self, cache, checkpoints):
        self.fill(cache, checkpoints, "someone/videomae-tiny", branch="main")
        next(cache.rglob("model.safetensors")).unlink()
        refused("videomae", "someone/videomae-tiny", "hf download")

    def test_the_catalogue_s_own_checkpoint_keeps_its_name_licence_and_pin(
        self, cache, checkpoints
    ):
        entry = CATALOGUE["videomae/large-ssl"]
        self.fill(cache, checkpoints, entry.repo, branch="main")
        found = locate(entry)
        assert (found.name, found.licence) == ("videomae/large-ssl-random", entry.licence)
        pinned = CATALOGUE["videomae/base-k400"]
        with pytest.raises(WeightsError, match=pinned.revision):
            locate(pinned)

    def test_the_download_asks_for_safe_files_of_the_resolved_commit(
        self, cache, checkpoints, monkeypatch
    ):
        import huggingface_hub

        asked = {}

        def download(repo, *, local_files_only=False, **options):
            if local_files_only:
                raise OSError("not cached")
            asked.update(options)
            return str(shutil.copytree(checkpoints["finetuned"], cache / COMMIT))

        class Answer:
            sha = COMMIT

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *args, **options: Answer)
        assert locate(CATALOGUE["videomae/large-ssl"]).revision == COMMIT
        assert asked["revision"] == COMMIT
        assert all(name.endswith((".json", ".safetensors")) for name in asked["allow_patterns"])
        assert "vocab.json" not in asked["allow_patterns"]
        shutil.rmtree(cache / COMMIT)
        locate(CATALOGUE["videomae/large-ssl"], text=True)
        assert {"vocab.json", "merges.txt"} <= set(asked["allow_patterns"])

    def test_a_cached_copy_without_a_tokenizer_is_not_whole_where_text_is_read(
        self, cache, checkpoints
    ):
        self.fill(cache, checkpoints, "someone/xclip-tiny", branch="main")
        options = {"weights": "someone/xclip-tiny"}
        assert locate(CATALOGUE["xclip/base-patch32"], **options).revision == COMMIT
        with pytest.raises(WeightsError, match="hf download"):
            locate(CATALOGUE["xclip/base-patch32"], text=True, **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"precision": "fp16"}, "needs a GPU"),
        ({"precision": "int8"}, "one of auto, fp32"),
        ({"device": "abacus"}, "--device is auto"),
        ({"device": "cuda:9"}, "not available"),
        ({"streams": ("layer-3",)}, "'layer-2'"),
    ],
)
def test_impossible_requests_are_usage_errors(checkpoints, options, message):
    with pytest.raises(UsageError, match=message):
        load_backbone("videomae", weights=checkpoints["finetuned"], **options)


def test_auto_runs_anywhere(checkpoints):
    backbone = load_backbone(
        "videomae", weights=checkpoints["ssl"], device="auto", precision="auto"
    )
    assert backbone.spec.streams == {"pooled": 32}


@pytest.mark.parametrize(
    ("family", "wrapper"),
    [
        ("finetuned", "module."),
        ("ssl", "encoder."),
        ("finetuned", "model.backbone."),
        ("vjepa2", "encoder."),
        ("siglip2", "_orig_mod."),
        ("timesformer", "module."),
    ],
)
def test_a_network_saved_inside_another_module_is_read(
    family, wrapper, checkpoints, copied, edit_weights, make_clips
):
    name = "videomae" if family in ("finetuned", "ssl") else family
    folder = copied(family)
    edit_weights(folder, lambda tensors: {wrapper + key: v for key, v in tensors.items()})
    plain = load_backbone(name, weights=checkpoints[family])
    wrapped = load_backbone(name, weights=folder)
    clips = make_clips(plain.spec, 1)
    np.testing.assert_array_equal(
        wrapped.embed(clips)["pooled"], plain.embed(clips)["pooled"], strict=True
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(copied, edit_weights, value):
    name = "videomae.encoder.layer.1.output.dense.weight"

    def spoil(tensors):
        tensors[name][0, 0] = value
        return tensors

    folder = copied("finetuned")
    edit_weights(folder, spoil)
    refused("videomae", folder, name, "not finite")


def test_a_classifier_that_no_feature_depends_on_may_hold_anything(copied, edit_weights):
    folder = copied("finetuned")
    bias = "classifier.bias"
    edit_weights(folder, lambda tensors: tensors | {bias: tensors[bias] / 0})
    load_backbone("videomae", weights=folder)


def test_integers_without_their_scale_are_refused(copied, edit_weights):
    import torch

    folder = copied("dinov2")
    edit_weights(folder, lambda tensors: {k: v.to(torch.int8) for k, v in tensors.items()})
    refused("dinov2", folder, "as I8", "quantised")


def test_a_folder_that_says_that_it_is_quantised_is_refused(copied, edit_json):
    folder = copied("ssl")
    edit_json(folder / "config.json", quantization_config={"quant_method": "bitsandbytes"})
    refused("videomae", folder, "quantised (bitsandbytes)")


def test_weights_of_another_patch_are_told_with_both_shapes(copied, edit_json):
    folder = copied("ssl")
    edit_json(folder / "config.json", patch_size=8)
    refused("videomae", folder, "patch_embeddings.projection.weight", "(32, 3, 2, ", "config.json")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("model.onnx", "ONNX"),
        ("model.gguf", "GGUF"),
        ("tf_model.h5", "TensorFlow"),
        ("flax_model.msgpack", "Flax"),
        ("checkpoint.pth", "can run code"),
        ("weights.safetensors", "name the file model.safetensors"),
    ],
)
def test_other_formats_are_named(copied, name, told):
    folder = copied("ssl")
    (folder / "model.safetensors").rename(folder / name)
    refused("videomae", folder, told)


@pytest.mark.parametrize("whole", [True, False])
def test_an_adapter_is_named(copied, whole):
    folder = copied("ssl")
    (folder / "adapter_config.json").write_text("{}")
    if not whole:
        (folder / "config.json").unlink()
        (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    refused("videomae", folder, "adapter (LoRA)", "merge")


@pytest.mark.parametrize("weight_map", [[], ["a"], "model.safetensors", 3, {}])
def test_an_index_of_another_kind_is_one_sentence(copied, weight_map):
    folder = copied("ssl")
    (folder / "model.safetensors").unlink()
    index = {"weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    refused("videomae", folder, "weight_map")


@pytest.mark.parametrize(
    ("model", "name"),
    [("videomae", "ssl"), ("xclip", "xclip"), ("vjepa2", "vjepa2"), ("dinov2", "dinov2")],
)
@pytest.mark.parametrize("value", [None, [], "x", -1, 1e30, {"a": 1}])
def test_any_value_of_a_configuration_is_read_or_one_sentence(model, name, value, copied):
    folder = copied(name)
    document = json.loads((folder / "config.json").read_text())
    inner = document.get("vision_config", document)
    keys = ("image_size", "num_hidden_layers", "hidden_size", "patch_size", "num_attention_heads")
    for key in keys:
        before = inner.get(key)
        if before is None:
            continue
        inner[key] = value
        (folder / "config.json").write_text(json.dumps(document))
        with pytest.raises(WeightsError) as caught:
            load_backbone(model, weights=folder)
        assert "\n" not in str(caught.value)
        inner[key] = before


def test_weights_that_were_never_trained_are_let_in_when_asked_and_labelled(
    copied, edit_json, edit_weights
):
    folder = copied("ssl")
    edit_json(folder / "config.json", basket_random_weights=None)
    edit_weights(
        folder,
        lambda tensors: {
            k: v * (not k.endswith(("q_bias", "query.bias"))) for k, v in tensors.items()
        },
    )
    refused("videomae", folder, "query bias", "--untrained")
    spec = load_backbone("videomae", weights=folder, untrained=True).spec
    assert spec.random_weights
    assert spec.name == "videomae/ssl-random"
