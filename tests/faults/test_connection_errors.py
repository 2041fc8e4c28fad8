"""Mistakes in a connection: the error shows no secret, and no variable of this package's frames does."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import pytest

import airflow_provider_b24cal
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, InvalidConnectionError
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.client.client import Client
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from tests.faults.leaks import Evidence, chain
from tests.portal_data import CANARY

PACKAGE = str(Path(airflow_provider_b24cal.__file__).parent)
PORTAL = "https://portal.invalid"
URL = f"{PORTAL}/rest/1/{CANARY}/"
CODE: dict[str, Any] = {"host": PORTAL, "login": "1", "password": CANARY}
OAUTH: dict[str, Any] = {
    "auth": "oauth", "client_id": "local.1", "client_secret": f"key{CANARY}", "access_token": f"access{CANARY}",
    "refresh_token": f"refresh{CANARY}",
}  # fmt: skip

MISTAKES: dict[str, dict[str, Any]] = {
    "no webhook's URL": {"password": f"{PORTAL}/rest/1/{CANARY}/profile/more"},
    "URL of the newer kind": {"password": f"{PORTAL}/rest/api/1/{CANARY}/"},
    "URL with a login": {"password": f"https://user:{CANARY}@portal.invalid/rest/1/{CANARY}/"},
    "URL with brackets": {"password": f"https://[portal/rest/1/{CANARY}/"},
    "plain http": {"password": f"http://portal.invalid/rest/1/{CANARY}/"},
    "user and code exchanged": {"password": f"{PORTAL}/rest/{CANARY}/1/"},
    "user id too long": {"password": f"{PORTAL}/rest/{'1' * 30}/{CANARY}/"},
    "another host": {"host": "other.invalid", "password": URL},
    "another port": {"port": 8443, "password": URL},
    "another login": {"login": "2", "password": URL},
    "no host": {"login": "1", "password": CANARY},
    "no login": {"host": PORTAL, "password": CANARY},
    "no such host": {**CODE, "host": "portal invalid"},
    "no such port": {**CODE, "port": 99999},
    "two ports": {**CODE, "host": f"{PORTAL}:1", "port": 2},
    "code with a slash": {**CODE, "password": f"{CANARY}/"},
    "extra that is a list": {**CODE, "extra": json.dumps([CANARY])},
    "extra that is no JSON": {**CODE, "extra": f'{{"client_secret": "{CANARY}"'},
    "unknown key": {**CODE, "extra": {"tiemout": 5}},
    "no such timeout": {**CODE, "extra": {"timeout": "soon"}},
    "no such plan": {**CODE, "extra": {"plan": "large"}},
    "no proxy": {**CODE, "extra": {"proxy": f"socks5://user:{CANARY}@proxy.invalid"}},
    "proxy for plain http": {
        **CODE, "host": "http://127.0.0.1", "extra": {"proxy": f"http://user:{CANARY}@proxy.invalid"},
    },
    "no CA bundle": {**CODE, "extra": {"verify": "/nowhere.pem", "proxy": f"http://user:{CANARY}@proxy.invalid"}},
    "tokens of a webhook": {**CODE, "extra": {**OAUTH, "auth": "webhook"}},
    "password of OAuth": {**CODE, "login": "", "extra": OAUTH},
    "no refresh token": {"host": PORTAL, "extra": {**OAUTH, "refresh_token": ""}},
    "token with a space": {"host": PORTAL, "extra": {**OAUTH, "access_token": f"{CANARY} {CANARY}"}},
    "no token store": {"host": PORTAL, "extra": {**OAUTH, "token_store": "no.such.store"}},
    "no authorisation server": {"host": PORTAL, "extra": {**OAUTH, "auth_server": "not a host"}},
}  # fmt: skip


def _in_loop(use: Callable[[Bitrix24CalendarHook], Any]) -> Callable[[], object]:
    async def go() -> None:
        hook = Bitrix24CalendarHook("any")
        try:
            await use(hook)
        finally:
            await hook.aclose()

    return lambda: asyncio.run(go())


async def _unwrapped(asked: Awaitable[dict[int, Outcome[Any]]]) -> list[Any]:
    return [outcome.unwrap() for outcome in (await asked).values()]


NAMED: dict[str, Any] = {"task_id": "t", "bitrix24_conn_id": "any"}
ENTRIES: dict[str, Callable[[], object]] = {
    "get": lambda: Bitrix24CalendarHook("any").get_meeting_status(1),
    "set": lambda: Bitrix24CalendarHook("any").set_meeting_status(1, "Y"),
    "get_conn": lambda: Bitrix24CalendarHook("any").get_conn(),
    "async get": _in_loop(lambda hook: hook.aget_meeting_status(1)),
    "async get of many": _in_loop(lambda hook: _unwrapped(hook.aget_meeting_statuses([1, 2]))),
    "get operator": lambda: Bitrix24GetMeetingStatusOperator(event_id=1, **NAMED).execute({}),
    "set operator": lambda: Bitrix24SetMeetingStatusOperator(event_id=1, status="Y", **NAMED).execute({}),
    "list operator": lambda: Bitrix24ListEventsOperator(
        window_start="2026-09-01", window_end="2026-09-02", **NAMED
    ).execute({}),
    "sensor": lambda: Bitrix24MeetingStatusSensor(event_id=1, **NAMED).execute({}),
}
CELLS = [
    pytest.param(mistake, entry, id=f"{mistake}-{entry}")
    for mistake in MISTAKES
    for entry in ENTRIES
    # The session takes no part in letting anybody in.
    if (mistake, entry) != ("no token store", "get_conn")
]


def _frames(error: BaseException) -> Iterator[FrameType]:
    """Yield the frames of this package in an error and in all that it came of."""
    for link in chain(error):
        step = link.__traceback__
        while step is not None:
            if step.tb_frame.f_code.co_filename.startswith(PACKAGE):
                yield step.tb_frame
            step = step.tb_next


def _look_at(error: BaseException) -> list[str]:
    evidence = Evidence()
    for link in chain(error):
        evidence.thing(type(link).__name__, link)
        evidence.text("args", repr(link.args))
    for frame in _frames(error):
        for name, value in frame.f_locals.items():
            evidence.text(f"{frame.f_code.co_qualname}: {name}", repr(value))
            evidence.text(f"{frame.f_code.co_qualname}: {name}.*", repr(getattr(value, "__dict__", None)))
    return evidence.showing({CANARY})


def _connect(monkeypatch: pytest.MonkeyPatch, fields: dict[str, Any]) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_ANY", json.dumps({"conn_type": "bitrix24", **fields}))


def _error_of(entry: str) -> BaseException:
    try:
        ENTRIES[entry]()
    except Exception as error:  # noqa: BLE001 - Airflow wraps some errors in its own
        return error
    raise AssertionError(f"{entry} has accepted the connection")


@pytest.mark.parametrize(("mistake", "entry"), CELLS)
def test_no_variable_holds_the_secret(mistake: str, entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, MISTAKES[mistake])
    error = _error_of(entry)
    assert any(isinstance(link, Bitrix24Error) for link in chain(error)), repr(error)
    assert list(_frames(error))
    assert _look_at(error) == []


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_test_button_shows_none(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _connect(monkeypatch, MISTAKES[mistake])
    good, text = Bitrix24CalendarHook("any").test_connection()
    assert not good
    assert CANARY not in text


@pytest.mark.parametrize("entry", ["get", "async get", "get operator"])
def test_nor_does_a_proxy_of_the_environment(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", f"socks5://user:{CANARY}@proxy.invalid")
    _connect(monkeypatch, CODE | {"password": "another0secret0"})
    assert _look_at(_error_of(entry)) == []


@pytest.mark.parametrize("entry", ["get", "async get", "get operator"])
@pytest.mark.parametrize("stored", [CANARY, f'{{"access_token": "{CANARY}"}}', f'["{CANARY}"]', f"{CANARY}\ud800"])
def test_nor_does_what_the_token_store_holds(
    stored: str, entry: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    _connect(monkeypatch, {"host": PORTAL, "extra": {**OAUTH, "token_store": f"file:{tmp_path}"}})
    key = Bitrix24CalendarHook("any")._client.settings().grant.key  # type: ignore[union-attr]  # it is OAuth
    (tmp_path / f"{key}.json").write_bytes(stored.encode("utf-8", "surrogatepass"))
    assert _look_at(_error_of(entry)) == []


@pytest.mark.parametrize(
    ("password", "message"),
    [
        (f"{PORTAL}/rest/1/{CANARY}\ud800/", "Invalid connection field Webhook URL"),
        ([CANARY], "Invalid connection: expected texts"),
        ({"code": CANARY}, "Invalid connection: expected texts"),
    ],
)
def test_nor_does_what_only_other_secrets_backends_give(password: Any, message: str) -> None:
    """Half a character, or JSON that is no text: nothing that Airflow itself would hand out."""
    connection = SimpleNamespace(host=None, login=None, password=password, port=None, extra=None)
    client = Client("any", lambda _: connection, RetryPolicy(), logging.getLogger("any"))
    with pytest.raises(InvalidConnectionError, match=message) as caught:
        client.settings()
    assert list(_frames(caught.value))
    assert _look_at(caught.value) == []


def test_the_looking_itself() -> None:
    """A frame of this package that holds a secret is found."""
    from airflow_provider_b24cal.bitrix24.auth.credentials import parse_webhook_url

    with pytest.raises(Bitrix24Error) as caught:
        parse_webhook_url(f"{PORTAL}/{CANARY}")
    assert _look_at(caught.value)
