"""What users ask for (``layers:-4,-3``, ``tubelets``) to the names of streams."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from basket.errors import UsageError
from basket.registry import nearest

_LAYER = re.compile(r"layer(-\d+)")
_TUBELET = re.compile(r"tubelet(\d+)")


def streams_for(requested: Sequence[str], models: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Sort out ``--streams`` where several models run together.

    Parameters
    ----------
    requested : sequence of str
        Each entry is for all models (``pooled``) or for one (``xclip=prompts``). An entry that
        begins with a minus sign is the rest of the one before it, which a comma has split off
        (``videomae=layers:-4``, ``-3``).
    models : sequence of str
        As the user named them.

    Returns
    -------
    dict of str to tuple of str
        For every model what :func:`expand_streams` takes; ``("pooled",)`` where nothing was asked.

    Raises
    ------
    UsageError
        A name before ``=`` that is not among the models.

    Examples
    --------
    >>> streams_for(["pooled", "xclip=prompts"], ["videomae", "xclip"])
    {'videomae': ('pooled',), 'xclip': ('pooled', 'prompts')}
    """
    asked: dict[str, list[str]] = {model: [] for model in models}
    meant: Sequence[str] = models
    for entry in requested:
        name, equals, stream = entry.partition("=")
        if equals and name not in asked:
            raise UsageError(
                f"--streams {entry!r} is for {name!r}, which is not among the models "
                f"({', '.join(models)}){nearest(name, list(models))}"
            )
        if not entry.startswith("-"):
            meant = [name] if equals else models
        for model in meant:
            asked[model].append(stream if equals else entry)
    return {model: tuple(streams) or ("pooled",) for model, streams in asked.items()}


def expand_streams(
    requested: Sequence[str],
    *,
    model: str,
    layers: int = 0,
    time_steps: int = 0,
    others: Sequence[str] = (),
) -> tuple[str, ...]:
    """Expand a request to stream names, in the order asked for, each once.

    Parameters
    ----------
    requested : sequence of str
        ``pooled``; ``layer-1`` (the last) and so on, or ``layers:-4,-3``, also when the comma has
        already split it into ``layers:-4`` and ``-3``; ``tubelet0`` and so on, or ``tubelets``.
    model : str
        For messages.
    layers, time_steps : int
        How many of each the model has; 0 where it offers none.
    others : sequence of str
        Streams of its own that it offers beside these (``prompts``).

    Raises
    ------
    UsageError
        An unknown stream, or a layer or time step that the model does not have.

    Examples
    --------
    >>> expand_streams(["pooled", "layers:-2", "-1"], model="m", layers=12)
    ('pooled', 'layer-2', 'layer-1')
    >>> expand_streams(["tubelets"], model="m", time_steps=2)
    ('tubelet0', 'tubelet1')
    """
    names: list[str] = []
    in_layers = False
    for asked in requested:
        in_layers = asked.startswith("layers:") or (in_layers and asked.startswith("-"))
        if in_layers:
            names += [f"layer{index}" for index in asked.removeprefix("layers:").split(",")]
        elif asked == "tubelets":
            names += [f"tubelet{step}" for step in range(time_steps)] or [asked]
        else:
            names.append(asked)
    for name in names:
        _check(name, model, layers, time_steps, others)
    if not names:
        raise UsageError(f"no stream was asked of {model}; ask for 'pooled'")
    return tuple(dict.fromkeys(names))


def refuse_left_out(requested: Sequence[str], given: Collection[str], *, model: str) -> None:
    """Refuse a backbone that passed over a stream it was asked for, as a third party's may.

    Parameters
    ----------
    requested : sequence of str
        As for :func:`expand_streams`.
    given : collection of str
        Names of the streams it has.
    model : str
        For messages.

    Raises
    ------
    UsageError
    """
    kinds = {"layers": layer_index, "tubelets": tubelet_index}
    for asked in requested:
        kind = kinds.get(asked.partition(":")[0])
        there = asked in given or (
            kind is not None and any(kind(name) is not None for name in given)
        )
        if not there and not asked.startswith("-"):  # the rest of a list of layers
            offers = ", ".join(map(repr, given))
            raise UsageError(f"{model} has no stream {asked!r}; it offers {offers}")


def layer_index(name: str) -> int | None:
    """-4 for ``layer-4``; None for streams of another kind."""
    found = _LAYER.fullmatch(name)
    return int(found.group(1)) if found else None


def tubelet_index(name: str) -> int | None:
    """3 for ``tubelet3``; None for streams of another kind."""
    found = _TUBELET.fullmatch(name)
    return int(found.group(1)) if found else None


def _check(name: str, model: str, layers: int, time_steps: int, others: Sequence[str]) -> None:
    layer, step = layer_index(name), tubelet_index(name)
    if name == "pooled" or name in others:
        return
    if layer is not None and -layers <= layer <= -1:
        return
    if step is not None and step < time_steps:
        return
    offers = ["'pooled'"]
    if layers:
        offers.append(f"'layer-1' (the last) to 'layer-{layers}'")
    if time_steps:
        offers.append(f"'tubelet0' to 'tubelet{time_steps - 1}'")
    offers += [repr(other) for other in others]
    raise UsageError(f"{model} has no stream {name!r}; it offers {', '.join(offers)}")
