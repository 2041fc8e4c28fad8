"""From the fields of an Airflow connection to checked settings.

The form of the web UI, JSON, URI and environment variables give the same fields with different types: a
URI's extras are all text, the form leaves ``null`` for what was not filled in. One reading serves all.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import isfinite
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
from airflow_provider_b24cal.bitrix24.auth.oauth import Application, Grant, TokenPair, usual_server
from airflow_provider_b24cal.bitrix24.labels import field_name
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidConnectionError
from airflow_provider_b24cal.bitrix24.protocol.limits import PLANS, Plan, in_flight

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DEFAULT_TIMEOUT: Final = 70.0
"""Seconds to wait for an answer: cloud portals cut a call at 60 seconds, and then say so."""


_OAUTH_NEEDS: Final = ("client_id", "client_secret", "access_token", "refresh_token")
_OAUTH_MAY: Final = ("token_store", "auth_server")

AUTH_SERVER_TIMEOUT: Final = 30.0
"""Seconds to wait for the authorisation server at most: others may be waiting for their turn meanwhile."""

FORM_STAND_IN: Final = "RATHER_LONG_SENSITIVE_FIELD_PLACEHOLDER"
"""What the connection form of Airflow 2 holds in place of a secret of the extra; saved, it leaves the stored one."""

_AUTH: Final = field_name("auth")
_TWIN: Final = "extra__bitrix24__"

_LONGEST_ID: Final = 18
"""Digits of a user id, which has 64 bits at most."""

PROXY_WANTED: Final = schemas.expected("connection", "proxy")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a connection says.

    :param endpoint: the portal and the credential; of OAuth the access token as the connection holds it.
    :param timeout: seconds to wait for a connection, and again for an answer.
    :param verify: whether certificates are checked, or the path of a CA bundle.
    :param proxy: URL of a proxy; may hold a login and is therefore secret.
    :param plan: the portal's limits; ``None`` for a portal without any.
    :param max_in_flight: requests of one hook under way at once, at most.
    :param grant: of OAuth, the application and its tokens.
    """

    endpoint: Endpoint
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxy: Secret | None = None
    plan: Plan | None = PLANS["standard"]
    max_in_flight: int = in_flight(PLANS["standard"])
    grant: Grant | None = None

    def secrets(self) -> tuple[str, ...]:
        """Return every text that must be masked."""
        proxy = () if self.proxy is None else (self.proxy.reveal(),)
        return (*self.endpoint.secrets(), *(self.grant.secrets() if self.grant else ()), *proxy)

    def for_auth_server(self, grant: Grant) -> Settings:
        """Return the settings of the way to the authorisation server.

        Certificates are checked there in the usual way, whatever the portal needs, unless the connection
        names the server.
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

    :param host: the portal; may stay empty when ``password`` is a whole webhook URL.
    :param login: user id of the webhook; likewise. Empty with OAuth.
    :param password: the webhook's code, or the whole webhook URL as the portal shows it. Empty with OAuth.
    :param port: 0 and ``None`` mean none.
    :param extra: ``timeout``, ``verify``, ``proxy``, ``allow_http``, ``plan``, ``requests_per_second``, ``burst``,
        ``max_in_flight``, ``auth``, and with OAuth ``client_id``, ``client_secret``, ``access_token``,
        ``refresh_token``, ``token_store``, ``auth_server``; nulls and empty texts mean absent.
    :raises InvalidConnectionError: a field is missing, unknown or not acceptable; secrets are not repeated.
    """
    known = _read_extra(extra)
    host, login, password = ((text or "").strip() for text in (host, login, password))
    grant: Grant | None = None
    if known.get("auth") == "oauth":
        grant, endpoint = _from_tokens(host, login, password, port, known)
    else:
        endpoint = _from_webhook(host, login, password, port, known)
    origins = [endpoint.origin] if grant is None else [endpoint.origin, grant.application.server_of(grant.pair)]
    _check_proxy(known, origins)
    plan = _plan(known)
    return Settings(
        endpoint,
        timeout=float(known.get("timeout", DEFAULT_TIMEOUT)),
        verify=known.get("verify", True),
        proxy=Secret(known["proxy"]) if "proxy" in known else None,
        plan=plan,
        max_in_flight=int(known.get("max_in_flight", in_flight(plan))),
        grant=grant,
    )


def _from_tokens(
    host: str, login: str, password: str, port: int | None, known: Mapping[str, Any]
) -> tuple[Grant, Endpoint]:
    for name, text in (("login", login), ("password", password)):
        if text:
            raise InvalidConnectionError(
                f"{field_name(name)} is for webhooks, and {_AUTH} is oauth; leave {field_name(name)} empty, or set "
                f"{_AUTH} to webhook."
            )
    missing = [key for key in _OAUTH_NEEDS if key not in known]
    for where in [*(() if host else ("host",)), *missing]:
        raise InvalidConnectionError(
            f"{field_name(where)} is empty, and {_AUTH} is oauth; `python -m airflow_provider_b24cal.oauth` makes a "
            "whole connection."
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
    return (
        Grant(application, pair, known.get("token_store", "variable")),
        Endpoint(origin, AccessToken(pair.access)),
    )


def _from_webhook(host: str, login: str, password: str, port: int | None, known: Mapping[str, Any]) -> Endpoint:
    for key in (*_OAUTH_NEEDS, *_OAUTH_MAY):
        if key in known:
            raise InvalidConnectionError(
                f"{field_name(key)} is for OAuth, and {_AUTH} is webhook; set {_AUTH} to oauth, or leave "
                f"{field_name(key)} empty."
            )
    if not password:
        raise InvalidConnectionError(
            f"{field_name('password')} is empty; put the webhook's whole URL, or its code, into it, or set {_AUTH} to "
            "oauth."
        )
    allow_http = known.get("allow_http", False)
    pasted = parse_webhook_url(password)
    if pasted is not None:
        _check_webhook(pasted[1])
        return _from_pasted_url(pasted, host, login, port, allow_http=allow_http)
    return _from_fields(host, login, password, port, allow_http=allow_http)


def _check_webhook(webhook: Webhook) -> None:
    if not webhook.user_id.isdecimal() and webhook.code.reveal().isdecimal():
        # Logs say as whom a task acts, so that a code must not pass for a user id.
        raise InvalidConnectionError(
            "The user id and the code of the webhook seem to be exchanged; accepted are the two parts of "
            "https://<portal>/rest/<login>/<password>/, where the user id is a number. If Airflow has shown the code "
            "as login, make a new webhook."
        )
    if not f"{webhook.user_id}{webhook.code.reveal()}".isprintable():
        raise InvalidConnectionError(
            f"Invalid {field_name('password')}: expected a code without control characters and halves of characters."
        )
    if webhook.user_id.isdecimal() and len(webhook.user_id) > _LONGEST_ID:
        raise InvalidConnectionError(f"Invalid {field_name('login')}: expected at most {_LONGEST_ID} digits.")


def _check_proxy(known: Mapping[str, Any], origins: Iterable[str]) -> None:
    """Refuse a proxy on another machine that would be given plain http, which it could read."""
    if "proxy" not in known or is_loopback(known["proxy"]) or known.get("allow_http", False):
        return
    for origin in origins:
        if origin.startswith("http://"):
            raise InvalidConnectionError(
                f"Invalid extra key proxy: {origin} is plain http, and the proxy is on another machine, so the secret "
                "would leave this one in clear. Remove proxy, use https, or set allow_http in extra."
            )


def _plan(known: Mapping[str, Any]) -> Plan | None:
    named = PLANS[known.get("plan", "standard")]
    rate, burst = known.get("requests_per_second"), known.get("burst")
    if rate is None and burst is None:
        return named
    usual = named or PLANS["standard"]
    assert usual is not None
    return Plan(float(usual.rate if rate is None else rate), float(usual.burst if burst is None else burst))


def _from_fields(host: str, login: str, password: str, port: int | None, *, allow_http: bool) -> Endpoint:
    for name, text, wanted in (
        ("host", host, "the portal, such as example.bitrix24.com"),
        ("login", login, "the user id of the webhook"),
    ):
        if not text:
            raise InvalidConnectionError(
                f"{field_name(name)} is empty; put {wanted}, into it, or paste the whole webhook URL into "
                f"{field_name('password')}."
            )
    for name, text in (("login", login), ("password", password)):
        if any(character in text for character in "/?#") or not text.isprintable():
            raise InvalidConnectionError(
                f"Invalid {field_name(name)}: it holds a character that no webhook has; expected a part of "
                f"https://<portal>/rest/<login>/<password>/, or the whole URL in {field_name('password')}."
            )
    webhook = Webhook(login, Secret(password))
    _check_webhook(webhook)
    return Endpoint(parse_origin(host, port, allow_http=allow_http), webhook)


def _from_pasted_url(
    pasted: tuple[str, Webhook], host: str, login: str, port: int | None, *, allow_http: bool
) -> Endpoint:
    origin, webhook = parse_origin(pasted[0], None, allow_http=allow_http, field="password"), pasted[1]
    # Port 443 is what people fill in to please the Test button; it says nothing against the URL.
    said = parse_origin(host, port, allow_http=True) if host else origin
    own_port = urlsplit(origin).port
    if said.split("://")[1] != origin.split("://")[1] or (not host and port not in (None, 0, 443, own_port)):
        raise InvalidConnectionError(
            f"{field_name('host')} and {field_name('port')} name {said if host else port}, {field_name('password')} "
            f"names {origin}; leave them empty, or make them agree."
        )
    if login and login != webhook.user_id:
        # A login that is no number may be a code put into the wrong field.
        shown = f" is {login!a}" if login.isdecimal() else " is no user id"
        raise InvalidConnectionError(
            f"{field_name('login')}{shown[:40]}, but {field_name('password')} is of user {webhook.user_id!a}; "
            f"leave {field_name('login')} empty, or make them agree."
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
            hint = f"; did you mean {near[0]}?" if near else "."
            raise InvalidConnectionError(
                f"extra holds the unknown key {key!a}{hint} Known are: {', '.join(sorted(accepted))}."
            )
        if value == FORM_STAND_IN:
            raise InvalidConnectionError(
                f"{field_name(key)} holds what Airflow's form shows in place of a stored secret; type the secret again,"
                " or test the stored connection with `airflow connections test`."
            )
    # What is a text by its definition is one also when it spells a number.
    typed = {key: value if accepted[key].get("type") == "string" else _typed(value) for key, value in given.items()}
    for key, value in typed.items():
        if (
            schemas.mismatch(value, "connection", key) is not None
            or (key == "timeout" and not isfinite(value))
            or (key == "proxy" and not is_proxy_url(value))
        ):
            shown = "" if accepted[key].get("writeOnly") else f" {ascii(value)[:80]}"
            raise InvalidConnectionError(
                f"Invalid {field_name(key)}{shown}: expected {schemas.expected('connection', key)}."
            )
    return typed


def is_proxy_url(text: str) -> bool:
    """Tell whether a text is the URL of an http or https proxy."""
    try:
        parts = urlsplit(text)
        return (
            parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0 and parts.path in {"", "/"}
        )
    except ValueError:  # brackets or port beyond reason
        return False


def _typed(value: Any) -> Any:
    """Give a text that spells a JSON boolean or number its type, as in a URI's ``?verify=false``."""
    if not isinstance(value, str):
        return value
    try:
        spelled = json.loads(value.lower())
    except ValueError:
        return value
    return spelled if isinstance(spelled, bool | int | float) else value
