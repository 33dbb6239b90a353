"""Small networks of every family, as configurations: what random weights are poured into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Sizes:
    """Sizes of a small network; the picture is ``image_size`` pixels square."""

    hidden_size: int = 64
    layers: int = 2
    heads: int = 4
    image_size: int = 64
    patch_size: int = 16
    frames: int | None = None
    projection_dim: int = 32

    def transformer(self) -> dict[str, Any]:
        """What most configurations call these sizes."""
        return {
            "hidden_size": self.hidden_size,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "intermediate_size": 4 * self.hidden_size,
            "image_size": self.image_size,
            "patch_size": self.patch_size,
        }

    def text(self, vocabulary: int, **more: Any) -> dict[str, Any]:
        """A text tower as small as can be."""
        return {
            "hidden_size": self.projection_dim,
            "intermediate_size": 4 * self.projection_dim,
            "num_hidden_layers": 1,
            "num_attention_heads": self.heads,
            "vocab_size": vocabulary,
            "max_position_embeddings": 77,
            "bos_token_id": vocabulary - 2,
            "eos_token_id": vocabulary - 1,
            **more,
        }


def _preprocessor(
    image_size: int, processor: str = "VideoMAEImageProcessor", **changes: Any
) -> dict[str, Any]:
    return {
        "crop_size": {"height": image_size, "width": image_size},
        "do_center_crop": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": _IMAGENET_MEAN,
        "image_processor_type": processor,
        "image_std": _IMAGENET_STD,
        "resample": 2,
        "rescale_factor": 1 / 255,
        "size": {"shortest_edge": image_size},
        **changes,
    }


def vocabulary() -> dict[str, int]:
    """CLIP's, without a single merge: every byte, once within and once at the end of a word."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = range(256, 256 + 256 - len(printable))
    letters = [chr(code) for code in (*printable, *others)]
    # The end mark comes last: the text tower reads where the highest number stands.
    words = [*letters, *(f"{c}</w>" for c in letters), "<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate(words)}


def build_videomae(sizes: Sizes, *, fine_tuned: bool = True) -> tuple[Any, dict[str, Any]]:
    """A VideoMAE that ends with ``fc_norm`` behind the mean, or with a final layer norm."""
    from transformers import VideoMAEConfig, VideoMAEForVideoClassification, VideoMAEModel

    config = VideoMAEConfig(
        **sizes.transformer(),
        num_frames=sizes.frames or 16,
        use_mean_pooling=fine_tuned,
        num_labels=2,
    )
    network = VideoMAEForVideoClassification if fine_tuned else VideoMAEModel
    return network(config), _preprocessor(sizes.image_size)


def _xclip(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import XCLIPConfig, XCLIPModel

    config = XCLIPConfig(
        text_config=sizes.text(len(vocabulary())),
        vision_config={
            **sizes.transformer(),
            "mit_hidden_size": sizes.projection_dim,
            "mit_intermediate_size": 4 * sizes.projection_dim,
            "mit_num_attention_heads": sizes.heads,
            "num_frames": sizes.frames or 8,
        },
        projection_dim=sizes.projection_dim,
        prompt_num_attention_heads=sizes.heads,
    )
    return XCLIPModel(config), _preprocessor(sizes.image_size)


def _vjepa2(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import VJEPA2Config, VJEPA2Model

    config = VJEPA2Config(
        hidden_size=sizes.hidden_size,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        crop_size=sizes.image_size,
        patch_size=sizes.patch_size,
        frames_per_clip=sizes.frames or 16,
        pred_hidden_size=sizes.hidden_size,
        pred_num_attention_heads=sizes.heads,
        pred_num_hidden_layers=1,
    )
    side = int(sizes.image_size * 256 / 224)
    return VJEPA2Model(config), _preprocessor(
        sizes.image_size, "VJEPA2VideoProcessor", size={"shortest_edge": side}
    )


def _timesformer(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import TimesformerConfig, TimesformerForVideoClassification

    config = TimesformerConfig(**sizes.transformer(), num_frames=sizes.frames or 8, num_labels=2)
    return TimesformerForVideoClassification(config), _preprocessor(
        sizes.image_size, image_mean=[0.45] * 3, image_std=[0.225] * 3
    )


def _vivit(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import VivitConfig, VivitForVideoClassification

    options = sizes.transformer()
    patch_size = options.pop("patch_size")
    config = VivitConfig(
        **options,
        tubelet_size=[2, patch_size, patch_size],
        num_frames=sizes.frames or 8,
        num_labels=2,
    )
    return VivitForVideoClassification(config), _preprocessor(
        sizes.image_size,
        "VivitImageProcessor",
        size={"shortest_edge": sizes.image_size * 8 // 7},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        rescale_factor=1 / 127.5,
        offset=True,
    )


def _clip(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import CLIPConfig, CLIPModel

    config = CLIPConfig(
        text_config=sizes.text(64, projection_dim=sizes.projection_dim),
        vision_config={**sizes.transformer(), "projection_dim": sizes.projection_dim},
        projection_dim=sizes.projection_dim,
    )
    return CLIPModel(config), _preprocessor(
        sizes.image_size,
        "CLIPImageProcessor",
        resample=3,
        image_mean=[0.48145466, 0.4578275, 0.40821073],
        image_std=[0.26862954, 0.26130258, 0.27577711],
    )


def _siglip2(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import SiglipConfig, SiglipModel

    config = SiglipConfig(
        text_config=sizes.text(64, projection_size=sizes.projection_dim),
        vision_config=sizes.transformer(),
    )
    preprocessor = _preprocessor(
        sizes.image_size,
        "SiglipImageProcessor",
        size={"height": sizes.image_size, "width": sizes.image_size},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    crop = ("crop_size", "do_center_crop")
    return SiglipModel(config), {k: v for k, v in preprocessor.items() if k not in crop}


def _dinov2(sizes: Sizes) -> tuple[Any, dict[str, Any]]:
    from transformers import Dinov2Config, Dinov2Model

    options = sizes.transformer()
    del options["intermediate_size"]
    # Trained at a larger size than it is run at, as the published ones: positions are interpolated.
    options["image_size"] = 2 * sizes.image_size + sizes.patch_size
    return Dinov2Model(Dinov2Config(**options)), _preprocessor(
        sizes.image_size,
        "BitImageProcessor",
        resample=3,
        size={"shortest_edge": sizes.image_size * 8 // 7},
    )


#: Family to a function from sizes to the network and its preprocessor's settings.
BUILDERS: dict[str, Callable[[Sizes], tuple[Any, dict[str, Any]]]] = {
    "videomae": build_videomae,
    "xclip": _xclip,
    "vjepa2": _vjepa2,
    "timesformer": _timesformer,
    "vivit": _vivit,
    "clip": _clip,
    "siglip2": _siglip2,
    "dinov2": _dinov2,
}
