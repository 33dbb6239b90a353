"""Where and how precisely a network runs when nobody says."""

from __future__ import annotations

import os
import re

from basket.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

#: How often an idle OpenMP thread looks for work before it sleeps: long enough for the next
#: operation of a network to find it awake, a five hundredth of what GNU's library does.
_SPINS = "1000"

_DEVICE = re.compile(r"auto|cpu|(cuda|xpu|mps)(:\d+)?")


def choose_device(device: str, precision: str) -> tuple[str, str]:
    """Resolve ``auto``: a CUDA device where there is one, bf16 there and fp32 on a CPU.

    Raises
    ------
    UsageError
        No name of a device or of a precision. (Whether the device is there is not looked at.)
    """
    if precision not in PRECISIONS:
        raise UsageError(f"--precision is one of {', '.join(PRECISIONS)}, not {precision!r}")
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device is auto, cpu, cuda, cuda:N or all, not {device!r}")
    if device == "auto":
        spin_briefly()
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    return device, precision


def spin_briefly() -> None:
    """Let OpenMP threads that wait go to sleep soon; to be called before torch is imported.

    Between two operations of a network, and while another process holds the core of one of them,
    they would keep spinning for milliseconds on cores that decoding needs: a tenth to a fifth of
    all CPU time where the network is small (``benchmarks/pipeline.py --only two``). What the
    environment says goes first. Where torch is there already, it keeps what it has.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
