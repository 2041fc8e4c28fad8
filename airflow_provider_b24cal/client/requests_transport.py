"""The blocking transport: a ``requests.Session``, for workers."""

from __future__ import annotations

from functools import cached_property
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from airflow_provider_b24cal.client.deadline import Connections
from airflow_provider_b24cal.client.http import (
    HEADERS,
    BodyReader,
    connection_options,
    make_reply,
    transport_error,
)
from airflow_provider_b24cal.client.log_filter import keep_out_of_logs

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
    from airflow_provider_b24cal.bitrix24.settings import Settings


_PART: Final = 65_536


class _Adapter(HTTPAdapter):
    """Opens connections that :class:`Connections` keeps track of, also through a proxy."""

    def __init__(self, connections: Connections, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._pool_classes = connections.pool_classes
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Set the pool classes for connections through a proxy."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager


class RequestsTransport:
    """Sends requests over pooled connections.

    Redirects are not followed, cookies are neither kept nor sent, and ``.netrc`` is not read: each could
    send the secret elsewhere or change the acting user. Proxies and CA bundles of the environment are used.
    """

    def __init__(self, settings: Settings) -> None:
        keep_out_of_logs(settings.secrets())
        self._timeout = settings.timeout
        self._options = connection_options(settings)
        self._proxies = {"all": self._options.proxy} if self._options.proxy else {}
        self._connections = Connections()
        # The threads of one run share these connections.
        self._adapter = _Adapter(
            self._connections, pool_connections=1, pool_maxsize=settings.max_in_flight, pool_block=True
        )

    def send(self, request: Request) -> Reply:
        """Send a request.

        :raises TransportError: without its cause, whose text holds the URL.
        """
        try:
            prepared = requests.PreparedRequest()
            prepared.method = "POST"
            # As it is: its parts are quoted already, and parsing it takes a tenth of the time of a request.
            prepared.url = request.url.reveal()
            prepared.prepare_headers({**HEADERS, "Content-Type": request.content_type})
            prepared.prepare_body(request.body, None)
            # Without a session, which would look for cookies, credentials and redirects.
            response = self._adapter.send(
                prepared,
                stream=True,
                timeout=self._timeout,
                verify=self._options.verify,
                proxies=self._proxies,
            )
            return make_reply(response.status_code, _read(response, request), response.headers.get("Location"), request)
        except BaseException as problem:  # noqa: BLE001 - the text of any error may hold the URL
            reason = _reason(problem)
            failure = transport_error(
                problem,
                request.method,
                self._timeout,
                unsent=_sent_nothing(reason),
                timed_out=isinstance(reason, requests.exceptions.Timeout | TimeoutError | ReadTimeoutError),
                cause=reason,
            )
        # Outside the except block, so that the error does not keep the cause as its context, and without the frames,
        # whose variables hold the URL.
        raise failure.with_traceback(None)

    def abort(self) -> None:
        """Break the connections of requests in flight."""
        self._connections.abort()

    def close(self) -> None:
        """Close the connections."""
        self._adapter.close()

    @cached_property
    def session(self) -> requests.Session:
        """A session with the same connections, proxy and certificates; it holds no credential."""
        session = requests.Session()
        session.proxies = dict(self._proxies)
        session.verify = self._options.verify
        session.trust_env = False
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
        session.headers.update(HEADERS)
        for scheme in ("http://", "https://"):
            session.mount(scheme, self._adapter)
        return session


def _read(response: requests.Response, request: Request) -> BodyReader:
    """Return the body, and release the connection for the next request."""
    body = BodyReader(request, response.headers.get("Content-Encoding"))
    try:
        for part in response.raw.stream(_PART, decode_content=False):
            body.add(part)
    except BaseException:
        response.raw.close()
        raise
    finally:
        # A closed connection too: it keeps its place in the pool and opens again when it is used.
        response.raw.release_conn()
    return body


def _reason(problem: BaseException) -> BaseException:
    """Return the error that urllib3 has wrapped, once for its attempts and once more for a proxy."""
    reason = getattr(problem.args[0] if problem.args else None, "reason", None)
    reason = getattr(reason, "original_error", reason)
    return reason if isinstance(reason, BaseException) else problem


def _sent_nothing(reason: BaseException) -> bool:
    # Not every error of a proxy: to urllib3 a reply that was lost behind a proxy is one too.
    return isinstance(reason, NewConnectionError | ConnectTimeoutError) or (
        isinstance(reason, OSError) and str(reason).startswith("Tunnel connection failed")
    )
