"""Training of attentive pooling with PyTorch, on ragged batches of videos."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from basket.cache.features import RaggedFeatures
from basket.heads.mlp_losses import CumulativeOutput
from basket.heads.rows import TrainingRows

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Recipe:
    """Settings of :class:`~basket.heads.attention.AttentionHead`.

    ``top`` 0 is attention; ``query_of_skill`` says which of the queries each skill has.
    """

    top: int
    query_of_skill: tuple[int, ...]
    weight_decay: float
    learning_rate: float
    batch_size: int
    epochs: int
    patience: int
    seed: int


@dataclass(frozen=True)
class Trained:
    """Parameters of the best epoch."""

    query: Float32
    slope: Float32
    thresholds: npt.NDArray[np.float64]
    best_epoch: int


def train(
    recipe: Recipe,
    rows: TrainingRows,
    held: Mask,
    *,
    mean: Array,
    scale: Array,
    slope: Float32,
    thresholds: npt.NDArray[np.float64],
) -> Trained:
    """Train on the rows not held out; keep the parameters that predict the held-out ones best.

    Parameters
    ----------
    recipe : Recipe
        Settings.
    rows : TrainingRows
        ``X`` is ragged.
    held : ndarray of bool, (n,)
        Rows held out; with none of them, all epochs are trained.
    mean, scale : ndarray, float32 or float64, (P,)
        Segments are trained on as ``(x - mean) * scale``.
    slope, thresholds : ndarray, (P, n_skills), (n_skills, K-1)
        Where to start.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = _Model(recipe, slope, thresholds)
        optimizer = torch.optim.AdamW(
            model.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
        )
        data = _Videos(rows, mean, scale)
        learned, judged = np.flatnonzero(~held), np.flatnonzero(held)
        best, best_epoch = model.copy(), 0
        best_loss = data.evaluate(model, judged) if len(judged) else np.inf
        for epoch in range(1, recipe.epochs + 1):
            for batch in torch.split(torch.randperm(len(learned)), recipe.batch_size):
                optimizer.zero_grad(set_to_none=True)
                loss, weight = data.loss(model, learned[batch.numpy()])
                (loss / weight.clamp_min(1e-12)).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            loss_now = data.evaluate(model, judged) if len(judged) else -float(epoch)
            if loss_now < best_loss:
                best, best_loss, best_epoch = model.copy(), loss_now, epoch
            elif epoch - best_epoch >= recipe.patience:
                break
        model.restore(best)
    return model.trained(best_epoch)


class _Model:
    """Queries, slopes and thresholds."""

    def __init__(self, recipe: Recipe, slope: Float32, thresholds: npt.NDArray[np.float64]) -> None:
        self.top = recipe.top
        self.query_of_skill = torch.tensor(recipe.query_of_skill)
        n_queries = max(recipe.query_of_skill) + 1
        # All segments count the same at first: the model is then the mean's.
        self.query = torch.zeros((len(slope), n_queries), requires_grad=True)
        self.slope = torch.tensor(slope, requires_grad=True)
        self.output = CumulativeOutput(thresholds)

    def parameters(self) -> list[Tensor]:
        """All that is trained."""
        return [self.query, self.slope, *self.output.parameters()]

    def copy(self) -> list[Tensor]:
        """Values of the parameters now."""
        return [each.detach().clone() for each in self.parameters()]

    def restore(self, values: list[Tensor]) -> None:
        """Take back what :meth:`copy` gave."""
        with torch.no_grad():
            for parameter, value in zip(self.parameters(), values, strict=True):
                parameter.copy_(value)

    def latent(self, segments: Tensor, video: Tensor, lengths: Tensor) -> Tensor:
        """Scores (n, n_skills) of n videos; ``video`` (total,) says whose each segment is."""
        if self.top:
            return self._top_mean(segments @ self.slope, video, lengths)
        # One product reads the segments once for both.
        both = segments @ torch.cat([self.slope, self.query], dim=1)
        scores, weights = both[:, : self.slope.shape[1]], both[:, self.slope.shape[1] :]
        index = video[:, None].expand_as(weights)
        highest = weights.new_full((len(lengths), weights.shape[1]), -torch.inf)
        highest = highest.scatter_reduce(0, index, weights.detach(), "amax")
        weights = torch.exp(weights - highest[video])
        total = weights.new_zeros((len(lengths), weights.shape[1])).index_add(0, video, weights)
        of_skill = self.query_of_skill
        zeros = scores.new_zeros((len(lengths), scores.shape[1]))
        pooled: Tensor = zeros.index_add(0, video, weights[:, of_skill] * scores)
        return pooled / total[:, of_skill]

    def _top_mean(self, scores: Tensor, video: Tensor, lengths: Tensor) -> Tensor:
        # Scores are padded, segments never: a missing one is never among the highest.
        place = torch.arange(len(scores)) - (lengths.cumsum(0) - lengths)[video]
        table = scores.new_full((len(lengths), int(lengths.max()), scores.shape[1]), -torch.inf)
        table = table.index_put((video, place), scores)
        count = min(self.top, table.shape[1])
        highest = table.topk(count, dim=1).values
        real = torch.arange(count)[None, :] < lengths[:, None]
        kept = torch.where(real[:, :, None], highest, 0.0).sum(dim=1)
        return kept / lengths.clamp_max(count)[:, None]

    def trained(self, best_epoch: int) -> Trained:
        """As NumPy arrays."""
        return Trained(
            query=self.query.detach().numpy().copy(),
            slope=self.slope.detach().numpy().copy(),
            thresholds=self.output.thresholds().detach().double().numpy(),
            best_epoch=best_epoch,
        )


class _Videos:
    """Segments as stored, standardised batch by batch."""

    def __init__(self, rows: TrainingRows, mean: Array, scale: Array) -> None:
        features: RaggedFeatures = rows.X
        self.values = torch.from_numpy(features.values)
        self.starts, self.lengths = features.offsets[:-1], features.lengths
        self.mean, self.scale = torch.from_numpy(mean), torch.from_numpy(scale)
        self.levels = torch.from_numpy(np.maximum(rows.levels, 0))
        self.weights = torch.from_numpy(rows.cells.astype(np.float32))

    def loss(self, model: _Model, videos: npt.NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Weighted sum of the losses of some videos' labels, and of the weights."""
        lengths = torch.from_numpy(self.lengths[videos])
        video = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        first = torch.from_numpy(self.starts[videos]) - (lengths.cumsum(0) - lengths)
        segments = self.values[first[video] + torch.arange(len(video))].to(self.mean.dtype)
        segments = segments.sub_(self.mean).mul_(self.scale).float()
        latent = model.latent(segments, video, lengths)
        weights = self.weights[videos]
        per_label = model.output.loss(latent, self.levels[videos])
        return (per_label * weights).sum(), weights.sum()

    def evaluate(self, model: _Model, videos: npt.NDArray[np.int64]) -> float:
        """Weighted mean loss."""
        total = weight = 0.0
        with torch.no_grad():
            for start in range(0, len(videos), 512):
                loss, share = self.loss(model, videos[start : start + 512])
                total += float(loss)
                weight += float(share)
        return total / weight if weight else 0.0
