"""``calendar.event.getbyid``: fields, empty forms, and who sees what."""

from __future__ import annotations

from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest
from bitrix24_sandbox import datafile, recurrence

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests
    from bitrix24_sandbox.models import Event
    from bitrix24_sandbox.portal import Portal

GETBYID = "calendar.event.getbyid"
HIDDEN = {"DESCRIPTION", "LOCATION", "REMIND", "ATTENDEE_LIST", "ATTENDEES_CODES"}


def test_own_row(result: Callable[..., Any]) -> None:
    record = result(GETBYID, {"id": 652})
    assert {name: record[name] for name in ("ID", "PARENT_ID", "OWNER_ID", "MEETING_HOST", "CREATED_BY")} == {
        "ID": "652", "PARENT_ID": "651", "OWNER_ID": "1", "MEETING_HOST": "2", "CREATED_BY": "2",
    }  # fmt: skip
    assert record["IS_MEETING"] is True
    assert record["MEETING_STATUS"] == "Q"
    assert record["RECURRENCE_ID"] is None
    assert record["RRULE"] == record["EXDATE"] == ""
    assert record["MEETING"]["NOTIFY"] is True
    assert record["ATTENDEE_LIST"] == [
        {"id": 2, "entryId": "651", "status": "H"},
        {"id": 1, "entryId": "652", "status": "Q"},
        {"id": 5, "entryId": "653", "status": "Y"},
    ]


def test_times(result: Callable[..., Any]) -> None:
    record = result(GETBYID, {"id": 652})
    expected = {
        "DATE_FROM": "16.09.2026 10:00:00", "DATE_TO": "16.09.2026 11:00:00",
        "DATE_FROM_FORMATTED": "Wed Sep 16 2026 10:00:00", "DATE_TO_FORMATTED": "Wed Sep 16 2026 11:00:00",
        # Three hours before the truth: the server's zone is three hours ahead of UTC.
        "DATE_FROM_TS_UTC": "1789534800", "DATE_TO_TS_UTC": "1789538400",
        "DT_LENGTH": 3600, "DT_SKIP_TIME": "N",
        "TZ_FROM": "Europe/Berlin", "TZ_OFFSET_FROM": "7200", "~USER_OFFSET_FROM": -3600,
    }  # fmt: skip
    assert {name: record[name] for name in expected} == expected


def test_whole_days(result: Callable[..., Any]) -> None:
    record = result(GETBYID, {"id": 771})
    assert (record["DATE_FROM_FORMATTED"], record["DATE_TO_FORMATTED"]) == (
        "Fri Sep 18 2026",
        "Sat Sep 19 2026",
    )
    assert (record["DT_SKIP_TIME"], record["DT_LENGTH"], record["~USER_OFFSET_FROM"]) == ("Y", 2 * 86400, 0)
    assert not [name for name in record if name.startswith("TZ_")]


def test_series_and_its_edited_occurrence(result: Callable[..., Any]) -> None:
    record = result(GETBYID, {"id": 661})
    assert record["RRULE"] == {
        "FREQ": "WEEKLY", "INTERVAL": 1, "COUNT": 5, "BYDAY": {"WE": "WE"},
        "UNTIL": "01.01.2038", "~UNTIL": "", "UNTIL_TS": 2145916800,
    }  # fmt: skip
    assert record["EXDATE"] == "23.09.2026;30.09.2026"
    assert record["~RRULE_DESCRIPTION"]
    # Stored is the end of a day in 2038, read in the server's zone less the event's offset.
    assert record["DATE_TO_TS_UTC"] == str(2145916800 + (11 - 3 - 1) * 3600)
    assert result(GETBYID, {"id": 671})["RECURRENCE_ID"] == 660


@pytest.mark.parametrize(("user", "event_id", "status"), [(1, 651, "H"), (1, 732, "Q"), (2, 751, "Y"), (1, 690, "H")])
def test_status_is_that_of_the_row(result: Callable[..., Any], user: int, event_id: int, status: object) -> None:
    assert result(GETBYID, {"id": event_id}, user)["MEETING_STATUS"] == status


def test_removed_attendees_are_not_listed(result: Callable[..., Any]) -> None:
    listed = [result(GETBYID, {"id": event}, 2)["ATTENDEE_LIST"] for event in (720, 730)]
    assert [[guest["entryId"] for guest in guests] for guests in listed] == [["720"], ["730", "732"]]


def test_plain_entry_lists_its_owner(result: Callable[..., Any]) -> None:
    record = result(GETBYID, {"id": 690})
    assert record["IS_MEETING"] is False
    assert record["MEETING"] == []
    assert record["ATTENDEE_LIST"] == [{"id": 1, "entryId": "690", "status": "H"}]


def test_group_meeting_lists_no_organiser(result: Callable[..., Any]) -> None:
    record = result(GETBYID, {"id": 750})
    assert (record["CAL_TYPE"], record["OWNER_ID"], record["MEETING_STATUS"]) == ("group", "9", "H")
    assert [guest["status"] for guest in record["ATTENDEE_LIST"]] == ["Y", "Q"]


@pytest.mark.parametrize("event_id", [721, 731, 999999, "abc", -1, 800])
def test_unknown_deleted_and_invisible_are_null(call: Callable[..., requests.Response], event_id: object) -> None:
    reply = call(GETBYID, {"id": event_id})
    assert reply.status_code == 200
    assert reply.json()["result"] is None


@pytest.mark.parametrize("parameters", [{}, {"id": 0}, {"id": []}, {"ID": 651}])
def test_id_is_required(call: Callable[..., requests.Response], parameters: object) -> None:
    reply = call(GETBYID, parameters)
    assert (reply.status_code, reply.json()["error"]) == (400, "")
    assert '"id"' in reply.json()["error_description"]


def test_external_users_are_refused(call: Callable[..., requests.Response]) -> None:
    reply = call(GETBYID, {"id": 651}, 4)
    assert (reply.status_code, reply.json()) == (400, {"error": "", "error_description": "Access denied."})


@pytest.mark.parametrize(
    ("user", "event_id", "full"),
    [
        pytest.param(1, 651, True, id="attendee, foreign calendar"),
        pytest.param(7, 651, False, id="not invited"),
        pytest.param(1, 710, False, id="not invited either"),
        pytest.param(2, 653, True, id="administrator"),
        pytest.param(2, 760, True, id="own private event"),
        pytest.param(1, 760, False, id="foreign private event"),
        pytest.param(2, 761, False, id="private event in a foreign calendar, organiser and administrator"),
        pytest.param(1, 790, True, id="calendar open to colleagues"),
        pytest.param(2, 800, True, id="hidden calendar, administrator"),
        pytest.param(1, 720, False, id="removed attendee"),
        pytest.param(7, 740, True, id="group calendar"),
        pytest.param(7, 780, True, id="company calendar"),
    ],
)
def test_restricted_view(result: Callable[..., Any], user: int, event_id: int, full: bool) -> None:
    record = result(GETBYID, {"id": event_id}, user)
    assert (set(record) >= HIDDEN) is full
    assert not full or "IS_ACCESSIBLE_TO_USER" not in record
    if not full:
        assert not HIDDEN & set(record)
        assert not [name for name in record if name.startswith("UF_")]
        assert record["NAME"] == "[Busy]"
        assert record["IS_ACCESSIBLE_TO_USER"] is False
        assert record["DATE_FROM_FORMATTED"]


def test_label_of_restricted_view_has_a_language(result: Callable[..., Any], portal: Portal) -> None:
    portal.configure({"language": "ru"})
    assert result(GETBYID, {"id": 710})["NAME"] == "[Занят]"


@pytest.mark.parametrize(
    ("style", "expected"),
    [
        ("mixed", {"RRULE": "", "MEETING": [], "RELATIONS": "", "OPTIONS": None, "UF_CRM_CAL_EVENT": False}),
        ("blank", {"RRULE": "", "MEETING": [], "RELATIONS": "", "OPTIONS": "", "UF_CRM_CAL_EVENT": ""}),
        (
            "false",
            {"RRULE": "", "MEETING": False, "RELATIONS": False, "OPTIONS": False, "UF_CRM_CAL_EVENT": False},
        ),
        ("list", {"RRULE": "", "MEETING": [], "RELATIONS": [], "OPTIONS": [], "UF_CRM_CAL_EVENT": []}),
        (
            "null",
            {"RRULE": None, "MEETING": None, "RELATIONS": None, "OPTIONS": None, "UF_CRM_CAL_EVENT": None},
        ),
    ],
)
def test_empty_fields(result: Callable[..., Any], portal: Portal, style: str, expected: dict[str, object]) -> None:
    portal.configure({"empty_fields": style})
    record = result(GETBYID, {"id": 690})
    assert {name: record[name] for name in expected} == expected


def event(starts: str, repeat: dict[str, object], **more: object) -> Event:
    given = {
        "name": "x",
        "host": 1,
        "start": f"{starts}T10:00",
        "end": f"{starts}T11:00",
        "attendees": [],
        **more,
    }
    content = {"people": [{"id": 1, "name": "A"}], "events": [{**given, "repeat": repeat}]}
    return datafile.parse(content).events[0]


@pytest.mark.parametrize(
    ("starts", "repeat", "days", "last"),
    [
        (
            "2026-09-01",
            {"frequency": "DAILY", "interval": 2, "count": 3},
            ["09-01", "09-03", "09-05"],
            "2026-09-05",
        ),
        ("2026-09-01", {"frequency": "DAILY", "until": "2026-09-02"}, ["09-01", "09-02"], "2026-09-02"),
        (
            "2026-09-02",
            {"frequency": "WEEKLY", "by_day": ["FR", "MO"]},
            ["09-04", "09-07", "09-11"],
            "2038-01-01",
        ),
        ("2026-09-02", {"frequency": "WEEKLY", "interval": 2, "count": 2}, ["09-14", "09-28"], "2026-09-28"),
        ("2026-07-31", {"frequency": "MONTHLY", "count": 3}, ["07-31", "08-31", "10-31"], "2026-10-31"),
        ("2026-11-30", {"frequency": "MONTHLY", "count": 2}, ["11-30", "12-30"], "2026-12-30"),
        ("2024-02-29", {"frequency": "YEARLY", "count": 2}, ["02-29", "02-29"], "2028-02-29"),
    ],
)
def test_recurrence(starts: str, repeat: dict[str, object], days: list[str], last: str) -> None:
    series = event(starts, repeat)
    assert [f"{day:%m-%d}" for day in islice(recurrence.days(series), 3)] == days
    assert recurrence.last_day(series) == date.fromisoformat(last)


def test_excluded_days_count() -> None:
    series = event("2026-09-01", {"frequency": "DAILY", "count": 3}, **{"except": ["2026-09-02"]})
    assert [day.day for day in recurrence.days(series)] == [1, 3]


@pytest.mark.parametrize(("today", "expected"), [("2026-08-01", 1), ("2026-09-02", 2), ("2026-10-01", 3)])
def test_next_day(today: str, expected: int) -> None:
    series = event("2026-09-01", {"frequency": "DAILY", "count": 3})
    assert recurrence.next_day(series, date.fromisoformat(today)).day == expected
