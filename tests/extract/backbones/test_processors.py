"""From a decoded frame to the network's pixels: as the checkpoints' own processors, at real size.

``pictures_of`` and the backbone's normalisation against the Hugging Face processor on a frame of
a real basketball video; compared as grey values, mean absolute difference.
"""

import json

import numpy as np
import pytest

from basket.extract.backbones import load_backbone
from basket.extract.backbones.random_weights import save_random
from basket.extract.clips import pictures_of
from basket.extract.decode.base import DisplayedFrame

LIMIT = 2.0  # of 255 grey values

PICTURES = {
    "videomae": (224, 16),
    "xclip": (224, 32),
    "vjepa2": (256, 16),
    "timesformer": (224, 16),
    "vivit": (224, 16),
    "clip": (224, 32),
    "siglip2": (224, 16),
    "dinov2": (224, 14),
}


@pytest.fixture(scope="module")
def frame(shared_data):
    import av

    with av.open(str(shared_data / "videos" / "basketball_game.mp4")) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def pillow_processor(folder, frame):
    """Transformers' processors that need no torchvision."""
    from transformers import BitImageProcessorPil
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
    from transformers.models.videomae.image_processing_pil_videomae import (
        VideoMAEImageProcessorPil,
    )
    from transformers.models.vivit.image_processing_vivit import VivitImageProcessor

    processors = {
        "BitImageProcessor": BitImageProcessorPil,
        "CLIPImageProcessor": CLIPImageProcessorPil,
        "SiglipImageProcessor": SiglipImageProcessorPil,
        "VideoMAEImageProcessor": VideoMAEImageProcessorPil,
        "VivitImageProcessor": VivitImageProcessor,
    }
    name = json.loads((folder / "preprocessor_config.json").read_text())["image_processor_type"]
    processor = processors[name].from_pretrained(folder)
    video = [frame] if name in ("VideoMAEImageProcessor", "VivitImageProcessor") else frame
    pixels = processor(video, return_tensors="np")["pixel_values"]
    return pixels.reshape(3, *pixels.shape[-2:])


def torch_processor(folder, frame):
    """Transformers' video processors, written out: they need torchvision, which resizes so."""
    import torch

    values = json.loads((folder / "preprocessor_config.json").read_text())
    side = values["crop_size"]["height"]
    short = int(side * 256 / 224)
    height, width = frame.shape[:2]
    scale = short / min(height, width)
    size = (short, int(width * scale)) if height < width else (int(height * scale), short)
    picture = torch.from_numpy(frame).permute(2, 0, 1)[None].float()
    picture = torch.nn.functional.interpolate(picture, size=size, mode="bilinear", antialias=True)
    picture = picture.round().clamp(0, 255)[0]
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    picture = picture[:, top : top + side, left : left + side] / 255
    mean, std = (torch.tensor(values[name])[:, None, None] for name in ("image_mean", "image_std"))
    return ((picture - mean) / std).numpy()


def test_a_real_frame_becomes_the_processor_s_pixels(frame, tmp_path):
    for family, (size, patch) in PICTURES.items():
        folder = save_random(
            family,
            tmp_path / family,
            image_size=size,
            patch_size=patch,
            hidden_size=8,
            layers=1,
            heads=1,
            projection_dim=8,
        )
        backbone = load_backbone(family, weights=folder)
        picture = pictures_of(DisplayedFrame(frame, 0), backbone.spec.geometry)
        clip = np.repeat(picture[None], backbone.spec.frames, axis=1)
        ours = backbone._pixels(clip)[0, 0].numpy()
        theirs = (torch_processor if family == "vjepa2" else pillow_processor)(folder, frame)
        assert ours.shape == theirs.shape == (3, size, size)
        values = backbone.spec.preprocessing
        grey = np.abs(ours - theirs) * np.array(values["std"])[:, None, None]
        difference = grey.mean() / values["rescale_factor"]
        assert difference <= LIMIT, f"{family}: {difference:.2f} grey values"


def test_the_offset_of_vivit_is_recorded_and_optional(copied, edit_json, loaded, make_clips):
    assert loaded("vivit").spec.preprocessing["offset"] == 1.0
    assert "offset" not in loaded("videomae").spec.preprocessing
    folder = copied("vivit")
    edit_json(folder / "preprocessor_config.json", offset=False, rescale_factor=1 / 255)
    without = load_backbone("vivit", weights=folder)
    clips = make_clips(without.spec, 1)
    assert "offset" not in without.spec.preprocessing
    np.testing.assert_allclose(
        without._pixels(clips).numpy(),
        (clips / 255 - 0.5).transpose(0, 1, 4, 2, 3) / 0.5,
        atol=1e-6,
    )
    edit_json(folder / "preprocessor_config.json", offset=None, rescale_factor=None)
    silent = load_backbone("vivit", weights=folder)
    np.testing.assert_allclose(
        silent._pixels(clips).numpy(), loaded("vivit")._pixels(clips).numpy(), atol=1e-6
    )
