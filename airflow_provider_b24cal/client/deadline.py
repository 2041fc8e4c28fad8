"""Connections whose whole reply has a deadline, and which another thread can break.

The time-out of a socket starts again with every byte: a portal that sends one byte a second would hold a call for
ever. The deadline here bounds headers and body together.
"""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
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


_BUFFER: Final = 65_536


class _Reader(RawIOBase):
    """Reads from a socket until the deadline."""

    def __init__(self, source: socket.socket, raw: Any) -> None:
        self._socket = source
        self._raw = raw
        self._timeout = source.gettimeout()
        self._ends = None if self._timeout is None else monotonic() + TOTAL_TIMEOUT_FACTOR * self._timeout

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Read the available bytes.

        :raises TimeoutError: there were none in time, or the deadline has passed.
        """
        if self._ends is not None and self._timeout is not None:
            left = self._ends - monotonic()
            if left <= 0:
                raise TimeoutError("the reply was not complete in time")
            self._socket.settimeout(min(self._timeout, left))
        count: int | None = self._raw.readinto(buffer)
        return count

    def close(self) -> None:
        """Close the file, not the socket."""
        if not self.closed:
            self._raw.close()
        super().close()


class _Response(HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        # A reply to a full batch is one or two reads.
        self.fp = BufferedReader(_Reader(sock, self.fp.detach()), _BUFFER)


class Connections:
    """The open connections of one transport."""

    def __init__(self) -> None:
        self._sockets: WeakSet[socket.socket] = WeakSet()
        self.pools: WeakSet[Any] = WeakSet()
        self._lock = Lock()
        self.pool_classes = {"http": partial(_Pool, connections=self), "https": partial(_TlsPool, connections=self)}
        _ALL.add(self)

    def add(self, opened: Any) -> None:
        """Keep track of the socket of an open connection."""
        if opened is not None:
            with self._lock:
                # Of TLS within the TLS of a proxy the socket below.
                self._sockets.add(getattr(opened, "socket", opened))

    def abort(self) -> None:
        """Break all connections: whoever waits for a reply gets an error."""
        with self._lock:
            for opened in self._sockets:
                with suppress(OSError):
                    opened.shutdown(SHUT_RDWR)

    def forget_after_fork(self) -> None:
        """Forget, in a child process, the connections of its parent.

        Only the child's copies of the descriptors are closed: nothing is sent, so the parent's TLS goes on.
        """
        self._lock = Lock()
        for opened in self._sockets:
            with suppress(OSError):
                os.close(opened.detach())
        self._sockets.clear()
        for pool in self.pools:
            if pool.pool is not None:
                # The same queue with new locks: a thread of the parent may hold the old ones, and the pool's
                # finalizer waits for them.
                LifoQueue.__init__(pool.pool, pool.pool.maxsize)
                for _ in range(pool.pool.maxsize):
                    pool.pool.put(None)


class _Tracked:
    """A connection that :class:`Connections` keeps track of, and whose replies have a deadline."""

    response_class = _Response

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._connections = connections

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of urllib3's connection, the next base class
        self._connections.add(self.sock)  # type: ignore[attr-defined]  # set by urllib3's connection


class _Connection(_Tracked, HTTPConnection):  # type: ignore[misc]  # http.client's response class, not urllib3's
    pass


class _TlsConnection(_Tracked, HTTPSConnection):  # type: ignore[misc]  # the same
    pass


class _TrackedPool:
    """A pool that :class:`Connections` knows, and whose connections it keeps track of."""

    def __init__(self, *args: Any, connections: Connections, **kwargs: Any) -> None:
        # urllib3 passes the keyword on to each connection of the pool.
        super().__init__(*args, connections=connections, **kwargs)  # type: ignore[call-arg]  # of urllib3's pool
        connections.pools.add(self)


class _Pool(_TrackedPool, HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(_TrackedPool, HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_ALL: Final[WeakSet[Connections]] = WeakSet()


def _forget_after_fork() -> None:
    for connections in _ALL:
        connections.forget_after_fork()


os.register_at_fork(after_in_child=_forget_after_fork)
