"""What a person reads who fills in the connection form and presses Test."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.schemas import document
from airflow_provider_b24cal.bitrix24.validation import field_name
from airflow_provider_b24cal.get_provider_info import CONNECTION_FIELDS, UI_FIELD_BEHAVIOUR
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

CODE = "c0deC0dec0de0001"


def test_the_form_shows_every_key_of_extra() -> None:
    assert set(document("connection")["$defs"]) == set(CONNECTION_FIELDS)


def test_the_form_asks_for_a_port() -> None:
    """Without one the Test button of Airflow 3.3 sends 0, and Airflow answers "Bad Request"."""
    assert UI_FIELD_BEHAVIOUR["relabeling"]["port"] == "Port (enter 443)"


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("host", "Portal (host)"),
        ("port", "Port (port)"),
        ("timeout", "Timeout (extra key timeout)"),
        ("allow_http", "Allow plain http (extra key allow_http)"),
        ("--portal", "--portal"),
    ],
)
def test_a_field_is_named_as_in_the_form_and_as_in_json(field: str, name: str) -> None:
    assert field_name(field) == name


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address at which connections are refused; the port is kept, so that nobody else can take it."""
    with socket.socket() as kept:
        kept.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{kept.getsockname()[1]}"


def _test(connection: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AIRFLOW_CONN_TYPED", json.dumps({"conn_type": "bitrix24", **connection}))
    good, text = Bitrix24CalendarHook("typed").test_connection()
    assert not good
    assert CODE not in text
    assert "/rest" not in text
    return text


def test_a_host_where_nobody_listens_is_named(nobody: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = _test({"password": f"{nobody}/rest/1/{CODE}/"}, monkeypatch)
    assert text.startswith(f"{nobody}: No connection to the portal could be made.")


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"body": "<h1>It works!</h1>", "http_status": 200}, "Check that this is the portal's address."),
        ({"body": "", "http_status": 200}, "Check that this is the portal's address."),
        ({"body": '{"status": "ok"}', "http_status": 200}, "Check that this is the portal's address."),
        ({"body": "<h1>{code} not found</h1>", "http_status": 404}, "The reply is a page, not JSON."),
        ({"body": '{"detail": "Not Found"}', "http_status": 404}, ""),
        ({"body": "<h1>Bad gateway</h1>", "http_status": 502}, "The portal's reply is not JSON."),
        ({"body": "", "http_status": 302, "headers": {"Location": "https://else.example/rest/1/{code}/"}}, ""),
    ],
    ids=["page", "nothing", "other JSON", "no such page", "no such path", "gateway", "redirect"],
)
def test_a_host_that_is_no_portal_is_named(
    answer: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "application/json" if answer["body"].startswith("{") else "text/html"
    answer = json.loads(json.dumps(answer).replace("{code}", CODE))
    with SandboxServer() as server:
        server.portal.plan({"times": 20, "content_type": kind, **answer})
        text = _test({"password": f"{server.url}/rest/1/{CODE}/"}, monkeypatch)
    assert text.startswith(f"{server.url}: ")
    assert message in text
    assert ("Check that this" in text) == (answer["http_status"] == 200)


def test_a_portal_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook may be one of another portal."""
    with SandboxServer() as server:
        text = _test({"password": f"{server.url}/rest/1/{CODE}/"}, monkeypatch)
    assert text.startswith(f"{server.url}: The portal does not accept this webhook")
