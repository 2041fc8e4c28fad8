"""The blocking transport: a ``requests.Session``, for workers."""

from __future__ import annotations

from functools import lru_cache
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError, ReadTimeoutError

from airflow_provider_b24cal.bitrix24.protocol.errors import (
    ConnectError,
    TlsError,
    TransportError,
)
from airflow_provider_b24cal.client.deadline import Connections
from airflow_provider_b24cal.client.http import (
    HEADERS,
    NO_CONNECTION,
    BodyReader,
    find_route,
    make_reply,
    timeout_error,
    tls_refused,
)
from airflow_provider_b24cal.client.log_filter import keep_out_of_logs

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.auth.credentials import Request, Secret
    from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
    from airflow_provider_b24cal.bitrix24.settings import Settings


_PART: Final = 65_536
_ADDRESSES: Final = 16


class _Session(requests.Session):
    """A session that does not look where a redirect leads: reading an odd address raises."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """Say that there is none."""
        return None


class _Adapter(HTTPAdapter):
    """Opens connections whose answers must be whole in time, also through a proxy."""

    def __init__(self, connections: Connections, **kwargs: Any) -> None:
        self._pools = connections.pools()
        super().__init__(**kwargs)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the connections of this module's kind."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """Make the connections of this module's kind."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = self._pools
        return manager


class RequestsTransport:
    """Carries requests over pooled connections.

    Redirects are not followed, cookies are neither kept nor sent, and ``.netrc`` is not read: each could
    carry the secret elsewhere or change who acts. Proxies and CA bundles of the environment are honoured.
    """

    def __init__(self, settings: Settings) -> None:
        keep_out_of_logs(settings.secrets())
        self._timeout = settings.timeout
        self._connections = Connections()
        self.session = make_session(settings, self._connections)
        # Taking an address apart is a tenth of what a request costs.
        self._blank = lru_cache(maxsize=_ADDRESSES)(_blank)

    def send(self, request: Request) -> Reply:
        """Carry a request.

        :raises TransportError: without the cause, whose texts hold the URL.
        """
        try:
            # Not prepared by the session, which would look for cookies and credentials that it never has.
            prepared = self._blank(request.url).copy()
            prepared.prepare_headers({**self.session.headers, "Content-Type": request.content_type})
            prepared.prepare_body(request.body, None)
            response = self.session.send(prepared, timeout=self._timeout, allow_redirects=False, stream=True)
            return make_reply(response.status_code, _read(response, request), response.headers.get("Location"), request)
        except Exception as problem:  # noqa: BLE001 - whatever it is, its text may hold the URL
            failure: BaseException = _translated(problem, request.method, self._timeout)
        except BaseException as stop:  # noqa: BLE001 - goes on below, without the frames: their variables hold the URL
            failure = stop
            failure.__context__ = None
        # Outside the except block, so that the error does not keep the cause as its context.
        raise failure.with_traceback(None)

    def abort(self) -> None:
        """Let whoever waits for an answer find the connection broken."""
        self._connections.abort()

    def close(self) -> None:
        """Close the connections."""
        self.session.close()


def _blank(url: Secret) -> requests.PreparedRequest:
    return requests.Request("POST", url.reveal()).prepare()


def make_session(settings: Settings, connections: Connections) -> requests.Session:
    """Return a session for a portal; it holds no credential."""
    route = find_route(settings)
    session = _Session()
    session.proxies = {"all": route.proxy} if route.proxy else {}
    session.verify = route.verify
    session.trust_env = False
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    session.headers.update(HEADERS)
    # Threads of one run share the session; none of them opens a connection beyond these.
    pool = _Adapter(connections, pool_connections=1, pool_maxsize=settings.max_in_flight, pool_block=True)
    for scheme in ("http://", "https://"):
        session.mount(scheme, pool)
    return session


def _read(response: requests.Response, request: Request) -> BodyReader:
    """Return the body, and give the connection back for the next request."""
    body = BodyReader(request, response.headers.get("Content-Encoding"))
    try:
        for part in response.raw.stream(_PART, decode_content=False):
            body.add(part)
    except BaseException:
        response.raw.close()
        raise
    finally:
        # A closed connection too: it keeps a place among the few that there are, and opens anew when used.
        response.raw.release_conn()
    return body


def _translated(problem: Exception, method: str, timeout: float) -> TransportError:
    if isinstance(problem, TransportError):
        return problem
    if tls_refused(problem):
        cause = type(problem).__name__
        return TlsError("The portal's certificate is not trusted; see `verify`.", method=method, cause=cause)
    reason = _reason(problem)
    if _sent_nothing(reason):
        return ConnectError(NO_CONNECTION, method=method, cause=type(reason).__name__)
    if isinstance(reason, requests.exceptions.Timeout | TimeoutError | ReadTimeoutError):
        return timeout_error(timeout, method, type(reason).__name__)
    return TransportError(
        "The connection broke before the answer was whole.", method=method, cause=type(reason).__name__
    )


def _reason(problem: Exception) -> BaseException:
    """Return what urllib3 has wrapped, once for its attempts and once more for a proxy's."""
    reason = getattr(problem.args[0] if problem.args else None, "reason", None)
    reason = getattr(reason, "original_error", reason)
    return reason if isinstance(reason, BaseException) else problem


def _sent_nothing(reason: BaseException) -> bool:
    # Not every trouble with a proxy: urllib3 calls an answer that was lost behind one an error of the proxy too.
    return isinstance(reason, NewConnectionError | ConnectTimeoutError) or (
        isinstance(reason, OSError) and str(reason).startswith("Tunnel connection failed")
    )
