"""From events to pictures: the frames of a reel.

Everything drawn follows from the events, the league's look and a random generator.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from basket.demo import plays, props
from basket.demo.events import OFFENCE
from basket.demo.figures import STEPS, Kit, Wardrobe
from basket.demo.footage import N_PLAYERS, Footage, Pose
from basket.demo.scenery import (
    HEIGHT_PX,
    LENGTH_M,
    MARGIN_PX,
    WIDTH_PX,
    Camera,
    Colour,
    Look,
    empty_court,
    half_width_px,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from basket.demo.events import Possession

_ZOOMS = (0.97, 1.0, 1.04)
_VIEW_M = 6.4  # the camera rests this far from the baseline
_LEASH_M = 6.5  # and follows when the ball gets further ahead of the middle of the picture
_STRIDE_M = 0.42
_DARK: tuple[Colour, ...] = ((38, 62, 140), (148, 34, 42), (26, 96, 66), (84, 44, 120))
_LIGHT: tuple[Colour, ...] = ((236, 236, 232), (238, 208, 110), (184, 214, 236), (196, 224, 178))
_SKINS: tuple[Colour, ...] = ((236, 196, 164), (198, 146, 108), (140, 94, 64), (96, 62, 44))


@dataclass(frozen=True)
class _Light:
    """What differs from hall to hall: a gain per channel."""

    gain: tuple[float, float, float]

    def on(self, colour: Colour) -> Colour:
        r, g, b = (min(255, round(c * k)) for c, k in zip(colour, self.gain, strict=True))
        return r, g, b

    def on_picture(self, picture: Image.Image) -> Image.Image:
        table = [min(255, round(c * k)) for k in self.gain for c in range(256)]
        return picture.point(table)


def draw_reel(
    possessions: Sequence[Possession], *, look: Look, fps: float, rng: np.random.Generator
) -> Iterator[Image.Image]:
    """Draw the frames of a reel, one after another.

    Parameters
    ----------
    possessions : sequence of Possession
        What happens, in order.
    look : Look
        The league's camera and palette.
    fps : float
        Frames per second.
    rng : numpy.random.Generator
        Light, kits, positions, camera shake.

    Yields
    ------
    PIL.Image.Image
        RGB, 256 x 144.
    """
    level, cast = rng.normal(1.0, 0.06), rng.normal(0.0, 0.025, 3)
    red, green, blue = np.clip(level + cast, 0.75, 1.15).tolist()
    stage = _Stage(look, light=_Light((red, green, blue)), rng=rng)
    for possession in possessions:
        yield from stage.play(possession, fps=fps)


class _Stage:
    """One reel's hall and teams."""

    def __init__(self, look: Look, *, light: _Light, rng: np.random.Generator) -> None:
        self._look = look
        self._light = light
        self._rng = rng
        self._wardrobe = Wardrobe()
        self._kits = self._dress()
        self._courts: dict[float, Image.Image] = {}

    def play(self, possession: Possession, *, fps: float) -> Iterator[Image.Image]:
        event = possession.event
        footage = plays.film(event, frames=possession.frames, fps=fps, rng=self._rng)
        rightward = event.kind in OFFENCE
        camera = Camera(self._look, _ZOOMS[int(self._rng.integers(len(_ZOOMS)))])
        corners = self._pan(footage, camera, rightward=rightward, fps=fps)
        shot = _Shot(
            footage, camera, rightward=rightward, featured=plays.featured_player(event), fps=fps
        )
        ours = 0 if rightward else 5
        kits = [self._kits[0 if (i >= 5) == (ours == 5) else 1][i % 5] for i in range(N_PLAYERS)]
        court = self._court(camera)
        for t, (left, top) in enumerate(corners):
            frame = court.crop((left, top, left + WIDTH_PX, top + HEIGHT_PX))
            # Sprites are placed relative to mid-court and the unshaken top edge.
            origin = (half_width_px(camera) - left, MARGIN_PX - top)
            shot.draw(frame, t, kits=kits, wardrobe=self._wardrobe, origin=origin)
            yield frame

    def _court(self, camera: Camera) -> Image.Image:
        if camera.zoom not in self._courts:
            self._courts[camera.zoom] = self._light.on_picture(empty_court(camera))
        return self._courts[camera.zoom]

    def _dress(self) -> tuple[tuple[Kit, ...], tuple[Kit, ...]]:
        """Kits of the featured team and of the opponents."""
        rng = self._rng
        dark = _DARK[int(rng.integers(len(_DARK)))]
        light = _LIGHT[int(rng.integers(len(_LIGHT)))]
        teams = (dark, light) if rng.random() < 0.5 else (light, dark)
        skins = [[self._light.on(_SKINS[int(k)]) for k in rng.integers(0, 4, 5)] for _ in teams]
        featured, opponents = (
            tuple(
                Kit(
                    jersey=self._light.on(jersey),
                    shorts=self._light.on(
                        (jersey[0] * 4 // 5, jersey[1] * 4 // 5, jersey[2] * 4 // 5)
                    ),
                    skin=tone,
                )
                for tone in tones
            )
            for jersey, tones in zip(teams, skins, strict=True)
        )
        return featured, opponents

    def _pan(
        self, footage: Footage, camera: Camera, *, rightward: bool, fps: float
    ) -> list[tuple[int, int]]:
        """Top left corner of every frame in the wide image."""
        frames = len(footage.ball_m)
        ahead = np.maximum(footage.ball_m[:, 0] - _LEASH_M, _VIEW_M)
        middle_m = _smooth(np.minimum(ahead, LENGTH_M - _VIEW_M), width=max(1, round(0.45 * fps)))
        x_m = LENGTH_M - middle_m if rightward else middle_m
        scale = camera.look.scale_px * camera.zoom
        shake = self._rng.normal(0, (4.0, 2.5))
        drift = np.linspace(-0.5, 0.5, frames) * self._rng.normal(0, 2.0)
        across = (x_m - LENGTH_M / 2) * scale + shake[0] + drift
        half = half_width_px(camera)
        left = np.clip(np.rint(across + half - WIDTH_PX / 2), 0, 2 * half - WIDTH_PX)
        top = int(np.clip(round(MARGIN_PX + shake[1]), 0, 2 * MARGIN_PX))
        return [(int(x), top) for x in left]


class _Shot:
    """One possession in one camera: projected once, then drawn frame by frame."""

    def __init__(
        self, footage: Footage, camera: Camera, *, rightward: bool, featured: int, fps: float
    ) -> None:
        self._footage = footage
        self._camera = camera
        self._rightward = rightward
        self._featured = featured
        self._feet = footage.feet_m.copy()
        self._ball = footage.ball_m.copy()
        if rightward:
            self._feet[:, :, 0] = LENGTH_M - self._feet[:, :, 0]
            self._ball[:, 0] = LENGTH_M - self._ball[:, 0]
        velocity = np.gradient(self._feet[:, :, 0], axis=0) * fps
        to_ball = self._ball[:, None, 0] - self._feet[:, :, 0]
        # Runners look where they run, the others at the ball.
        self._mirrored = np.where(np.abs(velocity) > 1.0, velocity, to_ball) < 0
        steps = np.linalg.norm(np.diff(self._feet, axis=0, prepend=self._feet[:1]), axis=2)
        self._step = (np.cumsum(steps, axis=0) / _STRIDE_M).astype(int) % STEPS

    def draw(
        self,
        frame: Image.Image,
        t: int,
        *,
        kits: Sequence[Kit],
        wardrobe: Wardrobe,
        origin: tuple[int, int],
    ) -> None:
        """Draw everything that moves onto the empty court, from the far side to the near one."""
        feet = [self._camera.project(x, y) for x, y in self._feet[t].tolist()]
        self._floor(frame, t, feet, origin)
        order = sorted(range(N_PLAYERS), key=lambda i: -self._feet[t, i, 1])
        ball_drawn = False
        for i in order:
            if not ball_drawn and self._ball[t, 1] > self._feet[t, i, 1]:
                self._draw_ball(frame, t, origin)
                ball_drawn = True
            self._player(frame, t, i, feet[i], kits[i], wardrobe, origin)
        if not ball_drawn:
            self._draw_ball(frame, t, origin)
        for right in (True, False):
            swing = float(self._footage.net[t]) if right == self._rightward else 0.0
            sprite, (x, y) = props.net(self._camera, right=right, swing=swing)
            frame.paste(sprite, (x + origin[0], y + origin[1]), sprite)

    def _floor(
        self,
        frame: Image.Image,
        t: int,
        feet: Sequence[tuple[float, float, float]],
        origin: tuple[int, int],
    ) -> None:
        for x, y, scale in feet:
            _centre(frame, props.shadow(round(0.95 * scale)), x, y, origin)
        x, y, scale = feet[self._featured]
        _centre(frame, props.ring(round(1.5 * scale)), x, y, origin)
        x, y, scale = self._camera.project(self._ball[t, 0], self._ball[t, 1])
        _centre(frame, props.shadow(props.ball_size_px(scale)), x, y, origin)

    def _player(
        self,
        frame: Image.Image,
        t: int,
        i: int,
        foot: tuple[float, float, float],
        kit: Kit,
        wardrobe: Wardrobe,
        origin: tuple[int, int],
    ) -> None:
        x, y, scale = foot
        sprite = wardrobe.sprite(
            kit,
            Pose(int(self._footage.pose[t, i])),
            step=int(self._step[t, i]),
            mirrored=bool(self._mirrored[t, i]),
            px_per_m=scale,
        )
        left = round(x - sprite.width / 2) + origin[0]
        bottom = round(y - self._footage.lift_m[t, i] * scale + 0.06 * scale) + origin[1]
        frame.paste(sprite, (left, bottom - sprite.height), sprite)
        if i == self._featured:
            mark = props.chevron(max(6, round(0.55 * scale)))
            above = y - (self._footage.lift_m[t, i] + 2.75) * scale
            _centre(frame, mark, x, above, origin)

    def _draw_ball(self, frame: Image.Image, t: int, origin: tuple[int, int]) -> None:
        x, y, scale = self._camera.project(*self._ball[t].tolist())
        _centre(frame, props.ball(props.ball_size_px(scale)), x, y, origin)


def _centre(
    frame: Image.Image, sprite: Image.Image, x: float, y: float, origin: tuple[int, int]
) -> None:
    corner = (
        round(x - sprite.width / 2) + origin[0],
        round(y - sprite.height / 2) + origin[1],
    )
    frame.paste(sprite, corner, sprite)


def _smooth(track: NDArray[np.float64], *, width: int) -> NDArray[np.float64]:
    """Moving average over ``2 * width + 1`` frames, the ends repeated."""
    padded = np.pad(track, width, mode="edge")
    kernel = np.full(2 * width + 1, 1 / (2 * width + 1))
    smooth: NDArray[np.float64] = np.convolve(padded, kernel, mode="valid")
    return smooth
