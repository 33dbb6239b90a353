"""What happens on the court: the vocabulary shared by the simulation and the renderer.

The renderer is given nothing but these types, a league's look and a random generator. A skill or a
level is not part of any of them, so it cannot reach a pixel except through what the player did.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """One possession, named by the deed of the player of interest."""

    FREE_THROW = "free throw"
    THREE = "three-pointer"
    DRIVE = "drive"
    CONTESTED = "contested shot"
    PUT_BACK = "offensive rebound"
    ASSIST = "assist"
    SWING = "ball movement"
    BAD_PASS = "bad pass"  # noqa: S105  (a pass of the ball)
    LOST_BALL = "lost ball"
    STEAL = "steal"
    DEFENSIVE_REBOUND = "defensive rebound"
    STOP = "blocked shot"
    FOUL = "foul"
    BEATEN = "beaten"


SHOTS = (Kind.FREE_THROW, Kind.THREE, Kind.DRIVE, Kind.CONTESTED, Kind.PUT_BACK)
OFFENCE = (*SHOTS, Kind.ASSIST, Kind.SWING, Kind.BAD_PASS, Kind.LOST_BALL)
DEFENCE = (Kind.STEAL, Kind.DEFENSIVE_REBOUND, Kind.STOP, Kind.FOUL, Kind.BEATEN)

_OUTCOMES = {
    Kind.ASSIST: "scored",
    Kind.SWING: "scored",
    Kind.BAD_PASS: "turnover",
    Kind.LOST_BALL: "turnover",
    Kind.STEAL: "won",
    Kind.DEFENSIVE_REBOUND: "won",
    Kind.STOP: "stopped",
    Kind.FOUL: "whistled",
    Kind.BEATEN: "conceded",
}


@dataclass(frozen=True)
class Event:
    """What the player of interest did in one possession.

    Parameters
    ----------
    kind : Kind
        The deed.
    made : bool, default=True
        For a shot, whether it went in; True for every other kind.
    """

    kind: Kind
    made: bool = True

    @property
    def outcome(self) -> str:
        """How it ended, in one word."""
        if self.kind in SHOTS:
            return "made" if self.made else "missed"
        return _OUTCOMES[self.kind]


@dataclass(frozen=True)
class Possession:
    """One clip of a reel: an event and how many frames show it."""

    event: Event
    frames: int
