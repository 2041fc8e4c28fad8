"""The credential in use: tokens are renewed while exchanges run."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Lock
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal import clock
from airflow_provider_b24cal._airflow import mask_secret
from airflow_provider_b24cal.bitrix24.auth.credentials import TOKEN_METHOD, AccessToken, Endpoint
from airflow_provider_b24cal.bitrix24.auth.renewal import Renewal, renew
from airflow_provider_b24cal.bitrix24.auth.tokens import Grant, TokenPair, unreachable, with_pair
from airflow_provider_b24cal.bitrix24.protocol.errors import TokenError
from airflow_provider_b24cal.client.dispatcher import AsyncDispatcher, Dispatcher, arun, run
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.lock import InterprocessLock
from airflow_provider_b24cal.client.log_filter import keep_out_of_logs
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.client.token_stores import load_pair, make_store, save_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from threading import Event

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.settings import Settings

LOCK_TIMEOUT: Final = 60.0
"""Seconds to wait at most while another thread, task or process renews the same token."""

TRIAL: Final = "_trial"
"""The suffix of the store entry that is written to check that a store is writable."""

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
        self._store = None if settings.grant is None else _PairStore(settings.grant)
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
        try:
            with InterprocessLock(store.grant.key, LOCK_TIMEOUT).acquire(stop):
                if (token := self._refused_token(stale)) is None:
                    return False
                # Airflow stops a task by an exception in its main thread. In a thread of its own, which is waited
                # for, a renewal completes: a pair that was issued must be stored.
                with ThreadPoolExecutor(1, thread_name_prefix="bitrix24-renewal") as executor:
                    return executor.submit(self._renew, token, store).result()
        except TimeoutError:
            failure = _lock_timeout(store.grant)
        raise failure

    def _renew(self, token: AccessToken, store: _PairStore) -> bool:
        with closing(RequestsTransport(self._settings.for_auth_server(store.grant))) as transport:
            dispatcher = Dispatcher(transport, None, self._log)
            return self._use(run(renew(store.grant, token.token, clock.time(), store), dispatcher))

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

    async def _arenew(self, stale: Endpoint, store: _PairStore) -> bool:
        try:
            async with InterprocessLock(store.grant.key, LOCK_TIMEOUT).aacquire():
                if (token := self._refused_token(stale)) is None:
                    return False
                transport = HttpxTransport(self._settings.for_auth_server(store.grant))
                dispatcher = AsyncDispatcher(transport, None, self._log)
                try:
                    return self._use(await arun(renew(store.grant, token.token, clock.time(), store), dispatcher))
                finally:
                    await transport.aclose()
        except TimeoutError:
            failure = _lock_timeout(store.grant)
        raise failure

    def _renewable_store(self, stale: Endpoint) -> _PairStore | None:
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


class _PairStore:
    """The token pairs of one grant in the connection's token store; blocking.

    :ivar unsaved: a pair that could not be stored; the only copy of it.
    """

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self.unsaved: TokenPair | None = None
        self._store = make_store(grant.store)
        self._writable = False

    def load(self) -> TokenPair:
        if self.unsaved is not None:
            self.save(self.unsaved)
        stored = load_pair(self._store, self.grant.key)
        self._writable = stored is not None
        if stored is None:
            return self.grant.pair
        mask_all(stored.secrets())
        return stored

    def check_writable(self) -> None:
        # A store that holds a pair is writable. In any other one the trial is an entry of its own: another host may
        # store a newer pair at this moment.
        if not self._writable:
            save_text(self._store, f"{self.grant.key}{TRIAL}", "This store can be written.")
            self._writable = True

    def save(self, pair: TokenPair) -> None:
        mask_all(pair.secrets())
        self.unsaved = pair
        save_text(self._store, self.grant.key, pair.to_text())
        self.unsaved = None


def _lock_timeout(grant: Grant) -> Exception:
    server = grant.application.server_of(grant.pair)
    return unreachable(f"The token refresh lock has been held for {LOCK_TIMEOUT:g} s.", server)


def mask_all(secrets: Collection[str]) -> None:
    """Register texts with Airflow's log masker and with the filter of the HTTP libraries' logs; blocking."""
    keep_out_of_logs(secrets)
    for text in secrets:
        mask_secret(text)
