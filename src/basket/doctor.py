"""What this machine can do, and what to do about what it cannot."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from basket.cache.durable import supports_hard_links, supports_locks
from basket.errors import BasketError, NotThereError

PACKAGES = (
    *("torch", "transformers", "av", "h5py", "numpy", "scipy", "scikit-learn", "lightgbm"),
    *("safetensors", "pyarrow", "pillow", "pebble", "typer", "rich"),
)
OPTIONAL_DECODERS = ("decord", "torchcodec")
CODECS = ("h264", "hevc", "vp9", "av1", "mpeg4")
_LITTLE_SPACE_BYTES = 10 << 30
_HUB_WAIT_S = 3.0

State = Literal["ok", "note", "problem"]


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Parameters
    ----------
    name : str
    state : {"ok", "note", "problem"}
        ``note``: something optional is missing. ``problem``: something will not work.
    found : str
    advice : str
        What to do; empty when all is well.
    """

    name: str
    state: State
    found: str
    advice: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def examine(cache: str | Path = "basket-cache", *, hub: bool = True) -> list[Check]:
    """Look at everything an extraction or a fit depends on.

    Parameters
    ----------
    cache : path, default="basket-cache"
        Where features are or will be; its file system is tried.
    hub : bool, default=True
        Whether to try to reach the model hub (a few seconds when offline).

    Raises
    ------
    NotThereError
        A file is where the cache would be.
    """
    parts: list[Callable[[], Iterator[Check]]] = [
        _python,
        _packages,
        _decoders,
        _codecs,
        _processor,
        _graphics,
        lambda: _disk(Path(cache)),
        lambda: _hub(hub),
    ]
    return [check for part in parts for check in part()]


def _python() -> Iterator[Check]:
    found = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    supported = sys.version_info >= (3, 11)
    yield Check(
        "Python", "ok" if supported else "problem", found, "" if supported else "use 3.11 or newer"
    )


def _packages() -> Iterator[Check]:
    found, missing = [], []
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            missing.append(package)
    yield Check(
        "packages",
        "problem" if missing else "ok",
        ", ".join(found),
        f"pip install {' '.join(missing)}" if missing else "",
    )


def _decoders() -> Iterator[Check]:
    from basket.extract.decode import DECODERS

    for name in DECODERS:
        package = {"pyav": "av"}.get(name, name)
        if name not in ("pyav", *OPTIONAL_DECODERS):
            yield _foreign_decoder(name)
            continue
        try:
            __import__(package)
            yield Check(f"decoder {name}", "ok", f"{package} {version(package)}")
        except (ImportError, OSError, RuntimeError, PackageNotFoundError) as error:
            optional = name in OPTIONAL_DECODERS
            yield Check(
                f"decoder {name}",
                "note" if optional else "problem",
                f"does not load: {str(error).splitlines()[0] if str(error) else error!r}",
                "optional; pyav does everything" if optional else f"pip install {package}",
            )


def _foreign_decoder(name: str) -> Check:
    """One that another package registered: its entry point says what is imported."""
    from basket.extract.decode import DECODERS

    try:
        found = DECODERS[name]
    except BasketError as error:
        return Check(f"decoder {name}", "note", str(error), "mend or remove its package")
    return Check(f"decoder {name}", "ok", f"from {found.__module__}")


def _codecs() -> Iterator[Check]:
    try:
        import av
    except ImportError:
        return
    known = [name for name in CODECS if name in av.codecs_available]
    missing = [name for name in CODECS if name not in av.codecs_available]
    yield Check(
        "codecs",
        "note" if missing else "ok",
        f"PyAV reads {', '.join(known)}",
        f"{', '.join(missing)} would need another build of PyAV" if missing else "",
    )


def _processor() -> Iterator[Check]:
    from basket.cores import usable_cores

    cores, usable = os.cpu_count() or 1, usable_cores()
    few = usable < cores
    yield Check(
        "CPU",
        "note" if few else "ok",
        f"{usable} of {cores} cores may be used",
        "a scheduler or a container allows fewer cores than there are" if few else "",
    )


def _graphics() -> Iterator[Check]:
    from basket.extract.device import half_precision

    try:
        import torch
    except ImportError:
        return
    if not torch.cuda.is_available():
        yield Check(
            "GPU",
            "note",
            "none that torch can use",
            "fitting needs none; extraction with a network is slow without one",
        )
        return
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        half = half_precision(index)
        memory = f"{properties.total_memory / 2**30:.0f} GiB"
        yield Check(f"GPU {index}", "ok", f"{properties.name}, {memory}, {half}")


def _disk(cache: Path) -> Iterator[Check]:
    from basket.extract.dry_run import nearest_existing

    folder = nearest_existing(cache)
    if not folder.is_dir():
        raise NotThereError(f"no cache can be at {cache}: {folder} is not a folder")
    free = shutil.disk_usage(folder).free
    little = free < _LITTLE_SPACE_BYTES
    yield Check(
        "disk",
        "note" if little else "ok",
        f"{free / 2**30:.0f} GiB free for {cache}",
        "BASKET, dense, takes about 11 GB per stream of 768 columns" if little else "",
    )
    if not os.access(folder, os.W_OK):
        yield Check("cache", "note", f"{folder} is read-only", "reading works; extracting does not")
        return
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".basket-doctor-") as scratch:
            links = supports_hard_links(Path(scratch))
            locks = supports_locks(Path(scratch))
    except OSError as error:  # some file systems allow it by their permissions, and refuse
        found = f"nothing can be written in {folder}: {error.strerror or error}"
        yield Check("cache", "note", found, "reading works; extracting does not")
        return
    yield Check(
        "hard links",
        "ok" if links else "note",
        f"{'work' if links else 'do not work'} in {folder}",
        "" if links else "shards are published by lock and rename instead; that is safe too",
    )
    yield Check(
        "locks",
        "ok" if locks else "note",
        f"{'work' if locks else 'do not work'} in {folder}",
        "" if locks else "caches need none; workers of one sweep may do some fits twice",
    )


def _hub(reach: bool) -> Iterator[Check]:
    try:
        from huggingface_hub import constants
    except ImportError:
        return
    store = Path(constants.HF_HUB_CACHE)
    kept = len(list(store.glob("models--*"))) if store.is_dir() else 0
    where = f"{kept} models in {store}"
    if constants.HF_HUB_OFFLINE:
        yield Check("model hub", "note", f"offline by HF_HUB_OFFLINE; {where}", "use --weights DIR")
        return
    if not reach:
        return
    endpoint = urlsplit(constants.ENDPOINT)
    host = endpoint.hostname or constants.ENDPOINT
    port = endpoint.port or (80 if endpoint.scheme == "http" else 443)
    try:
        socket.create_connection((host, port), timeout=_HUB_WAIT_S).close()
    except OSError:
        yield Check(
            "model hub",
            "note",
            f"{host} cannot be reached; {where}",
            "download elsewhere, copy the folder here, and use --weights DIR",
        )
    else:
        yield Check("model hub", "ok", f"{host} can be reached; {where}")


def worst(checks: list[Check]) -> None:
    """Raise where something will not work.

    Raises
    ------
    BasketError
        Names every problem.
    """
    problems = [f"{check.name}: {check.found}" for check in checks if check.state == "problem"]
    if problems:
        raise BasketError("This machine cannot run basket: " + "; ".join(problems))
