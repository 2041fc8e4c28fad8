"""What both transports agree on: the route to the portal, headers, and log lines without secrets."""

from __future__ import annotations

import logging
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_b24cal import __version__
from airflow_provider_b24cal.bitrix24.credentials import hide_webhook_paths
from airflow_provider_b24cal.bitrix24.errors import InvalidConnectionError, ReplyTooLargeError, ResponseTimeoutError
from airflow_provider_b24cal.bitrix24.labels import field_name
from airflow_provider_b24cal.bitrix24.replies import SAME_HOST, Reply
from airflow_provider_b24cal.bitrix24.settings import PROXY_WANTED, is_proxy_url

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.credentials import Secret
    from airflow_provider_b24cal.bitrix24.settings import Settings

HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/json",
    "User-Agent": f"airflow-provider-b24cal/{__version__}",
}

NO_CONNECTION: Final = (
    "No connection to the portal could be made. Check the portal's address in the connection, and the way to it "
    "from this machine: name resolution, firewall, proxy."
)


@dataclass(frozen=True, slots=True)
class Route:
    """The way to a portal, after the environment had its say.

    :param proxy: URL of the proxy, or ``None``; may hold a login.
    :param verify: whether certificates are checked, or the path of a CA bundle.
    """

    proxy: str | None = field(repr=False)
    verify: bool | str


def find_route(settings: Settings) -> Route:
    """Return the way to the portal: the connection's word first, then the usual environment variables.

    :raises InvalidConnectionError: the CA bundle cannot be read.
    """
    origin = settings.endpoint.origin
    if settings.proxy is not None:
        proxy: str | None = settings.proxy.reveal()
    else:
        proxy = check_proxy(select_proxy(origin, get_environ_proxies(origin)))
    verify = settings.verify
    if verify is True:
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str):
        make_tls(verify)
    return Route(proxy, verify)


def check_proxy(proxy: str | None) -> str | None:
    """Return a proxy's URL with its scheme, which environment variables may leave out.

    :raises InvalidConnectionError: it is no http or https proxy; its text, which may hold a login, is not repeated.
    """
    if not proxy:
        return None
    whole = proxy if "://" in proxy else f"http://{proxy}"
    if not is_proxy_url(whole):
        raise InvalidConnectionError(
            f"The proxy that the environment names is not acceptable; accepted is {PROXY_WANTED}."
        )
    return whole


def tls_refused(problem: BaseException) -> bool:
    """Tell whether TLS was never agreed upon, so that nothing was sent.

    HTTP libraries wrap the reason several times, and differently for connecting and for reading.
    """
    seen: list[BaseException] = [problem]
    for error in seen:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        if isinstance(error, ssl.SSLError) and error.reason in _HANDSHAKE:
            return True
        inner = [error.__cause__, error.__context__, getattr(error, "reason", None), *error.args]
        seen += [other for other in inner if isinstance(other, BaseException) and other not in seen]
    return False


_HANDSHAKE: Final = frozenset(
    {
        "CERTIFICATE_VERIFY_FAILED",
        "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "TLSV1_UNRECOGNIZED_NAME",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)


def make_tls(bundle: str) -> ssl.SSLContext:
    """Return a TLS context that trusts a CA bundle.

    :param bundle: a file, or a folder prepared by ``openssl rehash``.
    :raises InvalidConnectionError: there are no certificates at this path.
    """
    is_folder = Path(bundle).is_dir()
    try:
        return ssl.create_default_context(cafile=None if is_folder else bundle, capath=bundle if is_folder else None)
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
    raise InvalidConnectionError(
        f"Invalid {field_name('verify')} {bundle!a}: no CA bundle ({reason}); expected true, false, or the path "
        "of a file with certificates in PEM form. It may also come from REQUESTS_CA_BUNDLE."
    )


WHOLE: Final = 2.0
"""How many times the time-out the whole answer may take: a time-out alone begins anew with every byte."""

LARGEST_BODY: Final = 64 * 1024 * 1024
"""Bytes of an answer, unpacked, that are read at most; fifty full lists of events have a few."""


class Body:
    """The body of an answer, part by part.

    :param method: of the request, for the error.
    """

    def __init__(self, method: str) -> None:
        self._method = method
        self._read = bytearray()

    def add(self, part: bytes) -> None:
        """Take a part.

        :raises ReplyTooLargeError: it is one too many.
        """
        self._read += part
        if len(self._read) > LARGEST_BODY:
            raise ReplyTooLargeError(
                f"The answer has more than {LARGEST_BODY} bytes. Ask for less at once.",
                method=self._method,
                attempts=2,
            )

    def whole(self) -> bytes:
        """Return what was taken."""
        return bytes(self._read)


def late(timeout: float, method: str, cause: str) -> ResponseTimeoutError:
    """Return the error of an answer that did not come in time."""
    return ResponseTimeoutError(
        f"No answer within {timeout:g} s, or not the whole of it within {WHOLE * timeout:g} s.",
        method=method,
        cause=cause,
    )


def make_reply(http_status: int, body: bytes, location: str | None, asked: Secret) -> Reply:
    """Return the reply; of a redirect's target only the origin is kept, for the path may hold the secret.

    :param asked: the URL that was asked.
    """
    origin = _origin_of(location) if location else None
    return Reply(http_status, body, SAME_HOST if origin and origin == _origin_of(asked.reveal()) else origin)


def _origin_of(location: str) -> str:
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an unreadable address"
    if not host:
        return SAME_HOST
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{port}" if port else "")


class _HideWebhookPaths(logging.Filter):
    """Takes webhook paths out of the lines that HTTP libraries log."""

    def filter(self, record: logging.LogRecord) -> bool:
        line = record.getMessage()
        hidden = hide_webhook_paths(line)
        if hidden != line:
            record.msg, record.args = hidden, None
        return True


_FILTER: Final = _HideWebhookPaths()
# One by one, for a logger's filter does not see what its children log. urllib3 logs the path of every
# request at DEBUG and that of an oddly answered one at WARNING; httpcore logs the headers of every reply,
# where a redirect may name the path again.
_LOGGERS: Final = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.util.retry",
    "httpcore.connection",
    "httpcore.http11",
    "httpcore.proxy",
)


def keep_secrets_out_of_logs() -> None:
    """Make the loggers of the HTTP libraries hide webhook paths; doing it twice changes nothing."""
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(_FILTER)
