"""From a script of moves to positions per frame: pure arithmetic on the half court.

Half-court coordinates: ``d`` metres from the baseline under the basket attacked, ``y`` metres from
the sideline near the camera, ``z`` metres above the floor. Time runs from 0 to 1 over the clip.
Players 0-4 attack, players 5-9 defend; defender ``5 + i`` guards attacker ``i``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RIM = (1.575, 7.5, 3.05)
N_PLAYERS = 10
_GUARD_GAP_M = 1.2
_GUARD_LAG = 0.08
_REACH_M = 0.45


class Pose(IntEnum):
    """How a figure is drawn."""

    STAND = 0
    RUN = 1
    GUARD = 2
    SHOOT = 3
    PASS = 4
    CHEER = 5
    FALLEN = 6


@dataclass(frozen=True)
class Footage:
    """One possession, frame by frame.

    Parameters
    ----------
    feet_m : ndarray of float64, shape (T, 10, 2)
        ``d, y`` of every player.
    lift_m : ndarray of float64, shape (T, 10)
        How high off the floor.
    pose : ndarray of int64, shape (T, 10)
        :class:`Pose` values.
    ball_m : ndarray of float64, shape (T, 3)
        ``d, y, z`` of the ball.
    net : ndarray of float64, shape (T,)
        How far the net swings, 0 at rest and 1 at most.
    """

    feet_m: NDArray[np.float64]
    lift_m: NDArray[np.float64]
    pose: NDArray[np.int64]
    ball_m: NDArray[np.float64]
    net: NDArray[np.float64]


@dataclass(frozen=True)
class _Carry:
    until: float
    player: int
    height_m: float | None  # None: dribbling


@dataclass(frozen=True)
class _Flight:
    until: float
    target: int | tuple[float, float, float]
    apex_m: float
    bounces: int


class Script:
    """Moves of ten players and a ball, added one by one and filmed once.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the small differences between two possessions of the same kind.
    seconds : float
        Length of the clip; turns hops and dribbles per second into script time.
    """

    def __init__(self, rng: np.random.Generator, *, seconds: float) -> None:
        self.rng = rng
        self.seconds = seconds
        self.now = 0.0
        self._paths: dict[int, list[tuple[float, float, float]]] = {}
        self._poses: list[tuple[int, float, float, Pose]] = []
        self._jumps: list[tuple[int, float, float, float, int]] = []
        self._ball: list[_Carry | _Flight] = []
        self._nets: list[float] = []

    def start(self, player: int, d: float, y: float) -> None:
        """Put a player on the court."""
        self._paths[player] = [(0.0, d, y)]

    def where(self, player: int) -> tuple[float, float]:
        """Where a player's path has led so far; a defender without one stands by his man."""
        if player not in self._paths:
            man = np.array([self._paths[player - 5][0][1:]])
            d, y = _goal_side(man)[0]
            self.start(player, d, y)
        return self._paths[player][-1][1:]

    def run(self, player: int, d: float, y: float, *, begin: float, end: float) -> None:
        """Run to a place; stand still before ``begin``."""
        place = self.where(player)
        last = self._paths[player][-1][0]
        if begin > last:
            self._paths[player].append((begin, *place))
        self._paths[player].append((max(end, last + 1e-3), d, y))

    def pose(self, player: int, pose: Pose, *, begin: float, end: float) -> None:
        """Hold a pose; the later call wins."""
        self._poses.append((player, begin, end, pose))

    def jump(
        self, player: int, height_m: float, *, begin: float, end: float, times: int = 1
    ) -> None:
        """Jump, once or several times in a row."""
        self._jumps.append((player, begin, end, height_m, times))

    def carry(self, player: int, *, until: float, height_m: float | None = None) -> None:
        """Dribble, or hold the ball at ``height_m``."""
        self._ball.append(_Carry(until, player, height_m))
        self.now = until

    def fly(
        self,
        target: int | tuple[float, float, float],
        *,
        until: float,
        apex_m: float = 0.0,
        bounces: int = 0,
    ) -> None:
        """Send the ball to a player or a point; ``apex_m`` above the straight line."""
        self._ball.append(_Flight(until, target, apex_m, bounces))
        self.now = until

    def swish(self) -> None:
        """Swing the net from now on, for a short while."""
        self._nets.append(self.now)

    def film(self, frames: int) -> Footage:
        """Evaluate the script at ``frames`` evenly spaced instants."""
        u = (np.arange(frames) + 0.5) / frames
        feet = self._feet(u)
        return Footage(
            feet_m=feet,
            lift_m=self._lift(u),
            pose=self._pose(u, feet),
            ball_m=self._ball_track(u, feet),
            net=self._net(u),
        )

    def _feet(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        feet = np.empty((len(u), N_PLAYERS, 2))
        for player in range(N_PLAYERS):
            if player in self._paths:
                feet[:, player] = _along(self._paths[player], u)
            else:
                # A defender without orders stays between his man and the basket, a little late.
                feet[:, player] = _goal_side(_along(self._paths[player - 5], u - _GUARD_LAG))
        return feet

    def _lift(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        lift = np.zeros((len(u), N_PLAYERS))
        for player, begin, end, height_m, times in self._jumps:
            inside = (u >= begin) & (u < end)
            phase = (u[inside] - begin) / (end - begin) * times % 1.0
            lift[inside, player] = 4 * height_m * phase * (1 - phase)
        return lift

    def _pose(self, u: NDArray[np.float64], feet: NDArray[np.float64]) -> NDArray[np.int64]:
        step = np.linalg.norm(np.gradient(feet, axis=0), axis=2) * len(u) / self.seconds
        pose = np.full(step.shape, int(Pose.STAND))
        pose[:, 5:] = int(Pose.GUARD)
        pose[step > 1.0] = int(Pose.RUN)
        for player, begin, end, which in self._poses:
            pose[(u >= begin) & (u < end), player] = int(which)
        return pose

    def _ball_track(self, u: NDArray[np.float64], feet: NDArray[np.float64]) -> NDArray[np.float64]:
        ball = np.empty((len(u), 3))
        begin, last = 0.0, np.zeros(3)
        for move in self._ball:
            inside = (u >= begin) & (u < move.until)
            if isinstance(move, _Carry):
                ball[inside] = self._carried(move, u[inside], feet[inside, move.player])
                last = self._carried(
                    move, np.array([move.until]), _at(feet[:, move.player], u, move.until)
                )[0]
            else:
                end = (
                    np.array([*_at(feet[:, move.target], u, move.until)[0], 1.4])
                    if isinstance(move.target, int)
                    else np.array(move.target)
                )
                s = ((u[inside] - begin) / max(move.until - begin, 1e-6))[:, None]
                ball[inside] = last + s * (end - last)
                ball[inside, 2] += _arc(s[:, 0], apex_m=move.apex_m, bounces=move.bounces)
                last = end
            begin = move.until
        ball[u >= begin] = last
        return ball

    def _carried(
        self, move: _Carry, u: NDArray[np.float64], feet: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        if move.height_m is None:
            height = 0.15 + 0.85 * np.abs(np.cos(2 * np.pi * 1.1 * u * self.seconds))
        else:
            height = np.full(len(u), move.height_m)
        ahead = _REACH_M if move.height_m is None or move.height_m < 1.8 else 0.1
        return np.column_stack([feet[:, 0] - ahead, feet[:, 1] - 0.15, height])

    def _net(self, u: NDArray[np.float64]) -> NDArray[np.float64]:
        net = np.zeros(len(u))
        for begin in self._nets:
            since_s = (u - begin) * self.seconds
            inside = since_s >= 0
            net[inside] += np.exp(-2.5 * since_s[inside]) * np.cos(11 * since_s[inside])
        return net


def _goal_side(man: NDArray[np.float64]) -> NDArray[np.float64]:
    """Where a defender stands: between his man and the basket."""
    toward = np.array(RIM[:2]) - man
    distance = np.linalg.norm(toward, axis=1, keepdims=True)
    placed: NDArray[np.float64] = man + toward / np.maximum(distance, 1e-6) * np.minimum(
        _GUARD_GAP_M, 0.6 * distance
    )
    return placed


def _along(path: list[tuple[float, float, float]], u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Walk a path of ``(time, d, y)``, easing in and out of every leg."""
    times, d, y = np.array(path).T
    if len(times) == 1:
        return np.tile([[d[0], y[0]]], (len(u), 1))
    leg = np.clip(np.searchsorted(times, u, side="right") - 1, 0, len(times) - 2)
    s = np.clip((u - times[leg]) / (times[leg + 1] - times[leg]), 0, 1)
    s = s * s * (3 - 2 * s)
    return np.column_stack([d[leg] + s * (d[leg + 1] - d[leg]), y[leg] + s * (y[leg + 1] - y[leg])])


def _at(track: NDArray[np.float64], u: NDArray[np.float64], instant: float) -> NDArray[np.float64]:
    return np.array([[np.interp(instant, u, track[:, k]) for k in range(track.shape[1])]])


def _arc(s: NDArray[np.float64], *, apex_m: float, bounces: int) -> NDArray[np.float64]:
    """Height above the straight line: one parabola, or ``bounces`` ever lower ones."""
    if not bounces:
        return 4 * apex_m * s * (1 - s)
    phase = s * bounces
    return apex_m * np.abs(np.sin(np.pi * phase)) * 0.6 ** np.floor(phase)
