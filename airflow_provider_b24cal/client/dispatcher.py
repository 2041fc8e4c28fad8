"""Runs exchanges: executes their steps for one portal, one exchange or several at once.

A dispatcher sends within the rate limit, waits, and has the token renewed. Each class and function exists for threads
and, with an ``a`` or ``Async`` before its name, for an event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from math import inf
from threading import Event
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from asgiref.sync import sync_to_async

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, RateLimitError
from airflow_provider_b24cal.bitrix24.protocol.exchange import Blocking, Pause, RateLimited, Renew, Send
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.clock import Stopped

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator, Iterable, Iterator
    from concurrent.futures import Future

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.protocol.exchange import Step, Steps
    from airflow_provider_b24cal.client.auth import CredentialManager
    from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
    from airflow_provider_b24cal.client.rate_limiter import RateLimiter
    from airflow_provider_b24cal.client.requests_transport import RequestsTransport
    from airflow_provider_b24cal.metrics import Metrics


T = TypeVar("T")

LOGGED_WAIT: Final = 5.0
"""Seconds from which a wait for the rate limit is logged."""
_LARGE: Final = 128 * 1024
"""Bytes of a reply from which reading it, some ten milliseconds, would block an event loop for too long."""


@dataclass(eq=False)
class Dispatcher:
    """Executes steps in threads; those of one run share it.

    :param rate_limiter: ``None`` for a server without a limit.
    :param log: receives a line for every pause and every long wait for the rate limit.
    :param credentials: renews tokens; not needed for an authorisation server.
    :param deadline: a wait that would end after it is refused; by :func:`time.monotonic`.
    :param metrics: ``None`` where Airflow's metrics are off.
    """

    transport: RequestsTransport
    rate_limiter: RateLimiter | None
    log: Logger
    credentials: CredentialManager | None = None
    deadline: float = inf
    metrics: Metrics | None = None
    _stop: Event = field(default_factory=Event)

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
            case RateLimited():
                if self.metrics is not None:
                    self.metrics.add_refusal()
                if self.rate_limiter is not None:
                    self.rate_limiter.refused()
            case Blocking(function):
                return function()
            case Renew(stale) if self.credentials:
                return self.credentials.renew(stale, self._stop)
        return None

    def send(self, request: Request) -> Reply:
        """Send a request when the rate limit allows it.

        :raises RateLimitError: that would be after the deadline.
        """
        if self.rate_limiter is not None:
            left = max(0.0, self.deadline - monotonic())
            wait = self.rate_limiter.reserve(left)
            if wait > left:
                raise RateLimitError(
                    f"The rate limit is used up: the next request can be sent in {wait:.0f} s. Try again then.",
                    method=request.method,
                    retry_after=wait,
                )
            if wait > 0:
                _log_wait(self.log, wait)
                if self.metrics is not None:
                    self.metrics.add_wait(wait)
                clock.sleep(wait, self._stop)
        if self._stop.is_set():
            raise Stopped
        if self.metrics is not None:
            self.metrics.add_request()
        return self.transport.send(request)

    def pause(self, pause: Pause) -> None:
        """Wait before a retry.

        :raises Bitrix24Error: the reason for the wait, if it would last beyond the deadline.
        """
        if pause.seconds > self.deadline - monotonic():
            raise pause.error
        _log_pause(self.log, pause)
        clock.sleep(pause.seconds, self._stop)

    def stop(self) -> None:
        """End all waits, for the rate limit and for replies."""
        self._stop.set()
        self.transport.abort()


@dataclass(eq=False)
class AsyncDispatcher:
    """Executes steps on an event loop; the parameters are those of :class:`Dispatcher`."""

    transport: HttpxTransport
    rate_limiter: RateLimiter | None
    log: Logger
    credentials: CredentialManager | None = None
    metrics: Metrics | None = None

    async def do(self, step: Step) -> Any:
        """Execute a step and return its answer.

        :raises Bitrix24Error: it failed.
        """
        match step:
            case Send(request):
                return await self.send(request)
            case Pause(seconds):
                _log_pause(self.log, step)
                await clock.asleep(seconds)
            case RateLimited():
                if self.metrics is not None:
                    self.metrics.add_refusal()
                if self.rate_limiter is not None:
                    await asyncio.to_thread(self.rate_limiter.refused)
            case Blocking(function):
                # In a thread from which Airflow can be called.
                return await sync_to_async(function)()
            case Renew(stale) if self.credentials:
                return await self.credentials.arenew(stale)
        return None

    async def send(self, request: Request) -> Reply:
        """Send a request when the rate limit allows it."""
        if self.rate_limiter is not None:
            # In a thread: another process may hold the lock of the shared state.
            wait = await asyncio.to_thread(self.rate_limiter.reserve)
            if wait > 0:
                _log_wait(self.log, wait)
                if self.metrics is not None:
                    self.metrics.add_wait(wait)
                await clock.asleep(wait)
        if self.metrics is not None:
            self.metrics.add_request()
        return await self.transport.send(request)


def run(steps: Generator[Any, Any, T], dispatcher: Dispatcher) -> T:
    """Run an exchange and return its result."""
    try:
        step = next(steps)
        while True:
            try:
                answer = dispatcher.do(step)
            except Bitrix24Error as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def arun(steps: Generator[Any, Any, T], dispatcher: AsyncDispatcher) -> T:
    """Run an exchange on an event loop; the twin of :func:`run`."""
    try:
        step = next(steps)
        while True:
            try:
                answer = await dispatcher.do(step)
            except Bitrix24Error as error:
                step = steps.throw(error)
            else:
                if isinstance(answer, Reply) and len(answer.body) > _LARGE:
                    done, step = await asyncio.to_thread(_send, steps, answer)
                    if done:
                        reached: T = step
                        return reached
                else:
                    step = steps.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


def _send(steps: Generator[Any, Any, Any], answer: Reply) -> tuple[bool, Any]:
    """Send an answer; return whether that was the end, and the next step or the result.

    A ``StopIteration`` cannot leave a thread.
    """
    try:
        return False, steps.send(answer)
    except StopIteration as end:
        return True, end.value


def run_many(many: Iterable[Steps[T]], dispatcher: Dispatcher, at_once: int) -> Iterator[T]:
    """Run exchanges, ``at_once`` of them in flight, and yield their results in the order given.

    Few are prepared ahead, so that memory does not grow with their number. When the iteration is left early, the rest
    never starts.
    """
    rest = iter(many)
    alone, second = next(rest, None), next(rest, None)
    if second is None:
        # A single one needs no thread of its own.
        if alone is not None:
            yield run(alone, dispatcher)
        return
    assert alone is not None
    with ThreadPoolExecutor(at_once, thread_name_prefix="bitrix24") as pool:
        in_flight: deque[Future[T]] = deque()
        try:
            for steps in chain((alone, second), rest):
                in_flight.append(pool.submit(run, steps, dispatcher))
                if len(in_flight) > 2 * at_once:
                    yield in_flight.popleft().result()
            while in_flight:
                yield in_flight.popleft().result()
        except BaseException:
            dispatcher.stop()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


async def arun_many(many: Iterable[Steps[T]], dispatcher: AsyncDispatcher, at_once: int) -> AsyncGenerator[T, None]:
    """Run exchanges on an event loop; the twin of :func:`run_many`."""
    in_flight: deque[asyncio.Task[T]] = deque()
    slots = asyncio.Semaphore(at_once)

    async def one(steps: Steps[T]) -> T:
        async with slots:
            return await arun(steps, dispatcher)

    try:
        for steps in many:
            in_flight.append(asyncio.create_task(one(steps)))
            if len(in_flight) > 2 * at_once:
                yield await in_flight.popleft()
        while in_flight:
            yield await in_flight.popleft()
    finally:
        for task in in_flight:
            task.cancel()


def _log_pause(log: Logger, pause: Pause) -> None:
    log.warning("Waiting %.1f s before a retry: %s", pause.seconds, pause.error)


def _log_wait(log: Logger, seconds: float) -> None:
    if seconds >= LOGGED_WAIT:
        log.info("Waiting %.1f s for the portal's rate limit.", seconds)
