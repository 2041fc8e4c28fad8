"""The credential in use: tokens are renewed while exchanges run."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, closing
from threading import Lock
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.bitrix24.auth.credentials import TOKEN_METHOD, AccessToken, Endpoint
from airflow_provider_b24cal.bitrix24.auth.renewal import Renewal, renew
from airflow_provider_b24cal.bitrix24.auth.tokens import Grant, unreachable, with_pair
from airflow_provider_b24cal.bitrix24.protocol.errors import TokenError
from airflow_provider_b24cal.client.dispatcher import AsyncDispatcher, Dispatcher, arun, run
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.lock import InterprocessLock
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.client.token_stores import GrantStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.protocol.exchange import Steps
    from airflow_provider_b24cal.bitrix24.settings import Settings

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait at most while another thread, task or process renews the same token."""

_IN_FLIGHT: Final[set[asyncio.Task[bool]]] = set()


class CredentialManager:
    """The endpoint of one connection and its credential.

    Making one blocks: it reads the token store and registers the tokens with Airflow's masker.

    :param settings: those of the connection.
    :param log: receives a line for every pause.
    :param warn: called with a sentence when the portal has moved.
    :param renews: ``False`` to leave tokens as they are.
    :ivar endpoint: the portal and the credential to use for the next request.
    :raises Bitrix24Error: the token store cannot be used.
    """

    def __init__(self, settings: Settings, log: Logger, warn: Callable[[str], None], *, renews: bool = True) -> None:
        self.endpoint = settings.endpoint
        self._settings = settings
        self._log = log
        self._warn = warn
        self._renews = renews
        self._changing = Lock()
        self._store = None if settings.grant is None else GrantStore(settings.grant)
        if self._store is not None:
            self._use(Renewal(self._store.load(), is_new=False))

    def forget_after_fork(self) -> None:
        """Forget, in a child process, the lock of its parent and the pair that the parent has not stored yet."""
        self._changing = Lock()
        if self._store is not None:
            self._store.unsaved = None

    def moved(self, endpoint: Endpoint) -> None:
        """Use the portal's new address from now on."""
        with self._changing:
            before = self.endpoint.origin
            self.endpoint = Endpoint(endpoint.origin, self.endpoint.credential)
        if before != endpoint.origin:
            self._warn(
                f"The portal has moved from {before} to {endpoint.origin}. Put the new host into the connection: until "
                "then every task sends its first request to the old one."
            )

    def renew(self, stale: Endpoint, stop: Event) -> bool:
        """Replace an access token, unless another thread or process has replaced it.

        :param stale: the endpoint with the refused token.
        :param stop: ends the wait for the lock when it is set.
        :return: whether the authorisation server has just issued the new token.
        :raises Bitrix24Error: there is no new token.
        """
        store = self._renewable_store(stale)
        if store is None:
            return False
        lock = InterprocessLock(store.grant.key, LOCK_TIMEOUT).acquire(stop)
        try:
            # Airflow stops a task by an exception in its main thread. In a thread of its own, which is waited for, a
            # renewal completes: a pair that was issued must be stored.
            with lock, ThreadPoolExecutor(1, thread_name_prefix="bitrix24-renewal") as executor:
                return executor.submit(self._renew, stale, store).result()
        except TimeoutError:
            raise _lock_timeout(store.grant) from None

    def _renew(self, stale: Endpoint, store: GrantStore) -> bool:
        with closing(RequestsTransport(self._settings.for_auth_server(store.grant))) as transport:
            return run(self._renewal(stale, store), Dispatcher(transport, None, self._log))

    async def arenew(self, stale: Endpoint) -> bool:
        """Replace an access token without blocking the event loop; the twin of :meth:`renew`."""
        store = self._renewable_store(stale)
        if store is None:
            return False
        # It completes even if the caller is cancelled: a pair that was issued must be stored.
        task = asyncio.ensure_future(self._arenew(stale, store))
        _IN_FLIGHT.add(task)
        task.add_done_callback(_IN_FLIGHT.discard)
        return await asyncio.shield(task)

    async def _arenew(self, stale: Endpoint, store: GrantStore) -> bool:
        lock = InterprocessLock(store.grant.key, LOCK_TIMEOUT).aacquire()
        try:
            async with lock, aclosing(HttpxTransport(self._settings.for_auth_server(store.grant))) as transport:
                return await arun(self._renewal(stale, store), AsyncDispatcher(transport, None, self._log))
        except TimeoutError:
            raise _lock_timeout(store.grant) from None

    def _renewal(self, stale: Endpoint, store: GrantStore) -> Steps[bool]:
        # Another thread or process may have renewed it while this one waited for the lock.
        if (token := self._refused_token(stale)) is None:
            return False
        renewal = yield from renew(store.grant, token.token, clock.time(), store)
        return self._use(renewal)

    def _renewable_store(self, stale: Endpoint) -> GrantStore | None:
        if self._refused_token(stale) is None or self._store is None:
            return None
        if not self._renews:
            raise TokenError(
                "The access token is expired: one hour has passed since the last renewal. A test of the connection "
                "does not renew it; the next task does.",
                method=TOKEN_METHOD,
            )
        return self._store

    def _refused_token(self, stale: Endpoint) -> AccessToken | None:
        """Return the token to replace; ``None`` if another thread or task of this process has replaced it."""
        current = self.endpoint.credential
        return current if isinstance(current, AccessToken) and current == stale.credential else None

    def _use(self, renewal: Renewal) -> bool:
        with self._changing:
            self.endpoint = with_pair(self.endpoint, renewal.pair)
        return renewal.is_new


def _lock_timeout(grant: Grant) -> Exception:
    server = grant.application.server_of(grant.pair)
    return unreachable(f"The token refresh lock has been held for {LOCK_TIMEOUT:g} s.", server)
