"""Where the check gets its webhooks from: the environment, a hidden prompt, or an Airflow connection as JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.guard import is_loopback

if TYPE_CHECKING:
    from collections.abc import Mapping

_PATH: Final = re.compile(r"/rest/(?P<user>[^/?#\s]+)/(?P<code>[^/?#\s]+)/?")
_SHAPE: Final = "a webhook's URL, such as https://<portal>/rest/<user>/<code>/"


@dataclass(frozen=True)
class Webhook:
    """An inbound webhook.

    :param origin: scheme, host and port.
    :param user: as in its URL: an id or a login, percent-encoded.
    :param verify: whether the certificate is checked, or the path of a CA bundle.
    """

    origin: str = field(repr=False)
    user: str
    secret: str = field(repr=False)
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)

    def url(self, method: str, secret: str | None = None) -> str:
        """Return the URL of a method, which holds the secret."""
        return f"{self.origin}/rest/{self.user}/{self.secret if secret is None else secret}/{method}"


def from_url(text: str, name: str) -> Webhook:
    """Return the webhook of a URL.

    :param name: where it was given; the error never shows the URL itself.
    :raises BadInputError: it is no webhook's URL, or not https.
    """
    parts = urlsplit(text.strip())
    found = _PATH.fullmatch(parts.path)
    try:
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if found is None or not host or parts.scheme not in ("http", "https"):
        raise BadInputError(name, "***", _SHAPE)
    if parts.scheme == "http" and not is_loopback(host):
        raise BadInputError(name, "http", "https; plain http only for this machine")
    netloc = (f"[{host}]" if ":" in host else host) + ("" if port is None else f":{port}")
    return Webhook(f"{parts.scheme}://{netloc}", found["user"], found["code"])


def from_connection(text: str) -> Webhook:
    """Return the webhook of an Airflow connection in JSON: what ``airflow connections get -o json`` prints.

    :raises BadInputError: it is no connection with a webhook.
    """
    try:
        given = json.loads(text)
        if isinstance(given, list):
            (given,) = given
        extra = given.get("extra_dejson") or given.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        webhook = _from_fields(given, extra)
    except BadInputError:
        raise
    except (ValueError, AttributeError, TypeError):
        raise BadInputError("--connection", "***", "one Airflow connection as JSON") from None
    verify = extra.get("verify")
    return Webhook(
        webhook.origin, webhook.user, webhook.secret, True if verify is None else verify, extra.get("proxy") or None
    )


def _from_fields(given: Mapping[str, object], extra: Mapping[str, object]) -> Webhook:
    if extra.get("auth", "webhook") != "webhook":
        raise BadInputError("--connection", extra["auth"], "a connection with a webhook")
    host, login, password, port = (_text(given.get(name)) for name in ("host", "login", "password", "port"))
    if "/rest/" in password:
        return from_url(password, "--connection")
    origin = host if "://" in host else f"https://{host}"
    if port and port != "0" and urlsplit(origin).port is None:
        origin = f"{origin.rstrip('/')}:{port}"
    return from_url(f"{origin.rstrip('/')}/rest/{quote(login)}/{quote(password)}/", "--connection")


def _text(value: object) -> str:
    return "" if value in (None, "None") else str(value)
