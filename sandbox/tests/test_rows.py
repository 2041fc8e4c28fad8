"""What rows of lists hold: meetings, entries that are none, rooms, and the forms that portals have given them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

Get = Callable[..., dict[str, Any]]

GET, GETBYID = "calendar.event.get", "calendar.event.getbyid"
HOURS = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00", "time_zone": "Europe/Berlin"}
DATA: dict[str, Any] = {
    "people": [
        {"id": 1, "name": "Anna", "last_name": "Orlova", "webhook": {"secret": "anna000000000001"}},
        {"id": 2, "name": "Martin", "shares": "full"},
        {"id": 3, "name": "Irina", "shares": "title", "login": "irina@example.com",
         "webhook": {"secret": "irina00000000003"}},
    ],
    "events": [
        {"id": 10, "name": "Meeting", "host": 2, "room": 64, "notify": True, **HOURS, "description": "Words",
         "attendees": [{"user": 1, "id": 11}]},
        {"id": 20, "name": "Entry", "host": 1, **HOURS},
        {"id": 30, "name": "Private", "host": 2, "private": True, **HOURS},
        {"id": 40, "name": "Company", "host": 2, "calendar": {"type": "company_calendar"}, **HOURS,
         "attendees": [{"user": 2, "status": "Y"}]},
        {"id": 50, "name": "Days", "host": 1, "all_day": True, "start": "2026-09-07", "end": "2026-09-07",
         "repeat": {"frequency": "DAILY", "interval": 2, "until": "2026-09-20"}, "except": ["2026-09-15"]},
        {"id": 70, "name": "Titled", "host": 3, "description": "Words", **HOURS},
        {"id": 60, "name": "Moved", "host": 1, "series": 50, **HOURS, "start": "2026-09-15T08:00", "attendees": []},
    ],
}  # fmt: skip
KEYS = {
    "ID", "PARENT_ID", "ACTIVE", "DELETED", "CAL_TYPE", "OWNER_ID", "NAME", "DATE_FROM", "DATE_TO", "TZ_FROM", "TZ_TO",
    "ORIGINAL_DATE_FROM", "TZ_OFFSET_FROM", "TZ_OFFSET_TO", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC", "DT_SKIP_TIME",
    "DT_LENGTH", "EVENT_TYPE", "CREATED_BY", "DATE_CREATE", "TIMESTAMP_X", "DESCRIPTION", "DT_FROM", "DT_TO",
    "PRIVATE_EVENT", "ACCESSIBILITY", "IMPORTANCE", "IS_MEETING", "MEETING_STATUS", "MEETING_HOST", "MEETING",
    "LOCATION", "REMIND", "COLOR", "TEXT_COLOR", "RRULE", "EXDATE", "DAV_XML_ID", "G_EVENT_ID", "DAV_EXCH_LABEL",
    "CAL_DAV_LABEL", "VERSION", "ATTENDEES_CODES", "RECURRENCE_ID", "RELATIONS", "SECTION_ID", "SYNC_STATUS",
    "UF_CRM_CAL_EVENT", "UF_WEBDAV_CAL_EVENT", "SECTION_DAV_XML_ID", "DATE_FROM_FORMATTED", "DATE_TO_FORMATTED",
    "IS_DAYLIGHT_SAVING_TZ", "SECT_ID", "OPTIONS", "ATTENDEE_LIST", "COLLAB_ID", "~USER_OFFSET_FROM",
    "~USER_OFFSET_TO",
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return DATA


@pytest.fixture(scope="module")
def portal_clock() -> Callable[[], float]:
    return lambda: 1_789_545_600.0


@pytest.fixture
def row(result: Callable[..., Any]) -> Get:
    """Return the last row of an id in a list."""

    def get(row_id: int, kind: str = "user", owner: int = 1) -> dict[str, Any]:
        found = [one for one in result(GET, {"type": kind, "ownerId": owner}) if one["ID"] == str(row_id)]
        last: dict[str, Any] = found[-1]
        return last

    return get


def test_a_meeting(row: Get) -> None:
    meeting = row(11)
    assert set(meeting) == KEYS | {"attendeesEntityList"}
    assert meeting["MEETING"] == {
        "HOST_NAME": "Martin", "NOTIFY": True, "REINVITE": False, "ALLOW_INVITE": False, "HIDE_GUESTS": True,
        "MEETING_CREATOR": 2, "LANGUAGE_ID": "en", "MAIL_FROM": False, "CHAT_ID": 0,
    }  # fmt: skip
    # Guests that are hidden from one another are listed all the same.
    assert [guest["id"] for guest in meeting["ATTENDEE_LIST"]] == [2, 1]
    assert meeting["REMIND"] == [{"type": "min", "count": 15}]


def test_only_getbyid_has_the_description_as_markup(row: Get, result: Callable[..., Any]) -> None:
    assert "~DESCRIPTION" not in row(11)
    single = result(GETBYID, {"id": 11})
    assert single["~DESCRIPTION"] == single["DESCRIPTION"] == "Words"
    assert not {"ACTIVE", "DT_FROM", "DT_TO", "TEXT_COLOR"} & set(single)


@pytest.mark.parametrize(
    ("kind", "host", "status", "listed", "codes", "object_"),
    [
        ("owner", "1", "H", [{"id": 1, "entryId": "20", "status": "H"}], None, False),
        ("host", "1", "H", [{"id": 1, "entryId": "20", "status": "H"}], ["U1"], True),
        ("zero", "0", "Y", [{"id": 0, "entryId": "20", "status": "Y"}], None, False),
        ("null", None, "Y", [{"id": None, "entryId": "20", "status": "Y"}], None, False),
        ("nobody", "0", "Y", [], None, False),
    ],
)
def test_an_entry_that_is_no_meeting(
    kind: str, host: object, status: str, listed: object, codes: object, object_: bool, row: Get, portal: Portal
) -> None:
    portal.configure({"plain_entries": kind})
    entry = row(20)
    assert entry["IS_MEETING"] is False
    shown = [entry[name] for name in ("MEETING_HOST", "MEETING_STATUS", "ATTENDEE_LIST", "ATTENDEES_CODES")]
    assert shown == [host, status, listed, codes]
    assert isinstance(entry["MEETING"], dict) is object_
    assert ("attendeesEntityList" in entry) is object_


def test_a_private_entry_of_somebody_else(row: Get, portal: Portal) -> None:
    entry = row(30, owner=2)
    assert (entry["NAME"], entry["IS_MEETING"], entry["MEETING_STATUS"]) == ("[Busy]", False, "H")
    assert set(entry) == KEYS - {
        "DESCRIPTION", "LOCATION", "REMIND", "ATTENDEE_LIST", "ATTENDEES_CODES", "UF_CRM_CAL_EVENT",
        "UF_WEBDAV_CAL_EVENT",
    } | {"IS_ACCESSIBLE_TO_USER"}  # fmt: skip
    portal.configure({"plain_entries": "zero"})
    assert row(30, owner=2)["MEETING_HOST"] == "0"


def test_a_calendar_that_shows_titles(row: Get, result: Callable[..., Any]) -> None:
    entry = row(70, owner=3)
    assert entry["NAME"] == "Titled [Busy]"
    assert not {"IS_ACCESSIBLE_TO_USER", "DESCRIPTION", "ATTENDEE_LIST"} & set(entry)
    busy = result("calendar.accessibility.get", {"users": [3], "from": "2026-09-16", "to": "2026-09-16"})
    assert [period["NAME"] for period in busy["3"]] == ["Titled"]


def test_an_address_in_place_of_the_id_of_a_webhook(server: SandboxServer) -> None:
    url = f"{server.url}/rest/irina%40example.com/irina00000000003/profile"
    assert requests.get(url, timeout=TIMEOUT).json()["result"]["ID"] == "3"


@pytest.mark.parametrize(("kind", "host", "guest"), [("owner", "0", 0), ("host", "0", 0), ("null", None, None)])
def test_a_booked_room(
    kind: str, host: object, guest: object, row: Get, result: Callable[..., Any], portal: Portal
) -> None:
    portal.configure({"plain_entries": kind})
    (booking,) = result(GET, {"type": "location", "ownerId": 0})
    assert set(booking) == KEYS
    assert [booking[name] for name in ("PARENT_ID", "CAL_TYPE", "OWNER_ID", "NAME", "SECTION_ID", "IS_MEETING")] == [
        "10", "location", "0", "Martin", "64", False,
    ]  # fmt: skip
    assert (booking["MEETING_HOST"], booking["MEETING_STATUS"], booking["REMIND"]) == (host, "Y", [])
    assert booking["ATTENDEE_LIST"] == [{"id": guest, "entryId": booking["ID"], "status": "Y"}]
    meeting = row(11)
    assert meeting["LOCATION"] == f"calendar_64_{booking['ID']}"
    assert booking["DATE_FROM_FORMATTED"] == meeting["DATE_FROM_FORMATTED"]
    assert result(GETBYID, {"id": int(booking["ID"])})["CAL_TYPE"] == "location"


def test_a_booked_room_takes_no_part(result: Callable[..., Any], portal: Portal, server: SandboxServer) -> None:
    (booking,) = result(GET, {"type": "location", "ownerId": 0})
    url = server.webhook_url(1) + "calendar.meeting.status.get"
    reply = requests.post(url, json={"eventId": booking["ID"]}, timeout=TIMEOUT)
    assert (reply.status_code, reply.json()["error"]) == (400, "")
    assert result("calendar.meeting.status.set", {"eventId": int(booking["ID"]), "status": "Y"}) is True
    assert portal.status(10, 1) == "Q"


def test_everybody_is_invited_to_an_event_of_the_company(row: Get) -> None:
    company = row(40, "company_calendar", 0)
    assert company["ATTENDEES_CODES"] == ["U2", "UA"]
    everybody = {"entityId": "meta-user", "id": "all-users"}
    assert company["attendeesEntityList"] == [{"entityId": "user", "id": 2}, everybody]
    assert company["REMIND"] == [{"type": "daybefore", "before": 1, "time": 540}]


def test_only_days_of_a_series_keep_the_first_date(row: Get, result: Callable[..., Any]) -> None:
    day = row(50)
    assert set(day) - KEYS == {"~DATE_FROM", "~DATE_TO", "RINDEX", "~RRULE_DESCRIPTION"}
    # Days of a series of whole days have no time of day; the series itself has one.
    assert (day["DATE_FROM"], day["~DATE_FROM"]) == ("19.09.2026", "07.09.2026")
    series = result(GETBYID, {"id": 50})
    assert series["DATE_FROM"] == "07.09.2026 00:00:00"
    assert "~DATE_FROM" not in series
    assert (series["RRULE"]["UNTIL"], series["RRULE"]["~UNTIL"]) == ("20.09.2026", "20.09.2026")


def test_an_edited_occurrence_names_its_date(row: Get, portal: Portal) -> None:
    portal.configure({"culture": "spanish"})
    edited = row(60)
    assert (edited["RECURRENCE_ID"], edited["ORIGINAL_DATE_FROM"]) == (50, "15/09/2026 00:00:00")
    assert edited["RELATIONS"] == {"COMMENT_XML_ID": "EVENT_50_15/09/2026"}


def test_rows_of_older_modules(row: Get, portal: Portal) -> None:
    portal.configure({"modules": "2021"})
    meeting, entry = row(11), row(20)
    newer = {
        "ACTIVE", "DT_FROM", "DT_TO", "TEXT_COLOR", "DATE_FROM_FORMATTED", "DATE_TO_FORMATTED", "OPTIONS",
        "COLLAB_ID", "SECTION_DAV_XML_ID", "IS_DAYLIGHT_SAVING_TZ",
    }  # fmt: skip
    assert set(meeting) == (KEYS - newer) | {"attendeesEntityList", "REL"}
    assert meeting["DT_LENGTH"] == "3600"
    assert not {"LANGUAGE_ID", "CHAT_ID"} & set(meeting["MEETING"])
    assert meeting["ATTENDEE_LIST"]
    assert entry["ATTENDEE_LIST"] is entry["attendeesEntityList"] is None
    assert set(row(50)["RRULE"]) == {"FREQ", "INTERVAL", "UNTIL", "~UNTIL"}


def test_hidden_attendees_and_nonsense_of_timestamps(row: Get, portal: Portal) -> None:
    portal.configure({"attendee_list": "null", "timestamps": "nonsense"})
    meeting = row(11)
    assert meeting["ATTENDEE_LIST"] is meeting["attendeesEntityList"] is None
    assert (meeting["DATE_FROM_TS_UTC"], meeting["DATE_TO_TS_UTC"]) == ("-10799", "2145992400")


def test_null_as_a_word(row: Get, portal: Portal) -> None:
    portal.configure({"empty_fields": "text"})
    entry = row(20)
    assert entry["RECURRENCE_ID"] == entry["OPTIONS"] == entry["MEETING"] == "null"
    assert None not in entry.values()
