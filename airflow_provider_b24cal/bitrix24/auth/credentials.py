"""Secrets, and the one place that builds URLs with them.

A webhook's code is in the path of every request, an access token in its body. Both are :class:`Secret` objects, whose
text is read only by :meth:`Secret.reveal`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cached_property, wraps
from html import escape
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar
from urllib.parse import quote, unquote, urlsplit

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.validation import field_name, invalid_field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

P = ParamSpec("P")
T = TypeVar("T")

HIDDEN: Final = "***"

MAX_REPLY_BYTES: Final = 64 * 1024 * 1024
"""Maximum size of a reply, unpacked, in bytes; fifty full lists of events have a few million."""

SMALL_REPLY_BYTES: Final = 1024 * 1024
"""The same for methods with short replies: fifty statuses have some ten thousand bytes."""

TOKEN_METHOD: Final = "oauth.token"  # noqa: S105 - the name of a request
"""The method's name in errors of a request for tokens."""

_WEBHOOK_PATH: Final = re.compile(r"/rest/(?P<user>[^/?#\s]+)/(?P<code>[^/?#\s]+)")
# The same in quotations: with JSON's escaped slashes, percent-encoded in a query, or in HTML.
_QUOTED_PATH: Final = re.compile(
    r"(?P<slash>\\?/|%(?:25)?2F|&#(?:0?47|x0?2F);|&sol;)rest(?P=slash)(?:api(?P=slash))?"
    r"(?:(?!(?P=slash))[^/?#\s\\])+(?P=slash)(?:(?!(?P=slash))[^/?#\s\\'\"&<>])+",
    re.IGNORECASE,
)
# A cloud portal: one name in a zone of Bitrix24, such as example.bitrix24.com or example.bitrix24.com.br.
_ZONE: Final = re.compile(r"[a-z0-9-]+\.(?P<zone>bitrix24\.[a-z]{2,}(\.[a-z]{2})?)")
_PORTS: Final = {"https": 443, "http": 80}
_NOTHING: Final = "(?!)"  # matches no text
_HOST: Final = re.compile(r"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$")


def hide_webhook_paths(text: str) -> str:
    """Replace the user id and code of every ``/rest/<user>/<code>/`` in a text, known secret or not.

    Also with ``api/`` before them, as in the newer kind of webhook URLs.
    """
    return _QUOTED_PATH.sub(lambda found: found["slash"].join(("", "rest", HIDDEN, HIDDEN)), text)


def without_inner_frames(function: Callable[P, T]) -> Callable[P, T]:
    """Decorate a function whose variables hold secrets: its errors are raised without its frames, cause and context.

    Log handlers and error trackers show the variables of every frame of a traceback. The caller's frame is the
    first one left, so no variable there may hold the arguments of the function.
    """

    @wraps(function)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except Bitrix24Error as error:
            failure = error
        del args, kwargs
        failure.__cause__ = failure.__context__ = None
        raise failure.with_traceback(None)

    return wrapper


class Secret:
    """A text that ``repr``, ``str``, ``format`` and ``pickle`` do not reveal."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text itself; only for requests, token stores and Airflow's masker."""
        return self._text

    def __repr__(self) -> str:
        return f"Secret({HIDDEN})"

    def __str__(self) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Any:
        raise TypeError("a Secret is not pickled: it would be stored in plain text")


@dataclass(frozen=True, slots=True)
class Request:
    """One POST request. Its URL or its body holds the secret.

    :param max_reply_bytes: maximum size of the reply, unpacked.
    """

    url: Secret
    body: bytes = field(repr=False)
    method: str
    content_type: str = "application/json"
    max_reply_bytes: int = MAX_REPLY_BYTES


@dataclass(frozen=True, slots=True)
class Webhook:
    """An inbound webhook: its user id and its code."""

    user_id: str
    code: Secret


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An access token of an application, for one user.

    :param user_id: that user, if the authorisation server has named them.
    """

    token: Secret
    user_id: int | None = None


class Scrubber:
    """Replaces secrets in a text, however a portal or a gateway has encoded them.

    Recognised are upper and lower case, percent-encoding, also twice, HTML entities, and the escapes of JSON and
    Python, for each character by itself.
    """

    def __init__(self, *secrets: Secret) -> None:
        self._secrets = secrets

    def __call__(self, text: str) -> str:
        return hide_webhook_paths(self._pattern.sub(HIDDEN, text))

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Compiled when it is first needed: most exchanges meet no error.
        texts = sorted({text for secret in self._secrets if (text := secret.reveal())}, key=len, reverse=True)
        return re.compile("|".join("".join(map(_spelled, text)) for text in texts) or _NOTHING, re.IGNORECASE)

    def __reduce__(self) -> Any:
        raise TypeError("a Scrubber is not pickled: its secrets would be stored in plain text")


def _spelled(character: str) -> str:
    """Return a pattern for the encoded forms of a character; ASCII letters and digits have none."""
    if character.isascii() and character.isalnum():
        return character
    number, octets = ord(character), character.encode("utf-8", "surrogatepass")
    ways = [
        character,
        *("".join(f"{percent}{octet:02x}" for octet in octets) for percent in ("%", "%25")),
        ascii(character)[1:-1],
        json.dumps(character)[1:-1],
        f"\\{character}",
        f"\\u{number:04x}",
        escape(character),
        "+" if character == " " else character,
        *(f"&#{zeros}{form};" for zeros in ("", "0") for form in (str(number), f"x{number:x}")),
    ]
    return f"(?:{'|'.join(re.escape(way) for way in sorted(set(ways), key=len, reverse=True))})"


def spellings(text: str) -> tuple[str, ...]:
    """Return a secret as it is and percent-encoded; both must be masked."""
    return tuple(dict.fromkeys((text, quote(text, safe=""))))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A portal's origin and the credential for it.

    :param origin: scheme, host and port, for example ``https://example.bitrix24.com``; not secret.
    """

    origin: str
    credential: Webhook | AccessToken
    scrub: Scrubber = field(init=False, repr=False, compare=False)
    _secret: Secret = field(init=False, repr=False, compare=False)
    _base: Secret = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.credential, AccessToken):
            secret, path = self.credential.token, ""
        else:
            secret, user_id = self.credential.code, self.credential.user_id
            path = f"{quote(user_id, safe='')}/{quote(secret.reveal(), safe='')}/"
        object.__setattr__(self, "scrub", Scrubber(secret))
        object.__setattr__(self, "_secret", secret)
        object.__setattr__(self, "_base", Secret(f"{self.origin}/rest/{path}"))

    def request(self, method: str, params: Mapping[str, Any], max_reply_bytes: int = MAX_REPLY_BYTES) -> Request:
        """Build the request for a REST method."""
        sent = dict(params)
        if isinstance(self.credential, AccessToken):
            # In the body, since URLs get into the access logs of proxies and servers.
            sent["auth"] = self.credential.token.reveal()
        url, body = Secret(f"{self._base.reveal()}{method}"), json.dumps(sent).encode()
        return Request(url, body, method, max_reply_bytes=max_reply_bytes)

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked: code or token, percent-encoded too, and the webhook URL."""
        texts = spellings(self._secret.reveal())
        return (*texts, self._base.reveal()) if isinstance(self.credential, Webhook) else texts

    def renamed(self, location: str | None) -> Endpoint | None:
        """Return the endpoint that a redirect leads to, or ``None`` if the secret must not be sent there.

        It may be sent to another name in the same zone of Bitrix24, such as ``bitrix24.com``, on the same port, and
        never from https to http.

        :param location: scheme, host and port of the redirect.
        """
        try:
            here, there = urlsplit(self.origin), urlsplit(location or "")
            port, new_port = (None if parts.port == _PORTS.get(parts.scheme) else parts.port for parts in (here, there))
        except ValueError:
            return None
        zone, new_zone = (_ZONE.fullmatch(parts.hostname or "") for parts in (here, there))
        safe = there.scheme == "https" or (here.scheme == there.scheme == "http")
        if not (zone and new_zone and zone["zone"] == new_zone["zone"] and safe and port == new_port):
            return None
        origin = f"{there.scheme}://{there.hostname}" + (f":{port}" if port else "")
        return None if origin == self.origin else Endpoint(origin, self.credential)


def parse_webhook_url(text: str) -> tuple[str, Webhook]:
    """Split a webhook URL, as the portal shows it, with or without a method at its end, into origin and webhook.

    :raises InvalidConnectionError: it is not a webhook's URL. The text is not repeated.
    """
    try:
        parts = urlsplit(text.strip())
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if unquote(parts.path).lower().startswith("/rest/api/"):
        raise invalid_field(
            "password",
            "a URL without api/: https://<portal>/rest/<user id>/<code>/",
            "The newer kind of webhook URLs has no calendar methods.",
        )
    found = re.fullmatch(_WEBHOOK_PATH.pattern + r"(/[\w.]*)?", parts.path)
    if found is None or not parts.hostname or parts.username is not None:
        raise invalid_field(
            "password",
            "the webhook's code, or its whole URL as the portal shows it: https://<portal>/rest/<user id>/<code>/",
            "This is another URL.",
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    origin = f"{parts.scheme}://{host}" + (f":{port}" if port else "")
    return origin, Webhook(unquote(found["user"]), Secret(unquote(found["code"])))


def parse_origin(host: str, port: int | None, *, allow_http: bool, field: str = "host") -> str:
    """Return the origin that the host field of a connection names.

    :param host: ``example.bitrix24.com`` or with ``https://``; ``http://`` only for this machine.
    :param port: 0 and ``None`` mean none.
    :param allow_http: permit plain http for any host.
    :param field: the field of the connection, or the option of a command, for the error.
    :raises InvalidConnectionError: the host is invalid.
    """
    if _WEBHOOK_PATH.search(host):
        raise invalid_field(
            field,
            f"a host. A webhook URL belongs in {field_name('password')}, since Airflow shows hosts to everybody",
            f"Leave {field_name('host')} empty, and make a new webhook, since this one was visible.",
        )
    if port and not 0 < port < 65536:
        raise invalid_field("port", "1 to 65535, or none", value=port)
    text = host.strip() if "://" in host else f"https://{host.strip()}"
    try:
        parts = urlsplit(text)
        name, own_port = (parts.hostname or "").encode("idna").decode("ascii"), parts.port
    except ValueError:  # or its subclass for a name that is not of the internet
        parts, name, own_port = urlsplit(""), "", None
    address = _as_address(name)
    plain = parts.scheme in {"http", "https"} and parts.username is None
    bare = parts.path in {"", "/"} and not parts.query and not parts.fragment
    if not plain or not bare or not (address or _HOST.match(name)):
        expected = "a host such as example.bitrix24.com or https://example.bitrix24.com"
        raise invalid_field(field, expected, value=hide_webhook_paths(host))
    if parts.scheme == "http" and not (is_loopback(text) or allow_http):
        advice = f"With plain http the secret is sent in clear; set {field_name('allow_http')} to true to permit that."
        raise invalid_field(field, "https", advice, value=host)
    if own_port and port and own_port != port:
        raise invalid_field(field, f"the same port as in {field_name('port')}, {port}", value=host)
    shown = f"[{name}]" if address == 6 else name
    final = own_port or port
    return f"{parts.scheme}://{shown}" + (f":{final}" if final and final != _PORTS[parts.scheme] else "")


def is_loopback(url: str) -> bool:
    """Return whether a URL leads to this machine, so that nothing goes over a network."""
    name = urlsplit(url).hostname or ""
    return name == "localhost" or (_as_address(name) is not None and ip_address(name).is_loopback)


def _as_address(name: str) -> int | None:
    try:
        return ip_address(name).version
    except ValueError:
        return None
