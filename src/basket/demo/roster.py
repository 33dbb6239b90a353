"""Who is filmed: reels dealt to splits, leagues, seasons and players."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from basket.dataset import SPLIT_FILES

LEAGUES = ("North", "Coast", "Harbor")
UNSEEN_LEAGUE = "Summit"
SEASONS = ("18-19", "19-20")
UNSEEN_SEASON = "20-21"
SPLITS = tuple(SPLIT_FILES)

_SHARES = {"train": 0.6, "val": 0.12}
_CROSS_SHARE = 0.1
_MIN_CROSS = 2
_RETURNING = 3  # every third player of the main splits has a second season


@dataclass(frozen=True)
class Slot:
    """One reel to be.

    Parameters
    ----------
    split : str
        One of :data:`SPLITS`.
    league, season : str
        Where and when.
    player : int
        Number of the player, unique over all leagues.
    """

    split: str
    league: str
    season: str
    player: int

    @property
    def path(self) -> str:
        """The reel's path in BASKET's layout, as the label files name it."""
        return f"{self.season}/{self.league}/{self.player}_{self.season.replace('-', '_')}.mp4"


def deal(players: int) -> list[Slot]:
    """Deal reels to splits, leagues, players and seasons; no player is in two splits.

    Parameters
    ----------
    players : int
        Reels in train, val and test together; each of the three cross sets gets a tenth more.
    """
    counts = {name: max(1, round(share * players)) for name, share in _SHARES.items()}
    counts["test"] = players - sum(counts.values())
    n_cross = max(_MIN_CROSS, round(_CROSS_SHARE * players))
    slots: list[Slot] = []
    numbers = itertools.count(1)
    for split, count in counts.items():
        for k, league in enumerate(LEAGUES):
            slots += _squad(split, league, n=len(range(k, count, len(LEAGUES))), numbers=numbers)
    for k in range(n_cross):
        season, league = SEASONS[k % len(SEASONS)], LEAGUES[k % len(LEAGUES)]
        for split, where, when in (
            ("cross_season", league, UNSEEN_SEASON),
            ("cross_league", UNSEEN_LEAGUE, season),
            ("cross_season_and_league", UNSEEN_LEAGUE, UNSEEN_SEASON),
        ):
            slots.append(Slot(split, where, when, next(numbers)))
    return slots


def _squad(split: str, league: str, *, n: int, numbers: Iterator[int]) -> list[Slot]:
    """``n`` reels of one league in one split, some players with two of them."""
    squad: list[Slot] = []
    for person, number in enumerate(numbers, start=1):
        if len(squad) == n:
            break
        seasons = [SEASONS[person % len(SEASONS)]]
        if person % _RETURNING == 0 and n - len(squad) >= len(SEASONS):
            seasons = list(SEASONS)
        squad += [Slot(split, league, season, number) for season in seasons]
    return squad
