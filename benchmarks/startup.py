"""How long the command and the package take to start: the median of ten new processes.

Each is printed beside a bare interpreter, started in turn with it, so that the ratio holds on a
machine that does other things too. Run it with ``python benchmarks/startup.py``.
"""

# bench: cpu

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

COMMAND = Path(sys.executable).parent / "basket"
STARTS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "import basket": [sys.executable, "-c", "import basket"],
    "basket --help": [COMMAND, "--help"],
    "basket fit-head --help": [COMMAND, "fit-head", "--help"],
    "basket --version": [COMMAND, "--version"],
}
TARGETS_S = {"import basket": 0.2, "basket --help": 0.3}


def seconds(command: list[str | Path]) -> tuple[float, float]:
    """Wall and CPU seconds of one process; the second hardly depends on what else is running."""
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return wall, cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=10)
    repeats = parser.parse_args().repeats
    for command in STARTS.values():
        seconds(command)  # files into the page cache, byte code written
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in STARTS}
    for _ in range(repeats):
        for name, command in STARTS.items():
            taken[name].append(seconds(command))
    bare = statistics.median(wall for wall, _ in taken["python -c pass"])
    print(f"{'start':24} {'median s':>9} {'CPU s':>7} {'x bare python':>14}  target")
    for name, times in taken.items():
        median = statistics.median(wall for wall, _ in times)
        cpu = statistics.median(cpu for _, cpu in times)
        target = TARGETS_S.get(name)
        said = "" if target is None else f"<= {target} s: {'met' if median <= target else 'MISSED'}"
        print(f"{name:24} {median:9.3f} {cpu:7.2f} {median / bare:14.1f}  {said}")


if __name__ == "__main__":
    main()
