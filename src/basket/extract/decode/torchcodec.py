"""Decoding with torchcodec; exact, or refused.

torchcodec wants the shared libraries of FFmpeg and an exactly matching torch. Each frame's
timestamp is compared with the packets', and each picture with PyAV's (see
:mod:`basket.extract.decode.checked`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import MissingDependencyError, VideoError
from basket.extract.decode.base import Decoder
from basket.extract.decode.checked import CheckedDecoder, refuse_unless_ordinary
from basket.extract.decode.pyav import open_pyav
from basket.extract.decode.timeline import FrameTable


@contextmanager
def open_torchcodec(path: Path, *, threads: int = 1, device: str = "cpu") -> Iterator[Decoder]:
    """Open a video file with torchcodec.

    Parameters
    ----------
    path : Path
        A regular local file.
    threads : int, default=1
        Threads of the codec.
    device : str, default="cpu"
        ``cuda`` decodes with NVDEC; the pictures come back to the host and are compared with
        PyAV's as any others, so this is for parity, not for speed. Not tested: no machine of ours
        has had both a GPU and FFmpeg's libraries.

    Raises
    ------
    VideoError
        Not a video, damaged, beyond the caps, or of a kind for which torchcodec is not exact.
    MissingDependencyError
        torchcodec, or the FFmpeg that it wants, does not load.
    """
    video_decoder = _import_decoder()
    with open_pyav(path, threads=threads) as reference:
        refuse_unless_ordinary("torchcodec", reference)
        try:
            decoder = video_decoder(
                str(path.absolute()),
                dimension_order="NHWC",
                num_ffmpeg_threads=threads,
                device=device,
                seek_mode="exact",
            )
        except (RuntimeError, ValueError) as error:
            raise VideoError(
                f"torchcodec cannot open this {reference.info.codec} file ({_reason(error)}); "
                "use --decoder pyav"
            ) from error
        if len(decoder) != reference.info.frames:
            raise VideoError(
                f"torchcodec is not exact for this file: it counts {len(decoder)} frames, the "
                f"packets are {reference.info.frames}; use --decoder pyav"
            )

        def fetch(indices: list[int]) -> npt.NDArray[np.uint8]:
            try:
                batch = decoder.get_frames_at(indices)
            except (RuntimeError, ValueError, IndexError) as error:
                raise VideoError(f"damaged: torchcodec stops ({_reason(error)})") from error
            _check_times(batch.pts_seconds.cpu().numpy(), indices, reference.table)
            return np.asarray(batch.data.cpu().numpy(), dtype=np.uint8)

        yield CheckedDecoder("torchcodec", reference, fetch)


def _import_decoder() -> Any:
    try:
        return import_module("torchcodec.decoders").VideoDecoder
    except (ImportError, OSError, RuntimeError) as error:
        raise MissingDependencyError(
            "--decoder torchcodec needs the package torchcodec in the version made for this torch, "
            f"and FFmpeg's shared libraries ({_reason(error)}); use --decoder pyav"
        ) from error


def _check_times(shown_s: npt.NDArray[np.float64], indices: list[int], table: FrameTable) -> None:
    """Refuse frames whose own timestamps are not those of the packets asked for."""
    expected_s = table.pts[indices] * table.seconds_per_tick
    if float(np.abs(shown_s - expected_s).max()) > table.seconds_per_tick:
        raise VideoError(
            "torchcodec is not exact for this file: it returned a frame of another time; "
            "use --decoder pyav"
        )


def _reason(error: Exception) -> str:
    """First line of the message."""
    return str(error).strip().partition("\n")[0][:160]
