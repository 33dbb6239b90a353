"""What writers say of themselves in the shared folder, and what that adds up to.

Each extraction keeps one small file in ``progress/`` of the feature sets it writes to: how many
videos it means to do, how many it has done. It renews the file every few seconds, so that anybody
who sees the folder can tell how far everybody is, and who has fallen silent; nobody needs to be
asked. The files are hints: what is done is what published shards hold; a lost one loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from basket.cache.feature_set import FeatureSet

PROGRESS_FOLDER = "progress"
#: Between two words of a writer.
BEAT_S = 10.0
#: Several beats missed: the writer is dead, or cut off from the folder.
SILENT_S = 60.0
_FORGOTTEN_S = 86400.0  # a file that nobody renewed for a day tells nobody anything


@dataclass(frozen=True)
class Work:
    """How far one writer is with what it means to do.

    Parameters
    ----------
    total, done, failed : int
        Videos: all of them, finished ones (failed or not), failed ones.
    """

    total: int
    done: int
    failed: int


@dataclass(frozen=True)
class WriterProgress:
    """One writer as it last told of itself.

    Parameters
    ----------
    writer : str
        Host and process.
    state : {"running", "stopped", "silent"}
        ``stopped``: it ended before its work did. ``silent``: it should have been heard of.
    total, done, failed : int
        As :class:`Work`.
    running_s, silent_s : float
        Seconds from its beginning to its last word, and since then.
    """

    writer: str
    state: str
    total: int
    done: int
    failed: int
    running_s: float
    silent_s: float

    @property
    def videos_per_s(self) -> float:
        """Its rate so far."""
        return self.done / self.running_s if self.running_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Seconds left at that rate; None before its first video, or where it does not run."""
        if self.state != "running" or not self.done:
            return None
        return (self.total - self.done) / self.videos_per_s


@dataclass(frozen=True)
class SetProgress:
    """How far a feature set is, all writers together.

    Parameters
    ----------
    name : str
    done, failed : int
        Videos in published shards.
    missing : int or None
        Wanted videos that are neither; None where nobody said which are wanted.
    writers : tuple of WriterProgress
    """

    name: str
    done: int
    failed: int
    missing: int | None
    writers: tuple[WriterProgress, ...]

    @property
    def running(self) -> tuple[WriterProgress, ...]:
        """Writers at work."""
        return tuple(each for each in self.writers if each.state == "running")

    @property
    def videos_per_s(self) -> float:
        """Rate of all writers at work."""
        return sum(each.videos_per_s for each in self.running)

    @property
    def left_s(self) -> float | None:
        """Seconds until the last of them is done; None where one of them cannot tell yet."""
        times = [each.left_s for each in self.running]
        if not times or any(left is None for left in times):
            return None
        return max(left for left in times if left is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "name": self.name,
            "done": self.done,
            "failed": self.failed,
            "missing": self.missing,
            "videos_per_s": self.videos_per_s,
            "left_s": self.left_s,
            "writers": [
                {**asdict(each), "videos_per_s": each.videos_per_s, "left_s": each.left_s}
                for each in self.writers
            ],
        }


@contextmanager
def telling_progress(
    folders: Sequence[Path], ask: Callable[[], Work], *, every_s: float = BEAT_S
) -> Iterator[None]:
    """Within the block, keep a file in each feature set that says how far this writer is.

    Parameters
    ----------
    folders : sequence of Path
        Of the feature sets.
    ask : callable
        Tells how far it is; called from a thread.
    every_s : float
    """
    name = f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:8]}.json"
    files = [folder / PROGRESS_FOLDER / name for folder in folders]
    start_s = time.time()
    ended = threading.Event()

    def tell(state: str) -> None:
        about = {
            "host": platform.node(),
            "pid": os.getpid(),
            "state": state,
            "start_s": start_s,
            "told_s": time.time(),
            **asdict(ask()),
        }
        for file in files:
            _put(file, json.dumps(about))

    def keep_telling() -> None:
        while not ended.wait(every_s):
            tell("running")

    for folder in folders:
        _forget_the_dead(folder / PROGRESS_FOLDER)
    tell("running")
    thread = threading.Thread(target=keep_telling, name="tell-progress", daemon=True)
    thread.start()
    try:
        yield
    except BaseException:
        ended.set()
        thread.join()
        tell("stopped")
        raise
    ended.set()
    thread.join()
    for file in files:
        with contextlib.suppress(OSError):
            file.unlink(missing_ok=True)


def _put(file: Path, text: str) -> None:
    """Replace a file in one step. Not being able to tell is no reason not to do."""
    temporary = file.with_name(f".{file.name}.tmp")
    with contextlib.suppress(OSError):
        file.parent.mkdir(exist_ok=True)
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(file)


def progress_of(
    feature_set: FeatureSet, *, wanted: Collection[str] | None = None, now_s: float | None = None
) -> SetProgress:
    """Look at a feature set and at what its writers say, again where it was looked at before.

    Parameters
    ----------
    feature_set : FeatureSet
    wanted : collection of str, optional
        Ids that should be there.
    now_s : float, optional
        The time, in seconds since 1970; machines that share the folder should agree on it to
        within a minute.

    Raises
    ------
    CacheError
        The folder cannot be read.
    """
    feature_set.refresh()
    snapshot = feature_set.snapshot
    missing = None
    if wanted is not None:
        missing = sum(video_id not in snapshot.current for video_id in set(wanted))
    now_s = time.time() if now_s is None else now_s
    said = [_read(file) for file in sorted((feature_set.path / PROGRESS_FOLDER).glob("*.json"))]
    writers = tuple(_writer(about, now_s) for about in said if about is not None)
    return SetProgress(feature_set.name, len(snapshot.ok), len(snapshot.failed), missing, writers)


def _writer(about: dict[str, Any], now_s: float) -> WriterProgress:
    silent_s = max(0.0, now_s - about["told_s"])
    state = about["state"]
    if state == "running" and (silent_s > SILENT_S or _is_dead(about)):
        state = "silent"
    return WriterProgress(
        writer=f"{about['host']} {about['pid']}",
        state=state,
        total=about["total"],
        done=about["done"],
        failed=about["failed"],
        running_s=about["told_s"] - about["start_s"],
        silent_s=silent_s,
    )


def _read(file: Path) -> dict[str, Any] | None:
    """What a writer says; None where it has just gone, or the file is not one of ours."""
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        numbers = [about[name] for name in ("pid", "start_s", "told_s", "total", "done", "failed")]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(isinstance(number, int | float) for number in numbers):
        return None
    return {"host": "?", "state": "running", **about}


def _is_dead(about: dict[str, Any]) -> bool:
    """Whether the process is known to be gone; of another machine's nobody here knows."""
    if about["host"] != platform.node():
        return False
    try:
        os.kill(int(about["pid"]), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _forget_the_dead(folder: Path) -> None:
    """Remove what earlier writers left who are known to be gone: the run that begins says more."""
    for file in folder.glob("*.json"):
        about = _read(file)
        if about is None:
            continue
        if _is_dead(about) or time.time() - about["told_s"] > _FORGOTTEN_S:
            with contextlib.suppress(OSError):
                file.unlink(missing_ok=True)
