"""What a person sees of ``basket extract``: its cost beforehand, its progress, what it did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import RenderableType
from rich.markup import escape

from basket.console.tables import reasons_table
from basket.console.words import counted, duration, size

if TYPE_CHECKING:
    from basket.console.output import Report
    from basket.extract.dry_run import Estimate
    from basket.extract.summary import ExtractionSummary, Progress


def estimate_lines(cost: Estimate) -> Iterator[RenderableType]:
    """What an extraction would cost, in sentences."""
    failed = f", {cost.failed_before} failed before (--retry-failed tries again)"
    yield (
        f"{counted(cost.videos, 'video')} to extract, {cost.already_there} already there"
        + (failed if cost.failed_before else "")
    )
    if not cost.videos:
        return
    unreadable = f", {cost.unreadable} of them unreadable" if cost.unreadable else ""
    yield (
        f"about {cost.segments:,} segments, {cost.clips:,} clips, {cost.frames:,} frames "
        f"(extrapolated from {counted(cost.sampled, 'video')}{unreadable})"
    )
    yield (
        f"cache: {size(cost.cache_bytes)}; {size(cost.free_bytes)} are free"
        + (" [bold red]- not enough[/]" if cost.cache_bytes > cost.free_bytes else "")
    )
    yield (
        f"time: about {duration(cost.total_s)} (decoding {duration(cost.decode_s)}, "
        f"forward {duration(cost.forward_s)}; from a short calibration on these files)"
    )


def extraction_progress(report: Report) -> Callable[[Progress], None]:
    """What an extraction reports to, shown as a line of progress."""
    return lambda now: report(now.videos_done, now.videos_total, extraction_details(now))


def extraction_details(now: Progress) -> str:
    """Rates and failures of a running extraction, for the progress line."""
    rate = now.video_s / now.elapsed_s if now.elapsed_s else 0.0
    clips = now.clips / now.elapsed_s if now.elapsed_s else 0.0
    failed = f", {now.videos_failed} failed" if now.videos_failed else ""
    if not now.clips:
        return f"videos{failed}"
    return f"videos{failed}, {clips:.0f} clips/s, {rate:.0f}x real time, {now.bound_by}-bound"


def extraction_tables(summary: ExtractionSummary, cache: Path) -> Iterator[RenderableType]:
    """What an extraction did, as sentences and a table of failures."""
    for backbone, name in summary.feature_sets.items():
        yield f"{escape(backbone)} -> {escape(str(cache / name))}"
    rate = summary.video_s / summary.elapsed_s if summary.elapsed_s else 0.0
    parts = [f"{counted(summary.done, 'video')} extracted"]
    if summary.already_there:
        parts.append(f"{summary.already_there} there already")
    if summary.failed:
        parts.append(f"[bold red]{len(summary.failed)} failed[/]")
    done = (
        f"; {counted(summary.clips, 'clip')}, {duration(summary.video_s)} of video in "
        f"{duration(summary.elapsed_s)} ({rate:.0f}x real time)"
    )
    yield ", ".join(parts) + (done if summary.clips else "")
    if summary.notes:
        yield reasons_table("Extracted, but look at these", summary.notes)
    if summary.failed:
        yield reasons_table("Not extracted", summary.failed)
