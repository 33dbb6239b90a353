"""Where and how precisely a network runs when nobody says."""

from __future__ import annotations


def choose_device(device: str, precision: str) -> tuple[str, str]:
    """Resolve ``auto``: a CUDA device where there is one, bf16 there and fp32 on a CPU."""
    if device == "auto":
        import torch

        device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision == "auto":
        precision = "bf16" if device.startswith("cuda") else "fp32"
    return device, precision
