"""One reel from events to an H.264 file; what a worker process runs."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
from numpy.random import SeedSequence

from basket.demo.events import Event, Possession
from basket.demo.render import draw_reel
from basket.demo.scenery import HEIGHT_PX, LOOKS, WIDTH_PX

if TYPE_CHECKING:
    from collections.abc import Sequence

FPS = 12
# A possession clip lasts about as long as one 64-frame window at 30 frames per second.
POSSESSION_S = 64 / 30
_LENGTH_JITTER = 0.06
# superfast with bf keeps B-frames, which decoders must reorder as in any broadcast file.
_X264 = {"preset": "superfast", "crf": "27", "threads": "1", "g": "48", "bf": "2"}


@dataclass(frozen=True)
class ReelJob:
    """All a worker needs to film one reel; no skill and no level is in it.

    Parameters
    ----------
    path : Path
        The file to write.
    possessions : tuple of Possession
        What happens.
    league : str
        Key of :data:`basket.demo.scenery.LOOKS`.
    seed : SeedSequence
        Of everything that differs between two films of the same events.
    """

    path: Path
    possessions: tuple[Possession, ...]
    league: str
    seed: SeedSequence


def possessions_in(seconds: float) -> int:
    """How many possessions a reel of ``seconds`` shows."""
    return max(1, round(seconds / POSSESSION_S))


def cut(
    events: Sequence[Event], *, seconds: float, rng: np.random.Generator
) -> tuple[Possession, ...]:
    """Give every event a clip, of nearly equal lengths that add up to ``seconds``."""
    shares = 1 + rng.uniform(-_LENGTH_JITTER, _LENGTH_JITTER, len(events))
    edges = np.rint(np.cumsum(shares) / shares.sum() * seconds * FPS).astype(int)
    frames = np.diff(edges, prepend=0).tolist()
    return tuple(Possession(event, n) for event, n in zip(events, frames, strict=True))


def render_reel(job: ReelJob) -> Path:
    """Draw and encode one reel; the file appears under its name only when it is whole.

    Returns
    -------
    Path
        ``job.path``.
    """
    job.path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = job.path.with_name(f".{job.path.stem}.{os.getpid()}.tmp")
    rng = np.random.default_rng(job.seed)
    try:
        with av.open(str(unfinished), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FPS, options=_X264)
            stream.width, stream.height = WIDTH_PX, HEIGHT_PX
            stream.pix_fmt = "yuv420p"
            for picture in draw_reel(job.possessions, look=LOOKS[job.league], fps=FPS, rng=rng):
                frame = av.VideoFrame.from_ndarray(np.asarray(picture), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        unfinished.replace(job.path)
    finally:
        unfinished.unlink(missing_ok=True)
    return job.path
