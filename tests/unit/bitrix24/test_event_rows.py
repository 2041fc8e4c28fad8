"""Rows of events and busy times, in every spelling that portals have."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.calendar.accessibility import read_busy
from airflow_provider_b24cal.bitrix24.calendar.event_methods import get_busy, get_event, get_events
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, read_event
from airflow_provider_b24cal.bitrix24.calendar.fields import RowError
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import UnexpectedReplyError

ROW: dict[str, Any] = {
    "ID": "651", "PARENT_ID": "650", "NAME": "Budget", "CAL_TYPE": "user", "OWNER_ID": "1", "MEETING_HOST": "2",
    "DATE_FROM": "10.02.2025 00:45:00", "DATE_TO": "10.02.2025 01:45:00",
    "DATE_FROM_FORMATTED": "Mon Feb 10 2025 00:45:00", "DATE_TO_FORMATTED": "Mon Feb 10 2025 01:45:00",
    # Three hours early and with stray seconds, as was seen on a portal.
    "DATE_FROM_TS_UTC": "1739126723", "TZ_FROM": "Europe/Minsk", "TZ_TO": "Europe/Minsk",
    "TZ_OFFSET_FROM": "10800", "TZ_OFFSET_TO": "10800", "DT_SKIP_TIME": "N", "IS_MEETING": True,
    "MEETING_STATUS": "Q", "RRULE": "", "RECURRENCE_ID": None,
    "ATTENDEE_LIST": [{"id": 2, "entryId": "650", "status": "H"}, {"id": 1, "entryId": "651", "status": "Q"}],
}  # fmt: skip
START = datetime(2025, 2, 9, 21, 45, tzinfo=UTC)
DAY = {
    "DT_SKIP_TIME": "Y", "DATE_FROM_FORMATTED": "Fri Sep 18 2026", "DATE_TO_FORMATTED": "Sat Sep 19 2026",
    "TZ_FROM": None, "TZ_TO": None,
}  # fmt: skip
ABSENT = object()


def _changed(changes: dict[str, Any], row: dict[str, Any] = ROW) -> dict[str, Any]:
    return {name: value for name, value in (row | changes).items() if value is not ABSENT}


@pytest.mark.parametrize(
    ("changes", "field", "wanted"),
    [
        ({}, "start", START),
        ({}, "end", START + timedelta(hours=1)),
        ({"TZ_FROM": "America/New_York", "TZ_TO": "Europe/Minsk", "DATE_TO_FORMATTED": "Mon Feb 10 2025 10:00:00"},
         "end", datetime(2025, 2, 10, 7, tzinfo=UTC)),
        ({"TZ_TO": ""}, "end", START + timedelta(hours=1)),
        ({"TZ_FROM": "Mars/Crater", "TZ_TO": "Mars/Crater"}, "start", START),
        ({"TZ_FROM": ABSENT, "TZ_TO": ABSENT, "TZ_OFFSET_FROM": 7200}, "start", START + timedelta(hours=1)),
        ({"TZ_FROM": "../etc/passwd", "TZ_TO": "Europe"}, "start", START),
        ({"DATE_TO_FORMATTED": "Mon Feb 10 2025 00:15:00"}, "end", START),
        ({"DATE_FROM_FORMATTED": "Sun Oct 25 2026 02:30:00", "TZ_FROM": "Europe/Berlin",
          "DATE_TO_FORMATTED": "Sun Oct 25 2026 05:00:00"}, "start", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        (DAY, "start", datetime(2026, 9, 18, tzinfo=UTC)),
        (DAY, "end", datetime(2026, 9, 20, tzinfo=UTC)),
        (DAY, "zone", None),
        (DAY | {"TZ_FROM": "Europe/Minsk"}, "start", datetime(2026, 9, 18, tzinfo=UTC)),
        ({"ID": 651}, "id", 651),
        ({"PARENT_ID": ""}, "parent_id", 651),
        ({"NAME": False}, "name", ""),
        ({"OWNER_ID": "0", "CAL_TYPE": "company_calendar"}, "owner_id", 0),
        ({"MEETING_HOST": "0"}, "host_id", None),
        ({"MEETING_STATUS": False}, "status", None),
        ({"MEETING_STATUS": ""}, "status", None),
        ({"MEETING_STATUS": "M"}, "status", "M"),
        *(({"IS_MEETING": value}, "is_meeting", True) for value in (True, 1, "1", "Y")),
        *(({"IS_MEETING": value}, "is_meeting", False) for value in (False, 0, "0", "N", "", None, [], ABSENT)),
        *(({"RRULE": value}, "is_recurring", False) for value in ("", None, False, [], {}, ABSENT)),
        *(({"RRULE": value}, "is_recurring", True) for value in ({"FREQ": "DAILY"}, "FREQ=DAILY")),
        *(({"RECURRENCE_ID": value}, "recurrence_id", None) for value in ("", None, False, 0, "0", ABSENT)),
        ({"RECURRENCE_ID": "649"}, "recurrence_id", 649),
        *(({"ATTENDEE_LIST": value}, "attendees", None) for value in (ABSENT, None, "", False)),
        *(({"ATTENDEE_LIST": value}, "attendees", ()) for value in ([], {})),
        ({"ATTENDEE_LIST": {"1": {"id": "1", "status": "Y"}}}, "attendees", (Attendee(1, "Y"),)),
        *(({"ATTENDEE_LIST": [{"id": nobody, "status": "Y"}, {"id": 1, "status": "Y"}]}, "attendees",
           (Attendee(1, "Y"),)) for nobody in (0, "0", None, "", False, -1)),
        ({"ATTENDEE_LIST": [{"status": "Y"}]}, "attendees", ()),
        *(({"IS_MEETING": False, "ATTENDEE_LIST": value}, "attendees", ())
          for value in (ABSENT, None, "x", [], [1], [{"id": 1, "status": "Y"}], [{"id": 0, "status": "H"}])),
        *(({"IS_MEETING": False, "MEETING_STATUS": value}, "status", None) for value in ("Y", "H", "Q", "yes", 5)),
        *(({"MEETING_HOST": value}, "host_id", None) for value in (None, "", 0, "-1", ABSENT)),
        *(({"PARENT_ID": value}, "parent_id", 651) for value in ("0", 0, None, "-1", ABSENT)),
        ({"NAME": "a\0b\ud800c"}, "name", "a\ufffdb\ufffdc"),
        ({"NAME": "🗓" * 20_000}, "name", "🗓" * 16_383),
        ({"TZ_FROM": "x" * 100}, "zone", "x" * 64),
        ({"CAL_TYPE": "x" * 100}, "calendar_type", "x" * 40),
    ],
)  # fmt: skip
def test_an_event(changes: dict[str, Any], field: str, wanted: Any) -> None:
    assert getattr(read_event(_changed(changes)), field) == wanted


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        *(({"ID": value}, "ID") for value in (ABSENT, None, "", "0", "-1", "x", 1.5, True, [1], "٦")),
        *(({"DATE_FROM_FORMATTED": value}, "DATE_FROM_FORMATTED")
          for value in (ABSENT, None, 5, "10.02.2025 00:45:00", "Mon Feb 30 2025 00:45:00", "Mon Feb 10 2025 25:00:00",
                        "Mon Xxx 10 2025 00:45:00", "Mon Feb 10 0001 00:00:00", "Mon Feb 10 2025 00:45:00\n")),
        ({"TZ_FROM": "Mars/Crater", "TZ_OFFSET_FROM": ""}, "TZ_FROM"),
        ({"TZ_FROM": "Mars/Crater", "TZ_OFFSET_FROM": "86400"}, "TZ_FROM"),
        ({"TZ_FROM": 3}, "TZ_FROM"),
        ({"OWNER_ID": "x"}, "OWNER_ID"),
        ({"NAME": ["x"]}, "NAME"),
        ({"MEETING_STATUS": "yes"}, "MEETING_STATUS"),
        ({"MEETING_STATUS": 5}, "MEETING_STATUS"),
        ({"ATTENDEE_LIST": "x"}, "ATTENDEE_LIST"),
        ({"ATTENDEE_LIST": [1]}, "ATTENDEE_LIST"),
        ({"ATTENDEE_LIST": [{"id": "x", "status": "Y"}]}, "id"),
        ({"ID": 10**18}, "ID"),
        ({"ATTENDEE_LIST": [{"id": 1, "status": ""}]}, "status"),
    ],
)  # fmt: skip
def test_a_row_that_is_no_event(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(RowError) as caught:
        read_event(_changed(changes))
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field} is not ")


BUSY = {name: ROW[name] for name in ("ID", "NAME", "DATE_FROM", "DATE_TO", "TZ_FROM", "TZ_TO", "DT_SKIP_TIME")}
ASKED = Window(datetime(2025, 2, 5, tzinfo=UTC), datetime(2025, 2, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    ("first", "last", "more"),
    [
        ("10.02.2025 00:45:00", "10.02.2025 01:45:00", {}),
        ("02/10/2025 12:45:00 am", "02/10/2025 01:45:00 am", {}),
        ("02/10/2025 12:45 AM", "02/10/2025 1:45 AM", {}),
        ("10/02/2025 00:45:00", "10/02/2025 01:45:00", {}),
        ("10-02-2025 00:45", "10-02-2025 01:45", {}),
        ("2025-02-10 00:45:00", "2025-02-10 01:45:00", {}),
        ("2025/02/10 00:45:00", "2025/02/10 01:45:00", {}),
    ],
)
def test_busy_in_any_culture(first: str, last: str, more: dict[str, Any]) -> None:
    found = read_busy(BUSY | {"DATE_FROM": first, "DATE_TO": last} | more, ASKED)
    assert (found.start, found.end) == (START, START + timedelta(hours=1))
    assert (found.kind, found.name, found.all_day) == ("busy", "Budget", False)


def test_busy_without_duration() -> None:
    """A reminder ends when it starts."""
    moment = "10.02.2025 00:45:00"
    found = read_busy(BUSY | {"DATE_FROM": moment, "DATE_TO": moment}, ASKED)
    assert (found.start, found.end) == (START, START)


def test_a_long_span_is_read_by_its_timestamp() -> None:
    """From 3 April to 6 May, or from 4 March to 5 June: both lie in the window."""
    asked = Window(datetime(2026, 4, 20, tzinfo=UTC), datetime(2026, 4, 30, tzinfo=UTC))
    row = BUSY | {
        "DATE_FROM": "03/04/2026 10:00:00",
        "DATE_TO": "06/05/2026 10:00:00",
        "TZ_FROM": "UTC",
        "TZ_TO": "UTC",
    }
    stamp = datetime(2026, 4, 3, 5, tzinfo=UTC)
    assert read_busy(row | {"DATE_FROM_TS_UTC": str(int(stamp.timestamp()))}, asked).start.month == 4
    stamp = datetime(2026, 3, 4, 20, tzinfo=UTC)
    assert read_busy(row | {"DATE_FROM_TS_UTC": str(int(stamp.timestamp()))}, asked).start.month == 3
    for unknown in ({}, {"DATE_FROM_TS_UTC": "1"}):
        with pytest.raises(RowError, match="DATE_FROM is not an unambiguous time"):
            read_busy(row | unknown, asked)


def _busy(first: str, last: str, **more: Any) -> dict[str, Any]:
    return {**BUSY, "DATE_FROM": first, "DATE_TO": last, "TZ_FROM": "UTC", "TZ_TO": "UTC", **more}


@pytest.mark.parametrize(
    ("first", "last", "month"),
    [
        ("25/04/2026 10:00:00", "25/04/2026 11:00:00", 4),  # there is no month 25
        ("04/25/2026 10:00:00", "04/25/2026 11:00:00", 3),
        ("29/03/2026 22:00:00", "02/04/2026 08:00:00", 4),
        ("12/04/2026 22:00:00", "01/05/2026 08:00:00", 4),  # not from December to January of the same year
    ],
)
def test_what_can_be_read_in_two_ways_is_read_as_the_other_rows(first: str, last: str, month: int) -> None:
    """Of somebody else, too: an answer is written in one way."""
    absence = {"FROM_HR": True, "ID": "3", "DT_FROM": "03/04/2026", "DT_TO": "06/05/2026", "ACCESSIBILITY": "absent"}
    asked = Window(datetime(2026, 4, 1, tzinfo=UTC), datetime(2026, 4, 30, tzinfo=UTC))
    call = get_busy([1, 2], asked)
    with pytest.raises(UnexpectedReplyError, match="DT_FROM"):
        call.read({"1": [absence], "2": []}, str)
    found = call.read({"1": [absence], "2": [_busy(first, last)]}, str)
    assert found[1][0].start.month == month
    # Rows of different ways are read each by itself.
    with pytest.raises(UnexpectedReplyError, match="DT_FROM"):
        call.read({"1": [absence], "2": [_busy("25.04.2026 10:00", "25.04.2026 11:00")]}, str)


def test_an_absence_that_the_personnel_department_entered() -> None:
    row = {
        "FROM_HR": True,
        "ID": "3",
        "DT_FROM": "09.02.2025",
        "DT_TO": "10.02.2025 00:00:00",
        "ACCESSIBILITY": "absent",
    }
    found = read_busy(row, ASKED)
    assert (found.start, found.end) == (datetime(2025, 2, 9, tzinfo=UTC), datetime(2025, 2, 11, tzinfo=UTC))
    assert (found.kind, found.name, found.all_day) == ("absent", None, True)


@pytest.mark.parametrize(
    "first", ["", None, 5, "soon", "40.02.2025", "10.02.2025 30:00:00", "31.12.0001", "12.02.2025"]
)
def test_a_row_that_is_no_busy_time(first: Any) -> None:
    with pytest.raises(RowError):
        read_busy(BUSY | {"DATE_FROM": first}, ASKED)


def test_a_name_is_scrubbed() -> None:
    row = ROW | {"NAME": "Hook https://x/rest/1/code/"}

    def scrub(text: str) -> str:
        return text.replace("code", "***")

    assert get_event(651).read(row, scrub).name == "Hook https://x/rest/1/***/"
    (busy,) = get_busy([1], ASKED).read({"1": [row]}, scrub)[1]
    assert busy.name == "Hook https://x/rest/1/***/"


def test_calls_always_have_both_ends() -> None:
    hour = Window(datetime(2026, 9, 16, 10, tzinfo=UTC), datetime(2026, 9, 16, 11, tzinfo=UTC))
    span = {"from": "2026-09-16T10:00:00+00:00", "to": "2026-09-17T10:00:00+00:00"}
    assert get_events("user", 1, hour).params == {"type": "user", "ownerId": 1, **span}
    assert get_events("group", 7, hour, [3, 4]).params == {"type": "group", "ownerId": 7, "section": [3, 4], **span}
    assert get_busy([1, 2], hour).params == {"users": [1, 2], **span}
    assert get_event(651).params == {"id": 651}
    assert not any(call.writes for call in (get_events("user", 1, hour), get_busy([1], hour), get_event(651)))


def _old(first: str, last: str, **more: Any) -> dict[str, Any]:
    """Return a row as portals of 2021 write it."""
    changes = {"DATE_FROM_FORMATTED": ABSENT, "DATE_TO_FORMATTED": ABSENT, "DATE_FROM_TS_UTC": ABSENT}
    return _changed({**changes, "DATE_FROM": first, "DATE_TO": last, "TZ_FROM": "UTC", "TZ_TO": "UTC", **more})


SPRING = Window(datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 10, tzinfo=UTC))
APRIL_3, MARCH_4 = datetime(2026, 4, 3, 10, tzinfo=UTC), datetime(2026, 3, 4, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("others", "more", "start"),
    [
        ([], {}, None),
        ([_old("25/03/2026 10:00:00", "25/03/2026 11:00:00")], {}, APRIL_3),
        ([_old("03/25/2026 10:00:00", "03/25/2026 11:00:00")], {}, MARCH_4),
        ([_old("soon", "25/03/2026 11:00:00"), _old("25/03/2026 10:00", "25/03/2026 11:00")], {}, APRIL_3),
        ([], {"DATE_FROM_TS_UTC": str(int(MARCH_4.timestamp()) - 10_800)}, MARCH_4),
        # Of a series it is the start of the first date, which may be the other reading.
        ([], {"DATE_FROM_TS_UTC": str(int(MARCH_4.timestamp())), "RRULE": {"FREQ": "DAILY"}}, None),
    ],
)
def test_a_date_of_an_old_portal_is_read_as_the_other_rows(others: Any, more: Any, start: datetime | None) -> None:
    row = _old("03/04/2026 10:00:00", "03/04/2026 11:00:00", **more)
    found = get_events("user", 1, SPRING).read([*others, row], str)
    if start is None:
        assert "DATE_FROM of a row; got str '03/04/2026 10:00:00'" in found.unreadable[-1].reason
    else:
        assert (found.events[-1].start, found.events[-1].end) == (start, start + timedelta(hours=1))


@pytest.mark.parametrize(
    ("changes", "start", "end"),
    [
        ({"DATE_FROM": "25.02.2026 10:00:00", "DATE_TO": "25.02.2026 11:30:00", "TZ_FROM": "Asia/Yekaterinburg",
          "TZ_TO": ""}, "2026-02-25T05:00", "2026-02-25T06:30"),
        ({"DATE_FROM": "02/25/2026 01:00:00 pm", "DATE_TO": "02/25/2026 02:00:00 pm"}, "2026-02-25T13:00",
         "2026-02-25T14:00"),
        ({"DATE_FROM": "25.02.2026", "DATE_TO": "26.02.2026 00:00:00", "DT_SKIP_TIME": "Y"}, "2026-02-25T00:00",
         "2026-02-27T00:00"),
        ({"DATE_FROM_FORMATTED": None, "DATE_FROM": "25.02.2026 10:00", "DATE_TO": "25.02.2026 11:00"},
         "2026-02-25T10:00", "2026-02-25T11:00"),
    ],
)  # fmt: skip
def test_one_event_of_an_old_portal(changes: dict[str, Any], start: str, end: str) -> None:
    event = get_event(651).read(_old("", "") | changes, str)
    assert [event.start.isoformat()[:16], event.end.isoformat()[:16]] == [start, end]


@pytest.mark.parametrize(
    ("more", "first", "last", "start", "end"),
    [
        # Timestamps are those of the server, here three hours ahead.
        ({"FROM": 1770879600, "TO": 1770886800}, "12.02.2026 10:00:00", "12.02.2026 12:00:00", 7, 9),
        ({"FROM": "1770879600", "TO": "1770886800"}, "02/12/2026 10:00 am", "02/12/2026 12:00 pm", 7, 9),
        ({"TZ_FROM": "Europe/Minsk"}, "12.02.2026 10:00:00", "12.02.2026 12:00:00", 7, 9),
        # Without any, or with nonsense, the hours are those of the window's zone.
        ({}, "12.02.2026 10:00:00", "12.02.2026 12:00:00", 9, 11),
        ({"FROM": 5, "TO": "x"}, "12.02.2026 10:00:00", "12.02.2026 12:00:00", 9, 11),
        ({}, "12.02.2026 22:00:00", "13.02.2026 00:00:00", 21, 23),
    ],
)
def test_an_absence_of_hours(more: dict[str, Any], first: str, last: str, start: int, end: int) -> None:
    row = {"FROM_HR": True, "ID": "3", "DT_FROM": first, "DT_TO": last, "ACCESSIBILITY": "absent", **more}
    asked = Window(datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 16, tzinfo=UTC))
    (found,) = get_busy([8], asked, timezone(timedelta(hours=1))).read({"8": [row]}, str)[8]
    day = datetime(2026, 2, 12, tzinfo=UTC)
    assert (found.start, found.end) == (day + timedelta(hours=start), day + timedelta(hours=end))
    assert (found.kind, found.all_day) == ("absent", False)


@pytest.mark.parametrize("last", ["13.02.2026", "13.02.2026 00:00:00", "13.02.2026 23:59:59"])
def test_an_absence_from_midnight_to_midnight_is_one_of_days(last: str) -> None:
    row = {"FROM_HR": True, "ID": "3", "DT_FROM": "12.02.2026", "DT_TO": last, "FROM": 1770843600, "TO": 1770930000}
    asked = Window(datetime(2026, 2, 8, tzinfo=UTC), datetime(2026, 2, 16, tzinfo=UTC))
    found = read_busy(row, asked)
    assert (found.start, found.end) == (datetime(2026, 2, 12, tzinfo=UTC), datetime(2026, 2, 14, tzinfo=UTC))
    assert found.all_day
