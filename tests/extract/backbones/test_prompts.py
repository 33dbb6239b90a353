"""X-CLIP's logits against a prompt bank."""

import json

import numpy as np
import pytest

from basket.dataset.prompts import PromptBank, default_bank
from basket.errors import UsageError, WeightsError
from basket.extract.backbones import load_backbone

BANK = PromptBank(
    {
        "Steals": {"good": ("a player steals the ball", "steal"), "bad": ("a bad pass",)},
        "Dribbling": {"good": ("quick dribbling",), "bad": ("he loses the ball, alas",)},
    }
)


def test_logits_equal_the_model_s_own(checkpoints, make_clips):
    import torch
    from transformers import CLIPTokenizer, XCLIPModel
    from transformers.models.videomae.image_processing_pil_videomae import (
        VideoMAEImageProcessorPil,
    )

    folder = checkpoints["xclip"]
    backbone = load_backbone("xclip", weights=folder, streams=("pooled", "prompts"), prompts=BANK)
    clips = make_clips(backbone.spec, 3)
    processor = VideoMAEImageProcessorPil.from_pretrained(folder)
    pixels = torch.cat([processor(list(c), return_tensors="pt")["pixel_values"] for c in clips])
    tokens = CLIPTokenizer.from_pretrained(folder)(
        list(BANK.texts), padding=True, return_tensors="pt"
    )
    model = XCLIPModel.from_pretrained(folder).eval()
    with torch.no_grad():
        output = model(**tokens, pixel_values=pixels)
    ours = backbone.embed(clips)
    np.testing.assert_allclose(ours["prompts"], output.logits_per_video, rtol=0, atol=1e-4)
    assert np.ptp(ours["prompts"], axis=1).min() > 0.01  # phrases differ
    assert np.ptp(ours["prompts"], axis=0).min() > 1e-4  # and clips do


def test_the_identity_names_columns_bank_and_tokenizer(checkpoints, copied):
    options = {"streams": ("prompts",)}
    spec = load_backbone("xclip", weights=checkpoints["xclip"], prompts=BANK, **options).spec
    assert spec.streams == {"prompts": 5}
    assert spec.columns == {"prompts": list(BANK.columns)}
    assert spec.prompts_sha256 == BANK.sha256
    folder = copied("xclip")
    same = load_backbone("xclip", weights=folder, prompts=BANK, **options).spec
    assert same.tokenizer_sha256 == spec.tokenizer_sha256 != ""
    settings = folder / "tokenizer_config.json"
    settings.write_text(settings.read_text() + " ")
    other = load_backbone("xclip", weights=folder, prompts=BANK, **options).spec
    assert other.tokenizer_sha256 != spec.tokenizer_sha256


def test_our_own_bank_is_used_where_none_is_given(loaded):
    spec = loaded("xclip", ("pooled", "prompts")).spec
    assert spec.prompts_sha256 == default_bank().sha256
    assert spec.streams["prompts"] == len(default_bank().texts)


def test_a_bank_changes_nothing_where_no_prompts_are_asked_for(checkpoints):
    spec = load_backbone("xclip", weights=checkpoints["xclip"], prompts=BANK).spec
    assert (spec.streams, spec.prompts_sha256, spec.tokenizer_sha256) == ({"pooled": 16}, "", "")
    assert load_backbone("motion", prompts=BANK).spec.prompts_sha256 == ""


def test_models_without_text_refuse_the_stream(checkpoints):
    with pytest.raises(UsageError, match="no stream 'prompts'"):
        load_backbone("videomae", weights=checkpoints["ssl"], streams=("prompts",))


def test_a_phrase_that_would_be_cut_off_is_refused(checkpoints):
    long = PromptBank({"Steals": {"good": ("ball " * 30,), "bad": ("a bad pass",)}})
    with pytest.raises(UsageError, match=r"tokens long, .* reads 77; shorten it"):
        load_backbone("xclip", weights=checkpoints["xclip"], streams=("prompts",), prompts=long)


def test_weights_that_only_logits_need_are_needed_for_them(copied, edit_weights):
    folder = copied("xclip")
    edit_weights(folder, lambda t: {k: v for k, v in t.items() if "prompts_generator" not in k})
    assert load_backbone("xclip", weights=folder).spec.streams == {"pooled": 16}
    with pytest.raises(WeightsError, match="prompts_generator"):
        load_backbone("xclip", weights=folder, streams=("prompts",), prompts=BANK)


def test_a_missing_or_damaged_tokenizer_is_named(copied):
    folder = copied("xclip")
    (folder / "vocab.json").write_text("{")
    with pytest.raises(WeightsError, match="tokenizer cannot be read"):
        load_backbone("xclip", weights=folder, streams=("prompts",), prompts=BANK)
    (folder / "vocab.json").unlink()
    with pytest.raises(WeightsError, match=r"no tokenizer \(tokenizer\.json"):
        load_backbone("xclip", weights=folder, streams=("prompts",), prompts=BANK)
    assert load_backbone("xclip", weights=folder).spec.streams  # nothing else needs it


def test_a_tokenizer_in_one_file_reads_the_same(copied, checkpoints, make_clips):
    from transformers import CLIPTokenizer

    folder = copied("xclip")
    CLIPTokenizer.from_pretrained(folder).save_pretrained(folder)
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    assert json.loads((folder / "tokenizer.json").read_text())
    options = {"streams": ("prompts",), "prompts": BANK}
    one = load_backbone("xclip", weights=folder, **options)
    other = load_backbone("xclip", weights=checkpoints["xclip"], **options)
    clips = make_clips(one.spec, 1)
    np.testing.assert_array_equal(one.embed(clips)["prompts"], other.embed(clips)["prompts"])
