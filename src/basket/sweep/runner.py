"""Doing the work of a sweep: what is missing, shared where it can be, in one process or several.

Every process works alike: it takes a piece of work whose lock is free, looks again which of its
records are missing, and publishes each as it is finished. Pieces that another process holds are
looked at again later, so two sweeps on one folder divide the work between them.
"""

from __future__ import annotations

import os
import platform
import signal
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

from basket.cores import usable_cores
from basket.errors import BasketError, RunError
from basket.heads.sources import described
from basket.sweep.data import Loaded, SweepData
from basket.sweep.fitting import Failed, Fitted, fit_settings, share_signature
from basket.sweep.records import Records, code_version, group_key, record_key
from basket.sweep.setting import Setting

#: ``(done, total, what was done last)``.
OnProgress = Callable[[int, int, str], None]

_BUSY_WAIT_S = 0.2
_PARENT_CHECK_S = 1.0


@dataclass(frozen=True)
class Piece:
    """Work that one process does in one go.

    Parameters
    ----------
    name : str
        Of the lock.
    settings : tuple of Setting
        Fitted together.
    """

    name: str
    settings: tuple[Setting, ...]


@dataclass
class SweepResult:
    """Records of the settings that were asked for.

    Parameters
    ----------
    records : dict of Setting to dict
    n_computed : int
        Made by this call; the others were there.
    """

    records: dict[Setting, dict[str, Any]] = field(default_factory=dict)
    n_computed: int = 0


def run_settings(
    settings: Iterable[Setting],
    *,
    data: SweepData,
    folder: Path,
    jobs: int = 1,
    loaded: Loaded | None = None,
    notes: Mapping[str, Any] | None = None,
    on_progress: OnProgress | None = None,
) -> SweepResult:
    """Make sure that every setting has a record; compute only what has none.

    Parameters
    ----------
    settings : iterable of Setting
    data : SweepData
    folder : Path
        Of the sweep.
    jobs : int, default=1
        Processes; the cores are divided between them.
    loaded : Loaded, optional
        The same data, opened already.
    notes : mapping, optional
        Kept in each record that is made.
    on_progress : callable, optional

    Raises
    ------
    BasketError
        Labels or features cannot be used. A setting that fails alone is a record with the reason.
    """
    opened = loaded or Loaded(data)
    wanted = list(dict.fromkeys(settings))
    records = Records(folder)
    keys = {each: record_key(each, opened.digest(each.features)) for each in wanted}
    missing = [each for each in wanted if keys[each] not in records]
    progress = _Progress(len(wanted), len(wanted) - len(missing), on_progress)
    pieces = pieces_of(missing, opened)
    if jobs == 1 or len(pieces) < 2:
        computed = _run_here(pieces, opened, records, dict(notes or {}), progress)
    else:
        computed = _run_in_processes(
            pieces, data, folder, min(jobs, len(pieces)), dict(notes or {}), progress
        )
    found = {each: records.get(keys[each]) for each in wanted}
    lost = [each for each, record in found.items() if record is None]
    if lost:
        raise RunError(f"{len(lost)} records vanished from {records.folder}; run the sweep again")
    return SweepResult({each: record for each, record in found.items() if record}, computed)


def pieces_of(settings: Sequence[Setting], loaded: Loaded) -> list[Piece]:
    """Settings that can share are one piece; pieces on the same matrices stand together."""
    shared: dict[tuple[Any, ...], list[Setting]] = {}
    for setting in settings:
        shared.setdefault(share_signature(setting), []).append(setting)
    pieces = [
        Piece(
            group_key(code_version(), loaded.digest(group[0].features), repr(signature)),
            tuple(group),
        )
        for signature, group in shared.items()
    ]
    return sorted(pieces, key=lambda piece: (piece.settings[0].features, piece.settings[0].pooling))


def work(
    piece: Piece, loaded: Loaded, records: Records, notes: Mapping[str, Any]
) -> list[Setting] | None:
    """Do what is missing of a piece; None where another process holds it."""
    done: list[Setting] = []
    with records.claim(piece.name) as held:
        if not held:
            return None
        # Whoever held it before may have finished some.
        missing = {each: record_key(each, loaded.digest(each.features)) for each in piece.settings}
        missing = {each: key for each, key in missing.items() if key not in records}
        if not missing:
            return done
        for each in _outcomes(list(missing), loaded):
            records.publish(missing[each.setting], _record(each, loaded, notes))
            done.append(each.setting)
    return done


def _outcomes(settings: Sequence[Setting], loaded: Loaded) -> Iterable[Fitted | Failed]:
    """What became of settings on the same matrices, which may not exist for them."""
    try:
        train, val = loaded.matrices(settings[0])
    except (BasketError, ValueError, ArithmeticError) as error:
        return [Failed(setting, error) for setting in settings]
    sources = loaded.sources(settings[0].features)
    return fit_settings(settings, train, val, feature_sets=described(sources))


def _record(each: Fitted | Failed, loaded: Loaded, notes: Mapping[str, Any]) -> dict[str, Any]:
    about = _about(each.setting, loaded, notes)
    if isinstance(each, Failed):
        return {**about, "error": f"{type(each.error).__name__}: {each.error}"}
    return {**about, "scores": each.scores, "seconds": round(each.seconds, 4)}


def _about(setting: Setting, loaded: Loaded, notes: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "setting": setting.to_json(),
        "data": loaded.digest(setting.features),
        "code": code_version(),
        "machine": f"{platform.node()} {os.getpid()}",
        **notes,
    }


class _Progress:
    def __init__(self, total: int, done: int, tell: OnProgress | None) -> None:
        self.total, self.done, self.tell = total, done, tell

    def add(self, settings: Sequence[Setting]) -> None:
        self.done += len(settings)
        if self.tell is not None:
            last = settings[-1] if settings else None
            self.tell(self.done, self.total, "" if last is None else f"{last.head} {last.pooling}")


def _run_here(
    pieces: list[Piece],
    loaded: Loaded,
    records: Records,
    notes: Mapping[str, Any],
    progress: _Progress,
) -> int:
    computed, waiting = 0, list(pieces)
    while waiting:
        busy = []
        for piece in waiting:
            done = work(piece, loaded, records, notes)
            if done is None:
                busy.append(piece)
                continue
            computed += len(done)
            progress.add(piece.settings)
        if len(busy) == len(waiting):
            time.sleep(_BUSY_WAIT_S)
        waiting = busy
    return computed


def _run_in_processes(
    pieces: list[Piece],
    data: SweepData,
    folder: Path,
    jobs: int,
    notes: Mapping[str, Any],
    progress: _Progress,
) -> int:
    from multiprocessing import get_context

    threads = max(1, usable_cores() // jobs)
    computed, waiting = 0, list(pieces)
    pool = ProcessPoolExecutor(
        jobs,
        mp_context=get_context("spawn"),
        initializer=_start_worker,
        initargs=(data, folder, threads, os.getpid()),
    )
    with pool:
        running: dict[Future[list[Setting] | None], Piece] = {}
        while waiting or running:
            while waiting and len(running) < jobs:
                piece = waiting.pop(0)
                running[pool.submit(_work_in_worker, piece, notes)] = piece
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                piece = running.pop(future)
                try:
                    done = future.result()
                except BrokenProcessPool as error:
                    raise RunError(
                        "A worker of the sweep died (out of memory?); finished records are kept: "
                        "run the same command again, with fewer --jobs"
                    ) from error
                if done is None:
                    waiting.append(piece)
                    time.sleep(_BUSY_WAIT_S)
                    continue
                computed += len(done)
                progress.add(piece.settings)
    return computed


_worker: tuple[Loaded, Records] | None = None


def _start_worker(data: SweepData, folder: Path, threads: int, parent: int) -> None:
    """Prepare a worker process: its share of the cores, its data, and an end with its parent."""
    threadpool_limits: Any = import_module("threadpoolctl").threadpool_limits

    global _worker
    # Ctrl-C reaches the workers too: they end at once and without a word, as records are whole.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by torch and LightGBM when they come
    threadpool_limits(threads)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    _worker = (Loaded(data), Records(folder))


def _end_with(parent: int) -> None:
    """End this process when its parent is gone: a pool's queue would keep it waiting for ever."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_S)
    os._exit(1)


def _work_in_worker(piece: Piece, notes: Mapping[str, Any]) -> list[Setting] | None:
    assert _worker is not None
    loaded, records = _worker
    return work(piece, loaded, records, notes)
