"""Serving a portal from a thread: for tests, for the command line, for a demo."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from bitrix24_sandbox.app import Sleep, create_app
from bitrix24_sandbox.guard import is_loopback
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import TracebackType

# A busy machine takes many times what an idle one does.
_START_SECONDS = 120
_TURNS = 5


def check_loopback(host: str) -> None:
    """Refuse what others could reach: the sandbox has no real security.

    :param host: an address, or ``localhost``.
    :raises ValueError: for anything else.
    """
    if not is_loopback(host):
        raise ValueError(
            f"{host!r} is not a loopback address; the sandbox has no real security and serves this machine only"
        )


class _Server(uvicorn.Server):
    """A server that says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.loop = asyncio.get_running_loop()
        self.ready.set()

    async def forget(self) -> None:
        """Cut every connection and give up every request, those still unread included."""
        # A connection waits in the backlog for a turn of the loop, its first bytes for two more.
        for _ in range(_TURNS):
            await asyncio.sleep(0)
        state = self.server_state
        while state.connections or state.tasks:
            for connection in list(state.connections):
                connection.transport.abort()
            for task in list(state.tasks):
                task.cancel()
            await asyncio.sleep(0)


def _protocol(portal: Portal) -> type[H11Protocol]:
    """Return a protocol that shows requests their connection, to be cut, and reports it to the portal."""

    class Protocol(H11Protocol):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            # The access log of uvicorn prints whole addresses, and these hold webhook secrets.
            self.access_log = False

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            # asyncio overlooks sockets that are handed to it open; an answer in two parts would then wait
            # 40 ms in between on every connection that is used again.
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.app_state = {**self.app_state, "transport": transport}
            portal.connected(id(self))
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            portal.disconnected(id(self))
            super().connection_lost(exc)

    return Protocol


class SandboxServer:
    """A portal on a loopback port, served for as long as the ``with`` block lasts.

    :param portal: what to serve; by default the built-in seed data.
    :param host: a loopback address, or ``localhost``.
    :param port: 0 takes a free one.
    :param certfile: serve TLS with this certificate chain.
    :param keyfile: key of the certificate.
    :param log: receives one line per REST request, without secrets.
    :param sleep: lets the time of latencies and planned delays pass.
    :ivar port: the port taken.
    :ivar url: address of the page and of the portal, without a trailing slash.
    :raises ValueError: for a host that is no loopback address.
    """

    def __init__(
        self,
        portal: Portal | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        certfile: str | Path | None = None,
        keyfile: str | Path | None = None,
        log: Callable[[str], None] | None = None,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        check_loopback(host)
        self.portal = Portal(default_seed_data()) if portal is None else portal
        self.host = host
        self.port = port
        self._certfile = certfile
        self._keyfile = keyfile
        self._log = log
        self._sleep = sleep

    @property
    def url(self) -> str:
        """Scheme, host and port."""
        return f"{self.origin}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme and host, as an Airflow connection holds them beside the port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._certfile else 'http'}://{host}"

    def secret(self, user_id: int) -> str:
        """Return the webhook code of a person.

        :raises KeyError: for somebody who does not exist or has no webhook.
        """
        webhook = self.portal.person(user_id).webhook
        if webhook is None:
            raise KeyError(user_id)
        return webhook.secret

    def webhook_url(self, user_id: int) -> str:
        """Return a person's webhook address as a portal shows it, with a trailing slash."""
        return f"{self.url}/rest/{user_id}/{self.secret(user_id)}/"

    def connection_json(self, user_id: int) -> str:
        """Return an Airflow connection for a person, as a value of ``AIRFLOW_CONN_BITRIX24_DEFAULT``."""
        return json.dumps(
            {
                "conn_type": "bitrix24",
                "host": self.url,
                "login": str(user_id),
                "password": self.secret(user_id),
                "extra": self._limits(),
            }
        )

    def oauth_connection_json(self, user_id: int, **extra: object) -> str:
        """Return an Airflow connection with a new pair of tokens for a person.

        :param extra: further keys of the connection's extra, such as ``token_store``.
        """
        pair, application = self.portal.grant(user_id), self.portal.auth_server
        reported = {
            "auth": "oauth",
            "client_id": application.client_id,
            "client_secret": application.client_secret,
            "access_token": pair.access,
            "refresh_token": pair.refresh,
            "auth_server": self.url,
        }
        return json.dumps({"conn_type": "bitrix24", "host": self.url, "extra": {**self._limits(), **reported, **extra}})

    def _limits(self) -> dict[str, object]:
        """Return what a client should know of the limits; without any it is as a portal on one's own server."""
        settings = self.portal.settings
        numbers = {"requests_per_second": settings.rate, "burst": settings.burst}
        named = {"plan": "self_hosted" if settings.plan == "none" else settings.plan}
        return {**named, **{key: number for key, number in numbers.items() if number is not None}}

    def connection_uri(self, user_id: int) -> str:
        """Return an Airflow connection for a person in the form of a URI."""
        scheme, _, host = self.origin.partition("://")
        secret = self.secret(user_id)
        return f"bitrix24://{scheme}://{user_id}:{secret}@{host}:{self.port}/?{urlencode(self._limits())}"

    def __enter__(self) -> Self:
        """Start serving; return once requests are accepted."""
        config = self._config()
        # Loaded here, a missing certificate is an error of the caller and not of the thread.
        config.load()
        self._socket = socket.create_server(
            (self.host, self.port), family=socket.AF_INET6 if ":" in self.host else socket.AF_INET
        )
        self.port = self._socket.getsockname()[1]
        self._server = _Server(config)
        self._thread = threading.Thread(target=self._serve, name="bitrix24-sandbox", daemon=True)
        self._thread.start()
        if not self._server.ready.wait(_START_SECONDS):
            self._socket.close()
            raise RuntimeError("the sandbox portal did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving, close all connections and the port."""
        # Without the force a planned delay would hold up the end of a test.
        self._server.should_exit = self._server.force_exit = True
        self._thread.join()
        self._socket.close()

    def renew(self) -> None:
        """Be as just started: cut connections, give up requests under way and reset the portal.

        A request that a client has given up may still be on its way; after this it changes and counts nothing.
        """
        asyncio.run_coroutine_threadsafe(self._server.forget(), self._server.loop).result(_START_SECONDS)
        self.portal.reset()

    def _serve(self) -> None:
        self._server.run(sockets=[self._socket])

    def _config(self) -> uvicorn.Config:
        options: dict[str, Any] = {}
        if self._certfile is not None:
            options = {"ssl_certfile": self._certfile, "ssl_keyfile": self._keyfile}
            options["ssl_version"] = ssl.PROTOCOL_TLS_SERVER
        return uvicorn.Config(
            create_app(self.portal, self._log, self._sleep),
            loop="asyncio",
            http=_protocol(self.portal),
            ws="none",
            lifespan="off",
            log_config=None,
            server_header=False,
            # A client must not choose its own address, or a limit per address would be none.
            proxy_headers=False,
            **options,
        )
