"""The little people: sprites of a player in every pose, drawn large and shrunk on demand."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image, ImageDraw

from basket.demo.footage import Pose
from basket.demo.scenery import Colour

# A sprite is drawn on a canvas 2.6 m high and 2.0 m wide, feet at the bottom.
_CANVAS_M = (2.0, 2.6)
_PX_PER_M = 60
STEPS = 6

# Limbs in metres from the point between the feet: (hip and shoulder height, feet, hands).
_HIP_M, _SHOULDER_M, _HEAD_M = 1.0, 1.62, 1.93
_STRIDE_M = (0.0, 0.32, 0.42, 0.32, 0.0, -0.22)
_HANDS_M: dict[Pose, tuple[tuple[float, float], tuple[float, float]]] = {
    Pose.STAND: ((-0.26, 1.0), (0.26, 1.0)),
    Pose.RUN: ((-0.3, 1.15), (0.36, 1.25)),
    Pose.GUARD: ((-0.62, 1.35), (0.62, 1.35)),
    Pose.SHOOT: ((0.16, 2.4), (0.3, 2.3)),
    Pose.PASS: ((0.66, 1.5), (0.66, 1.38)),
    Pose.CHEER: ((-0.42, 2.42), (0.42, 2.42)),
    Pose.FALLEN: ((-0.3, 1.2), (0.3, 1.2)),
}


@dataclass(frozen=True)
class Kit:
    """What one player wears.

    Parameters
    ----------
    jersey, shorts, skin : tuple of int
        RGB.
    """

    jersey: Colour
    shorts: Colour
    skin: Colour


@dataclass
class Wardrobe:
    """Sprites of a reel, made when first asked for."""

    _large: dict[tuple[Kit, Pose, int], Image.Image] = field(default_factory=dict)
    _small: dict[tuple[Kit, Pose, int, bool, int], Image.Image] = field(default_factory=dict)

    def sprite(
        self, kit: Kit, pose: Pose, *, step: int, mirrored: bool, px_per_m: float
    ) -> Image.Image:
        """A player of the right size.

        Parameters
        ----------
        kit : Kit
            Colours.
        pose : Pose
            What the body does.
        step : int
            Phase of the stride, 0..STEPS-1; only runners have more than one.
        mirrored : bool
            True to face left.
        px_per_m : float
            Size, rounded to half a pixel per metre.
        """
        step = step if pose is Pose.RUN else 0
        size = round(2 * px_per_m)
        key = (kit, pose, step, mirrored, size)
        if key not in self._small:
            large = self._large.get((kit, pose, step))
            if large is None:
                large = self._large[kit, pose, step] = _figure(kit, pose, step)
            width, height = (max(1, round(m * size / 2)) for m in _CANVAS_M)
            small = large.resize((width, height), Image.Resampling.BOX)
            if mirrored:
                small = small.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            self._small[key] = small
        return self._small[key]


def _figure(kit: Kit, pose: Pose, step: int) -> Image.Image:
    size = (round(_CANVAS_M[0] * _PX_PER_M), round(_CANVAS_M[1] * _PX_PER_M))
    picture = Image.new("RGBA", size)
    draw = ImageDraw.Draw(picture)

    def at(x: float, z: float) -> tuple[float, float]:
        return size[0] / 2 + x * _PX_PER_M, size[1] - 3 - z * _PX_PER_M

    def limb(points: list[tuple[float, float]], colour: Colour, width_m: float) -> None:
        width = round(width_m * _PX_PER_M)
        path = [at(*point) for point in points]
        draw.line(path, fill=colour, width=width, joint="curve")
        for x, y in path:
            radius = width / 2 - 0.5
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)

    stride = _STRIDE_M[step] if pose is Pose.RUN else 0.0
    spread = {Pose.GUARD: 0.36, Pose.CHEER: 0.2}.get(pose, 0.14)
    crouch = 0.14 if pose is Pose.GUARD else 0.0
    lean = 0.12 if pose is Pose.RUN else 0.0
    swing = 0.6 * stride
    feet = (
        (-spread - stride, 0.25 * max(stride, 0.0)),
        (spread + stride, 0.25 * max(-stride, 0.0)),
    )
    dark = tuple(int(0.75 * c) for c in kit.skin)
    shade: Colour = (dark[0], dark[1], dark[2])
    hip, shoulder = _HIP_M - crouch, _SHOULDER_M - crouch
    for (x, z), tone in zip(feet, (shade, kit.skin), strict=True):
        knee = (0.6 * x + 0.06, 0.5 * hip + z)
        limb([(0.5 * x * 0.4, hip), knee, (x, 0.08 + z)], tone, 0.17)
        limb([(x, 0.06 + z), (x + 0.1, 0.05 + z)], (240, 240, 240), 0.12)
        limb([(0.1 * x, hip), (0.45 * x + 0.03, 0.68 * hip + z)], kit.shorts, 0.26)
    (lx, lz), (rx, rz) = _HANDS_M[pose]
    for (x, z), tone in (((lx - swing, lz), shade), ((rx + swing, rz), kit.skin)):
        side = -0.22 if x < 0 or (pose in (Pose.SHOOT, Pose.PASS) and tone is shade) else 0.22
        elbow = ((side + lean + x) / 2 + 0.1 * side, (shoulder + z - crouch) / 2 - 0.04)
        limb([(side + lean, shoulder - 0.05), elbow, (x + lean, z - crouch)], tone, 0.13)
    limb([(0.0, hip + 0.06), (lean, shoulder - 0.12)], kit.jersey, 0.46)
    limb([(-0.14 + lean, shoulder - 0.06), (0.14 + lean, shoulder - 0.06)], kit.jersey, 0.2)
    hx, hy = at(1.4 * lean, _HEAD_M - crouch)
    radius = 0.17 * _PX_PER_M
    draw.ellipse((hx - radius, hy - radius * 1.15, hx + radius, hy + radius * 1.15), fill=kit.skin)
    draw.chord(
        (hx - radius, hy - radius * 1.25, hx + radius, hy + radius * 0.7),
        180,
        360,
        fill=(36, 26, 22),
    )
    if pose is Pose.FALLEN:
        lying = picture.rotate(90, resample=Image.Resampling.BILINEAR, expand=False)
        picture = Image.new("RGBA", size)
        picture.paste(lying, (0, round(0.95 * _PX_PER_M)))
    return picture
