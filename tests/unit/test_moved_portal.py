"""A portal that has moved: followed once, within its zone, and nowhere else."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import ACCEPTED, CANARY, MANY, NOTIFYING, SILENT

Connect = Callable[[str], None]


@pytest.fixture
def connect(server: SandboxServer, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Let every name in ``bitrix24.test`` and ``elsewhere.test`` lead to the sandbox, and connect to ``old``."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *more: Any, **rest: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return real("127.0.0.1" if name.endswith(".test") else host, *more, **rest)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    def make(auth: str = "webhook") -> None:
        reported = json.loads(server.connection_json(1) if auth == "webhook" else server.oauth_connection_json(1))
        reported["host"] = f"http://old.bitrix24.test:{server.port}"
        reported["extra"]["allow_http"] = True
        monkeypatch.setenv("AIRFLOW_CONN_MOVED", json.dumps(reported))

    return make


def _new(server: SandboxServer, host: str = "new.bitrix24.test") -> str:
    return f"http://{host}:{server.port}"


@pytest.mark.parametrize("auth", ["webhook", "oauth"])
@pytest.mark.parametrize("driver", ["blocking", "asynchronous"])
def test_a_new_name_in_the_same_zone_is_followed_and_reported(
    auth: str, driver: str, connect: Any, server: SandboxServer, portal: Portal, caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    connect(auth)
    portal.configure({"renamed_to": _new(server)})
    caplog.set_level(logging.DEBUG)
    hook = Bitrix24CalendarHook("moved")

    async def run_call() -> list[str]:
        try:
            one = await hook.aget_meeting_status(ACCEPTED)
            many = await hook.aget_meeting_statuses(MANY)
            return [one, *(outcome.unwrap() for outcome in many.values())]
        finally:
            await hook.aclose()

    if driver == "asynchronous":
        found = asyncio.run(run_call())
    else:
        outcomes = hook.get_meeting_statuses(MANY).values()
        found = [hook.get_meeting_status(ACCEPTED), *(outcome.unwrap() for outcome in outcomes)]
        hook.close()
    assert found == ["Y"] + ["Q"] * len(MANY)
    # Airflow's versions differ in which of the two its hooks log to.
    printed = capsys.readouterr().out
    text = f"moved from http://old.bitrix24.test:{server.port} to {_new(server)}."
    assert sorted((printed.count(text), caplog.text.count(text)))[-1] == 1
    assert CANARY not in caplog.text + printed


def test_a_write_is_made_at_the_new_name_and_once(connect: Any, server: SandboxServer, portal: Portal) -> None:
    connect()
    portal.configure({"renamed_to": _new(server)})
    with Bitrix24CalendarHook("moved") as hook:
        assert hook.set_meeting_status(NOTIFYING, "Y").changed
        assert hook.call("calendar.meeting.status.set", {"eventId": SILENT, "status": "N"}) is True
    assert portal.count()["notifications"] == {str(NOTIFYING): {"accepted": 1}}
    # The old name was asked once, and executed nothing.
    assert portal.counters.methods["calendar.meeting.status.set"] == 2
    assert portal.status(SILENT, 1) == "N"


def test_the_connection_test_follows_and_tells(connect: Any, server: SandboxServer, portal: Portal) -> None:
    connect()
    portal.configure({"renamed_to": _new(server)})
    good, text = Bitrix24CalendarHook("moved").test_connection()
    assert good, text
    assert "Put the new host into the connection" in text
    assert CANARY not in text


@pytest.mark.parametrize("auth", ["webhook", "oauth"])
@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize(
    "there",
    [
        "http://elsewhere.test:{port}",
        "http://new.bitrix24.com:{port}",
        "http://new.bitrix24.test:1",
        "https://elsewhere.test",
        "ftp://new.bitrix24.test:{port}",
        "/somewhere",
        "http://[bad",
    ],
)
def test_other_places_are_refused_and_reported_nothing(
    there: str, write: bool, auth: str, connect: Any, server: SandboxServer, portal: Portal
) -> None:
    connect(auth)
    where = there.format(port=server.port)
    portal.plan(
        {"body": "", "http_status": 302, "headers": {"Location": f"{where}/rest/1/{CANARY}/profile"}, "times": 9}
    )
    with Bitrix24CalendarHook("moved") as hook, pytest.raises(errors.ReplyError) as caught:
        hook.call("calendar.meeting.status.set", {"eventId": SILENT, "status": "N"}, writes=write)
    assert portal.counters.requests == 1
    assert portal.status(SILENT, 1) == "Q"
    assert caught.value.permanence == "permanent"
    assert CANARY not in repr(caught.value)
    host = where.removeprefix("http://").removeprefix("https://").removeprefix("ftp://").split(":")[0]
    assert any(reported in str(caught.value) for reported in (host, "another page of its own", "unreadable"))


def test_a_circle_ends_at_its_second_turn(connect: Any, server: SandboxServer, portal: Portal) -> None:
    connect()
    portal.plan({"body": "", "http_status": 302, "headers": {"Location": f"{_new(server)}/rest/"}, "times": 9})
    with (
        Bitrix24CalendarHook("moved") as hook,
        pytest.raises(errors.ReplyError, match="another page of its own"),
    ):
        hook.get_meeting_status(SILENT)
    assert portal.counters.requests == 2


@pytest.mark.parametrize("whole", [False, True])
def test_a_redirect_on_the_same_host_is_reported_as_what_it_is(
    whole: bool, connection: str, server: SandboxServer, portal: Portal
) -> None:
    """A web server's login page; it has nothing to do with where the secret may go."""
    target = f"{server.url if whole else ''}/login/?back=%2Frest%2F1%2F{CANARY}%2F"
    portal.plan({"method": "*", "times": 9, "body": "", "http_status": 302, "headers": {"Location": target}})
    hook = Bitrix24CalendarHook(connection)

    async def run_call() -> None:
        try:
            await hook.awhoami()
        finally:
            await hook.aclose()

    for asking in (hook.whoami, lambda: asyncio.run(run_call())):
        with pytest.raises(errors.ReplyError, match="to another page of its own") as caught:
            asking()
        assert CANARY not in str(caught.value)
