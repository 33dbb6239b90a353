"""What is refused in a shard before anything of it is read: nothing in it is trusted.

A link that is not hard, a layout that is not chunked, another filter, a chunk that was never
written (HDF5 would return zeros for it) or a shape beyond the file's size is refused before memory
is taken.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from h5py import h5a, h5d, h5l, h5t, h5z

from basket.cache.shard_format import plain_type
from basket.errors import IntegrityError

_FLETCHER32_BYTES = 4


def checked_dataset(
    parent: Any, name: str, dtype: np.dtype[Any] | None, *, n_dims: int, file_bytes: int
) -> tuple[Any, tuple[int, ...]]:
    """Open a data set after checking that reading it can only yield what was written.

    The number of stored bytes must be exactly what the shape asks for. As nothing is compressed,
    that bounds the shape by the size of the file.

    Parameters
    ----------
    parent : h5py FileID or GroupID
    name : str
    dtype : dtype or None
        What it has to be of; with None the caller checks that.
    n_dims : int
    file_bytes : int
        Size of the whole file.

    Returns
    -------
    dataset : h5py DatasetID
    shape : tuple of int

    Raises
    ------
    IntegrityError
        It is not as a writer of ours leaves it.
    """
    require_hard_link(parent, name.encode())
    dataset = h5d.open(parent, name.encode())
    creation = dataset.get_create_plist()
    if creation.get_layout() != h5d.CHUNKED or creation.get_external_count():
        raise IntegrityError(f"{name!r} is not stored in chunks of its own file")
    filters = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
    if filters != [h5z.FILTER_FLETCHER32]:
        raise IntegrityError(f"{name!r} has filters {filters}, expected fletcher32 alone")
    kind = dataset.get_type()
    if dtype is not None and not kind.equal(plain_type(dtype)):
        raise IntegrityError(f"{name!r} is not of type {dtype}")
    shape = dataset.shape
    if len(shape) != n_dims:
        raise IntegrityError(f"{name!r} has shape {shape}, expected {n_dims} dimensions")
    chunks, chunk_bytes = 1, kind.get_size()
    for extent, step in zip(shape, creation.get_chunk(), strict=True):
        chunks *= -(-int(extent) // int(step))  # of Python, which does not wrap around
        chunk_bytes *= int(step)
    stored_bytes = dataset.get_storage_size()
    if (
        dataset.get_num_chunks() != chunks
        or stored_bytes != chunks * (chunk_bytes + _FLETCHER32_BYTES)
        or stored_bytes > file_bytes
    ):
        raise IntegrityError(
            f"{name!r} of shape {shape} has {stored_bytes} bytes stored in a file of "
            f"{file_bytes}; what is missing would read as zeros"
        )
    return dataset, shape


def require_hard_link(parent: Any, name: bytes) -> None:
    """Refuse a name that is missing or that leads elsewhere.

    Raises
    ------
    IntegrityError
    """
    if not parent.links.exists(name):
        raise IntegrityError(f"{name.decode(errors='replace')!r} is missing from it")
    if parent.links.get_info(name).type != h5l.TYPE_HARD:
        raise IntegrityError(f"{name.decode(errors='replace')!r} links elsewhere, which is refused")


def text_attribute(file: Any, name: bytes) -> str:
    """A short text of fixed length.

    Raises
    ------
    IntegrityError
        It is missing or something else.
    """
    attribute = _scalar_attribute(file, name)
    kind = attribute.get_type()
    if kind.get_class() != h5t.STRING or kind.is_variable_str() or kind.get_size() > 256:
        raise IntegrityError(f"its attribute {name.decode()!r} is not a short text")
    cell = np.empty((), dtype=f"S{kind.get_size()}")
    attribute.read(cell, mtype=kind)
    return bytes(cell.item()).decode("ascii")


def number_attribute(file: Any, name: bytes) -> int:
    """A 64-bit integer.

    Raises
    ------
    IntegrityError
        It is missing or something else.
    """
    attribute = _scalar_attribute(file, name)
    if not attribute.get_type().equal(h5t.STD_I64LE):
        raise IntegrityError(f"its attribute {name.decode()!r} is not an integer")
    cell = np.empty((), dtype=np.int64)
    attribute.read(cell, mtype=h5t.STD_I64LE)
    return int(cell)


def _scalar_attribute(file: Any, name: bytes) -> Any:
    if not h5a.exists(file, name):
        raise IntegrityError(f"its attribute {name.decode()!r} is missing")
    attribute = h5a.open(file, name)
    if attribute.shape != ():
        raise IntegrityError(f"its attribute {name.decode()!r} is not a single value")
    return attribute


@contextmanager
def told_as_damage(label: str) -> Iterator[None]:
    """Turn whatever h5py raises on bad bytes into one error that names the shard.

    An operating-system error other than EIO (no such file, no permission, too many open files) says
    nothing about the bytes, and goes through as it is.
    """
    try:
        yield
    except IntegrityError as error:
        raise IntegrityError(f"shard {label} is damaged or foreign: {error}") from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno not in (None, errno.EIO):
            raise
        raise IntegrityError(
            f"shard {label} is damaged or foreign: {' '.join(str(error).split())}"
        ) from error
