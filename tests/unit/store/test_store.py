"""The tables in real databases: upserts, history, names and schemas."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, get_type_hints

import pytest
from sqlalchemy import text
from sqlalchemy.engine import Engine

from airflow_provider_b24cal.attendance.calendars import Calendar
from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.models import Attendance, AttendanceChange, CrmLink, Meeting, Person
from airflow_provider_b24cal.bitrix24.calendar.events import read_event
from airflow_provider_b24cal.bitrix24.calendar.methods import get_contacts
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from tests.stored_tables import DAY, FIRST, NOON, make_meeting, make_snapshot, make_store, read_rows, write


def test_rows_are_what_was_seen(store: AttendanceStore) -> None:
    start = FIRST + 3 * DAY
    days = make_meeting(9, FIRST + 5 * DAY, None, all_day=True, zone=None, end=FIRST + 7 * DAY, is_recurring=True,
                  recurrence_id=4, host_id=None)  # fmt: skip
    assert write(store, make_snapshot(0, make_meeting(7, start), days)).counts == {"new": 2, "unknown": 1}
    meetings, attendance, changes, *_ = read_rows(store)
    seen = NOON + timedelta(seconds=1)
    assert meetings == [
        ("example.bitrix24.com", 7, start, "Plan 🗓 'x'", 1, "user:1", start + timedelta(hours=1), "Europe/Berlin",
         False, False, None, 1, 1, 1, 3, 1 / 3, seen, seen, None, None, None, *[None] * 5, seen, seen),
        ("example.bitrix24.com", 9, days.start, "Plan 🗓 'x'", None, "user:1", days.end, None, True, True, 4,
         None, None, None, None, None, seen, seen, None, None, None, *[None] * 5, seen, seen),
    ]  # fmt: skip
    assert attendance == [
        ("example.bitrix24.com", 7, start, user, letter, user == 1, seen, seen, None, None, seen, seen, own)
        for user, letter, own in ((1, "H", 7), (10, "Y", 7010), (11, "N", 7011), (12, "Q", 7012))
    ]
    assert changes == []


def test_columns_are_the_fields_of_the_rows(store: AttendanceStore) -> None:
    kinds = (Meeting, Attendance, AttendanceChange, Person, CrmLink)
    for table, kind in zip(store.needed, kinds, strict=True):
        assert {column.name for column in table.c} == {"portal", *kind._fields}
        optional = {name for name, hint in get_type_hints(kind, {"datetime": datetime}).items() if "None" in str(hint)}
        assert {column.name for column in table.c if column.nullable} == optional


def test_any_text_of_a_portal_can_be_stored(store: AttendanceStore) -> None:
    row = {
        "ID": "7", "IS_MEETING": True, "NAME": "a\0b\ud800c" + "🗓" * 70_000, "CAL_TYPE": "x" * 300,
        "OWNER_ID": 10**18 - 1,
        "DATE_FROM_FORMATTED": "Thu Sep 03 2026 10:00:00", "DATE_TO_FORMATTED": "Thu Sep 03 2026 11:00:00",
        "TZ_FROM": "Mars\0" + "x" * 300, "TZ_OFFSET_FROM": "0", "TZ_OFFSET_TO": "0",
        "LOCATION": "a\0" + "🗓" * 2_000, "RRULE": {"FREQ": "DAILY", "BYDAY": dict(enumerate(["MO" * 1000] * 9))},
        "UF_CRM_CAL_EVENT": ["D_12", "T" * 20 + "_" + "9" * 18, "T" * 21 + "_1", "D_x", 7, None, "D_" + "9" * 19],
    }  # fmt: skip
    event = read_event(row)
    snapshot = make_snapshot(0, event)
    write(store, replace(snapshot, seen=((str(Calendar(event.calendar_type, event.owner_id)), event),)))
    words = {"NAME": "\0" + "🗓" * 20_000, "LAST_NAME": "🗓" * 20_000, "EMAIL": "🗓" * 20_000}
    (contact,) = get_contacts([9]).read([{"ID": 9, **words}], str).values()
    write(store, make_snapshot(1, event), [Person(9, contact.name, NOON, contact.email)])
    tables = read_rows(store)
    (meeting,) = tables.meetings
    assert (meeting.name, meeting.location) == (event.name, event.location)
    assert (meeting.recurrence_rule, len(meeting.location)) == (event.recurrence_rule, 1000)
    assert (event.name[:5], len(event.name), len(event.zone or "")) == ("a\ufffdb\ufffdc", 16_383, 64)
    assert [(row.name, row.email) for row in tables.people] == [contact]
    assert {(row.crm_type, row.crm_id) for row in tables.crm_links} == {("T" * 20, 10**18 - 1), ("deal", 12)}


def test_a_history(store: AttendanceStore) -> None:
    start = FIRST + 3 * DAY
    write(store, make_snapshot(0, make_meeting(7, start, "YNQ")))
    again = write(store, make_snapshot(1, make_meeting(7, start, "YNQ")))
    assert (+again.counts, again.changes) == ({"unchanged": 1}, [])
    assert write(store, make_snapshot(2, make_meeting(7, start, "YY"))).counts["changed"] == 1
    assert write(store, make_snapshot(3)).counts == {"vanished": 1}
    assert write(store, make_snapshot(4)).counts == {}
    meetings, attendance, changes, *_ = read_rows(store)
    one, two, three = (NOON + timedelta(hours=hours, seconds=1) for hours in (1, 2, 3))
    zero = NOON + timedelta(seconds=1)
    (row,) = meetings
    assert (row.first_seen, row.last_seen, row.vanished_at, row.vanished_reason) == (zero, two, three, "not_visible")
    assert [(row.user_id, row.status, row.changed_at, row.vanished_at) for row in attendance] == [
        (1, "H", None, three), (10, "Y", None, three), (11, "Y", two, three), (12, "Q", two, two),
    ]  # fmt: skip
    assert [row[3:] for row in changes] == [(11, "N", "Y", one, two), (12, "Q", None, one, two)]


@pytest.mark.parametrize("lost", ["meetings", "attendance", "some answers", "the last change"])
def test_tables_that_were_emptied_or_restored_begin_anew(store: AttendanceStore, lost: str) -> None:
    """What is missing there was not missing on the portal, so there is no change to report."""
    start = FIRST + 3 * DAY
    write(store, make_snapshot(0, make_meeting(7, start, "YNQ")))
    older = read_rows(store)[0][0]
    write(store, make_snapshot(1, make_meeting(7, start, "YNY")))
    meetings, attendance = store.tables.meetings, store.tables.attendance
    with store.engine.begin() as connection:
        if lost == "attendance":
            connection.execute(attendance.delete())
        elif lost == "some answers":
            connection.execute(attendance.delete().where(attendance.c.user_id == 11))
        else:
            connection.execute(meetings.delete())
        if lost == "the last change":
            connection.execute(meetings.insert().values(older))
    assert not write(store, make_snapshot(2, make_meeting(7, start, "YYN"))).changes
    again = write(store, make_snapshot(3, make_meeting(7, start, "YY")))
    assert [change[2:5] for change in again.changes] == [(12, "N", None)]
    rows, answers, changes, *_ = read_rows(store)
    assert [row[11:15] for row in rows] == [(2, 0, 0, 2)]
    assert [row[3:5] for row in answers if row.vanished_at is None] == [(1, "H"), (10, "Y"), (11, "Y")]
    assert len(changes) == 2


def test_what_is_as_it_was_carries_the_time_of_the_last_reading(store: AttendanceStore) -> None:
    other = make_store(store.engine, portal="other.bitrix24.com")
    start, tomorrow = FIRST + 3 * DAY, FIRST + 4 * DAY
    write(other, make_snapshot(0, make_meeting(7, start, "YNQ")))
    write(store, make_snapshot(0, make_meeting(7, start, "YNQ"), make_meeting(8, tomorrow, "YY")))
    write(store, make_snapshot(1, make_meeting(7, start, "YN"), make_meeting(8, tomorrow, "YY")))
    assert +write(store, make_snapshot(2, make_meeting(7, start, "YN"), make_meeting(8, tomorrow, "YQ"))).counts == {
        "unchanged": 1,
        "changed": 1,
    }
    zero, one, two = (NOON + timedelta(hours=hours, seconds=1) for hours in (0, 1, 2))
    meetings, attendance, *_ = read_rows(store)
    seen = {
        (row.portal.partition(".")[0], row.parent_id, row.user_id, row.last_seen): row.vanished_at for row in attendance
    }
    assert seen == {
        ("example", 7, 1, two): None, ("example", 7, 10, two): None, ("example", 7, 11, two): None,
        ("example", 7, 12, zero): one,
        ("example", 8, 1, two): None, ("example", 8, 10, two): None, ("example", 8, 11, two): None,
        **{("other", 7, user, zero): None for user in (1, 10, 11, 12)},
    }  # fmt: skip
    assert [(row.parent_id, row.last_seen) for row in meetings] == [(7, two), (8, two), (7, zero)]


def test_a_meeting_that_returns_without_its_guests_has_lost_them(store: AttendanceStore) -> None:
    start = FIRST + 3 * DAY
    write(store, make_snapshot(0, make_meeting(7, start, "Y")))
    write(store, make_snapshot(1))
    assert not write(store, make_snapshot(2)).changes
    returned = write(store, make_snapshot(3, replace(make_meeting(7, start), attendees=())))
    assert [change[2:5] for change in returned.changes] == [(1, "H", None), (10, "Y", None)]


@pytest.mark.parametrize("left_out", [0, 50])
def test_what_was_not_read_again_was_not_seen_again(
    left_out: int, store: AttendanceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A calendar that nobody reads any more lies between the dates of one that is read."""
    monkeypatch.setattr("airflow_provider_b24cal.attendance.io.sql_store._LEFT_OUT", left_out)
    mine = [make_meeting(7, FIRST + day * DAY, "YN", is_recurring=True) for day in (1, 3, 5)]
    foreign = [make_meeting(8, FIRST + day * DAY, "YN", is_recurring=True) for day in (0, 1, 2, 9)]
    other = make_snapshot(0, *foreign)
    write(
        store, replace(other, seen=tuple(("user:2", event) for _, event in other.seen), calendars=frozenset({"user:2"}))
    )
    write(store, make_snapshot(1, *mine))
    changed = [*mine[:2], make_meeting(7, FIRST + 5 * DAY, "YQ", is_recurring=True)]
    assert +write(store, make_snapshot(2, *changed)).counts == {"unchanged": 2, "changed": 1}
    zero, two = (NOON + timedelta(hours=hours, seconds=1) for hours in (0, 2))
    tables = read_rows(store)
    assert {(row.parent_id, row.last_seen) for row in tables.meetings} == {(7, two), (8, zero)}
    assert {(row.parent_id, row.last_seen) for row in tables.attendance} == {(7, two), (8, zero)}
    assert {row.updated_at for row in tables.meetings if row.last_seen == two} == {two, two - timedelta(hours=1)}


def test_a_meeting_moved_far_away_is_gone_from_where_it_was(store: AttendanceStore) -> None:
    write(
        store, make_snapshot(0, make_meeting(7, FIRST + 3 * DAY), make_meeting(8, FIRST + 3 * DAY, is_recurring=True))
    )
    november = Window(FIRST + 61 * DAY, FIRST + 91 * DAY)
    shown = (make_meeting(7, FIRST + 70 * DAY), make_meeting(8, FIRST + 71 * DAY, is_recurring=True))
    assert write(store, make_snapshot(1, *shown, window=november)).counts == {"new": 1, "moved": 1, "unknown": 0}
    moved = [row for row in read_rows(store).meetings if row.vanished_at]
    assert [(row.parent_id, row.moved_to) for row in moved] == [(7, FIRST + 70 * DAY)]


def test_single_events_concern_nothing_else(store: AttendanceStore) -> None:
    write(store, make_snapshot(0, make_meeting(7, FIRST + 3 * DAY), make_meeting(8, FIRST + 3 * DAY)))
    counts = write(store, make_snapshot(1, make_meeting(7, FIRST + 3 * DAY, "YYY"), window=None)).counts
    assert +counts == {"changed": 1}
    assert len(read_rows(store)[2]) == 2


def test_portals_and_names_are_kept_apart(store: AttendanceStore) -> None:
    odd = TableNames(meetings="Meet ings", attendance='at"tendance', changes="sel%sect")
    others = [
        make_store(store.engine, portal="other.bitrix24.com"),
        make_store(store.engine, odd),
    ]
    others[1].prepare(create=True)
    write(store, make_snapshot(0, make_meeting(7, FIRST)))
    for other in others:
        assert write(other, make_snapshot(1)).counts == {}
        assert write(other, make_snapshot(2, make_meeting(7, FIRST, "NNN"))).counts["new"] == 1
    assert not read_rows(store)[2]


def test_names_as_long_as_accepted(engine: Engine) -> None:
    names = ("meetings", "attendance", "changes", "people", "crm_links")
    store = make_store(engine, TableNames(**{name: name.ljust(63, "x") for name in names}))
    assert store.prepare(create=True).count("CREATE INDEX") == 9
    assert store.prepare(create=False) == ""
    assert write(store, make_snapshot(0, make_meeting(7, FIRST))).counts["new"] == 1


def test_missing_tables_are_named_with_what_creates_them(engine: Engine) -> None:
    store = make_store(engine)
    with pytest.raises(InvalidArgumentError, match=r"create_tables=True") as refusal:
        store.prepare(create=False)
    statements = str(refusal.value).partition("\n")[2]
    assert (statements.count("CREATE TABLE"), statements.count("CREATE INDEX")) == (5, 9)
    with engine.begin() as connection:
        for statement in statements.split(";")[:-1]:
            connection.execute(text(statement))
    assert store.prepare(create=False) == ""
    write(store, make_snapshot(0, make_meeting(7, FIRST)))


def test_a_failure_takes_everything_back_and_frees_the_lock(store: AttendanceStore) -> None:
    write(store, make_snapshot(0, make_meeting(7, FIRST, "QQQ")))
    before = read_rows(store)
    with store.engine.begin() as connection:
        store.tables.changes.drop(connection)
    with pytest.raises(Exception, match="bitrix24_attendance_changes"):
        write(store, make_snapshot(1, make_meeting(7, FIRST, "YYY")))
    store.prepare(create=True)
    assert read_rows(store) == before
    assert len(write(store, make_snapshot(2, make_meeting(7, FIRST, "YYY"))).changes) == 3


def test_a_schema_of_its_own(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("schemas are tried on PostgreSQL")
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA hr"))
    store = make_store(engine, TableNames(schema="hr"))
    assert "hr.bitrix24_meetings" in store.prepare(create=True)
    write(store, make_snapshot(0, make_meeting(7, FIRST)))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM hr.bitrix24_attendance")).scalar() == 4


@pytest.mark.parametrize(
    ("names", "named"),
    [
        ({"meetings": ""}, "meetings_table"),
        ({"changes": "x" * 64}, "changes_table"),
        ({"schema": 7}, "schema"),
        ({"attendance": "bitrix24_meetings"}, "two are the same"),
    ],
)
def test_names_that_are_not_acceptable(names: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        TableNames(**names)


def test_names_of_people_are_replaced(store: AttendanceStore) -> None:
    write(store, make_snapshot(0), [Person(1, "Anna", NOON), Person(2, "Martin", NOON)])
    write(store, make_snapshot(1), [Person(1, "Anna Orlova", NOON + DAY), Person(3, "Dora", NOON)])
    people = read_rows(store).people
    assert [row[1:4] for row in people] == [(1, "Anna Orlova", NOON + DAY), (2, "Martin", NOON), (3, "Dora", NOON)]
