"""Help for a sweep from other processes: whoever has the folder and the data can take part.

There is nobody to register with. A helper walks the same settings as everybody else, takes the
pieces of work that nobody holds, and leaves records; the sweep that was started first finds them.
Locks are the folder's, so nodes need a file system that shares them (NFS 4, Lustre with ``flock``);
where it does not, some work is done twice and one record of it is kept.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from basket.errors import UsageError
from basket.extract.ray_cluster import connected, layout
from basket.sweep.data import SweepData
from basket.sweep.leaderboard import SWEEP_FILE, read_sweep_file
from basket.sweep.records import code_version
from basket.sweep.runner import run_settings
from basket.sweep.setting import Setting

#: ``help_out(settings, notes)``: returns how many records were made, once no setting lacks one.
HelpOut = Callable[[Sequence[Setting], Mapping[str, Any]], int]


def take_part(
    settings: Sequence[Setting],
    data: SweepData,
    folder: Path,
    notes: Mapping[str, Any],
    code: str,
) -> int:
    """Do what nobody else does of these settings; the records made here.

    Raises
    ------
    UsageError
        The sweep is led by other code than ``code_version()`` here: its records would be others.
    """
    if code != code_version():
        raise UsageError(
            f"{platform.node()} has another version of basket ({code_version()}) than the sweep "
            f"({code}); install the same one on every node"
        )
    return run_settings(settings, data=data, folder=folder, notes=notes).n_computed


def require_same_sweep(folder: Path, about: Mapping[str, Any]) -> None:
    """Check that a helper is about to do what the sweep in a folder does.

    Parameters
    ----------
    folder : Path
    about : mapping
        What the helper would do.

    Raises
    ------
    UsageError
        Another space, other data or another version; or a search that one process must lead.
    """
    if about["space"]["search"]["kind"] == "optuna":
        raise UsageError(
            "Optuna proposes one configuration after the other, so there is nothing for --worker "
            "to do; use --search random, grid or halving, or more --jobs"
        )
    if not (folder / SWEEP_FILE).exists():
        return  # the helper is the first to come
    there, here = read_sweep_file(folder), json.loads(json.dumps(about))
    differing = [name for name in ("space", "data", "code") if there.get(name) != here[name]]
    if differing:
        raise UsageError(
            f"The sweep in {folder} is another one (its {' and '.join(differing)} differ); give "
            "--worker the same specification, labels and cache, and the same version of basket"
        )


@contextmanager
def ray_helpers(
    data: SweepData,
    folder: Path,
    *,
    address: str | None = None,
    cpus: int | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Iterator[HelpOut]:
    """Helpers on all nodes of a Ray cluster, for as long as the block lasts.

    Parameters
    ----------
    data : SweepData
        Files that all nodes reach under these names.
    folder : Path
        Of the sweep; likewise.
    address : str, optional
        Of a running cluster; one on this machine unless given.
    cpus : int, optional
        Cores of each helper; four, or as many as a node has, unless given.
    say : callable

    Raises
    ------
    MissingDependencyError, UsageError
        As :func:`basket.extract.ray_cluster.connected`; ``help_out`` where a node has another
        version of basket.
    """
    data = replace(
        data,
        cache=data.cache.absolute(),
        train=data.train.absolute(),
        val=None if data.val is None else data.val.absolute(),
        test=None,
        video_root=None if data.video_root is None else data.video_root.absolute(),
    )
    with connected(address) as ray:
        nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        chosen = layout(nodes, device="cpu", workers=cpus)
        say(f"Ray: {chosen.actors} helpers, each with {chosen.cores}")
        remote = ray.remote(take_part).options(num_cpus=chosen.cpus, max_retries=3)

        def help_out(settings: Sequence[Setting], notes: Mapping[str, Any]) -> int:
            tasks = [
                remote.remote(settings, data, folder.absolute(), dict(notes), code_version())
                for _ in range(min(chosen.actors, len(settings)))
            ]
            done = 0
            for task in tasks:
                try:
                    done += ray.get(task)
                except ray.exceptions.RayTaskError as error:
                    raise getattr(error, "cause", error) from None
                except ray.exceptions.RayError as error:
                    # Its node is gone; whoever is left does its part, in the end the caller.
                    say(f"A helper was lost: {str(error).splitlines()[0]}")
            return done

        yield help_out
