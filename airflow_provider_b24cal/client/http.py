"""What both transports agree on: the route to the portal, headers, and how much of a response is read."""

from __future__ import annotations

import os
import ssl
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from requests.utils import get_environ_proxies, select_proxy

from airflow_provider_b24cal import __version__
from airflow_provider_b24cal.bitrix24.auth.credentials import is_loopback
from airflow_provider_b24cal.bitrix24.connection_fields import invalid_field
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    InvalidConnectionError,
    TransportError,
    without_inner_frames,
)
from airflow_provider_b24cal.bitrix24.protocol.replies import SAME_HOST, Reply
from airflow_provider_b24cal.bitrix24.settings import PROXY_WANTED, is_proxy_url

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

NO_CONNECTION: Final = (
    "No connection to the portal could be made. Check the portal's address in the connection, and the way to it "
    "from this machine: name resolution, firewall, proxy."
)


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """The way to a portal, after the environment had its say.

    :param proxy: URL of the proxy, or ``None``; may hold a login.
    :param verify: whether certificates are checked, or the path of a CA bundle.
    """

    proxy: str | None = field(repr=False)
    verify: bool | str


@without_inner_frames
def find_route(settings: Settings) -> ConnectionOptions:
    """Return the way to the portal: the connection's word first, then the usual environment variables.

    A proxy of the environment is not asked for a portal on this machine: another machine would look for that
    portal on itself, and by plain http it would read the secret.

    :raises InvalidConnectionError: the CA bundle cannot be read, or the proxy of the environment is none.
    """
    origin = settings.endpoint.origin
    verify = settings.verify
    if verify is True:
        verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
    if isinstance(verify, str):
        make_tls(verify)
    if settings.proxy is not None:
        return ConnectionOptions(settings.proxy.reveal(), verify)
    if is_loopback(origin):
        return ConnectionOptions(None, verify)
    return ConnectionOptions(check_proxy(select_proxy(origin, get_environ_proxies(origin))), verify)


def check_proxy(proxy: str | None) -> str | None:
    """Return a proxy's URL with its scheme, which environment variables may leave out.

    :raises InvalidConnectionError: it is no http or https proxy; its text, which may hold a login, is not repeated.
    """
    if not proxy:
        return None
    whole = proxy if "://" in proxy else f"http://{proxy}"
    if not is_proxy_url(whole):
        raise InvalidConnectionError(f"Invalid proxy in the environment variables: expected {PROXY_WANTED}.")
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
    raise invalid_field(
        "verify",
        f"true, false, or the path of a file with certificates in PEM form; there is no CA bundle ({reason})",
        "The path may also come from REQUESTS_CA_BUNDLE.",
        value=bundle,
    )


TOTAL_TIMEOUT_FACTOR: Final = 2.0
"""How many times the time-out the whole answer may take: a time-out alone begins anew with every byte."""

_ZLIB_FORMATS: Final = {"gzip": zlib.MAX_WBITS | 16, "x-gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS}

_MAX_MEMBERS: Final = 100
"""Parts of a gzip body; each costs some microseconds, and an empty one has twenty bytes only."""


class BodyReader:
    """The body of a response, unpacked part by part.

    At most one content encoding is undone, and never more than the request allows: a thousand bytes can
    become a million, and by a second encoding a million millions.

    :param request: what was asked; says how much is read.
    :param encoding: the header ``Content-Encoding``.
    :ivar packed_as: an encoding that is not supported; the body is left as it comes.
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
        """Take a part as it came over the wire.

        :raises TransportError: it is one too many.
        :raises TransportError: it cannot be unpacked.
        """
        if self._encoding is None:
            self._keep(part)
            return
        if self._unpacker is None:
            # The first two bytes tell how a deflate body is packed.
            part = self._begin = self._begin + part
            if len(part) < 2:
                return
        while part:
            if self._unpacker is None or self._unpacker.eof:
                self._unpacker = self._next_unpacker(part)
            # One byte more than is allowed is enough to know; 0 would mean no limit.
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
        """Return what was taken.

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
            f"The answer is cut or damaged: it says that it is packed as {self._encoding}, and cannot be unpacked.",
            method=self._request.method,
            cause=cause,
        )

    def _keep(self, unpacked: bytes) -> None:
        self._read += unpacked
        if len(self._read) > self._request.max_reply_bytes:
            raise TransportError(
                f"The answer has more than {self._request.max_reply_bytes} bytes, the most that is read from this "
                "method. Ask for less at once, or check what stands between Airflow and the portal.",
                method=self._request.method,
                attempts=2,
            )


def timeout_error(timeout: float, method: str, cause: str) -> TransportError:
    """Return the error of an answer that did not come in time."""
    return TransportError(
        f"No answer within {timeout:g} s, or not the whole of it within {TOTAL_TIMEOUT_FACTOR * timeout:g} s.",
        method=method,
        cause=cause,
    )


def make_reply(http_status: int, body: BodyReader, location: str | None, request: Request) -> Reply:
    """Return the reply; of a redirect's target only the origin is kept, for the path may hold the secret.

    :param request: what was asked.
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
