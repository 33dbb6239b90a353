"""Where decode processes call: their connections, and a bell that wakes whoever waits for them."""

from __future__ import annotations

import collections
import contextlib
import multiprocessing
import secrets
import tempfile
import threading
import time
from multiprocessing.connection import Client, Connection, Listener, wait

_AT_ONCE = 128  # callers; where one is too many, macOS refuses it instead of letting it wait
_RETRY_S = 0.05  # after a call that came to nothing
_END_S = 5.0  # for the thread to notice that it is over


class Callers:
    """The parent's ends of the connections of its workers.

    A thread takes their calls, which wait meanwhile; all else is for one thread, but for
    :meth:`ring`.

    Attributes
    ----------
    address : str or tuple
        Where to call.
    key : bytes
        What a caller must know.
    """

    def __init__(self) -> None:
        self.key = secrets.token_bytes(16)
        self._closing = False
        with contextlib.ExitStack() as leave:
            self._listener = leave.enter_context(_listen(self.key, leave))
            self._bell, self._button = multiprocessing.Pipe(duplex=False)
            self._leave = leave.pop_all()
        self.address = self._listener.address
        self._button_lock = threading.Lock()
        self._arrived: collections.deque[Connection] = collections.deque()
        self._connections: list[Connection] = []
        self._thread = threading.Thread(target=self._accept, name="accept-workers", daemon=True)
        self._thread.start()

    def ring(self) -> None:
        """Wake whoever waits in :meth:`heard`; to be called from any thread."""
        with self._button_lock:
            if not self._button.closed:
                self._button.send_bytes(b"!")

    def heard(self, *, within_s: float) -> list[Connection]:
        """Connections that have something to say, or have ended; none when the bell rang first."""
        ready = wait([self._bell, *self._connections], timeout=within_s)
        if self._bell in ready:
            self._bell.recv_bytes()
            while self._arrived:
                self._connections.append(self._arrived.popleft())
        return [each for each in self._connections if each in ready]

    def drop(self, connection: Connection) -> None:
        """Close a connection whose worker is gone."""
        self._connections.remove(connection)
        connection.close()

    def close(self) -> None:
        """Take no more calls, and end all connections; the workers must have ended before."""
        with self._button_lock:
            self._button.close()
        self._closing = True
        # Somebody may have tidied the temporary files, and the socket with them.
        with contextlib.suppress(OSError):
            Client(self.address).close()  # closing alone wakes nobody who waits for a call
            self._thread.join(_END_S)
        with contextlib.suppress(FileNotFoundError):
            self._leave.close()
        for connection in [*self._connections, *self._arrived, self._bell]:
            connection.close()

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection = self._listener.accept()
            except (multiprocessing.AuthenticationError, EOFError, OSError):
                # Whoever called is gone: a process can die while it introduces itself, and the next
                # one must still be heard.
                if not self._closing:
                    time.sleep(_RETRY_S)
                continue
            self._arrived.append(connection)
            self.ring()


def _listen(key: bytes, leave: contextlib.ExitStack) -> Listener:
    """A socket in a folder of this user's alone.

    multiprocessing takes one under TMPDIR, which on clusters can be deeper than the path of a
    socket may be long (about 100 bytes).
    """
    try:
        return Listener(authkey=key, backlog=_AT_ONCE)
    except OSError:
        folder = leave.enter_context(tempfile.TemporaryDirectory(prefix="basket-", dir="/tmp"))
        return Listener(f"{folder}/socket", authkey=key, backlog=_AT_ONCE)
