"""What both transports share: proxy and certificates, headers, the body of a response, and errors."""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_b24cal import __version__
from airflow_provider_b24cal.bitrix24.auth.credentials import is_loopback, without_inner_frames
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    ConnectError,
    InvalidConnectionError,
    TlsError,
    TransportError,
)
from airflow_provider_b24cal.bitrix24.protocol.replies import SAME_HOST, Reply
from airflow_provider_b24cal.bitrix24.settings import PROXY_WANTED, is_proxy_url
from airflow_provider_b24cal.client.tls import make_tls, tls_refused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.auth.credentials import Request
    from airflow_provider_b24cal.bitrix24.settings import Settings

HEADERS: Final[Mapping[str, str]] = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip, deflate",
    "Content-Type": "application/json",
    "User-Agent": f"airflow-provider-b24cal/{__version__}",
}


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """Proxy and certificates of a connection.

    :param proxy: URL of the proxy, or ``None``; may hold a login.
    :param verify: whether certificates are checked, or the path of a CA bundle.
    """

    proxy: str | None = field(repr=False)
    verify: bool | str


@without_inner_frames
def connection_options(settings: Settings) -> ConnectionOptions:
    """Return proxy and certificates: those of the connection, or else of the usual environment variables.

    A proxy of the environment is not used for a portal on this machine: another machine would look for that portal on
    itself, and by plain http it would read the secret.

    :raises InvalidConnectionError: the CA bundle cannot be read, or the proxy of the environment is invalid.
    """
    origin = settings.endpoint.origin
    verify = settings.verify
    if verify is True:
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str) and not origin.startswith("http:"):
        make_tls(verify)
    if settings.proxy is not None:
        return ConnectionOptions(settings.proxy.reveal(), verify)
    if is_loopback(origin):
        return ConnectionOptions(None, verify)
    return ConnectionOptions(check_proxy(select_proxy(origin, get_environ_proxies(origin))), verify)


def check_proxy(proxy: str | None) -> str | None:
    """Return a proxy's URL with its scheme, which environment variables may leave out.

    :raises InvalidConnectionError: it is not an http or https proxy. The text may hold a login and is not repeated.
    """
    if not proxy:
        return None
    whole = proxy if "://" in proxy else f"http://{proxy}"
    if not is_proxy_url(whole):
        raise InvalidConnectionError(f"Invalid proxy in the environment: expected {PROXY_WANTED}.")
    return whole


TOTAL_TIMEOUT_FACTOR: Final = 2.0
"""The whole reply may take this many times the time-out, which alone starts again with every byte."""

_ZLIB_FORMATS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

_MAX_MEMBERS: Final = 100
"""Members of a gzip body at most: each costs some microseconds, and an empty one has only twenty bytes."""


class BodyReader:
    """The body of a response, decompressed part by part.

    One content encoding is decoded, up to the size that the request allows: a kilobyte can become a megabyte, and with
    a second encoding a terabyte.

    :param request: the request; says how much is read.
    :param encoding: the header ``Content-Encoding``.
    :ivar packed_as: an encoding that is not supported; the body is left as received.
    """

    def __init__(self, request: Request, encoding: str | None) -> None:
        self._request = request
        self._read = bytearray()
        self._begin = b""
        self._members = 0
        self._unpacker: Any = None
        named = [name for part in (encoding or "").split(",") if (name := part.strip().lower()) not in {"", "identity"}]
        self._encoding = named[0] if len(named) == 1 and named[0] in _ZLIB_FORMATS else None
        self.packed_as = encoding if named and self._encoding is None else None

    def add(self, part: bytes) -> None:
        """Add a part as it was received.

        :raises TransportError: the body is too large.
        :raises TransportError: it cannot be decompressed.
        """
        if self._encoding is None:
            self._keep(part)
            return
        if self._unpacker is None:
            # The first two bytes show the format of a deflate body.
            part = self._begin = self._begin + part
            if len(part) < 2:
                return
        while part:
            if self._unpacker is None or self._unpacker.eof:
                self._unpacker = self._next_unpacker(part)
            # One byte more than allowed shows that the body is too large; 0 would mean no limit.
            room = self._request.max_reply_bytes + 1 - len(self._read)
            try:
                unpacked = self._unpacker.decompress(part, room)
            except zlib.error:
                unpacked = None
            if unpacked is None:
                raise self._damaged()
            self._keep(unpacked)
            part = self._unpacker.unused_data

    def whole(self) -> bytes:
        """Return the body.

        :raises TransportError: the end is missing.
        """
        if self._begin and (self._unpacker is None or not self._unpacker.eof):
            raise self._damaged("EOFError")
        return bytes(self._read)

    def _next_unpacker(self, part: bytes) -> Any:
        assert self._encoding is not None
        self._members += 1
        if self._members > _MAX_MEMBERS:
            raise self._damaged()
        # Servers send deflate with the header of zlib, as they should, or without it.
        bare = self._encoding == "deflate" and (part[0] & 15 != 8 or int.from_bytes(part[:2], "big") % 31)
        return zlib.decompressobj(-zlib.MAX_WBITS if bare else _ZLIB_FORMATS[self._encoding])

    def _damaged(self, cause: str = "zlib.error") -> TransportError:
        return TransportError(
            f"The reply is cut or damaged: its Content-Encoding is {self._encoding}, and it cannot be decompressed.",
            method=self._request.method,
            cause=cause,
        )

    def _keep(self, unpacked: bytes) -> None:
        self._read += unpacked
        if len(self._read) > self._request.max_reply_bytes:
            raise TransportError(
                f"The reply has more than {self._request.max_reply_bytes} bytes, the limit for this method. Request "
                "less at once, or check any gateway between Airflow and the portal.",
                method=self._request.method,
                attempts=2,
            )


def transport_error(
    problem: BaseException, method: str, timeout: float, *, unsent: bool, timed_out: bool, cause: BaseException
) -> BaseException:
    """Return the error for a failed request, without the original one, whose text may hold the URL.

    What is no error of a request, such as a cancellation, is returned itself.

    :param unsent: whether it is known that nothing was sent.
    :param cause: the original error without the wrappers of the HTTP library.
    """
    if isinstance(problem, TransportError) or not isinstance(problem, Exception):
        problem.__context__ = None
        return problem
    if tls_refused(problem):
        kind: type[TransportError] = TlsError
        text, cause = "The portal's certificate is not trusted; see `verify`.", problem
    elif unsent:
        kind = ConnectError
        text = (
            "No connection to the portal could be made. Check the portal's address in the connection, and name "
            "resolution, firewall and proxy of this machine."
        )
    elif timed_out:
        kind = TransportError
        text = f"No reply within {timeout:g} s, or not all of it within {TOTAL_TIMEOUT_FACTOR * timeout:g} s."
    else:
        kind, text = TransportError, "The connection broke before the whole reply was received."
    return kind(text, method=method, cause=type(cause).__name__)


def make_reply(http_status: int, body: BodyReader, location: str | None, request: Request) -> Reply:
    """Return the reply. Of a redirect's target only the origin is kept: the path may hold the secret.

    :raises TransportError: the end of the body is missing.
    """
    origin = _origin_of(location) if location else None
    same = origin is not None and origin == _origin_of(request.url.reveal())
    return Reply(http_status, body.whole(), SAME_HOST if same else origin, body.packed_as)


def _origin_of(location: str) -> str:
    try:
        parts = urlsplit(location)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "an unreadable address"
    if not host:
        return SAME_HOST
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}" + (f":{port}" if port else "")
