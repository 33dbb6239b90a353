"""Where and how precisely a network runs when nobody says."""

from __future__ import annotations

import os
import re

from basket.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

#: How often an idle OpenMP thread looks for work before it sleeps: long enough for the next
#: operation of a network to find it awake, a five hundredth of what GNU's library does.
_SPINS = "1000"

#: Compute capability from which on there is bf16 in hardware.
_AMPERE = 8

_DEVICE = re.compile(r"auto|cpu|(cuda|xpu|mps)(:\d+)?")


def choose_device(device: str, precision: str) -> tuple[str, str]:
    """Resolve ``auto``: a CUDA device where there is one, bf16 there and fp32 on a CPU.

    GPUs older than Ampere (V100, T4) compute in bf16 by emulation, many times slower: fp16 there.

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
        precision = half_precision(device) if device.startswith("cuda") else "fp32"
    return device, precision


def half_precision(device: str | int) -> str:
    """``bf16``, or ``fp16`` where a CUDA device has no circuits for it.

    Where there is no such device, ``bf16``: whoever uses it will say what is wrong.
    """
    import torch

    try:
        major, _minor = torch.cuda.get_device_capability(device)
    except (RuntimeError, AssertionError, ValueError):
        return "bf16"
    return "bf16" if major >= _AMPERE else "fp16"


def spin_briefly() -> None:
    """Let OpenMP threads that wait go to sleep soon; to be called before torch is imported.

    Between two operations of a network, and while another process holds the core of one of them,
    they would keep spinning for milliseconds on cores that decoding needs: a tenth to a fifth of
    all CPU time where the network is small (``benchmarks/pipeline.py --only two``). What the
    environment says goes first. Where torch is there already, it keeps what it has.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", _SPINS)
