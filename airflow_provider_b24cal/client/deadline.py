"""Connections whose answer must be whole in time, and which can be broken off from another thread.

The time-out of a socket begins anew with every byte, so that a portal that sends a byte a second holds a call
for ever, be it in the headers or in the body. What is bounded here is the whole answer.
"""

from __future__ import annotations

import os
from contextlib import suppress
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from queue import LifoQueue
from socket import SHUT_RDWR
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_b24cal.client.http import TOTAL_TIMEOUT_FACTOR

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping


_AT_ONCE: Final = 65_536


class _Reader(RawIOBase):
    """Reads from a socket until its time is up."""

    def __init__(self, source: socket.socket) -> None:
        self._socket = source
        self._raw: Any = source.makefile("rb", buffering=0)
        self._timeout = source.gettimeout()
        self._ends = None if self._timeout is None else monotonic() + TOTAL_TIMEOUT_FACTOR * self._timeout

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read what there is.

        :raises TimeoutError: nothing came in time, or the time for the whole is up.
        """
        if self._ends is not None and self._timeout is not None:
            left = self._ends - monotonic()
            if left <= 0:
                raise TimeoutError("the answer was not whole in time")
            self._socket.settimeout(min(self._timeout, left))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Give the socket back."""
        if not self.closed:
            self._raw.close()
        super().close()


class _Source:
    """What a response takes for the socket: it makes a file of it, and nothing else."""

    def __init__(self, source: socket.socket) -> None:
        self._socket = source

    def makefile(self, _mode: str) -> BufferedReader:
        """Return the file that the answer is read from."""
        # An answer to a full batch in one or two readings.
        return BufferedReader(_Reader(self._socket), _AT_ONCE)


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(_Source(sock), *args, **kwargs)  # type: ignore[arg-type]  # all it does is makefile()


class Connections:
    """The open connections of one transport."""

    def __init__(self) -> None:
        self._open: WeakSet[socket.socket] = WeakSet()
        self._queues: WeakSet[_Queue] = WeakSet()
        self._lock = Lock()
        _ALL.add(self)

    def pools(self) -> Mapping[str, Any]:
        """Return classes of connection pools by scheme; what they open is kept account of here."""
        add, queues = self._add, self._queues

        class Queue(_Queue):
            def __init__(self, maxsize: int) -> None:
                super().__init__(maxsize)
                queues.add(self)

        class Connection(HTTPConnection):
            response_class = _Response

            def connect(self) -> None:
                super().connect()
                add(self.sock)

        class TlsConnection(HTTPSConnection):
            response_class = _Response

            def connect(self) -> None:
                super().connect()
                add(self.sock)

        class Pool(HTTPConnectionPool):
            ConnectionCls = Connection
            QueueCls: Any = Queue

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = TlsConnection
            QueueCls: Any = Queue

        return {"http": Pool, "https": TlsPool}

    def abort(self) -> None:
        """Let everybody who waits for an answer find the connection broken."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(SHUT_RDWR)

    def leave_to_parent(self) -> None:
        """Forget, in a child process, the connections of its parent.

        Only the child's copies of the descriptors are closed: nothing is sent, so the parent's TLS goes on.
        """
        self._lock = Lock()
        for one in self._open:
            with suppress(OSError):
                os.close(one.detach())
        self._open.clear()
        for queue in self._queues:
            queue.empty_places()

    def _add(self, one: Any) -> None:
        if one is not None:
            with self._lock:
                # Of TLS within the TLS of a proxy the socket below.
                self._open.add(getattr(one, "socket", one))


class _Queue(LifoQueue[Any]):
    """The idle connections of a pool, and places for new ones."""

    def empty_places(self) -> None:
        """Begin anew, with locks that nobody holds: even the pool's end would wait for them."""
        super().__init__(self.maxsize)
        for _ in range(self.maxsize):
            self.put(None)


_ALL: Final[WeakSet[Connections]] = WeakSet()


def _leave_to_parent() -> None:
    for connections in _ALL:
        connections.leave_to_parent()


os.register_at_fork(after_in_child=_leave_to_parent)
