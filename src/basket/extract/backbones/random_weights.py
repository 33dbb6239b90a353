"""Small checkpoints with random weights: the demo's control, and what tests load.

They are written in the Hugging Face format and marked in config.json, so that whatever is
extracted with them says "random" wherever it appears.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from basket.errors import UsageError
from basket.extract.backbones.random_networks import (
    BUILDERS,
    Sizes,
    build_videomae,
    vocabulary,
)
from basket.extract.backbones.weights import CONFIG, PREPROCESSOR, RANDOM_MARKER, SINGLE


def save_random(family: str, folder: str | Path, *, seed: int = 0, **sizes: Any) -> Path:
    """Write a checkpoint of a family that was never trained.

    Parameters
    ----------
    family : str
        Any of :data:`~basket.extract.backbones.BACKBONES` with weights.
    folder : str or Path
        Made when missing; files of an earlier call are replaced.
    seed : int, default=0
        The same seed and sizes give the same weights, and so the same ``weights_sha256``.
    **sizes
        Fields of :class:`Sizes`.

    Returns
    -------
    Path
        ``folder``, for ``--weights``.

    Raises
    ------
    UsageError
        No such family.
    """
    if family not in BUILDERS:
        raise UsageError(f"no random weights for {family!r}; known: {', '.join(BUILDERS)}")
    chosen = Sizes(**sizes)
    model, preprocessor = BUILDERS[family](chosen)
    written = _save(Path(folder), model, seed=seed, preprocessor=preprocessor)
    if family == "xclip":
        _write_tokenizer(written)
    return written


def save_random_videomae(
    folder: str | Path,
    *,
    seed: int = 0,
    layout: Literal["fine-tuned", "self-supervised"] = "fine-tuned",
    **sizes: Any,
) -> Path:
    """Write a VideoMAE that was never trained.

    Parameters are those of :func:`save_random`; ``layout`` says whether it ends with ``fc_norm``
    behind the mean, or with a final layer norm.
    """
    model, preprocessor = build_videomae(Sizes(**sizes), fine_tuned=layout == "fine-tuned")
    return _save(Path(folder), model, seed=seed, preprocessor=preprocessor)


def _save(folder: Path, model: Any, *, seed: int, preprocessor: Mapping[str, Any]) -> Path:
    from safetensors.torch import save

    tensors = _random_tensors(model, seed)
    config = {
        **model.config.to_diff_dict(),
        "architectures": [type(model).__name__],
        "dtype": "float32",
        RANDOM_MARKER: True,
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / SINGLE, save(tensors, metadata={"format": "pt"}))
    _write(folder / PREPROCESSOR, _json(preprocessor))
    _write(folder / CONFIG, _json(config))  # last: a folder without it is not a checkpoint
    return folder


def _random_tensors(model: Any, seed: int) -> dict[str, Any]:
    """Every parameter anew, drawn in the order of the names.

    Matrices have variance one over fan-in, so that activations neither vanish nor explode; norms
    scatter around one; biases are small but never zero, as in a trained network: zero query
    biases are taken for lost ones.
    """
    import numpy as np
    import torch

    rng = np.random.default_rng(seed)
    tensors = {}
    for name, parameter in sorted(model.named_parameters()):
        draw = rng.standard_normal(tuple(parameter.shape), dtype=np.float32)
        if parameter.ndim > 1:
            draw = draw * np.float32(np.prod(parameter.shape[1:]) ** -0.5)
        elif name.endswith("bias"):
            draw = draw * np.float32(0.1)
        else:
            draw = 1 + draw * np.float32(0.1)
        tensors[name] = torch.from_numpy(np.array(draw, dtype=np.float32))
    return tensors


def _write_tokenizer(folder: Path) -> None:
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    _write(folder / "vocab.json", _json(vocabulary()))
    _write(folder / "merges.txt", b"#version: 0.2\n")
    _write(folder / "tokenizer_config.json", _json(settings))


def _json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def _write(path: Path, content: bytes) -> None:
    """Under another name first, so that nobody ever reads half a file."""
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    partial.write_bytes(content)
    partial.replace(path)
