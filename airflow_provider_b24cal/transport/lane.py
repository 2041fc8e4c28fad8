"""The way of requests to one portal: kept at its pace, carried, and paused as the exchange wants."""

from __future__ import annotations

import asyncio
from threading import Event
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal.bitrix24.credentials import Request
    from airflow_provider_b24cal.bitrix24.exchange import Pause
    from airflow_provider_b24cal.bitrix24.replies import Reply
    from airflow_provider_b24cal.transport.pace import Pace


class Stopped(BaseException):
    """The lane was closed while a request waited its turn; the run that it belonged to is over."""


class Transport(Protocol):
    """Carries one request and returns its reply, or raises a ``TransportError``."""

    def send(self, request: Request) -> Reply:
        """Carry a request."""


class AsyncTransport(Protocol):
    """The same without blocking the event loop."""

    async def send(self, request: Request) -> Reply:
        """Carry a request."""


def sleep(seconds: float, stop: Event) -> None:
    """Wait, unless the lane is stopped in the meantime.

    :raises Stopped: it is.
    """
    if stop.wait(seconds):
        raise Stopped


asleep = asyncio.sleep


class Lane:
    """A blocking way, shared by the threads of one run.

    :param tell: is told of every pause before it begins.
    """

    def __init__(self, transport: Transport, pace: Pace, tell: Callable[[Pause], None]) -> None:
        self._transport = transport
        self._pace = pace
        self._tell = tell
        self._stop = Event()

    def send(self, request: Request) -> Reply:
        """Carry a request when its turn has come."""
        wait = self._pace.reserve()
        if wait > 0:
            sleep(wait, self._stop)
        return self._transport.send(request)

    def pause(self, pause: Pause) -> None:
        """Wait as the exchange wants."""
        self._tell(pause)
        sleep(pause.seconds, self._stop)

    def refused(self) -> None:
        """Learn that the portal's bucket is full."""
        self._pace.refused()

    def stop(self) -> None:
        """Let nothing wait any longer."""
        self._stop.set()


class AsyncLane:
    """The same for an event loop."""

    def __init__(self, transport: AsyncTransport, pace: Pace, tell: Callable[[Pause], None]) -> None:
        self._transport = transport
        self._pace = pace
        self._tell = tell

    async def send(self, request: Request) -> Reply:
        """Carry a request when its turn has come."""
        # In a thread, for another process may hold the lock of the shared state.
        wait = await asyncio.to_thread(self._pace.reserve)
        if wait > 0:
            await asleep(wait)
        return await self._transport.send(request)

    async def pause(self, pause: Pause) -> None:
        """Wait as the exchange wants."""
        self._tell(pause)
        await asleep(pause.seconds)

    async def refused(self) -> None:
        """Learn that the portal's bucket is full."""
        await asyncio.to_thread(self._pace.refused)
