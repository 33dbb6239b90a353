"""What the outputs of a network mean: six losses, each with its way to probabilities.

Outputs and parameters may have leading dimensions (packed models); labels are shared by all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

Float = npt.NDArray[np.float64]

#: Stands for an infinite threshold: beyond it every sigmoid is exactly 0 or 1 in float32, and
#: unlike infinity it has a derivative.
_FAR = 1e4
#: Thresholds that are closer than this count as this far apart.
_NEAR = 1e-6


class Output(nn.Module, ABC):
    """Meaning of the last layer.

    Parameters
    ----------
    start : ndarray, float64, (..., n_skills, K-1)
        Marginal thresholds: where training starts.
    """

    def __init__(self, start: Float) -> None:
        super().__init__()
        self.n_levels = start.shape[-1] + 1

    @abstractmethod
    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Loss of each label, (..., n, n_skills), for levels (n, n_skills) that are not missing."""

    def derivatives(self, outputs: Tensor, levels: Tensor, weights: Tensor) -> list[Tensor]:
        """Derivatives of the weighted sum of the losses in the outputs, then in each parameter.

        Parameters
        ----------
        outputs : Tensor, (..., n, n_outputs)
            Not part of any other computation.
        levels : Tensor, int64, (n, n_skills)
            Not missing.
        weights : Tensor, (n, n_skills)
            Of the labels.
        """
        outputs = outputs.detach().requires_grad_()
        total = (self.loss(outputs, levels) * weights).sum()
        return list(torch.autograd.grad(total, [outputs, *self.parameters()]))

    def terms(self, levels: Tensor) -> Tensor | None:  # noqa: ARG002 - only corn asks
        """How many terms each label's loss sums, where the mean is over terms, (n, n_skills)."""
        return None

    def thresholds(self) -> Tensor | None:
        """(..., n_skills, K-1) where the output is one latent score per skill."""
        return None

    def _per_skill(self, outputs: Tensor, width: int) -> Tensor:
        return outputs.reshape(*outputs.shape[:-1], -1, width)


class CumulativeOutput(Output):
    """One score; K-1 rising thresholds: the first is free, each gap is a softplus."""

    def __init__(self, start: Float) -> None:
        super().__init__(start)
        gaps = np.maximum(np.diff(start, axis=-1), 1e-4)
        self.first = nn.Parameter(torch.tensor(start[..., :1], dtype=torch.float32))
        # log(exp(gap) - 1), the inverse of softplus.
        inverse = gaps + np.log(-np.expm1(-gaps))
        self.gaps = nn.Parameter(torch.tensor(inverse, dtype=torch.float32))

    def thresholds(self) -> Tensor:
        """Float32, (..., n_skills, K-1)."""
        rising = torch.cat([self.first, functional.softplus(self.gaps)], dim=-1)
        return rising.cumsum(dim=-1)

    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Negative log probability."""
        return cumulative_loss(outputs, self.thresholds(), levels)

    @torch.no_grad()
    def derivatives(self, outputs: Tensor, levels: Tensor, weights: Tensor) -> list[Tensor]:
        """By hand: most of what recording them would take goes into the value of the loss."""
        of_outputs, of_thresholds = cumulative_derivatives(
            outputs, self.thresholds(), levels, weights
        )
        # Each threshold is the first one plus the gaps up to it.
        of_rising = of_thresholds.flip(-1).cumsum(-1).flip(-1)
        return [of_outputs, of_rising[..., :1], of_rising[..., 1:] * torch.sigmoid(self.gaps)]


class CoralOutput(Output):
    """One score; K-1 free biases, K-1 binary log losses (Cao et al. 2020)."""

    def __init__(self, start: Float) -> None:
        super().__init__(start)
        self.cuts = nn.Parameter(torch.tensor(start, dtype=torch.float32))

    def thresholds(self) -> Tensor:
        """Minus the biases."""
        return self.cuts

    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Sum over the K-1 questions whether the level lies above k."""
        logits = outputs[..., None] - self.cuts[..., None, :, :]
        above = (levels[..., None] > torch.arange(self.n_levels - 1)).to(logits.dtype)
        return (functional.softplus(logits) - above * logits).sum(dim=-1)


class CornOutput(Output):
    """K-1 conditional logits: above k, for those at or above it (Shi et al. 2021)."""

    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Sum over the questions that are asked of the label."""
        logits = self._per_skill(outputs, self.n_levels - 1)
        cuts = torch.arange(self.n_levels - 1)
        above, asked = levels[..., None] > cuts, levels[..., None] >= cuts
        each = functional.softplus(logits) - above.to(logits.dtype) * logits
        return (each * asked).sum(dim=-1)

    def terms(self, levels: Tensor) -> Tensor:
        """The mean is over all questions asked, so rare ones do not weigh more."""
        return torch.clamp(levels + 1, max=self.n_levels - 1)


class SoftmaxOutput(Output):
    """K logits, cross-entropy: blind to the order of the levels."""

    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Negative log probability."""
        log_p = self._per_skill(outputs, self.n_levels).log_softmax(dim=-1)
        return -(log_p * functional.one_hot(levels, self.n_levels)).sum(dim=-1)


class SordOutput(SoftmaxOutput):
    """Cross-entropy with labels softened by squared distance (Diaz & Marathe 2019)."""

    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Cross-entropy with ``softmax(-(k - y)^2)``."""
        log_p = self._per_skill(outputs, self.n_levels).log_softmax(dim=-1)
        distance = torch.arange(self.n_levels) - levels[..., None]
        soft = torch.softmax(-(distance**2).to(log_p.dtype), dim=-1)
        return -(log_p * soft).sum(dim=-1)


class EmdOutput(SoftmaxOutput):
    """Squared earth mover's distance between distributions (Hou et al. 2016)."""

    def loss(self, outputs: Tensor, levels: Tensor) -> Tensor:
        """Sum of squared differences of the cumulated probabilities."""
        below = self._per_skill(outputs, self.n_levels).softmax(dim=-1).cumsum(dim=-1)[..., :-1]
        truth = (levels[..., None] <= torch.arange(self.n_levels - 1)).to(below.dtype)
        return ((below - truth) ** 2).sum(dim=-1)


#: Loss -> meaning of the outputs.
OUTPUTS: dict[str, type[Output]] = {
    "cumulative": CumulativeOutput,
    "ce": SoftmaxOutput,
    "coral": CoralOutput,
    "corn": CornOutput,
    "sord": SordOutput,
    "emd": EmdOutput,
}


def cumulative_loss(latent: Tensor, thresholds: Tensor, levels: Tensor) -> Tensor:
    """Stable negative log likelihood of the cumulative logit link; see :mod:`basket.heads.link`.

    Parameters
    ----------
    latent : Tensor, (..., n, n_skills)
        Latent scores.
    thresholds : Tensor, (..., n_skills, K-1)
        Rising.
    levels : Tensor, int64, (n, n_skills)
        ``0..K-1``.
    """
    end = thresholds.new_full((*thresholds.shape[:-1], 1), _FAR)
    padded = torch.cat([-end, thresholds, end], dim=-1)
    skills = torch.arange(thresholds.shape[-2]).expand_as(levels)
    upper_cut, lower_cut = padded[..., skills, levels + 1], padded[..., skills, levels]
    gap = (upper_cut - lower_cut).clamp_min(_NEAR)
    log_p = functional.logsigmoid(upper_cut - latent) + functional.logsigmoid(latent - lower_cut)
    return -(log_p + torch.log(-torch.expm1(-gap)))


def cumulative_derivatives(
    latent: Tensor, thresholds: Tensor, levels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Derivatives of the weighted sum of :func:`cumulative_loss`.

    Parameters
    ----------
    latent, thresholds, levels : Tensor
        As there.
    weights : Tensor, (n, n_skills)
        Of the labels.

    Returns
    -------
    of_latent : Tensor, (..., n, n_skills)
    of_thresholds : Tensor, (..., n_skills, K-1)
    """
    *leading, n_skills, n_cuts = thresholds.shape
    end = thresholds.new_full((*leading, n_skills, 1), _FAR)
    padded = torch.cat([-end, thresholds, end], dim=-1)
    # Where the lower cut of each label stands in all padded cuts; the upper one is next to it.
    place = (levels + torch.arange(n_skills) * (n_cuts + 2)).view(-1)
    cuts = padded.flatten(-2)
    lower = cuts.index_select(-1, place).view(latent.shape)
    upper = cuts.index_select(-1, place + 1).view(latent.shape)
    at_or_above_upper = upper.sub_(latent).neg_().sigmoid_().mul_(weights)
    below_lower = lower.sub_(latent).sigmoid_().mul_(weights)
    of_latent = at_or_above_upper - below_lower

    of_cuts = torch.zeros_like(cuts)
    index = place.expand(*leading, -1)
    of_cuts.scatter_add_(-1, index, below_lower.flatten(-2))
    of_cuts.scatter_add_(-1, index + 1, at_or_above_upper.neg_().flatten(-2))
    of_thresholds = of_cuts.view(padded.shape)[..., 1:-1]
    # The share of a level between two cuts grows with the gap, whatever the score is.
    per_level = weights.new_zeros(n_skills * (n_cuts + 2)).index_add_(0, place, weights.flatten())
    gap = thresholds.diff(dim=-1)
    odds = (gap > _NEAR) / torch.expm1(gap.clamp_min(_NEAR))
    widened = per_level.view(n_skills, -1)[:, 1:n_cuts] * odds
    of_thresholds[..., :-1] += widened
    of_thresholds[..., 1:] -= widened
    return of_latent, of_thresholds
