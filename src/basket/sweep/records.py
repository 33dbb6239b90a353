"""Finished configurations at rest: one small file each, named by what it is the result of.

A record is published whole or not at all, and never twice under one name, so a sweep can be killed
at any moment and several processes can work on it. Who is at work on what is told by file locks,
which the system takes back when a process dies.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import basket
from basket.cache.durable import write_atomically
from basket.errors import RunError
from basket.metrics import CONFUSION_METRICS
from basket.sweep.setting import Setting

#: None on Windows: two processes may compute one record there; only one is kept.
_fcntl: Any = import_module("fcntl") if find_spec("fcntl") else None

RECORD_FORMAT = "basket-sweep-record"
RECORD_VERSION = 2


@cache
def code_version() -> str:
    """Version of the package and a digest of the modules that decide a score.

    Changing a head, the pooling or a metric makes records of before count as other results.
    """
    root = Path(__file__).parent.parent
    files = [root / "metrics.py", *(root / "heads").glob("*.py"), root / "sweep" / "fitting.py"]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return f"{basket.__version__}+{digest.hexdigest()[:12]}"


def record_key(setting: Setting, data: str) -> str:
    """Name of the record of a setting on some data.

    Parameters
    ----------
    setting : Setting
    data : str
        Digest of labels, rows and features; see :func:`basket.sweep.data.data_digest`.
    """
    return _digest([RECORD_VERSION, code_version(), setting.to_json(), data])


def group_key(*parts: Any) -> str:
    """Name of the lock on work that is shared."""
    return _digest(["group", *parts])


class Records:
    """The records of one sweep.

    Parameters
    ----------
    folder : Path
        The sweep's; made when missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "records"
        self._locks = folder / "locks"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._locks.mkdir(exist_ok=True)

    def __contains__(self, key: str) -> bool:
        return self._path(key).exists()

    def get(self, key: str) -> dict[str, Any] | None:
        """One record, or None."""
        try:
            return _read(self._path(key))
        except FileNotFoundError:
            return None

    def all(self) -> dict[str, dict[str, Any]]:
        """Every record by its key."""
        found = {}
        for path in sorted(self.folder.glob("*.json")):
            if not path.name.startswith("."):
                found[path.stem] = _read(path)
        return found

    def told_stale(self, *, code: str, data: Collection[str]) -> str:
        """How many records are of another code or of other data, in words; empty if none is."""
        records = self.all().values()
        others = {
            "with other code of basket": sum(each["code"] != code for each in records),
            "from other labels, levels or features": sum(
                each["code"] == code and each["data"] not in data for each in records
            ),
        }
        told = [f"{count} {how}" for how, count in others.items() if count]
        return f"Of {len(records)} records, {' and '.join(told)} were fitted" if told else ""

    def publish(self, key: str, record: Mapping[str, Any]) -> bool:
        """Keep a record; False where there is one already, which stays."""
        document = {"format": RECORD_FORMAT, "version": RECORD_VERSION, "key": key, **record}
        text = json.dumps(document, allow_nan=False) + "\n"
        try:
            write_atomically(self._path(key), text.encode(), overwrite=False)
        except FileExistsError:
            return False
        return True

    @contextmanager
    def claim(self, name: str) -> Iterator[bool]:
        """Hold the lock called ``name`` if nobody does; the value says whether it is held."""
        if _fcntl is None:
            yield True
            return
        with (self._locks / f"{name}.lock").open("w") as file:
            try:
                _fcntl.flock(file, _fcntl.LOCK_EX | _fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            except OSError:
                # A file system without locks: some work is done twice, one record of it is kept.
                pass
            yield True

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(path.read_bytes())
        found = (record["format"], record["version"])
        if found == (RECORD_FORMAT, RECORD_VERSION):
            _check(record)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{path} is no record of a sweep ({type(error).__name__}: {error}); remove it to have "
            "it redone"
        ) from None
    if found != (RECORD_FORMAT, RECORD_VERSION):
        raise RunError(
            f"{path} is {found[0]} version {found[1]}, expected {RECORD_FORMAT} version "
            f"{RECORD_VERSION}; use another folder with --out"
        )
    return record


def _check(record: Mapping[str, Any]) -> None:
    """Refuse a record that a leaderboard could not be made of, by whatever error that gives."""
    Setting.from_json(record["setting"])
    texts = [record["code"], record["data"], *([record["error"]] if "error" in record else [])]
    if not all(isinstance(text, str) for text in texts):
        raise TypeError(f"texts expected, got {texts}")
    if "error" in record:
        return
    numbers: list[float | None] = [float(record["seconds"])]
    for metric in CONFUSION_METRICS:
        scores = record["scores"][metric]
        numbers += [scores["mean"], int(scores["n_players"]), *scores["replicates"]]
    if not all(number is None or isinstance(number, float | int) for number in numbers):
        raise TypeError("its scores are no numbers")


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
