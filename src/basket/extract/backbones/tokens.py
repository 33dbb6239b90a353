"""Streams of video transformers: one vector per clip, per layer and per time step from tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from basket.extract.backbones.network import NetworkBackbone
from basket.extract.backbones.streams import layer_index, tubelet_index

if TYPE_CHECKING:
    import torch


class BlockMeans:
    """The mean token of some blocks, caught while the network runs instead of keeping all tokens.

    Parameters
    ----------
    blocks : sequence of torch.nn.Module
    streams : sequence of str
        Those called ``layer-k`` are caught: the output of the k-th last block, not normalised.
    prefix : int, default=0
        Tokens at the beginning that are no patches (a class token) and are left out.
    """

    def __init__(self, blocks: Sequence[Any], streams: Sequence[str], *, prefix: int = 0) -> None:
        self._prefix = prefix
        self._caught: dict[str, torch.Tensor] = {}
        for name in streams:
            if (k := layer_index(name)) is not None:
                blocks[k].register_forward_hook(self._catch(name))

    def take(self) -> dict[str, torch.Tensor]:
        """What the last run left, float32 ``(N, D)`` each; empty afterwards."""
        caught, self._caught = self._caught, {}
        return caught

    def _catch(self, name: str) -> Any:
        def hook(_block: Any, _inputs: Any, output: Any) -> None:
            tokens = output[0] if isinstance(output, tuple) else output
            self._caught[name] = tokens[:, self._prefix :].float().mean(dim=1)

        return hook


class TokenBackbone(NetworkBackbone):
    """A transformer over the tokens of a whole clip.

    Streams: ``pooled`` ``(N, D)``, the class token, or the mean token where there is none;
    ``layer-k``, the mean patch token of the k-th last block's output, not normalised;
    ``tubelet<t>``, the mean of the final tokens of time step t alone.

    Parameters
    ----------
    network : torch.nn.Module
    blocks : sequence of torch.nn.Module
        Its layers, first to last.
    time_steps : int
        Into how many the frames of a clip are laid out.
    """

    #: Class tokens before the patches; with one, it is the pooled vector.
    prefix = 0
    #: Patches are laid out time step by time step; False: place by place, its time steps together.
    time_first = True

    def __init__(
        self, network: Any, *, blocks: Sequence[Any], time_steps: int, **options: Any
    ) -> None:
        super().__init__(**options)
        self._network = network.to(self._device, self._dtype)
        self._time_steps = time_steps
        names = list(self._spec.streams)
        self._means = BlockMeans(blocks, names, prefix=self.prefix)
        self._tubelets = {name: t for name in names if (t := tubelet_index(name)) is not None}
        self._compile(blocks)

    def _forward(self, pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        tokens = self._tokens(pixels).float()
        streams = self._means.take()
        streams["pooled"] = tokens[:, 0] if self.prefix else self._finish(tokens.mean(dim=1))
        if self._tubelets:
            steps = self._step_means(tokens[:, self.prefix :])
            streams |= {name: self._finish(steps[:, t]) for name, t in self._tubelets.items()}
        return streams

    def _step_means(self, patches: torch.Tensor) -> torch.Tensor:
        """``(N, L, D)`` to ``(N, time_steps, D)``."""
        clips, _, width = patches.shape
        if self.time_first:
            return patches.reshape(clips, self._time_steps, -1, width).mean(dim=2)
        return patches.reshape(clips, -1, self._time_steps, width).mean(dim=1)

    def _tokens(self, pixels: torch.Tensor) -> torch.Tensor:
        """Run the network: ``(N, T, 3, H, W)`` to its last tokens ``(N, prefix + L, D)``."""
        tokens: torch.Tensor = self._network(pixel_values=pixels).last_hidden_state
        return tokens

    def _finish(self, mean: torch.Tensor) -> torch.Tensor:
        """What follows the mean over tokens, ``(N, D)`` to ``(N, D)``; nothing here."""
        return mean
