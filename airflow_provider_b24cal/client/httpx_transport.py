"""The asynchronous transport, for the triggerer: the transport class of ``httpx``.

The client of ``httpx`` would log every URL at INFO, keep cookies and read ``.netrc``; its transport does none of that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.client.http import (
    HEADERS,
    TOTAL_TIMEOUT_FACTOR,
    BodyReader,
    connection_options,
    make_reply,
    transport_error,
)
from airflow_provider_b24cal.client.log_filter import keep_out_of_logs
from airflow_provider_b24cal.client.tls import make_tls

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
    from airflow_provider_b24cal.bitrix24.settings import Settings

_UNSENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError, httpx.PoolTimeout)


class HttpxTransport:
    """Sends requests over pooled connections of one event loop: that of the first request."""

    def __init__(self, settings: Settings) -> None:
        keep_out_of_logs(settings.secrets())
        self._settings = settings
        self._timeout = httpx.Timeout(settings.timeout).as_dict()
        self._opening = asyncio.Lock()
        self._transport: httpx.AsyncHTTPTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: Request) -> Reply:
        """Send a request.

        :raises TransportError: without its cause, whose text may hold the URL.
        :raises Bitrix24Error: the first request was sent on another event loop.
        """
        self._check_loop(request.method)
        transport = await self._opened()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_FACTOR * self._settings.timeout):
                response = await transport.handle_async_request(
                    httpx.Request(
                        "POST",
                        request.url.reveal(),
                        headers={**HEADERS, "Content-Type": request.content_type},
                        content=request.body,
                        extensions={"timeout": self._timeout},
                    )
                )
                body = BodyReader(request, response.headers.get("Content-Encoding"))
                try:
                    async for part in response.aiter_raw():
                        body.add(part)
                finally:
                    await response.aclose()
            return make_reply(response.status_code, body, response.headers.get("Location"), request)
        except BaseException as problem:  # noqa: BLE001 - the text of any error may hold the URL
            failure = transport_error(
                problem,
                request.method,
                self._settings.timeout,
                unsent=isinstance(problem, _UNSENT),
                timed_out=isinstance(problem, httpx.TimeoutException | TimeoutError),
                cause=problem,
            )
        # Outside the except block, so that the error does not keep the cause as its context, and without the frames,
        # whose variables hold the URL.
        raise failure.with_traceback(None)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._transport is not None:
            await self._transport.aclose()

    def _check_loop(self, method: str) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = loop
        elif self._loop is not loop:
            raise Bitrix24Error(
                "The connections of this hook belong to another event loop. Close them there with aclose(), or make a "
                "hook for each loop.",
                method=method,
            )

    async def _opened(self) -> httpx.AsyncHTTPTransport:
        async with self._opening:
            if self._transport is None:
                # Reading certificates takes tens of milliseconds, in which the loop serves other triggers.
                self._transport = await asyncio.to_thread(_make_transport, self._settings)
            return self._transport


def _make_transport(settings: Settings) -> httpx.AsyncHTTPTransport:
    options = connection_options(settings)
    bundle = DEFAULT_CA_BUNDLE_PATH if options.verify is True else options.verify
    return httpx.AsyncHTTPTransport(
        verify=make_tls(bundle) if bundle else False,
        proxy=httpx.Proxy(options.proxy) if options.proxy else None,
        trust_env=False,
        limits=httpx.Limits(max_connections=settings.max_in_flight, max_keepalive_connections=settings.max_in_flight),
    )
