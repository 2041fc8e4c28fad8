"""From connection fields to settings: every form gives the same, everything doubtful is refused by name."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest
from airflow.models.connection import Connection

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidConnectionError
from airflow_provider_b24cal.bitrix24.protocol.limits import Plan
from airflow_provider_b24cal.bitrix24.settings import FORM_STAND_IN, Settings, read_settings
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.portal_data import CANARY

ORIGIN = "https://example.bitrix24.com"


def _read(**fields: Any) -> Settings:
    given = {"host": "example.bitrix24.com", "login": "1", "password": CANARY, "port": None, "extra": {}}
    return read_settings(**{**given, **fields})


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"host": "https://example.bitrix24.com"},
        {"host": "https://example.bitrix24.com/"},
        {"host": " EXAMPLE.bitrix24.com "},
        {"port": 0},
        {"port": 443},
        {"host": "https://example.bitrix24.com:443"},
        {"host": None, "login": None, "password": f"https://example.bitrix24.com/rest/1/{CANARY}/"},
        {"host": "", "login": "", "password": f"  https://example.bitrix24.com/rest/1/{CANARY}\n"},
        {"host": "", "login": "1", "password": f"https://example.bitrix24.com/rest/1/{CANARY}/profile.json"},
        {"port": 443, "password": f"https://example.bitrix24.com/rest/1/{CANARY}/"},
        {"extra": {"timeout": None, "verify": "", "proxy": None, "allow_http": None}},
    ],
)
def test_one_portal_in_many_spellings(fields: dict[str, Any]) -> None:
    assert _read(**fields) == Settings(Endpoint(ORIGIN, Webhook("1", Secret(CANARY))))


FORMS = {
    "json": json.dumps({
        "conn_type": "bitrix24", "host": "example.bitrix24.com", "login": "1", "password": CANARY,
        "extra": {"timeout": 30, "verify": False, "allow_http": False, "proxy": "http://user:pw@proxy:3128"},
    }),
    "json, nulls of the form": json.dumps({
        "conn_type": "bitrix24", "host": "example.bitrix24.com", "login": "1", "password": CANARY, "port": 0,
        "schema": "", "description": None,
        "extra": json.dumps({"timeout": 30, "verify": "false", "allow_http": False, "proxy": "http://user:pw@proxy:3128"}),
    }),
    "json, twice by the form of Airflow 2": json.dumps({
        "conn_type": "bitrix24", "password": f"https://example.bitrix24.com/rest/1/{CANARY}/",
        "extra": json.dumps({
            prefix + name: value for name, value in
            {"timeout": "30", "verify": "false", "allow_http": "false", "proxy": "http://user:pw@proxy:3128"}.items()
            for prefix in ("extra__bitrix24__", "")
        }),
    }),
    "uri": f"bitrix24://1:{CANARY}@example.bitrix24.com/?timeout=30&verify=false&allow_http=false"
           "&proxy=http%3A%2F%2Fuser%3Apw%40proxy%3A3128",
    "uri with scheme": f"bitrix24://https://1:{CANARY}@example.bitrix24.com/?timeout=30.0&verify=False"
                       "&proxy=http%3A%2F%2Fuser%3Apw%40proxy%3A3128",
    "uri, pasted url": f"bitrix24://:https%3A%2F%2Fexample.bitrix24.com%2Frest%2F1%2F{CANARY}%2F@/?timeout=30&verify=false"
                       "&proxy=http%3A%2F%2Fuser%3Apw%40proxy%3A3128",
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_connection_gives_the_same(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANY", FORMS[form])
    assert Bitrix24CalendarHook("any")._client.settings() == Settings(
        Endpoint(ORIGIN, Webhook("1", Secret(CANARY))),
        timeout=30.0,
        verify=False,
        proxy=Secret("http://user:pw@proxy:3128"),
    )


def test_the_sandbox_prints_forms_that_are_equal(server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_J", server.connection_json(1))
    monkeypatch.setenv("AIRFLOW_CONN_U", server.connection_uri(1))
    extra = {"plan": "self_hosted"}
    webhook = json.dumps({"conn_type": "bitrix24", "password": server.webhook_url(1), "extra": extra})
    monkeypatch.setenv("AIRFLOW_CONN_W", webhook)
    wanted = Settings(Endpoint(server.url, Webhook("1", Secret(CANARY))), plan=None)
    assert [Bitrix24CalendarHook(name)._client.settings() for name in "juw"] == [wanted] * 3


@pytest.mark.parametrize(
    ("fields", "origin"),
    [
        ({"host": "http://127.0.0.1", "port": 8080}, "http://127.0.0.1:8080"),
        ({"host": "http://localhost:8080"}, "http://localhost:8080"),
        ({"host": "http://[::1]:8080"}, "http://[::1]:8080"),
        ({"host": "http://portal.local", "extra": {"allow_http": True}}, "http://portal.local"),
        ({"host": "portal.local", "port": 8443}, "https://portal.local:8443"),
        ({"host": "портал.рф"}, "https://xn--80aswg1ac.xn--p1ai"),
    ],
)
def test_other_portals(fields: dict[str, Any], origin: str) -> None:
    if "портал" in fields["host"]:
        origin = "https://" + fields["host"].encode("idna").decode()
    assert _read(**fields).endpoint.origin == origin


@pytest.mark.parametrize(
    ("extra", "plan", "at_once"),
    [
        ({}, Plan(2, 50), 4),
        ({"plan": "standard"}, Plan(2, 50), 4),
        ({"plan": "enterprise"}, Plan(5, 250), 9),
        ({"plan": "enterprise", "max_in_flight": 2}, Plan(5, 250), 2),
        ({"plan": "self_hosted"}, None, 4),
        ({"plan": "self_hosted", "requests_per_second": "10"}, Plan(10, 50), 18),
        ({"plan": "enterprise", "burst": 100}, Plan(5, 100), 9),
        ({"requests_per_second": 0.5, "burst": 5}, Plan(0.5, 5), 1),
        ({"requests_per_second": 1000}, Plan(1000, 50), 32),
    ],
)
def test_plans(extra: dict[str, Any], plan: Plan | None, at_once: int) -> None:
    settings = _read(extra=extra)
    assert (settings.plan, settings.max_in_flight) == (plan, at_once)


def oauth(**changes: Any) -> dict[str, Any]:
    extra = {
        "auth": "oauth",
        "client_id": "local.1",
        "client_secret": f"{CANARY}-key",
        "access_token": f"{CANARY}-access",
        "refresh_token": f"{CANARY}-refresh",
    }
    return {"login": None, "password": None, "extra": {**extra, **changes}}


OAUTH = oauth()


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"password": None}, "Webhook URL (password): expected the webhook's whole URL, or its code"),
    ({"password": "  "}, "Webhook URL (password): expected the webhook's whole URL, or its code"),
    ({"host": None}, "Portal (host): expected the portal, such as"),
    ({"login": None}, "Webhook user id (login): expected the user id"),
    ({"host": f"https://example.bitrix24.com/rest/1/{CANARY}/"}, "Portal (host): expected a host. A webhook URL"),
    (
        {"host": "http://example.bitrix24.com"},
        "Portal (host) 'http://example.bitrix24.com': expected https. With plain",
    ),
    (
        {"password": f"http://example.bitrix24.com/rest/1/{CANARY}/", "host": ""},
        "Webhook URL (password) 'http://example.bitrix24.com': expected https. With plain",
    ),
    ({"host": "ftp://example.bitrix24.com"}, "Portal (host) 'ftp://example.bitrix24.com': expected a host"),
    (
        {"host": "https://u:pw@example.bitrix24.com"},
        "Portal (host) 'https://u:pw@example.bitrix24.com': expected a host",
    ),
    ({"host": "example.bitrix24.com/crm"}, "Portal (host) 'example.bitrix24.com/crm': expected a host"),
    ({"host": "exa mple.com"}, "Portal (host) 'exa mple.com': expected a host"),
    ({"host": "https://[::1"}, "Portal (host) 'https://[::1': expected a host"),
    ({"host": "https://x.com:99999"}, "Portal (host) 'https://x.com:99999': expected a host"),
    (
        {"host": "https://x.com:1", "port": 2},
        "Portal (host) 'https://x.com:1': expected the same port as in Port (port), 2",
    ),
    ({"password": f"https://example.bitrix24.com/{CANARY}"}, "This is another URL"),
    ({"password": f"https://example.bitrix24.com/rest/{CANARY}"}, "This is another URL"),
    ({"password": f"https://[1/rest/1/{CANARY}/"}, "This is another URL"),
    ({"password": f"{CANARY}/profile"}, "Webhook URL (password): expected a part of https://<portal>"),
    ({"login": "1/2"}, "Webhook user id (login): expected a part of https://<portal>"),
    (
        {"password": f"https://other.bitrix24.com/rest/1/{CANARY}/"},
        "Portal (host) 'https://example.bitrix24.com': expected nothing, or the same as in Webhook URL (password)",
    ),
    (
        {"login": "2", "password": f"https://example.bitrix24.com/rest/1/{CANARY}/"},
        "Webhook user id (login) '2': expected nothing, or user '1' as in Webhook URL (password)",
    ),
    ({"login": CANARY, "password": "1"}, "They seem to be exchanged"),
    (
        {"login": CANARY, "password": f"https://example.bitrix24.com/rest/1/{CANARY}/"},
        "Webhook user id (login): expected nothing, or user '1'",
    ),
    ({"login": "1" * 19}, "Webhook user id (login): expected at most 18 digits"),
    (
        {"login": "", "password": f"https://example.bitrix24.com/rest/{'1' * 5000}/{CANARY}/"},
        "Webhook user id (login): expected at most 18 digits",
    ),
    ({"login": "", "password": f"https://example.bitrix24.com/rest/api/1/{CANARY}"}, "The newer kind"),
    ({"login": "", "password": f"https://example.bitrix24.com/rest/api/1/{CANARY}/"}, "The newer kind"),
    ({"extra": {"time_out": 3}}, "extra: expected no key 'time_out'. Did you mean timeout? Known keys: access_token,"),
    ({"extra": {"zzz": 3}}, "no key 'zzz'. Known keys: access_token, allow_http, auth, auth_server, burst,"),
    ({"extra": {"extra__bitrix24__timeout": 3}}, "no key 'extra__bitrix24__timeout'"),
    ({"extra": {"extra__other__timeout": 3, "timeout": 3}}, "no key 'extra__other__timeout'"),
    ({"extra": {"proxy": FORM_STAND_IN}}, "Proxy (extra key proxy): expected a secret, not what Airflow's form shows"),
    ({"extra": {"timeout": 0}}, "Timeout (extra key timeout) 0: expected a number of seconds"),
    ({"extra": {"timeout": "soon"}}, "Timeout (extra key timeout) 'soon': expected"),
    ({"extra": {"timeout": True}}, "Timeout (extra key timeout) True: expected"),
    ({"extra": {"plan": "free"}}, "Plan (extra key plan) 'free': expected standard (2 requests"),
    ({"extra": {"burst": 0}}, "Requests at once (extra key burst) 0: expected"),
    ({"extra": {"requests_per_second": "0"}}, "Requests per second (extra key requests_per_second) 0: expected"),
    ({"extra": {"max_in_flight": 2.5}}, "Requests in flight (extra key max_in_flight) 2.5: expected"),
    ({"extra": {"verify": 1}}, "Verify TLS (extra key verify) 1: expected"),
    ({"extra": {"allow_http": "yes"}}, "Allow plain http (extra key allow_http) 'yes': expected"),
    ({"extra": {"proxy": f"socks://u:{CANARY}@p"}}, "Proxy (extra key proxy): expected"),
    ({"extra": {"proxy": "http://[::1"}}, "Proxy (extra key proxy): expected"),
    ({"extra": {"proxy": "http://proxy:99999999"}}, "Proxy (extra key proxy): expected"),
    ({"extra": {"timeout": float("nan")}}, "Timeout (extra key timeout) nan: expected"),
    ({"extra": {"auth": "basic"}}, "Authentication (extra key auth) 'basic': expected webhook or oauth"),
    (
        {"extra": {"client_id": "local.1"}},
        "application id (extra key client_id): expected nothing, since Authentication (extra key auth) is webhook",
    ),
    ({"extra": {"auth": "webhook", "token_store": "variable"}}, "(extra key token_store): expected nothing, since"),
    (
        {**OAUTH, "password": CANARY},
        "Webhook URL (password): expected nothing, since Authentication (extra key auth) is oauth",
    ),
    ({**OAUTH, "login": "1"}, "Webhook user id (login): expected nothing, since Auth"),
    ({**OAUTH, "host": ""}, "Portal (host): expected a value, since Authentication (extra key auth) is oauth"),
    (oauth(refresh_token=None), "OAuth: refresh token (extra key refresh_token): expected a value, since Auth"),
    (oauth(client_secret=""), "OAuth: application key (extra key client_secret): expected a value, since Auth"),
    (oauth(access_token=f"{CANARY} x"), "OAuth: access token (extra key access_token): expected an access token"),
    (oauth(refresh_token=[CANARY]), "OAuth: refresh token (extra key refresh_token): expected"),
    (oauth(token_store="file:tokens"), "OAuth: token store (extra key token_store) 'file:tokens': expected variable"),
    (oauth(token_store="store"), "OAuth: token store (extra key token_store) 'store': expected"),
    (oauth(auth_server="http://oauth.example"), "(extra key auth_server) 'http://oauth.example': expected https"),
    (oauth(auth_server="https://u:p@x"), "OAuth: authorisation server (extra key auth_server)"),
    ({"port": 99_999}, "Port (port) 99999: expected 1 to 65535"),
    ({"port": -1}, "Port (port) -1: expected 1 to 65535"),
    (
        {"port": 8443, "host": "", "password": f"https://example.bitrix24.com/rest/1/{CANARY}/"},
        "Port (port) 8443: expected nothing, or the same as in Webhook URL (password)",
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_is_refused_is_named_without_the_secret(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConnectionError) as caught:
        _read(**fields)
    assert str(caught.value).startswith("Invalid connection field ")
    assert message in str(caught.value)
    assert CANARY not in repr(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("extra", ["[1]", "{", '"text"'])
def test_extra_that_is_no_object(extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Bitrix24CalendarHook,
        "get_connection",
        lambda *_: type("Stored", (), {"extra": extra, "host": "h", "login": "1", "password": CANARY, "port": None}),
    )
    with pytest.raises(InvalidConnectionError, match="extra: expected a JSON object"):
        Bitrix24CalendarHook()._client.settings()


def test_secrets_show_themselves_nowhere() -> None:
    settings = _read(extra={"proxy": f"http://u:{CANARY}@proxy:1"})
    request = settings.endpoint.request("profile", {"a": 1})
    endpoint = settings.endpoint
    for thing in (settings, endpoint, endpoint.credential, endpoint.scrub, request, Secret(CANARY)):
        assert CANARY not in f"{thing}{thing!r}{thing!s}"
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    assert request.url.reveal() == f"{ORIGIN}/rest/1/{CANARY}/profile"
    assert json.loads(request.body) == {"a": 1}


def test_secrets_of_oauth_show_themselves_nowhere() -> None:
    settings = _read(**oauth(token_store="file:/x"))
    grant = settings.grant
    assert grant is not None
    rest, token = settings.endpoint.request("batch", {"a": 1}), grant.application.refresh(grant.pair)
    code = grant.application.exchange(CANARY)
    for thing in (settings, settings.endpoint, settings.endpoint.credential, grant, grant.application, grant.pair,
                  rest, token, code):  # fmt: skip
        assert CANARY not in f"{thing}{thing!r}{thing!s}"
        with pytest.raises(TypeError, match="not pickled"):
            pickle.dumps(thing)
    assert rest.url.reveal() == f"{ORIGIN}/rest/batch"
    assert json.loads(rest.body) == {"a": 1, "auth": f"{CANARY}-access"}
    assert token.url.reveal() == code.url.reveal() == "https://oauth.bitrix.info/oauth/token/"
    assert CANARY.encode() in token.body
    assert CANARY not in grant.key
    for end in ("key", "access", "refresh"):
        assert f"{CANARY}-{end}" in settings.secrets()
        assert settings.endpoint.scrub(f"x {CANARY}-access y") == "x *** y"


def test_a_number_is_a_text_where_a_text_is_meant() -> None:
    grant = _read(**oauth(client_secret="12345678", access_token="1e9", refresh_token="true")).grant
    assert grant is not None
    assert [secret.reveal() for secret in (grant.application.client_secret, grant.pair.access, grant.pair.refresh)] == [
        "12345678", "1e9", "true",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("host", "named", "server"),
    [
        ("example.bitrix24.com", None, "https://oauth.bitrix.info"),
        ("example.bitrix24.com.br", None, "https://oauth.bitrix.info"),
        ("example.bitrix24.ru", None, "https://oauth.bitrix24.tech"),
        ("example.bitrix24.kz", None, "https://oauth.bitrix24.tech"),
        ("portal.ru", None, "https://oauth.bitrix.info"),
        ("portal.ru", "oauth.bitrix24.tech", "https://oauth.bitrix24.tech"),
        ("portal.ru", "http://127.0.0.1:81", "http://127.0.0.1:81"),
    ],
)
def test_which_auth_server(host: str, named: str | None, server: str) -> None:
    grant = _read(host=host, **oauth(auth_server=named)).grant
    assert grant is not None
    assert grant.application.server_of(grant.pair) == server


def test_a_key_belongs_to_the_pair_of_the_connection() -> None:
    keys = [
        _read(**fields).grant.key  # type: ignore[union-attr]
        for fields in (
            OAUTH,
            {**OAUTH, "host": "renamed.bitrix24.com"},
            oauth(client_secret="new"),
            oauth(access_token="new"),
            oauth(refresh_token="new"),
            oauth(client_id="local.2"),
        )
    ]
    assert keys[0] == keys[1] == keys[2] == keys[3]
    assert len(set(keys)) == 3
    assert all(key.startswith("b24cal_refresh_token__") for key in keys)


RENAMED = [
    ("https://old.bitrix24.com", "https://new.bitrix24.com", "https://new.bitrix24.com"),
    ("https://old.bitrix24.com", "https://new.bitrix24.com:443", "https://new.bitrix24.com"),
    ("https://old.bitrix24.com", "https://NEW.bitrix24.com", "https://new.bitrix24.com"),
    ("https://old.bitrix24.com.br", "https://new.bitrix24.com.br", "https://new.bitrix24.com.br"),
    ("http://old.bitrix24.com:81", "http://new.bitrix24.com:81", "http://new.bitrix24.com:81"),
    ("http://old.bitrix24.com", "https://old.bitrix24.com", "https://old.bitrix24.com"),
    ("https://old.bitrix24.com", "https://old.bitrix24.com", None),
    ("https://old.bitrix24.com", "https://new.bitrix24.de", None),
    ("https://old.bitrix24.com", "https://new.bitrix24.com.br", None),
    ("https://old.bitrix24.com", "http://new.bitrix24.com", None),
    ("https://old.bitrix24.com", "https://new.bitrix24.com:8443", None),
    ("https://old.bitrix24.com", "https://new.bitrix24.com.evil.example", None),
    ("https://old.bitrix24.com", "https://new.bitrix24.com@evil.example", None),
    ("https://old.bitrix24.com", "https://evil.example", None),
    ("https://old.bitrix24.com", "https://evil.example/.bitrix24.com", None),
    ("https://old.bitrix24.com", "https://a.b.bitrix24.com", None),
    ("https://old.bitrix24.com", "https://bitrix24.com", None),
    ("https://old.bitrix24.com", "ftp://new.bitrix24.com", None),
    ("https://old.bitrix24.com", "https://[1", None),
    ("https://old.bitrix24.com", "https://x:99999999", None),
    ("https://old.bitrix24.com", None, None),
    ("https://portal.example", "https://new.portal.example", None),
    ("https://portal.example", "https://new.bitrix24.com", None),
]


@pytest.mark.parametrize(("here", "there", "wanted"), RENAMED)
def test_where_a_secret_may_go(here: str, there: str | None, wanted: str | None) -> None:
    endpoint = Endpoint(here, Webhook("1", Secret(CANARY)))
    assert endpoint.renamed(there) == (None if wanted is None else Endpoint(wanted, endpoint.credential))


def test_scrubbing_finds_every_form() -> None:
    endpoint = Endpoint(ORIGIN, Webhook("1", Secret('p@ss"w\u00f6rd')))
    for form in ('p@ss"w\u00f6rd', "p%40ss%22w%C3%B6rd", 'p@ss"w\\xf6rd', 'p@ss\\"w\\u00f6rd'):
        assert endpoint.scrub(f"before {form} after") == "before *** after"
    for text, hidden in (
        ("https://x/rest/1/another/profile", "https://x/rest/***/***/profile"),
        ("https:\\/\\/x\\/rest\\/1\\/another\\/profile", "https:\\/\\/x\\/rest\\/***\\/***\\/profile"),
        ("back_url=%2Frest%2F1%2Fanother%2F&x", "back_url=%2Frest%2F***%2F***%2F&x"),
        ("b'/rest/1/another'", "b'/rest/***/***'"),
        ("https://x/rest/api/1/another/profile", "https://x/rest/***/***/profile"),
        ("back_url=%2Frest%2Fapi%2F1%2Fanother%2F&x", "back_url=%2Frest%2F***%2F***%2F&x"),
        ("https://x/rest/api/another", "https://x/rest/***/***"),
        ("a rest / of text", "a rest / of text"),
    ):
        assert endpoint.scrub(text) == hidden
    assert 'p@ss"w\u00f6rd' in endpoint.secrets()
    assert "p%40ss%22w%C3%B6rd" in endpoint.secrets()
    assert f"{ORIGIN}/rest/1/p%40ss%22w%C3%B6rd/" in endpoint.secrets()


def test_airflow_itself_parses_the_uri(server: Any) -> None:
    parsed = Connection(uri=server.connection_uri(1))
    assert (parsed.conn_type, parsed.login, parsed.password, parsed.port) == ("bitrix24", "1", CANARY, server.port)
