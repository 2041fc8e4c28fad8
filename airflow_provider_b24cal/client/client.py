"""The client of one Airflow connection: what the hook's methods ask, carried to the portal.

It reads and masks the connection, opens connections to the portal, keeps its pace, and tells of every pause
and of the progress of long runs. Each of these is there once for workers and, with an ``a`` before its name,
once for event loops.
"""

from __future__ import annotations

import json
import os
from contextlib import aclosing
from dataclasses import replace
from math import inf
from random import SystemRandom
from threading import Lock
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar
from weakref import WeakSet

from asgiref.sync import sync_to_async

from airflow_provider_b24cal._airflow import get_async_connection
from airflow_provider_b24cal.bitrix24.calendar.set_status import Change
from airflow_provider_b24cal.bitrix24.connection_fields import invalid_field
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, InvalidConnectionError, without_inner_frames
from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, fatal_error, in_chunks
from airflow_provider_b24cal.bitrix24.settings import Settings, read_settings
from airflow_provider_b24cal.bitrix24.validation import check_conn_id
from airflow_provider_b24cal.client.auth import CredentialManager, mask_all
from airflow_provider_b24cal.client.dispatcher import AsyncDispatcher, Dispatcher
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.operating import operating_times
from airflow_provider_b24cal.client.progress import Progress
from airflow_provider_b24cal.client.rate_limiter import RateLimiter
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.client.runner import arun, arun_many, run, run_many

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    import requests

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Webhook
    from airflow_provider_b24cal.bitrix24.protocol.exchange import Pause, Steps
    from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy

# Not the generator that a DAG may seed: two runs with the same numbers would name their commands alike.
_RANDOM: Final = SystemRandom()

T = TypeVar("T")
Item = TypeVar("Item")
Answer = TypeVar("Answer", bound=Outcome[Any] | Change)

Exchange: TypeAlias = "Callable[[ExchangeContext], Steps[T]]"
"""Begins an exchange on the terms of a connection."""

ChunkExchange: TypeAlias = "Callable[[Sequence[Item], ExchangeContext], Steps[list[Answer]]]"
"""The same for up to fifty of many items; returns an answer for each."""

Refusal: TypeAlias = "Callable[[Item, Bitrix24Error], Answer]"
"""Makes the answer of an item that is not asked for, since the portal refuses whatever is sent."""


class Client:
    """Runs exchanges with the portal of one connection; nothing is read or sent before the first.

    :param conn_id: the connection.
    :param get_connection: reads it, blocking.
    :param retry: bounds of repeating, for each exchange.
    :param log: where pauses and progress are told.
    :ivar warnings: what was told besides, such as that the portal has moved.
    """

    def __init__(self, conn_id: str, get_connection: Callable[[str], Any], retry: RetryPolicy, log: Logger) -> None:
        self._conn_id = conn_id
        self._get_connection = get_connection
        self._retry = retry
        self._log = log
        self.warnings: list[str] = []
        self._renews = True
        self._settings: Settings | None = None
        self._access: CredentialManager | None = None
        self._deadline = inf
        self._begin()
        _CLIENTS.add(self)

    def _begin(self) -> None:
        """Have no connections, and locks that nobody holds."""
        self._blocking: RequestsTransport | None = None
        self._asynchronous: HttpxTransport | None = None
        self._opening = Lock()
        self._dispatchers: WeakSet[Dispatcher] = WeakSet()

    def leave_to_parent(self) -> None:
        """Forget, in a child process, the connections and locks of its parent; nothing is sent or closed there."""
        self._begin()
        if self._access is not None:
            self._access.leave_to_parent()

    def with_timeout(self, timeout: float, retry: RetryPolicy) -> Client:
        """Return a client of the same connection with less patience, which renews no token; close it by itself.

        :param timeout: seconds, for an answer and for all waits from now on.
        """
        other = Client(self._conn_id, self._get_connection, retry.within(timeout), self._log)
        other._deadline = monotonic() + timeout
        settings = self.settings()
        other._settings = replace(settings, timeout=min(settings.timeout, timeout))
        other._renews = False
        return other

    def settings(self) -> Settings:
        """Return what the connection says; it is read and masked once."""
        if self._settings is None:
            self._settings = _settings_of(self._get_connection(check_conn_id(self._conn_id)))
            mask_all(self._settings.secrets())
        return self._settings

    async def asettings(self) -> Settings:
        """Return what the connection says."""
        if self._settings is None:
            self._settings = _settings_of(await get_async_connection(check_conn_id(self._conn_id)))
            # The masker is blocking, and does nothing when called from a task that a trigger has made.
            await sync_to_async(mask_all)(self._settings.secrets())
        return self._settings

    def credential(self) -> Webhook | AccessToken:
        """Return the credential in use: that of the connection, or what its tokens have been renewed to."""
        return self._get_access().endpoint.credential

    def session(self) -> requests.Session:
        """Return the HTTP session of the blocking transport."""
        return self._opened().session

    def run(self, exchange: Exchange[T]) -> T:
        """Run one exchange to its end."""
        return run(exchange(self._context(self._get_access())), self._dispatcher())

    async def arun(self, exchange: Exchange[T]) -> T:
        """Run one exchange to its end on an event loop."""
        dispatcher = await self._adispatcher()
        return await arun(exchange(self._context(await self._aget_access())), dispatcher)

    def run_chunks(
        self, items: Sequence[Item], exchange: ChunkExchange[Item, Answer], refused: Refusal[Item, Answer]
    ) -> list[Answer]:
        """Run an exchange for every fifty items, some at once; begin no more when the next one has no hope.

        :return: an answer per item, in the order given.
        """
        return [answer for part in self.parts([items], exchange, refused) for answer in part]

    def parts(
        self, stages: Sequence[Sequence[Item]], exchange: ChunkExchange[Item, Answer], refused: Refusal[Item, Answer]
    ) -> Iterator[list[Answer]]:
        """Run an exchange for every fifty items, some at once, and yield the answers of each.

        :param stages: items by stage; none is begun before all of the one before it are done.
        """
        settings = self.settings()
        begin = _until_fatal(exchange, self._context(self._get_access()), refused)
        progress = self._progress(sum(map(len, stages)))
        for items in stages:
            many = map(begin, in_chunks(items))
            for part in run_many(many, self._dispatcher(), settings.max_in_flight):
                progress.add(len(part))
                yield part

    async def arun_chunks(
        self, items: Sequence[Item], exchange: ChunkExchange[Item, Answer], refused: Refusal[Item, Answer]
    ) -> list[Answer]:
        """Run an exchange for every fifty items on an event loop."""
        async with aclosing(self.aparts(items, exchange, refused)) as parts:
            return [answer async for part in parts for answer in part]

    async def aparts(
        self, items: Sequence[Item], exchange: ChunkExchange[Item, Answer], refused: Refusal[Item, Answer]
    ) -> AsyncGenerator[list[Answer], None]:
        """Run an exchange for every fifty items on an event loop, and yield the answers of each when it is done."""
        progress = self._progress(len(items))
        settings = await self.asettings()
        begin = _until_fatal(exchange, self._context(await self._aget_access()), refused)
        many = map(begin, in_chunks(items))
        async with aclosing(arun_many(many, await self._adispatcher(), settings.max_in_flight)) as parts:
            async for part in parts:
                yield part
                progress.add(len(part))

    def close(self) -> None:
        """Close the blocking connections; new ones are opened when they are needed again.

        What still waits in other threads ends with :class:`~airflow_provider_b24cal.client.dispatcher.Stopped`.
        """
        with self._opening:
            dispatchers = list(self._dispatchers)
        for dispatcher in dispatchers:
            dispatcher.stop()
        if self._blocking is not None:
            self._blocking.close()
            self._blocking = None

    async def aclose(self) -> None:
        """Close the asynchronous connections, on the loop that used them."""
        if self._asynchronous is not None:
            await self._asynchronous.aclose()
            self._asynchronous = None

    def _context(self, access: CredentialManager) -> ExchangeContext:
        # The connection's endpoint, for what is remembered of a credential outlasts its tokens.
        memory = operating_times(self.settings().endpoint)
        return ExchangeContext(access.endpoint, self._retry, _RANDOM.random, memory, lambda: access.endpoint)

    def _get_access(self) -> CredentialManager:
        settings = self.settings()
        with self._opening:
            if self._access is None:
                self._access = CredentialManager(settings, self._log_pause, self._warn, renews=self._renews)
            return self._access

    async def _aget_access(self) -> CredentialManager:
        await self.asettings()
        return self._access or await sync_to_async(self._get_access)()

    def _opened(self) -> RequestsTransport:
        with self._opening:
            if self._blocking is None:
                self._blocking = RequestsTransport(self.settings())
            return self._blocking

    def _dispatcher(self) -> Dispatcher:
        transport, rate_limiter = self._opened(), _rate_limiter(self.settings())
        dispatcher = Dispatcher(
            transport, rate_limiter, self._log_pause, self._get_access(), self._tell_rate_limit, self._deadline
        )
        with self._opening:
            self._dispatchers.add(dispatcher)
        return dispatcher

    async def _adispatcher(self) -> AsyncDispatcher:
        settings = await self.asettings()
        if self._asynchronous is None:
            self._asynchronous = HttpxTransport(settings)
        rate_limiter, access = _rate_limiter(settings), await self._aget_access()
        return AsyncDispatcher(self._asynchronous, rate_limiter, self._log_pause, access, self._tell_rate_limit)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._log.warning("%s", text)

    def _progress(self, total: int) -> Progress:
        return Progress(total, self._log.info, time)

    def _log_pause(self, pause: Pause) -> None:
        self._log.warning("Waiting %.1f s before trying again: %s", pause.seconds, pause.error)

    def _tell_rate_limit(self, seconds: float) -> None:
        self._log.info("Waiting %.1f s for the portal's rate limit.", seconds)


_CLIENTS: Final[WeakSet[Client]] = WeakSet()


def _leave_to_parent() -> None:
    for client in _CLIENTS:
        client.leave_to_parent()


# After those of the modules below, which have made the transports safe to drop.
os.register_at_fork(after_in_child=_leave_to_parent)


def _until_fatal(
    exchange: ChunkExchange[Item, Answer], context: ExchangeContext, refused: Refusal[Item, Answer]
) -> Callable[[Sequence[Item]], Steps[list[Answer]]]:
    """Return a way to begin exchanges that asks nothing any more once one of them has found that there is no hope.

    Those under way then go on to their own end, for what they have done counts.
    """
    found: list[Bitrix24Error] = []

    def begin(items: Sequence[Item]) -> Steps[list[Answer]]:
        if found:
            return [refused(item, found[0]) for item in items]
        answers = yield from exchange(items, context)
        if error := fatal_error(answers):
            found.append(error)
        return answers

    return begin


def _rate_limiter(settings: Settings) -> RateLimiter:
    return RateLimiter(settings.endpoint.origin, settings.plan)


@without_inner_frames
def _settings_of(connection: Any) -> Settings:
    try:
        extra = json.loads(connection.extra or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise invalid_field("extra", "a JSON object")
    try:
        return read_settings(
            host=connection.host,
            login=connection.login,
            password=connection.password,
            port=connection.port,
            extra=extra,
        )
    except Bitrix24Error:
        raise
    except Exception as problem:  # noqa: BLE001 - whatever it is, its text may hold the secret
        cause = type(problem).__name__
    raise InvalidConnectionError(
        "Invalid connection: expected texts in host, login and password, a whole number in port, and a JSON object in "
        "extra.",
        cause=cause,
    )
