"""What a sweep may try: axes, their values, and the settings they make."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from basket.errors import NotThereError, UsageError
from basket.heads.pooling import parse_poolings
from basket.heads.table import HEADS
from basket.metrics import CONFUSION_METRICS
from basket.registry import nearest
from basket.sweep.setting import ALL_SEGMENTS, Setting, make_setting, parameters_of

SEARCHES = ("grid", "random", "halving", "optuna")


@dataclass(frozen=True)
class Range:
    """Numbers between two ends, for random search.

    Parameters
    ----------
    low, high : float
        Both included.
    log : bool
        Draw the logarithm evenly.
    integer : bool
        Whole numbers.
    """

    low: float
    high: float
    log: bool = False
    integer: bool = False

    @property
    def ends(self) -> tuple[float | int, float | int]:
        """The least and the greatest number that is drawn."""
        return (round(self.low), round(self.high)) if self.integer else (self.low, self.high)

    @property
    def n_values(self) -> float:
        """How many different numbers there are to draw; infinity where they are not whole."""
        return self.high - self.low + 1 if self.integer else math.inf

    def draw(self, random: np.random.Generator) -> float | int:
        """One number."""
        # A whole number stands for everything that is rounded to it, at the ends too.
        half = 0.5 if self.integer else 0.0
        low, high = self.low - half, self.high + half
        if self.log:
            value = math.exp(random.uniform(math.log(low), math.log(high)))
        else:
            value = random.uniform(low, high)
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else float(f"{value:.6g}")


Choices = tuple[Any, ...] | Range


@dataclass(frozen=True)
class HeadSpace:
    """One head and the values of its parameters."""

    head: str
    params: Mapping[str, Choices] = field(default_factory=dict)


@dataclass(frozen=True)
class Search:
    """How the space is walked.

    Parameters
    ----------
    kind : {"grid", "random", "halving", "optuna"}
    budget : int, optional
        Configurations to try (seeds not counted); all of a grid, if not given.
    factor : int
        Successive halving keeps one in ``factor`` and gives it ``factor`` times the resource.
    rungs : int
        How often it does.
    seed : int
        Of random draws.
    """

    kind: str = "grid"
    budget: int | None = None
    factor: int = 3
    rungs: int = 2
    seed: int = 0


@dataclass(frozen=True)
class Space:
    """Everything a sweep may try.

    Parameters
    ----------
    features : tuple of tuple of str
        Each choice is one feature set or several side by side; empty: the only one in the cache.
    pools, segments : tuple of str
    heads : tuple of HeadSpace
    seeds : int
        Fits of each configuration.
    search : Search
    metric : str
        What is selected for, on validation.
    """

    features: tuple[tuple[str, ...], ...] = ((),)
    pools: tuple[str, ...] = ("mean+std",)
    segments: tuple[str, ...] = (ALL_SEGMENTS,)
    heads: tuple[HeadSpace, ...] = (HeadSpace("ridge"),)
    seeds: int = 1
    search: Search = field(default_factory=Search)
    metric: str = "accuracy"

    def grid(self) -> list[Setting]:
        """Every configuration, seed 0; a range is an error, as a grid has no end there.

        Raises
        ------
        UsageError
            A parameter is a range.
        """
        found: dict[Setting, None] = {}
        for space in self.heads:
            for name, values in space.params.items():
                if isinstance(values, Range):
                    raise UsageError(
                        f"{space.head}.{name} is a range, and a grid needs a list; write a list, "
                        "or search: {kind: random, budget: N}"
                    )
            names = list(space.params)
            options = [space.params[name] for name in names]
            for features, pool, segments in itertools.product(
                self.features, self.pools, self.segments
            ):
                for values in itertools.product(*options):  # type: ignore[arg-type]
                    given = dict(zip(names, values, strict=True))
                    found[make_setting(features, pool, segments, space.head, given)] = None
        return list(found)

    def draw(self, random: np.random.Generator) -> Setting:
        """One configuration at random, seed 0."""

        def one_of(values: Sequence[Any]) -> Any:
            return values[int(random.integers(len(values)))]

        space = one_of(self.heads)
        given = {
            name: values.draw(random) if isinstance(values, Range) else one_of(values)
            for name, values in space.params.items()
        }
        return make_setting(
            one_of(self.features), one_of(self.pools), one_of(self.segments), space.head, given
        )

    def sample(self, n: int, *, seed: int) -> list[Setting]:
        """Up to n different configurations at random: the first n are the same for every larger n.

        Fewer than n where the space has no more.
        """
        random = np.random.default_rng(seed)
        found: dict[Setting, None] = {}
        n = int(min(n, self._size()))
        for _ in range(50 * n):
            if len(found) == n:
                break
            found[self.draw(random)] = None
        return list(found)

    def _size(self) -> float:
        """No fewer configurations than there are; infinitely many with a range of real numbers."""
        sizes = [
            math.prod(
                values.n_values if isinstance(values, Range) else len(values)
                for values in head.params.values()
            )
            for head in self.heads
        ]
        return sum(sizes) * len(self.features) * len(self.pools) * len(self.segments)

    def with_seeds(self, settings: Sequence[Setting]) -> list[Setting]:
        """Each configuration with every seed; once where the head draws nothing at random."""
        return [each for setting in settings for each in seeds_of(setting, self.seeds)]

    def to_json(self) -> dict[str, Any]:
        """Plain values, for the record."""

        def plain(values: Choices) -> Any:
            return vars(values) if isinstance(values, Range) else list(values)

        return {
            "features": [list(names) for names in self.features],
            "pool": list(self.pools),
            "segments": list(self.segments),
            "heads": [
                {"head": each.head, **{name: plain(v) for name, v in each.params.items()}}
                for each in self.heads
            ],
            "seeds": self.seeds,
            "search": vars(self.search),
            "metric": self.metric,
        }


def seeds_of(setting: Setting, n_seeds: int) -> Iterator[Setting]:
    """The same configuration with each seed."""
    n = n_seeds if "seed" in parameters_of(setting.head) else 1
    return (replace(setting, seed=seed) for seed in range(n))


def read_space(path: str | Path) -> Space:
    """Read a YAML specification; see ``docs/sweeps.md``.

    Raises
    ------
    UsageError
        With the line of the mistake.
    """
    from basket.sweep.spec import parse_spec

    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise NotThereError(
            f"There is no specification {path}; name a YAML file, or use flags such as --head"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The specification {path} cannot be read: {error}") from None
    return parse_spec(text, origin=str(path))


def space_from_flags(
    *,
    features: Sequence[str] = (),
    pools: Sequence[str] = (),
    segments: Sequence[str] = (),
    heads: Sequence[str] = (),
    settings: Sequence[str] = (),
    seeds: int = 1,
    search: str = "grid",
    budget: int | None = None,
    metric: str = "accuracy",
) -> Space:
    """The space that flags of the command line describe.

    Parameters
    ----------
    features, pools, segments, heads : sequence of str
        Values of the axes; several feature sets side by side are joined by ``+``.
    settings : sequence of str
        ``HEAD.KEY=V1,V2`` or ``HEAD.KEY=[...]``: values of one parameter.
    seeds, search, budget, metric
        See :class:`Space` and :class:`Search`.

    Raises
    ------
    UsageError
        As :func:`read_space`, naming the flag.
    """
    from basket.sweep.spec import parse_spec

    params: dict[str, dict[str, str]] = {head: {} for head in heads or ("ridge",)}
    for pair in settings:
        name, equals, values = pair.partition("=")
        head, dot, key = name.partition(".")
        if not (equals and dot and head in params):
            known = ", ".join(params)
            raise UsageError(f"--set takes HEAD.KEY=V1,V2 for a head among {known}; got {pair!r}")
        params[head][key] = values if values.startswith(("[", "{")) else f"[{values}]"
    lines = [f"pool: {json.dumps(list(pools) or ['mean+std'])}"]
    if features:
        lines.append(f"features: {json.dumps([name.split('+') for name in features])}")
    if segments:
        lines.append(f"segments: {json.dumps(list(segments))}")
    lines.append("heads:")
    for head, given in params.items():
        lines.append(f"  - head: {json.dumps(head)}")
        lines += [f"    {key}: {values}" for key, values in given.items()]
    limit = "" if budget is None else f", budget: {budget}"
    lines += [f"seeds: {seeds}", f"search: {{kind: {search}{limit}}}", f"metric: {metric}"]
    return parse_spec("\n".join(lines), origin="the flags, as a specification,")


def check_names(head: str, names: Sequence[str]) -> None:
    """Raise UsageError for a parameter the head does not have."""
    known = [name for name in parameters_of(head) if name not in ("n_levels", "seed", "threads")]
    for name in names:
        if name not in known:
            hint = nearest(name, known)
            raise UsageError(
                f"head {head!r} has no parameter {name!r} to try{hint or '.'} Known: "
                f"{', '.join(known)}"
            )


def check_pool(text: str) -> None:
    """Raise UsageError for a pooling that does not exist."""
    if "/" in text:
        raise UsageError(f"{text!r} names a subset of segments; put that under segments instead")
    parse_poolings(text, len(text.split(",")))


def check_metric(name: str) -> None:
    """Raise UsageError for a metric nothing can be selected by."""
    if name not in CONFUSION_METRICS:
        raise UsageError(
            f"cannot select by {name!r}{nearest(name, list(CONFUSION_METRICS)) or '.'} Known: "
            f"{', '.join(CONFUSION_METRICS)}"
        )


def check_head(name: str) -> None:
    """Raise UsageError for a head that does not exist."""
    _ = HEADS[name]
