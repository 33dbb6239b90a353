"""Tensors in safetensors files: where they lie, their digest, and reading a few of them.

The digest reads the files piece by piece, so the largest checkpoint needs no memory.
Format: 8 bytes little-endian header length, a JSON header, then the raw values
(https://github.com/huggingface/safetensors#format).
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from basket.errors import WeightsError

_PIECE_BYTES = 1 << 22
#: The reference reader's own limit.
_HEADER_LIMIT_BYTES = 100_000_000


@dataclass(frozen=True)
class StoredTensor:
    """One tensor at rest: ``file[start:stop]`` holds its values.

    Parameters
    ----------
    name : str
    dtype : str
        As safetensors writes it: ``F32``, ``BF16``.
    shape : tuple of int
    file : Path
    start, stop : int
        Bytes from the beginning of the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    file: Path
    start: int
    stop: int


def index_tensors(files: Sequence[Path]) -> dict[str, StoredTensor]:
    """List the tensors of one or several safetensors files by name.

    Raises
    ------
    WeightsError
        A file is no safetensors file, is cut short, or two files hold the same name.
    """
    found: dict[str, StoredTensor] = {}
    for file in files:
        for tensor in _read_header(file):
            if tensor.name in found:
                raise WeightsError(
                    f"{file} and {found[tensor.name].file} both hold the tensor {tensor.name!r}; "
                    "the shards of one checkpoint must not overlap, copy it again"
                )
            found[tensor.name] = tensor
    return found


def digest_tensors(tensors: Mapping[str, StoredTensor]) -> str:
    """SHA-256 over (name, dtype, shape, values), sorted by name: 64 hex digits.

    Independent of how the tensors are spread over files and in which order they lie there.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        head = json.dumps([tensor.name, tensor.dtype, list(tensor.shape)], separators=(",", ":"))
        digest.update(head.encode() + b"\n")
        with tensor.file.open("rb") as stream:
            stream.seek(tensor.start)
            left = tensor.stop - tensor.start
            while left:
                piece = stream.read(min(left, _PIECE_BYTES))
                if not piece:
                    raise WeightsError(f"{tensor.file} was cut short while it was read")
                digest.update(piece)
                left -= len(piece)
    return digest.hexdigest()


def read_tensor(tensor: StoredTensor) -> Any:
    """Load one tensor.

    Returns
    -------
    torch.Tensor
        Shape and dtype as stored.
    """
    from safetensors import safe_open

    with safe_open(tensor.file, framework="pt") as stream:
        return stream.get_tensor(tensor.name)


def _read_header(file: Path) -> list[StoredTensor]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        header, base = _parse_header(stream, file, size)
    tensors = []
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        try:
            start, stop = (base + int(offset) for offset in entry["data_offsets"])
            shape = tuple(int(side) for side in entry["shape"])
            tensor = StoredTensor(name, str(entry["dtype"]), shape, file, start, stop)
        except (TypeError, KeyError, ValueError) as error:
            raise _damaged(file, f"tensor {name!r} is described wrongly") from error
        if not base <= start <= stop <= size or (stop == start) != (math.prod(shape) == 0):
            raise _damaged(file, f"tensor {name!r} lies outside the {size} bytes of the file")
        tensors.append(tensor)
    return tensors


def _parse_header(stream: BinaryIO, file: Path, size: int) -> tuple[dict[str, Any], int]:
    prefix = stream.read(8)
    if prefix == b"version ":
        raise WeightsError(
            f"{file} is a git-lfs pointer, not the weights themselves; run 'git lfs pull' in its "
            "folder or download the file"
        )
    if len(prefix) < 8:
        raise _damaged(file, "it is shorter than a header")
    (length,) = struct.unpack("<Q", prefix)
    if length > min(size - 8, _HEADER_LIMIT_BYTES):
        raise _damaged(file, "its header is longer than the file")
    try:
        header = json.loads(stream.read(length))
    except ValueError as error:
        raise _damaged(file, "its header is not JSON") from error
    if not isinstance(header, dict):
        raise _damaged(file, "its header is not a table")
    return header, 8 + length


def _damaged(file: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"{file} is damaged or no safetensors file ({reason}); download or copy it again"
    )
