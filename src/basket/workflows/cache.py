"""The composed calls behind ``basket cache``: what is there, is it whole, in and out of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from basket.dataset import N_LEVELS
from basket.errors import UsageError
from basket.notebook import html_table
from basket.workflows.common import (
    DEFAULT_CACHE,
    PathLike,
    Tell,
    listed_videos,
    one_or_several,
    unheard,
)

if TYPE_CHECKING:
    from basket.cache import FeatureCache, FeatureSet
    from basket.cache.exchange import ExportReport
    from basket.cache.foreign import ImportReport
    from basket.cache.overview import FeatureSetOverview
    from basket.cache.packing import PackReport
    from basket.cache.repairs import RepairReport
    from basket.cache.verification import VerifyReport


def open_cache(path: PathLike = DEFAULT_CACHE, *, create: bool = False) -> FeatureCache:
    """Open a feature cache; see :func:`basket.cache.open_cache`."""
    from basket.cache import open_cache as open_it

    return open_it(path, create=create)


@dataclass(frozen=True)
class CacheOverview:
    """Every feature set of a cache in numbers.

    Parameters
    ----------
    path : Path
    wanted : int or None
        Videos in the label files, where some were given.
    feature_sets : tuple of FeatureSetOverview
    """

    path: Path
    wanted: int | None
    feature_sets: tuple[FeatureSetOverview, ...]

    def __repr__(self) -> str:
        return f"CacheOverview({str(self.path)!r}: {', '.join(e.name for e in self.feature_sets)})"

    def _repr_html_(self) -> str:
        columns = ("feature set", "done", "failed", "missing", "segments", "MB")
        rows = [
            (
                each.name,
                each.done,
                each.failed,
                None if each.missing is None else len(each.missing),
                each.segments,
                each.size_bytes / 1e6,
            )
            for each in self.feature_sets
        ]
        notes = [
            f"{each.name} has random weights: its features carry no training"
            for each in self.feature_sets
            if each.random_weights
        ]
        return html_table(f"Feature sets of {self.path}", columns, rows, notes=notes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "cache": str(self.path),
            "wanted": self.wanted,
            "feature_sets": [each.to_json() for each in self.feature_sets],
        }


@one_or_several("names", "labels")
def list_cache(
    cache: PathLike = DEFAULT_CACHE,
    *,
    names: Sequence[str] = (),
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    n_levels: int = N_LEVELS,
) -> CacheOverview:
    """Count what a cache holds: videos done, failed and missing, sizes, by what and when.

    Parameters
    ----------
    cache : path
    names : sequence of str
        Feature sets; all by default.
    labels : sequence of path
        Label files whose videos should be there; without them nobody knows what is missing.
    video_root : path, optional
        Folder that absolute paths in label files are under.
    n_levels : int, default=5

    Raises
    ------
    BasketError
        In one sentence. Damage is no error here: it is told.
    """
    from basket.cache import overview_of

    opened = open_cache(cache)
    wanted = listed_videos(labels, video_root=video_root, n_levels=n_levels) if labels else None
    return CacheOverview(
        path=Path(cache),
        wanted=None if wanted is None else len(wanted),
        feature_sets=tuple(overview_of(each, wanted=wanted) for each in _chosen(opened, names)),
    )


@one_or_several("names")
def verify_cache(
    cache: PathLike = DEFAULT_CACHE,
    *,
    names: Sequence[str] = (),
    deep: bool = False,
    tell: Tell = unheard,
) -> list[VerifyReport]:
    """Check feature sets and change nothing; see :func:`basket.cache.verification.verify`.

    Raises
    ------
    BasketError
        In one sentence. What is wrong with the features is in the reports.
    """
    from basket.cache import verify

    return [verify(each, deep=deep, tell=tell) for each in _chosen(open_cache(cache), names)]


@one_or_several("names")
def repair_cache(
    cache: PathLike = DEFAULT_CACHE, *, names: Sequence[str] = (), tell: Tell = unheard
) -> list[RepairReport]:
    """Set damage aside and write manifests anew; see :func:`basket.cache.repairs.repair`.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.cache import repair

    return [repair(each, tell=tell) for each in _chosen(open_cache(cache), names)]


@one_or_several("names")
def pack_cache(
    cache: PathLike = DEFAULT_CACHE,
    *,
    names: Sequence[str] = (),
    target_bytes: int = 256 << 20,
    delete: bool = False,
    tell: Tell = unheard,
) -> list[PackReport]:
    """Merge small shards into large ones; see :func:`basket.cache.packing.pack`.

    Raises
    ------
    BasketError
        In one sentence.
    """
    from basket.cache import pack

    return [
        pack(each, target_bytes=target_bytes, delete=delete, tell=tell)
        for each in _chosen(open_cache(cache), names)
    ]


@one_or_several("streams", "labels")
def export_features(
    name: str,
    out: PathLike,
    *,
    cache: PathLike = DEFAULT_CACHE,
    format: str = "",  # noqa: A002 - what the option is called
    streams: Sequence[str] = (),
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    n_levels: int = N_LEVELS,
    tell: Tell = unheard,
) -> ExportReport:
    """Write features for other programs; see :func:`basket.cache.exchange.export`.

    Parameters
    ----------
    name : str
        Feature set, or a unique beginning of its name.
    out : path
    cache : path
    format : str
        ``parquet``, ``npz`` or ``npy`` where the name of ``out`` does not say it.
    streams : sequence of str
        All by default.
    labels : sequence of path
        Only the videos of these label files, as far as they have features.
    video_root : path, optional
    n_levels : int, default=5
    tell : callable

    Raises
    ------
    BasketError
        In one sentence; also where there would be nothing in the export. Videos of the label files
        that have no features are in the report.
    """
    from basket.cache import export

    feature_set = open_cache(cache)[name]
    ids = list(feature_set.video_ids)
    if not ids:
        raise UsageError(f"{feature_set.name} has no features to export; run basket extract")
    left_out: dict[str, str] = {}
    if labels:
        wanted = listed_videos(labels, video_root=video_root, n_levels=n_levels)
        left_out = _without_features(feature_set, wanted)
        ids = [each for each in wanted if each not in left_out]
        if not ids:
            raise UsageError(_nothing_to_export(feature_set, labels, left_out))
    report = export(feature_set, out, format=format, streams=streams, video_ids=ids, tell=tell)
    return replace(report, left_out=left_out)


def import_features(
    source: PathLike,
    *,
    spec: PathLike | Mapping[str, Any],
    cache: PathLike = DEFAULT_CACHE,
    tell: Tell = unheard,
) -> ImportReport:
    """Take features of another extractor in; see :func:`basket.cache.foreign.import_features`.

    Parameters
    ----------
    source : path
    spec : path or mapping
        The specification, as a YAML or JSON file or as plain values.
    cache : path
        Made when missing.
    tell : callable

    Raises
    ------
    BasketError
        In one sentence. Videos that cannot be taken are in the report.
    """
    from basket.cache import import_features as import_them
    from basket.cache import read_foreign_spec
    from basket.cache.foreign_spec import foreign_spec

    parsed = foreign_spec(spec) if isinstance(spec, Mapping) else read_foreign_spec(spec)
    if not Path(source).exists():
        raise UsageError(f"there is no file or folder {source}")
    return import_them(source, open_cache(cache, create=True), parsed, tell=tell)


def _chosen(cache: FeatureCache, names: Sequence[str]) -> Iterator[FeatureSet]:
    """The named feature sets, opened one after the other; all where none is named."""
    for name in names or cache.feature_sets:
        yield cache[name]


def _without_features(feature_set: FeatureSet, wanted: Sequence[str]) -> dict[str, str]:
    """Those of some videos that cannot be exported, and why."""
    present, failed = set(feature_set.video_ids), feature_set.failed
    return {
        each: f"failed: {failed[each]}" if each in failed else "not extracted"
        for each in wanted
        if each not in present
    }


def _nothing_to_export(
    feature_set: FeatureSet, labels: Sequence[PathLike], left_out: Mapping[str, str]
) -> str:
    video_id, reason = next(iter(left_out.items()))
    return (
        f"none of the {len(left_out)} videos of {', '.join(map(str, labels))} has features in "
        f"{feature_set.name}, for example {video_id}: {reason}; check that features and labels "
        "belong together"
    )
