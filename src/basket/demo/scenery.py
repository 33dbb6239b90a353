"""The arenas: one camera, one palette and one empty court per league.

Court coordinates are metres: ``x`` along the court (0..28), ``y`` from the near sideline (0..15),
``z`` up. The camera stands at mid-court and never turns; a pan slides the picture over one wide
image of the whole court, so the empty court is drawn once and only cropped afterwards.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

LENGTH_M, WIDTH_M = 28.0, 15.0
RIM_FROM_BASELINE_M = 1.575
RIM_HEIGHT_M = 3.05
WIDTH_PX, HEIGHT_PX = 256, 144
MARGIN_PX = 10
_SUPERSAMPLING = 3

Colour = tuple[int, int, int]
Point = tuple[float, float]


@dataclass(frozen=True)
class Look:
    """How one league is filmed and coloured.

    Parameters
    ----------
    distance_m, height_m : float
        Where the camera stands: metres outside the near sideline and above the floor.
    scale_px : float
        Pixels per metre in the middle of the court.
    horizon_px : float
        Picture row of the middle of the court.
    wood, paint, apron, crowd, board : tuple of int
        Colours (RGB) of the floor, the key, the floor outside the lines, the stands and the
        advertising boards.
    """

    distance_m: float
    height_m: float
    scale_px: float
    horizon_px: float
    wood: Colour
    paint: Colour
    apron: Colour
    crowd: Colour
    board: Colour


LOOKS: dict[str, Look] = {
    "North": Look(
        distance_m=22, height_m=13, scale_px=14.6, horizon_px=92,
        wood=(214, 170, 116), paint=(52, 86, 148), apron=(44, 68, 118), crowd=(58, 60, 80),
        board=(28, 36, 66),
    ),
    "Coast": Look(
        distance_m=20, height_m=17, scale_px=13.8, horizon_px=88,
        wood=(226, 190, 142), paint=(32, 128, 128), apron=(24, 104, 108), crowd=(66, 62, 66),
        board=(16, 60, 66),
    ),
    "Harbor": Look(
        distance_m=24, height_m=10.5, scale_px=15.2, horizon_px=96,
        wood=(196, 146, 96), paint=(150, 54, 46), apron=(116, 42, 40), crowd=(64, 54, 56),
        board=(56, 24, 26),
    ),
    "Summit": Look(
        distance_m=21, height_m=15, scale_px=14.2, horizon_px=90,
        wood=(206, 178, 134), paint=(92, 66, 130), apron=(70, 52, 100), crowd=(56, 56, 70),
        board=(40, 28, 60),
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Camera:
    """A pinhole camera above mid-court, at one zoom.

    Parameters
    ----------
    look : Look
        Where it stands.
    zoom : float
        Multiplies the league's scale.
    """

    look: Look
    zoom: float

    def project(self, x_m: float, y_m: float, z_m: float = 0.0) -> tuple[float, float, float]:
        """Court point to picture.

        Returns
        -------
        tuple of float
            Pixels right of mid-court, pixels below the top edge, and pixels per metre there.
        """
        forward, up, focal = self._axes()
        rel_y, rel_z = y_m + self.look.distance_m, z_m - self.look.height_m
        depth = rel_y * forward[0] + rel_z * forward[1]
        scale = focal / depth
        across = (x_m - LENGTH_M / 2) * scale
        down = self.look.horizon_px - scale * (rel_y * up[0] + rel_z * up[1])
        return across, down, scale

    def _axes(self) -> tuple[Point, Point, float]:
        # Aimed at the middle of the court, which therefore lies on ``horizon_px``.
        reach = self.look.distance_m + WIDTH_M / 2
        range_m = math.hypot(reach, self.look.height_m)
        cos, sin = reach / range_m, self.look.height_m / range_m
        return (cos, -sin), (sin, cos), self.look.scale_px * self.zoom * range_m


@lru_cache(maxsize=32)
def half_width_px(camera: Camera) -> int:
    """Half the width of the wide image: both baskets with room for a frame around each."""
    far_m = LENGTH_M / 2 - 2.0
    return int(far_m * camera.look.scale_px * camera.zoom) + WIDTH_PX // 2


@lru_cache(maxsize=32)
def empty_court(camera: Camera) -> Image.Image:
    """Draw the wide image of the empty court, ``MARGIN_PX`` higher than a frame at both edges.

    Returns
    -------
    PIL.Image.Image
        RGB; mid-court is its middle column. Shared: copy before drawing on it.
    """
    pen = _Pen(camera)
    _stands(pen)
    pen.polygon(_box(-12, -6, LENGTH_M + 12, WIDTH_M + 2.2), camera.look.apron)
    _planks(pen)
    for left in (True, False):
        _half(pen, left=left)
    line: Colour = (244, 240, 230)
    pen.line(_box(0, 0, LENGTH_M, WIDTH_M), line, closed=True)
    pen.line([(LENGTH_M / 2, 0), (LENGTH_M / 2, WIDTH_M)], line)
    pen.line(_circle(LENGTH_M / 2, WIDTH_M / 2, 1.8), line)
    _boards(pen)
    for left in (True, False):
        _basket(pen, left=left)
    return pen.picture.reduce(_SUPERSAMPLING)


class _Pen:
    """Draws court coordinates on the supersampled wide image."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.half_px = half_width_px(camera)
        size = (2 * self.half_px, HEIGHT_PX + 2 * MARGIN_PX)
        self.picture = Image.new(
            "RGB", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING), camera.look.crowd
        )
        self.draw = ImageDraw.Draw(self.picture)

    def place(self, x_m: float, y_m: float, z_m: float = 0.0) -> Point:
        across, down, _ = self.camera.project(x_m, y_m, z_m)
        return (
            (across + self.half_px) * _SUPERSAMPLING,
            (down + MARGIN_PX) * _SUPERSAMPLING,
        )

    def polygon(self, points: Sequence[Point], colour: Colour, *, z_m: float = 0.0) -> None:
        self.draw.polygon([self.place(*point, z_m) for point in points], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour, *, closed: bool = False) -> None:
        path = [self.place(*point) for point in points]
        self.draw.line([*path, path[0]] if closed else path, fill=colour, width=3, joint="curve")

    def stroke(
        self, points: Sequence[tuple[float, float, float]], colour: Colour, width: int
    ) -> None:
        self.draw.line([self.place(*point) for point in points], fill=colour, width=width)


def _stands(pen: _Pen) -> None:
    """Rows of spectators: the same people in every video of a league."""
    rng = np.random.default_rng(7)
    base = np.array(pen.camera.look.crowd)
    for row in range(16, -1, -1):
        y, z = WIDTH_M + 4.0 + 0.9 * row, 0.9 + 0.75 * row
        x = -16.0
        while x < LENGTH_M + 16:
            shirt = np.clip(base + rng.normal(0, 26, 3) + rng.normal(0, 16), 20, 225)
            left, top = pen.place(x, y, z + 0.95)
            right, bottom = pen.place(x + 0.62, y, z)
            dress = _rgb(shirt)
            pen.draw.rounded_rectangle((left, top + 5, right, bottom + 8), 3, fill=dress)
            face = _rgb(np.array((196, 150, 120)) * rng.uniform(0.45, 0.95))
            middle = (left + right) / 2
            pen.draw.ellipse((middle - 3, top - 2, middle + 3, top + 5), fill=face)
            x += 0.62 + rng.uniform(0.1, 0.35)


def _planks(pen: _Pen) -> None:
    rng = np.random.default_rng(11)
    wood = np.array(pen.camera.look.wood)
    depth = 0.5
    for row in range(int(WIDTH_M / depth)):
        x = -rng.uniform(0, 3)
        while x < LENGTH_M:
            end = min(x + rng.uniform(2.0, 4.0), LENGTH_M)
            shade = _rgb(wood + rng.normal(0, 4.5))
            begin = max(x, 0.0)
            pen.polygon(_box(begin, row * depth, end, (row + 1) * depth), shade)
            x = end


def _half(pen: _Pen, *, left: bool) -> None:
    def at(d: float) -> float:
        return d if left else LENGTH_M - d

    line: Colour = (244, 240, 230)
    key = _box(at(0), 5.05, at(5.8), 9.95)
    pen.polygon(key, pen.camera.look.paint)
    pen.line(key, line, closed=True)
    half = math.pi / 2
    arc = _circle(5.8, WIDTH_M / 2, 1.8, begin=-half, end=half)
    pen.line([(at(d), y) for d, y in arc], line)
    # The three-point line: 6.75 m from the basket, straight near the sidelines.
    corner = math.acos((WIDTH_M / 2 - 0.9) / 6.75)
    bow = _circle(RIM_FROM_BASELINE_M, WIDTH_M / 2, 6.75, begin=-half + corner, end=half - corner)
    pen.line([(at(d), y) for d, y in [(0, 0.9), *bow, (0, WIDTH_M - 0.9)]], line)
    charge = _circle(RIM_FROM_BASELINE_M, WIDTH_M / 2, 1.25, begin=-half, end=half)
    pen.line([(at(d), y) for d, y in charge], line)


def _boards(pen: _Pen) -> None:
    """Advertising along the far side."""
    rng = np.random.default_rng(5)
    board = np.array(pen.camera.look.board)
    y = WIDTH_M + 2.2
    for begin in range(-14, 43, 3):
        shade = _rgb(board + rng.uniform(0, 36))
        corners = [(begin, 0.0), (begin + 3, 0.0), (begin + 3, 0.95), (begin, 0.95)]
        pen.draw.polygon([pen.place(x, y, z) for x, z in corners], fill=shade)
        light = _rgb(np.array(shade) + 90)
        for k in range(int(rng.integers(2, 5))):
            x = begin + 0.5 + 0.55 * k
            glyph = [(x, 0.3), (x + 0.3, 0.3), (x + 0.3, 0.68), (x, 0.68)]
            pen.draw.polygon([pen.place(gx, y, gz) for gx, gz in glyph], fill=light)


def _basket(pen: _Pen, *, left: bool) -> None:
    def at(d: float) -> float:
        return d if left else LENGTH_M - d

    middle = WIDTH_M / 2
    steel: Colour = (70, 74, 84)
    pen.stroke([(at(-1.6), middle, 0.0), (at(-1.6), middle, 2.4)], steel, 15)
    pen.stroke([(at(-1.6), middle, 2.4), (at(1.15), middle, 3.4)], steel, 11)
    pane = [(1.2, middle - 0.9, 2.9), (1.2, middle + 0.9, 2.9)]
    pane += [(1.2, middle + 0.9, 3.95), (1.2, middle - 0.9, 3.95)]
    corners = [pen.place(at(d), y, z) for d, y, z in pane]
    pen.draw.polygon(corners, fill=(226, 232, 238))
    pen.draw.line([*corners, corners[0]], fill=(190, 40, 36), width=4)


def _rgb(values: NDArray[np.float64]) -> Colour:
    red, green, blue = (int(value) for value in np.clip(values, 0, 255))
    return red, green, blue


def _box(x0: float, y0: float, x1: float, y1: float) -> list[Point]:
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _circle(
    x: float, y: float, radius: float, *, begin: float = 0.0, end: float = 2 * math.pi
) -> list[Point]:
    angles = np.linspace(begin, end, 33)
    return [(x + radius * math.cos(a), y + radius * math.sin(a)) for a in angles]
