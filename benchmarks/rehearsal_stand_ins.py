"""What the rehearsal extracts from and with: reels in BASKET's shape, a decoder, a backbone.

The decoder shows frames of 2 x 2 pixels whose bytes follow from the file's name and the frame's
number; the backbone spreads those 12 bytes over 768 dimensions by a fixed matrix. Both are so cheap
that what remains is the tool: planning, workers, batches, commits. Half of the bytes belong to the
player, and the levels follow from them, so that heads have something to learn. Nothing here says
anything about basketball or about a real backbone.
"""

from __future__ import annotations

import csv
import hashlib
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from basket.dataset import SKILLS
from basket.extract.backbones.base import BackboneSpec, FrameGeometry
from basket.extract.decode.base import DisplayedFrame, VideoInfo

SEASONS = [f"{year}-{year + 1}" for year in range(17, 23)]
LEAGUES = [f"League{number:02d}" for number in range(21)]
WINDOW_S = 64 / 30
FPS = 30.0
WIDTH = 768
#: Set by the rehearsal for its child processes.
SEGMENTS = "BASKET_REHEARSAL_SEGMENTS"
CLIPS_PER_S = "BASKET_REHEARSAL_CLIPS_PER_S"


def video_ids(count: int) -> list[str]:
    """The first so many reels: players go round the leagues, each with one to six seasons."""
    found: list[str] = []
    player = 0
    while len(found) < count:
        league = LEAGUES[player % len(LEAGUES)]
        first = player // len(LEAGUES) % len(SEASONS)
        found += [
            f"{season}/{league}/{player}_{season.replace('-', '_')}.mp4"
            for season in SEASONS[first:]
        ]
        player += 1
    return found[:count]


def latent(video_id: str) -> npt.NDArray[np.uint8]:
    """What a player is like in a season, uint8 (6,)."""
    return np.frombuffer(hashlib.sha256(video_id.encode()).digest()[:6], np.uint8)


def write_world(folder: Path, count: int) -> None:
    """Files and label files (train, val, test: 8, 1 and 1 of 10 players) of so many reels."""
    ids = video_ids(count)
    videos, labels = folder / "videos", folder / f"labels-{count}"
    for parent in {str(Path(video_id).parent) for video_id in ids}:
        (videos / parent).mkdir(parents=True, exist_ok=True)
    for video_id in ids:
        if not (videos / video_id).exists():
            (videos / video_id).write_bytes(video_id.encode())
    labels.mkdir(exist_ok=True)
    weights = np.random.default_rng(0).normal(size=(6, len(SKILLS)))
    values = np.stack([latent(video_id) for video_id in ids]) @ weights
    cuts = np.quantile(values, [0.2, 0.4, 0.6, 0.8], axis=0)
    levels = (values[None] > cuts[:, None]).sum(axis=0)
    players = [video_id.rpartition("/")[2].partition("_")[0] for video_id in ids]
    for split, wanted in {"train": range(8), "val": [8], "test": [9]}.items():
        with (labels / f"{split}.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(["video_path", *(skill.name for skill in SKILLS)])
            for video_id, player, row in zip(ids, players, levels.tolist(), strict=True):
                if int(player) % 10 in wanted:
                    rows.writerow([video_id, *row])


class StandInVideo:
    """An open file of no frames, whose frames follow from its name."""

    def __init__(self, path: Path) -> None:
        video_id = "/".join(path.parts[-3:])
        self._latent = latent(video_id)
        self._seed = int.from_bytes(hashlib.sha256(video_id.encode()).digest()[6:12], "big")
        duration_s = int(os.environ.get(SEGMENTS, "234")) * WINDOW_S
        frames = round(duration_s * FPS)
        self.info = VideoInfo(duration_s, FPS, 2, 2, frames, codec="none")
        self.keyframes_s = np.arange(0, duration_s, 250 / FPS)

    def frames_at(self, times_s: npt.NDArray[np.float64]) -> Iterator[DisplayedFrame]:
        """The frame on display at each instant."""
        indices = np.floor(times_s * FPS + 1e-6).astype(np.uint64)
        with np.errstate(over="ignore"):
            mixed = (indices + np.uint64(self._seed)) * np.uint64(0x9E3779B97F4A7C15)
            mixed ^= mixed >> np.uint64(29)
        noise = mixed.view(np.uint8).reshape(-1, 8)[:, :6] // 2
        pixels = np.concatenate([np.tile(self._latent, (len(noise), 1)), noise], axis=1)
        for index, frame in zip(indices.tolist(), pixels.reshape(-1, 2, 2, 3), strict=True):
            yield DisplayedFrame(frame, int(index))


@contextmanager
def open_stand_in(path: Path, *, threads: int = 1) -> Iterator[StandInVideo]:  # noqa: ARG001
    """Open a stand-in video."""
    yield StandInVideo(path)


class StandIn:
    """12 bytes to 768 dimensions, at most as fast as the environment says."""

    spec = BackboneSpec(
        family="stand-in",
        name="stand-in",
        frames=1,
        geometry=FrameGeometry(2, 2, crop="squash"),
        streams={"pooled": WIDTH},
    )

    def __init__(self, _checkpoint: object = None, **_options: object) -> None:
        self._spread = np.random.default_rng(1).normal(size=(12, WIDTH)).astype(np.float32)
        self._clips_per_s = float(os.environ.get(CLIPS_PER_S, "0"))

    def embed(self, clips: npt.NDArray[np.uint8]) -> dict[str, npt.NDArray[np.float32]]:
        """(N, 1, 2, 2, 3) to (N, 768)."""
        if self._clips_per_s:
            time.sleep(len(clips) / self._clips_per_s)
        return {"pooled": clips.reshape(len(clips), 12).astype(np.float32) / 255 @ self._spread}
