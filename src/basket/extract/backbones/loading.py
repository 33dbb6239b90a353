"""One call from a model's name to a backbone ready to embed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from basket.errors import BasketError, UsageError, WeightsError
from basket.extract.backbones.base import Backbone
from basket.extract.backbones.batching import is_out_of_memory
from basket.extract.backbones.catalogue import BACKBONES, resolve
from basket.extract.backbones.streams import refuse_left_out
from basket.extract.device import spin_briefly
from basket.registry import nearest

if TYPE_CHECKING:
    from basket.dataset.prompts import PromptBank
    from basket.extract.backbones.opening import LoadOptions


def load_backbone(
    name: str,
    *,
    weights: str | Path | None = None,
    revision: str | None = None,
    untrained: bool = False,
    device: str = "cpu",
    precision: str = "fp32",
    streams: Sequence[str] = ("pooled",),
    prompts: PromptBank | None = None,
    compile: bool = False,  # noqa: A002 - torch's own name for it
) -> Backbone:
    """Load a backbone.

    Parameters
    ----------
    name : str
        A catalogue name (``videomae/large-k400``), an alias (``xclip``) or a registered family.
    weights : str or Path or None
        A folder in the Hugging Face format or a hub repository; None: the catalogue's own.
    revision : str or None
        Commit, branch or tag on the hub.
    untrained : bool, default=False
        The weights were never trained: they are let in for smoke tests, and labelled random.
    device : str, default="cpu"
        ``cpu``, ``cuda``, ``cuda:1`` or ``auto``. Ignored by ``motion``.
    precision : {"fp32", "bf16", "fp16", "auto"}
        Half precision on a GPU only.
    streams : sequence of str
        ``pooled``; networks also ``layers:-4,-3`` and ``tubelets`` (X-CLIP instead ``prompts``);
        ``motion`` also ``colour``.
    prompts : PromptBank or None
        Phrases for the stream ``prompts``; None: basket's own bank. Without effect on a model
        that is not asked for that stream.
    compile : bool, default=False
        Run the blocks of a network through ``torch.compile``: worth its first minute on a GPU.

    Raises
    ------
    UsageError
        An unknown name, device, precision or stream.
    WeightsError
        The weights are missing, damaged, incomplete or of another kind.
    BasketError
        They do not fit into the device's memory.

    Examples
    --------
    >>> load_backbone("motion", streams=("pooled", "colour")).spec.streams
    {'pooled': 459, 'colour': 36}
    """
    checkpoint = resolve(name)
    spin_briefly()
    options: LoadOptions = {
        "weights": weights,
        "revision": revision,
        "device": device,
        "precision": precision,
        "streams": tuple(streams),
    }
    # Only what was asked for: a third party's loader need not know these.
    if untrained and checkpoint.family != "motion":
        options["untrained"] = True
    if prompts is not None and "prompts" in streams:
        options["prompts"] = prompts
    if compile and checkpoint.family != "motion":
        options["compile"] = True
    loader = BACKBONES[checkpoint.family]
    try:
        backbone: Backbone = loader(checkpoint, **options)
    except (TypeError, ValueError, AttributeError, KeyError, IndexError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {error}"[:160]
        raise WeightsError(
            f"{weights or name} cannot be read as {checkpoint.family} ({reason}); a value in its "
            "config.json is missing or of another kind, copy the checkpoint's own files again"
        ) from error
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise BasketError(
            f"the weights of {name} do not fit into the free memory of {device}; free memory there "
            "(does another process hold it?), use a smaller model, or another --device"
        ) from error
    if tuple(streams) != ("pooled",):  # what it gives when nothing was said is its own affair
        refuse_left_out(streams, backbone.spec.streams, model=name)
    return backbone


def weights_by_model(
    weights: Mapping[str, str | Path], models: Sequence[str]
) -> dict[str, str | Path]:
    """Sort out ``--weights``: each checkpoint under the name of the model it is for.

    Parameters
    ----------
    weights : mapping of str to path or str
        Model name to checkpoint; the empty name means the only model.
    models : sequence of str
        The models that are loaded.

    Raises
    ------
    UsageError
        A name that is not among the models, or no name where there are several.

    Examples
    --------
    >>> weights_by_model({"": "/checkpoints/mine"}, ["videomae"])
    {'videomae': '/checkpoints/mine'}
    """
    named = dict(weights)
    if "" in named:
        if len(models) != 1:
            raise UsageError(
                f"--weights {named['']} does not say which of {', '.join(models) or 'no model'} it "
                "is for; write --weights NAME=FOLDER"
            )
        named[models[0]] = named.pop("")
    for name in named:
        if name not in models:
            raise UsageError(
                f"--weights is given for {name!r}, which is not among the models "
                f"({', '.join(models)}){nearest(name, list(models))}"
            )
    return named
