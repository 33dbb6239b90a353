"""Prompt banks: phrases of what playing well and badly looks like, per skill.

A model that compares video with text turns a bank into a stream of logits, one column per phrase.
The bank that comes with basket is ``prompts.yaml`` beside this file; users may bring their own::

    Steals:
      good:
        - a basketball player steals the ball from an opponent
      bad:
        - a basketball player lets an opponent dribble past
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import yaml

from basket.errors import LabelError, UsageError

#: In the order of the columns.
SIDES = ("good", "bad")


@dataclass(frozen=True)
class PromptBank:
    """Phrases per skill, checked.

    Parameters
    ----------
    prompts : mapping of str to mapping of {"good", "bad"} to tuple of str
        Skill name to phrases. "good" is what a viewer would call good play, whatever the polarity
        of the skill's levels.

    Examples
    --------
    >>> bank = PromptBank({"Steals": {"good": ("a player steals the ball",),
    ...                               "bad": ("a player is dribbled past",)}})
    >>> bank.columns
    ('Steals:good:0', 'Steals:bad:0')
    """

    prompts: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def texts(self) -> tuple[str, ...]:
        """All phrases, in the order of :attr:`columns`."""
        return tuple(
            text for sides in self.prompts.values() for side in SIDES for text in sides[side]
        )

    @property
    def columns(self) -> tuple[str, ...]:
        """A name per phrase: ``<skill>:<side>:<position>``."""
        return tuple(
            f"{skill}:{side}:{position}"
            for skill, sides in self.prompts.items()
            for side in SIDES
            for position in range(len(sides[side]))
        )

    @property
    def sha256(self) -> str:
        """SHA-256 over columns and phrases in their order, 64 hex digits."""
        canonical = json.dumps(list(zip(self.columns, self.texts, strict=True)))
        return hashlib.sha256(canonical.encode()).hexdigest()


@cache
def default_bank() -> PromptBank:
    """The bank for the 20 skills of BASKET that comes with basket."""
    resource = files("basket.dataset").joinpath("prompts.yaml")
    return _parse(resource.read_text(encoding="utf-8"), origin="basket's prompts.yaml")


def read_prompts(path: str | Path) -> PromptBank:
    """Read a bank of one's own.

    Parameters
    ----------
    path : str or Path
        A YAML file: skill, then ``good`` and ``bad``, then phrases.

    Raises
    ------
    UsageError
        There is no such file.
    LabelError
        Its content is no prompt bank.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the prompt bank {path} cannot be read ({error.strerror}); give a YAML file"
        ) from error
    except UnicodeDecodeError as error:
        raise LabelError(f"{path} is not UTF-8 text ({error.reason}); save it as UTF-8") from error
    return _parse(text, origin=str(path))


class _OnceLoader(yaml.SafeLoader):
    """A loader that refuses a key given twice, which YAML would silently answer with the last."""


def _mapping_once(loader: _OnceLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        key = loader.construct_object(key_node, deep=True)
        if isinstance(key, list | dict):
            raise yaml.constructor.ConstructorError(None, None, "a key is no plain text")
        if key in found:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} stands there twice", key_node.start_mark
            )
        found[key] = loader.construct_object(value_node, deep=True)
    return found


_OnceLoader.add_constructor("tag:yaml.org,2002:map", _mapping_once)


def _parse(text: str, *, origin: str) -> PromptBank:
    try:
        document = yaml.load(text, Loader=_OnceLoader)  # noqa: S506 - derived from SafeLoader
    except (yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise LabelError(f"{origin} cannot be read as YAML ({reason}); correct it") from error
    if not isinstance(document, dict) or not document:
        raise LabelError(f"{origin} is no prompt bank: expected skills with good and bad phrases")
    names = {skill: _skill_name(skill, origin) for skill in document}
    return PromptBank({names[skill]: _sides(skill, document[skill], origin) for skill in document})


def _skill_name(skill: object, origin: str) -> str:
    if not isinstance(skill, str) or not skill.strip() or ":" in skill:
        raise LabelError(
            f"{origin}: {skill!r} is no skill name; write text without a colon, in quotes where "
            "YAML would read a number or a date"
        )
    return skill


def _sides(skill: str, sides: object, origin: str) -> dict[str, tuple[str, ...]]:
    if not isinstance(sides, dict) or set(sides) != set(SIDES):
        has = ", ".join(map(str, sides)) if isinstance(sides, dict) else repr(sides)
        raise LabelError(
            f"{origin}: {skill} needs 'good' and 'bad' phrases and no more; it has {has}"
        )
    checked = {side: _phrases(f"{skill}, {side}", sides[side], origin) for side in SIDES}
    phrases = [phrase for side in SIDES for phrase in checked[side]]
    twice = next((phrase for phrase in phrases if phrases.count(phrase) > 1), None)
    if twice is not None:
        raise LabelError(f"{origin}: {skill} has the phrase {twice!r} twice; remove one")
    return checked


def _phrases(place: str, phrases: object, origin: str) -> tuple[str, ...]:
    fine = isinstance(phrases, list) and phrases
    if not fine or not all(isinstance(p, str) and p.strip() for p in cast("list[object]", phrases)):
        raise LabelError(f"{origin}: {place}: expected a list of phrases, got {phrases!r}")
    return tuple(" ".join(phrase.split()) for phrase in cast("list[str]", phrases))
