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
    gap = (upper_cut - lower_cut).clamp_min(1e-6)
    log_p = functional.logsigmoid(upper_cut - latent) + functional.logsigmoid(latent - lower_cut)
    return -(log_p + torch.log(-torch.expm1(-gap)))
