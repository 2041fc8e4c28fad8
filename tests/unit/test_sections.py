"""Sections of calendars, such as for the ``sections`` of a list of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24 import InvalidArgumentError, PortalError, Section, UnexpectedReplyError, Window
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.portal_data import CANARY
from tests.sample_files import SAMPLES

SEPTEMBER = Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("calendar", "expected"),
    [
        ({}, [(11, "user", 1), (12, "user", 1)]),
        ({"owner_id": "2"}, [(21, "user", 2), (22, "user", 2)]),
        ({"owner_id": 999}, []),
        ({"calendar_type": "group", "owner_id": 999}, []),
        ({"calendar_type": "company_calendar"}, [(4, "company_calendar", 0)]),
        ({"calendar_type": "location", "owner_id": 0}, []),
    ],
)
def test_sections(calendar: Any, expected: list[tuple[int, str, int]], hook: Bitrix24CalendarHook) -> None:
    found = hook.list_sections(**calendar)
    assert [(one.id, one.calendar_type, one.owner_id) for one in found] == expected
    assert asyncio.run(_later(hook, calendar)) == found


async def _later(hook: Bitrix24CalendarHook, calendar: Any) -> list[Section]:
    try:
        return await hook.alist_sections(**calendar)
    finally:
        await hook.aclose()


def test_they_are_for_the_list_of_events(hook: Bitrix24CalendarHook) -> None:
    own, invitations = hook.list_sections()
    found = {one.name: hook.list_events(SEPTEMBER, sections=[one.id]) for one in (own, invitations)}
    assert {event.status for event in found["Invitations"]} == {"Y", "N", "Q"}
    assert {event.status for event in found["My calendar"]} == {"H", None}


def test_the_rooms_of_a_recorded_reply(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    body = json.loads((SAMPLES / "calendar.section.get" / "rooms.json").read_text("utf-8"))["body"]
    portal.plan({"body": json.dumps(body), "content_type": "application/json"})
    first, second = hook.list_sections(calendar_type="location")
    assert first == Section(64, "Room", "location", 0, "#334455")
    assert second.to_dict() == {
        "id": 97, "name": "Room", "calendar_type": "location", "owner_id": 0, "color": "#334455",
    }  # fmt: skip


ROW = {"ID": "5", "NAME": "Team", "CAL_TYPE": "user", "OWNER_ID": "1", "COLOR": None}


@pytest.mark.parametrize(
    ("change", "field"), [({"ID": "0"}, "ID"), ({"CAL_TYPE": None}, "CAL_TYPE"), ({"OWNER_ID": "x"}, "OWNER_ID")]
)
def test_a_row_that_cannot_be_read(
    change: dict[str, Any], field: str, hook: Bitrix24CalendarHook, portal: Portal
) -> None:
    portal.plan({"body": json.dumps({"result": [{**ROW, **change}]}), "content_type": "application/json"})
    with pytest.raises(UnexpectedReplyError, match=f"as {field} of a row"):
        hook.list_sections()


def test_a_name_shows_no_secret(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    row = {**ROW, "NAME": f"https://portal.example/rest/1/{CANARY}/"}
    portal.plan({"body": json.dumps({"result": {"3": row}}), "content_type": "application/json"})
    (found,) = hook.list_sections()
    assert CANARY not in str(found.name)


def test_external_users_are_refused(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.plan({"error": "", "http_status": 400})
    with pytest.raises(PortalError, match="refused to show sections; external"):
        hook.list_sections()


@pytest.mark.parametrize(
    ("calendar", "message"),
    [
        ({"calendar_type": "room"}, "Invalid calendar_type 'room': expected user, group, company_calendar, location"),
        ({"calendar_type": "group"}, "Invalid owner_id None: expected a positive whole number"),
        ({"owner_id": 0}, "Invalid owner_id 0"),
        ({"calendar_type": "location", "owner_id": 5}, "expected None or 0 with calendar_type='location'"),
    ],
)
def test_invalid_arguments(calendar: Any, message: str, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    ask: Callable[..., Any] = hook.list_sections
    with pytest.raises(InvalidArgumentError, match=message):
        ask(**calendar)
    assert portal.count()["requests"] == 0
