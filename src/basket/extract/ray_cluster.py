"""A Ray cluster: reaching one, and dividing it into actors."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from basket.cores import usable_cores
from basket.errors import MissingDependencyError, UsageError

_CPUS_PER_ACTOR = 4
_CONNECT_S = 10.0
_OBJECT_STORE_BYTES = 100 << 20  # ids and counts: Ray's smallest is plenty


@dataclass(frozen=True)
class RayCluster:
    """Which cluster, and how it is divided.

    Parameters
    ----------
    address : str, optional
        ``auto`` or ``host:port`` of a running cluster; where neither it nor ``RAY_ADDRESS`` is
        given, one is started on this machine.
    actors : int, optional
        As many as fit, unless given (a cluster that grows by itself starts small).
    """

    address: str | None = None
    actors: int | None = None


@dataclass(frozen=True)
class Layout:
    """How many actors, and what each of them takes."""

    actors: int
    cpus: int
    gpus: int

    @property
    def cores(self) -> str:
        """The cores of one actor, in words."""
        return "one core" if self.cpus == 1 else f"{self.cpus} cores"


def layout(
    nodes: Sequence[Mapping[str, float]],
    *,
    device: str,
    workers: int | None = None,
    actors: int | None = None,
) -> Layout:
    """Divide a cluster: an actor per GPU with its share of the cores, or one per four cores.

    Parameters
    ----------
    nodes : sequence of mapping
        Resources of each node, as Ray names them (``CPU``, ``GPU``).
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    workers : int, optional
        Cores, and decode processes, of each actor.
    actors : int, optional

    Raises
    ------
    UsageError
        A single device is named, or no node can hold an actor.

    Examples
    --------
    >>> layout([{"CPU": 32, "GPU": 4}, {"CPU": 32, "GPU": 4}], device="auto")
    Layout(actors=8, cpus=8, gpus=1)
    >>> layout([{"CPU": 10}], device="auto")
    Layout(actors=2, cpus=4, gpus=0)
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(
            f"with --engine ray, Ray chooses the GPU of each actor: --device is auto, cpu or cuda, "
            f"got {device!r}"
        )
    n_gpus = int(sum(node.get("GPU", 0) for node in nodes))
    n_cpus = int(sum(node.get("CPU", 0) for node in nodes))
    gpus = int(device == "cuda" or (device == "auto" and n_gpus > 0))
    largest = int(max((node.get("CPU", 0) for node in nodes), default=0))
    if workers is not None:
        cpus = workers
    elif gpus and n_gpus:
        cpus = max(1, n_cpus // n_gpus)
    else:
        cpus = max(1, min(_CPUS_PER_ACTOR, largest))
    fit = 0
    for node in nodes:
        by_cpu = int(node.get("CPU", 0)) // cpus
        fit += min(by_cpu, int(node.get("GPU", 0))) if gpus else by_cpu
    if not (actors or fit):
        each = f"{cpus} cores" + (" and a GPU" if gpus else "")
        raise UsageError(
            f"No node of the Ray cluster has {each} for an actor (the largest has {largest} cores, "
            f"there are {n_gpus} GPUs); give fewer --workers, or --actors for nodes yet to come"
        )
    return Layout(actors or fit, cpus, gpus)


def import_ray() -> Any:
    """The package ray, told to report nothing to anybody.

    Raises
    ------
    MissingDependencyError
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        return import_module("ray")
    except ImportError:
        raise MissingDependencyError(
            "Ray is needed here and not installed; install it with: pip install 'basket[ray]'"
        ) from None


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected; a cluster that is connected to already is used and left as it is.

    Raises
    ------
    MissingDependencyError
        Ray is not installed.
    UsageError
        There is no cluster at the address, or it does not let us in.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield ray
        return
    address = address or os.environ.get("RAY_ADDRESS")
    answers = _require_somebody(address)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address and address != "local":
            ray.init(address=address, **quiet)
        else:
            ray.init(
                address="local",
                num_cpus=usable_cores(),
                include_dashboard=False,
                object_store_memory=_OBJECT_STORE_BYTES,
                **quiet,
            )
    # A token that is missing or wrong is none of Python's own errors.
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise _unreachable(address, error, answers=answers) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _require_somebody(address: str | None) -> bool:
    """Refuse an address where nobody listens: Ray itself would try for minutes.

    True where somebody does, False where the address is none that could be tried.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdigit() or "/" in host:
        return False
    try:
        socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise _unreachable(address, error) from error
    return True


def _unreachable(address: str | None, error: Exception, *, answers: bool = False) -> UsageError:
    where = f"at {address}" if address else "on this machine"
    advice = (
        "something listens there: is it Ray's own port, of the same version of Ray, and if the "
        "cluster asks for a token, is RAY_AUTH_MODE=token set here?"
        if answers
        else "start one with ray start --head, or leave --ray-address away to use this machine "
        "alone"
    )
    said = str(error).splitlines()[0]
    return UsageError(f"No Ray cluster can be reached {where} ({said}); {advice}")
