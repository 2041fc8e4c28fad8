"""Single cases of the attendance rules; their general form is in tests/property/test_attendance.py."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise, permutations

import pytest
from hypothesis import given

from airflow_provider_b24cal.attendance.absences import not_explained
from airflow_provider_b24cal.attendance.calendars import PART, parts, whole_days
from airflow_provider_b24cal.attendance.models import AttendanceChange
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.attendance_tables import (
    DAY,
    FIRST,
    HOUR,
    WINDOWS,
    Clock,
    Tables,
    make_event,
    make_seven,
    reported,
)
from tests.property.test_events import windows


def test_vanished_and_back_with_another_answer() -> None:
    clock, tables = Clock(), Tables()
    here, gone = (
        {"user:1": [make_event(7, 5, {2: MeetingStatus("Y"), 3: MeetingStatus("Q")}, series=False)]},
        {"user:1": []},
    )
    back = {"user:1": [make_event(7, 5, {2: MeetingStatus("N"), 3: MeetingStatus("Q")}, series=False)]}
    first = clock.read(here, WINDOWS[0], ["user:1"])
    tables.sync(first)
    assert tables.sync(clock.read(gone, WINDOWS[0], ["user:1"])).counts == {"vanished": 1}
    assert not tables.sync(clock.read(gone, WINDOWS[0], ["user:1"])).meetings
    last = clock.read(back, WINDOWS[0], ["user:1"])
    assert tables.sync(last).changes == [
        AttendanceChange(7, FIRST + 5 * HOUR, 2, "Y", "N", first.read_at, last.read_at)
    ]
    (row,) = tables.stored.meetings.values()
    assert (row.first_seen, row.last_seen, row.vanished_at) == (first.read_at, last.read_at, None)
    assert (row.accepted, row.declined, row.silent, row.total, row.share) == (0, 1, 1, 2, 0.0)


@pytest.mark.parametrize("order", list(permutations(["user:1", "user:2"])))
def test_who_is_removed_leaves_the_meeting_in_other_calendars(order: tuple[str, ...]) -> None:
    clock, tables = Clock(), Tables()
    for name in ("user:1", "user:2"):
        tables.sync(clock.read({name: [make_seven("YQ")]}, WINDOWS[0], [name]))
    for name in order:
        tables.sync(clock.read({"user:1": [], "user:2": [make_seven(" Q")]}, WINDOWS[0], [name]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 3: "Q"}}
    assert reported(tables) == [(2, "Y", None)]


@pytest.mark.parametrize("order", list(permutations([0, 1])))
def test_calendars_read_at_the_same_time_by_different_tasks(order: tuple[int, ...]) -> None:
    """That a meeting has left one of them says nothing of the other."""
    clock, tables = Clock(), Tables()
    for name in ("user:2", "user:1"):
        tables.sync(clock.read({name: [make_seven("YQ")]}, WINDOWS[0], [name]))
    one = clock.read({"user:1": []}, WINDOWS[0], ["user:1"])
    two = replace(one, seen=(("user:2", make_seven(" Q")),), calendars=frozenset({"user:2"}))
    for number in order:
        tables.sync((one, two)[number])
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 3: "Q"}}
    assert reported(tables) == [(2, "Y", None)]


def test_a_calendar_read_no_more_does_not_hold_on_to_a_meeting() -> None:
    clock, tables = Clock(), Tables()
    portal = {"user:1": [make_seven("Y")], "user:2": [make_seven("Y")]}
    tables.sync(clock.read(portal, WINDOWS[0], ["user:1", "user:2"]))
    tables.sync(clock.read(portal, WINDOWS[0], ["user:2"]))
    assert tables.sync(clock.read({"user:2": []}, WINDOWS[0], ["user:2"])).counts == {"vanished": 1}


def test_another_calendar_that_shows_the_same_is_no_change() -> None:
    clock, tables = Clock(), Tables()
    for name in ("user:1", "user:2"):
        counts = tables.sync(clock.read({name: [make_seven("Y")]}, WINDOWS[0], [name])).counts
    assert +counts == {"unchanged": 1}
    assert [row.calendar for row in tables.stored.meetings.values()] == ["user:2"]


def test_vanished_and_back_without_somebody() -> None:
    clock, tables = Clock(), Tables()
    for events in ([make_seven("YY")], [], [make_seven("Y")]):
        tables.sync(clock.read({"user:1": events}, WINDOWS[0], ["user:1"]))
    assert reported(tables) == [(3, "Y", None)]


def test_vanished_back_masked_and_then_open() -> None:
    clock, tables = Clock(), Tables()
    for events in ([make_seven("YY")], [], [make_seven(None)], [make_seven("YNQ")]):
        tables.sync(clock.read({"user:1": events}, WINDOWS[0], ["user:1"]))
    assert reported(tables) == [(3, "Y", "N"), (4, None, "Q")]


def test_the_last_one_removed_then_masked_then_invited_again() -> None:
    clock, tables = Clock(), Tables()
    first, empty, hidden, again = (
        clock.read({"user:1": [make_event(7, 5, given, series=False, hosted=False)]}, WINDOWS[0], ["user:1"])
        for given in ({2: MeetingStatus("Y")}, {}, None, {2: MeetingStatus("Q")})
    )
    for snapshot in (first, empty, hidden, again):
        tables.sync(snapshot)
    assert [change[3:] for change in tables.changes.values()] == [
        ("Y", None, first.read_at, empty.read_at), (None, "Q", empty.read_at, again.read_at),
    ]  # fmt: skip


def test_a_meeting_handed_to_another_organiser() -> None:
    clock, tables = Clock(), Tables()
    for host in (2, 3):
        event = replace(make_seven("YY"), host_id=host)
        tables.sync(clock.read({"user:1": [event]}, WINDOWS[0], ["user:1"]))
    (answers_now,) = tables.stored.attendances.values()
    assert [answers_now[user].is_host for user in (2, 3)] == [False, True]


def test_gone_from_one_calendar_and_masked_in_another_it_takes_place() -> None:
    clock, tables = Clock(), Tables()
    for name, events in (("user:1", [make_seven("Y")]), ("user:1", []), ("user:2", [make_seven(None)])):
        tables.sync(clock.read({name: events}, WINDOWS[0], [name]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): None}


def test_days_are_those_of_the_window_s_zone() -> None:
    clock, tables = Clock(), Tables()
    west = timezone(-5 * HOUR)
    window = Window(datetime(2026, 9, 2, tzinfo=west), datetime(2026, 9, 3, tzinfo=west))
    days = replace(make_event(7, 24, {}, series=True), all_day=True, zone=None, end=FIRST + 2 * DAY)
    tables.sync(clock.read({"user:1": [days]}, window, ["user:1"]))
    assert len(tables.now()) == 1
    assert tables.sync(clock.read({"user:1": []}, window, ["user:1"])).counts == {"vanished": 1}


def test_masked_in_the_calendar_that_showed_it_is_unknown_wherever_else_it_is_masked() -> None:
    clock, tables = Clock(), Tables()
    tables.sync(
        clock.read({"user:1": [make_seven("Y")], "user:2": [make_seven(None)]}, WINDOWS[0], ["user:1", "user:2"])
    )
    hidden = {"user:1": [], "user:2": [make_seven(None)]}
    assert tables.sync(clock.read(hidden, WINDOWS[0], ["user:2"])).counts == {"unchanged": 1, "unknown": 1}
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 2: "Y"}}, "another calendar shows more of it"
    tables.sync(clock.read(hidden, WINDOWS[0], ["user:1", "user:2"]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): None}
    assert not tables.changes


def test_a_single_meeting_that_is_masked_where_it_was_shown_is_unknown() -> None:
    clock, tables = Clock(), Tables()
    for event in (make_seven("Y"), make_seven(None)):
        snapshot = clock.read({"user:1": [event]}, WINDOWS[0], ["user:1"])
        difference = tables.sync(replace(snapshot, calendars=frozenset(), window=None))
    assert +difference.counts == {"changed": 1, "unknown": 1}
    assert tables.now() == {(7, FIRST + 5 * HOUR): None}


def test_a_meeting_that_is_gone_by_its_id_is_gone_from_all_its_dates() -> None:
    clock, tables = Clock(), Tables()
    dates = [make_seven("Y", hour, series=True) for hour in (5, 100)]
    for window in WINDOWS:
        tables.sync(clock.read({"user:1": [*dates, make_event(8, 6, {}, series=False)]}, window, ["user:1"]))
    absent = replace(clock.read({}, WINDOWS[0], []), window=None, not_found=frozenset({7}))
    assert not_explained(tables.stored, absent) == {7}
    assert tables.sync(replace(absent, not_found=frozenset(), cancelled=frozenset({7}))).counts == {"vanished": 2}
    assert not not_explained(tables.stored, absent), "once"


def test_a_series_has_many_starts_at_once() -> None:
    clock, tables = Clock(), Tables()
    one, two = ([make_seven("Y", hour, series=True)] for hour in (5, 100))
    late = clock.read({"user:1": one}, WINDOWS[0], ["user:1"])
    for snapshot in (clock.read({"user:1": two}, WINDOWS[2], ["user:1"]), late):
        assert +tables.sync(snapshot).counts == {"new": 1}


def test_a_calendar_that_shows_nothing_at_all_is_reported() -> None:
    clock, tables = Clock(), Tables()
    names = ["user:1", "user:2"]
    tables.sync(
        clock.read({"user:1": [make_seven("Y"), make_event(8, 6, {}, series=False)], "user:2": []}, WINDOWS[0], names)
    )
    assert not tables.sync(clock.read({"user:1": [make_seven("Y")], "user:2": []}, WINDOWS[0], names)).emptied
    assert tables.sync(clock.read({"user:1": [], "user:2": []}, WINDOWS[0], names)).emptied == {"user:1": 1}
    assert not tables.sync(clock.read({"user:1": [], "user:2": []}, WINDOWS[0], names)).emptied


def test_another_calendar_does_not_make_a_meeting_vanish() -> None:
    clock, tables = Clock(), Tables()
    portal = {"user:1": [make_event(7, 5, {}, series=False)], "user:2": []}
    tables.sync(clock.read(portal, WINDOWS[0], ["user:1"]))
    assert not tables.sync(clock.read(portal, WINDOWS[0], ["user:2"])).meetings


@given(windows)
def test_parts_and_days(window: Window) -> None:
    divided = list(parts(window))
    assert (divided[0].start, divided[-1].end) == (window.start, window.end)
    for one, two in pairwise(divided):
        assert one.end == two.start
    assert all(part.end.astimezone(UTC) - part.start.astimezone(UTC) <= PART for part in divided)
    if window.end - window.start < timedelta(days=1400):
        days = whole_days(window)
        assert days.start <= window.start < days.start + DAY
        assert days.end - DAY < window.end <= days.end
