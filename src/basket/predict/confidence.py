"""How sure a run may be, in words a scout can use."""

from __future__ import annotations

from dataclasses import dataclass

from basket.heads.calibration import Calibration


@dataclass(frozen=True)
class Verdict:
    """One line on how far to trust a card.

    Parameters
    ----------
    headline : str
        The conclusion.
    details : tuple of str
        What was counted.
    state : {"good", "mixed", "none"}
        For its colour; the words say the same.
    """

    headline: str
    details: tuple[str, ...]
    state: str


def verdict(calibration: Calibration | None) -> Verdict:
    """Whether the run is better than guessing, judged by the low end of the interval."""
    if calibration is None or not calibration.overall.ratings:
        return Verdict(
            "Nobody measured how often this run is right",
            (
                "No players were set aside when it was fitted: the percentages are its own view.",
                "Fit it again with basket fit-head to have them checked.",
            ),
            "none",
        )
    overall = calibration.overall
    low, high = overall.interval
    counted = (
        f"On {calibration.players} players kept apart for this, it named the right level in "
        f"{overall.share:.0%} of {overall.ratings} ratings (95% interval {low:.0%} to {high:.0%}) "
        f"and was at most one level off in {overall.near_share:.0%}."
    )
    details = (
        counted,
        f"Without looking at the reel, a guess would be right in {calibration.guess:.0%}.",
    )
    if low <= calibration.guess:
        return Verdict("Not shown to be better than guessing", details, "none")
    if overall.share < 0.5:
        return Verdict("Better than guessing, wrong more often than right", details, "mixed")
    return Verdict("Right more often than not", details, "good")
