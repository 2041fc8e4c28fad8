"""Columns beside the answers: times of rows, what the portal says of a meeting, links to the CRM, and comments."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import inspect
from sqlalchemy.engine import Engine

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from tests.stored_tables import DAY, FIRST, NOON, make_meeting, make_snapshot, make_store, own_id, read_rows, write

START = FIRST + 3 * DAY


def seen(hour: int) -> datetime:
    return NOON + timedelta(hours=hour, seconds=1)


def row_times(rows: list[Any]) -> list[tuple[datetime, datetime, datetime]]:
    return [(row.created_at, row.updated_at, row.last_seen) for row in rows]


def test_a_row_says_when_it_was_written_and_when_it_changed(store: AttendanceStore) -> None:
    for hour, answers in enumerate(("QQ", "QQ", "QY", "QY")):
        write(store, make_snapshot(hour, make_meeting(7, START, answers)))
    rows = read_rows(store)
    assert row_times(rows.meetings) == [(seen(0), seen(2), seen(3))]
    assert row_times(rows.attendance) == [
        (seen(0), seen(0), seen(3)),
        (seen(0), seen(0), seen(3)),
        (seen(0), seen(2), seen(3)),
    ]
    write(store, make_snapshot(4))
    write(store, make_snapshot(5))
    rows = read_rows(store)
    assert [row.updated_at for row in (*rows.meetings, *rows.attendance)] == [seen(4)] * 4


def test_a_moved_meeting_has_a_row_that_was_written_then(store: AttendanceStore) -> None:
    write(store, make_snapshot(0, make_meeting(7, START, "Q")))
    write(store, make_snapshot(1, make_meeting(7, START + DAY, "Q")))
    write(store, make_snapshot(2, make_meeting(7, START + DAY, "Q")))
    rows = read_rows(store)
    assert row_times(rows.meetings) == [(seen(0), seen(1), seen(0)), (seen(1), seen(1), seen(2))]
    assert row_times(rows.attendance) == [*[(seen(0), seen(1), seen(0))] * 2, *[(seen(1), seen(1), seen(2))] * 2]
    assert [row.first_seen for row in rows.meetings] == [seen(0), seen(0)]


DETAILS: dict[str, Any] = {
    "location": "Room 1", "recurrence_rule": "FREQ=DAILY;INTERVAL=1", "original_start": FIRST,
    "created": "2026-01-05T14:21:21", "changed": "2026-01-06T09:04:43",
}  # fmt: skip


def test_what_the_portal_says_of_a_meeting(store: AttendanceStore) -> None:
    organisers = make_meeting(7, START, **DETAILS)
    attendees = replace(organisers, id=8, created="2026-01-07T00:00:00", changed="2026-01-08T00:00:00")
    expected = ("Room 1", "FREQ=DAILY;INTERVAL=1", FIRST, "2026-01-05T14:21:21", "2026-01-06T09:04:43")
    counts = []
    for hour, event in enumerate((attendees, organisers, attendees)):
        counts.append(+write(store, make_snapshot(hour, event)).counts)
        (row,) = read_rows(store).meetings
        shown = row.location, row.recurrence_rule, row.original_start, row.portal_created, row.portal_changed
        assert shown == (expected if hour else (*expected[:3], None, None)), "an attendee's row has its own times"
    assert counts == [{"new": 1}, {"changed": 1}, {"unchanged": 1}]


def links(store: AttendanceStore) -> list[tuple[Any, ...]]:
    rows = read_rows(store).crm_links
    return sorted((row.crm_type, row.crm_id, row.first_seen, row.last_seen, row.vanished_at) for row in rows)


def test_links_to_the_crm_come_and_go(store: AttendanceStore) -> None:
    organisers = make_meeting(7, START, is_recurring=True, crm_links=("CO_3", "D_12"))
    write(
        store, make_snapshot(0, organisers, make_meeting(7, START + DAY, is_recurring=True, crm_links=("CO_3", "D_12")))
    )
    assert links(store) == [("company", 3, seen(0), seen(0), None), ("deal", 12, seen(0), seen(0), None)]
    write(store, make_snapshot(1, replace(organisers, crm_links=None)))
    write(store, make_snapshot(2, replace(organisers, id=8, crm_links=("T9f_1",))))
    kept = [
        ("T9f", 1, seen(2), seen(2), None),
        ("company", 3, seen(0), seen(0), None),
        ("deal", 12, seen(0), seen(0), None),
    ]
    assert links(store) == kept, "hidden, and the row of an attendee, which may lack them"
    write(store, make_snapshot(3, replace(organisers, crm_links=("D_12",))))
    gone = [("T9f", 1, seen(2), seen(2), seen(3)), ("company", 3, seen(0), seen(0), seen(3))]
    assert links(store) == [*gone, ("deal", 12, seen(0), seen(3), None)]
    write(store, make_snapshot(4, replace(organisers, crm_links=("CO_3",))))
    assert links(store)[1:] == [("company", 3, seen(0), seen(4), None), ("deal", 12, seen(0), seen(3), seen(4))]


def test_links_are_those_of_one_portal(store: AttendanceStore) -> None:
    other = make_store(store.engine, portal="other.bitrix24.com")
    write(store, make_snapshot(0, make_meeting(7, START, crm_links=("D_12",))))
    write(other, make_snapshot(1, make_meeting(7, START, crm_links=())))
    assert links(store) == [("deal", 12, seen(0), seen(0), None)]


def test_tables_and_columns_say_what_they_mean(store: AttendanceStore, engine: Engine) -> None:
    if engine.dialect.name == "sqlite":
        pytest.skip("SQLite keeps no comments")
    found = inspect(engine)
    for table in store.tables:
        assert found.get_table_comment(table.name)["text"] == table.comment
        assert {one["name"]: one["comment"] for one in found.get_columns(table.name)} == {
            column.name: column.comment for column in table.columns
        }


def test_the_id_of_a_meeting_in_each_calendar(store: AttendanceStore) -> None:
    """It is kept where a portal does not show it, and a person who is invited again has another one."""
    first = make_meeting(7, START, "QQ")
    assert first.attendees is not None
    host, anna, boris = first.attendees
    again = replace(anna, row_id=901)
    for hour, attendees, ids in (
        (0, (host, anna, boris), [7, own_id(7, 10), own_id(7, 11)]),
        (1, (host, again, boris), [7, 901, own_id(7, 11)]),
        (2, (host, replace(again, row_id=None), boris), [7, 901, own_id(7, 11)]),
        (3, None, [7, 901, own_id(7, 11)]),
    ):
        write(store, make_snapshot(hour, replace(first, attendees=attendees)))
        rows = read_rows(store).attendance
        assert [row.event_id for row in rows] == ids
    assert [row.updated_at for row in rows] == [seen(0), seen(1), seen(0)]
    assert read_rows(store).changes == []


def test_an_edited_date_does_not_take_the_ids_of_its_series(store: AttendanceStore) -> None:
    """Not of those who are not invited to it, nor while the portal hides its attendees."""
    series = make_meeting(7, START, "QQ", is_recurring=True)
    edited = make_meeting(8, START + timedelta(hours=2), "Q", recurrence_id=7)
    write(store, make_snapshot(0, series))
    write(store, make_snapshot(1, edited))
    ids = {row.user_id: row.event_id for row in read_rows(store).attendance if row.parent_id == 8}
    assert ids == {1: 8, 10: own_id(8, 10), 11: None}


def test_the_ids_of_a_hidden_edited_date_are_unknown(store: AttendanceStore) -> None:
    write(store, make_snapshot(0, make_meeting(7, START, "QQ", is_recurring=True)))
    write(store, make_snapshot(1, make_meeting(8, START + timedelta(hours=2), None, recurrence_id=7)))
    assert {row.event_id for row in read_rows(store).attendance if row.parent_id == 8} == {None}


@pytest.mark.parametrize("calendars", [("user:10", "user:9"), ("user:10",)], ids=["both", "attendee's"])
def test_an_edited_date_stays_of_its_series_in_the_calendar_of_a_new_attendee(
    store: AttendanceStore, calendars: tuple[str, ...]
) -> None:
    """The row of somebody who was invited to that date alone does not name the series."""
    moved = make_meeting(8, START + timedelta(hours=2), "QQ", recurrence_id=7, original_start=START)
    own = replace(moved, id=own_id(8, 11), owner_id=11, recurrence_id=None, original_start=None)
    views = {"user:9": moved, "user:10": own}
    if "user:9" not in calendars:
        write(store, make_snapshot(0, moved))
    else:
        write(store, make_snapshot(0, make_meeting(7, START, "Q", is_recurring=True)))
    seen_views = tuple((calendar, views[calendar]) for calendar in calendars)
    write(store, replace(make_snapshot(1), seen=seen_views))
    row = next(row for row in read_rows(store).meetings if row.parent_id == 8)
    assert (row.recurrence_id, row.original_start) == (7, START)


def test_answers_that_are_as_they_were_are_not_loaded(store: AttendanceStore) -> None:
    event, hidden = make_meeting(7, START, "YNQ"), make_meeting(9, START, "Q")
    assert hidden.attendees is not None
    hidden = replace(hidden, attendees=tuple(replace(one, row_id=None) for one in hidden.attendees))
    write(store, make_snapshot(0, event, hidden))
    with store.lock() as session:
        again = store.load(session, make_snapshot(1, event, hidden))
        other = store.load(session, make_snapshot(1, make_meeting(7, START, "YYQ"), hidden))
    assert (again.same_answers, dict(again.attendances)) == ({event.key, hidden.key}, {})
    assert (other.same_answers, other.attendances.keys()) == ({hidden.key}, {event.key})
