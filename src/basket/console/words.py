"""Numbers and lists as a person says them."""

from __future__ import annotations

from collections.abc import Sequence

#: Entries of a list that are shown before "and N more".
LISTED = 10


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    >>> duration(7.2), duration(125), duration(7380)
    ('7 s', '2 min 05 s', '2 h 03 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def listed(names: Sequence[str], limit: int = LISTED) -> str:
    """Names on one line, shortened to the first few.

    >>> listed(["a", "b", "c"], limit=2)
    'a, b and 1 more'
    """
    shown = ", ".join(names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")


def counted(count: int, noun: str) -> str:
    """A number and what it counts.

    >>> counted(1, "shard"), counted(2, "shard")
    ('1 shard', '2 shards')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(n_bytes: float) -> str:
    """Bytes as a person says them.

    >>> size(512), size(1_700_000_000)
    ('512 B', '1.7 GB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} B" if unit == "B" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} TB"
