"""A sweep's YAML specification, read so that every mistake is told with its line."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from basket.errors import UsageError
from basket.heads.parameters import ParameterLoader
from basket.heads.subsets import parse_subset
from basket.heads.table import check_parameters
from basket.registry import nearest
from basket.sweep.setting import ALL_SEGMENTS, taken
from basket.sweep.space import (
    SEARCHES,
    Choices,
    HeadSpace,
    Range,
    Search,
    Space,
    check_head,
    check_metric,
    check_names,
    check_pool,
)

_KEYS = ("features", "pool", "segments", "heads", "seeds", "search", "metric")
_SEARCH_KEYS = ("kind", "budget", "factor", "rungs", "seed")
_RANGE_KEYS = ("low", "high", "log", "integer")


@dataclass(frozen=True)
class _Node:
    """A YAML value, and where it stands."""

    value: Any
    line: int
    origin: str

    def fail(self, message: str) -> UsageError:
        return UsageError(f"{self.origin} line {self.line}: {message}")

    @property
    def plain(self) -> Any:
        """The value without its places."""
        if isinstance(self.value, dict):
            return {key: node.plain for key, (_, node) in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain for node in self.value]
        return self.value

    def items(self, known: tuple[str, ...] | None = None) -> dict[str, _Node]:
        """The entries of a mapping, whose keys must be among ``known``."""
        if not isinstance(self.value, dict):
            raise self.fail(f"expected 'key: value' lines here, got {self.plain!r}")
        for key, (place, _) in self.value.items():
            if known is not None and key not in known:
                hint = nearest(str(key), list(known))
                raise place.fail(f"unknown key {key!r}{hint or '.'} Known: {', '.join(known)}")
        return {key: node for key, (_, node) in self.value.items()}

    def entries(self) -> list[_Node]:
        """The entries of a list; a single value is a list of one."""
        nodes: list[_Node] = self.value if isinstance(self.value, list) else [self]
        if not nodes:
            raise self.fail("this list is empty; give at least one value or leave the key out")
        return nodes

    def checked(self, check: Callable[[Any], object]) -> Any:
        """The plain value, if ``check`` raises nothing; its complaint gets the line."""
        try:
            check(self.plain)
        except UsageError as error:
            raise self.fail(str(error)) from None
        return self.plain

    def text(self) -> str:
        if not isinstance(self.value, str):
            raise self.fail(f"expected a name, got {self.plain!r}")
        return self.value

    def whole(self, *, at_least: int) -> int:
        if isinstance(self.value, bool) or not isinstance(self.value, int) or self.value < at_least:
            raise self.fail(f"expected a whole number, at least {at_least}; got {self.plain!r}")
        return self.value


def parse_spec(text: str, *, origin: str) -> Space:
    """Parse a specification.

    Parameters
    ----------
    text : str
        YAML.
    origin : str
        What messages call it.

    Raises
    ------
    UsageError
        With the line of the mistake.
    """
    root = _load(text, origin)
    given = root.items(_KEYS)
    space = Space(
        features=_features(given["features"]) if "features" in given else ((),),
        pools=_axis(given.get("pool"), ("mean+std",), check_pool),
        segments=_axis(given.get("segments"), (ALL_SEGMENTS,), _check_segments),
        heads=tuple(map(_head, given["heads"].entries())) if "heads" in given else Space().heads,
        seeds=given["seeds"].whole(at_least=1) if "seeds" in given else 1,
        search=_search(given["search"]) if "search" in given else Search(),
        metric=given["metric"].checked(check_metric) if "metric" in given else Space().metric,
    )
    if space.search.kind == "grid":
        try:
            space.grid()
        except UsageError as error:
            raise given.get("heads", root).fail(str(error)) from None
    return space


def _features(node: _Node) -> tuple[tuple[str, ...], ...]:
    return tuple(
        tuple(name.text() for name in choice.entries())
        if isinstance(choice.value, list)
        else (choice.text(),)
        for choice in node.entries()
    )


def _axis(
    node: _Node | None, default: tuple[str, ...], check: Callable[[str], object]
) -> tuple[str, ...]:
    if node is None:
        return default
    values = []
    for entry in node.entries():
        entry.text()
        values.append(entry.checked(check))
    return tuple(dict.fromkeys(values))


def _check_segments(text: str) -> None:
    if text != ALL_SEGMENTS:
        parse_subset(text)


def _head(node: _Node) -> HeadSpace:
    if isinstance(node.value, str):
        return HeadSpace(node.checked(check_head))
    given = node.items()
    if "head" not in given:
        raise node.fail("which head? expected 'head: NAME' among these lines")
    head = given.pop("head")
    head.text()
    name = head.checked(check_head)
    for parameter, values in given.items():
        place = node.value[parameter][0]
        try:
            check_names(name, [parameter])
        except UsageError as error:
            raise place.fail(str(error)) from None
        if isinstance(values.value, list) and not values.value:
            raise values.fail(f"{parameter} has no values to try")
    return HeadSpace(name, {key: _choices(name, key, values) for key, values in given.items()})


def _choices(head: str, parameter: str, node: _Node) -> Choices:
    def refuse(*values: Any) -> None:
        for value in values:
            check_parameters(head, taken({parameter: value}))

    if isinstance(node.value, dict) and parameter != "class_weight":
        found = _range(node)
        node.checked(lambda _: refuse(*found.ends))
        return found
    # What is wrong with values together (a loss and a link) is told where they are fitted.
    return tuple(entry.checked(refuse) for entry in node.entries())


def _range(node: _Node) -> Range:
    given = {key: value.plain for key, value in node.items(_RANGE_KEYS).items()}
    try:
        low, high = float(given["low"]), float(given["high"])
    except (KeyError, TypeError, ValueError):
        raise node.fail(
            "a range needs numbers low and high, and may have log and integer"
        ) from None
    flags = [given.get(name, False) for name in ("log", "integer")]
    if not all(isinstance(flag, bool) for flag in flags):
        raise node.fail(f"a range needs true or false for log and integer, got {node.plain!r}")
    found = Range(low, high, *flags)
    if not low < high < math.inf or low == -math.inf or (found.log and low <= 0):
        raise node.fail(f"a range needs low < high (and low > 0 with log), got {low} and {high}")
    if found.integer and (low, high) != (round(low), round(high)):
        raise node.fail(f"a range needs whole ends with integer, got {low} and {high}")
    return found


def _search(node: _Node) -> Search:
    if isinstance(node.value, str):
        given: Mapping[str, _Node] = {"kind": node}
    else:
        given = node.items(_SEARCH_KEYS)
    kind = given["kind"].text() if "kind" in given else "grid"
    if kind not in SEARCHES:
        hint = nearest(kind, list(SEARCHES))
        raise given["kind"].fail(
            f"unknown search {kind!r}{hint or '.'} Known: {', '.join(SEARCHES)}"
        )
    budget = given["budget"].whole(at_least=1) if "budget" in given else None
    if budget is None and kind in ("random", "optuna"):
        raise node.fail(f"{kind} search needs a budget: how many configurations may it try?")
    return Search(
        kind=kind,
        budget=budget,
        factor=given["factor"].whole(at_least=2) if "factor" in given else 3,
        rungs=given["rungs"].whole(at_least=1) if "rungs" in given else 2,
        seed=given["seed"].whole(at_least=0) if "seed" in given else 0,
    )


def _load(text: str, origin: str) -> _Node:
    try:
        root = yaml.compose(text, Loader=ParameterLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UsageError(f"{origin} line {line}: this is not YAML: {error.problem}") from None
    except yaml.YAMLError as error:
        raise UsageError(f"{origin} is not YAML: {error}") from None
    if root is None:
        raise UsageError(f"{origin} is empty; expected keys among {', '.join(_KEYS)}")
    return _located(root, ParameterLoader(""), origin)


def _located(node: yaml.Node, loader: ParameterLoader, origin: str) -> _Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        entries: dict[Any, tuple[_Node, _Node]] = {}
        for key_node, value_node in node.value:
            key = _located(key_node, loader, origin)
            if not isinstance(key.value, str):
                raise key.fail(f"expected a name before the colon, got {key.plain!r}")
            if key.value in entries:
                raise key.fail(f"{key.value!r} stands here a second time; keep one of them")
            entries[key.value] = (key, _located(value_node, loader, origin))
        return _Node(entries, line, origin)
    if isinstance(node, yaml.SequenceNode):
        return _Node([_located(each, loader, origin) for each in node.value], line, origin)
    return _Node(loader.construct_object(node), line, origin)
