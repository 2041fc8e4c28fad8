"""Requests that a page of another site can make a browser send: none of them reads or changes the portal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitrix24_sandbox.portal import Portal

ANSWER = {"event_id": 651, "user_id": 1, "status": "Y"}
ALLOWED_BY_HOST = ["127.0.0.1", "localhost", "LocalHost", "127.9.9.9", "[::1]"]
FOREIGN_HOSTS = [
    "portal.example",
    "localhost.example",
    "127.0.0.1.example",
    "192.168.1.5",
    "127.0.0.1@portal.example",
    "",
]
WITHOUT_SECRET = [
    "/",
    "/calendar/",
    "/company/personal/user/1/calendar/?EVENT_ID=651",
    "/workgroups/group/9/calendar/",
    "/-/state",
    "/-/counters",
    "/-/agreed",
    "/oauth/authorize/?client_id={client_id}",
]


def _get(server: SandboxServer, path: str, host: str) -> requests.Response:
    address = server.url + path.format(client_id=server.portal.auth_server.client_id)
    return requests.get(address, headers={"Host": host}, timeout=TIMEOUT, allow_redirects=False)


@pytest.mark.parametrize("path", WITHOUT_SECRET)
@pytest.mark.parametrize("host", ALLOWED_BY_HOST)
def test_names_of_this_machine_are_served(server: SandboxServer, path: str, host: str) -> None:
    assert _get(server, path, f"{host}:{server.port}").status_code in {200, 307}
    assert _get(server, path, host).status_code in {200, 307}


@pytest.mark.parametrize("path", WITHOUT_SECRET)
@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_a_foreign_name_is_refused(server: SandboxServer, path: str, host: str) -> None:
    """A site whose name is made to point to this machine is asked for by its own name."""
    reply = _get(server, path, f"{host}:{server.port}")
    assert (reply.status_code, reply.json()["field"]) == (403, "Host")
    assert "127.0.0.1" in reply.json()["accepted"]
    assert "Plain" not in reply.text
    assert "Location" not in reply.headers


def test_a_foreign_name_changes_nothing(server: SandboxServer, portal: Portal) -> None:
    reply = requests.post(f"{server.url}/-/answer", json=ANSWER, headers={"Host": "portal.example"}, timeout=TIMEOUT)
    assert reply.status_code == 403
    assert portal.status(651, 1) == "Q"


def test_rest_needs_its_secret_and_takes_any_name(server: SandboxServer) -> None:
    """Who asks by another name, through a tunnel or a container's host, has shown that they know the secret."""
    reply = requests.get(server.webhook_url(1) + "profile", headers={"Host": "portal.example"}, timeout=TIMEOUT)
    assert reply.json()["result"]["ID"] == "1"
    reply = requests.get(f"{server.url}/rest/1/wrong/profile", headers={"Host": "portal.example"}, timeout=TIMEOUT)
    assert reply.status_code == 401


@pytest.mark.parametrize(
    "origin", ["https://portal.example", "http://localhost:1", "https://{here}", "null", "http://"]
)
@pytest.mark.parametrize("action", ["answer", "reset", "state", "fault"])
def test_a_foreign_origin_is_refused(server: SandboxServer, portal: Portal, origin: str, action: str) -> None:
    portal.answer(651, 1, "N")
    shown = origin.format(here=server.url.partition("://")[2])
    verb = {"state": "GET", "fault": "DELETE"}.get(action, "POST")
    reply = requests.request(verb, f"{server.url}/-/{action}", json=ANSWER, headers={"Origin": shown}, timeout=TIMEOUT)
    assert (reply.status_code, reply.json()["field"]) == (403, "Origin")
    assert portal.status(651, 1) == "N"


def test_the_own_page_is_no_foreign_origin(server: SandboxServer, portal: Portal) -> None:
    for host in (f"127.0.0.1:{server.port}", f"localhost:{server.port}"):
        headers = {"Host": host, "Origin": f"http://{host}"}
        reply = requests.post(f"{server.url}/-/answer", json=ANSWER, headers=headers, timeout=TIMEOUT)
        assert reply.json() == {"ok": True}
    assert portal.status(651, 1) == "Y"


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "application/jsonp", None],
)
def test_only_json_is_read(server: SandboxServer, portal: Portal, kind: str | None) -> None:
    """What a form of another site can send without being asked first is none of it."""
    body = b'{"event_id": 651, "user_id": 1, "status": "Y"}'
    headers = {} if kind is None else {"Content-Type": kind}
    reply = requests.post(f"{server.url}/-/answer", data=body, headers=headers, timeout=TIMEOUT)
    assert (reply.status_code, reply.json()["field"]) == (415, "Content-Type")
    assert portal.status(651, 1) == "Q"


def test_json_may_name_its_charset(server: SandboxServer) -> None:
    for kind in ("application/json; charset=utf-8", "Application/JSON"):
        body = b'{"event_id": 651, "user_id": 1, "status": "Y"}'
        reply = requests.post(f"{server.url}/-/answer", data=body, headers={"Content-Type": kind}, timeout=TIMEOUT)
        assert reply.json() == {"ok": True}


def test_a_form_without_a_body_resets_nothing(server: SandboxServer, portal: Portal) -> None:
    portal.answer(651, 1, "N")
    reply = requests.post(f"{server.url}/-/reset", data={"a": "b"}, timeout=TIMEOUT)
    assert reply.status_code == 415
    assert portal.status(651, 1) == "N"
    assert requests.post(f"{server.url}/-/reset", timeout=TIMEOUT).json() == {"ok": True}


@pytest.mark.parametrize("action", ["answer", "fault", "settings", "tokens"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"[" * 600 + b"]" * 600,
        b'{"status": "\\ud800", "event_id": 651, "user_id": 1}',
        b"1" * 5000,
    ],
    ids=["open", "list", "mapping", "less deep", "half a character", "a long number"],
)
def test_a_body_that_cannot_be_read_is_refused(server: SandboxServer, action: str, body: bytes) -> None:
    reply = requests.post(
        f"{server.url}/-/{action}", data=body, headers={"Content-Type": "application/json"}, timeout=TIMEOUT
    )
    assert reply.status_code == 400
    assert set(reply.json()) == {"error", "field", "value", "accepted"}
    assert len(reply.text) < 5000


def test_the_page_cannot_be_framed(server: SandboxServer) -> None:
    """Clicks on it could be stolen otherwise."""
    policy = requests.get(server.url, timeout=TIMEOUT).headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in policy


def test_ipv6(fresh: Callable[[], Any]) -> None:
    with SandboxServer(fresh(), host="::1") as server:
        headers = {"Origin": server.url}
        reply = requests.post(f"{server.url}/-/answer", json=ANSWER, headers=headers, timeout=TIMEOUT)
        assert reply.json() == {"ok": True}
