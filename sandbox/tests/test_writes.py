"""Sections and events that their owner makes, changes and deletes by REST."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from bitrix24_sandbox.portal import Portal

Result = Callable[..., Any]

MINE = {"type": "user", "ownerId": 1}
MEETING = {
    **MINE, "name": "Made by REST", "from": "2026-09-16T12:00:00", "to": "2026-09-16T13:00:00",
    "timezone_from": "Europe/Berlin", "timezone_to": "Europe/Berlin", "is_meeting": "Y", "attendees": [1, 2, 5],
    "host": 1, "meeting": {"notify": False},
}  # fmt: skip


def _attendees(result: Result, event_id: int) -> dict[int, str]:
    record = result("calendar.event.getbyid", {"id": event_id})
    return {one["id"]: one["status"] for one in record["ATTENDEE_LIST"]}


def test_a_meeting_invites_its_attendees(result: Result) -> None:
    event_id = result("calendar.event.add", MEETING)
    assert _attendees(result, event_id) == {1: "H", 2: "Q", 5: "Q"}
    assert result("calendar.meeting.status.get", {"eventId": event_id}, user=2) == "Q"
    record = result("calendar.event.getbyid", {"id": event_id})
    assert (record["DATE_FROM_FORMATTED"], record["TZ_FROM"]) == ("Wed Sep 16 2026 12:00:00", "Europe/Berlin")
    assert record["MEETING"]["NOTIFY"] is False


def test_without_is_meeting_it_is_none(result: Result, call: Callable[..., requests.Response]) -> None:
    event_id = result("calendar.event.add", {**MEETING, "is_meeting": "N"})
    assert call("calendar.meeting.status.get", {"eventId": event_id}).status_code == 400


def test_who_is_removed_and_invited_again_has_two_rows(result: Result, portal: Portal) -> None:
    event_id = result("calendar.event.add", MEETING)
    result("calendar.meeting.status.set", {"eventId": event_id, "status": "N"}, user=2)
    for guests in ([1, 5], [1, 2, 5]):
        result("calendar.event.update", {**MEETING, "id": event_id, "attendees": guests})
    assert _attendees(result, event_id) == {1: "H", 2: "Q", 5: "Q"}
    assert [row.status for row in portal.book.rows_owned(event_id, 2)] == ["N", "Q"]


def test_one_date_of_a_series_becomes_an_event_of_its_own(result: Result) -> None:
    rule = {"FREQ": "DAILY", "COUNT": 3, "INTERVAL": 1}
    series = result("calendar.event.add", {**MEETING, "rrule": rule})
    edit = {**MINE, "id": series, "name": "Moved", "recurrence_mode": "this", "current_date_from": "2026-09-17"}
    edited = result("calendar.event.update", edit)["recEventId"]
    record = result("calendar.event.getbyid", {"id": edited})
    assert (record["RECURRENCE_ID"], record["DATE_FROM_FORMATTED"]) == (series, "Thu Sep 17 2026 12:00:00")
    listed = result("calendar.event.get", {**MINE, "from": "2026-09-16", "to": "2026-09-18"})
    days = {
        row["DATE_FROM_FORMATTED"][4:10]: row["ID"] for row in listed if row["PARENT_ID"] in (str(series), str(edited))
    }
    assert days == {"Sep 16": str(series), "Sep 17": str(edited), "Sep 18": str(series)}


def test_deleting_a_section_deletes_what_is_in_it(result: Result, portal: Portal) -> None:
    before = dict(portal.book.rows)
    section = result("calendar.section.add", {**MINE, "name": "Own section"})
    assert "Own section" in [one["NAME"] for one in result("calendar.section.get", MINE)]
    event_id = result("calendar.event.add", {**MEETING, "section": section})
    listed = result("calendar.event.get", {**MINE, "section": [section], "from": "2026-01-01", "to": "2027-01-01"})
    assert [row["ID"] for row in listed] == [str(event_id)]
    assert result("calendar.section.delete", {**MINE, "id": section}) is True
    assert "Own section" not in [one["NAME"] for one in result("calendar.section.get", MINE)]
    assert portal.book.rows == before


def test_an_attendee_who_deletes_declines(result: Result, portal: Portal) -> None:
    event_id = result("calendar.event.add", MEETING)
    (own,) = portal.book.rows_owned(event_id, 5)
    assert result("calendar.event.delete", {"id": 701, "type": "user", "ownerId": 2}, user=2) is True
    assert portal.status(700, 2) is None, "an administrator deletes the meeting for everybody"
    assert result("calendar.event.delete", {"id": 652, "type": "user", "ownerId": 1}) is True
    assert portal.status(651, 1) == "N"
    assert result("calendar.event.delete", {**MINE, "id": own.id}) is True
    assert event_id not in portal.book.events


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("calendar.event.add", {**MEETING, "ownerId": 2}),
        ("calendar.event.add", {**MEETING, "name": ""}),
        ("calendar.event.add", {**MEETING, "from": "soon"}),
        ("calendar.event.add", {**MEETING, "section": 999}),
        ("calendar.event.update", {**MEETING, "id": 651}),
        ("calendar.event.delete", {**MINE, "id": 711}),
        ("calendar.event.delete", {**MINE, "id": 99999}),
        ("calendar.section.delete", {**MINE, "id": 11}),
    ],
)
def test_what_is_somebody_elses_or_wrong_is_refused(
    call: Callable[..., requests.Response], portal: Portal, method: str, parameters: dict[str, object]
) -> None:
    before = dict(portal.book.rows)
    reply = call(method, parameters)
    assert (reply.status_code, reply.json()["error"]) == (400, "")
    assert portal.book.rows == before


def test_an_own_private_event_is_masked_among_busy_times(result: Result) -> None:
    event_id = result("calendar.event.add", {**MEETING, "private_event": "Y"})
    window = {"users": [1], "from": "2026-09-16", "to": "2026-09-17"}
    names = {row["ID"]: row["NAME"] for row in result("calendar.accessibility.get", window)["1"]}
    assert names[str(event_id)] == "[Busy]"
