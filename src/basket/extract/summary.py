"""What an extraction says while it runs, and at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from basket.notebook import html_table


@dataclass(frozen=True)
class Progress:
    """How far an extraction is; handed to the caller's callback about ten times a second.

    ``seconds`` is how long the loop has waited for each stage: ``decode``, ``forward``, ``write``.
    """

    videos_done: int
    videos_total: int
    videos_failed: int
    clips: int
    video_s: float
    elapsed_s: float
    seconds: Mapping[str, float]

    @property
    def left_s(self) -> float | None:
        """Seconds left at the rate so far; None before the first video is done."""
        if not self.videos_done:
            return None
        return self.elapsed_s / self.videos_done * (self.videos_total - self.videos_done)

    @property
    def bound_by(self) -> str:
        """The stage the loop waits for most."""
        return _slowest(self.seconds)


@dataclass(frozen=True)
class ExtractionSummary:
    """What an extraction did.

    Parameters
    ----------
    feature_sets : mapping of str to str
        Backbone name to feature set name.
    done, already_there : int
        Videos extracted now, and videos that needed nothing.
    failed : mapping of str to str
        Every listed video that has no features, with the reason, whether it failed now or before.
    notes : mapping of str to str
        Videos with features about which a person should know something (``truncated: ...``).
    clips : int
        Clips embedded, over all backbones and scales.
    video_s, elapsed_s : float
        Seconds of video decoded, seconds it took.
    seconds : mapping of str to float
        Seconds the loop waited for ``decode``, ``forward`` and ``write``.
    batch_sizes : mapping of str to int
        Clips per call at the end, by backbone.
    """

    feature_sets: Mapping[str, str]
    done: int
    already_there: int
    failed: Mapping[str, str]
    notes: Mapping[str, str]
    clips: int
    video_s: float
    elapsed_s: float
    seconds: Mapping[str, float]
    batch_sizes: Mapping[str, int]

    def _repr_html_(self) -> str:
        rows = [("extracted", self.done), ("there already", self.already_there)]
        rows += [("failed", len(self.failed)), ("clips", self.clips)]
        notes = [f"{name}: {reason}" for name, reason in {**self.notes, **self.failed}.items()]
        return html_table(", ".join(self.feature_sets.values()), ("videos", ""), rows, notes=notes)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **asdict(self),
            "clips_per_s": self.clips / self.elapsed_s if self.elapsed_s else None,
            "video_s_per_s": self.video_s / self.elapsed_s if self.elapsed_s else None,
            "bound_by": _slowest(self.seconds) if self.clips else None,
        }


def _slowest(seconds: Mapping[str, float]) -> str:
    return max(seconds, key=lambda stage: seconds[stage])
