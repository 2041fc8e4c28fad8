"""The client of one Airflow connection: runs the hook's exchanges with the portal.

It reads and masks the connection, opens the connections to the portal, keeps its rate limit, and logs the progress of
long runs. Methods that run exchanges have an asynchronous twin with the prefix ``a``.

Many *items*, such as event ids, are cut into *chunks* of fifty, one request each. *Stages* are groups of items that run
one after the other.
"""

from __future__ import annotations

import json
import os
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from math import inf
from random import SystemRandom
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias, TypeVar
from weakref import WeakSet

from asgiref.sync import sync_to_async

from airflow_provider_b24cal import clock
from airflow_provider_b24cal._airflow import METRICS_ON, get_async_connection
from airflow_provider_b24cal.bitrix24.auth.credentials import without_inner_frames
from airflow_provider_b24cal.bitrix24.calendar.set_status import Change
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, InvalidConnectionError
from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, fatal_error, in_chunks
from airflow_provider_b24cal.bitrix24.settings import Settings, read_settings
from airflow_provider_b24cal.bitrix24.validation import check_conn_id, invalid_field
from airflow_provider_b24cal.client.auth import CredentialManager
from airflow_provider_b24cal.client.dispatcher import AsyncDispatcher, Dispatcher, arun, arun_many, run, run_many
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.log_filter import mask_all
from airflow_provider_b24cal.client.operating import operating_times
from airflow_provider_b24cal.client.progress import Progress
from airflow_provider_b24cal.client.rate_limiter import RateLimiter
from airflow_provider_b24cal.client.redis_state import redis_state
from airflow_provider_b24cal.client.requests_transport import RequestsTransport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Sequence

    import requests

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Webhook
    from airflow_provider_b24cal.bitrix24.protocol.exchange import Steps
    from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
    from airflow_provider_b24cal.metrics import Metrics

# A DAG may seed the module's own generator, and the names of a batch's commands must still be unique.
_RANDOM: Final = SystemRandom()

T = TypeVar("T")
Item = TypeVar("Item")
ItemResult = TypeVar("ItemResult", bound=Outcome[Any] | Change)

Exchange: TypeAlias = "Callable[[ExchangeContext], Steps[T]]"
"""Returns the steps of an exchange."""

ChunkExchange: TypeAlias = "Callable[[Sequence[Item], ExchangeContext], Steps[list[ItemResult]]]"
"""The same for a chunk of items; returns a result for each."""

SkippedResult: TypeAlias = "Callable[[Item, Bitrix24Error], ItemResult]"
"""Makes the result of an item that is not sent after a fatal error."""


class _Context(NamedTuple):
    """What all exchanges of a client have in common."""

    credentials: CredentialManager
    exchange: ExchangeContext
    rate_limiter: RateLimiter | None
    metrics: Metrics | None


class Client:
    """Runs exchanges with the portal of one connection; nothing is read or sent before the first one.

    :param conn_id: the connection.
    :param get_connection: reads it, blocking.
    :param retry: bounds of the retries of each exchange.
    :param log: receives warnings, and lines about pauses and progress.
    :ivar warnings: what was logged as a warning, such as that the portal has moved.
    """

    def __init__(self, conn_id: str, get_connection: Callable[[str], Any], retry: RetryPolicy, log: Logger) -> None:
        self._conn_id = conn_id
        self._get_connection = get_connection
        self._retry = retry
        self._log = log
        self.warnings: list[str] = []
        self._renews = True
        self._settings: Settings | None = None
        self._context: _Context | None = None
        self._deadline = inf
        self._reset()
        _CLIENTS.add(self)

    def _reset(self) -> None:
        """Drop the transports and make new locks."""
        self._transport: RequestsTransport | None = None
        self._async_transport: HttpxTransport | None = None
        self._lock = Lock()
        self._dispatchers: WeakSet[Dispatcher] = WeakSet()

    def forget_after_fork(self) -> None:
        """In a forked child process, drop the connections of the parent without closing them."""
        self._reset()
        if self._context is not None:
            self._context.credentials.forget_after_fork()

    def with_timeout(self, timeout: float, retry: RetryPolicy) -> Client:
        """Return another client of the connection for a test of it: with a time limit, and renewing no token.

        The caller closes it.

        :param timeout: seconds for a reply, and for all waits from now on; of the blocking methods only.
        """
        other = Client(self._conn_id, self._get_connection, retry.within(timeout), self._log)
        other._deadline = monotonic() + timeout
        settings = self.settings()
        other._settings = replace(settings, timeout=min(settings.timeout, timeout))
        other._renews = False
        return other

    def settings(self) -> Settings:
        """Return the settings of the connection; it is read and masked once."""
        if self._settings is None:
            self._settings = _read_connection(self._get_connection(check_conn_id(self._conn_id)))
            mask_all(self._settings.secrets())
        return self._settings

    async def asettings(self) -> Settings:
        """Return the settings of the connection."""
        if self._settings is None:
            self._settings = _read_connection(await get_async_connection(check_conn_id(self._conn_id)))
            # The masker blocks, and in an asyncio task that a trigger has created it masks nothing.
            await sync_to_async(mask_all)(self._settings.secrets())
        return self._settings

    def credential(self) -> Webhook | AccessToken:
        """Return the credential in use: that of the connection, or the token that has replaced it."""
        return self._get_context().credentials.endpoint.credential

    def session(self) -> requests.Session:
        """Return an HTTP session over the blocking connections."""
        return self._get_transport().session

    def run(self, exchange: Exchange[T]) -> T:
        """Run one exchange."""
        context, dispatcher = self._prepare()
        return run(exchange(context), dispatcher)

    async def arun(self, exchange: Exchange[T]) -> T:
        """Run one exchange on an event loop."""
        context, dispatcher = await self._aprepare()
        return await arun(exchange(context), dispatcher)

    def run_chunks(
        self, items: Sequence[Item], exchange: ChunkExchange[Item, ItemResult], skipped: SkippedResult[Item, ItemResult]
    ) -> list[ItemResult]:
        """Run an exchange for every fifty items, several at once; start no more after a fatal error.

        :return: a result per item, in the order given.
        """
        return [result for part in self.parts([items], exchange, skipped) for result in part]

    def parts(
        self,
        stages: Sequence[Sequence[Item]],
        exchange: ChunkExchange[Item, ItemResult],
        skipped: SkippedResult[Item, ItemResult],
    ) -> Iterator[list[ItemResult]]:
        """Run an exchange for every fifty items, several at once, and yield the results of each.

        :param stages: items by stage; a stage starts when the one before it is done.
        """
        context, dispatcher = self._prepare()
        start = partial(_until_fatal, exchange, context, skipped, [])
        progress = Progress(sum(map(len, stages)), self._log.info, clock.time)
        for items in stages:
            for part in run_many(map(start, in_chunks(items)), dispatcher, self.settings().max_in_flight):
                progress.add(len(part))
                yield part

    async def arun_chunks(
        self, items: Sequence[Item], exchange: ChunkExchange[Item, ItemResult], skipped: SkippedResult[Item, ItemResult]
    ) -> list[ItemResult]:
        """Run an exchange for every fifty items on an event loop."""
        async with aclosing(self.aparts(items, exchange, skipped)) as parts:
            return [result async for part in parts for result in part]

    async def aparts(
        self, items: Sequence[Item], exchange: ChunkExchange[Item, ItemResult], skipped: SkippedResult[Item, ItemResult]
    ) -> AsyncGenerator[list[ItemResult], None]:
        """Run an exchange for every fifty items on an event loop, and yield the results of each when it is done."""
        context, dispatcher = await self._aprepare()
        start = partial(_until_fatal, exchange, context, skipped, [])
        progress = Progress(len(items), self._log.info, clock.time)
        many = arun_many(map(start, in_chunks(items)), dispatcher, (await self.asettings()).max_in_flight)
        async with aclosing(many) as parts:
            async for part in parts:
                progress.add(len(part))
                yield part

    def close(self) -> None:
        """Close the blocking connections; they are opened again when needed.

        Waits in other threads end with :class:`~airflow_provider_b24cal.clock.Stopped`.
        """
        with self._lock:
            dispatchers = list(self._dispatchers)
        for dispatcher in dispatchers:
            dispatcher.stop()
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def aclose(self) -> None:
        """Close the asynchronous connections, on the loop that used them."""
        if self._async_transport is not None:
            await self._async_transport.aclose()
            self._async_transport = None

    def _get_transport(self) -> RequestsTransport:
        settings = self.settings()
        with self._lock:
            if self._transport is None:
                self._transport = RequestsTransport(settings)
            return self._transport

    def _get_context(self) -> _Context:
        settings = self.settings()
        with self._lock:
            if self._context is None:
                credentials = CredentialManager(settings, self._log, self._warn, renews=self._renews)
                redis = redis_state(settings.rate_limit_conn_id) if settings.rate_limit_conn_id else None
                if redis and redis.failure:
                    self.warnings.append(redis.failure)
                origin = settings.endpoint.origin
                # By the connection's endpoint: operating times outlast the tokens of a credential.
                memory = operating_times(" ".join((origin, *settings.endpoint.secrets())), redis=redis)
                self._context = _Context(
                    credentials,
                    ExchangeContext(credentials, self._retry, _RANDOM.random, memory),
                    RateLimiter(origin, settings.plan, redis=redis, group=settings.rate_limit_group)
                    if settings.plan
                    else None,
                    _metrics_of(self._conn_id, self._log) if METRICS_ON else None,
                )
            return self._context

    def _prepare(self) -> tuple[ExchangeContext, Dispatcher]:
        transport, (credentials, context, rate_limiter, metrics) = self._get_transport(), self._get_context()
        dispatcher = Dispatcher(transport, rate_limiter, self._log, credentials, self._deadline, metrics)
        with self._lock:
            self._dispatchers.add(dispatcher)
        return context, dispatcher

    async def _aprepare(self) -> tuple[ExchangeContext, AsyncDispatcher]:
        settings = await self.asettings()
        if self._async_transport is None:
            self._async_transport = HttpxTransport(settings)
        credentials, context, rate_limiter, metrics = self._context or await sync_to_async(self._get_context)()
        return context, AsyncDispatcher(self._async_transport, rate_limiter, self._log, credentials, metrics)

    def _warn(self, text: str) -> None:
        self.warnings.append(text)
        self._log.warning("%s", text)


def _metrics_of(conn_id: str, log: Logger) -> Metrics | None:
    """Return what sends a connection's metrics; ``None`` if this Airflow does not let it: no task fails for that."""
    from airflow_provider_b24cal._airflow import stats
    from airflow_provider_b24cal.metrics import Metrics

    try:
        return Metrics(stats(), conn_id)
    except Exception as error:  # noqa: BLE001 - how Stats is set up is no promise of Airflow's
        log.warning("No metrics of bitrix24 are sent: %s: %s", type(error).__name__, error)
        return None


_CLIENTS: Final[WeakSet[Client]] = WeakSet()


def _forget_after_fork() -> None:
    for client in _CLIENTS:
        client.forget_after_fork()


# The functions that the modules imported above have registered run before this one.
os.register_at_fork(after_in_child=_forget_after_fork)


def _until_fatal(
    exchange: ChunkExchange[Item, ItemResult],
    context: ExchangeContext,
    skipped: SkippedResult[Item, ItemResult],
    found: list[Bitrix24Error],
    items: Sequence[Item],
) -> Steps[list[ItemResult]]:
    """Run an exchange for a chunk; after a fatal error in another one it sends nothing.

    :param found: the fatal errors, of all chunks.
    """
    if found:
        return [skipped(item, found[0]) for item in items]
    results = yield from exchange(items, context)
    if error := fatal_error(results):
        found.append(error)
    return results


@without_inner_frames
def _read_connection(connection: Any) -> Settings:
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
    except Exception as problem:  # noqa: BLE001 - the text of any error may hold the secret
        cause = type(problem).__name__
    raise InvalidConnectionError(
        "Invalid connection: expected texts in host, login and password, a whole number in port, and a JSON object in "
        "extra.",
        cause=cause,
    )
