"""Memory that two processes share, and that the system takes back with the last of them.

A job on a cluster is often ended by killing all of its processes at once, and nothing is left to
tidy up. Named shared memory would then stay behind in the node's memory, job after job; and it is
as small as ``/dev/shm``, 64 MB in a usual container, beyond which writing kills the writer. So on
Linux the memory has no name but that of the file descriptor that holds it.
"""

from __future__ import annotations

import itertools
import mmap
import os
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

_numbers = itertools.count()


class SharedBytes:
    """A block of bytes; :meth:`create` makes one, :meth:`attach` opens that of another process.

    Attributes
    ----------
    name : str
        What another process of the same user attaches to; never used twice by one process.
    size : int
        Bytes; a system may round up what was asked for.
    buf : memoryview or mmap
        The bytes themselves, for ``numpy.ndarray(..., buffer=...)``.
    """

    def __init__(
        self, name: str, buf: mmap.mmap | memoryview, held: int | SharedMemory | None
    ) -> None:
        self.name, self.buf, self.size = name, buf, len(buf)
        self._held = held
        self._creator = False

    @classmethod
    def create(cls, size: int) -> SharedBytes:
        """A new block of zeros.

        Parameters
        ----------
        size : int
            Bytes, at least 1.

        Raises
        ------
        OSError
            The system has no such memory to give.
        """
        if hasattr(os, "memfd_create") and Path("/proc/self/fd").is_dir():
            descriptor = os.memfd_create("basket")
            try:
                os.truncate(descriptor, size)
                mapped = mmap.mmap(descriptor, size)
            except OSError:
                os.close(descriptor)
                raise
            # The number of a descriptor is used again after it was closed: a name must not be.
            name = f"/proc/{os.getpid()}/fd/{descriptor}:{next(_numbers)}"
            block = cls(name, mapped, descriptor)
        else:
            memory = SharedMemory(create=True, size=size)
            block = cls(memory.name, _bytes_of(memory), memory)
        block._creator = True
        return block

    @classmethod
    def attach(cls, name: str) -> SharedBytes:
        """The block of a process that still holds it.

        Parameters
        ----------
        name : str
            Of the block that was created.

        Raises
        ------
        OSError
            It is gone.
        """
        if not name.startswith("/proc/"):
            memory = SharedMemory(name)
            return cls(name, _bytes_of(memory), memory)
        descriptor = os.open(name.rpartition(":")[0], os.O_RDWR | os.O_CLOEXEC)
        try:  # the mapping has a descriptor of its own, and each counts against a limit
            return cls(name, mmap.mmap(descriptor, 0), None)
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Let go of it; the creator's end also ends the name.

        Raises
        ------
        BufferError
            An array still lies in it.
        """
        if isinstance(self._held, SharedMemory):
            self._held.close()
            if self._creator:
                self._held.unlink()
        else:
            assert isinstance(self.buf, mmap.mmap)
            self.buf.close()
            if self._held is not None:
                os.close(self._held)


def _bytes_of(memory: SharedMemory) -> memoryview:
    assert memory.buf is not None  # it is only once it was closed
    return memory.buf
