"""Where and how precisely a network runs when nobody says."""

from __future__ import annotations

import re

from basket.errors import UsageError

PRECISIONS = ("auto", "fp32", "bf16", "fp16")

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
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    return device, precision
