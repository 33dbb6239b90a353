"""The sbatch script of a job array: one extraction, cut into shards that need no coordinator."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from basket.errors import UsageError

_TEMPLATE = """\
#!/bin/bash
# Written by basket {version}. Submit it with: sbatch {file}
# Submit it again to continue or to repair: what is in the cache is left alone.
# A part of it: sbatch --array=3,7 {file}
{directives}

set -u
cd "${{SLURM_SUBMIT_DIR:-.}}"
# Not SLURM_ARRAY_TASK_COUNT: that is 2 for --array=3,7, and the shards would be others.
parts={parts}
basket=({basket})
arguments=({arguments})

# Once per node: whoever comes first gets the weights, the others wait for that. Where nodes have no
# network, run basket extract --dry-run elsewhere beforehand, with HF_HOME on a shared disk.
ready="${{TMPDIR:-/tmp}}/basket-weights-${{SLURM_ARRAY_JOB_ID:-0}}"
exec 9> "$ready.lock"
flock 9
if [ ! -e "$ready" ]; then
    if ! "${{basket[@]}}" extract "${{arguments[@]}}" --dry-run --limit 1 --quiet > /dev/null; then
        echo "The weights cannot be had on $(hostname), or there is nothing to extract" >&2
        exit 1
    fi
    touch "$ready"
fi
exec 9>&-

"${{basket[@]}}" extract "${{arguments[@]}}" --shard "$SLURM_ARRAY_TASK_ID/$parts" &
child=$!

# Slurm warns with USR1 before it ends the job: basket commits what is finished and exits with 75.
warned=0
pass_on() {{ heard=1; warned=1; kill -USR1 "$child" 2> /dev/null; }}
trap pass_on USR1 TERM

while :; do
    heard=0
    wait "$child"
    status=$?
    [ "$heard" = 1 ] || break  # a signal ends the waiting, not basket
done

# Above 128: warned so early that basket had not begun, and the signal ended it.
if [ "$status" = 75 ] || {{ [ "$warned" = 1 ] && [ "$status" -gt 128 ]; }}; then
    echo "Stopped before the end; queued again, to go on from here"
    scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"
    exit 0
fi
# 3: done, but some videos cannot be read; the log above lists them with their reasons.
[ "$status" = 3 ] && exit 0
exit "$status"
"""


@dataclass(frozen=True)
class ArrayJob:
    """What is asked of Slurm.

    Parameters
    ----------
    parts : int
        Tasks of the array, each a shard.
    at_once : int, optional
        Tasks that run at the same time at most.
    cpus : int
        Cores of a task, and decode processes.
    gpus : int
        GPUs of a task.
    memory : str
        Of a task, as Slurm writes it.
    time : str
        Longest time of a task, as Slurm writes it; it is queued again when that is over.
    partition, account : str, optional
    name : str
    warn_s : int
        Seconds before the end at which the script is warned.
    """

    parts: int
    at_once: int | None = None
    cpus: int = 8
    gpus: int = 0
    memory: str = "32G"
    time: str = "12:00:00"
    partition: str | None = None
    account: str | None = None
    name: str = "basket"
    warn_s: int = 120

    def __post_init__(self) -> None:
        words = {
            "--memory": (self.memory, r"\d+[KMGT]?"),
            "--time": (self.time, r"(\d+-)?\d+(:\d+){0,2}"),
            "--partition": (self.partition or "x", r"[\w.,-]+"),
            "--account": (self.account or "x", r"[\w.-]+"),
            "--name": (self.name, r"[\w.-]+"),
        }
        for option, (word, pattern) in words.items():
            # A line break here would be a line of the script.
            if not re.fullmatch(pattern, word):
                raise UsageError(f"{option} is not as Slurm writes it: {word!r}")

    @property
    def directives(self) -> list[str]:
        """Its ``#SBATCH`` options."""
        limit = f"%{self.at_once}" if self.at_once else ""
        found = [
            f"--job-name={self.name}",
            f"--array=0-{self.parts - 1}{limit}",
            "--ntasks=1",
            f"--cpus-per-task={self.cpus}",
            f"--mem={self.memory}",
            f"--time={self.time}",
            f"--signal=B:USR1@{self.warn_s}",
            "--requeue",
            "--open-mode=append",
            f"--output={self.name}-%A_%a.log",
        ]
        if self.gpus:
            found.append(f"--gres=gpu:{self.gpus}")
        if self.partition:
            found.append(f"--partition={self.partition}")
        if self.account:
            found.append(f"--account={self.account}")
        return found


def sbatch_script(
    arguments: Sequence[str], job: ArrayJob, *, basket: Sequence[str], file: str, version: str
) -> str:
    """A script for ``sbatch`` that extracts in shards and survives being stopped.

    Parameters
    ----------
    arguments : sequence of str
        Of ``basket extract``, without ``--shard``.
    job : ArrayJob
    basket : sequence of str
        The command, as the nodes find it.
    file : str
        What the script will be called.
    version : str
        Of basket.

    Returns
    -------
    str
        For bash.
    """
    extra = [] if _has(arguments, "--workers") else ["--workers", str(job.cpus)]
    if job.gpus and not _has(arguments, "--device"):
        extra += ["--device", "all" if job.gpus > 1 else "cuda"]
    return _TEMPLATE.format(
        version=version,
        file=shlex.quote(file),
        directives="\n".join(f"#SBATCH {each}" for each in job.directives),
        parts=job.parts,
        basket=shlex.join(basket),
        arguments=shlex.join([*arguments, *extra]),
    )


def _has(arguments: Sequence[str], option: str) -> bool:
    return any(each == option or each.startswith(f"{option}=") for each in arguments)
