"""Tokens of the sandbox, seen over the wire; the portal's clock is the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from bitrix24_sandbox.server import SandboxServer
from bitrix24_sandbox.settings import Settings

from sandbox.tests.sync import TIMEOUT

GET = "calendar.meeting.status.get"
DAY = 24 * 3600
SCOPES = "calendar,user,im,sonet_group,department"


@pytest.fixture
def server(fresh: Any, clock: Any) -> Iterator[SandboxServer]:
    with SandboxServer(fresh(Settings(), clock), sleep=clock.sleep) as server:
        yield server


def _call(server: SandboxServer, token: str, method: str = "profile", **parameters: Any) -> Any:
    reply = requests.post(f"{server.url}/rest/{method}", json={**parameters, "auth": token}, timeout=TIMEOUT)
    return reply.json().get("error") or reply.json()["result"]


def _ask(server: SandboxServer, verb: str = "POST", **parameters: Any) -> requests.Response:
    application = server.portal.auth_server
    given = {"client_id": application.client_id, "client_secret": application.client_secret, **parameters}
    where = {"params": given} if verb == "GET" else {"data": given}
    return requests.request(verb, f"{server.url}/oauth/token/", timeout=TIMEOUT, **where)


def _refresh(server: SandboxServer, token: str, verb: str = "POST", **more: Any) -> requests.Response:
    return _ask(server, verb, **{"grant_type": "refresh_token", "refresh_token": token, **more})


@pytest.mark.parametrize(
    "send",
    [
        lambda url, token: requests.post(url, json={"auth": token}, timeout=TIMEOUT),
        lambda url, token: requests.post(url, json={"access_token": token}, timeout=TIMEOUT),
        lambda url, token: requests.get(url, params={"auth": token}, timeout=TIMEOUT),
        lambda url, token: requests.get(url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT),
        lambda url, token: requests.post(
            url, json={"auth": "other"}, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT
        ),
    ],
    ids=["auth", "access_token", "query", "header", "the header wins"],
)
def test_a_token_acts_for_its_user(server: SandboxServer, send: Callable[[str, str], requests.Response]) -> None:
    token = server.portal.grant(2).access
    assert send(f"{server.url}/rest/profile", token).json()["result"]["ID"] == "2"


def test_a_token_is_good_for_an_hour(server: SandboxServer, clock: Any) -> None:
    pair = server.portal.grant(1)
    clock.now += 3599
    assert _call(server, pair.access)["ID"] == "1"
    clock.now += 1
    assert _call(server, pair.access) == "expired_token"


@pytest.mark.parametrize("verb", ["GET", "POST"])
def test_a_refresh_token_is_used_once(server: SandboxServer, verb: str) -> None:
    old = server.portal.grant(1)
    reply = _refresh(server, old.refresh, verb)
    fresh = reply.json()
    assert reply.status_code == 200
    assert (fresh["user_id"], fresh["expires_in"], fresh["scope"]) == (1, 3600, SCOPES)
    assert fresh["client_endpoint"] == fresh["server_endpoint"] == f"{server.url}/rest/"
    assert fresh["domain"] == urlsplit(server.url).netloc
    assert _call(server, fresh["access_token"])["ID"] == "1"
    # The old access token lives on; the old refresh token does not.
    assert _call(server, old.access)["ID"] == "1"
    again = _refresh(server, old.refresh, verb)
    assert (again.status_code, again.json()["error"]) == (400, "invalid_grant")
    assert server.portal.count()["tokens"] == {"issued": {"refresh_token": 1}, "refused": {"invalid_grant": 1}}


def test_a_refresh_token_is_good_for_180_days(server: SandboxServer, clock: Any) -> None:
    first, second = server.portal.grant(1), server.portal.grant(1)
    clock.now += 180 * DAY - 1
    assert _refresh(server, first.refresh).status_code == 200
    clock.now += 1
    assert _refresh(server, second.refresh).json()["error"] == "invalid_grant"


def test_a_code_is_good_for_thirty_seconds_and_once(server: SandboxServer, clock: Any) -> None:
    codes = [server.portal.agree(2) for _ in range(2)]
    clock.now += 29
    reply = _ask(server, grant_type="authorization_code", code=codes[0])
    assert _call(server, reply.json()["access_token"])["ID"] == "2"
    assert "expires" not in reply.json()
    assert _ask(server, grant_type="authorization_code", code=codes[0]).json()["error"] == "invalid_grant"
    clock.now += 1
    assert _ask(server, grant_type="authorization_code", code=codes[1]).json()["error"] == "invalid_grant"


def test_the_way_to_a_code(server: SandboxServer) -> None:
    where = f"{server.url}/oauth/authorize/"
    client_id = server.portal.auth_server.client_id
    reply = requests.get(where, {"client_id": client_id, "state": "s1", "user_id": "2"}, timeout=TIMEOUT)
    reported = {name: values[0] for name, values in parse_qs(urlsplit(reply.url).query).items()}
    assert (reply.status_code, reported["state"], reported["domain"]) == (200, "s1", urlsplit(server.url).netloc)
    assert _ask(server, grant_type="authorization_code", code=reported["code"]).json()["user_id"] == 2
    assert requests.get(where, {"client_id": "other"}, timeout=TIMEOUT).status_code == 400


@pytest.mark.parametrize(
    ("given", "settings", "status", "code"),
    [
        ({"client_secret": "other"}, {}, 200, "wrong_client"),
        ({"client_id": "other"}, {}, 200, "wrong_client"),
        ({"grant_type": "password"}, {}, 400, "invalid_request"),
        ({"refresh_token": "unknown"}, {}, 400, "invalid_grant"),
        ({}, {"application": "unpaid"}, 401, "PAYMENT_REQUIRED"),
        ({}, {"application": "removed"}, 401, "NOT_INSTALLED"),
    ],
)
def test_refusals_of_the_auth_server(
    server: SandboxServer, given: dict[str, str], settings: dict[str, str], status: int, code: str
) -> None:
    pair = server.portal.grant(1)
    server.portal.configure(settings)
    reply = _refresh(server, pair.refresh, **given)
    assert (reply.status_code, reply.json()["error"]) == (status, code)
    server.portal.configure({"application": "installed"})
    assert _refresh(server, pair.refresh).status_code == 200


def test_a_bad_verdict_is_kept_for_an_hour(server: SandboxServer, clock: Any) -> None:
    pair = server.portal.grant(1)
    server.portal.configure({"application": "unpaid"})
    assert _call(server, pair.access) == "PAYMENT_REQUIRED"
    server.portal.configure({"application": "installed"})
    clock.now += 3599
    assert _call(server, pair.access) == "PAYMENT_REQUIRED"
    clock.now += 1
    assert _call(server, pair.access) == "expired_token"


def test_a_portal_without_its_auth_server_knows_only_what_it_has_seen(server: SandboxServer) -> None:
    seen, unseen = server.portal.grant(1), server.portal.grant(1)
    assert _call(server, seen.access)["ID"] == "1"
    server.portal.configure({"auth_server": "down"})
    assert _call(server, seen.access)["ID"] == "1"
    assert _call(server, unseen.access) == "CONNECTION_ERROR"
    server.portal.configure({"auth_server": "up"})
    assert _call(server, unseen.access)["ID"] == "1"


@pytest.mark.parametrize(
    ("user", "method", "code"),
    [(3, "profile", "authorization_error"), (1, "nothing.here", "ERROR_METHOD_NOT_FOUND")],
)
def test_refusals_of_the_portal(server: SandboxServer, user: int, method: str, code: str) -> None:
    assert _call(server, server.portal.grant(user).access, method) == code


def test_ends_of_tokens(server: SandboxServer) -> None:
    pair = server.portal.grant(1)
    requests.post(f"{server.url}/-/tokens", json={"do": "expire"}, timeout=TIMEOUT)
    assert _call(server, pair.access) == "expired_token"
    fresh = _refresh(server, pair.refresh).json()
    requests.post(f"{server.url}/-/tokens", json={"do": "revoke"}, timeout=TIMEOUT)
    assert _call(server, fresh["access_token"]) == "invalid_token"
    assert _refresh(server, fresh["refresh_token"]).json()["error"] == "invalid_grant"
    granted = requests.post(f"{server.url}/-/tokens", json={"do": "grant", "user_id": 2}, timeout=TIMEOUT).json()
    assert _call(server, granted["access_token"])["ID"] == "2"
    server.portal.configure({"application": "removed"})
    assert _call(server, granted["access_token"]) == "APPLICATION_NOT_FOUND"


def test_planned_trouble_reaches_the_auth_server_only_by_name(server: SandboxServer) -> None:
    pair = server.portal.grant(1)
    server.portal.plan({"error": "QUERY_LIMIT_EXCEEDED"}, {"method": "oauth.token", "error": "invalid_client"})
    assert _refresh(server, pair.refresh).json()["error"] == "invalid_client"
    assert _refresh(server, pair.refresh).status_code == 200
    assert _call(server, pair.access) == "QUERY_LIMIT_EXCEEDED"
    server.portal.plan({"method": "oauth.token", "drop": "after"})
    pair = server.portal.grant(1)
    with pytest.raises(requests.ConnectionError):
        _refresh(server, pair.refresh)
    assert _refresh(server, pair.refresh).json()["error"] == "invalid_grant"


def test_a_renamed_portal_answers_at_its_new_name_only(server: SandboxServer) -> None:
    new = f"http://localhost:{server.port}"
    server.portal.configure({"renamed_to": new})
    reply = requests.post(f"{server.webhook_url(1)}profile", timeout=TIMEOUT, allow_redirects=False)
    assert (reply.status_code, reply.text) == (302, "")
    assert reply.headers["Location"] == f"{new}/rest/1/{server.secret(1)}/profile"
    assert requests.post(reply.headers["Location"], timeout=TIMEOUT).json()["result"]["ID"] == "1"


def test_the_log_holds_no_token(fresh: Any) -> None:
    lines: list[str] = []
    with SandboxServer(fresh(), log=lines.append) as server:
        pair = server.portal.grant(1)
        _refresh(server, pair.refresh, "GET")
        requests.get(f"{server.url}/rest/profile?auth={pair.access}", timeout=TIMEOUT)
    assert lines == ["GET oauth.token 200", "GET profile 200"]


def test_the_endpoint_of_a_token_is_that_of_the_portal(server: SandboxServer) -> None:
    fresh = _refresh(server, server.portal.grant(1).refresh).json()
    # As clients of the vendor put it together, with one slash too many and with one behind the method.
    for method in ("/profile", "profile/"):
        reply = requests.post(fresh["client_endpoint"] + method, json={"auth": fresh["access_token"]}, timeout=TIMEOUT)
        assert reply.json()["result"]["ID"] == "1"
    server.portal.configure({"renamed_to": "https://new.example"})
    renewed = _refresh(server, fresh["refresh_token"]).json()
    assert renewed["client_endpoint"] == "https://new.example/rest/"
    assert renewed["server_endpoint"] == f"{server.url}/rest/"


def test_app_info_of_an_application(server: SandboxServer) -> None:
    token, application = server.portal.grant(1).access, server.portal.auth_server
    found = _call(server, token, "app.info/")
    # The portal's answer, and that of the authorisation server, which has the same address.
    server_says = {name: found.pop(name) for name in ("client_id", "scope", "expires", "user_id", "install")}
    assert found == {
        "ID": 1, "CODE": application.client_id, "VERSION": 1, "STATUS": "L", "INSTALLED": True,
        "PAYMENT_EXPIRED": "N", "DAYS": None, "LANGUAGE_ID": "en", "LICENSE": "en_company_selfhosted",
    }  # fmt: skip
    installed = server_says.pop("install")
    assert server_says == {
        "client_id": application.client_id, "scope": SCOPES, "expires": "2026-09-16T09:00:00+00:00",
        "user_id": 1,
    }  # fmt: skip
    assert (installed["client_endpoint"], installed["domain"]) == (f"{server.url}/rest/", f"127.0.0.1:{server.port}")
    assert (installed["member_id"], installed["scope"]) == (application.member_id, SCOPES)
    assert _call(server, token, "user.current")["ID"] == "1"
