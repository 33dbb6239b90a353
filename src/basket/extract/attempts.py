"""Notes that a video is about to be tried, so that one that kills the whole process is found out.

A note is one small file, written before a video is decoded and removed when that is over, whatever
the outcome. A note that is still there when nobody works on the video any more is an unexplained
attempt: the process, or the machine, went down with it. Two of them make a video a suspect, which
is tried alone. That alone proves nothing against it: the process may have been killed for reasons
of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
import uuid
from pathlib import Path

from basket.cache.durable import told_in_a_sentence
from basket.errors import CacheError

_SUSPECT = 2
# Longer than any video takes: a note of another host that is older was left behind.
_FOREIGN_S = 6 * 3600.0


class Attempts:
    """The notes of one feature set.

    Parameters
    ----------
    folder : Path
        ``attempts`` in the feature set; made when first needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mine: dict[str, Path] = {}
        self._unexplained: dict[str, int] = {}
        for note in folder.glob("*.json") if folder.is_dir() else ():
            if not _writer_lives(note):
                key = note.name.partition(".")[0]
                self._unexplained[key] = self._unexplained.get(key, 0) + 1

    def begin(self, video_id: str) -> None:
        """Note that a video is about to be tried.

        Raises
        ------
        CacheError
            The disk is full or cannot be written: then no result could be kept either.
        """
        note = self._folder / f"{_key(video_id)}.{uuid.uuid4().hex[:8]}.json"
        content = {
            "video_id": video_id,
            "pid": os.getpid(),
            "host": platform.node(),
            "time": time.time(),
        }
        text = json.dumps(content)
        self._mine[video_id] = note
        try:
            with told_in_a_sentence(self._folder, len(text)):
                self._folder.mkdir(parents=True, exist_ok=True)
                note.write_text(text, encoding="utf-8")
        except CacheError:
            self.withdraw(video_id)  # half a note would count against the video
            raise

    def end(self, video_id: str) -> None:
        """Remove every note of a video whose try ended in a way that is understood."""
        self._mine.pop(video_id, None)
        key = _key(video_id)
        self._unexplained.pop(key, None)
        # No glob: it would compile, and keep, a pattern for every video.
        for note in self._folder.iterdir() if self._folder.is_dir() else ():
            if note.name.startswith(f"{key}."):
                note.unlink(missing_ok=True)

    def withdraw(self, video_id: str) -> None:
        """Remove our own note of a try that was stopped for no fault of the video."""
        note = self._mine.pop(video_id, None)
        if note is not None:
            note.unlink(missing_ok=True)

    def is_suspect(self, video_id: str) -> bool:
        """Whether processes went down twice while they were on this video."""
        return self._unexplained.get(_key(video_id), 0) >= _SUSPECT


def _key(video_id: str) -> str:
    return hashlib.sha256(video_id.encode()).hexdigest()[:32]


def _writer_lives(note: Path) -> bool:
    """Whether the process that wrote a note is at work; one on another host may well be."""
    try:
        content = json.loads(note.read_text(encoding="utf-8"))
        if content["host"] != platform.node():
            return bool(time.time() - float(content["time"]) < _FOREIGN_S)
        os.kill(int(content["pid"]), 0)
    except PermissionError:
        return True
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return int(content["pid"]) != os.getpid()
