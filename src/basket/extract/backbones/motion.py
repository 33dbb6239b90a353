"""A motion descriptor without weights: what any foundation model should beat.

Whole frames, 16 of them at 128 x 72 pixels. Everything is counted in whole numbers and only the
final square root and division are floating point, so a clip's numbers do not depend on the batch
around it, the number of threads, the processor or the version of numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import UsageError
from basket.extract.backbones.base import BackboneSpec, Clips, FrameGeometry, check_clips
from basket.extract.backbones.catalogue import Checkpoint

FRAMES = 16
HEIGHT_PX, WIDTH_PX = 72, 128

#: Rows and columns of cells: fine for where things move, coarse for how and in which colours.
FINE = (6, 8)
COARSE = (3, 4)

#: Grey levels below which a change between frames is taken for compression noise.
DEAD_ZONE = 6

#: The 15 changes between 16 frames, as beginning, middle and end.
THIRDS = ((0, 5), (5, 10), (10, 15))

DIRECTIONS = ("right", "down-right", "down", "down-left", "left", "up-left", "up", "up-right")
ORIENTATIONS = ("0", "45", "90", "135")

#: Raise by one whenever the same clip would yield other numbers than before.
VERSION = 1

Counts = npt.NDArray[np.int64]
Grey = npt.NDArray[np.int16]


class Motion:
    """Motion energy, directions of motion, edge orientations and colour layout of a clip.

    Parameters
    ----------
    streams : sequence of {"pooled", "colour", "palette"}, default=("pooled",)
        ``pooled`` has everything (459 columns). ``colour`` is its colour layout alone, averaged
        over time (36 columns). ``palette`` is how much of the clip has which colour, wherever it
        is (64 columns): a control that knows nothing of motion or place.

    Notes
    -----
    Every value lies in ``[0, 1]`` (square roots of mean magnitudes relative to the largest
    possible one), hence is safe in float16. The direction of motion at a pixel is that of the
    normal flow, ``-I_t * grad I`` (Horn and Schunck, "Determining optical flow", 1981), in eight
    sectors of 45 degrees, weighted with ``|I_t|``.

    Examples
    --------
    >>> clip = np.zeros((1, 16, 72, 128, 3), dtype=np.uint8)
    >>> Motion().embed(clip)["pooled"].shape
    (1, 459)
    """

    def __init__(self, *, streams: Sequence[str] = ("pooled",)) -> None:
        columns = {
            "pooled": _column_names(),
            "colour": _colour_names(),
            "palette": _palette_names(),
        }
        unknown = [name for name in streams if name not in columns]
        if unknown or not streams:
            raise UsageError(
                f"motion has the streams 'pooled', 'colour' and 'palette', not "
                f"{', '.join(unknown) or 'none'}"
            )
        self._spec = BackboneSpec(
            family="motion",
            name="motion",
            frames=FRAMES,
            geometry=FrameGeometry(height_px=HEIGHT_PX, width_px=WIDTH_PX, crop="squash"),
            streams={name: len(columns[name]) for name in dict.fromkeys(streams)},
            preprocessing={"descriptor": VERSION, "dead_zone": DEAD_ZONE},
            columns={name: columns[name] for name in dict.fromkeys(streams)},
            fixed_geometry=True,
        )

    @property
    def spec(self) -> BackboneSpec:
        """What it is; no weights, no licence."""
        return self._spec

    def embed(self, clips: Clips) -> dict[str, npt.NDArray[np.float32]]:
        """Describe clips one by one.

        Parameters
        ----------
        clips : ndarray, uint8, (N, 16, 72, 128, 3)
            RGB.

        Returns
        -------
        dict of str to ndarray, float32, (N, D)
            The requested streams; equal inputs give equal bits, whatever N is.
        """
        check_clips(clips, self._spec)
        out = {
            name: np.empty((len(clips), width), dtype=np.float32)
            for name, width in self._spec.streams.items()
        }
        for row, clip in enumerate(clips):
            colour = _colour_layout(clip)
            if "colour" in out:
                out["colour"][row] = colour
            if "palette" in out:
                out["palette"][row] = _palette(clip)
            if "pooled" in out:
                out["pooled"][row] = np.concatenate([_describe_motion(clip), colour])
        return out


def load(checkpoint: Checkpoint, *, streams: Sequence[str] = ("pooled",), **options: Any) -> Motion:
    """Build the descriptor; device and precision do not apply.

    Raises
    ------
    UsageError
        Weights or a revision were given: there are none to load.
    """
    given = [name for name in ("weights", "revision") if options.get(name)]
    if given:
        raise UsageError(f"{checkpoint.name} has no weights; leave out --{given[0]}")
    return Motion(streams=streams)


def _describe_motion(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    grey = _grey(clip)
    change = grey[1:] - grey[:-1]
    change[np.abs(change) < DEAD_ZONE] = 0
    across, down = _gradients(grey)
    return np.concatenate(
        [_energy(change), _directions(change, across, down), _orientations(across, down)]
    )


def _grey(clip: npt.NDArray[np.uint8]) -> Grey:
    """Luma with the weights of ITU-R BT.601 in 256ths, rounded down."""
    luma = clip[..., 0] * np.uint16(77)  # at most 255 * 256 in all: 16 bits hold it
    luma += clip[..., 1] * np.uint16(150)
    luma += clip[..., 2] * np.uint16(29)
    return (luma >> 8).astype(np.int16)


def _gradients(grey: Grey) -> tuple[Grey, Grey]:
    """Central differences to the right and down; zero at the border."""
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    return across, down


def _cell_sums(values: npt.NDArray[Any], grid: tuple[int, int]) -> Counts:
    """Sum ``(T, H, W)`` over the cells of a grid: ``(T, rows, columns)``."""
    frames, height, width = values.shape
    rows, columns = grid
    bands = values.reshape(frames, rows, height // rows, width).sum(axis=2, dtype=np.int64)
    cells = bands.reshape(frames, rows, columns, width // columns)
    return np.asarray(cells.sum(axis=3), dtype=np.int64)


def _root_share(sums: npt.NDArray[Any], largest: int) -> npt.NDArray[np.float64]:
    """Square root of a sum relative to the largest it could be: in [0, 1], small values spread."""
    return np.sqrt(sums / float(largest))


def _energy(change: Grey) -> npt.NDArray[np.float64]:
    """Frame-difference energy per cell (mean, maximum, thirds of the clip) and over time."""
    cells = _cell_sums(np.abs(change), FINE)
    steps = len(cells)
    full = 255 * _cell_px(FINE)
    parts = [
        _root_share(cells.sum(axis=0), full * steps),
        _root_share(cells.max(axis=0), full),
        *(_root_share(cells[a:b].sum(axis=0), full * (b - a)) for a, b in THIRDS),
        _root_share(cells.sum(axis=(1, 2)), 255 * HEIGHT_PX * WIDTH_PX),
    ]
    return np.concatenate([part.ravel() for part in parts])


def _directions(change: Grey, across: Grey, down: Grey) -> npt.NDArray[np.float64]:
    """Histogram of the directions of motion per coarse cell, and per third of the clip."""
    moving = np.flatnonzero(change)
    step = change.ravel()[moving]
    sign = -np.sign(step)
    gx, gy = across[:-1].ravel()[moving] * sign, down[:-1].ravel()[moving] * sign
    # Where the picture is flat, the direction is unknown: such a change counts as energy alone.
    known = (gx != 0) | (gy != 0)
    moving, step, gx, gy = moving[known], step[known], gx[known], gy[known]
    bins = (len(THIRDS), COARSE[0] * COARSE[1], len(DIRECTIONS))
    index = _places()[moving] * len(DIRECTIONS) + _sectors(gx, gy)
    # Sums of whole numbers, hence exact in double precision and in any order.
    counts = np.bincount(index, weights=np.abs(step), minlength=math.prod(bins)).reshape(bins)
    return np.concatenate(
        [
            _root_share(counts.sum(axis=0), 255 * _cell_px(COARSE) * (FRAMES - 1)).ravel(),
            _root_share(counts.sum(axis=1), 255 * HEIGHT_PX * WIDTH_PX * (FRAMES - 1) // 3).ravel(),
        ]
    )


def _orientations(across: Grey, down: Grey) -> npt.NDArray[np.float64]:
    """Histogram of edge orientations per coarse cell, over every other frame."""
    gx, gy = across[::2], down[::2]
    strength = np.abs(gx) + np.abs(gy)
    orientation = _sectors(gx, gy) % len(ORIENTATIONS)
    full = 510 * _cell_px(COARSE) * len(gx)
    parts = [
        _root_share(_cell_sums(strength * (orientation == k), COARSE).sum(axis=0), full)
        for k in range(len(ORIENTATIONS))
    ]
    return np.stack(parts, axis=-1).ravel()


def _colour_layout(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Mean RGB per coarse cell over the whole clip, in [0, 1]."""
    over_time = clip.sum(axis=0, dtype=np.uint16)
    sums = _cell_sums(np.moveaxis(over_time, -1, 0), COARSE)
    return np.moveaxis(sums, 0, -1).ravel() / float(255 * FRAMES * _cell_px(COARSE))


def _sectors(gx: npt.NDArray[np.int16], gy: npt.NDArray[np.int16]) -> npt.NDArray[np.uint8]:
    """Which of eight sectors of 45 degrees, centred on the axes, a vector points to.

    2/5 stands for the tangent of 22.5 degrees (0.414): whole numbers need no arctangent.
    """
    wide, tall = np.abs(gx), np.abs(gy)
    code = (
        (5 * tall < 2 * wide).astype(np.uint8)
        | ((5 * wide < 2 * tall).astype(np.uint8) << 1)
        | ((gx < 0).astype(np.uint8) << 2)
        | ((gy < 0).astype(np.uint8) << 3)
    )
    return np.take(_SECTOR_OF_CODE, code)


def _sector_table() -> npt.NDArray[np.uint8]:
    table = np.zeros(16, dtype=np.uint8)
    for code in range(16):
        left, up = bool(code & 4), bool(code & 8)
        diagonal = {(False, False): 1, (True, False): 3, (True, True): 5, (False, True): 7}
        horizontal, vertical = 4 if left else 0, 6 if up else 2
        table[code] = (diagonal[left, up], horizontal, vertical, 0)[code & 3]
    return table


_SECTOR_OF_CODE = _sector_table()


def _cell_px(grid: tuple[int, int]) -> int:
    return (HEIGHT_PX // grid[0]) * (WIDTH_PX // grid[1])


@cache
def _places() -> Counts:
    """Third of the clip and coarse cell, as one number, of every pixel of the changes."""
    step, y, x = np.indices((FRAMES - 1, HEIGHT_PX, WIDTH_PX))
    row, column = y // (HEIGHT_PX // COARSE[0]), x // (WIDTH_PX // COARSE[1])
    third = step // (THIRDS[0][1] - THIRDS[0][0])
    return np.asarray((third * COARSE[0] + row) * COARSE[1] + column, dtype=np.int64).ravel()


def _cells(grid: tuple[int, int]) -> list[str]:
    return [f"r{row}c{column}" for row in range(grid[0]) for column in range(grid[1])]


def _palette(clip: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Share of the pixels in each of 4 x 4 x 4 boxes of RGB, over all frames, ``(64,)``."""
    box = clip.reshape(-1, 3) >> 6
    counts = np.bincount(box[:, 0] * 16 + box[:, 1] * 4 + box[:, 2], minlength=64)
    return np.asarray(counts / len(box), dtype=np.float64)


def _palette_names() -> list[str]:
    return [f"palette.r{r}g{g}b{b}" for r in range(4) for g in range(4) for b in range(4)]


def _colour_names() -> list[str]:
    return [f"colour.{cell}.{channel}" for cell in _cells(COARSE) for channel in "rgb"]


def _column_names() -> list[str]:
    fine, coarse = _cells(FINE), _cells(COARSE)
    names = [f"energy.{stat}.{cell}" for stat in ("mean", "max") for cell in fine]
    names += [f"energy.third{third}.{cell}" for third in range(3) for cell in fine]
    names += [f"energy.step{step:02d}" for step in range(FRAMES - 1)]
    names += [f"direction.{cell}.{way}" for cell in coarse for way in DIRECTIONS]
    names += [f"direction.third{third}.{way}" for third in range(3) for way in DIRECTIONS]
    names += [f"edge.{cell}.{angle}" for cell in coarse for angle in ORIENTATIONS]
    return names + _colour_names()
