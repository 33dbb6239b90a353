"""What a person sees of ``basket cache``."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape

from basket.console.tables import plain_table, reasons_table
from basket.console.words import LISTED, counted, listed, size

if TYPE_CHECKING:
    from basket.cache.exchange import ExportReport
    from basket.cache.foreign import ImportReport
    from basket.cache.overview import FeatureSetOverview
    from basket.cache.packing import PackReport
    from basket.cache.repairs import RepairReport
    from basket.cache.verification import VerifyReport
    from basket.workflows.cache import CacheOverview


def cache_tables(found: CacheOverview) -> Iterator[RenderableType]:
    """Feature sets side by side, and what a person should know of each."""
    if not found.feature_sets:
        yield f"{escape(str(found.path))} has no feature sets yet; run basket extract"
        return
    table = plain_table(f"Feature sets of {escape(str(found.path))}", gap=1)
    table.add_column("name", overflow="fold", min_width=24)
    table.add_column("streams", overflow="fold")
    for column in ("done", "failed", "missing", "size"):
        table.add_column(column, justify="right", no_wrap=True)
    for each in found.feature_sets:
        table.add_row(
            escape(each.name),
            escape(", ".join(f"{name} {dim}" for name, dim in each.streams.items())),
            str(each.done),
            str(each.failed),
            "?" if each.missing is None else str(len(each.missing)),
            size(each.size_bytes),
        )
    yield table
    for each in found.feature_sets:
        by = f", by {escape(_by(each))}" if _by(each) else ""
        added = f"{counted(each.segments, 'segment')}, last added {_when(each.last_ns)}{by}"
        yield f"{escape(each.name)}: {added}"
    if found.wanted is not None:
        yield f"Missing counts the {counted(found.wanted, 'video')} of the label files."
    for each in found.feature_sets:
        yield from _warnings(each)


def status_tables(found: CacheOverview) -> Iterator[RenderableType]:
    """Each feature set at length: counts, provenance, failures and missing videos."""
    for each in found.feature_sets:
        yield f"[bold]{escape(each.name)}[/]  {escape(each.backbone)}, {escape(each.plan)} segments"
        yield (
            f"{counted(each.done, 'video')} done, {each.failed} failed, "
            f"{counted(each.segments, 'segment')}, {counted(each.shards, 'shard')}, "
            f"{size(each.size_bytes)}; first {_when(each.first_ns)}, last {_when(each.last_ns)}"
        )
        for name, counts in each.provenance.items():
            said = ", ".join(f"{value} ({count})" for value, count in counts.items())
            yield f"{name.replace('_', ' ')}: {escape(said)}"
        if each.missing:
            yield f"{len(each.missing)} missing: {escape(listed(each.missing))}"
        if each.reasons:
            yield reasons_table("Failed", each.reasons)
        if each.notes:
            title = f"{counted(len(each.notes), 'video')} with features, but look at these"
            yield reasons_table(title, each.notes)
        yield from _warnings(each)
        yield ""
    if not found.feature_sets:
        yield from cache_tables(found)


def verify_tables(reports: Sequence[VerifyReport]) -> Iterator[RenderableType]:
    """Whether each feature set is whole, and what is wrong where it is not."""
    for report in reports:
        how = "every value read" if report.deep else "bytes hashed, rows read"
        state = (
            f"[bold red]{counted(len(report.problems), 'problem')}[/]"
            if report.problems
            else "[green]intact[/]"
        )
        yield (
            f"{escape(report.feature_set)}: {state}; {counted(report.shards, 'shard')}, "
            f"{size(report.size_bytes)}, {counted(report.ok, 'video')} with features, "
            f"{report.failed} failed ({how})"
        )
        for problem in report.problems:
            hit = f" Videos: {escape(listed(problem.videos, 4))}" if problem.videos else ""
            yield f"  [red]{escape(problem.file)}[/]: {escape(problem.what)}.{hit}"
        for note in report.notes:
            yield f"  {escape(note)}"
    if any(report.problems for report in reports):
        yield "basket cache repair sets damage aside; basket extract then makes its videos again."
    if not reports:
        yield "There are no feature sets to verify."


def repair_tables(reports: Sequence[RepairReport]) -> Iterator[RenderableType]:
    """What was set aside, put back, and is to be extracted again."""
    for report in reports:
        parts = []
        if report.set_aside:
            parts.append(f"{counted(len(report.set_aside), 'damaged shard')} set aside")
        if report.restored:
            parts.append(f"{counted(len(report.restored), 'shard')} put back from before packing")
        if report.cleared:
            parts.append(f"{counted(report.cleared, 'abandoned temporary file')} removed")
        done = "; ".join(parts) or "nothing was damaged"
        yield (
            f"{escape(report.feature_set)}: {done}. Manifest rebuilt: "
            f"{counted(report.shards, 'shard')}, {counted(report.ok, 'video')} with features, "
            f"{report.failed} failed"
        )
        if report.to_redo:
            yield (
                f"  basket extract will make {counted(len(report.to_redo), 'video')} again: "
                f"{escape(listed(report.to_redo))}"
            )
        if report.unknown:
            yield (
                f"  {report.unknown} of the damaged shards were in no manifest; what they held "
                "counts as not done, too"
            )
    if not reports:
        yield "There are no feature sets to repair."


def pack_tables(reports: Sequence[PackReport]) -> Iterator[RenderableType]:
    """What was merged into what."""
    for report in reports:
        name = escape(report.feature_set)
        if not report.merged:
            yield f"{name}: nothing to pack; {counted(report.shards, 'shard')}"
            continue
        where = (
            "were deleted"
            if report.deleted
            else f"lie in its folder aside ({size(report.aside_bytes)}); delete them when you like"
        )
        yield (
            f"{name}: {counted(report.merged, 'shard')} packed into {report.made}; "
            f"{counted(report.shards, 'shard')} now; the old ones {where}"
        )
        if report.superseded:
            yield f"  left out: {counted(report.superseded, 'superseded row')}"
        if report.damaged:
            left = counted(report.damaged, "damaged shard")
            yield f"  left alone: {left}; run basket cache repair"
    if not reports:
        yield "There are no feature sets to pack."


def export_tables(report: ExportReport) -> Iterator[RenderableType]:
    """Where the features went, and which videos had none."""
    yield (
        f"{counted(report.videos, 'video')}, {counted(report.segments, 'segment')} of "
        f"{escape(report.feature_set)} -> {escape(str(report.path))} "
        f"({report.format}, {size(report.size_bytes)})"
    )
    if report.left_out:
        title = f"{counted(len(report.left_out), 'labelled video')} left out"
        yield reasons_table(title, report.left_out, limit=LISTED)


def import_tables(report: ImportReport) -> Iterator[RenderableType]:
    """What was taken in, and what was not."""
    there = f", {report.already_there} were there already" if report.already_there else ""
    yield (
        f"{counted(report.imported, 'video')}, {counted(report.segments, 'segment')} -> "
        f"{escape(report.feature_set)}{there}"
    )
    if report.failed:
        yield reasons_table("Not imported", report.failed)


def _warnings(each: FeatureSetOverview) -> Iterator[str]:
    name = escape(each.name)
    if each.damaged:
        yield (
            f"[bold red]{counted(len(each.damaged), 'damaged shard')} in {name}:[/] run basket "
            "cache verify to see what is wrong, basket cache repair to have the videos made again"
        )
    if each.mixing:
        yield f"[yellow]{escape(each.mixing)}[/]"
    if each.random_weights:
        yield f"[yellow]{name} has random weights: its features carry no training[/]"


def _by(each: FeatureSetOverview) -> str:
    fields = ("decoder", "device", "precision", "extractor")
    return " ".join("+".join(each.provenance[name]) for name in fields if name in each.provenance)


def _when(time_ns: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time_ns / 1e9)) if time_ns else "never"
