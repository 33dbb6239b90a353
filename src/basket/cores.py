"""How many cores there are to work on, which extraction, heads, sweeps and the demo all divide."""

from __future__ import annotations


def usable_cores() -> int:
    """Cores this process may run on, which can be fewer than there are.

    A scheduler may bind it to some (affinity), a container may be given a share of their time
    (``docker --cpus 2``, a limit in Kubernetes), a person may set ``LOKY_MAX_CPU_COUNT``. More
    processes than that would only take turns.
    """
    import joblib

    return int(joblib.cpu_count())
