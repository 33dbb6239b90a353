"""Many small networks of one shape as a few wide tensors: their outputs and their gradients.

The first layers of all networks are one matrix product, later layers a batched one. Gradients are
written out by hand rather than recorded, so that every large tensor lives in memory that is used
again in the next step: asking for fresh memory costs more than all that is computed between the
products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from basket.heads.mlp_losses import OUTPUTS, Output

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """What packed networks have in common; ``widths``: inputs of each layer, then outputs."""

    loss: str
    widths: tuple[int, ...]
    batch_size: int
    epochs: int
    patience: int
    group_of_skill: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Knobs:
    """What each of them has for itself."""

    dropout: float
    weight_decay: float
    learning_rate: float
    seed: int


class Pack:
    """M networks.

    Parameters
    ----------
    shape : Shape
        Of all networks.
    knobs : sequence of Knobs, (M,)
        One network each.
    thresholds : ndarray, float64, (n_skills, K-1)
        What the networks say before they have learned.

    Attributes
    ----------
    weights : list of Tensor, float32
        First layer (M, out, P), as it stands in one wide product; later ones (M, in, out).
    biases : list of Tensor, float32, (M, 1, out)
    output : Output
        What the last layer means; may have parameters of its own.
    """

    def __init__(self, shape: Shape, knobs: Sequence[Knobs], thresholds: Float) -> None:
        self._made_of = (shape, tuple(knobs), thresholds)
        start = np.repeat(thresholds[None], len(knobs), axis=0)
        self.output: Output = OUTPUTS[shape.loss](start)
        self.weights, self.biases = _first_weights(shape, knobs)
        self._mask = _group_mask(shape)
        self._cuts = [round(each.dropout * 256) for each in knobs]
        # A unit that is kept stands for those that are not. Here that is a factor of the next
        # layer's weights: they are few, the units are many.
        grown = [256 / (256 - cut) for cut in self._cuts]
        self._kept_factor = torch.tensor(grown, dtype=torch.float32)[:, None, None]
        self._random = [np.random.default_rng(each.seed) for each in knobs]
        self._memory: dict[str, Tensor] = {}
        self._inputs: list[Tensor] = []
        self._used: list[Tensor] = []
        self._gradients = [torch.empty_like(each) for each in (*self.weights, *self.biases)]

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that is trained; the first dimension counts the networks."""
        parameters = [parameter.detach() for parameter in self.output.parameters()]
        return [*self.weights, *self.biases, *parameters]

    def outputs(self, X: Tensor, *, training: bool = False) -> Tensor:
        """Last layer before the link, (M, n, outputs); with dropout in training.

        Parameters
        ----------
        X : Tensor, float32, (n, P)
        """
        first = self.weights[0]
        n_networks, width, _ = first.shape
        wide = self._buffer("wide", len(X), n_networks * width)
        torch.addmm(self.biases[0].view(-1), X, first.view(n_networks * width, -1).t(), out=wide)
        values = wide.view(len(X), n_networks, width).transpose(0, 1)
        self._inputs, self._used = [X], [first]
        for index in range(1, len(self.weights)):
            values.relu_()
            weight = self._masked(index, self.weights[index])
            if training and any(self._cuts):
                self._drop(values, index)
                weight = weight * self._kept_factor
            self._inputs.append(values)
            self._used.append(weight)
            values = torch.baddbmm(self.biases[index], values, weight)
        return values

    def gradients(self, of_outputs: Tensor, of_parameters: Sequence[Tensor]) -> list[Tensor]:
        """Derivatives of all :attr:`tensors`, after :meth:`outputs` in training.

        Parameters
        ----------
        of_outputs : Tensor, float32, (M, n, outputs)
            Derivatives of the loss in the last layer.
        of_parameters : sequence of Tensor
            And in the parameters of :attr:`output`, which are handed through.
        """
        n_layers = len(self.weights)
        of_weights, of_biases = self._gradients[:n_layers], self._gradients[n_layers:]
        gradient = of_outputs
        for index in range(n_layers - 1, 0, -1):
            inputs = self._inputs[index]
            torch.bmm(inputs.transpose(1, 2), gradient, out=of_weights[index])
            if any(self._cuts):
                of_weights[index].mul_(self._kept_factor)
            of_weights[index].copy_(self._masked(index, of_weights[index]))
            torch.sum(gradient, dim=1, keepdim=True, out=of_biases[index])
            n_networks, n, width = inputs.shape
            below = self._buffer(f"below {index}", n, n_networks, width).transpose(0, 1)
            torch.bmm(gradient, self._used[index].transpose(1, 2), out=below)
            # Units are positive where they took part and 0 where they did not.
            gradient = below.mul_(inputs.sign_())
        n_networks, n, width = gradient.shape
        flat = gradient.transpose(0, 1).reshape(n, n_networks * width)
        torch.mm(flat.t(), self._inputs[0], out=of_weights[0].view(n_networks * width, -1))
        torch.sum(flat, dim=0, out=of_biases[0].view(-1))
        return [*self._gradients, *of_parameters]

    def part(self, networks: Sequence[int]) -> Pack:
        """Some of the networks, as they stand: they go on as they would have gone on here."""
        shape, knobs, thresholds = self._made_of
        part = Pack(shape, [knobs[index] for index in networks], thresholds)
        for theirs, mine in zip(part.tensors, self.tensors, strict=True):
            theirs.copy_(mine[list(networks)])
        part._random = [self._random[index] for index in networks]
        return part

    def layers(self, index: int) -> list[tuple[Float32, Float32]]:
        """Weights (in, out) and biases (out,) of one network, layer by layer."""
        weights = [self.weights[0][index].t(), *(weight[index] for weight in self.weights[1:])]
        weights[-1] = self._masked(len(weights) - 1, weights[-1])
        return [
            (np.ascontiguousarray(weight.numpy()).copy(), bias[index, 0].numpy().copy())
            for weight, bias in zip(weights, self.biases, strict=True)
        ]

    def _masked(self, index: int, weight: Tensor) -> Tensor:
        """Weights of the last layer where a skill may look, with a hierarchy."""
        if self._mask is None or index != len(self.weights) - 1:
            return weight
        return weight * self._mask

    def _drop(self, values: Tensor, index: int) -> None:
        # The share is rounded to a multiple of 1/256: one random byte decides one unit.
        n_networks, n, width = values.shape
        kept = self._buffer(f"kept {index}", n, n_networks, width)
        memory = kept.numpy()
        for network, (cut, random) in enumerate(zip(self._cuts, self._random, strict=True)):
            if cut:
                noise = np.frombuffer(random.bytes(n * width), dtype=np.uint8)
                np.greater_equal(noise.reshape(n, width), cut, out=memory[:, network])
            else:
                memory[:, network] = 1.0
        values.mul_(kept.transpose(0, 1))

    def _buffer(self, name: str, *shape: int) -> Tensor:
        """Memory that is the same one in every step."""
        size = prod(shape)
        if name not in self._memory or len(self._memory[name]) < size:
            self._memory[name] = torch.empty(size)
        return self._memory[name][:size].view(shape)


def _first_weights(shape: Shape, knobs: Sequence[Knobs]) -> tuple[list[Tensor], list[Tensor]]:
    """Uniform within one over the root of the inputs, each network by its own seed."""
    seeds = [torch.Generator().manual_seed(each.seed) for each in knobs]
    weights, biases = [], []
    for inputs, outputs in pairwise(shape.widths[:-1]):
        bound = inputs**-0.5
        drawn = [
            (torch.rand(inputs, outputs, generator=seed), torch.rand(outputs, generator=seed))
            for seed in seeds
        ]
        weights.append(torch.stack([(2 * w - 1) * bound for w, _ in drawn]))
        biases.append(torch.stack([(2 * b - 1) * bound for _, b in drawn])[:, None])
    # Zeros: the first prediction is the start, and the first steps cannot be wild.
    weights.append(torch.zeros(len(knobs), *shape.widths[-2:]))
    biases.append(torch.zeros(len(knobs), 1, shape.widths[-1]))
    weights[0] = weights[0].transpose(1, 2).contiguous()
    return weights, biases


def _group_mask(shape: Shape) -> Tensor | None:
    """1 where a unit of the last hidden layer belongs to the group of an output's skill."""
    if shape.group_of_skill is None:
        return None
    groups = torch.tensor(shape.group_of_skill)
    units, outputs = shape.widths[-2:]
    of_unit = torch.arange(units) * (int(groups.max()) + 1) // units
    of_output = groups.repeat_interleave(outputs // len(groups))
    return (of_unit[:, None] == of_output[None]).float()
