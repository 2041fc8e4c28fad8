"""Single cases of occurrences that calendars do not show any more: which have moved, and why others have ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_b24cal.attendance.absences import not_explained
from airflow_provider_b24cal.attendance.models import AttendanceChange
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.attendance_tables import DAY, FIRST, HOUR, WINDOWS, Clock, Tables, make_event, make_seven, reported

WHOLE_WEEK = Window(FIRST, FIRST + 7 * DAY)
SECOND_DAYS = Window(FIRST + 2 * DAY, FIRST + 9 * DAY)


def test_a_moved_meeting_takes_its_answers_with_it() -> None:
    clock, tables = Clock(), Tables()
    first = clock.read({"user:1": [make_seven("YQ")]}, WINDOWS[0], ["user:1"])
    tables.sync(first)
    moved = clock.read({"user:1": [make_seven("YN", 100)]}, WINDOWS[2], ["user:1"])
    difference = tables.sync(moved)
    assert +difference.counts == {"moved": 1}
    old, new = sorted(tables.stored.meetings.values(), key=lambda row: row.occurrence_start)
    assert (old.vanished_at, old.vanished_reason, old.moved_to) == (moved.read_at, "moved", new.occurrence_start)
    assert (new.first_seen, new.vanished_at, new.vanished_reason, new.moved_to) == (first.read_at, None, None, None)
    assert {row.vanished_at for row in tables.stored.attendances[old.key].values()} == {moved.read_at}
    assert tables.stored.attendances[new.key][2].first_seen == first.read_at
    assert difference.changes == [AttendanceChange(*new.key, 3, "Q", "N", first.read_at, moved.read_at)]


def test_a_meeting_that_moves_back_has_the_answers_of_where_it_was() -> None:
    clock, tables = Clock(), Tables()
    for hour, given_answers in ((5, "YQ"), (20, "NQ"), (5, "NY")):
        tables.sync(clock.read({"user:1": [make_seven(given_answers, hour)]}, WINDOWS[0], ["user:1"]))
    assert tables.now() == {(7, FIRST + 5 * HOUR): {1: "H", 2: "N", 3: "Y"}}
    assert [(change[1], *change[2:5]) for change in tables.changes.values()] == [
        (FIRST + 20 * HOUR, 2, "Y", "N"), (FIRST + 5 * HOUR, 3, "Q", "Y"),
    ]  # fmt: skip


def test_a_meeting_that_is_masked_where_it_has_moved_to_keeps_its_answers() -> None:
    clock, tables = Clock(), Tables()
    for calendar, event in (
        ("user:1", make_seven("YQ")),
        ("user:2", make_seven(None, 20)),
        ("user:1", make_seven("YY", 20)),
    ):
        tables.sync(clock.read({calendar: [event]}, WINDOWS[0], [calendar]))
    assert tables.now() == {(7, FIRST + 20 * HOUR): {1: "H", 2: "Y", 3: "Y"}}
    assert reported(tables) == [(3, "Q", "Y")]


@pytest.mark.parametrize(
    ("before", "after", "moved"),
    [
        ((10, 34, 58), (10.5, 34.5, 58.5), 3),
        ((10, 34, 58), (34, 58, 82), 0),
        ((10, 34, 58), (9, 34, 58), 1),
        ((10, 34, 58), (34, 58, 11), 1),
        ((10, 34, 58), (10.5, 34.5), 0),
        ((10, 34), (10.5, 34.5, 58.5), 0),
        ((10, 82), (34, 106), 2),
        ((10,), (34,), 0),
        ((10,), (32,), 1),
        ((10, 34, 58, 82), (11, 34, 58, 83), 2),
    ],
    ids=["half an hour", "next day revealed", "first date earlier", "first date later", "one less", "one more",
         "to other weekdays", "the only date by a day", "the only date by hours", "two of four"],
)  # fmt: skip
def test_dates_of_a_series_are_matched_in_order_if_their_number_is_unchanged(
    before: tuple[float, ...], after: tuple[float, ...], moved: int
) -> None:
    clock, tables = Clock(), Tables()
    for hours, given_answers in ((before, "YQ"), (after, "YN")):
        events = [replace(make_seven(given_answers, series=True), start=FIRST + hour * HOUR) for hour in hours]
        difference = tables.sync(clock.read({"user:1": events}, WHOLE_WEEK, ["user:1"]))
    kept = len(set(before) & set(after))
    counts = {
        "moved": moved, "changed": kept, "new": len(after) - kept - moved, "vanished": len(before) - kept - moved,
    }  # fmt: skip
    assert +difference.counts == {name: number for name, number in counts.items() if number}
    assert [change[2:5] for change in difference.changes] == [(3, "Q", "N")] * (kept + moved)


def test_an_edited_date_takes_over_the_answers_of_its_series() -> None:
    clock, tables = Clock(), Tables()
    dates = [make_seven("YQ", hour, series=True) for hour in (5, 29, 53)]
    tables.sync(clock.read({"user:1": dates}, WHOLE_WEEK, ["user:1"]))
    edited = replace(make_seven("QQ", 31), parent_id=8, recurrence_id=7)
    difference = tables.sync(clock.read({"user:1": [dates[0], edited, dates[2]]}, WHOLE_WEEK, ["user:1"]))
    assert +difference.counts == {"moved": 1, "unchanged": 2}
    assert [change[:5] for change in difference.changes] == [(8, FIRST + 31 * HOUR, 2, "Y", "Q")]
    assert [row.key for row in tables.stored.meetings.values() if row.moved_to == FIRST + 31 * HOUR] == [key_at(29)]


def key_at(hour: int) -> tuple[int, datetime]:
    return 7, FIRST + hour * HOUR


def test_a_series_that_is_read_by_its_id_may_move_too() -> None:
    clock, tables = Clock(), Tables()
    for hour in (5, 6):
        snapshot = clock.read({"user:1": [make_seven("Y", hour, series=True)]}, WHOLE_WEEK, ["user:1"])
        difference = tables.sync(replace(snapshot, calendars=frozenset(), window=None))
    assert +difference.counts == {"moved": 1}


def make_days(first: int, last: int, **more: Any) -> CalendarEvent:
    """Return meeting 7 on whole days, counted from the first of September."""
    return replace(make_seven("Y"), all_day=True, zone=None, start=FIRST + first * DAY, end=FIRST + last * DAY, **more)


@pytest.mark.parametrize("window", [SECOND_DAYS, Window(FIRST + 2 * DAY, FIRST + 4 * DAY)])
@pytest.mark.parametrize(
    ("by_id", "cancelled", "now", "reason"),
    [
        ((), {7}, [], "cancelled"),
        ((make_days(0, 4),), set(), [], "not_visible"),
        ((make_days(0, 2),), set(), [(7, FIRST)], None),
        ((make_days(20, 24),), set(), [(7, FIRST + 20 * DAY)], "moved"),
        ((make_days(5, 9, is_recurring=True),), set(), [], "not_visible"),
        ((make_days(5, 6, is_recurring=True),), set(), [(7, FIRST)], None),
    ],
    ids=["cancelled", "left the calendar", "shortened", "moved", "series", "shortened series"],
)
def test_what_reaches_into_a_window_is_decided_by_its_id(
    window: Window, by_id: tuple[CalendarEvent, ...], cancelled: set[int], now: Any, reason: str | None
) -> None:
    clock, tables = Clock(), Tables()
    series = any(event.is_recurring for event in by_id)
    tables.sync(clock.read({"user:1": [make_days(0, 4, is_recurring=series)]}, WINDOWS[0], ["user:1"]))
    absent = clock.read({"user:1": []}, window, ["user:1"])
    assert not_explained(tables.stored, absent) == {7}
    assert not tables.sync(absent).meetings, "the calendar alone does not show it"
    answer = replace(absent, by_id=by_id, cancelled=frozenset(cancelled))
    tables.sync(answer)
    assert list(tables.now()) == now
    row = tables.stored.meetings[(7, FIRST)]
    assert (row.vanished_reason, row.moved_to) == (reason, now[0][1] if reason == "moved" else None)
    assert not not_explained(tables.stored, answer)


def test_nothing_is_asked_for_what_is_shown_or_has_moved_within_a_window() -> None:
    clock, tables = Clock(), Tables()
    tables.sync(clock.read({"user:1": [make_days(0, 4), make_other(8, 60), make_other(9, 70)]}, WHOLE_WEEK, ["user:1"]))
    shown = {"user:1": [make_days(0, 4), make_other(8, 61), make_other(9, 70)]}
    assert not not_explained(tables.stored, clock.read(shown, SECOND_DAYS, ["user:1"]))
    assert not not_explained(tables.stored, clock.read({"user:2": []}, SECOND_DAYS, ["user:2"]))
    assert not_explained(tables.stored, clock.read({"user:1": []}, SECOND_DAYS, ["user:1"])) == {7, 8, 9}


def make_other(parent: int, hour: int) -> CalendarEvent:
    return make_event(parent, hour, {}, series=False)
