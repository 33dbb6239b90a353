"""How to load the backbones of an extraction, in plain values: any process can be told."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from basket.dataset.prompts import PromptBank
    from basket.extract.backbones.base import Backbone, BackboneSpec, Clips, Streams


@dataclass(frozen=True)
class BackboneRecipe:
    """Backbones that are not loaded yet.

    Parameters
    ----------
    models : tuple of str
        Names; :func:`.load_backbone` says which there are.
    weights : mapping of str to path or str
        Model name to a checkpoint, where it is not the model's own.
    revision : str, optional
        Of the checkpoints on the hub.
    untrained : bool
        The weights were never trained; they are let in and labelled random.
    streams : mapping of str to sequence of str
        Model name to what it is to return; ``pooled`` unless given.
    prompts : PromptBank, optional
    device, precision : str
        As torch names them.
    """

    models: tuple[str, ...]
    weights: Mapping[str, str | Path] = field(default_factory=dict)
    revision: str | None = None
    untrained: bool = False
    streams: Mapping[str, Sequence[str]] = field(default_factory=dict)
    prompts: PromptBank | None = None
    device: str = "cpu"
    precision: str = "fp32"

    def on(self, device: str) -> BackboneRecipe:
        """The same on another device."""
        return replace(self, device=device)

    def load(self) -> list[Backbone]:
        """Load them, in the order of ``models``.

        Raises
        ------
        UsageError, WeightsError
            As :func:`.load_backbone`.
        """
        from basket.extract.backbones import BACKBONES, load_backbone

        for name in self.models:
            BACKBONES.admit(name)  # a recipe holds what was typed, and is never read from a file
        return [
            load_backbone(
                name,
                weights=self.weights.get(name),
                revision=self.revision,
                untrained=self.untrained,
                device=self.device,
                precision=self.precision,
                streams=self.streams.get(name, ("pooled",)),
                prompts=self.prompts,
            )
            for name in self.models
        ]


@dataclass(frozen=True)
class SpecOnly:
    """Stands for a backbone that is loaded in another process: all that planning needs of it."""

    spec: BackboneSpec

    def embed(self, clips: Clips) -> Streams:  # noqa: ARG002 - what a backbone takes
        """Refuse: there is no network in this process.

        Raises
        ------
        RuntimeError
            Always.
        """
        raise RuntimeError(f"{self.spec.name} is loaded in another process")


def tell_random(specs: Sequence[BackboneSpec], say: Callable[[str], None]) -> None:
    """Say which backbones have random weights: their features carry no training."""
    for spec in specs:
        if spec.random_weights:
            say(f"{spec.name} has random weights: its features carry no training")
