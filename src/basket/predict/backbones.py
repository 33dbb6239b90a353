"""The very backbones that a run was fitted on, or a sentence that says what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from basket.dataset.prompts import PromptBank, default_bank
from basket.errors import IdentityError, NotThereError, UsageError, WeightsError
from basket.extract.backbones import CATALOGUE, Backbone, load_backbone, weights_by_model
from basket.extract.planning import feature_set_spec
from basket.extract.segments import SegmentPlan
from basket.heads.persist import Run, RunFeatures


def backbones_of_run(
    run: Run,
    *,
    weights: Mapping[str, str | Path] | None = None,
    device: str = "cpu",
    precision: str = "fp32",
    prompts: PromptBank | None = None,
) -> list[Backbone]:
    """Load the backbone of each of a run's feature sets, checked against its identity.

    Parameters
    ----------
    run : Run
    weights : mapping of str to path or str, optional
        Backbone name (or family) to a checkpoint, where the recorded one is not at hand. The empty
        name is the only network.
    device, precision : str
    prompts : PromptBank, optional
        The phrases that the stream ``prompts`` was made with, where they were the user's own.

    Raises
    ------
    WeightsError
        A checkpoint is not at hand; says which, and how to give it.
    IdentityError
        A checkpoint is not the one that the run was fitted on.
    UsageError
        A prompt bank is needed and not given, or a family is not installed here.
    """
    specs = {each.spec.digest: each for each in run.feature_sets}
    networks = list(
        dict.fromkeys(each.spec.backbone for each in run.feature_sets if each.spec.weights_sha256)
    )
    families = {each.spec.family: each.spec.backbone for each in run.feature_sets}
    named = {families.get(name, name): where for name, where in (weights or {}).items()}
    given = weights_by_model(named, networks)
    loaded = {
        digest: _load(each, given, device=device, precision=precision, run=run, prompts=prompts)
        for digest, each in specs.items()
    }
    return [loaded[each.spec.digest] for each in run.feature_sets]


def _load(
    wanted: RunFeatures,
    weights: Mapping[str, str | Path],
    *,
    device: str,
    precision: str,
    run: Run,
    prompts: PromptBank | None,
) -> Backbone:
    spec = wanted.spec
    known = spec.backbone in CATALOGUE
    checkpoint = weights.get(spec.backbone)
    if checkpoint is None and not known:
        checkpoint = spec.notes.get("checkpoint") or None
    try:
        backbone = load_backbone(
            spec.backbone if known else spec.family,
            weights=checkpoint,
            revision=spec.notes.get("revision") or None if checkpoint is None else None,
            untrained=bool(spec.notes.get("random_weights")),
            device=device,
            precision=precision,
            streams=tuple(dict.fromkeys(stream.partition("@")[0] for stream in spec.streams)),
            prompts=_bank(spec.prompts_sha256, prompts, run),
        )
    except (NotThereError, WeightsError) as error:
        if isinstance(error, NotThereError) and spec.backbone in weights:
            raise  # what was named now, not what the run recorded
        recorded = spec.notes.get("checkpoint") or spec.backbone
        revision = spec.notes.get("revision")
        raise WeightsError(
            f"run {run.path} needs the weights of {spec.backbone} ({recorded}"
            f"{f' at revision {revision}' if revision else ''}), which are not at hand: {error}. "
            f"Give their folder: --weights {spec.backbone}=FOLDER"
        ) from error
    found = feature_set_spec(backbone.spec, SegmentPlan.from_json(spec.plan))
    if found.digest != spec.digest:
        other_weights = found.weights_sha256 != spec.weights_sha256
        advice = (
            "give the checkpoint of that run with --weights"
            if other_weights
            else "extract its videos again with this basket and fit anew, or predict with the "
            "basket that fitted it"
        )
        raise IdentityError(
            f"The features that {checkpoint or spec.backbone} gives are not those run {run.path} "
            f"was fitted on ({'; '.join(found.differences(spec))}); {advice}"
        )
    return backbone


def _bank(wanted_sha256: str, given: PromptBank | None, run: Run) -> PromptBank | None:
    """The bank whose hash the run recorded; None where its features hold no text scores."""
    if not wanted_sha256:
        return None
    for bank in (given, default_bank()):
        if bank is not None and bank.sha256 == wanted_sha256:
            return bank
    raise UsageError(
        f"run {run.path} was fitted on text scores of another prompt bank than "
        f"{'the one given' if given else 'basket' + chr(39) + 's own'}; give its YAML file with "
        "--prompts"
    )
