"""Connections whose answer must be whole in time.

The time-out of a socket begins anew with every byte, so that a portal that sends a byte a second holds a call
for ever, be it in the headers or in the body. What is bounded here is the whole answer.
"""

from __future__ import annotations

from http.client import HTTPResponse
from io import BufferedReader, RawIOBase
from time import monotonic
from typing import TYPE_CHECKING, Any, Final

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


class _Connection(HTTPConnection):
    response_class = _Response


class _TlsConnection(HTTPSConnection):
    response_class = _Response


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


POOLS: Final[Mapping[str, Any]] = {"http": _Pool, "https": _TlsPool}
"""Pools of such connections, by scheme."""
