"""How sure a run may be, in words a scout can use."""

from __future__ import annotations

from dataclasses import dataclass

from basket.heads.calibration import Calibration

#: Share of the skills beyond all reference players from which a reel is called strange. Of 30
#: reference players, a thirty-first lies outside their range in one skill of fifteen.
STRANGE_SHARE = 0.3
#: And how many at least: of 20 reference players, a twenty-first lies outside in one skill of ten.
STRANGE_SKILLS = 2


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
    is_blind : bool
        Nothing that was measured speaks for this reel: that comes first on a card.
    """

    headline: str
    details: tuple[str, ...]
    state: str
    is_blind: bool = False


def verdict(calibration: Calibration | None, *, beyond: int = 0, n_skills: int = 0) -> Verdict:
    """Whether the run is better than guessing, judged by the low end of the interval.

    Parameters
    ----------
    calibration : Calibration or None
    beyond, n_skills : int
        Skills of a reel whose prediction lies outside the range of all reference players, and all
        skills: where many do, what was measured on players says little about this reel.
    """
    details = _details(calibration)
    if beyond >= STRANGE_SKILLS and beyond > STRANGE_SHARE * n_skills:
        strange = (
            f"For {beyond} of {n_skills} skills the prediction lies beyond all players the run was "
            "compared with, so what was measured on them need not hold here."
        )
        return Verdict(
            "Unlike any reel it was checked on", (strange, *details), "none", is_blind=True
        )
    if calibration is None or not calibration.overall.ratings:
        return Verdict(
            "Nobody measured how often this run is right", details, "none", is_blind=True
        )
    overall = calibration.overall
    if overall.interval[0] <= calibration.guess:
        return Verdict("Not shown to be better than guessing", details, "none")
    if overall.share < 0.5:
        return Verdict("Better than guessing, wrong more often than right", details, "mixed")
    return Verdict("Right more often than not", details, "good")


def _details(calibration: Calibration | None) -> tuple[str, ...]:
    if calibration is None or not calibration.overall.ratings:
        return (
            "No players were set aside when it was fitted: the percentages are its own view.",
            (
                "Fit it with 20 training players or more to have them checked; of a combined run, "
                "fit all members with one --seed."
            ),
        )
    overall = calibration.overall
    low, high = overall.interval
    counted = (
        f"On {calibration.players} players kept apart for this, it named the right level in "
        f"{overall.share:.0%} of {overall.ratings} ratings (95% interval {low:.0%} to {high:.0%}) "
        f"and was at most one level off in {overall.near_share:.0%}."
    )
    guessing = f"Without looking at the reel, a guess would be right in {calibration.guess:.0%}."
    return counted, guessing
