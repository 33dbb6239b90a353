"""The composed calls for more than one machine: a job array's script, and watching all writers."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from basket.dataset import N_LEVELS
from basket.errors import UsageError
from basket.workflows.common import PathLike, listed_videos

if TYPE_CHECKING:
    from basket.cache.progress import SetProgress
    from basket.extract.slurm import ArrayJob


def write_array_script(arguments: Sequence[str], job: ArrayJob, out: PathLike) -> Path:
    """Write the sbatch script of an extraction that is cut into shards.

    Parameters
    ----------
    arguments : sequence of str
        Of ``basket extract``.
    job : ArrayJob
    out : path
        Replaced where it exists.

    Raises
    ------
    UsageError
        Something that Slurm would not understand.
    CacheError
        It cannot be written.
    """
    from basket import __version__
    from basket.cache.durable import make_room_for, write_atomically
    from basket.extract.slurm import sbatch_script

    path = Path(out)
    script = sbatch_script(
        arguments,
        job,
        # A job starts in a bare shell: this very installation is named in full.
        basket=[sys.executable, "-m", "basket"],
        file=path.name,
        version=__version__,
    )
    make_room_for(path)
    write_atomically(path, script.encode())
    path.chmod(0o755)
    return path


def watch_cache(
    cache: PathLike,
    *,
    names: Sequence[str] = (),
    labels: Sequence[PathLike] = (),
    video_root: PathLike | None = None,
    n_levels: int = N_LEVELS,
    every_s: float = 5.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[tuple[SetProgress, ...]]:
    """How far all writers are, again and again, until nobody is at work.

    Parameters
    ----------
    cache : path
    names : sequence of str
        Feature sets; all by default, those that are begun meanwhile too.
    labels : sequence of path
        Label files whose videos should be there in the end.
    video_root : path, optional
    n_levels : int, default=5
    every_s : float
    sleep : callable
        Waits so many seconds.

    Raises
    ------
    BasketError
        The cache, a name or a label file is wrong.
    """
    from basket.cache import FeatureSet, open_cache
    from basket.cache.progress import progress_of

    if every_s <= 0:
        raise UsageError(f"--every must be more than 0 seconds, got {every_s:g}")
    opened = open_cache(cache)
    wanted = None
    if labels:
        wanted = set(listed_videos(labels, video_root=video_root, n_levels=n_levels))
    known: dict[str, FeatureSet] = {}
    while True:
        for name in names or opened.feature_sets:
            # Kept, so that each look reads what is new alone.
            known.setdefault(name, opened[name])
        found = tuple(progress_of(each, wanted=wanted) for each in known.values())
        yield found
        if not any(each.running for each in found):
            return
        sleep(every_s)
