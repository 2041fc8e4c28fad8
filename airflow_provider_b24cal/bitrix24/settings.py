"""From the fields of an Airflow connection to checked settings.

The form of the web UI, JSON, URI and environment variables give the same fields with different types: a
URI's extras are all text, the form stores ``null`` for empty fields.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import ceil, isfinite
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from airflow_provider_b24cal.bitrix24 import schemas
from airflow_provider_b24cal.bitrix24.auth.credentials import (
    AccessToken,
    Endpoint,
    Secret,
    Webhook,
    is_loopback,
    parse_origin,
    parse_webhook_url,
)
from airflow_provider_b24cal.bitrix24.auth.tokens import Application, Grant, TokenPair, usual_server
from airflow_provider_b24cal.bitrix24.protocol.limits import PLANS, Plan
from airflow_provider_b24cal.bitrix24.validation import field_name, invalid_field

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_TIMEOUT: Final = 70.0
"""Seconds to wait for a reply: cloud portals abort a call after 60 seconds and say so in their reply."""

AUTH_SERVER_TIMEOUT: Final = 30.0
"""Maximum seconds to wait for the authorisation server: other tasks may be waiting for the lock meanwhile."""

FORM_STAND_IN: Final = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"
"""The connection form of Airflow 2 shows this in place of a secret of the extra; saved, it keeps the stored one."""

PROXY_WANTED: Final = schemas.expected("connection", "proxy")

_OAUTH_REQUIRED: Final = ("client_id", "client_secret", "access_token", "refresh_token")
_OAUTH_OPTIONAL: Final = ("token_store", "auth_server")
_AUTH: Final = field_name("auth")
_TWIN: Final = "extra__bitrix24__"
_URL: Final = "https://<portal>/rest/<login>/<password>/"
_MAX_ID_DIGITS: Final = 18
"""A user id has 64 bits at most."""


_FULL_REQUEST: Final = 0.9
"""Seconds that a portal takes for a request of fifty calls, rounded up."""
_IN_FLIGHT_WITHOUT_LIMITS: Final = 4
MOST_IN_FLIGHT: Final = 32
"""The most that a connection can set."""


def in_flight(plan: Plan | None) -> int:
    """Return how many requests to keep in flight on a plan.

    Enough for twice the plan's rate: a burst is then used up in the time in which it refills. More requests would only
    wait for the rate limit.
    """
    if plan is None:
        return _IN_FLIGHT_WITHOUT_LIMITS
    return min(MOST_IN_FLIGHT, max(1, ceil(2.0 * plan.rate * _FULL_REQUEST)))


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a connection.

    :param endpoint: the portal and the credential; with OAuth the access token as the connection holds it.
    :param timeout: seconds to wait for a connection, and again for a reply.
    :param verify: whether certificates are checked, or the path of a CA bundle.
    :param proxy: URL of a proxy; may hold a login and is therefore secret.
    :param plan: the portal's limits; ``None`` for a portal without any.
    :param max_in_flight: maximum number of concurrent requests of one hook.
    :param grant: with OAuth, the application and its tokens.
    :param rate_limit_conn_id: the Airflow connection of a Redis server through which a cluster shares the limits.
    :param rate_limit_group: which of the clusters there share a rate limit.
    """

    endpoint: Endpoint
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxy: Secret | None = None
    plan: Plan | None = PLANS["standard"]
    max_in_flight: int = in_flight(PLANS["standard"])
    grant: Grant | None = None
    rate_limit_conn_id: str | None = None
    rate_limit_group: str = "default"

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        proxy = () if self.proxy is None else (self.proxy.reveal(),)
        return (*self.endpoint.secrets(), *(self.grant.secrets() if self.grant else ()), *proxy)

    def for_auth_server(self, grant: Grant) -> Settings:
        """Return the settings for requests to the authorisation server.

        Its certificate is always checked, whatever ``verify`` says for the portal, unless the connection names the
        server.
        """
        application = grant.application
        return replace(
            self,
            endpoint=Endpoint(application.server_of(grant.pair), AccessToken(Secret(""))),
            timeout=min(self.timeout, AUTH_SERVER_TIMEOUT),
            verify=self.verify if application.auth_server else True,
            max_in_flight=1,
        )


def read_settings(
    *,
    host: str | None,
    login: str | None,
    password: str | None,
    port: int | None,
    extra: Mapping[str, Any],
) -> Settings:
    """Check a connection's fields and return its settings.

    :param host: the portal; may be empty when ``password`` is a whole webhook URL.
    :param login: user id of the webhook; likewise. Empty with OAuth.
    :param password: the webhook's code, or the whole webhook URL as the portal shows it. Empty with OAuth.
    :param port: 0 and ``None`` mean none.
    :param extra: ``timeout``, ``verify``, ``proxy``, ``allow_http``, ``plan``, ``requests_per_second``, ``burst``,
        ``max_in_flight``, ``rate_limit_conn_id``, ``rate_limit_group``, ``auth``, and with OAuth ``client_id``,
        ``client_secret``, ``access_token``, ``refresh_token``, ``token_store``, ``auth_server``; nulls and empty texts
        mean absent.
    :raises InvalidConnectionError: a field is missing, unknown or invalid; secrets are not repeated.
    """
    known = _read_extra(extra)
    host, login, password = ((text or "").strip() for text in (host, login, password))
    grant: Grant | None = None
    if known.get("auth") == "oauth":
        grant, endpoint = _from_tokens(host, login, password, port, known)
    else:
        endpoint = _from_webhook(host, login, password, port, known)
    if "proxy" in known:
        _check_proxy(known, endpoint, grant)
    plan = _plan(known)
    return Settings(
        endpoint,
        timeout=float(known.get("timeout", DEFAULT_TIMEOUT)),
        verify=known.get("verify", True),
        proxy=Secret(known["proxy"]) if "proxy" in known else None,
        plan=plan,
        max_in_flight=int(known["max_in_flight"]) if "max_in_flight" in known else in_flight(plan),
        grant=grant,
        rate_limit_conn_id=known.get("rate_limit_conn_id"),
        rate_limit_group=known.get("rate_limit_group", "default"),
    )


def _from_tokens(
    host: str, login: str, password: str, port: int | None, known: Mapping[str, Any]
) -> tuple[Grant, Endpoint]:
    for field, text in (("login", login), ("password", password)):
        if text:
            raise invalid_field(
                field, f"nothing, since {_AUTH} is oauth", f"Leave it empty, or set {_AUTH} to webhook."
            )
    for field in ("host", *_OAUTH_REQUIRED):
        if not (host if field == "host" else known.get(field)):
            raise invalid_field(
                field,
                f"a value, since {_AUTH} is oauth",
                "`python -m airflow_provider_b24cal.oauth` makes a whole connection.",
            )
    allow_http = known.get("allow_http", False)
    origin = parse_origin(host, port, allow_http=allow_http)
    server = known.get("auth_server")
    application = Application(
        known["client_id"],
        Secret(known["client_secret"]),
        parse_origin(server, None, allow_http=allow_http, field="auth_server") if server else None,
        usual_server(origin),
    )
    pair = TokenPair(Secret(known["access_token"]), Secret(known["refresh_token"]))
    return Grant(application, pair, known.get("token_store", "variable")), Endpoint(origin, AccessToken(pair.access))


def _from_webhook(host: str, login: str, password: str, port: int | None, known: Mapping[str, Any]) -> Endpoint:
    for key in (*_OAUTH_REQUIRED, *_OAUTH_OPTIONAL):
        if key in known:
            raise invalid_field(key, f"nothing, since {_AUTH} is webhook", f"Leave it empty, or set {_AUTH} to oauth.")
    if not password:
        raise invalid_field("password", "the webhook's whole URL, or its code", f"With OAuth, set {_AUTH} to oauth.")
    allow_http = known.get("allow_http", False)
    if "://" not in password:
        return _from_fields(host, login, password, port, allow_http=allow_http)
    pasted = parse_webhook_url(password)
    _check_webhook(pasted[1])
    return _from_pasted_url(pasted, host, login, port, allow_http=allow_http)


def _check_webhook(webhook: Webhook) -> None:
    code = webhook.code.reveal()
    if not webhook.user_id.isdecimal() and code.isdecimal():
        # Logs show the acting user's id, so a code must not pass for one.
        raise invalid_field(
            "login",
            f"the number in {_URL}, and the code in {field_name('password')}",
            "They seem to be exchanged. If Airflow has shown the code as login, make a new webhook.",
        )
    if not f"{webhook.user_id}{code}".isprintable():
        raise invalid_field("password", "a code without control characters and lone surrogates")
    if webhook.user_id.isdecimal() and len(webhook.user_id) > _MAX_ID_DIGITS:
        raise invalid_field("login", f"at most {_MAX_ID_DIGITS} digits")


def _check_proxy(known: Mapping[str, Any], endpoint: Endpoint, grant: Grant | None) -> None:
    """Check that no proxy on another machine is sent plain http, which it could read."""
    if is_loopback(known["proxy"]) or known.get("allow_http", False):
        return
    for origin in (endpoint.origin, grant.application.server_of(grant.pair) if grant else ""):
        if origin.startswith("http://"):
            raise invalid_field(
                "proxy",
                f"a proxy on this machine, since {origin} is plain http and would be sent the secret in clear",
                f"Remove the proxy, use https, or set {field_name('allow_http')} to true.",
            )


def _plan(known: Mapping[str, Any]) -> Plan | None:
    named = PLANS[known.get("plan", "standard")]
    if "requests_per_second" not in known and "burst" not in known:
        return named
    usual = named or PLANS["standard"]
    assert usual is not None
    return Plan(float(known.get("requests_per_second", usual.rate)), float(known.get("burst", usual.burst)))


def _from_fields(host: str, login: str, password: str, port: int | None, *, allow_http: bool) -> Endpoint:
    for field, text, expected in (
        ("host", host, "the portal, such as example.bitrix24.com"),
        ("login", login, "the user id of the webhook"),
    ):
        if not text:
            raise invalid_field(field, expected, f"Or paste the whole webhook URL into {field_name('password')}.")
    for field, text in (("login", login), ("password", password)):
        if any(character in text for character in "/?#") or not text.isprintable():
            raise invalid_field(field, f"a part of {_URL}, without other characters", "Or paste the whole webhook URL.")
    webhook = Webhook(login, Secret(password))
    _check_webhook(webhook)
    return Endpoint(parse_origin(host, port, allow_http=allow_http), webhook)


def _from_pasted_url(
    pasted: tuple[str, Webhook], host: str, login: str, port: int | None, *, allow_http: bool
) -> Endpoint:
    origin, webhook = parse_origin(pasted[0], None, allow_http=allow_http, field="password"), pasted[1]
    # Port 443 is what people enter for the Test button; it does not contradict the URL.
    named = parse_origin(host, port, allow_http=True) if host else origin
    if named.split("://")[1] != origin.split("://")[1] or (
        not host and port not in (None, 0, 443, urlsplit(origin).port)
    ):
        raise invalid_field(
            "host" if host else "port",
            f"nothing, or the same as in {field_name('password')}, which is the URL of {origin}",
            value=named if host else port,
        )
    if login and login != webhook.user_id:
        # A login that is no number may be a code entered into the wrong field.
        raise invalid_field(
            "login",
            f"nothing, or user {webhook.user_id!a} as in {field_name('password')}",
            value=login if login.isdecimal() else None,
        )
    return Endpoint(origin, webhook)


def _read_extra(extra: Mapping[str, Any]) -> dict[str, Any]:
    accepted = schemas.document("connection")["$defs"]
    given = {
        key: value
        for key, value in extra.items()
        if value is not None
        and value != ""
        # The Test button of Airflow 2 sends each field of its form a second time, under its old name.
        and not (key.startswith(_TWIN) and key.removeprefix(_TWIN) in extra)
    }
    for key, value in given.items():
        if key not in accepted:
            near = get_close_matches(key, accepted, n=1)
            advice = f"Did you mean {near[0]}? " if near else ""
            raise invalid_field("extra", f"no key {key!a}", f"{advice}Known keys: {', '.join(sorted(accepted))}.")
        if value == FORM_STAND_IN:
            raise invalid_field(
                key,
                "a secret, not what Airflow's form shows in place of a stored one",
                "Enter the secret again, or test the stored connection with `airflow connections test`.",
            )
    # A field that is text by its definition stays text when it spells a number.
    typed = {key: value if accepted[key].get("type") == "string" else _typed(value) for key, value in given.items()}
    for key, value in typed.items():
        if (
            schemas.mismatch(value, "connection", key) is not None
            or (key == "timeout" and not isfinite(value))
            or (key == "proxy" and not is_proxy_url(value))
        ):
            shown = None if accepted[key].get("writeOnly") else value
            raise invalid_field(key, schemas.expected("connection", key), value=shown)
    return typed


def is_proxy_url(text: str) -> bool:
    """Return whether a text is the URL of an http or https proxy."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and parts.path in {"", "/"}
        )
    except ValueError:  # invalid brackets or port
        return False


def _typed(value: Any) -> Any:
    """Return a text that spells a JSON boolean or number as that, such as a URI's ``?verify=false``."""
    if not isinstance(value, str):
        return value
    try:
        spelled = json.loads(value.lower())
    except ValueError:
        return value
    return spelled if isinstance(spelled, bool | int | float) else value
