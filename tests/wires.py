"""Both transports alike, and servers of raw bytes to try them on."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
from collections.abc import Callable
from typing import Any, Self

from airflow_provider_b24cal.bitrix24.auth.credentials import Request
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.bitrix24.settings import Settings, read_settings
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from tests.portal_data import CANARY
from tests.sync import TIMEOUT

Carry = Callable[..., Reply]


def settings_for(origin: str, **extra: Any) -> Settings:
    """Return the settings of user 1 at an address."""
    return read_settings(host=origin, login="1", password=CANARY, port=None, extra={"timeout": TIMEOUT, **extra})


def carry_blocking(settings: Settings, *requests: Request) -> Reply:
    """Carry requests by the blocking transport, and return the last reply."""
    with contextlib.closing(RequestsTransport(settings)) as transport:
        return [transport.send(request) for request in requests][-1]


def carry_asynchronous(settings: Settings, *requests: Request) -> Reply:
    """Do the same by the asynchronous one."""

    async def go() -> Reply:
        transport = HttpxTransport(settings)
        try:
            return [await transport.send(request) for request in requests][-1]
        finally:
            await transport.aclose()

    return asyncio.run(go())


CARRIERS: dict[str, Carry] = {"requests": carry_blocking, "httpx": carry_asynchronous}


class Listener:
    """A server of raw bytes that keeps what it was sent."""

    def __init__(self, *answers: bytes) -> None:
        self.heard: list[bytes] = []
        self._answers = answers
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for answer in self._answers:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                self.heard.append(read_request(connection))
                connection.sendall(answer)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_request(connection: socket.socket) -> bytes:
    """Return a request, head and body."""
    heard = b""
    while b"\r\n\r\n" not in heard:
        heard += read_more(connection)
    reported = re.search(rb"content-length: *(\d+)", heard.lower())
    size = int(reported[1]) if reported else 0
    while len(heard.split(b"\r\n\r\n", 1)[1]) < size:
        heard += read_more(connection)
    return heard


def read_more(connection: socket.socket) -> bytes:
    """Return what comes next."""
    more = connection.recv(65536)
    if not more:
        raise ConnectionError("the client has ended in the middle of its request")
    return more


GOOD = b'HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\nSet-Cookie: BX=1; path=/\r\n\r\n{"result":null}'


def answer(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """Return a whole response."""
    lines = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join((*lines, b"", body))
