"""Which feature sets and streams a head reads: by name when fitting, by identity afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from basket.cache import FeatureCache, FeatureSet
from basket.errors import CacheError, UsageError
from basket.heads.persist import Run


def sources_by_name(cache: FeatureCache, names: Sequence[str] = ()) -> list[tuple[FeatureSet, str]]:
    """Feature sets and streams by ``NAME`` or ``NAME:STREAM``; without names, the only one.

    Raises
    ------
    UsageError
        No such feature set or stream, or no name where there are several.
    """
    if not names:
        known = cache.feature_sets
        if not known:
            raise UsageError(
                f"The cache {cache.path} has no feature sets; run basket extract first"
            )
        if len(known) > 1:
            raise UsageError(
                f"The cache {cache.path} has {len(known)} feature sets; choose with --features: "
                f"{', '.join(known)}"
            )
        names = known
    sources = []
    for name in names:
        wanted, _, stream = name.partition(":")
        feature_set = cache[wanted]
        streams = list(feature_set.spec.streams)
        stream = stream or ("pooled" if "pooled" in streams else streams[0])
        if stream not in streams:
            raise UsageError(
                f"Feature set {feature_set.name} has no stream {stream!r}; it has "
                f"{', '.join(streams)}"
            )
        sources.append((feature_set, stream))
    return sources


def sources_of_run(cache: FeatureCache, run: Run) -> list[tuple[FeatureSet, str]]:
    """The feature sets a run was fitted on, whatever they are called in this cache.

    Raises
    ------
    CacheError
        The cache has no features of that identity.
    """
    by_digest = {cache[name].spec.digest: cache[name] for name in cache.feature_sets}
    sources = []
    for wanted in run.feature_sets:
        if wanted.spec.digest not in by_digest:
            raise CacheError(
                f"The cache {cache.path} has no features of the identity that run {run.path} was "
                f"fitted on ({wanted.name}); extract them with the same model, weights and plan"
            )
        sources.append((by_digest[wanted.spec.digest], wanted.stream))
    return sources


def described(sources: Sequence[tuple[FeatureSet, str]]) -> list[dict[str, Any]]:
    """Name, stream and identity of each source, as runs keep them."""
    return [{"name": each.name, "stream": stream, "spec": each.spec} for each, stream in sources]
