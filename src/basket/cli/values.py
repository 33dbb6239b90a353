"""Values of options that are written together, taken apart: NAME=VALUE, I/N."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from basket.errors import UsageError


def whole_number(option: str, text: str, *words: str) -> int:
    """A whole number; ``words`` are what else the option takes."""
    try:
        return int(text)
    except ValueError:
        allowed = " or ".join([*map(repr, words), "a whole number"])
        raise UsageError(f"{option} must be {allowed}, got {text!r}") from None


def listed(texts: Sequence[str]) -> list[str]:
    """What commas separate, of every text of an option that may be repeated.

    >>> listed(["pooled,layers:-4, -3", "xclip=prompts"])
    ['pooled', 'layers:-4', '-3', 'xclip=prompts']
    """
    return [part.strip() for text in texts for part in text.split(",")]


def weights_by_model(pairs: Sequence[str]) -> dict[str, str]:
    """``NAME=DIR`` pairs; a bare ``DIR`` goes under the empty name: the only model there is."""
    weights: dict[str, str] = {}
    for pair in pairs:
        name, equals, folder = pair.partition("=")
        if not equals:
            name, folder = "", pair
        if name in weights:
            raise UsageError(f"--weights is given twice for {name or 'the only model'}")
        weights[name] = folder
    return weights


def part_of(text: str | None) -> tuple[int, int] | None:
    """``I/N``: the part and the number of parts."""
    if text is None:
        return None
    index, slash, parts = text.partition("/")
    if not slash:
        raise UsageError(f"--shard takes I/N, for example 0/4; got {text!r}")
    return whole_number("--shard", index), whole_number("--shard", parts)


def settings_of(pairs: Sequence[str]) -> dict[str, Any]:
    """``key=value`` pairs; values are read as YAML: numbers, true, false, lists, words."""
    import yaml

    from basket.heads.parameters import ParameterLoader

    settings = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(f"--set takes KEY=VALUE, for example learning_rate=0.01; got {pair!r}")
        try:
            settings[key] = yaml.load(value, ParameterLoader)  # noqa: S506 - derived from SafeLoader
        except yaml.YAMLError:
            raise UsageError(f"--set {pair}: {value!r} is not a value") from None
    return settings


def named_files(option: str, pairs: Sequence[str]) -> dict[str, Path]:
    """``NAME=CSV`` pairs; a bare file is called by its stem."""
    files = {}
    for pair in pairs:
        name, equals, file = pair.partition("=")
        path = Path(file if equals else pair)
        name = name if equals else path.stem
        if name in files:
            raise UsageError(f"{option} names {name!r} twice; write {option} NAME=CSV")
        files[name] = path
    return files
