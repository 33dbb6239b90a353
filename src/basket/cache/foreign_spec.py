"""What a user says of features from another extractor: the specification of an import."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.cache.fingerprint import FeatureSetSpec
from basket.cache.rows import fault_of_stream_name
from basket.errors import CacheError, NotThereError, UsageError
from basket.registry import nearest

FAMILY = "imported"

_KEYS = {
    "backbone", "extractor", "weights_sha256", "preprocessing", "plan", "streams", "columns",
    "id_suffix", "notes",
}  # fmt: skip
_PLAN_KEYS = {"name", "window_s", "stride_s", "starts_s"}

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ForeignSpec:
    """What the user says of features from elsewhere.

    Parameters
    ----------
    spec : FeatureSetSpec
        The identity.
    earlier : FeatureSetSpec
        The one that it had while the backbone was no part of it.
    window_s, stride_s : float
        Length of a segment and distance of starts, where the files do not tell the times.
    starts_s : tuple of float
        Explicit starts instead of a stride; empty where there is a stride.
    id_suffix : str
        Added to ids that do not end with it (``.mp4``), so that they match the labels'.
    """

    spec: FeatureSetSpec
    earlier: FeatureSetSpec
    window_s: float
    stride_s: float
    starts_s: tuple[float, ...] = ()
    id_suffix: str = ""

    def times(self, count: int) -> tuple[Float64, Float64]:
        """Starts and ends in seconds, float64, (count,), by the plan.

        Raises
        ------
        CacheError
            More segments than the plan has starts.
        """
        if self.starts_s:
            if count != len(self.starts_s):
                raise CacheError(
                    f"it has {count} segments, the plan lists {len(self.starts_s)} starts"
                )
            start = np.array(self.starts_s, dtype=np.float64)
        else:
            start = np.array(np.arange(count) * self.stride_s, dtype=np.float64)
        return start, start + self.window_s

    def video_id(self, name: str) -> str:
        """An id from a file's or a row's name."""
        return name if name.endswith(self.id_suffix) else name + self.id_suffix


def read_foreign_spec(path: str | Path) -> ForeignSpec:
    """Read a specification of features from elsewhere, YAML or JSON.

    ::

        backbone: slowfast/r50            # its name; part of the identity
        extractor: mmaction2 1.2, config slowfast_r50_8x8x1   # whatever tells them from others
        plan: {window_s: 2.0, stride_s: 2.0}                  # or starts_s: [0, 10, 20]
        streams: {pooled: 2304}           # widths
        id_suffix: .mp4                   # added to names without it
        preprocessing: {size: 256}        # optional, part of the identity
        weights_sha256: ""                # optional, part of the identity
        notes: {licence: Apache-2.0}      # optional, not part of the identity

    Raises
    ------
    UsageError
        No such file, not YAML, keys missing, unknown or of the wrong kind.
    """
    import yaml

    path = Path(path)
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotThereError(f"There is no specification {path}; --spec names a YAML file") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path} is no specification: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise UsageError(f"{path} must be a mapping with {', '.join(sorted(_KEYS))}")
    return foreign_spec(document, origin=str(path))


def foreign_spec(document: Mapping[str, Any], *, origin: str = "the specification") -> ForeignSpec:
    """Make a specification from plain values; see :func:`read_foreign_spec`.

    Raises
    ------
    UsageError
        Keys missing, unknown or of the wrong kind.
    """
    _known(document, _KEYS, origin)
    missing = sorted({"backbone", "plan", "streams"} - document.keys())
    if missing:
        raise UsageError(f"{origin} lacks {', '.join(missing)}")
    plan = document["plan"]
    if not isinstance(plan, Mapping):
        raise UsageError(f"{origin}: plan must be a mapping, for example {{window_s: 2.0}}")
    _known(plan, _PLAN_KEYS, f"{origin}, plan")
    streams = _streams(document["streams"], origin)
    window_s = _positive(plan.get("window_s"), f"{origin}: plan.window_s")
    stride_s = _positive(plan.get("stride_s", window_s), f"{origin}: plan.stride_s")
    starts_s = plan.get("starts_s") or ()
    if not isinstance(starts_s, list | tuple):
        raise UsageError(f"{origin}: plan.starts_s must be a list of seconds")
    backbone = str(document["backbone"])
    earlier = FeatureSetSpec(
        family=FAMILY,
        backbone=backbone,
        weights_sha256=str(document.get("weights_sha256") or ""),
        preprocessing={
            "extractor": str(document.get("extractor") or ""),
            **dict(document.get("preprocessing") or {}),
        },
        plan={"name": "imported", "stride_s": stride_s, **plan, "window_s": window_s},
        streams=streams,
        columns={str(k): list(v) for k, v in (document.get("columns") or {}).items()},
        notes=dict(document.get("notes") or {}),
    )
    said = earlier.preprocessing
    named = [backbone, said["backbone"]] if "backbone" in said else backbone
    return ForeignSpec(
        replace(earlier, preprocessing={**said, "backbone": named}),
        earlier,
        window_s=window_s,
        stride_s=stride_s,
        starts_s=tuple(float(each) for each in starts_s),
        id_suffix=str(document.get("id_suffix") or ""),
    )


def _known(document: Mapping[str, Any], keys: set[str], origin: str) -> None:
    for key in document:
        if key not in keys:
            hint = nearest(str(key), sorted(keys))
            raise UsageError(f"{origin} has an unknown key {key!r}{hint or '.'} "
                             f"Known: {', '.join(sorted(keys))}")  # fmt: skip


def _streams(streams: Any, origin: str) -> dict[str, int]:
    if not isinstance(streams, Mapping) or not streams:
        raise UsageError(f"{origin}: streams must name widths, for example {{pooled: 768}}")
    for name, dim in streams.items():
        if fault := fault_of_stream_name(str(name)):
            raise UsageError(f"{origin}: {name!r} cannot be a stream: {fault}")
        if not isinstance(dim, int) or not 0 < dim <= 1 << 20:
            raise UsageError(f"{origin}: the width of {name!r} must be a whole number, got {dim!r}")
    return {str(name): dim for name, dim in streams.items()}


def _positive(value: Any, named: str) -> float:
    if not isinstance(value, int | float) or not 0 < value < 1e6:
        raise UsageError(f"{named} must be a number of seconds above 0, got {value!r}")
    return float(value)
