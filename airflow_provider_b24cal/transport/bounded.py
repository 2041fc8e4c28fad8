"""Connections whose answer must be whole in time, and which can be broken off from another thread.

The time-out of a socket begins anew with every byte, so that a portal that sends a byte a second holds a call
for ever, be it in the headers or in the body. What is bounded here is the whole answer.
"""

from __future__ import annotations

from contextlib import suppress
from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from socket import SHUT_RDWR
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from airflow_provider_b24cal.transport.wire import WHOLE

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
        self._ends = None if self._timeout is None else monotonic() + WHOLE * self._timeout

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
        self._lock = Lock()

    def pools(self) -> Mapping[str, Any]:
        """Return classes of connection pools by scheme; what they open is kept account of here."""
        add = self._add

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

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = TlsConnection

        return {"http": Pool, "https": TlsPool}

    def break_off(self) -> None:
        """Let everybody who waits for an answer find the connection broken."""
        with self._lock:
            for one in self._open:
                with suppress(OSError):
                    one.shutdown(SHUT_RDWR)

    def _add(self, one: socket.socket | None) -> None:
        if one is not None:
            with self._lock:
                self._open.add(one)
