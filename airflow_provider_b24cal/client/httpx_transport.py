"""The asynchronous transport: ``httpx`` below its client, for the triggerer.

The client would log every URL at INFO, keep cookies and read ``.netrc``; its transport does none of it.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

import httpx
from requests.utils import DEFAULT_CA_BUNDLE_PATH

from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    ConnectError,
    TlsError,
    TransportError,
)
from airflow_provider_b24cal.client.http import (
    HEADERS,
    NO_CONNECTION,
    TOTAL_TIMEOUT_FACTOR,
    BodyReader,
    find_route,
    make_reply,
    make_tls,
    timeout_error,
    tls_refused,
)
from airflow_provider_b24cal.client.log_filter import keep_out_of_logs

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
    from airflow_provider_b24cal.bitrix24.settings import Settings


class HttpxTransport:
    """Carries requests over pooled connections of one event loop.

    Use it on the loop that first sent something, and close it there.
    """

    def __init__(self, settings: Settings) -> None:
        keep_out_of_logs(settings.secrets())
        self._settings = settings
        self._timeout = httpx.Timeout(settings.timeout).as_dict()
        self._opening = asyncio.Lock()
        self._carrier: httpx.AsyncHTTPTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def send(self, request: Request) -> Reply:
        """Carry a request.

        :raises TransportError: without the cause, whose texts may hold the URL.
        :raises Bitrix24Error: something was sent on another event loop before.
        """
        self._check_loop(request.method)
        carrier = await self._opened()
        try:
            async with asyncio.timeout(TOTAL_TIMEOUT_FACTOR * self._settings.timeout):
                response = await carrier.handle_async_request(
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
        except Exception as problem:  # noqa: BLE001 - whatever it is, its text may hold the URL
            failure: BaseException = _translated(problem, request.method, self._settings.timeout)
        except BaseException as stop:  # noqa: BLE001 - goes on below, without the frames: their variables hold the URL
            failure = stop
            failure.__context__ = None
        # Outside the except block, so that the error does not keep the cause as its context.
        raise failure.with_traceback(None)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._carrier is not None:
            await self._carrier.aclose()

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
            if self._carrier is None:
                # Reading certificates takes tens of milliseconds; the loop has other triggers to serve.
                self._carrier = await asyncio.to_thread(_make_carrier, self._settings)
            return self._carrier


def _make_carrier(settings: Settings) -> httpx.AsyncHTTPTransport:
    route = find_route(settings)
    return httpx.AsyncHTTPTransport(
        verify=_make_tls(route.verify),
        proxy=httpx.Proxy(route.proxy) if route.proxy else None,
        trust_env=False,
        limits=httpx.Limits(max_connections=settings.max_in_flight, max_keepalive_connections=settings.max_in_flight),
    )


def _make_tls(verify: bool | str) -> ssl.SSLContext:
    if verify is False:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    return make_tls(DEFAULT_CA_BUNDLE_PATH if verify is True else verify)


def _translated(problem: Exception, method: str, timeout: float) -> TransportError:
    if isinstance(problem, TransportError):
        return problem
    cause = type(problem).__name__
    if tls_refused(problem):
        return TlsError("The portal's certificate is not trusted; see `verify`.", method=method, cause=cause)
    if isinstance(problem, httpx.ConnectError | httpx.ConnectTimeout | httpx.ProxyError | httpx.PoolTimeout):
        return ConnectError(NO_CONNECTION, method=method, cause=cause)
    if isinstance(problem, httpx.TimeoutException | TimeoutError):
        return timeout_error(timeout, method, cause)
    return TransportError("The connection broke before the answer was whole.", method=method, cause=cause)
