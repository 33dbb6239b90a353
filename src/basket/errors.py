"""Every error basket raises on purpose.

The tree, and the exit code each branch ends a command with::

    BasketError                  1   one readable sentence, never a traceback
    ├── UsageError               2   an option, a model name or a specification is wrong
    │   └── NotThereError        2   what was named is not there, or is something else
    ├── LabelError               1   a label file says something impossible
    ├── VideoError               1   a video cannot be read (one video, not the run)
    ├── WeightsError             1   a checkpoint is missing, damaged or not what it claims
    ├── CacheError               1   the cache cannot do what was asked
    │   ├── FormatVersionError   1   written by another version of the format
    │   ├── IdentityError        1   features of two different identities would be mixed
    │   └── IntegrityError       4   bytes at rest are not what was written
    ├── RunError                 1   a run folder is missing, foreign or damaged
    ├── HubError                 1   a model hub cannot be reached, or refuses
    ├── MissingDependencyError   1   an optional package is needed and absent
    └── Interrupted             75   stopped by a signal; what was finished is committed

2 is for what is wrong with the request, and would be on any machine with these files: an unknown
name or value, options that exclude each other, a file or folder that is not there, a folder that is
no cache, run or sweep, an output that exists already. 1 is for what goes wrong while it is done,
and for what files hold: a level that is none, a damaged checkpoint, a full disk.

A message says what happened, what was expected and what to do next.
"""

from __future__ import annotations

import re

#: Characters by which a text drives a terminal, ends a line or turns its direction: control (C0 and
#: C1), line and paragraph separators, marks of direction, bytes that are no text.
UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def printable(text: str) -> str:
    r"""A text that others wrote, with such characters as escapes; lines and tabs stay.

    >>> print(printable("clear: " + chr(27) + "[2J"))
    clear: \x1b[2J
    """
    return UNPRINTABLE.sub(lambda c: c[0] if c[0] in "\n\t" else ascii(c[0])[1:-1], text)


class BasketError(Exception):
    """Base of all deliberate errors; ``exit_code`` is what the command line returns."""

    exit_code = 1


class UsageError(BasketError):
    """An option, a name or a specification is wrong."""

    exit_code = 2


class NotThereError(UsageError):
    """A file or folder that was named is not there, or is something else than was expected."""


class LabelError(BasketError):
    """A label file says something impossible."""


class VideoError(BasketError):
    """One video cannot be read; the reason is recorded beside its id."""


class WeightsError(BasketError):
    """A checkpoint is missing, damaged or not what it claims to be."""


class CacheError(BasketError):
    """The cache cannot do what was asked."""


class FormatVersionError(CacheError):
    """A cache was written by another version of the format."""


class IdentityError(CacheError):
    """Features of two different identities would be mixed."""


class IntegrityError(CacheError):
    """Bytes at rest are not what was written."""

    exit_code = 4


class RunError(BasketError):
    """A run folder is missing, foreign, damaged or of another version."""


class HubError(BasketError):
    """A model hub cannot be reached, refuses, or has not what was asked for."""


class MissingDependencyError(BasketError):
    """An optional package is needed here and is not installed."""


class Interrupted(BasketError):
    """Stopped by a signal; everything finished is committed and the next run resumes."""

    exit_code = 75
