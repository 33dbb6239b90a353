"""One configuration of a sweep: features, pooling, head, parameters, seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from basket.heads.table import HEADS, parameter_names

ALL_SEGMENTS = "all"

#: What grows with training time, by head: the resource that successive halving deals out.
RESOURCES = ("epochs", "rounds")


@dataclass(frozen=True)
class Setting:
    """One configuration, ready to be fitted.

    Parameters
    ----------
    features : tuple of str
        ``NAME`` or ``NAME:STREAM``, side by side.
    pool, segments : str
        Terms, and which segments take part (``all``, ``every:2``).
    head : str
    params : str
        Parameters of the head as canonical JSON, so that settings can be compared and hashed.
    seed : int
    """

    features: tuple[str, ...]
    pool: str
    segments: str
    head: str
    params: str = "{}"
    seed: int = 0

    @property
    def pooling(self) -> str:
        """Terms and subset as :mod:`basket.heads.pooling` reads them."""
        if self.segments == ALL_SEGMENTS:
            return self.pool
        return ",".join(f"{part}/{self.segments}" for part in self.pool.split(","))

    @property
    def parameters(self) -> dict[str, Any]:
        """Parameters of the head."""
        values: dict[str, Any] = json.loads(self.params)
        return values

    @property
    def resource(self) -> str | None:
        """The parameter that successive halving may cut down, where the head has one."""
        return next((name for name in RESOURCES if name in parameters_of(self.head)), None)

    def with_parameters(self, **values: Any) -> Setting:
        """The same setting with some parameters changed."""
        return replace(self, params=_canonical({**self.parameters, **values}))

    def without_seed(self) -> Setting:
        """What all seeds of one configuration have in common."""
        return replace(self, seed=0)

    def axes(self) -> dict[str, str]:
        """Name of each axis and this setting's place on it, for tables."""
        return {
            "features": " + ".join(self.features),
            "pool": self.pool,
            "segments": self.segments,
            "head": self.head,
            **{
                f"{self.head}.{name}": value if isinstance(value, str) else json.dumps(value)
                for name, value in self.parameters.items()
            },
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` restores an equal setting."""
        return {
            "features": list(self.features),
            "pool": self.pool,
            "segments": self.segments,
            "head": self.head,
            "params": self.parameters,
            "seed": self.seed,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Setting:
        """Read back what :meth:`to_json` wrote."""
        return cls(
            **{
                **values,
                "features": tuple(values["features"]),
                "params": _canonical(values["params"]),
            }
        )


def make_setting(
    features: tuple[str, ...], pool: str, segments: str, head: str, params: Mapping[str, Any]
) -> Setting:
    """A setting with seed 0, in the one form that equal settings share."""
    pool = "segments" if HEADS[head].takes_segments else pool
    return Setting(features, pool, segments, head, _canonical(taken(params)))


def taken(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as heads take them: one penalty stands for a list of one candidate."""
    return {
        name: [value]
        if name == "penalties" and value is not None and not isinstance(value, list)
        else value
        for name, value in params.items()
    }


@cache
def parameters_of(head: str) -> tuple[str, ...]:
    """Names of a head's parameters."""
    return tuple(parameter_names(head))


def _canonical(params: Mapping[str, Any]) -> str:
    return json.dumps(dict(params), sort_keys=True, separators=(",", ":"))
