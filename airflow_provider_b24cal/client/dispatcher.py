"""Executes the steps of an exchange for one portal: send within the rate limit, wait, renew the token.

:class:`AsyncDispatcher` does the same on an event loop.
"""

from __future__ import annotations

import asyncio
from math import inf
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, Protocol

from asgiref.sync import sync_to_async

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.bitrix24.protocol.errors import RateLimitError
from airflow_provider_b24cal.bitrix24.protocol.exchange import Blocking, Moved, Pause, RateLimited, Renew, Send
from airflow_provider_b24cal.clock import Stopped

if TYPE_CHECKING:
    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Request
    from airflow_provider_b24cal.bitrix24.protocol.exchange import Step
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
    from airflow_provider_b24cal.client.rate_limiter import RateLimiter


LOGGED_WAIT: Final = 5.0
"""Seconds from which a wait for the rate limit is logged."""


class Transport(Protocol):
    """Sends one request and returns its reply, or raises a ``TransportError``."""

    def send(self, request: Request) -> Reply:
        """Send a request."""

    def abort(self) -> None:
        """Break the connections of requests in flight."""


class AsyncTransport(Protocol):
    """The same without blocking the event loop."""

    async def send(self, request: Request) -> Reply:
        """Send a request."""


class Renewer(Protocol):
    """Holds the credential in use, which may change while exchanges run."""

    def renew(self, stale: Endpoint, stop: Event) -> bool:
        """Replace a token that the portal has refused, or raise the error; return whether it was just issued."""

    async def arenew(self, stale: Endpoint) -> bool:
        """Do the same without blocking the event loop."""

    def moved(self, endpoint: Endpoint) -> None:
        """Use the portal's new address from now on."""


class Dispatcher:
    """Executes steps in threads; those of one run share it.

    :param rate_limiter: ``None`` for a server without a limit.
    :param log: receives a line for every pause and every long wait for the rate limit.
    :param renewer: renews tokens and remembers a new address of the portal; not needed for an authorisation server.
    :param deadline: a wait that would end after it is refused; by :func:`time.monotonic`.
    """

    def __init__(
        self,
        transport: Transport,
        rate_limiter: RateLimiter | None,
        log: Logger,
        renewer: Renewer | None = None,
        deadline: float = inf,
    ) -> None:
        self._transport = transport
        self._rate_limiter = rate_limiter
        self._log = log
        self._renewer = renewer
        self._deadline = deadline
        self._stop = Event()

    def do(self, step: Step) -> Any:
        """Execute a step and return its answer.

        :raises Bitrix24Error: it failed.
        :raises Stopped: the run was stopped.
        """
        match step:
            case Send(request):
                return self.send(request)
            case Pause():
                self.pause(step)
            case RateLimited() if self._rate_limiter:
                self._rate_limiter.refused()
            case Blocking(function):
                return function()
            case Renew(stale) if self._renewer:
                return self._renewer.renew(stale, self._stop)
            case Moved(endpoint) if self._renewer:
                self._renewer.moved(endpoint)
        return None

    def send(self, request: Request) -> Reply:
        """Send a request when the rate limit allows it.

        :raises RateLimitError: that would be after the deadline.
        """
        if self._rate_limiter is not None:
            left = max(0.0, self._deadline - monotonic())
            wait = self._rate_limiter.reserve(left)
            if wait > left:
                raise RateLimitError(
                    f"The rate limit is used up: the next request can be sent in {wait:.0f} s. Try again then.",
                    method=request.method,
                    retry_after=wait,
                )
            if wait > 0:
                _log_wait(self._log, wait)
                clock.sleep(wait, self._stop)
        if self._stop.is_set():
            raise Stopped
        return self._transport.send(request)

    def pause(self, pause: Pause) -> None:
        """Wait before a retry.

        :raises Bitrix24Error: the reason for the wait, if it would last beyond the deadline.
        """
        if pause.seconds > self._deadline - monotonic():
            raise pause.error
        _log_pause(self._log, pause)
        clock.sleep(pause.seconds, self._stop)

    def stop(self) -> None:
        """End all waits, for the rate limit and for replies."""
        self._stop.set()
        self._transport.abort()


class AsyncDispatcher:
    """Executes steps on an event loop; the parameters are those of :class:`Dispatcher`."""

    def __init__(
        self, transport: AsyncTransport, rate_limiter: RateLimiter | None, log: Logger, renewer: Renewer | None = None
    ) -> None:
        self._transport = transport
        self._rate_limiter = rate_limiter
        self._log = log
        self._renewer = renewer

    async def do(self, step: Step) -> Any:
        """Execute a step and return its answer.

        :raises Bitrix24Error: it failed.
        """
        match step:
            case Send(request):
                return await self.send(request)
            case Pause(seconds):
                _log_pause(self._log, step)
                await clock.asleep(seconds)
            case RateLimited() if self._rate_limiter:
                await asyncio.to_thread(self._rate_limiter.refused)
            case Blocking(function):
                # In a thread from which Airflow can be called.
                return await sync_to_async(function)()
            case Renew(stale) if self._renewer:
                return await self._renewer.arenew(stale)
            case Moved(endpoint) if self._renewer:
                self._renewer.moved(endpoint)
        return None

    async def send(self, request: Request) -> Reply:
        """Send a request when the rate limit allows it."""
        if self._rate_limiter is not None:
            # In a thread: another process may hold the lock of the shared state.
            wait = await asyncio.to_thread(self._rate_limiter.reserve)
            if wait > 0:
                _log_wait(self._log, wait)
                await clock.asleep(wait)
        return await self._transport.send(request)


def _log_pause(log: Logger, pause: Pause) -> None:
    log.warning("Waiting %.1f s before a retry: %s", pause.seconds, pause.error)


def _log_wait(log: Logger, seconds: float) -> None:
    if seconds >= LOGGED_WAIT:
        log.info("Waiting %.1f s for the portal's rate limit.", seconds)
