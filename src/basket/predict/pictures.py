"""Small strips of film: a few frames of a moment side by side, as one embedded image."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.errors import VideoError
from basket.extract.decode import DECODERS

FRAMES = 6
HEIGHT_PX = 108
_MAX_WIDTH_PX = 256
_QUALITY = 50


@dataclass(frozen=True)
class Strip:
    """Frames of one moment, side by side.

    Parameters
    ----------
    uri : str
        ``data:image/webp;base64,...``
    width_px, height_px : int
        Of one frame.
    frames : int
    """

    uri: str
    width_px: int
    height_px: int
    frames: int


def film_strips(
    path: Path, spans: Sequence[tuple[float, float]], *, frames: int = FRAMES
) -> list[Strip]:
    """Decode a few frames of each span ``[start_s, end_s)`` in one pass over the file.

    Raises
    ------
    VideoError
        The file cannot be read there.
    """
    if not spans:
        return []
    times = np.array([start + np.arange(frames) * (end - start) / frames for start, end in spans])
    order = np.argsort(times.ravel(), kind="stable")
    pictures: list[npt.NDArray[np.uint8] | None] = [None] * times.size
    with DECODERS["pyav"](path) as video:
        shown = video.frames_at(times.ravel()[order])
        for place, frame in zip(order.tolist(), shown, strict=True):
            # At once: the full frame is shared and large.
            pictures[place] = _small(frame.rgb)
    strips = []
    for first in range(0, times.size, frames):
        taken = [each for each in pictures[first : first + frames] if each is not None]
        if len(taken) < frames:
            raise VideoError("the file ends before its moments")
        strips.append(_strip(taken))
    return strips


def _small(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    from PIL import Image

    height, width = rgb.shape[:2]
    wanted = max(1, min(_MAX_WIDTH_PX, round(width * HEIGHT_PX / height)))
    return np.asarray(Image.fromarray(rgb).resize((wanted, HEIGHT_PX), Image.Resampling.BILINEAR))


def _strip(pictures: Sequence[npt.NDArray[np.uint8]]) -> Strip:
    from PIL import Image, features

    together = Image.fromarray(np.concatenate(pictures, axis=1))
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "jpeg"
    together.save(buffer, kind, quality=_QUALITY)
    encoded = base64.b64encode(buffer.getvalue()).decode()
    height, width = pictures[0].shape[:2]
    return Strip(f"data:image/{kind};base64,{encoded}", width, height, len(pictures))
