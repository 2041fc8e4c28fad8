"""The organiser of a meeting has no answer to give, whatever a portal lists as one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor

HOST, GUEST = 1, 2
CALENDARS = {101: "user", 102: "group", 103: "company_calendar"}


def _seed_data() -> object:
    def meeting(event_id: int, kind: str) -> dict[str, object]:
        calendar = {"type": "group", "owner": 7} if kind == "group" else {"type": kind}
        # A portal lists the organiser of these among the attendees, as having accepted.
        host = [] if kind == "user" else [{"user": HOST, "status": "Y"}]
        times = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}
        guests = [{"user": GUEST}]
        return {"id": event_id, "name": kind, "host": HOST, "calendar": calendar, "attendees": host + guests, **times}

    webhook = {"secret": "0rgan1serC0de000", "scopes": ["calendar"]}
    people = [{"id": HOST, "name": "Anna", "webhook": webhook}, {"id": GUEST, "name": "Martin"}]
    return {"people": people, "events": [meeting(*one) for one in CALENDARS.items()]}


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(_seed_data()))) as server:
        yield server


@pytest.fixture
def portal(serving: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Portal:
    serving.renew()
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", serving.connection_json(HOST))
    return serving.portal


@pytest.mark.parametrize("event_id", CALENDARS)
def test_a_wait_does_not_take_the_organiser_for_a_guest(event_id: int, portal: Portal) -> None:
    sensor = Bitrix24AttendeesSensor(task_id="t", event_id=event_id, require="any", deferrable=False)
    assert not sensor.poke({}).is_done
    portal.answer(event_id, GUEST, "Y")
    found = sensor.poke({})
    assert (found.is_done, found.xcom_value) == (True, {"accepted": [GUEST], "declined": [], "silent": []})


@pytest.mark.parametrize(("event_id", "kind"), CALENDARS.items())
def test_a_list_does_not_count_the_organiser(event_id: int, kind: str, portal: Portal) -> None:
    window: dict[str, Any] = {"window_start": "2026-09-16T00:00:00Z", "window_end": "2026-09-17T00:00:00Z"}
    owner = {"user": HOST, "group": 7, "company_calendar": None}[kind]
    operator = Bitrix24ListEventsOperator(task_id="t", calendar_type=kind, owner_id=owner, **window)
    rows = {row["event_id"]: row for row in operator.execute({})}
    row = rows[event_id]
    assert (row["accepted"], row["declined"], row["silent"]) == (0, 0, 1)
