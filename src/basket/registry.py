"""Names to lazily imported objects, with entry points for third parties.

A registry is one table ``name -> "module:attribute"``. Nothing is imported until it is asked for,
so listing names costs nothing. Other packages add names through the entry-point group.

Names are read from files too, and files come from strangers: looking one up never imports a path
that stands in it. What a person types has a door of its own, :meth:`Registry.admit`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any

from basket.errors import UsageError


def nearest(name: str, known: list[str]) -> str:
    """A hint ``; did you mean 'x'?`` where something known is close, else an empty string.

    >>> nearest("videomea", ["videomae", "xclip"])
    "; did you mean 'videomae'?"
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


_IMPORT_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def _load(kind: str, import_path: str) -> Any:
    module, _, attribute = import_path.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"the {kind} {import_path} cannot be imported: {error}") from error


class Registry(Mapping[str, Any]):
    """A read-only mapping from names to objects that are imported on first use.

    Only names of our own and of installed packages are found, whatever a file says.

    Parameters
    ----------
    kind : str
        What the objects are, for messages: ``"backbone"``.
    group : str
        Entry-point group in which other packages register theirs.
    table : mapping of str to str
        Our own: ``name -> "module:attribute"``.

    Examples
    --------
    >>> loads = Registry("function", "basket.example", {"sqrt": "math:sqrt"})
    >>> loads["sqrt"](9.0)
    3.0
    >>> loads["sqrrt"]
    Traceback (most recent call last):
        ...
    basket.errors.UsageError: unknown function 'sqrrt'; did you mean 'sqrt'? Known: sqrt
    """

    def __init__(self, kind: str, group: str, table: Mapping[str, str]) -> None:
        self.kind = kind
        self.group = group
        self._table = dict(table)
        self._third_parties: dict[str, str] | None = None
        self._admitted: dict[str, str] = {}

    def admit(self, name: str) -> str:
        """Let an import path that a person typed be a name, for the life of this process.

        For what somebody tries out before registering it. Call it where a command line or an
        argument of a Python call arrives, never with what was read from a file.

        Parameters
        ----------
        name : str
            ``package.module:attribute``; anything else is left to the look-up.

        Returns
        -------
        str
            The name.
        """
        if _IMPORT_PATH.fullmatch(name):
            self._admitted[name] = name
        return name

    def _all(self) -> dict[str, str]:
        if self._third_parties is None:
            found = {entry.name: entry.value for entry in entry_points(group=self.group)}
            self._third_parties = found
        # Ours win: installing a package must not silently change what a known name means.
        return {**self._third_parties, **self._table}

    def __getitem__(self, name: str) -> Any:
        table = {**self._admitted, **self._all()}
        if name not in table:
            if _IMPORT_PATH.fullmatch(name):
                raise UsageError(
                    f"{name!r} is no known {self.kind}, and a file does not say what to import; "
                    f"install it under a name in the entry-point group {self.group}"
                )
            known = sorted(self._all())
            hint = nearest(name, known)
            raise UsageError(f"unknown {self.kind} {name!r}{hint or '.'} Known: {', '.join(known)}")
        return _load(self.kind, table[name])

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def __contains__(self, name: object) -> bool:
        return name in self._admitted or name in self._all()
