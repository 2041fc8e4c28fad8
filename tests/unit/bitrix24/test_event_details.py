"""What a row says of an event besides its time and its attendees."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_provider_b24cal.bitrix24.calendar.date_formats import formats_of
from airflow_provider_b24cal.bitrix24.calendar.details import crm_links
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, read_event

ROW: dict[str, Any] = {
    "ID": "8", "PARENT_ID": "7", "IS_MEETING": True, "TZ_FROM": "Europe/Berlin", "TZ_TO": "Europe/Berlin",
    "DATE_FROM_FORMATTED": "Wed Mar 04 2026 10:00:00", "DATE_TO_FORMATTED": "Wed Mar 04 2026 11:00:00",
}  # fmt: skip


def read(**more: Any) -> CalendarEvent:
    return read_event({**ROW, **more})


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"FREQ": "WEEKLY", "INTERVAL": 2, "BYDAY": {"MO": "MO", "WE": "WE"}, "UNTIL_TS": 2145906000},
         "FREQ=WEEKLY;INTERVAL=2;BYDAY=MO,WE"),
        ({"FREQ": "DAILY", "COUNT": 3, "INTERVAL": 10, "UNTIL": "27.02.2026", "UNTIL_TS": 1772150400},
         "FREQ=DAILY;INTERVAL=10;COUNT=3"),
        ({"FREQ": "DAILY", "INTERVAL": 10, "UNTIL": "27.02.2026", "UNTIL_TS": 1772150400},
         "FREQ=DAILY;INTERVAL=10;UNTIL=20260227"),
        ({"FREQ": "DAILY", "INTERVAL": "1", "BYDAY": ""}, "FREQ=DAILY;INTERVAL=1"),
        ("FREQ=DAILY;INTERVAL=1", "FREQ=DAILY;INTERVAL=1"),
        ({"FREQ": "DAILY", "UNTIL_TS": 10**30}, "FREQ=DAILY"),
        ({"FREQ": ["DAILY"], "UNTIL_TS": True}, "FREQ=DAILY"),
        *[(empty, None) for empty in ("", None, False, [], {}, "null", {"UNTIL": "27.02.2026"})],
    ],
)  # fmt: skip
def test_the_rule_of_a_series(rule: object, expected: str | None) -> None:
    assert read(RRULE=rule).recurrence_rule == expected


@pytest.mark.parametrize(
    ("by_day", "expected"),
    [
        ({"MO": "1", "WE": "-1"}, "MO,WE"),
        ({"MO": "MO", "FR": 2}, "MO,FR"),
        ({"0": "MO", "2": "WE"}, "MO,WE"),
        (["MO", "WE"], "MO,WE"),
        ("MO,WE", "MO,WE"),
    ],
)
def test_the_days_of_a_week(by_day: object, expected: str) -> None:
    rule = {"FREQ": "WEEKLY", "INTERVAL": 1, "BYDAY": by_day}
    assert read(RRULE=rule).recurrence_rule == f"FREQ=WEEKLY;INTERVAL=1;BYDAY={expected}"


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, "27.02.2026", "FREQ=DAILY;INTERVAL=1;UNTIL=20260227"),
        ("03/04/2026 10:00:00 am", "05/04/2026", "FREQ=DAILY;INTERVAL=1;UNTIL=20260504"),
        ("04/03/2026 10:00:00", "05/04/2026", "FREQ=DAILY;INTERVAL=1;UNTIL=20260405"),
        (None, "05/04/2026", None),
        (None, "soon", None),
        *[(None, nothing, "FREQ=DAILY;INTERVAL=1") for nothing in ("", None, False, "null", "01.01.2038")],
    ],
)
def test_the_end_of_a_series_is_a_date_on_an_older_portal(start: str | None, end: object, expected: str | None) -> None:
    """A rule whose end is ambiguous is left out: without it the series would be endless."""
    rule = {"FREQ": "DAILY", "INTERVAL": 1, "UNTIL": end or "01.01.2038", "~UNTIL": end}
    assert read(DATE_FROM=start, RRULE=rule).recurrence_rule == expected
    assert read(DATE_FROM=start, RRULE={**rule, "COUNT": 3}).recurrence_rule == "FREQ=DAILY;INTERVAL=1;COUNT=3"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["D_12", "C_5", "D_12"], ("C_5", "D_12")),
        ({"0": "CO_3", "2": "Tb4_1"}, ("CO_3", "Tb4_1")),
        ("L_1", ("L_1",)),
        (["12", 7, None, {"D": 1}], ()),
        *[(empty, ()) for empty in (False, None, "", [], "null")],
    ],
)
def test_links_to_the_crm(value: object, expected: tuple[str, ...]) -> None:
    assert crm_links({"UF_CRM_CAL_EVENT": value}) == expected
    assert crm_links({}) is None, "a masked event has no such field"


@pytest.mark.parametrize(
    ("start", "stamp", "expected"),
    [
        ("04.03.2026 10:00:00", "05.01.2026 14:21:21", "2026-01-05T14:21:21"),
        ("03/04/2026 10:00:00 am", "01/05/2026 02:21:21 pm", "2026-01-05T14:21:21"),
        ("04/03/2026 10:00:00", "05/01/2026 14:21:21", "2026-01-05T14:21:21"),
        ("2026-03-04 10:00:00", "2026-01-05 14:21:21", "2026-01-05T14:21:21"),
        (None, "13/01/2026 14:21:21", "2026-01-13T14:21:21"),
        (None, "05/01/2026 14:21:21", None),
        ("03/03/2026 10:00:00", "05/01/2026 14:21:21", None),
        *[("04.03.2026 10:00:00", nothing, None) for nothing in ("null", "", None, False, 7, ["x"], "soon")],
    ],
)
def test_dates_are_read_if_there_is_one_way(start: str | None, stamp: object, expected: str | None) -> None:
    event = read(DATE_FROM=start, DATE_CREATE=stamp, TIMESTAMP_X=stamp)
    assert (event.created, event.changed) == (expected, expected)


def test_the_other_rows_of_an_old_portal_decide() -> None:
    old = {name: value for name, value in ROW.items() if not name.endswith("FORMATTED")}
    rows = [
        {**old, "DATE_FROM": f"{day} 10:00:00", "DATE_TO": f"{day} 11:00:00", "DATE_CREATE": "05/01/2026 14:21:21",
         "DATE_FROM_TS_UTC": "1772614800"}
        for day in ("03/04/2026", "03/14/2026")
    ]  # fmt: skip
    assert read_event(rows[0], formats_of(rows)).created == "2026-05-01T14:21:21"


def test_the_original_start_of_an_edited_date() -> None:
    timed = read(DATE_FROM="04.03.2026 10:00:00", ORIGINAL_DATE_FROM="02.03.2026 09:00:00")
    assert timed.original_start == datetime(2026, 3, 2, 8, tzinfo=UTC)
    days = read(DATE_FROM="04.03.2026", DT_SKIP_TIME="Y", ORIGINAL_DATE_FROM="02.03.2026 00:00:00")
    assert days.original_start == datetime(2026, 3, 2, tzinfo=UTC)
    assert read(DATE_FROM="04.03.2026 10:00:00", ORIGINAL_DATE_FROM=None).original_start is None


def test_a_place_that_is_no_text_makes_no_row_unreadable() -> None:
    for place in (None, False, "", "null", 7, ["Room"]):
        assert read(LOCATION=place).location is None
    assert read(LOCATION="Room 1").location == "Room 1"


def test_details_are_json() -> None:
    event = read(LOCATION="Room 1", UF_CRM_CAL_EVENT=["D_12"], DATE_CREATE="05.01.2026 14:21:21")
    plain = json.loads(json.dumps(event.to_dict()))
    assert (plain["location"], plain["crm_links"], plain["created"]) == ("Room 1", ["D_12"], "2026-01-05T14:21:21")
