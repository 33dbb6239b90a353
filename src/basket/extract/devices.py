"""Several devices of one machine: a forward process on each, fed by one pool of decoders.

The parent keeps everything that needs an order (decoding, filling batches, committing); a process
per device only turns batches into rows. A batch goes through shared memory to whichever device is
free, and comes back as a few hundred bytes per clip. Each device has two lanes, so that a batch is
copied while the one before it is computed.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

import numpy as np

from basket.cores import usable_cores
from basket.errors import BasketError, IdentityError, UsageError
from basket.extract.backbones.base import Backbone, BackboneSpec, Streams
from basket.extract.backbones.batching import BatchSize, auto_batch_size
from basket.extract.decode_worker import end_with_parent
from basket.extract.forward import Embedders, Pixels, embed_pieces
from basket.extract.recipe import BackboneRecipe
from basket.extract.shared_bytes import SharedBytes

_LANES = 2
_END_S = 10.0  # for a process to end by itself once its connections are closed


def device_list(device: str, *, cuda_devices: Callable[[], int] | None = None) -> list[str]:
    """The devices that ``--device`` names.

    Parameters
    ----------
    device : str
        ``cuda:0,1``, ``cpu,cpu``, ``all`` (every CUDA device), or a single one, which is returned
        as it is (``auto`` too).
    cuda_devices : callable, optional
        Returns how many there are; asks torch unless given.

    Raises
    ------
    UsageError
        Not a list of devices, a CUDA device named twice, or ``all`` of none.

    Examples
    --------
    >>> device_list("cuda:0,1,cuda:3"), device_list("cpu,cpu"), device_list("auto")
    (['cuda:0', 'cuda:1', 'cuda:3'], ['cpu', 'cpu'], ['auto'])
    >>> device_list("all", cuda_devices=lambda: 2)
    ['cuda:0', 'cuda:1']
    """
    if device == "all":
        count = (cuda_devices or _count_cuda_devices)()
        if not count:
            raise UsageError("--device all means every CUDA device, and there is none here")
        return [f"cuda:{index}" for index in range(count)]
    if "," not in device:
        return [device]
    found: list[str] = []
    for part in device.split(","):
        text = part.strip()
        if text.isdigit() and found and found[-1].startswith("cuda:"):
            text = f"cuda:{text}"
        if not re.fullmatch(r"cpu|cuda:\d+", text):
            raise UsageError(
                f"--device takes one device or a list like cuda:0,1 or cpu,cpu; got {device!r}"
            )
        if text in found and text != "cpu":
            raise UsageError(f"--device names {text} twice; one process per GPU is all it can use")
        found.append(text)
    return found


def _count_cuda_devices() -> int:
    import torch

    return int(torch.cuda.device_count())


@contextmanager
def forward_processes(
    recipe: BackboneRecipe, devices: Sequence[str], *, batch_size: int | None = None
) -> Iterator[tuple[list[BackboneSpec], Embedders]]:
    """Load the backbones in one process per device; they end with the block.

    Parameters
    ----------
    recipe : BackboneRecipe
        Its device is replaced by each of these.
    devices : sequence of str
    batch_size : int, optional
        Clips per call; by default what suits each backbone on the smallest of the devices.

    Yields
    ------
    specs : list of BackboneSpec
    embedders : Embedders
        For :func:`basket.extract.pipeline.extract`.

    Raises
    ------
    BasketError
        A process cannot load the backbones, or died while it tried.
    IdentityError
        Two processes found different weights.
    """
    threads = max(1, usable_cores() // max(1, devices.count("cpu")))
    with ExitStack() as stack:
        started = [
            stack.enter_context(_ForwardProcess(recipe.on(device), batch_size, threads))
            for device in devices
        ]
        ready = [each.ready() for each in started]
        for device, (specs, _) in zip(devices, ready, strict=True):
            if specs != ready[0][0]:
                raise IdentityError(
                    f"{devices[0]} and {device} have loaded different backbones; is somebody "
                    "changing the weights? Name a folder that stays as it is with --weights"
                )
        clips = np.array([sizes for _, sizes in ready]).min(axis=0)
        sizes = [BatchSize(int(count)) for count in clips]
        lanes = [lane for each in started for lane in each.lanes(sizes)]
        for lane in lanes:
            stack.callback(lane.close)
        yield ready[0][0], Embedders([lane.embed for lane in lanes], sizes)


class _ForwardProcess:
    """A process that has the backbones on one device."""

    def __init__(self, recipe: BackboneRecipe, batch_size: int | None, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.device = recipe.device
        self._control, control = context.Pipe()
        pipes = [context.Pipe() for _ in range(_LANES)]
        self._lanes = [ours for ours, _ in pipes]
        theirs = [their for _, their in pipes]
        self._process: BaseProcess = context.Process(
            target=_serve,
            args=(control, theirs, recipe, batch_size, threads),
            name=f"forward-{recipe.device}",
            daemon=True,
        )
        self._process.start()
        for end in (control, *theirs):  # the process holds the only ones: its death is an EOF here
            end.close()

    def __enter__(self) -> _ForwardProcess:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in (self._control, *self._lanes):
            connection.close()
        self._process.join(_END_S)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def ready(self) -> tuple[list[BackboneSpec], list[int]]:
        """Specifications and clips per call, once it has loaded the backbones."""
        try:
            answer = self._control.recv()
        except (EOFError, OSError):
            raise self.died() from None
        if isinstance(answer, BaseException):
            raise answer
        specs, clips = answer
        return specs, clips

    def lanes(self, sizes: Sequence[BatchSize]) -> list[_Lane]:
        """Two ways to hand it batches."""
        return [_Lane(self, connection, sizes) for connection in self._lanes]

    def died(self) -> BasketError:
        """What to say of its end."""
        self._process.join(_END_S)
        code = self._process.exitcode
        return BasketError(
            f"The forward process on {self.device} died (exit code {code}; out of memory?); what "
            "was finished is committed: run the same command again, with a smaller --batch-size"
        )


@dataclass
class _Lane:
    """One batch at a time to a process and back; used by one thread at a time."""

    process: _ForwardProcess
    connection: Connection
    sizes: Sequence[BatchSize]
    memory: SharedBytes | None = None

    def embed(self, position: int, pieces: Sequence[Pixels]) -> Streams:
        """Embed pieces of clips, ``(n, C, T, H, W, 3)`` each, on the process's device."""
        shape = (sum(len(piece) for piece in pieces), *pieces[0].shape[1:])
        memory = self._room(sum(piece.nbytes for piece in pieces))
        np.concatenate(pieces, out=_array(shape, memory))
        try:
            self.connection.send((memory.name, position, shape))
            answer = self.connection.recv()
        except (EOFError, OSError):
            raise self.process.died() from None
        if isinstance(answer, BaseException):
            raise answer
        streams, clips = answer
        for size, now in zip(self.sizes, clips, strict=True):
            size.clips = min(size.clips, now)
        found: Streams = streams
        return found

    def _room(self, n_bytes: int) -> SharedBytes:
        if self.memory is None or self.memory.size < n_bytes:
            self.close()
            self.memory = SharedBytes.create(n_bytes)
        return self.memory

    def close(self) -> None:
        """Give the shared memory back."""
        if self.memory is not None:
            self.memory.close()
            self.memory = None


def _array(shape: tuple[int, ...], memory: SharedBytes) -> Pixels:
    return np.ndarray(shape, np.uint8, buffer=memory.buf)


def _serve(
    control: Connection,
    lanes: Sequence[Connection],
    recipe: BackboneRecipe,
    batch_size: int | None,
    threads: int,
) -> None:
    """In a process: load the backbones, then embed what comes in the lanes, until it is over."""
    # The parent decides when to stop: a scheduler's signal to the whole group must not break what
    # is being finished.
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    end_with_parent()
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        backbones = recipe.load()
        sizes = [
            BatchSize(batch_size) if batch_size else auto_batch_size(backbone, recipe.device)
            for backbone in backbones
        ]
        told: object = ([backbone.spec for backbone in backbones], [size.clips for size in sizes])
    except Exception as error:  # noqa: BLE001 - told to the parent, which ends the run
        told = _as_basket_error(error, recipe.device)
    try:
        control.send(told)
    except OSError:  # the parent has ended the run for another device's sake
        return
    if isinstance(told, BasketError):
        return
    turn = threading.Lock()
    serving = [
        threading.Thread(target=_serve_lane, args=(lane, backbones, sizes, recipe.device, turn))
        for lane in lanes
    ]
    for thread in serving:
        thread.start()
    for thread in serving:  # once this thread is over, Python lets nobody start thread pools
        thread.join()


def _serve_lane(
    lane: Connection,
    backbones: Sequence[Backbone],
    sizes: Sequence[BatchSize],
    device: str,
    turn: AbstractContextManager[object],
) -> None:
    """In a thread: embed what comes in one lane, until the parent closes it.

    While the device computes the batch of one lane, that of the other is copied and handed over.
    """
    memory: SharedBytes | None = None
    while True:
        try:
            name, position, shape = lane.recv()
        except (EOFError, OSError):
            return
        try:
            if memory is None or memory.name != name:  # larger, where a batch needed it
                if memory is not None:
                    memory.close()
                memory = SharedBytes.attach(name)
            # Nothing may keep a view of the memory: it could not be closed.
            streams = embed_pieces(backbones, sizes, position, [_array(shape, memory)], turn=turn)
            answer: object = (dict(streams), [size.clips for size in sizes])
        except Exception as error:  # noqa: BLE001 - told to the parent, which ends the run
            answer = _as_basket_error(error, device)
        with contextlib.suppress(OSError):  # a parent that is gone needs no answer
            lane.send(answer)


def _as_basket_error(error: Exception, device: str) -> BasketError:
    if isinstance(error, BasketError):
        return error
    return BasketError(f"The forward process on {device} failed: {error!r}")
