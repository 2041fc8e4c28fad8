"""The way of requests to one portal: kept at its pace, carried, paused, and let in, as the exchange wants."""

from __future__ import annotations

import asyncio
from math import inf
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Final, Protocol

from airflow_provider_b24cal.bitrix24.protocol.errors import RateLimitError
from airflow_provider_b24cal.bitrix24.protocol.exchange import Moved, Pause, RateLimited, Renew, Send

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Request
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
    from airflow_provider_b24cal.client.rate_limiter import RateLimiter


LOGGED_WAIT: Final = 5.0
"""Seconds from which a wait for the rate limit is reported."""


class Stopped(BaseException):
    """The lane was closed while a request waited its turn; the run that it belonged to is over."""


class Transport(Protocol):
    """Carries one request and returns its reply, or raises a ``TransportError``."""

    def send(self, request: Request) -> Reply:
        """Carry a request."""

    def abort(self) -> None:
        """Let whoever waits for an answer find the connection broken."""


class AsyncTransport(Protocol):
    """The same without blocking the event loop."""

    async def send(self, request: Request) -> Reply:
        """Carry a request."""


class CredentialManager(Protocol):
    """The credential in use, which may change while exchanges run."""

    def renew(self, stale: Endpoint, stop: Event) -> bool:
        """Replace a token that the portal has refused, or raise the error for it; tell whether it is a new one."""

    async def arenew(self, stale: Endpoint) -> bool:
        """Do the same without blocking the event loop."""

    def moved(self, endpoint: Endpoint) -> None:
        """Note that the portal is to be found elsewhere."""


def sleep(seconds: float, stop: Event) -> None:
    """Wait, unless the lane is stopped in the meantime.

    :raises Stopped: it is.
    """
    if stop.wait(seconds):
        raise Stopped


asleep = asyncio.sleep


class Dispatcher:
    """A blocking way, shared by the threads of one run.

    :param tell: is told of every pause before it begins.
    :param access: needed for tokens, and to remember a new name of the portal.
    :param on_rate_limit: is told the seconds of every long wait for the rate limit before it begins.
    :param deadline: nothing is waited for beyond it, by :func:`time.monotonic`.
    """

    def __init__(
        self,
        transport: Transport,
        rate_limiter: RateLimiter,
        on_pause: Callable[[Pause], None],
        access: CredentialManager | None = None,
        on_rate_limit: Callable[[float], None] | None = None,
        deadline: float = inf,
    ) -> None:
        self._transport = transport
        self._rate_limiter = rate_limiter
        self._on_pause = on_pause
        self._access = access
        self._on_rate_limit = on_rate_limit
        self._deadline = deadline
        self._stop = Event()

    def do(self, step: Send | Pause | RateLimited | Renew | Moved) -> Reply | bool | None:
        """Do a step of an exchange.

        :raises Bitrix24Error: it cannot be done.
        """
        if isinstance(step, Send):
            return self.send(step.request)
        if isinstance(step, Pause):
            self.pause(step)
        elif isinstance(step, RateLimited):
            self.refused()
        elif self._access is not None:
            if isinstance(step, Renew):
                return self._access.renew(step.stale, self._stop)
            self._access.moved(step.endpoint)
        return None

    def send(self, request: Request) -> Reply:
        """Carry a request when its turn has come.

        :raises RateLimitError: it would come after the deadline.
        """
        left = self._left()
        wait = self._rate_limiter.reserve(left)
        if wait > left:
            raise RateLimitError(
                f"The portal's rate limit is used up: the next request can be sent in {wait:.0f} s. Try again then.",
                method=request.method,
                retry_after=wait,
            )
        if wait > 0:
            _report(wait, self._on_rate_limit)
            sleep(wait, self._stop)
        if self._stop.is_set():
            raise Stopped
        return self._transport.send(request)

    def pause(self, pause: Pause) -> None:
        """Wait as the exchange wants.

        :raises Bitrix24Error: the reason for the wait, if it would last beyond the deadline.
        """
        if pause.seconds > self._left():
            raise pause.error
        self._on_pause(pause)
        sleep(pause.seconds, self._stop)

    def refused(self) -> None:
        """Learn that the portal's bucket is full."""
        self._rate_limiter.refused()

    def stop(self) -> None:
        """Let nothing wait any longer, neither for its turn nor for an answer."""
        self._stop.set()
        self._transport.abort()

    def _left(self) -> float:
        return max(0.0, self._deadline - monotonic())


class AsyncDispatcher:
    """The same for an event loop."""

    def __init__(
        self,
        transport: AsyncTransport,
        rate_limiter: RateLimiter,
        on_pause: Callable[[Pause], None],
        access: CredentialManager | None = None,
        on_rate_limit: Callable[[float], None] | None = None,
    ) -> None:
        self._transport = transport
        self._rate_limiter = rate_limiter
        self._on_pause = on_pause
        self._access = access
        self._on_rate_limit = on_rate_limit

    async def do(self, step: Send | Pause | RateLimited | Renew | Moved) -> Reply | bool | None:
        """Do a step of an exchange.

        :raises Bitrix24Error: it cannot be done.
        """
        if isinstance(step, Send):
            return await self.send(step.request)
        if isinstance(step, Pause):
            await self.pause(step)
        elif isinstance(step, RateLimited):
            await self.refused()
        elif self._access is not None:
            if isinstance(step, Renew):
                return await self._access.arenew(step.stale)
            self._access.moved(step.endpoint)
        return None

    async def send(self, request: Request) -> Reply:
        """Carry a request when its turn has come."""
        # In a thread, for another process may hold the lock of the shared state.
        wait = await asyncio.to_thread(self._rate_limiter.reserve)
        if wait > 0:
            _report(wait, self._on_rate_limit)
            await asleep(wait)
        return await self._transport.send(request)

    async def pause(self, pause: Pause) -> None:
        """Wait as the exchange wants."""
        self._on_pause(pause)
        await asleep(pause.seconds)

    async def refused(self) -> None:
        """Learn that the portal's bucket is full."""
        await asyncio.to_thread(self._rate_limiter.refused)


def _report(wait: float, on_rate_limit: Callable[[float], None] | None) -> None:
    if on_rate_limit is not None and wait >= LOGGED_WAIT:
        on_rate_limit(wait)
