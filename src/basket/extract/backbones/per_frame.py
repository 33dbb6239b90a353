"""Image networks as video backbones: every frame by itself, then the mean over the frames.

They know nothing of motion; what they are worth beside a video network is a question an ablation
answers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.cost import image_tflop, pair
from basket.extract.backbones.network import NetworkBackbone
from basket.extract.backbones.opening import OpenCheckpoint, acting_values
from basket.extract.backbones.preprocessing import read_preprocessing
from basket.extract.backbones.streams import layer_index, tubelet_index
from basket.extract.backbones.tokens import BlockMeans

if TYPE_CHECKING:
    import torch

#: T where the catalogue does not say: a window's frames a quarter of a second apart.
FRAMES = 8


class PerFrame(NetworkBackbone):
    """A loaded image network.

    Streams: ``pooled`` ``(N, D)``, the mean of the frames' embeddings; ``layer-k``, the mean patch
    token of the k-th last block over all frames, not normalised; ``tubelet<t>``, the embedding of
    frame t.

    Parameters
    ----------
    network : torch.nn.Module
    blocks : sequence of torch.nn.Module
        Its layers, first to last.
    prefix : int
        Class tokens before the patches.
    embedding : callable
        From the network's output to ``(frames, D)``.
    """

    def __init__(
        self,
        network: Any,
        *,
        blocks: Sequence[Any],
        prefix: int,
        embedding: Callable[[Any], torch.Tensor],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._network = network.to(self._device, self._dtype)
        self._embedding = embedding
        names = list(self._spec.streams)
        self._means = BlockMeans(blocks, names, prefix=prefix)
        self._tubelets = {name: t for name in names if (t := tubelet_index(name)) is not None}
        self._compile(blocks)

    def _forward(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        clips, times = pixels.shape[:2]
        output = self._network(pixel_values=pixels.flatten(0, 1))
        frames = self._embedding(output).float().reshape(clips, times, -1)
        streams = {
            name: means.reshape(clips, times, -1).mean(dim=1)
            for name, means in self._means.take().items()
        }
        streams["pooled"] = frames.mean(dim=1)
        return streams | {name: frames[:, t] for name, t in self._tubelets.items()}


def per_frame_backbone(
    found: OpenCheckpoint,
    checkpoint: Checkpoint,
    network: Any,
    *,
    blocks: Sequence[Any],
    dims: int,
    prefix: int,
    embedding: Callable[[Any], torch.Tensor],
    pooling: str,
    sides_px: tuple[int, int] | None = None,
) -> PerFrame:
    """Make a backbone of the image network of an open checkpoint.

    Parameters
    ----------
    found : OpenCheckpoint
    checkpoint : Checkpoint
        Says how many frames; :data:`FRAMES` where it does not.
    network : torch.nn.Module
        The image side, weights loaded.
    blocks, prefix, embedding
        As for :class:`PerFrame`.
    dims : int
        Width of a frame's embedding; layers are as wide as the network.
    pooling : str
        Where the embedding of a frame comes from.
    sides_px : tuple of int, optional
        Height and width of a picture; by default what the network was trained on.
    """
    config = network.config
    height_px, width_px = sides_px or pair(config.image_size)
    preprocessing = read_preprocessing(found.folder, height_px=height_px, width_px=width_px)
    frames = checkpoint.frames or FRAMES
    names = found.streams(layers=config.num_hidden_layers, time_steps=frames)
    geometry = preprocessing.geometry
    spec = found.spec(
        frames=frames,
        preprocessing=preprocessing,
        streams={name: dims if layer_index(name) is None else config.hidden_size for name in names},
        pooling=f"{pooling},mean over frames",
        network=acting_values(
            config, "hidden_act", "layer_norm_eps", "num_attention_heads", "patch_size"
        ),
        tflop_per_clip=image_tflop(
            config,
            (geometry.height_px, geometry.width_px),
            frames=frames,
            prefix=prefix,
            attention_pooling=bool(getattr(config, "vision_use_head", False)),
        ),
    )
    return PerFrame(
        network,
        blocks=blocks,
        prefix=prefix,
        embedding=embedding,
        **found.run_options(spec, preprocessing),
    )
