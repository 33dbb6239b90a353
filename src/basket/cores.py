"""How many cores there are to work on, which extraction, heads, sweeps and the demo all divide."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores this process may run on: fewer than there are under SLURM or in a container."""
    try:
        return max(1, len(os.sched_getaffinity(0)))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1
