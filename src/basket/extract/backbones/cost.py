"""Floating-point operations of a clip, counted from the sizes in a checkpoint's configuration.

A multiply-add counts two. Only matrix products are counted; norms, activations and softmax add
about one per cent.
"""

from __future__ import annotations

from typing import Any


def block_flop(tokens: int, width: int, inner: int) -> int:
    """One transformer block: four projections, the attention products, two feed-forward layers."""
    return 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width


def vit_tflop(
    tokens: int, *, width: int, inner: int, layers: int, patches: int, patch_values: int
) -> float:
    """A plain vision transformer, in units of 1e12.

    Parameters
    ----------
    tokens : int
        Per clip, class tokens included.
    width, inner : int
        Of a token, and of the feed-forward layer.
    layers : int
    patches : int
        Tokens that are made from pixels.
    patch_values : int
        Numbers in one patch, all channels and frames of it.
    """
    embed = 2 * patches * width * patch_values
    return float(embed + layers * block_flop(tokens, width, inner)) / 1e12


def videomae_tflop(config: Any) -> float:
    """Cost of one clip through a VideoMAE encoder, in units of 1e12.

    Parameters
    ----------
    config : transformers.VideoMAEConfig

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> base = SimpleNamespace(image_size=224, patch_size=16, num_frames=16, tubelet_size=2,
    ...     hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_channels=3)
    >>> round(videomae_tflop(base), 3)
    0.361
    """
    rows, columns = pair(config.patch_size)
    tokens = config.num_frames // config.tubelet_size * _grid(config.image_size, config.patch_size)
    return vit_tflop(
        tokens,
        width=config.hidden_size,
        inner=config.intermediate_size,
        layers=config.num_hidden_layers,
        patches=tokens,
        patch_values=config.num_channels * config.tubelet_size * rows * columns,
    )


def vjepa2_tflop(config: Any, frames: int) -> float:
    """Cost of a clip of ``frames`` frames through a V-JEPA 2 encoder, in units of 1e12.

    Parameters
    ----------
    config : transformers.VJEPA2Config
    frames : int
    """
    rows, columns = pair(config.patch_size)
    tokens = frames // config.tubelet_size * _grid(config.crop_size, config.patch_size)
    return vit_tflop(
        tokens,
        width=config.hidden_size,
        inner=int(config.hidden_size * config.mlp_ratio),
        layers=config.num_hidden_layers,
        patches=tokens,
        patch_values=config.in_chans * config.tubelet_size * rows * columns,
    )


def vivit_tflop(config: Any) -> float:
    """Cost of one clip through ViViT, in units of 1e12.

    Parameters
    ----------
    config : transformers.VivitConfig
    """
    steps, rows, columns = config.tubelet_size
    patches = config.num_frames // steps * _grid(config.image_size, (rows, columns))
    return vit_tflop(
        patches + 1,
        width=config.hidden_size,
        inner=config.intermediate_size,
        layers=config.num_hidden_layers,
        patches=patches,
        patch_values=config.num_channels * steps * rows * columns,
    )


def timesformer_tflop(config: Any) -> float:
    """Cost of one clip through TimeSformer, in units of 1e12.

    Parameters
    ----------
    config : transformers.TimesformerConfig
        Divided attention: each block attends over time at every place, then over places at every
        time, with a class token beside each frame. Joint attention: once over all tokens.
    """
    rows, columns = pair(config.patch_size)
    places, times, dims = (
        _grid(config.image_size, config.patch_size),
        config.num_frames,
        config.hidden_size,
    )
    patches = places * times
    patch_values = config.num_channels * rows * columns
    inner, layers = config.intermediate_size, config.num_hidden_layers
    if config.attention_type == "joint_space_time":
        return vit_tflop(
            patches + 1,
            width=dims,
            inner=inner,
            layers=layers,
            patches=patches,
            patch_values=patch_values,
        )
    over_time = places * (2 * times * 5 * dims**2 + 4 * times**2 * dims)
    over_space = times * (2 * (places + 1) * 4 * dims**2 + 4 * (places + 1) ** 2 * dims)
    feed_forward = 2 * (patches + 1) * 2 * dims * inner
    embed = 2 * patches * dims * patch_values
    return float(embed + layers * (over_time + over_space + feed_forward)) / 1e12


def image_tflop(
    config: Any,
    sides_px: tuple[int, int],
    *,
    frames: int,
    prefix: int,
    attention_pooling: bool = False,
) -> float:
    """Cost of ``frames`` pictures through an image transformer, in units of 1e12.

    Parameters
    ----------
    config : transformers configuration of CLIP's, SigLIP's or DINOv2's image side
    sides_px : tuple of int
        Height and width of the picture.
    frames, prefix : int
        Pictures per clip, class tokens per picture.
    attention_pooling : bool, default=False
        A last layer of attention by one query, and its feed-forward layer (SigLIP).
    """
    rows, columns = pair(config.patch_size)
    width = config.hidden_size
    patches = _grid(sides_px, config.patch_size)
    inner = getattr(config, "intermediate_size", None)
    if inner is None:
        # Where the feed-forward layer is gated (DINOv2 giant), three matrices of two thirds of the
        # width cost what two of the whole do.
        inner = int(width * config.mlp_ratio)
    pooling = 0.0
    if attention_pooling:
        keys = 2 * patches * 2 * width**2 + 4 * patches * width
        pooling = (keys + 2 * (2 * width**2 + 2 * width * inner)) / 1e12
    network = vit_tflop(
        patches + prefix,
        width=width,
        inner=inner,
        layers=config.num_hidden_layers,
        patches=patches,
        patch_values=config.num_channels * rows * columns,
    )
    return frames * (network + pooling)


def xclip_tflop(config: Any) -> float:
    """Cost of one clip through X-CLIP's video side, in units of 1e12.

    Parameters
    ----------
    config : transformers.XCLIPConfig
        Each frame passes a vision transformer whose blocks also exchange one message token per
        frame; a small transformer then integrates the frames.
    """
    vision = config.vision_config
    rows, columns = pair(vision.patch_size)
    frames, dims = vision.num_frames, vision.hidden_size
    patches = _grid(vision.image_size, vision.patch_size)
    tokens = patches + 2  # the class token, and the message token while attending
    unfed = 2 * 2 * dims * vision.intermediate_size  # the message is dropped before the next layer
    message = 2 * frames * 5 * dims**2 + 4 * frames**2 * dims
    blocks = frames * (block_flop(tokens, dims, vision.intermediate_size) - unfed) + message
    embed = 2 * frames * patches * dims * vision.num_channels * rows * columns
    project = 2 * frames * dims * config.projection_dim
    integrate = vision.mit_num_hidden_layers * block_flop(
        frames, vision.mit_hidden_size, vision.mit_intermediate_size
    )
    return float(embed + vision.num_hidden_layers * blocks + project + integrate) / 1e12


def pair(size: Any) -> tuple[int, int]:
    """Height and width from a configuration value that is one number or two."""
    height, width = (size, size) if isinstance(size, int) else size
    return int(height), int(width)


def _grid(image: Any, patch: Any) -> int:
    """Patches in a picture."""
    (height, width), (rows, columns) = pair(image), pair(patch)
    return (height // rows) * (width // columns)
