"""Answers that are corrupted on their way: the work is done, and the client does not get the answer as it was."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Final

from starlette.responses import Response

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

    from bitrix24_sandbox.reply import Reply

CORRUPTIONS: Final = ("reset", "cut", "half", "gzip", "untyped", "drip")
"""What can become of an answer: the connection is reset or closed in its middle; half of it passes for the
whole; it is said to be compressed, or to be a page; it arrives in small pieces."""

PIECES: Final = 12
BETWEEN_PIECES_S: Final = 0.002

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class ConnectionReset(Response):
    """No answer at all: the connection is reset under the client.

    :param transport: of the connection, as the server's protocol puts it into the request's state.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Abort the connection; without lingering the client sees a reset, not an end."""
        _reset(self._transport)
        await receive()


def answer(reply: Reply, transport: asyncio.Transport, sleep: Callable[[float], Awaitable[None]]) -> Response:
    """Return the response that carries a reply, harmed if it is to be.

    :param sleep: lets the time between pieces pass.
    """
    headers = {**reply.headers, "content-type": reply.content_type}
    if reply.corruption == "half":
        return Response(reply.body[: len(reply.body) // 2], reply.status, headers)
    if reply.corruption == "gzip":
        return Response(reply.body, reply.status, {**headers, "content-encoding": "gzip"})
    if reply.corruption == "untyped":
        return Response(reply.body, reply.status, {**headers, "content-type": "text/html"})
    if reply.corruption:
        return _InPieces(Response(reply.body, reply.status, headers), reply.corruption, transport, sleep)
    return Response(reply.body, reply.status, headers)


class _InPieces(Response):
    """An answer sent piece by piece, whole or only to its middle."""

    def __init__(
        self,
        whole: Response,
        corruption: str,
        transport: asyncio.Transport,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        super().__init__(status_code=whole.status_code)
        self._whole = whole
        self._corruption = corruption
        self._transport = transport
        self._sleep = sleep

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, which promises everything, and as much as there is to be."""
        whole, body = self._whole, bytes(self._whole.body)
        await send({"type": "http.response.start", "status": whole.status_code, "headers": whole.raw_headers})
        if self._corruption == "drip":
            size = max(1, len(body) // PIECES)
            for start in range(0, len(body), size):
                await send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
                await self._sleep(BETWEEN_PIECES_S)
            await send({"type": "http.response.body", "body": b""})
            return
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        if self._corruption == "reset":
            _reset(self._transport)
        else:
            self._transport.close()
        await receive()


def _reset(transport: asyncio.Transport) -> None:
    connection: socket.socket | None = transport.get_extra_info("socket")
    # A client whose time-out has passed has closed the connection itself.
    if connection is not None and not transport.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()
