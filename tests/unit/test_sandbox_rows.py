"""The sandbox's own rows are those of the samples: the same fields, values and events.

The samples are replies in the shape of real ones. For each the sandbox serves an event of the same time and people,
with the settings of that portal.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from bitrix24_sandbox import datafile
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar.date_formats import formats_of
from airflow_provider_b24cal.bitrix24.calendar.event_methods import get_busy
from airflow_provider_b24cal.bitrix24.calendar.events import read_event
from airflow_provider_b24cal.bitrix24.calendar.fields import RowError
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.sample_files import SAMPLES, as_window, shown_event

FREE = {
    "ID", "PARENT_ID", "NAME", "DESCRIPTION", "CREATED_BY", "DATE_CREATE", "TIMESTAMP_X", "VERSION", "SECTION_ID",
    "SECT_ID", "COLOR", "REMIND", "LOCATION", "DAV_XML_ID", "ATTENDEE_LIST", "attendeesEntityList", "MEETING",
    "ATTENDEES_CODES", "RELATIONS", "UF_CRM_CAL_EVENT", "UF_WEBDAV_CAL_EVENT", "PRIVATE_EVENT", "~DESCRIPTION",
}  # fmt: skip
"""Fields whose values differ between events of one portal; their types do not."""


@dataclass(frozen=True)
class Case:
    """A sample and what the sandbox serves to play it.

    :param differs: fields that the sample has filled from elsewhere.
    """

    sample: str
    event: dict[str, Any]
    settings: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Any] = field(default_factory=dict)
    differs: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        return self.sample


def at(day: str, start: str, end: str, zone: str) -> dict[str, str]:
    return {"start": f"{day}T{start}", "end": f"{day}T{end}", "time_zone": zone}


def answers(**letters: str) -> list[dict[str, object]]:
    return [{"user": int(name[1:]), "status": letter} for name, letter in letters.items()]


COMPANY = {"calendar": {"type": "company_calendar"}}
ROOM = {"id": 4138, "host": 7, "room": 64, "attendees": [], **at("2026-02-16", "11:00", "12:00", "Europe/Minsk")}
ROOMS = {"type": "location", "ownerId": 0}
COMPANYS = {"type": "company_calendar", "ownerId": 0}
OLD = {"modules": "2021", "server_zone": "Asia/Yekaterinburg"}
CASES = [
    Case("room-with-attendee-0", ROOM, {"plain_entries": "zero", "empty_fields": "null"}, ROOMS, ("RRULE", "OPTIONS")),
    Case("room-with-attendee-null", ROOM, {"plain_entries": "null", "empty_fields": "null"}, ROOMS,
         ("RRULE", "MEETING_HOST")),
    Case("company-host-among-attendees",
         {"id": 1601, "host": 57, **COMPANY, **at("2026-02-20", "18:00", "21:00", "Europe/Saratov"),
          "attendees": answers(u57="Y", u58="Q", u59="N")}, {"server_zone": "Europe/Saratov"}, COMPANYS),
    Case("occurrences-of-two-series",
         {"id": 6042, "host": 1, "private": True, "accessibility": "quest", "attendees": answers(u10="Q"),
          "repeat": {"frequency": "DAILY", "interval": 10, "until": "2026-02-27"},
          **at("2026-02-17", "11:59", "12:59", "Europe/Minsk")},
         # Its times have seconds, and its rule both a number of days and a last one.
         {}, {}, ("~DATE_FROM", "~DATE_TO", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC", "RRULE", "~RRULE_DESCRIPTION")),
    Case("german-summer-time",
         {"id": 1209, "host": 1, **at("2026-09-25", "11:00", "17:00", "Europe/Berlin")}, {"plain_entries": "host"}),
    Case("nonsense-timestamps",
         {"id": 8, "host": 1, **at("2026-02-18", "18:00", "19:00", "Europe/Moscow")}, {"timestamps": "nonsense"}),
    Case("old-portal",
         {"id": 501, "host": 7, "description": "Words", "calendar": {"type": "company_calendar"},
          **at("2026-02-25", "10:00", "11:00", "Asia/Yekaterinburg"), "attendees": answers(u7="Y", u8="Y")},
         OLD, COMPANYS, ("~DESCRIPTION",)),
    Case("old-portal-without-lists",
         {"id": 521, "host": 7, **COMPANY, **at("2026-02-27", "10:00", "12:00", "Asia/Yekaterinburg"),
          "attendees": []}, {**OLD, "attendee_list": "null"}, COMPANYS, ("DESCRIPTION", "REMIND", "ATTENDEES_CODES")),
    Case("personal-event-by-answer",
         {"id": 61, "host": 17, **at("2026-02-18", "09:00", "10:00", "Europe/Minsk")},
         {"plain_entries": "nobody"}, {"ownerId": 17}),
    Case("whole-days",
         {"id": 91, "host": 1, "all_day": True, "start": "2026-02-19", "end": "2026-02-20", "accessibility": "absent"},
         # Events of whole days have no zone.
         {"plain_entries": "nobody"}, {},
         ("TZ_FROM", "TZ_TO", "TZ_OFFSET_FROM", "TZ_OFFSET_TO", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC")),
]  # fmt: skip

CHANGED_ON_THE_WAY = Case(
    "null-as-text",
    {"id": 2126, "host": 17, **at("2026-02-21", "09:20", "09:30", "America/Atikokan")},
    {"empty_fields": "text", "plain_entries": "host", "culture": "spanish"},
    {"ownerId": 17},
    # What it was about, and whom the sample's owner had invited.
    ("DESCRIPTION",),
)


def rows_of(case: Case, window: Window) -> list[dict[str, Any]]:
    """Return what the sandbox lists."""
    result: list[dict[str, Any]] = answer_of(case, "calendar.event.get", window, {"type": "user", "ownerId": 1})
    return result


def answer_of(case: Case, method: str, window: Window, asked: dict[str, Any]) -> Any:
    """Return what the sandbox answers."""
    people = [{"id": number, "name": f"Name {number}"} for number in (7, 8, 10, 17, 57, 58, 59)]
    asker = {"id": 1, "name": "Name", "admin": True, "webhook": {"secret": "a1"},
             "time_zone": case.event.get("time_zone", "UTC")}  # fmt: skip
    portal = Portal(datafile.parse({"people": [asker, *people], "events": [{"name": "Event one", **case.event}]}))
    portal.configure(case.settings)
    with SandboxServer(portal) as server:
        limits = {"from": f"{window.start:%Y-%m-%d}", "to": f"{window.end:%Y-%m-%d}"}
        wanted = {**asked, **limits, **case.asked}
        return requests.post(server.webhook_url(1) + method, json=wanted, timeout=60).json()["result"]


def sample_of(case: Case, method: str = "calendar.event.get") -> dict[str, Any]:
    sample: dict[str, Any] = json.loads(Path(SAMPLES, method, f"{case.sample}.json").read_text("utf-8"))
    return sample


@pytest.mark.parametrize("case", [*CASES, CHANGED_ON_THE_WAY], ids=lambda case: case.id)
def test_a_row_has_the_fields_of_the_sample(case: Case) -> None:
    sample = sample_of(case)
    (expected, *_), (row, *_) = sample["body"]["result"], rows_of(case, as_window(sample["call"]))
    assert set(expected) ^ set(row) <= set(case.differs)
    fixed = set(expected) & set(row) - FREE - set(case.differs)
    assert {name: row[name] for name in fixed} == {name: expected[name] for name in fixed}
    free = set(expected) & set(row) & FREE - set(case.differs)
    kinds = {name: {type(expected[name]), *_ALIKE.get(name, ())} for name in free}
    assert {name: type(row[name]) for name in free if type(row[name]) not in kinds[name]} == {}


_ALIKE: dict[str, tuple[type, ...]] = {
    "MEETING": (list, type(None)), "RELATIONS": (str, type(None)), "UF_WEBDAV_CAL_EVENT": (bool, type(None)),
    "UF_CRM_CAL_EVENT": (bool, list, type(None)),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_row_is_read_as_the_sample_is(case: Case) -> None:
    sample = sample_of(case)
    window = as_window(sample["call"])
    rows = rows_of(case, window)
    dates = formats_of(rows, window)
    events = [read_event(row, dates) for row in rows]
    statuses = sample["call"].get("statuses")
    found = [event for event in events if statuses is None or event.status in statuses]
    # The second series of that sample is the first one over again.
    expected = [one for one in sample["expected"]["events"] if one["id"] in (case.event["id"], 4137)]
    own = {"id"} if case.sample.startswith("room") else set()
    shown = [shown_event(event, one) for event, one in zip(found, expected, strict=True)]
    assert [_without(one, own) for one in shown] == [_without(one, own) for one in expected]


def test_a_row_changed_on_its_way_is_refused_as_that_of_the_sample() -> None:
    window = as_window(sample_of(CHANGED_ON_THE_WAY)["call"])
    (row,) = rows_of(CHANGED_ON_THE_WAY, window)
    with pytest.raises(RowError, match="RECURRENCE_ID"):
        read_event(row, formats_of([row], window))


BUSY = "calendar.accessibility.get"
BUSY_CASES = [
    Case("perhaps-busy", {"id": 6042, "host": 1, "private": True, "accessibility": "quest", "importance": "low",
                          **at("2026-02-11", "11:59", "12:59", "Europe/Moscow")}),
    Case("day-before-month", {"id": 2014, "host": 17, "private": True, "importance": "low",
                              **at("2026-02-09", "09:00", "09:15", "America/Bogota")}, {"culture": "spanish"}),
    Case("absent-for-two-days", {"id": 500, "host": 8, "private": True, "all_day": True, "accessibility": "absent",
                                 "start": "2026-02-12", "end": "2026-02-13", "importance": "low"},
         {}, {}, ("TZ_FROM", "TZ_TO")),
    Case("two-free-users", {"id": 1, "host": 1, "accessibility": "free", **at("2026-02-11", "10:00", "11:00", "UTC")}),
]  # fmt: skip


@pytest.mark.parametrize("case", BUSY_CASES, ids=lambda case: case.id)
def test_busy_times_are_those_of_the_sample(case: Case) -> None:
    sample = sample_of(case, BUSY)
    window, users = as_window(sample["call"]), sample["call"]["users"]
    answer = answer_of(case, BUSY, window, {"users": users})
    found = get_busy(users, window).read(answer, str)
    for user_id, expected in sample["expected"].items():
        # The second period of a sample is the first one over again.
        rows, periods = answer[user_id], found[int(user_id)]
        for row, period, wanted, real in zip(rows, periods, expected, sample["body"]["result"][user_id], strict=False):
            assert set(row) == set(real)
            fixed = set(row) - {"NAME", "DATE_FROM_TS_UTC", "DATE_TO_TS_UTC", *case.differs}
            assert {name: row[name] for name in fixed} == {name: real[name] for name in fixed}
            assert (period.start.isoformat(), period.end.isoformat()) == (wanted["start"], wanted["end"])
            assert (period.event_id, period.kind, period.all_day) == (
                wanted["event_id"], wanted["kind"], wanted["all_day"],
            )  # fmt: skip
        assert bool(rows) is bool(expected)


@pytest.mark.parametrize("culture", ["european", "american", "spanish"])
def test_absences_and_days_of_a_series_of_whole_days_are_read(culture: str) -> None:
    days = {"id": 5, "name": "Days", "host": 1, "all_day": True, "start": "2026-02-05", "end": "2026-02-05",
            "repeat": {"frequency": "DAILY", "interval": 3, "count": 3}}  # fmt: skip
    absences = [
        {"id": 7, "user": 1, "start": "2026-02-09", "end": "2026-02-10"},
        {"id": 8, "user": 1, "start": "2026-02-12T09:00", "end": "2026-02-12T11:00", "all_day": False},
    ]
    asker = {"id": 1, "name": "Name", "webhook": {"secret": "a1"}}
    portal = Portal(datafile.parse({"people": [asker], "events": [days], "absences": absences}))
    portal.configure({"culture": culture, "server_zone": "Europe/Moscow"})
    asked = {"users": [1], "from": "2026-02-07", "to": "2026-02-14"}
    with SandboxServer(portal) as server:
        answer = requests.post(server.webhook_url(1) + BUSY, json=asked, timeout=60).json()["result"]
    window = Window(datetime(2026, 2, 7, tzinfo=UTC), datetime(2026, 2, 14, tzinfo=UTC))
    found = sorted(get_busy([1], window).read(answer, str)[1], key=lambda one: one.start)
    assert [(one.event_id, f"{one.start:%d %H}", f"{one.end:%d %H}", one.all_day) for one in found] == [
        (5, "08 00", "09 00", True),
        (7, "09 00", "11 00", True),
        (5, "11 00", "12 00", True),
        (8, "12 06", "12 08", False),
    ]


def _without(values: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}
