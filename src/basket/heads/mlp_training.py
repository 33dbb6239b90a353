"""Training of small networks, one or many at once.

Networks of equal shape are packed: their first layers are one wide matrix product, later ones a
batched product, and each has its own learning rate, weight decay, dropout and seed. All see the
same batches, so a packed network is the network that would have been trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from basket.heads import link
from basket.heads.mlp_losses import OUTPUTS, Output
from basket.heads.rows import TrainingRows

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

_EVALUATION_ROWS = 8192
#: Batches are the same for all seeds: networks that differ in their seed can share them.
_BATCH_SEED = 0


@dataclass(frozen=True)
class Shape:
    """What packed networks have in common; ``widths`` are the inputs of each layer."""

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


@dataclass(frozen=True)
class Trained:
    """Weights of the best epoch, as NumPy arrays; thresholds only where the loss has them."""

    layers: list[tuple[Float32, Float32]]
    thresholds: npt.NDArray[np.float64] | None
    best_epoch: int


def train(
    shape: Shape, knobs: Sequence[Knobs], X: Float32, rows: TrainingRows, held: Mask
) -> list[Trained]:
    """Train on the rows not held out; keep the weights of the epoch that predicts those best.

    Parameters
    ----------
    shape : Shape
        Of all networks.
    knobs : sequence of Knobs, (M,)
        One network each.
    X : ndarray, float32, (n, P)
        Standardised features of ``rows``.
    rows : TrainingRows
        Levels and weights.
    held : ndarray of bool, (n,)
        Rows held out; with none of them, all epochs are trained.
    """
    pack = _Pack(shape, knobs, rows)
    optimizer = _AdamW(pack.trained_tensors(), knobs)
    data, validation = _Cells(X, rows, ~held), _Cells(X, rows, held)
    order = torch.Generator().manual_seed(_BATCH_SEED)
    best, n = pack.copy(), len(knobs)
    best_loss, best_epoch = torch.full((n,), torch.inf), torch.zeros(n, dtype=torch.int64)
    going = torch.ones(n, dtype=torch.bool)
    for epoch in range(1, shape.epochs + 1):
        for batch in torch.split(torch.randperm(len(data), generator=order), shape.batch_size):
            # Networks do not touch each other, so the sum has each one's own gradient.
            data.losses(pack, batch, training=True).sum().backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        losses = _evaluate(pack, validation) if len(validation) else torch.full((n,), -float(epoch))
        better = (losses < best_loss) & going
        pack.copy_into(best, better)
        best_loss, best_epoch[better] = torch.where(better, losses, best_loss), epoch
        if len(validation):
            going &= epoch - best_epoch < shape.patience
        if not going.any():
            break
    pack.restore(best)
    return [pack.trained(index, int(best_epoch[index])) for index in range(n)]


class _Pack:
    """Weights of M networks: the first layer (P, M, H), later ones (M, in, out)."""

    def __init__(self, shape: Shape, knobs: Sequence[Knobs], rows: TrainingRows) -> None:
        start = np.repeat(_marginals(rows)[None], len(knobs), axis=0)
        self.output: Output = OUTPUTS[shape.loss](start)
        bias = OUTPUTS[shape.loss].first_bias(start)
        seeds = [torch.Generator().manual_seed(each.seed) for each in knobs]
        self.weights, self.biases = [], []
        for inputs, outputs in pairwise(shape.widths):
            bound = inputs**-0.5
            drawn = [
                (torch.rand(inputs, outputs, generator=seed), torch.rand(outputs, generator=seed))
                for seed in seeds
            ]
            self.weights.append(torch.stack([(2 * w - 1) * bound for w, _ in drawn]))
            self.biases.append(torch.stack([(2 * b - 1) * bound for _, b in drawn])[:, None])
        # Zero weights: the first prediction is the prior, and the first steps cannot be wild.
        self.weights.append(torch.zeros(len(knobs), shape.widths[-1], bias.shape[-1]))
        self.biases.append(torch.tensor(bias, dtype=torch.float32)[:, None])
        self.weights[0] = self.weights[0].transpose(0, 1).contiguous()
        self.mask = _group_mask(shape, bias.shape[-1])
        self.cuts = [round(each.dropout * 256) for each in knobs]
        self.random = [np.random.default_rng(each.seed) for each in knobs]
        for tensor in (*self.weights, *self.biases):
            tensor.requires_grad = True

    def trained_tensors(self) -> list[tuple[Tensor, int]]:
        """Every trained tensor and the dimension that counts the networks."""
        first = [(self.weights[0], 1)]
        rest = [*self.weights[1:], *self.biases, *self.output.parameters()]
        return first + [(tensor, 0) for tensor in rest]

    def __call__(self, X: Tensor, *, training: bool) -> Tensor:
        """Outputs, (M, n, outputs)."""
        first = self.weights[0]
        wide = X @ first.reshape(first.shape[0], -1)
        values = wide.view(len(X), first.shape[1], first.shape[2]).transpose(0, 1) + self.biases[0]
        for index in range(1, len(self.weights)):
            values = torch.relu(values)
            if training:
                values = self._drop(values)
            weight = self.weights[index]
            if index == len(self.weights) - 1 and self.mask is not None:
                weight = weight * self.mask
            values = torch.baddbmm(self.biases[index], values, weight)
        return values

    def _drop(self, values: Tensor) -> Tensor:
        # NumPy's generator is ten times faster than torch's on a CPU. The share is rounded to a
        # multiple of 1/256: one random byte decides one unit.
        if not any(self.cuts):
            return values
        kept = np.ones(values.shape, dtype=np.float32)
        for index, (cut, random) in enumerate(zip(self.cuts, self.random, strict=True)):
            if cut:
                noise = random.integers(0, 256, size=values.shape[1:], dtype=np.uint8)
                np.multiply(noise >= cut, np.float32(256 / (256 - cut)), out=kept[index])
        return values * torch.from_numpy(kept)

    def copy(self) -> list[Tensor]:
        """Values of all tensors now."""
        return [tensor.detach().clone() for tensor, _ in self.trained_tensors()]

    def copy_into(self, values: list[Tensor], chosen: Tensor) -> None:
        """Overwrite what :meth:`copy` gave for some networks (M,)."""
        with torch.no_grad():
            for value, (tensor, dim) in zip(values, self.trained_tensors(), strict=True):
                index = (slice(None),) * dim + (chosen,)
                value[index] = tensor[index]

    def restore(self, values: list[Tensor]) -> None:
        """Take back what :meth:`copy` gave."""
        with torch.no_grad():
            for value, (tensor, _) in zip(values, self.trained_tensors(), strict=True):
                tensor.copy_(value)

    def trained(self, index: int, best_epoch: int) -> Trained:
        """One network."""
        weights = [self.weights[0][:, index], *(weight[index] for weight in self.weights[1:])]
        if self.mask is not None:
            weights[-1] = weights[-1] * self.mask
        cuts = self.output.thresholds()
        return Trained(
            layers=[
                (weight.detach().numpy().copy(), bias[index, 0].detach().numpy().copy())
                for weight, bias in zip(weights, self.biases, strict=True)
            ],
            thresholds=None if cuts is None else cuts[index].detach().double().numpy(),
            best_epoch=best_epoch,
        )


class _AdamW:
    """AdamW with a learning rate and weight decay per network (Loshchilov & Hutter 2019)."""

    def __init__(self, tensors: list[tuple[Tensor, int]], knobs: Sequence[Knobs]) -> None:
        self.tensors = [tensor for tensor, _ in tensors]
        self.first = [torch.zeros_like(tensor) for tensor in self.tensors]
        self.second = [torch.zeros_like(tensor) for tensor in self.tensors]
        rates = torch.tensor([each.learning_rate for each in knobs])
        decays = torch.tensor([each.learning_rate * each.weight_decay for each in knobs])
        self.rates = [_along(rates, tensor, dim) for tensor, dim in tensors]
        self.keep = [_along(1 - decays, tensor, dim) for tensor, dim in tensors]
        self.steps = 0

    @torch.no_grad()
    def step(self) -> None:
        """Use and forget the gradients."""
        self.steps += 1
        correct = 1 - 0.9**self.steps
        root = (1 - 0.999**self.steps) ** 0.5
        for tensor, first, second, rate, keep in zip(
            self.tensors, self.first, self.second, self.rates, self.keep, strict=True
        ):
            gradient = tensor.grad
            if gradient is None:
                continue
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            change = second.sqrt().div_(root).add_(1e-8)
            torch.div(first, change, out=change)
            tensor.mul_(keep).sub_(change.mul_(rate / correct))
            tensor.grad = None


class _Cells:
    """Some rows with their labels; a missing label has weight 0 and is never looked at."""

    def __init__(self, X: Float32, rows: TrainingRows, mask: Mask) -> None:
        self.X = torch.from_numpy(X[mask])
        self.levels = torch.from_numpy(np.maximum(rows.levels[mask], 0))
        self.weights = torch.from_numpy(rows.cells[mask].astype(np.float32))

    def __len__(self) -> int:
        return len(self.X)

    def losses(self, pack: _Pack, batch: Tensor, *, training: bool) -> Tensor:
        """Weighted mean over the labels of a batch of rows, per network, (M,)."""
        total, weight = self.sums(pack, batch, training=training)
        return total / weight.clamp_min(1e-12)

    def sums(self, pack: _Pack, batch: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
        """Weighted sums of the losses (M,), and of the weights."""
        levels, weights = self.levels[batch], self.weights[batch]
        per_label = pack.output.loss(pack(self.X[batch], training=training), levels)
        terms = pack.output.terms(levels)
        count = weights if terms is None else weights * terms
        return (per_label * weights).sum(dim=(1, 2)), count.sum()


def _evaluate(pack: _Pack, cells: _Cells) -> Tensor:
    """Weighted mean loss over all rows of ``cells``, without dropout, (M,)."""
    totals: Any = 0.0
    weight = 0.0
    with torch.no_grad():
        for batch in torch.split(torch.arange(len(cells)), _EVALUATION_ROWS):
            total, share = cells.sums(pack, batch, training=False)
            totals, weight = totals + total.double(), weight + float(share)
    losses: Tensor = totals / weight if weight else 0 * totals
    return losses.float()


def _marginals(rows: TrainingRows) -> npt.NDArray[np.float64]:
    """Thresholds that say each skill's frequencies, (n_skills, K-1)."""
    learned = rows.learned()
    cells = learned.cells
    known = learned.levels >= 0
    return np.stack(
        [
            link.marginal_thresholds(
                learned.levels[known[:, skill], skill], cells[known[:, skill], skill], rows.n_levels
            )
            for skill in range(rows.n_skills)
        ]
    )


def _group_mask(shape: Shape, outputs: int) -> Tensor | None:
    """1 where a unit of the last hidden layer belongs to the group of an output's skill."""
    if shape.group_of_skill is None:
        return None
    groups = torch.tensor(shape.group_of_skill)
    of_unit = torch.arange(shape.widths[-1]) * (int(groups.max()) + 1) // shape.widths[-1]
    of_output = groups.repeat_interleave(outputs // len(groups))
    return (of_unit[:, None] == of_output[None]).float()


def _along(values: Tensor, tensor: Tensor, dim: int) -> Tensor:
    """Values (M,) shaped so that they multiply ``tensor`` along ``dim``."""
    return values.reshape([-1 if axis == dim else 1 for axis in range(tensor.ndim)]).float()
