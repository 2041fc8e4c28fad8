"""The credential in use: the one thing that changes while exchanges run."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from threading import Event, Lock
from time import time
from typing import TYPE_CHECKING, Any, Final

from asgiref.sync import sync_to_async

from airflow_provider_b24cal._airflow import mask_secret
from airflow_provider_b24cal.bitrix24.auth.credentials import TOKEN_METHOD, AccessToken, Endpoint
from airflow_provider_b24cal.bitrix24.auth.renewal import CheckWritable, Load, Renewal, Save, renew
from airflow_provider_b24cal.bitrix24.auth.tokens import Grant, TokenPair, unreachable, with_pair
from airflow_provider_b24cal.bitrix24.protocol.errors import TokenError
from airflow_provider_b24cal.bitrix24.protocol.exchange import Pause, Send
from airflow_provider_b24cal.client import dispatcher
from airflow_provider_b24cal.client.httpx_transport import HttpxTransport
from airflow_provider_b24cal.client.lock import InterprocessLock
from airflow_provider_b24cal.client.log_filter import keep_out_of_logs
from airflow_provider_b24cal.client.requests_transport import RequestsTransport
from airflow_provider_b24cal.client.runner import arun, run
from airflow_provider_b24cal.client.token_stores import load_pair, make_store, save_text

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from airflow_provider_b24cal.bitrix24.settings import Settings

LONGEST_TURN: Final = 60.0
"""Seconds to wait at most while another thread, task or process renews the same token."""

TRIAL: Final = "_trial"
"""What the name of an entry ends with that shows whether a store can be written."""

_UNDER_WAY: Final[set[asyncio.Task[bool]]] = set()


class CredentialManager:
    """What is needed to be let in to a portal, at present.

    Making one blocks: it reads the token store, and registers what it finds with Airflow's masker.

    :param settings: as the connection has them.
    :param tell: is told of every pause before it begins.
    :param warn: is told of a portal that has moved.
    :param renews: ``False`` to leave tokens as they are.
    :ivar endpoint: the portal and the credential to use for the next request.
    :raises Bitrix24Error: the token store cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        on_pause: Callable[[Pause], None],
        warn: Callable[[str], None],
        *,
        renews: bool = True,
    ) -> None:
        self.endpoint = settings.endpoint
        self._settings = settings
        self._on_pause = on_pause
        self._warn = warn
        self._renews = renews
        self._changing = Lock()
        self._keeper = None if settings.grant is None else _TokenCache(settings.grant)
        if self._keeper is not None:
            self._use(Renewal(self._keeper.load(), is_new=False))

    def leave_to_parent(self) -> None:
        """Forget, in a child process, the lock of its parent, and the pair that the parent has yet to store."""
        self._changing = Lock()
        if self._keeper is not None:
            self._keeper.leave_to_parent()

    def moved(self, endpoint: Endpoint) -> None:
        """Use the portal's new name from now on."""
        with self._changing:
            before = self.endpoint.origin
            self.endpoint = Endpoint(endpoint.origin, self.endpoint.credential)
        if before != endpoint.origin:
            self._warn(
                f"The portal has moved from {before} to {endpoint.origin}; put the new host into the connection, "
                "for every task asks at the old one first."
            )

    def renew(self, stale: Endpoint, stop: Event) -> bool:
        """Replace an access token, or find that somebody else has replaced it.

        :return: whether the authorisation server has just given the new one.

        :raises Bitrix24Error: there is no new one to be had.
        """
        keeper = self._needed_keeper(stale)
        if keeper is None:
            return False
        try:
            with InterprocessLock(keeper.grant.key, LONGEST_TURN).acquire(stop):
                if (token := self._refused(stale)) is not None:
                    # Airflow stops a task by an exception in its main thread, wherever that is. In a thread beside
                    # it, which is waited for, a renewal is seen through to its end: a pair that was given out must
                    # be stored.
                    with ThreadPoolExecutor(1, thread_name_prefix="bitrix24-renewal") as beside:
                        return beside.submit(self._renew, token, keeper).result()
            return False
        except TimeoutError:
            failure = _crowded(keeper.grant)
        raise failure

    def _renew(self, token: AccessToken, keeper: _TokenCache) -> bool:
        with closing(RequestsTransport(self._settings.for_auth_server(keeper.grant))) as transport:
            steps = renew(keeper.grant, token.token, time())
            return self._use(run(steps, _TokenLane(transport, keeper, self._on_pause)))

    async def arenew(self, stale: Endpoint) -> bool:
        """Replace an access token without blocking the event loop; the twin of :meth:`renew`."""
        keeper = self._needed_keeper(stale)
        if keeper is None:
            return False
        # Seen through to its end even if the caller is cancelled: a pair that was given out must be stored.
        task = asyncio.ensure_future(self._arenew(stale, keeper))
        _UNDER_WAY.add(task)
        task.add_done_callback(_UNDER_WAY.discard)
        return await asyncio.shield(task)

    async def _arenew(self, stale: Endpoint, keeper: _TokenCache) -> bool:
        try:
            async with InterprocessLock(keeper.grant.key, LONGEST_TURN).aacquire():
                if (token := self._refused(stale)) is not None:
                    transport = HttpxTransport(self._settings.for_auth_server(keeper.grant))
                    try:
                        steps = renew(keeper.grant, token.token, time())
                        return self._use(await arun(steps, _AsyncTokenLane(transport, keeper, self._on_pause)))
                    finally:
                        await transport.aclose()
            return False
        except TimeoutError:
            failure = _crowded(keeper.grant)
        raise failure

    def _needed_keeper(self, stale: Endpoint) -> _TokenCache | None:
        if self._refused(stale) is None or self._keeper is None:
            return None
        if not self._renews:
            raise TokenError(
                "The access token has run out, as it does an hour after the last renewal. The next task renews it; "
                "a test does not.",
                method=TOKEN_METHOD,
            )
        return self._keeper

    def _refused(self, stale: Endpoint) -> AccessToken | None:
        """Return the token to replace; ``None`` if a thread or task beside this has replaced it already."""
        present = self.endpoint.credential
        return present if isinstance(present, AccessToken) and present == stale.credential else None

    def _use(self, renewal: Renewal) -> bool:
        with self._changing:
            self.endpoint = with_pair(self.endpoint, renewal.pair)
        return renewal.is_new


class _TokenCache:
    """Keeps the pairs of one grant; blocking."""

    def __init__(self, grant: Grant) -> None:
        self.grant = grant
        self._store = make_store(grant.store)
        self._unsaved: TokenPair | None = None
        self._takes = False

    def leave_to_parent(self) -> None:
        # Stored by both, it could take the place of a later one.
        self._unsaved = None

    def load(self) -> TokenPair:
        if self._unsaved is not None:
            # The last one could not be stored; it is the only copy.
            self.save(self._unsaved)
        stored = load_pair(self._store, self.grant.key)
        self._takes = stored is not None
        if stored is None:
            return self.grant.pair
        mask_all(stored.secrets())
        return stored

    def try_out(self) -> None:
        # A store that holds a pair has taken one. Into any other goes an entry beside the pair's own, for there
        # another host may store a newer pair at this very moment.
        if not self._takes:
            save_text(self._store, f"{self.grant.key}{TRIAL}", "This store can be written.")
            self._takes = True

    def save(self, pair: TokenPair) -> None:
        mask_all(pair.secrets())
        self._unsaved = pair
        save_text(self._store, self.grant.key, pair.to_text())
        self._unsaved = None


class _TokenLane:
    """Does the steps of a renewal."""

    def __init__(self, transport: RequestsTransport, keeper: _TokenCache, on_pause: Callable[[Pause], None]) -> None:
        self._transport = transport
        self._keeper = keeper
        self._on_pause = on_pause

    def do(self, step: Send | Pause | Load | CheckWritable | Save) -> Any:
        if isinstance(step, Send):
            return self._transport.send(step.request)
        if isinstance(step, Load):
            return self._keeper.load()
        if isinstance(step, CheckWritable):
            return self._keeper.try_out()
        if isinstance(step, Save):
            return self._keeper.save(step.pair)
        self._on_pause(step)
        # Not cut short by the end of the run: a pair that was given out must be stored.
        return dispatcher.sleep(step.seconds, Event())


class _AsyncTokenLane:
    """The same on an event loop; what blocks goes to a thread that Airflow can be talked to from."""

    def __init__(self, transport: HttpxTransport, keeper: _TokenCache, on_pause: Callable[[Pause], None]) -> None:
        self._transport = transport
        self._keeper = keeper
        self._on_pause = on_pause

    async def do(self, step: Send | Pause | Load | CheckWritable | Save) -> Any:
        if isinstance(step, Send):
            return await self._transport.send(step.request)
        if isinstance(step, Load):
            return await sync_to_async(self._keeper.load)()
        if isinstance(step, CheckWritable):
            return await sync_to_async(self._keeper.try_out)()
        if isinstance(step, Save):
            return await sync_to_async(self._keeper.save)(step.pair)
        self._on_pause(step)
        return await dispatcher.asleep(step.seconds)


def _crowded(grant: Grant) -> Exception:
    server = grant.application.server_of(grant.pair)
    return unreachable(f"Another task has been at it for {LONGEST_TURN:g} s.", server)


def mask_all(secrets: Collection[str]) -> None:
    """Register texts with Airflow's log masker, and with the filter of the HTTP libraries' logs; blocking."""
    keep_out_of_logs(secrets)
    for text in secrets:
        mask_secret(text)
