"""Killable decode processes: clips come back through shared memory, a bad file costs one video.

Pebble runs one task per video in spawned processes and replaces the ones that die or are cancelled.
Each running task has a lane: a block of shared memory cut into slots. A worker fills free slots and
says so over its own connection; the parent copies the clips out and gives the slot back. A worker
that hangs, crashes or runs out of memory takes nothing with it but its own connection.

Which deaths count against a video: only those that this living parent saw. Such a video is tried
again alone, after all others, and given up when it kills its worker twice there.

How a death is seen: the worker's connection ends, and Pebble says with which exit code. Pebble may
not know whose the dead worker was (its note that it took a task can still be unread): then it
forgets the task or gives up all of its workers. So the connection has the last word, and a pool
that was given up is replaced.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import multiprocessing
import signal
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import CancelledError
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any

import numpy as np

from basket.errors import BasketError
from basket.extract.attempts import Attempts
from basket.extract.callers import Callers
from basket.extract.decode_worker import SLOTS, decode_in_worker, prepare_worker, slot_bytes
from basket.extract.decoding import Batch, Finished, Job, Message, Opened
from basket.extract.segments import SegmentPlan
from basket.extract.shared_bytes import SharedBytes
from basket.extract.signals import stop_requested

if TYPE_CHECKING:
    from pebble import ProcessFuture, ProcessPool

_POLL_S = 0.2  # longest wait for a message, so that timeouts and signals are seen soon
_ALONE_DEATHS = 2  # the first may have been somebody else's doing (the kernel's, out of memory)
_FIRST_WORDS_S = 1.0  # from the end of a worker until what it said has arrived
_LAST_WORDS_S = 5.0  # from the end of a connection until Pebble must have told the exit code
_MUTE_DEATHS = 5  # one after the other, until it is no accident
_START_S = 300.0  # from handing out a video until its worker must have spoken


@dataclass(frozen=True)
class WorkerLimits:
    """What one video may cost.

    Parameters
    ----------
    timeout_s : float
        Seconds of decoding; waiting for the network to take clips does not count.
    memory_bytes : int
        Private memory of a decode process (Linux).
    """

    timeout_s: float = 900.0
    memory_bytes: int = 4 << 30


@contextmanager
def decoding_processes(
    jobs: Sequence[Job],
    *,
    decoder: str,
    plan: SegmentPlan,
    workers: int,
    limits: WorkerLimits,
    attempts: Attempts,
) -> Iterator[Iterator[Message]]:
    """Decode jobs in processes; the value is all they have to say, in order of arrival.

    Parameters
    ----------
    jobs : sequence of Job
    decoder : str
        Name in :data:`basket.extract.decode.DECODERS`.
    plan : SegmentPlan
    workers : int
        Processes.
    limits : WorkerLimits
    attempts : Attempts
        Where each video is noted before it is tried.

    Raises
    ------
    BasketError
        Processes cannot be started.
    """
    try:
        pool = _Pool(decoder, plan, workers, limits, attempts, slot_bytes(jobs))
    except OSError as error:
        raise _cannot_start(error) from error
    try:
        yield pool.run(jobs)
    finally:
        pool.close()


@dataclass
class _Task:
    """A video that is being decoded: where, and how long that has taken.

    ``reported_s`` is the worker's own count of seconds spent decoding (not waiting for a slot), as
    of its last message; ``heard_s`` is when we read that message. ``ended_s`` is when its future
    was first seen to have failed, ``lost_s`` when its worker's connection ended; 0 before.
    """

    number: int
    job: Job
    lane: SharedBytes
    future: ProcessFuture[None] | None = None
    connection: Connection | None = None
    reported_s: float = 0.0
    heard_s: float = 0.0
    begun_s: float = field(default_factory=time.monotonic)
    ended_s: float = 0.0
    lost_s: float = 0.0

    def decoding_s(self, now_s: float) -> float:
        """Seconds of decoding so far.

        To be asked right after all messages were read: a worker that had to wait for us has left
        one, so silence means that it is at work.
        """
        return self.reported_s + (now_s - self.heard_s if self.connection is not None else 0.0)


class _Pool:
    """The parent's side: lanes, tasks, and the rules about deaths."""

    def __init__(
        self,
        decoder: str,
        plan: SegmentPlan,
        workers: int,
        limits: WorkerLimits,
        attempts: Attempts,
        lane_slot_bytes: int,
    ) -> None:
        if getattr(multiprocessing.current_process(), "_inheriting", False):
            raise BasketError(
                "basket starts decode processes, and a script that does must do its work under "
                "`if __name__ == '__main__':`, or each process would run the script again"
            )
        self._decoder, self._plan, self._limits = decoder, plan, limits
        self._attempts = attempts
        self._slot_bytes = lane_slot_bytes
        with contextlib.ExitStack() as leave:
            self._callers = leave.enter_context(contextlib.closing(Callers()))
            self._free: list[SharedBytes] = []
            for _ in range(workers):
                lane = SharedBytes.create(SLOTS * lane_slot_bytes)
                leave.callback(lane.close)
                self._free.append(lane)
            self._leave = leave.pop_all()
        self._workers = workers
        self._pool = self._new_pool()
        self._pool_has_spoken = False
        self._mute_deaths = 0
        self._tasks: dict[int, _Task] = {}
        self._numbers = itertools.count()

    def _new_pool(self) -> ProcessPool:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self._workers,
            context=multiprocessing.get_context("spawn"),
            initializer=prepare_worker,
            initargs=(self._decoder, self._limits.memory_bytes),
        )

    def run(self, jobs: Sequence[Job]) -> Iterator[Message]:
        """All messages of all jobs: the trusted ones together, the suspects one at a time."""
        suspects = [job for job in jobs if self._attempts.is_suspect(job.source.video_id)]
        known = {job.source.video_id for job in suspects}
        trusted = collections.deque(job for job in jobs if job.source.video_id not in known)
        yield from self._run(trusted, at_once=self._workers, suspects=suspects)
        deaths: collections.Counter[str] = collections.Counter()
        alone = collections.deque(suspects)
        while alone and not stop_requested():
            job = alone.popleft()
            died: list[Job] = []
            yield from self._run(collections.deque([job]), at_once=1, suspects=died)
            if not died:
                continue
            deaths[job.source.video_id] += 1
            if deaths[job.source.video_id] < _ALONE_DEATHS:
                alone.appendleft(job)
                continue
            self._attempts.end(job.source.video_id)
            yield Finished(
                job,
                f"quarantined: it killed its decoder {deaths[job.source.video_id]} times when "
                "tried alone (a damaged file or a bug of the decoder)",
            )

    def _run(
        self, todo: collections.deque[Job], *, at_once: int, suspects: list[Job]
    ) -> Iterator[Message]:
        """Messages of these jobs; those whose worker dies are added to ``suspects``."""
        while (todo or self._tasks) and not stop_requested():
            while todo and len(self._tasks) < at_once and self._is_active():
                self._start(todo.popleft())
            yield from self._messages()
            yield from self._reap(suspects, todo)
            if self._is_broken():
                yield from self._replace_pool(suspects, todo)

    def _start(self, job: Job) -> None:
        task = _Task(next(self._numbers), job, self._free.pop())
        self._attempts.begin(job.source.video_id)
        self._tasks[task.number] = task
        with contextlib.suppress(RuntimeError):  # given up this very moment: it will be replaced
            task.future = self._pool.schedule(
                decode_in_worker,
                args=(
                    self._callers.address,
                    self._callers.key,
                    task.number,
                    job,
                    self._decoder,
                    self._plan,
                ),
                kwargs={"lane": task.lane.name, "slot_size": self._slot_bytes},
            )
            task.future.add_done_callback(lambda _future: self._callers.ring())

    def _messages(self) -> Iterator[Message]:
        """What workers have said; waits a moment when nobody says anything."""
        for connection in self._callers.heard(within_s=_POLL_S):
            yield from self._hear(connection)

    def _hear(self, connection: Connection) -> Iterator[Message]:
        """Everything that is waiting on one connection."""
        while True:
            try:
                if not connection.poll():
                    return
                number, reported_s, kind, *content = connection.recv()
            except (EOFError, OSError):  # its worker is gone; the task's future says how
                self._lose(connection)
                return
            task = self._tasks.get(number)
            if task is not None:
                task.connection, task.reported_s = connection, reported_s
                task.heard_s = time.monotonic()
                self._pool_has_spoken, self._mute_deaths = True, 0
                yield from self._take(task, kind, content)

    def _lose(self, connection: Connection) -> None:
        self._callers.drop(connection)
        for task in self._tasks.values():
            if task.connection is connection:
                task.lost_s = time.monotonic()

    def _take(self, task: _Task, kind: str, content: list[Any]) -> Iterator[Message]:
        if kind == "opened":
            yield Opened(task.job, *content)
        elif kind == "batch":
            yield self._batch(task, *content)
        elif kind == "finished":
            yield self._finish(task, content[0])

    def _batch(
        self, task: _Task, wanted: int, segments: Any, shape: tuple[int, ...], slot: int
    ) -> Batch:
        view: np.ndarray[Any, np.dtype[np.uint8]] = np.ndarray(
            shape, np.uint8, buffer=task.lane.buf, offset=slot * self._slot_bytes
        )
        pixels = view.copy()  # the slot goes back at once: a slow network must not hold workers
        assert task.connection is not None
        # A worker that is gone cannot be told; its task's future says how it went.
        with contextlib.suppress(OSError):
            task.connection.send((task.number, slot))
        return Batch(task.job, task.job.wanted[wanted], segments, pixels)

    def _finish(self, task: _Task, reason: str) -> Finished:
        del self._tasks[task.number]
        self._free.append(task.lane)
        self._attempts.end(task.job.source.video_id)
        return Finished(task.job, reason)

    def _reap(self, suspects: list[Job], todo: collections.deque[Job]) -> Iterator[Message]:
        """Tasks that took too long, and tasks whose worker is gone."""
        now_s = time.monotonic()
        for task in list(self._tasks.values()):
            if task.future is None:
                continue
            if task.decoding_s(now_s) > self._limits.timeout_s:
                task.future.cancel()  # type: ignore[no-untyped-call]
                yield self._finish(
                    task,
                    f"decoding took more than {self._limits.timeout_s:g} s (--timeout); the "
                    "decoder may hang on it",
                )
            elif isinstance(_failure(task.future), BrokenProcessPool):
                continue  # of all tasks at once: the pool will be replaced
            elif _failure(task.future) is not None:
                task.ended_s = task.ended_s or now_s
                if task.connection is not None and not task.connection.closed:
                    yield from self._hear(task.connection)
                # Its first words may still be on their way when we learn of its end.
                has_spoken = task.connection is not None or now_s - task.ended_s > _FIRST_WORDS_S
                if task.number in self._tasks and has_spoken:
                    self._bury(task, suspects, todo)
            elif task.lost_s and now_s - task.lost_s > _LAST_WORDS_S:
                self._release(task)
                suspects.append(task.job)

    def _bury(self, task: _Task, suspects: list[Job], todo: collections.deque[Job]) -> None:
        """Decide what the end of a worker means for the video it was on."""
        assert task.future is not None
        self._release(task)
        error = _failure(task.future)
        assert error is not None
        exit_code = getattr(error, "exitcode", None)
        if exit_code is None:
            raise error  # not a death: a package is missing, or a mistake of ours in the worker
        is_mute, is_told_to = task.connection is None, exit_code == -signal.SIGTERM
        self._mute_deaths += is_mute
        stillborn = not self._pool_has_spoken and not is_told_to
        if is_mute and not stop_requested() and (stillborn or self._mute_deaths > _MUTE_DEATHS):
            raise _ended_before_it_began(exit_code)
        if is_mute or is_told_to or stop_requested():
            # Somebody ended the process (a scheduler's signal goes to the whole group), or it had
            # not yet looked at the video: not the video's fault.
            self._attempts.withdraw(task.job.source.video_id)
            todo.append(task.job)
            return
        suspects.append(task.job)

    def _release(self, task: _Task) -> None:
        del self._tasks[task.number]
        self._free.append(task.lane)

    def _is_active(self) -> bool:
        """Whether the pool takes tasks; the first to ask starts its processes."""
        try:
            return bool(self._pool.active)
        except BrokenProcessPool as error:
            raise _cannot_start(error.__cause__) from error

    def _is_broken(self) -> bool:
        """Whether the pool gave up, or has a task that no worker will ever take."""
        now_s = time.monotonic()
        return not self._is_active() or any(
            isinstance(_failure(task.future), BrokenProcessPool)
            or (task.connection is None and now_s - task.begun_s > _START_S)
            for task in self._tasks.values()
        )

    def _replace_pool(self, suspects: list[Job], todo: collections.deque[Job]) -> Iterator[Message]:
        """Go on with new workers; a video whose worker had died counts, the others start anew."""
        until_s = time.monotonic() + _FIRST_WORDS_S
        while time.monotonic() < until_s:  # what the old ones still said, and which of them ended
            yield from self._messages()
        if stop_requested():
            return
        if not self._pool_has_spoken:
            raise _ended_before_it_began()
        self._pool_has_spoken = False
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()
        self._pool = self._new_pool()
        for task in list(self._tasks.values()):
            self._release(task)
            if task.lost_s:
                suspects.append(task.job)
            else:
                self._attempts.withdraw(task.job.source.video_id)
                todo.append(task.job)

    def close(self) -> None:
        """End the processes and release the shared memory."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()
        for task in self._tasks.values():
            # Stopped by us in the middle: no mark against the video.
            self._attempts.withdraw(task.job.source.video_id)
        self._leave.close()


def _failure(future: ProcessFuture[None] | None) -> BaseException | None:
    """What a future failed with; None where it is not done, ended well or was cancelled by us."""
    if future is None or not future.done():
        return None
    try:
        return future.exception()
    except CancelledError:
        return None


def _cannot_start(why: BaseException | None) -> BasketError:
    return BasketError(
        f"Decode processes cannot be started ({why}); use fewer --workers, or raise what the "
        "system allows (ulimit -n for open files, ulimit -u for processes)"
    )


def _ended_before_it_began(exit_code: int | None = None) -> BasketError:
    code = "" if exit_code is None else f" (exit code {exit_code})"
    return BasketError(
        f"A decode process ended before it began{code}. In a script, do the work under "
        "`if __name__ == '__main__':`; otherwise run basket doctor"
    )
