"""What moves besides the players: ball, net, shadows and the marks of the player of interest."""

from __future__ import annotations

import math
from functools import lru_cache

from PIL import Image, ImageDraw

from basket.demo.scenery import LENGTH_M, RIM_FROM_BASELINE_M, RIM_HEIGHT_M, WIDTH_M, Camera

# Larger than life: at 15 pixels per metre a true ball would be a dot.
_BALL_M = 0.42
_RIM_RADIUS_M, _NET_M = 0.36, 0.62
_SWAY_STEPS = 4
_SUPERSAMPLING = 4
_MARK = (255, 226, 64)


@lru_cache(maxsize=64)
def ball(size_px: int) -> Image.Image:
    """Draw a ball of the given diameter."""
    n = size_px * _SUPERSAMPLING
    picture = Image.new("RGBA", (n, n))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((0, 0, n - 1, n - 1), fill=(92, 40, 14))
    edge = n // 8
    draw.ellipse((edge, edge, n - 1 - edge, n - 1 - edge), fill=(238, 118, 34))
    draw.ellipse((n * 0.28, n * 0.22, n * 0.52, n * 0.44), fill=(255, 178, 104))
    return picture.reduce(_SUPERSAMPLING)


def ball_size_px(px_per_m: float) -> int:
    """Diameter of the ball where a metre is ``px_per_m`` long."""
    return max(4, round(_BALL_M * px_per_m))


@lru_cache(maxsize=64)
def shadow(width_px: int) -> Image.Image:
    """Draw a soft shadow on the floor."""
    width, height = width_px * _SUPERSAMPLING, max(2, width_px // 3) * _SUPERSAMPLING
    picture = Image.new("RGBA", (width, height))
    ImageDraw.Draw(picture).ellipse((0, 0, width - 1, height - 1), fill=(20, 12, 8, 96))
    return picture.reduce(_SUPERSAMPLING)


@lru_cache(maxsize=64)
def ring(width_px: int) -> Image.Image:
    """Draw the ring under the player of interest."""
    width, height = width_px * _SUPERSAMPLING, max(4, round(width_px * 0.42)) * _SUPERSAMPLING
    picture = Image.new("RGBA", (width, height))
    ImageDraw.Draw(picture).ellipse((1, 1, width - 2, height - 2), outline=_MARK, width=6)
    return picture.reduce(_SUPERSAMPLING)


@lru_cache(maxsize=8)
def chevron(width_px: int) -> Image.Image:
    """Draw the arrowhead above the player of interest."""
    n = width_px * _SUPERSAMPLING
    picture = Image.new("RGBA", (n, n))
    draw = ImageDraw.Draw(picture)
    draw.polygon([(0, n * 0.1), (n - 1, n * 0.1), (n / 2, n * 0.85)], fill=(40, 32, 8))
    draw.polygon([(n * 0.14, n * 0.16), (n * 0.86, n * 0.16), (n / 2, n * 0.72)], fill=_MARK)
    return picture.reduce(_SUPERSAMPLING)


def net(camera: Camera, *, right: bool, swing: float) -> tuple[Image.Image, tuple[int, int]]:
    """Rim and net of one basket.

    Parameters
    ----------
    camera : Camera
        How it is seen.
    right : bool
        Which basket.
    swing : float
        -1..1, rounded to a quarter; 0 at rest.

    Returns
    -------
    tuple of PIL.Image.Image and (int, int)
        The sprite (RGBA) and where its top left corner lies: pixels right of mid-court and below
        the top edge.
    """
    step = round(max(-1.0, min(1.0, swing)) * _SWAY_STEPS)
    return _net(camera, right, step)


@lru_cache(maxsize=512)
def _net(camera: Camera, right: bool, step: int) -> tuple[Image.Image, tuple[int, int]]:
    x = LENGTH_M - RIM_FROM_BASELINE_M if right else RIM_FROM_BASELINE_M
    across, down, scale = camera.project(x, WIDTH_M / 2, RIM_HEIGHT_M)
    pad = math.ceil(0.75 * scale)
    left, top = math.floor(across) - pad, math.floor(down) - pad
    size = (2 * pad + 1, 2 * pad + math.ceil(scale))
    picture = Image.new("RGBA", (size[0] * _SUPERSAMPLING, size[1] * _SUPERSAMPLING))
    draw = ImageDraw.Draw(picture)

    def at(x_px: float, y_px: float) -> tuple[float, float]:
        return (across + x_px - left) * _SUPERSAMPLING, (down + y_px - top) * _SUPERSAMPLING

    flat = 0.34
    radius = _RIM_RADIUS_M * scale
    sway = step / _SWAY_STEPS
    length = (_NET_M + 0.22 * abs(sway)) * scale
    aside = 0.3 * sway * scale
    strings = [math.pi * k / 6 for k in range(13)]
    for turn in (1, -1):
        for k, angle in enumerate(strings):
            twist = strings[(k + 2 * turn) % 12]
            start = at(radius * math.cos(angle), radius * flat * math.sin(angle))
            end = at(
                0.55 * radius * math.cos(twist) + aside,
                length + 0.55 * radius * flat * math.sin(twist),
            )
            draw.line((start, end), fill=(246, 246, 246, 200), width=2)
    hoop = (*at(-radius, -radius * flat), *at(radius, radius * flat))
    draw.ellipse(hoop, outline=(226, 74, 30), width=6)
    return picture.reduce(_SUPERSAMPLING), (left, top)
