"""What every family's loader does first and last: find the checkpoint, write its specification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from basket.extract.backbones.base import BackboneSpec
from basket.extract.backbones.catalogue import Checkpoint
from basket.extract.backbones.network import resolve_device
from basket.extract.backbones.preprocessing import Preprocessing
from basket.extract.backbones.streams import expand_streams
from basket.extract.backbones.tensors import StoredTensor, digest_tensors, index_tensors
from basket.extract.backbones.weights import CheckpointFolder, locate, require_model_type

if TYPE_CHECKING:
    import torch

    from basket.dataset.prompts import PromptBank


class LoadOptions(TypedDict, total=False):
    """Keyword arguments of a family's ``load``; :func:`.load_backbone` says what they mean.

    ``prompts`` and ``compile`` are passed only to loaders that were asked for them.
    """

    weights: str | Path | None
    revision: str | None
    untrained: bool
    device: str
    precision: str
    streams: Sequence[str]
    prompts: PromptBank
    compile: bool


@dataclass(frozen=True)
class OpenCheckpoint:
    """A located checkpoint of the right architecture, and how it is to be run.

    Parameters
    ----------
    family : str
    folder : CheckpointFolder
    tensors : mapping of str to StoredTensor
        By the names in the files.
    device : torch.device
    dtype : torch.dtype
        What the network computes in.
    requested : tuple of str
        Streams as asked for.
    compiled : bool
        Run the network's blocks through ``torch.compile``.
    """

    family: str
    folder: CheckpointFolder
    tensors: Mapping[str, StoredTensor]
    device: torch.device
    dtype: torch.dtype
    requested: tuple[str, ...]
    compiled: bool

    def streams(
        self, *, layers: int = 0, time_steps: int = 0, others: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Names of the requested streams; see :func:`.expand_streams`."""
        return expand_streams(
            self.requested,
            model=self.folder.name,
            layers=layers,
            time_steps=time_steps,
            others=others,
        )

    def spec(
        self,
        *,
        frames: int,
        preprocessing: Preprocessing,
        streams: Mapping[str, int],
        pooling: str,
        network: Mapping[str, Any],
        tflop_per_clip: float,
        **more: Any,
    ) -> BackboneSpec:
        """The specification of the loaded network.

        Parameters
        ----------
        frames : int
            T.
        preprocessing : Preprocessing
        streams : mapping of str to int
        pooling : str
            From what comes out of the network to ``pooled``, in words.
        network : mapping
            Configuration values that change the numbers without changing the weights.
        tflop_per_clip : float
        **more
            Further fields of :class:`~basket.extract.backbones.base.BackboneSpec`.
        """
        return BackboneSpec(
            family=self.family,
            name=self.folder.name,
            frames=frames,
            geometry=preprocessing.geometry,
            streams=dict(streams),
            preprocessing={
                **preprocessing.to_json(),
                "pooling": pooling,
                "network": {name: _plain(value) for name, value in network.items()},
            },
            weights_sha256=digest_tensors(self.tensors),
            checkpoint=self.folder.origin,
            revision=self.folder.revision,
            licence=self.folder.licence,
            random_weights=self.folder.random_weights,
            tflop_per_clip=tflop_per_clip,
            **more,
        )

    def run_options(self, spec: BackboneSpec, preprocessing: Preprocessing) -> dict[str, Any]:
        """Arguments of :class:`~basket.extract.backbones.network.NetworkBackbone`."""
        return {
            "spec": spec,
            "preprocessing": preprocessing,
            "device": self.device,
            "dtype": self.dtype,
            "compiled": self.compiled,
        }


def open_checkpoint(
    checkpoint: Checkpoint,
    family: str,
    options: LoadOptions,
    *,
    model_types: tuple[str, ...] = (),
    text: bool = False,
) -> OpenCheckpoint:
    """Find a checkpoint's files and check that they are of the family's architecture.

    Parameters
    ----------
    checkpoint : Checkpoint
    family : str
    options : LoadOptions
    model_types : tuple of str
        What ``model_type`` in config.json may be; by default the family's name.
    text : bool, default=False
        Tokenizer files are needed too.

    Raises
    ------
    UsageError
        The device or the precision is impossible here.
    WeightsError
        Missing, damaged or of another architecture.
    """
    device, dtype = resolve_device(options.get("device", "cpu"), options.get("precision", "fp32"))
    folder = locate(
        checkpoint,
        weights=options.get("weights"),
        revision=options.get("revision"),
        text=text,
        untrained=options.get("untrained", False),
    )
    require_model_type(folder, family, model_types or (family,))
    return OpenCheckpoint(
        family=family,
        folder=folder,
        tensors=index_tensors(folder.weight_files),
        device=device,
        dtype=dtype,
        requested=tuple(options.get("streams", ("pooled",))),
        compiled=options.get("compile", False),
    )


def acting_values(config: Any, *names: str) -> dict[str, Any]:
    """Values of a configuration that change the numbers without changing the weights."""
    return {name: getattr(config, name) for name in names}


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value
