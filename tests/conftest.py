"""What many tests need: small videos made here, and the shared real ones where they exist."""

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import settings
from small_league import make_small_league

import basket

# A loaded machine is slow; no test here asserts a time.
settings.register_profile("basket", deadline=None)
settings.load_profile("basket")


def draw_frame(index: int, *, height: int = 64, width: int = 96) -> np.ndarray:
    """A picture whose content tells its frame number: a bright bar that moves over a gradient."""
    ramp = np.linspace(0, 120, width, dtype=np.uint8)
    frame = np.stack([np.tile(ramp, (height, 1))] * 3, axis=-1)
    left = (index * 5) % (width - 8)
    frame[:, left : left + 8] = (230, 200, 40)
    frame[(index * 3) % (height - 6) :][:6] = (30, 60, 220)
    return frame


def write_video(
    path: Path,
    *,
    frames: int = 40,
    fps: int = 10,
    height: int = 64,
    width: int = 96,
    codec: str = "libx264",
    gop: int = 12,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    pts: list[int] | None = None,
    picture: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """Encode a small test video; ``pts`` (in ticks of 1/fps) makes a variable frame rate."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", container_options=container_options) as container:
        stream = container.add_stream(codec, rate=fps, options=options or {})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        stream.gop_size = gop
        for index in range(frames):
            rgb = picture(index) if picture else draw_frame(index, height=height, width=width)
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
            frame.pts = pts[index] if pts else index
            frame.time_base = Fraction(1, fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """The function :func:`write_video`."""
    return write_video


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real test data; tests that need it are skipped where it is missing."""
    folder = Path(os.environ.get("BASKET_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real test data at {folder}; set BASKET_TEST_DATA to have these tests run")
    return folder


@pytest.fixture(scope="module")
def league(tmp_path_factory):
    """A small cache with its label files; a test that changes it must make its own."""
    return make_small_league(tmp_path_factory.mktemp("league"))


@pytest.fixture(scope="module")
def fitted(league, tmp_path_factory):
    """The default run on that league."""
    out = tmp_path_factory.mktemp("runs") / "ridge"
    return basket.fit_head(cache=league.cache, train=league.train, val=league.val, out=out)
