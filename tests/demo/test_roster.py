"""Dealing reels to splits, leagues, seasons and players."""

from __future__ import annotations

import pytest

from basket.demo import roster


@pytest.mark.parametrize("players", [10, 12, 37, 240])
def test_splits_share_no_player_and_hold_out_league_and_season(players: int) -> None:
    slots = roster.deal(players)
    assert len({slot.path for slot in slots}) == len(slots)
    main = [slot for slot in slots if slot.split in ("train", "val", "test")]
    assert len(main) == players
    homes = {(slot.player, slot.split) for slot in slots}
    assert len({player for player, _ in homes}) == len(homes)
    for slot in slots:
        assert (slot.season == roster.UNSEEN_SEASON) == ("season" in slot.split)
        assert (slot.league == roster.UNSEEN_LEAGUE) == ("league" in slot.split)
