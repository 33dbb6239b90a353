"""Which backbones there are: families of code, known checkpoints, and what users call them."""

from __future__ import annotations

from basket.errors import UsageError
from basket.extract.backbones.checkpoints import ENTRIES, Checkpoint
from basket.registry import Registry, nearest

__all__ = ["ALIASES", "BACKBONES", "CATALOGUE", "Checkpoint", "resolve"]

#: Family to its loader, ``load(checkpoint, *, weights, revision, device, precision, streams)``.
#: Other packages add theirs in the entry-point group ``basket.backbones``.
BACKBONES = Registry(
    "backbone family",
    "basket.backbones",
    {
        "clip": "basket.extract.backbones.clip:load",
        "dinov2": "basket.extract.backbones.dinov2:load",
        "motion": "basket.extract.backbones.motion:load",
        "siglip2": "basket.extract.backbones.siglip2:load",
        "timesformer": "basket.extract.backbones.timesformer:load",
        "videomae": "basket.extract.backbones.videomae:load",
        "vivit": "basket.extract.backbones.vivit:load",
        "vjepa2": "basket.extract.backbones.vjepa2:load",
        "xclip": "basket.extract.backbones.xclip:load",
    },
)

#: Name to checkpoint, in the order in which they are listed.
CATALOGUE: dict[str, Checkpoint] = {entry.name: entry for entry in ENTRIES}

#: Short names.
ALIASES = {
    "videomae": "videomae/base-k400",
    "xclip": "xclip/base-patch32",
    "vjepa2": "vjepa2/large",
    "timesformer": "timesformer/base-k400",
    "vivit": "vivit/base-k400",
    "clip": "clip/large-patch14",
    "siglip2": "siglip2/base",
    "dinov2": "dinov2/base",
}


def resolve(name: str) -> Checkpoint:
    """Find a checkpoint by what a user typed.

    Parameters
    ----------
    name : str
        A catalogue name, an alias, or a family (with or without ``/variant``) that another
        package registered.

    Raises
    ------
    UsageError
        Unknown; the message suggests the nearest name.

    Examples
    --------
    >>> resolve("videomae").repo
    'MCG-NJU/videomae-base-finetuned-kinetics'
    """
    full = ALIASES.get(name, name)
    if full in CATALOGUE:
        return CATALOGUE[full]
    family = name.partition("/")[0]
    ours = {entry.family for entry in ENTRIES}
    if family in BACKBONES and family not in ours:
        return Checkpoint(name=name, family=family)
    known = [*ALIASES, *CATALOGUE, *(key for key in BACKBONES if key not in ours)]
    # A family without weights has no alias: its name is all there is to it.
    short = dict.fromkeys([*(entry.name for entry in ENTRIES if "/" not in entry.name), *ALIASES])
    hint = nearest(name, known) or f"; known are {', '.join(short)}."
    raise UsageError(f"unknown model {name!r}{hint} All of them: basket models")
