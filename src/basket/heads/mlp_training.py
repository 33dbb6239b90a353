"""Training of small networks, one or many at once.

All networks of a pack (:mod:`basket.heads.mlp_pack`) see the same batches, and each has its own
learning rate, weight decay, dropout and seed, so a packed network is the network that would have
been trained alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from basket.heads.linear_start import LinearStart
from basket.heads.mlp_pack import Knobs, Pack, Shape
from basket.heads.rows import TrainingRows

Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: Units of all networks together that are looked at in one go where nothing is learned.
_EVALUATION_UNITS = 1 << 22
#: Batches are the same for all seeds: networks that differ in their seed can share them.
_BATCH_SEED = 0


@dataclass(frozen=True)
class Trained:
    """Weights of the best epoch, as NumPy arrays; thresholds only where the loss has them."""

    layers: list[tuple[Float32, Float32]]
    thresholds: npt.NDArray[np.float64] | None
    best_epoch: int


def train(
    shape: Shape,
    knobs: Sequence[Knobs],
    X: Float32,
    rows: TrainingRows,
    held: Mask,
    *,
    start: LinearStart,
) -> list[Trained]:
    """Train on the rows not held out; keep the weights of the epoch that predicts those best.

    Epoch 0 is the start, so a network is never worse on the held-out rows than what it began with.

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
    start : LinearStart
        What the networks add to.
    """
    pack = Pack(shape, knobs, start.thresholds)
    optimizer = _AdamW(pack.tensors, knobs)
    begun = start.outputs(X, shape.loss).astype(np.float32)
    data, validation = (
        _Cells(X, begun, rows, mask, batch_size=shape.batch_size) for mask in (~held, held)
    )
    order = torch.Generator().manual_seed(_BATCH_SEED)
    best = _Best(pack.tensors)
    if len(validation):
        best.look(0, pack.tensors, _evaluate(pack, validation), shape.patience)
    for epoch in range(1, shape.epochs + 1):
        for batch in torch.split(torch.randperm(len(data), generator=order), shape.batch_size):
            optimizer.step(data.gradients(pack, batch))
        if not len(validation):
            continue
        going = best.look(epoch, pack.tensors, _evaluate(pack, validation), shape.patience)
        if not going:
            break
        if len(going) < len(best.networks):
            # Networks that have stopped cost as much as those that go on, unless they leave.
            places = [best.networks.index(network) for network in going]
            pack, best.networks = pack.part(places), going
            optimizer = optimizer.part(pack.tensors, [knobs[network] for network in going], places)
    if not len(validation):
        best = _Best(pack.tensors, epoch=shape.epochs)
    whole = Pack(shape, knobs, start.thresholds)
    for tensor, kept in zip(whole.tensors, best.tensors, strict=True):
        tensor.copy_(kept)
    return [_trained(whole, index, int(best.epoch[index])) for index in range(len(knobs))]


class _Best:
    """The best weights of each network so far, and which networks are still trained.

    Parameters
    ----------
    tensors : sequence of Tensor
        Of all networks at the start.
    epoch : int
        Which they are of.
    """

    def __init__(self, tensors: Sequence[Tensor], epoch: int = 0) -> None:
        n = len(tensors[0])
        self.networks = list(range(n))
        self.tensors = [tensor.clone() for tensor in tensors]
        self.loss = torch.full((n,), torch.inf)
        self.epoch = torch.full((n,), epoch)

    def look(
        self, epoch: int, tensors: Sequence[Tensor], losses: Tensor, patience: int
    ) -> list[int]:
        """Keep what is better than before; returns the networks that may still get better.

        Parameters
        ----------
        epoch : int
        tensors : sequence of Tensor
            Of the networks that are still trained.
        losses : Tensor, (len(networks),)
            On held-out rows.
        patience : int
        """
        trained = torch.tensor(self.networks)
        better = losses < self.loss[trained]
        places = trained[better]
        for kept, tensor in zip(self.tensors, tensors, strict=True):
            kept[places] = tensor[better]
        self.loss[places], self.epoch[places] = losses[better], epoch
        return trained[epoch - self.epoch[trained] < patience].tolist()


def _trained(pack: Pack, index: int, best_epoch: int) -> Trained:
    cuts = pack.output.thresholds()
    thresholds = None if cuts is None else cuts[index].detach().double().numpy()
    return Trained(pack.layers(index), thresholds, best_epoch)


class _AdamW:
    """AdamW with a learning rate and weight decay per network (Loshchilov & Hutter 2019)."""

    def __init__(self, tensors: Sequence[Tensor], knobs: Sequence[Knobs]) -> None:
        self.tensors = tensors
        self.first = [torch.zeros_like(tensor) for tensor in tensors]
        self.second = [torch.zeros_like(tensor) for tensor in tensors]
        self.change = [torch.empty_like(tensor) for tensor in tensors]
        rates = torch.tensor([each.learning_rate for each in knobs])
        decays = torch.tensor([each.learning_rate * each.weight_decay for each in knobs])
        self.rates = [_along(rates, tensor) for tensor in tensors]
        self.keep = [_along(1 - decays, tensor) for tensor in tensors]
        self.steps = 0

    def part(
        self, tensors: Sequence[Tensor], knobs: Sequence[Knobs], networks: Sequence[int]
    ) -> _AdamW:
        """Of some of the networks, which are in ``tensors`` now, as they stand."""
        part = _AdamW(tensors, knobs)
        part.first = [each[list(networks)] for each in self.first]
        part.second = [each[list(networks)] for each in self.second]
        part.steps = self.steps
        return part

    def step(self, gradients: Sequence[Tensor]) -> None:
        """One step down these gradients; every pass over a tensor is in place."""
        self.steps += 1
        correct = 1 - 0.9**self.steps
        root = (1 - 0.999**self.steps) ** 0.5
        for tensor, gradient, first, second, change, rate, keep in zip(
            self.tensors, gradients, self.first, self.second, self.change, self.rates, self.keep,
            strict=True,
        ):  # fmt: skip
            first.lerp_(gradient, 0.1)
            second.mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            torch.sqrt(second, out=change)
            # m / c / (sqrt(v) / r + eps), with both corrections in the factor of the quotient.
            change.add_(1e-8 * root).div_(rate)
            tensor.mul_(keep).addcdiv_(first, change, value=-root / correct)


class _Cells:
    """Some rows with their labels; a missing label has weight 0 and is never looked at."""

    def __init__(
        self, X: Float32, begun: Float32, rows: TrainingRows, mask: Mask, *, batch_size: int
    ) -> None:
        if not mask.all():
            X, begun = X[mask], begun[mask]
        self.X, self.begun = torch.from_numpy(X), torch.from_numpy(begun)
        self._batch = torch.empty(min(batch_size, len(self.X)), X.shape[1])
        self.levels = torch.from_numpy(np.maximum(rows.levels[mask], 0))
        self.weights = torch.from_numpy(rows.cells[mask].astype(np.float32))

    def __len__(self) -> int:
        return len(self.X)

    def gradients(self, pack: Pack, batch: Tensor) -> list[Tensor]:
        """Derivatives of the weighted mean loss over the labels of a batch of rows."""
        # Into memory that is used again: fresh memory would cost more than the copy.
        X = self._batch[: len(batch)]
        torch.index_select(self.X, 0, batch, out=X)
        outputs = pack.outputs(X, training=True).add_(self.begun[batch])
        levels, weights = self.levels[batch], self.weights[batch]
        # Networks do not touch each other, so the sum has each one's own gradient.
        mean = weights / self._count(pack, levels, weights).clamp_min(1e-12)
        first, *more = pack.output.derivatives(outputs, levels, mean)
        return pack.gradients(first, more)

    def sums(self, pack: Pack, batch: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted sums of the losses (M,) without dropout, and of the weights."""
        with torch.no_grad():
            outputs = pack.outputs(self.X[batch]).add_(self.begun[batch])
            levels, weights = self.levels[batch], self.weights[batch]
            per_label = pack.output.loss(outputs, levels)
            return (per_label * weights).sum(dim=(1, 2)), self._count(pack, levels, weights)

    def _count(self, pack: Pack, levels: Tensor, weights: Tensor) -> Tensor:
        """What a mean over these labels divides by."""
        terms = pack.output.terms(levels)
        return (weights if terms is None else weights * terms).sum()


def _evaluate(pack: Pack, cells: _Cells) -> Tensor:
    """Weighted mean loss over all rows of ``cells``, without dropout, (M,)."""
    totals: Any = 0.0
    weight = 0.0
    n_networks, width, _ = pack.weights[0].shape
    block = max(64, _EVALUATION_UNITS // (n_networks * width))
    for batch in torch.split(torch.arange(len(cells)), block):
        total, share = cells.sums(pack, batch)
        totals, weight = totals + total.double(), weight + float(share)
    losses: Tensor = totals / weight if weight else 0 * totals
    return losses.float()


def _along(values: Tensor, tensor: Tensor) -> Tensor:
    """Values (M,) shaped so that they multiply ``tensor`` along its first dimension."""
    return values.reshape(-1, *(1,) * (tensor.ndim - 1)).float()
