"""Decoding with decord, for those whose pipeline rests on it; exact, or refused.

decord 0.6.0 (2021) is the last release. Its table of frames must agree with ours before anything is
decoded, and every picture is compared with PyAV's (see :mod:`basket.extract.decode.checked`). It
has no AV1 decoder, and in HEVC it may return the frame after the one asked for.
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
def open_decord(path: Path, *, threads: int = 1) -> Iterator[Decoder]:
    """Open a video file with decord.

    Parameters
    ----------
    path : Path
        A regular local file.
    threads : int, default=1
        Threads of the codec.

    Raises
    ------
    VideoError
        Not a video, damaged, beyond the caps, or of a kind for which decord is not exact.
    MissingDependencyError
        decord is not installed.
    """
    decord = _import_decord()
    with open_pyav(path, threads=threads) as reference:
        refuse_unless_ordinary("decord", reference)
        if reference.info.codec == "hevc":
            raise VideoError(
                "decord is not exact for HEVC: it seeks to other frames; use --decoder pyav"
            )
        try:
            reader = decord.VideoReader(str(path.absolute()), num_threads=threads)
        except (decord.DECORDError, RuntimeError, AssertionError) as error:
            raise VideoError(
                f"decord cannot open this {reference.info.codec} file ({_reason(error)}); "
                "use --decoder pyav"
            ) from error
        _check_table(reader, reference.table)

        def fetch(indices: list[int]) -> npt.NDArray[np.uint8]:
            try:
                return np.asarray(reader.get_batch(indices).asnumpy(), dtype=np.uint8)
            except (decord.DECORDError, RuntimeError) as error:
                raise VideoError(f"damaged: decord stops ({_reason(error)})") from error

        yield CheckedDecoder("decord", reference, fetch)


def _import_decord() -> Any:
    try:
        decord = import_module("decord")
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"--decoder decord needs the package decord, which does not load here ({error}); "
            "pip install decord (x86-64 Linux and Windows only), or use --decoder pyav"
        ) from error
    decord.logging.set_level(decord.logging.QUIET)
    return decord


def _check_table(reader: Any, table: FrameTable) -> None:
    """Refuse a file whose frames decord counts or times otherwise than its packets say."""
    frames = len(table.pts)
    if len(reader) != frames:
        raise VideoError(
            f"decord is not exact for this file: it counts {len(reader)} frames, the packets are "
            f"{frames}; use --decoder pyav"
        )
    shown_s = np.asarray(reader.get_frame_timestamp(list(range(frames))))[:, 0].astype(np.float64)
    # decord keeps seconds in float32: half a frame is far more than that loses in four hours.
    slack_s = 0.25 * float(np.diff(table.times_s).min()) if frames > 1 else 1.0
    if float(np.abs(shown_s - shown_s[0] - table.times_s).max()) > slack_s:
        raise VideoError(
            "decord is not exact for this file: its timestamps are not those of the packets; "
            "use --decoder pyav"
        )


def _reason(error: Exception) -> str:
    """First line of decord's message, without its place in the source."""
    return str(error).partition("\n")[0].rpartition("] ")[2][:120]
