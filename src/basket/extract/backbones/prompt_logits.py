"""X-CLIP's comparison of a clip with a fixed list of phrases.

Its text embeddings are conditioned on the clip (the paper's video-specific prompting): logits
cannot be rebuilt from cached clip vectors, so they are computed here and cached as a stream.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Names of parameters that only logits depend on.
NEEDED = (
    "text_model.",
    "text_projection.",
    "prompts_generator.",
    "prompts_visual_layernorm.",
    "prompts_visual_projection",
    "logit_scale",
)


class PromptLogits:
    """Everything behind the video embedding, in float32 whatever the video side computes in.

    Parameters
    ----------
    model : transformers.XCLIPModel
        Loaded, in float32, on the CPU; left as it is.
    tokens : dict of str to torch.Tensor
        As :func:`.tokenize` returns them. Embedded once, here.
    device : torch.device
    """

    def __init__(self, model: Any, tokens: dict[str, torch.Tensor], device: torch.device) -> None:
        import torch

        with torch.inference_mode():
            texts = model.text_projection(model.text_model(**tokens)[1])
            self._scale = model.logit_scale.exp().to(device)
        self._texts = texts.to(device)
        # Copies: the caller casts the rest of the model to half precision.
        self._norm = copy.deepcopy(model.prompts_visual_layernorm).to(device)
        self._projection = model.prompts_visual_projection.detach().clone().to(device)
        self._generator = copy.deepcopy(model.prompts_generator).to(device)

    def __call__(self, patches: torch.Tensor, video: torch.Tensor) -> torch.Tensor:
        """Compare.

        Parameters
        ----------
        patches : torch.Tensor, (N, T, L, W)
            Patch tokens of the image tower, frame by frame.
        video : torch.Tensor, (N, D)
            The clip's embedding, not normalised.

        Returns
        -------
        torch.Tensor, float32, (N, P)
            ``logits_per_video`` of ``XCLIPModel``.
        """
        from torch.nn.functional import normalize

        # Projecting the mean over frames is the mean of the projections, for a T-th of the work.
        places = self._norm(patches.float()).mean(dim=1) @ self._projection
        texts = self._texts.expand(len(video), -1, -1)
        texts = normalize(texts + self._generator(texts, places), dim=-1)
        clips = normalize(video.float(), dim=-1)
        logits: torch.Tensor = (texts @ clips.unsqueeze(-1)).squeeze(-1) * self._scale
        return logits
