"""How a shot goes: release, flight, net or rim, and what everyone does next."""

from __future__ import annotations

from basket.demo.footage import RIM, Pose, Script

_RIM_D, _RIM_Y, _ = RIM
_ABOVE_RIM = (_RIM_D, _RIM_Y, 3.3)


def shoot(
    script: Script, shooter: int, *, release: float, flight: float, apex_m: float, jump_m: float
) -> None:
    """Rise, release and send the ball to the rim; times are script times."""
    begin = script.now
    script.pose(shooter, Pose.SHOOT, begin=begin, end=release + flight)
    if jump_m:
        script.jump(shooter, jump_m, begin=begin, end=release + 0.08)
    script.carry(shooter, until=release, height_m=2.1 + 0.7 * jump_m)
    script.fly(_ABOVE_RIM, until=release + flight, apex_m=apex_m)


def finish(script: Script, shooter: int, *, made: bool) -> None:
    """What follows a shot: joy and the way back, or the fight for the rebound."""
    if not made:
        carom(script, rebounder=6 if shooter < 5 else 1, crash=True)
        return
    drop(script)
    begin = script.now
    script.pose(shooter, Pose.CHEER, begin=begin - 0.1, end=1.0)
    hops = max(1, round((1.0 - begin) * script.seconds / 0.35))
    script.jump(shooter, 0.45, begin=begin, end=1.0, times=hops)
    for mate in range(5):
        if mate != shooter:
            d, y = script.where(mate)
            script.pose(mate, Pose.CHEER, begin=begin, end=begin + 0.12)
            script.run(mate, d + 3.0, y, begin=begin, end=1.0)


def drop(script: Script) -> None:
    """Through the net and onto the floor."""
    script.swish()
    script.fly((_RIM_D, _RIM_Y, 0.2), until=script.now + 0.14)
    script.fly((_RIM_D + 0.5, _RIM_Y - 0.4, 0.2), until=script.now + 0.12, apex_m=0.7, bounces=1)


def carom(script: Script, *, rebounder: int, crash: bool) -> None:
    """Off the rim, to a defender."""
    begin = script.now
    side = script.rng.uniform(-1.8, 1.8)
    landing = (_RIM_D + script.rng.uniform(1.2, 2.4), _RIM_Y + side)
    catch = min(begin + 0.2, 0.97)
    if crash:
        for player in (1, 2, 3, 4, 6, 7, 8):
            d, y = script.where(player)
            script.run(player, 0.45 * d + 1.2, 7.5 + 0.4 * (y - 7.5), begin=begin - 0.1, end=catch)
    script.fly((*landing, 2.6), until=catch, apex_m=1.1)
    script.run(rebounder, *landing, begin=begin, end=catch)
    script.pose(rebounder, Pose.CHEER, begin=catch - 0.1, end=catch + 0.08)
    script.jump(rebounder, 0.7, begin=catch - 0.1, end=catch + 0.1)
    script.carry(rebounder, until=1.0, height_m=1.3)
