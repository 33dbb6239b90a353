"""What a push or a pull reports, and where a pull gathers its files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

PathLike = str | Path
Say = Callable[[str], None]
Tell = Callable[[int, int], None]


def silent(*_: Any) -> None:
    """Say nothing."""


@dataclass(frozen=True)
class Transfer:
    """What a push or pull did.

    Parameters
    ----------
    what : {"push", "pull"}
    repo : str
    path : Path
        The cache or run on this machine.
    url : str
        Of the repository.
    revision : str
        Commit of the repository.
    sent, already_there, size_bytes : int
        Files transferred, files that were on the other side, bytes transferred.
    public : bool
    """

    what: str
    repo: str
    path: Path
    url: str
    revision: str
    sent: int
    already_there: int
    size_bytes: int
    public: bool

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "path": str(self.path)}


def staging_beside(target: Path) -> Path:
    """Where a pull gathers and checks; beside its target, so that moving is renaming."""
    return target.parent / f".{target.name}.pull"
