"""Features equal a direct transformers forward, preprocessed by the checkpoint's own processor."""

import numpy as np
import pytest

from basket.extract.backbones import load_backbone


def direct(network_class, folder, clips, run):
    """The loop that people write, clip by clip in float32."""
    import torch
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(folder)
    model = network_class.from_pretrained(folder).eval()
    rows = []
    with torch.no_grad():
        for clip in clips:
            pixels = processor(list(clip), return_tensors="pt")["pixel_values"]
            rows.append(run(model, pixels))
    return np.stack([row[0].numpy() for row in rows])


def close(ours, theirs):
    assert np.abs(theirs).max() > 0.1  # equality of zeros would say nothing
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)


@pytest.fixture
def finetuned(checkpoints, make_clips):
    backbone = load_backbone(
        "videomae", weights=checkpoints["finetuned"], streams=("pooled", "layers:-1,-2", "tubelets")
    )
    return checkpoints["finetuned"], backbone, make_clips(backbone.spec, 3)


def test_fine_tuned_videomae_is_what_the_classifier_saw(finetuned):
    from transformers import VideoMAEForVideoClassification

    folder, backbone, clips = finetuned
    theirs = direct(
        VideoMAEForVideoClassification,
        folder,
        clips,
        lambda model, x: model.fc_norm(model.videomae(x).last_hidden_state.mean(1)),
    )
    close(backbone.embed(clips)["pooled"], theirs)
    assert backbone.spec.preprocessing["pooling"] == "mean,fc_norm"


def test_the_classifier_on_our_features_gives_the_model_s_own_logits(finetuned):
    import torch
    from transformers import VideoMAEForVideoClassification

    folder, backbone, clips = finetuned
    network = VideoMAEForVideoClassification
    theirs = direct(network, folder, clips, lambda model, x: model(x).logits)
    with torch.no_grad():
        pooled = torch.from_numpy(backbone.embed(clips)["pooled"])
        ours = network.from_pretrained(folder).classifier(pooled).numpy()
    close(ours, theirs)


def test_self_supervised_videomae_is_the_mean_after_the_layer_norm(checkpoints, make_clips):
    from transformers import VideoMAEModel

    backbone = load_backbone("videomae", weights=checkpoints["ssl"])
    clips = make_clips(backbone.spec, 3)
    theirs = direct(
        VideoMAEModel,
        checkpoints["ssl"],
        clips,
        lambda model, x: model(x).last_hidden_state.mean(1),
    )
    close(backbone.embed(clips)["pooled"], theirs)
    assert backbone.spec.preprocessing["pooling"] == "layernorm,mean"


@pytest.mark.parametrize("layer", [-1, -2])
def test_layer_streams_are_means_over_hidden_states(finetuned, layer):
    from transformers import VideoMAEModel

    folder, backbone, clips = finetuned
    theirs = direct(
        VideoMAEModel,
        folder,
        clips,
        lambda model, x: model(x, output_hidden_states=True).hidden_states[layer].mean(1),
    )
    close(backbone.embed(clips)[f"layer{layer}"], theirs)


def test_tubelet_streams_are_the_pooled_stream_of_single_time_steps(finetuned):
    from transformers import VideoMAEForVideoClassification

    folder, backbone, clips = finetuned
    theirs = direct(
        VideoMAEForVideoClassification,
        folder,
        clips,
        # 2 x 2 patches of 16 pixels in a picture of 32, time step 3 of 8.
        lambda model, x: model.fc_norm(model.videomae(x).last_hidden_state[:, 12:16].mean(1)),
    )
    close(backbone.embed(clips)["tubelet3"], theirs)
    assert len(backbone.spec.streams) == 3 + 8


def test_xclip_is_the_pooled_video_embedding(checkpoints, make_clips):
    from transformers import XCLIPModel

    backbone = load_backbone("xclip", weights=checkpoints["xclip"])
    clips = make_clips(backbone.spec, 3)
    theirs = direct(
        XCLIPModel,
        checkpoints["xclip"],
        clips,
        lambda model, x: model.get_video_features(x).pooler_output,
    )
    close(backbone.embed(clips)["pooled"], theirs)


def test_xclip_features_are_those_compared_with_text(checkpoints, make_clips):
    import torch
    from transformers import XCLIPModel

    backbone = load_backbone("xclip", weights=checkpoints["xclip"])
    clips = make_clips(backbone.spec, 2)
    words = torch.tensor([[1, 5, 9, 2]])
    theirs = direct(
        XCLIPModel,
        checkpoints["xclip"],
        clips,
        lambda model, x: model(input_ids=words, pixel_values=x).video_embeds,
    )
    ours = backbone.embed(clips)["pooled"]
    close(ours / np.linalg.norm(ours, axis=1, keepdims=True), theirs)
