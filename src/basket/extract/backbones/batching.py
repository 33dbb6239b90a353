"""Batches that fit the device: as large as is worth it, halved when memory runs out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from basket.errors import BasketError
from basket.extract.backbones.base import Backbone, Clips

#: Where there is no GPU: larger batches gain nothing there and cost memory.
CPU_BATCH = 8

#: Operations per batch beyond which a large GPU is busy anyway, in units of 1e12.
_ENOUGH_TFLOP = 24.0
_SMALLEST, _LARGEST = 8, 256
#: Of the free memory; the rest is for the decoder, other backbones and fragmentation.
_SHARE = 0.5

#: What torch says, on CUDA and on a CPU, and what cuBLAS and cuDNN say through it.
_NO_MEMORY = ("out of memory", "can't allocate memory", "status_alloc_failed")


@dataclass
class BatchSize:
    """Clips per call, and how it came down to that.

    Parameters
    ----------
    clips : int
        What the next call takes.
    halvings : list of int
        The sizes that did not fit, in the order in which they were tried.
    """

    clips: int
    halvings: list[int] = field(default_factory=list)

    def halve(self, name: str) -> None:
        """Take half from now on.

        Raises
        ------
        BasketError
            A single clip does not fit.
        """
        if self.clips <= 1:
            raise BasketError(
                f"not even one clip of {name} fits into the memory of the device; free memory "
                "there, use --precision bf16 on a GPU, a smaller model, or --device cpu"
            )
        self.halvings.append(self.clips)
        self.clips //= 2


def embed_in_batches(
    backbone: Backbone,
    clips: Clips,
    batch_size: int | BatchSize,
    *,
    turn: AbstractContextManager[object] | None = None,
) -> dict[str, npt.NDArray[np.float32]]:
    """Embed any number of clips, a batch at a time.

    Parameters
    ----------
    backbone : Backbone
    clips : ndarray, uint8, (N, T, H, W, 3)
    batch_size : int or BatchSize
        Clips per call. A :class:`BatchSize` remembers what fitted, for the next call.
    turn : context manager, optional
        Held while the backbone is handed a batch, but not while that is waited for: with a lock,
        several threads may embed with one backbone.

    Returns
    -------
    dict of str to ndarray, float32, (N, D)
        The same rows as ``backbone.embed(clips)``.

    Raises
    ------
    BasketError
        A single clip does not fit into the device's memory.

    Notes
    -----
    Where the backbone can (``begin``), a batch is handed to the device before the one ahead of it
    has come back, so that the device does not wait for copies.
    """
    size = batch_size if isinstance(batch_size, BatchSize) else BatchSize(batch_size)
    begin = getattr(backbone, "begin", None)
    done: list[Any] = []
    ahead: Any = None
    start = 0
    while start < len(clips) or not done:
        batch = clips[start : start + size.clips]
        with turn or nullcontext():
            begun = _within_memory(begin or backbone.embed, batch)
        if begun is None:
            if ahead is not None:
                done.append(ahead.result())
                ahead = None
            if len(batch) <= size.clips:  # else another thread has halved it meanwhile
                size.halve(backbone.spec.name)
            continue
        start += len(batch)
        if begin is None:
            done.append(begun)
            continue
        if ahead is not None:
            done.append(ahead.result())
        ahead = begun
        if start >= len(clips):
            done.append(ahead.result())
    return {name: np.concatenate([part[name] for part in done]) for name in backbone.spec.streams}


def auto_batch_size(backbone: Backbone, device: str) -> BatchSize:
    """A batch size to start from.

    Parameters
    ----------
    backbone : Backbone
    device : str
        Where it runs, as torch names it; anything but CUDA is taken for a CPU.

    Returns
    -------
    BatchSize
        8 on a CPU. On a GPU what keeps it busy (24 TFLOP a batch, 8 to 256 clips), but no more
        than half of the free memory holds, measured with two clips.
    """
    if not device.startswith("cuda") or not hasattr(backbone, "begin"):
        return BatchSize(CPU_BATCH)
    import torch

    wanted = worthwhile_batch(backbone.spec.tflop_per_clip)
    bytes_per_clip = _within_memory(partial(_measure_clip, backbone), device)
    if bytes_per_clip is None:  # not even two clips at once
        return BatchSize(1)
    free_bytes, _total = torch.cuda.mem_get_info(device)
    fits = int(_SHARE * free_bytes / max(1, bytes_per_clip))
    return BatchSize(max(1, min(wanted, fits)))


def worthwhile_batch(tflop_per_clip: float | None) -> int:
    """Clips that keep a large GPU busy, a power of two.

    >>> worthwhile_batch(0.361), worthwhile_batch(11.6), worthwhile_batch(None)
    (64, 8, 32)
    """
    if not tflop_per_clip:
        return 32
    clips = _SMALLEST
    while clips * tflop_per_clip < _ENOUGH_TFLOP and clips < _LARGEST:
        clips *= 2
    # The last doubling may have overshot: the power of two nearer to the aim is taken.
    return (
        clips if clips * tflop_per_clip < 1.5 * _ENOUGH_TFLOP or clips == _SMALLEST else clips // 2
    )


def _measure_clip(backbone: Backbone, device: str) -> int:
    """Bytes of device memory that one more clip in a batch needs at its peak."""
    import torch

    spec = backbone.spec
    peaks = []
    for count in (1, 2):
        shape = (count, spec.frames, spec.geometry.height_px, spec.geometry.width_px, 3)
        torch.cuda.reset_peak_memory_stats(device)
        backbone.embed(np.zeros(shape, dtype=np.uint8))
        peaks.append(torch.cuda.max_memory_allocated(device))
    return int(peaks[1] - peaks[0])


def _within_memory(call: Callable[[Any], Any], argument: Any) -> Any:
    """What the call returns; None where the device ran out of memory."""
    try:
        return call(argument)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
    # Outside the handler: the traceback, and every tensor it holds, is gone by now.
    _release()
    return None


def is_out_of_memory(error: Exception) -> bool:
    """Whether an error says that memory ran out, of the host or of a device."""
    return isinstance(error, MemoryError) or any(
        words in str(error).lower() for words in _NO_MEMORY
    )


def _release() -> None:
    import sys

    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
