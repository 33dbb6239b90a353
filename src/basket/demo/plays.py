"""How each event looks: a choreography for ten players and a ball per kind of possession."""

from __future__ import annotations

from typing import TYPE_CHECKING

from basket.demo.events import DEFENCE, Event, Kind
from basket.demo.footage import Footage, Pose, Script
from basket.demo.shots import carom, drop, finish, shoot

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

# Attackers' spots, (d, y): the ball handler, two wings, a corner and the post.
_SPOTS = ((9.2, 7.5), (7.8, 3.2), (7.8, 11.8), (2.2, 13.6), (4.4, 5.4))
_LANE = ((3.2, 4.6), (3.2, 10.4), (8.8, 11.6), (9.4, 4.0))
_LANE_DEFENDERS = ((9.6, 8.4), (2.0, 4.6), (2.0, 10.4), (4.4, 4.6), (4.4, 10.4))


def film(event: Event, *, frames: int, fps: float, rng: np.random.Generator) -> Footage:
    """Stage one event.

    Parameters
    ----------
    event : Event
        What happens; all the choreography knows about the player.
    frames : int
        Length of the clip.
    fps : float
        Frames per second.
    rng : numpy.random.Generator
        Where exactly, how fast and by whom.
    """
    script = Script(rng, seconds=frames / fps)
    for i, (d, y) in enumerate(_SPOTS):
        script.start(i, d + rng.normal(0, 0.35), y + rng.normal(0, 0.45))
    _PLAYS[event.kind](script, event.made)
    return script.film(frames)


def featured_player(event: Event) -> int:
    """Which of the ten figures is the player of interest."""
    return 5 if event.kind in DEFENCE else 0


def _free_throw(script: Script, made: bool) -> None:
    script.start(0, 5.9, 7.5)
    for i, spot in enumerate(_LANE):
        script.start(1 + i, *spot)
    for i, spot in enumerate(_LANE_DEFENDERS):
        script.start(5 + i, *spot)
        script.pose(5 + i, Pose.STAND, begin=0, end=1)
    release = 0.34 + script.rng.uniform(-0.03, 0.03)
    script.carry(0, until=release - 0.1, height_m=1.2)
    shoot(script, 0, release=release, flight=0.24, apex_m=1.5, jump_m=0.0)
    if made:
        drop(script)
        script.carry(6, until=1.0, height_m=1.1)
    else:
        carom(script, rebounder=6, crash=False)


def _three(script: Script, made: bool) -> None:
    side = _side(script, mostly=1.0)
    y = 7.5 + side * script.rng.uniform(1.0, 4.5)
    script.start(0, 9.8, 7.5 + side * 0.5)
    script.run(0, 9.1, y, begin=0.0, end=0.2)
    script.carry(0, until=0.2)
    shoot(script, 0, release=0.32, flight=0.32, apex_m=3.0, jump_m=0.5)
    finish(script, 0, made=made)


def _drive(script: Script, made: bool) -> None:
    side = _side(script, mostly=1.0)
    script.start(0, 10.8, 7.5 + side * script.rng.uniform(3.0, 5.0))
    script.run(0, 4.6, 7.5 + side * 1.8, begin=0.04, end=0.36)
    script.run(0, 2.1, 7.5 + side * 0.5, begin=0.36, end=0.56)
    script.start(5, 8.6, 7.5)
    script.run(5, 5.2, 7.5 - side * 0.6, begin=0.2, end=0.6)
    script.carry(0, until=0.46)
    shoot(script, 0, release=0.56, flight=0.08, apex_m=0.5, jump_m=0.9)
    finish(script, 0, made=made)


def _contested(script: Script, made: bool) -> None:
    # Back to the basket on the low post, bumping towards it, two defenders in the way.
    side = _side(script, mostly=-1.0)
    y = 7.5 + side * script.rng.uniform(2.6, 3.4)
    script.start(0, 4.9, y)
    script.start(4, 7.6, 9.5)
    for guard, dd, dy in ((5, -0.75, -0.3 * side), (9, -0.2, 0.9 * side)):
        script.start(guard, 4.9 + dd, y + dy)
        for d, begin in ((4.5, 0.04), (4.1, 0.18)):
            script.run(guard, d + dd, y - side * (4.9 - d) + dy, begin=begin, end=begin + 0.12)
        script.pose(guard, Pose.CHEER, begin=0.3, end=0.68)
        script.jump(guard, 0.8, begin=0.34, end=0.66, times=2)
    for d, begin in ((4.5, 0.04), (4.1, 0.18)):
        script.run(0, d, y - side * (4.9 - d), begin=begin, end=begin + 0.12)
    script.carry(0, until=0.3)
    shoot(script, 0, release=0.44, flight=0.22, apex_m=1.6, jump_m=0.7)
    finish(script, 0, made=made)


def _put_back(script: Script, made: bool) -> None:
    script.start(0, 5.6, 9.6 if script.rng.random() < 0.5 else 5.4)
    script.start(4, 4.6, 7.0)
    script.carry(1, until=0.06, height_m=1.2)
    shoot(script, 1, release=0.1, flight=0.2, apex_m=1.8, jump_m=0.4)
    script.run(0, 2.3, 7.5 + script.rng.uniform(-0.5, 0.5), begin=0.1, end=0.34)
    script.run(4, 3.0, 6.6, begin=0.1, end=0.34)
    # A crowd under the basket: the others jump too, and come too short.
    for rival in (4, 9, 5):
        script.pose(rival, Pose.CHEER, begin=0.3, end=0.64)
        script.jump(rival, 0.6, begin=0.3, end=0.64, times=2)
    script.fly((2.1, 7.6, 3.5), until=0.4, apex_m=0.8)
    script.pose(0, Pose.CHEER, begin=0.3, end=0.48)
    script.jump(0, 1.0, begin=0.3, end=0.5)
    script.carry(0, until=0.5, height_m=2.2)
    shoot(script, 0, release=0.6, flight=0.07, apex_m=0.4, jump_m=1.0)
    finish(script, 0, made=made)


def _assist(script: Script, _made: bool) -> None:
    # In transition: a long pass ahead to a team-mate who is already under way.
    cutter, side = 3, _side(script, mostly=1.0)
    script.start(0, 13.5, 7.5 + script.rng.uniform(-1.5, 1.5))
    script.start(cutter, 12.0, 7.5 + side * 5.0)
    script.run(cutter, 2.2, 7.5 + side * 0.5, begin=0.0, end=0.52)
    script.start(5, 12.0, 7.0)
    script.start(8, 9.5, 7.5 + side * 2.0)
    for trailer, begin in ((0, 0.3), (1, 0.0), (2, 0.0)):
        d, y = script.where(trailer)
        if trailer:
            script.start(trailer, d + 5.0, y)
        script.run(trailer, d + (0.0 if trailer else -4.5), y, begin=begin, end=0.7)
    script.carry(0, until=0.16)
    script.pose(0, Pose.PASS, begin=0.12, end=0.34)
    script.fly(cutter, until=0.36, apex_m=0.8)
    script.carry(cutter, until=0.46)
    shoot(script, cutter, release=0.54, flight=0.08, apex_m=0.5, jump_m=0.9)
    finish(script, cutter, made=True)


def _swing(script: Script, _made: bool) -> None:
    # The whole team rotates one spot around the arc while the ball goes the other way.
    order = (1, 0, 2) if script.rng.random() < 0.5 else (2, 0, 1)
    script.start(3, 1.6, 14.0 if order[-1] == 2 else 1.0)
    for player, (d, y) in ((0, (8.2, 10.2)), (1, (9.2, 5.6)), (2, (5.6, 13.2)), (4, (3.4, 2.2))):
        script.run(player, d, y, begin=0.02, end=0.5)
    script.carry(0, until=0.05, height_m=1.3)
    holder = 0
    for receiver in (*order, 3):
        begin = script.now
        script.pose(holder, Pose.PASS, begin=begin - 0.03, end=begin + 0.12)
        script.fly(receiver, until=begin + 0.09)
        script.carry(receiver, until=begin + 0.12, height_m=1.3)
        holder = receiver
    shoot(script, holder, release=script.now + 0.06, flight=0.16, apex_m=2.2, jump_m=0.4)
    finish(script, holder, made=True)


def _bad_pass(script: Script, _made: bool) -> None:
    d = script.rng.uniform(3.0, 9.0)
    script.carry(0, until=0.26)
    script.pose(0, Pose.PASS, begin=0.22, end=0.46)
    script.fly((d, 0.4, 0.5), until=0.42)
    script.fly((d - 1.0, -3.5, 0.2), until=0.85, apex_m=1.5, bounces=3)
    script.run(1, d, 0.6, begin=0.3, end=0.55)
    for player in (0, 2, 4):
        script.pose(player, Pose.STAND, begin=0.5, end=1.0)


def _lost_ball(script: Script, _made: bool) -> None:
    y = 7.5 + script.rng.uniform(-2.5, 2.5)
    script.start(0, 10.5, y)
    script.run(0, 8.6, y, begin=0.0, end=0.28)
    script.start(5, 7.6, y + 0.2)
    script.run(5, 8.0, y, begin=0.15, end=0.28)
    script.carry(0, until=0.28)
    script.fly((9.4, y - 1.0, 0.2), until=0.38, apex_m=0.4)
    script.run(5, 9.4, y - 1.0, begin=0.28, end=0.38)
    script.run(5, 18.0, y - 2.0, begin=0.38, end=1.0)
    script.carry(5, until=1.0)
    script.run(0, 16.5, y, begin=0.5, end=1.0)
    for chaser in (1, 2, 6, 7):
        d, chaser_y = script.where(chaser)
        script.run(chaser, d + 7.5, chaser_y, begin=0.42, end=1.0)


def _steal(script: Script, _made: bool) -> None:
    y = 7.5 + script.rng.uniform(-2.0, 2.0)
    script.start(0, 9.4, y)
    script.start(5, 7.9, y)
    script.carry(0, until=0.16)
    script.run(5, 9.2, y, begin=0.05, end=0.16)
    script.fly((10.4, y + 0.6, 0.3), until=0.24, apex_m=0.3)
    script.run(5, 10.4, y + 0.6, begin=0.16, end=0.24)
    script.run(5, 19.5, 7.9, begin=0.24, end=1.0)
    script.carry(5, until=1.0)
    for chaser in (0, 2, 6):
        d, chaser_y = script.where(chaser)
        script.run(chaser, d + 8.5, chaser_y, begin=0.3, end=1.0)


def _defensive_rebound(script: Script, _made: bool) -> None:
    script.start(5, 3.9, 7.5 + script.rng.uniform(-1.5, 1.5))
    script.start(4, 4.6, 9.0)
    script.carry(1, until=0.06, height_m=1.2)
    shoot(script, 1, release=0.12, flight=0.2, apex_m=2.2, jump_m=0.4)
    script.run(5, 2.6, 7.5, begin=0.12, end=0.36)
    script.fly((2.7, 7.4, 3.3), until=0.42, apex_m=0.9)
    script.pose(5, Pose.CHEER, begin=0.3, end=0.54)
    script.jump(5, 1.1, begin=0.3, end=0.54)
    script.carry(5, until=0.54, height_m=2.4)
    # The outlet pass: everyone turns and runs the other way.
    script.carry(5, until=0.64, height_m=1.2)
    script.pose(5, Pose.PASS, begin=0.62, end=0.8)
    script.run(7, 13.0, 11.0, begin=0.4, end=1.0)
    script.fly(7, until=0.84, apex_m=0.8)
    script.carry(7, until=1.0)
    for attacker in range(5):
        d, y = script.where(attacker)
        script.run(attacker, d + 5.5, y, begin=0.5, end=1.0)


def _stop(script: Script, _made: bool) -> None:
    side = _side(script, mostly=1.0)
    script.start(0, 6.2, 7.5 + side * 1.5)
    script.run(0, 3.2, 7.5 + side * 0.8, begin=0.0, end=0.34)
    script.start(5, 3.0, 7.5 + side * 0.5)
    script.run(5, 2.6, 7.5 + side * 0.6, begin=0.2, end=0.36)
    script.carry(0, until=0.34)
    script.pose(0, Pose.SHOOT, begin=0.34, end=0.6)
    script.jump(0, 0.6, begin=0.36, end=0.58)
    script.carry(0, until=0.46, height_m=2.5)
    script.pose(5, Pose.CHEER, begin=0.34, end=0.66)
    script.jump(5, 1.0, begin=0.36, end=0.62)
    # Swatted back over everyone's heads.
    script.fly((12.0, 7.5 + side * 4.0, 0.3), until=0.8, apex_m=2.4)
    script.fly((14.0, 7.5 + side * 5.0, 0.2), until=1.0, apex_m=0.8, bounces=1)
    script.jump(5, 0.35, begin=0.7, end=1.0, times=2)


def _foul(script: Script, _made: bool) -> None:
    y = 7.5 + script.rng.uniform(-3.0, 3.0)
    script.start(0, 8.4, y)
    script.run(0, 6.2, y, begin=0.0, end=0.2)
    script.start(5, 5.4, y)
    script.run(5, 5.9, y, begin=0.1, end=0.2)
    script.carry(0, until=0.2)
    script.pose(0, Pose.FALLEN, begin=0.24, end=1.0)
    script.pose(5, Pose.CHEER, begin=0.26, end=0.6)
    script.fly((7.4, y - 1.0, 0.15), until=0.36, apex_m=0.6, bounces=2)
    for player in (6, 7, 8, 9):
        script.pose(player, Pose.STAND, begin=0.28, end=1.0)


def _beaten(script: Script, _made: bool) -> None:
    side = _side(script, mostly=1.0)
    script.start(0, 9.4, 7.5 + side)
    script.start(5, 8.0, 7.5 + side)
    script.run(5, 8.6, 7.5 - side * 1.2, begin=0.1, end=0.35)
    script.run(0, 6.6, 7.5 + side * 3.0, begin=0.08, end=0.28)
    script.run(0, 2.2, 7.5 + side * 0.5, begin=0.28, end=0.52)
    script.carry(0, until=0.42)
    shoot(script, 0, release=0.54, flight=0.08, apex_m=0.5, jump_m=1.0)
    finish(script, 0, made=True)


def _side(script: Script, *, mostly: float) -> float:
    """+1 for the far half, -1 for the near one: four times in five the usual one."""
    return mostly if script.rng.random() < 0.8 else -mostly


_PLAYS: dict[Kind, Callable[[Script, bool], None]] = {
    Kind.FREE_THROW: _free_throw,
    Kind.THREE: _three,
    Kind.DRIVE: _drive,
    Kind.CONTESTED: _contested,
    Kind.PUT_BACK: _put_back,
    Kind.ASSIST: _assist,
    Kind.SWING: _swing,
    Kind.BAD_PASS: _bad_pass,
    Kind.LOST_BALL: _lost_ball,
    Kind.STEAL: _steal,
    Kind.DEFENSIVE_REBOUND: _defensive_rebound,
    Kind.STOP: _stop,
    Kind.FOUL: _foul,
    Kind.BEATEN: _beaten,
}
