"""What a cache holds, in numbers: the data of ``basket cache ls`` and ``basket cache status``."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from basket.cache.feature_set import FeatureSet
from basket.cache.provenance import mixing_sentence, provenance_counts
from basket.cache.store import FeatureCache

__all__ = ["FeatureSetOverview", "cache_overview", "overview_of"]


@dataclass(frozen=True)
class FeatureSetOverview:
    """One feature set in numbers.

    Parameters
    ----------
    name, backbone, plan : str
    streams : mapping of str to int
        Width of each.
    done, failed : int
        Videos with features, and failed ones.
    segments : int
        Of the videos with features.
    missing : tuple of str or None
        Wanted ids that are neither; None where nobody said which are wanted.
    shards, size_bytes : int
    damaged : mapping of str to str
        Shards that cannot be used, and why.
    reasons : mapping of str to str
        Failed ids, with the reason.
    notes : mapping of str to str
        Ids with features of which a person should know something, and what.
    first_ns, last_ns : int
        When the first and last row was committed, in nanoseconds since 1970; 0 where empty.
    provenance : mapping
        Decoder, device, ... to value to videos.
    mixing : str
        A sentence where they are mixed, else empty.
    random_weights : bool
    """

    name: str
    backbone: str
    plan: str
    streams: Mapping[str, int]
    done: int
    failed: int
    segments: int
    missing: tuple[str, ...] | None
    shards: int
    size_bytes: int
    damaged: Mapping[str, str] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    first_ns: int = 0
    last_ns: int = 0
    provenance: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    mixing: str = ""
    random_weights: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "backbone": self.backbone,
            "plan": self.plan,
            "streams": dict(self.streams),
            "videos": {
                "done": self.done,
                "failed": self.failed,
                "missing": None if self.missing is None else len(self.missing),
            },
            "segments": self.segments,
            "missing": None if self.missing is None else list(self.missing),
            "failed": dict(self.reasons),
            "notes": dict(self.notes),
            "shards": self.shards,
            "size_bytes": self.size_bytes,
            "damaged": dict(self.damaged),
            "first_s": self.first_ns / 1e9,
            "last_s": self.last_ns / 1e9,
            "provenance": {name: dict(counts) for name, counts in self.provenance.items()},
            "mixing": self.mixing,
            "random_weights": self.random_weights,
        }


def overview_of(
    feature_set: FeatureSet, *, wanted: Collection[str] | None = None
) -> FeatureSetOverview:
    """Count what one feature set holds.

    Parameters
    ----------
    feature_set : FeatureSet
    wanted : collection of str, optional
        Ids that should be there, for example those of label files.

    Raises
    ------
    CacheError
        The folder cannot be read. Damage is no error here: it is told.
    """
    snapshot = feature_set.snapshot
    spec = feature_set.spec
    times = [
        time_ns
        for entry in snapshot.shards.values()
        for time_ns in entry.index.columns["committed_ns"]
    ]
    missing = None
    if wanted is not None:
        missing = tuple(name for name in dict.fromkeys(wanted) if name not in snapshot.current)
    return FeatureSetOverview(
        name=feature_set.name,
        backbone=spec.backbone,
        plan=str(spec.plan.get("name", "plan")),
        streams=dict(spec.streams),
        done=len(snapshot.ok),
        failed=len(snapshot.failed),
        segments=int(snapshot.spans(snapshot.ok)[:, 2].sum()),
        missing=missing,
        shards=len(snapshot.shards),
        size_bytes=sum(entry.stamp.size_bytes for entry in snapshot.shards.values()),
        damaged=dict(snapshot.damaged),
        reasons=dict(snapshot.failed),
        notes=dict(snapshot.notes),
        first_ns=min(times, default=0),
        last_ns=max(times, default=0),
        provenance=provenance_counts(feature_set),
        mixing=mixing_sentence(feature_set),
        random_weights=spec.random_weights,
    )


def cache_overview(
    cache: FeatureCache, *, wanted: Collection[str] | None = None
) -> tuple[FeatureSetOverview, ...]:
    """Count what every feature set of a cache holds; see :func:`overview_of`."""
    return tuple(overview_of(cache[name], wanted=wanted) for name in cache.feature_sets)
