"""What a parameter of a head may be: the type its constructor is annotated with, within limits.

scikit-learn lets constructors check nothing, so parameters are checked where a head is made by its
name, and where it is fitted.
"""

from __future__ import annotations

import inspect
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

import yaml

from basket.errors import UsageError

_EXPONENT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+"

_LIMITS: dict[str, Callable[[Any, float], bool]] = {
    "above": operator.gt,
    "at_least": operator.ge,
    "below": operator.lt,
    "at_most": operator.le,
}

_ONE = {bool: "true or false", int: "a whole number", float: "a number", str: "a word"}
_MANY = {int: "whole numbers such as [1, 10]", float: "numbers such as [1, 10]", str: "words"}


class ParameterLoader(yaml.SafeLoader):
    """YAML in which 1e-3 is a number: YAML 1.1 reads a word, and everybody means the number."""


ParameterLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(f"{_EXPONENT}$"), list("-+.0123456789")
)


def check_types(kind: type, values: Mapping[str, Any]) -> None:
    """Refuse values that are not of the type a parameter is annotated with.

    Parameters
    ----------
    kind : type
        Class of the head.
    values : mapping
        Of parameters by their name; NumPy's scalars and arrays count as numbers and lists.

    Raises
    ------
    UsageError
        Which parameter, what was expected and what was given.

    Examples
    --------
    >>> from basket.heads.ridge import RidgeHead
    >>> check_types(RidgeHead, {"penalties": "1,10"})
    Traceback (most recent call last):
        ...
    basket.errors.UsageError: penalties must be a number or a list of numbers such as [1, 10], \
got '1,10'
    """
    hints = _hints(kind)
    for name, value in values.items():
        if name in hints and not _is_a(value, hints[name]):
            raise UsageError(f"{name} must be {_words(hints[name])}, got {value!r}")


def check_range(head: Any, *names: str, **limits: float) -> None:
    """Refuse numbers of a head that lie outside limits; a parameter that is None has no number.

    Parameters
    ----------
    head : SkillHead
    *names : str
        Its parameters.
    **limits : float
        ``above``, ``at_least``, ``below``, ``at_most``.

    Raises
    ------
    UsageError
        Which parameter, what was expected and what was given.
    """
    for name in names:
        value = getattr(head, name)
        if value is None or all(_LIMITS[each](value, limit) for each, limit in limits.items()):
            continue
        expected = " and ".join(
            f"{each.replace('_', ' ')} {limit}" for each, limit in limits.items()
        )
        raise UsageError(f"{name} must be {expected}, got {value!r}")


@cache
def _hints(kind: type) -> dict[str, Any]:
    """Annotation of each parameter; none where a head of another package hides its types."""
    try:
        parameters = inspect.signature(kind, eval_str=True).parameters
    except NameError:
        return {}
    return {name: each.annotation for name, each in parameters.items()}


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says; annotations that heads do not use say nothing."""
    value = value.tolist() if hasattr(value, "tolist") else value
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_is_a(value, each) for each in get_args(hint))
    if origin is Sequence:
        (item,) = get_args(hint)
        many = isinstance(value, Sequence) and not isinstance(value, str | bytes)
        return many and all(_is_a(each, item) for each in value)
    if origin is Mapping:
        item = get_args(hint)[1]
        return isinstance(value, Mapping) and all(_is_a(each, item) for each in value.values())
    if hint in (bool, str, NoneType):
        return isinstance(value, hint)
    if hint in (int, float):
        # True is 1 to Python, and a slip to a person.
        number = isinstance(value, Integral if hint is int else Real) and value is not True
        return number and value is not False and math.isfinite(value)
    return True


def _words(hint: Any) -> str:
    """What an annotation allows; that None is what a parameter is without a value goes unsaid."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_words(each) for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Sequence:
        return f"a list of {_MANY.get(get_args(hint)[0], 'values')}"
    if get_origin(hint) is Mapping:
        return "a number for each level"
    return _ONE.get(hint, str(hint))
