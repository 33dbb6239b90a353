"""How features came about without being part of their identity: said, counted, and warned about.

Decoders, devices and precisions give slightly different numbers for the same clip. That is no other
identity (a cache may be continued on another machine), but a person should know of it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from basket.cache.feature_set import FeatureSet
from basket.cache.manifest import sha256_of
from basket.cache.rows import DECODING_RULES, SOURCE_SHA256

__all__ = [
    "DECODING_RULES",
    "SOURCE_SHA256",
    "TELLING",
    "content_hash",
    "mixing_sentence",
    "provenance_counts",
]

#: What changes the numbers a little when it changes. Mixing these is worth a sentence.
TELLING = ("decoder", "decoder_version", "device", "precision")


def provenance_counts(feature_set: FeatureSet) -> dict[str, dict[str, int]]:
    """How many videos with features came about by which decoder, device and so on.

    Returns
    -------
    dict
        Field to value to number of videos, most frequent first; only fields that are recorded.

    Raises
    ------
    CacheError
        The feature set cannot be read.
    """
    snapshot = feature_set.snapshot
    texts: Counter[str] = Counter(
        snapshot.index(place).columns["provenance"][place.position]
        for place in snapshot.ok.values()
    )
    counts: dict[str, Counter[str]] = {}
    for text, count in texts.items():
        parsed = json.loads(text)
        for field in (*TELLING, "basket_version", "host", "extractor"):
            if field in parsed:
                counts.setdefault(field, Counter())[str(parsed[field])] += count
    return {field: dict(values.most_common()) for field, values in counts.items()}


def mixing_sentence(feature_set: FeatureSet, coming: Mapping[str, Any] | None = None) -> str:
    """Say that a feature set mixes decoders, devices or precisions, or is about to.

    Parameters
    ----------
    feature_set : FeatureSet
    coming : mapping, optional
        The provenance of what is about to be added.

    Returns
    -------
    str
        One sentence, to be said once; empty where nothing is mixed.
    """
    counts = provenance_counts(feature_set)
    if not counts:
        return ""
    mixed = []
    for field in TELLING:
        values = dict(counts.get(field, {}))
        if coming and field in coming and values:
            values.setdefault(str(coming[field]), 0)
        if len(values) > 1:
            said = ", ".join(
                f"{value} ({count or 'from now on'})" for value, count in values.items()
            )
            mixed.append(f"{field.replace('_', ' ')} {said}")
    if not mixed:
        return ""
    return (
        f"{feature_set.name} mixes videos extracted in different ways, which changes features "
        f"slightly: {'; '.join(mixed)}. They are kept together; to keep them apart, use another "
        "cache"
    )


def content_hash(path: str | Path) -> str:
    """SHA-256 of a source file, to be recorded as ``provenance["source_sha256"]``.

    Raises
    ------
    OSError
        It cannot be read.
    """
    return sha256_of(Path(path))
