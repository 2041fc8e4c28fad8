"""What the page in the web UI shows, from tables in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy.engine import Connection

from airflow_provider_b24cal.attendance.io import page_queries
from airflow_provider_b24cal.attendance.io.page_queries import Filters, Slice
from airflow_provider_b24cal.attendance.io.queries import Days
from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.models import Person
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.stored_tables import DAY, NOON, PORTAL, make_meeting, make_snapshot, make_store, own_id, write

OCTOBER = Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
WEEK = Days(date(2026, 10, 5), date(2026, 10, 12), UTC)
MONDAY = datetime(2026, 10, 5, 9, tzinfo=UTC)
ALL = Slice(50)
HOUR = timedelta(hours=1)


def _sync(store: AttendanceStore, hours: float, *events: CalendarEvent) -> datetime:
    """Store a reading with the names of two people; return its time."""
    snapshot = make_snapshot(hours, *events, window=OCTOBER)
    names = {10: "Zoë Kaya", 11: "100 % Percent"}
    write(store, snapshot, [Person(user_id, name, snapshot.read_at) for user_id, name in names.items()])
    return snapshot.read_at


@pytest.fixture
def connection(store: AttendanceStore) -> Iterator[Connection]:
    # Each query sees what was written before it.
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


@pytest.fixture
def synced(store: AttendanceStore) -> AttendanceStore:
    """Four meetings of one week, one of which is gone, and one of the week after."""
    there = (
        make_meeting(1, MONDAY, "YNQ", name="Sprint review"),
        make_meeting(2, MONDAY + DAY, "Q", name="ÜBUNG 50%_off", calendar_type="user"),
        make_meeting(3, MONDAY + 2 * DAY, None, name="Hidden"),
        make_meeting(5, MONDAY + 8 * DAY, "QQ", name="Sprint planning"),
        make_meeting(6, MONDAY + 3 * DAY, "Y", name="Moved date", recurrence_id=1),
    )
    _sync(store, 0, *there, make_meeting(4, MONDAY, "QQQ", name="Gone"))
    _sync(store, 5, make_meeting(1, MONDAY, "YYQ", name="Sprint review"), *there[1:])
    return store


def _ids(
    connection: Connection, store: AttendanceStore, part: Slice = ALL, days: Days | None = WEEK, **more: object
) -> list[int]:
    found = page_queries.meetings(connection, store.tables, PORTAL, days, Filters(**more), part)  # type: ignore[arg-type]
    return [meeting.parent_id for meeting in found]


def test_meetings_come_in_parts(synced: AttendanceStore, connection: Connection) -> None:
    assert _ids(connection, synced) == [1, 2, 3, 6]
    assert _ids(connection, synced, Slice(3)) == [1, 2, 3]
    assert _ids(connection, synced, Slice(3, 3)) == [6]
    assert page_queries.meetings(connection, synced.tables, "another.bitrix24.com", WEEK, Filters(), ALL) == ()


@pytest.mark.parametrize(
    ("filters", "found"),
    [
        ({"text": "SPRINT"}, [1]),
        ({"text": "ÜBUNG"}, [2]),
        # Neither is a pattern.
        ({"text": "%"}, [2]),
        ({"text": "0%_o"}, [2]),
        ({"text": "5__"}, []),
        ({"text": "\\"}, []),
        ({"text": "' OR 1=1 --"}, []),
        ({"calendar": "user:1"}, [1, 2, 3, 6]),
        ({"calendar": "user:"}, []),
        ({"person": "12"}, [1]),
        ({"person": "kaya"}, [1, 2, 6]),
        ({"person": "100 %"}, [1]),
        ({"person": "nobody"}, []),
        ({"person": "12", "text": "sprint"}, [1]),
    ],
)
def test_meetings_are_filtered(
    filters: dict[str, object], found: list[int], synced: AttendanceStore, connection: Connection
) -> None:
    assert _ids(connection, synced, **filters) == found


def test_meetings_of_any_time_by_their_ids(synced: AttendanceStore, connection: Connection) -> None:
    """Of a series also its edited dates; those that are gone are left out."""
    assert _ids(connection, synced, days=None, event_ids=(1, 4, 5, 99)) == [5, 6, 1]
    names = page_queries.known_meetings(connection, synced.tables, PORTAL, [1, 4, 5])
    assert names == {1: (1, "Sprint review"), 5: (5, "Sprint planning")}


def test_one_date_of_a_series(store: AttendanceStore, connection: Connection) -> None:
    """An edited date that begins at the same time is another meeting."""
    dates = [make_meeting(1, MONDAY + number * DAY, "Y", is_recurring=True) for number in range(3)]
    _sync(store, 0, *dates, make_meeting(6, MONDAY + DAY, "Y", recurrence_id=1))
    for event_id in (1, own_id(1, 10)):
        filters = Filters(event_ids=(event_id,), start=MONDAY + DAY)
        found = page_queries.meetings(connection, store.tables, PORTAL, None, filters, ALL)
        assert [meeting.key for meeting in found] == [(1, MONDAY + DAY)]
    assert _ids(connection, store, days=None, event_ids=(1,), start=MONDAY + HOUR) == []
    assert len(_ids(connection, store, days=None, event_ids=(1,))) == 4


def test_a_meeting_is_found_by_its_id_in_anybodys_calendar(synced: AttendanceStore, connection: Connection) -> None:
    ids = own_id(1, 10), own_id(5, 11)
    assert _ids(connection, synced, days=None, event_ids=ids) == [5, 6, 1]
    assert _ids(connection, synced, days=None, event_ids=(own_id(5, 10), 5)) == [5]
    assert _ids(connection, synced, days=None, event_ids=(own_id(4, 10),)) == []
    known = page_queries.known_meetings(connection, synced.tables, PORTAL, [*ids, own_id(4, 10), 99])
    assert known == {ids[0]: (1, "Sprint review"), ids[1]: (5, "Sprint planning"), own_id(4, 10): (4, "")}
    (change,) = page_queries.changes(connection, synced.tables, PORTAL, NOON, Filters(event_ids=(own_id(1, 12),)), ALL)
    assert (change.parent_id, change.user_id, change.old_status, change.new_status) == (1, 11, "N", "Y")
    assert page_queries.changes(connection, synced.tables, PORTAL, NOON, Filters(event_ids=(own_id(2, 10),)), ALL) == ()
    assert page_queries.known_meetings(connection, synced.tables, "another.bitrix24.com", ids) == {}


def test_a_meeting_is_found_by_the_id_of_somebody_who_is_no_longer_invited(
    synced: AttendanceStore, connection: Connection
) -> None:
    _sync(synced, 9, make_meeting(1, MONDAY, "Y", name="Sprint review"))
    assert _ids(connection, synced, days=None, event_ids=(own_id(1, 12),)) == [1]


def test_answers_belong_to_the_meetings_that_are_asked_for(synced: AttendanceStore, connection: Connection) -> None:
    keys = [(1, MONDAY), (2, MONDAY + DAY), (3, MONDAY + 2 * DAY), (2, MONDAY)]
    found = page_queries.answers(connection, synced.tables, PORTAL, keys, 1)
    assert sorted(found) == [(1, MONDAY), (2, MONDAY + DAY)]
    accepted, silent = found[1, MONDAY]
    assert (accepted.size, [answer.user_id for answer in accepted.answers]) == (2, [10])
    assert (silent.status, silent.answers[0].since) == ("Q", NOON + timedelta(seconds=1))
    assert page_queries.answers(connection, synced.tables, PORTAL, [], 1) == {}


def test_people_with_most_unanswered_invitations_come_first(synced: AttendanceStore, connection: Connection) -> None:
    days = Days(WEEK.first, date(2026, 10, 19), UTC)
    found = page_queries.people(connection, synced.tables, PORTAL, days, Filters(), ALL)
    first = NOON + timedelta(seconds=1)
    assert found == ((10, 4, 2, 0, 2, first), (11, 2, 1, 0, 1, first), (12, 1, 0, 0, 1, first))
    assert [
        one.user_id for one in page_queries.people(connection, synced.tables, PORTAL, days, Filters(), Slice(1, 1))
    ] == [11]
    (one,) = page_queries.people(connection, synced.tables, PORTAL, WEEK, Filters(person="kaya", text="sprint"), ALL)
    assert one == (10, 1, 1, 0, 0, None)


def test_changes_are_the_newest_first(synced: AttendanceStore, connection: Connection) -> None:
    seen = NOON + 5 * HOUR + timedelta(seconds=1)
    everything = page_queries.changes(connection, synced.tables, PORTAL, NOON - DAY, Filters(), ALL)
    answered = page_queries.changes(connection, synced.tables, PORTAL, NOON - DAY, Filters(text="review"), ALL)
    assert [(one.user_id, one.old_status, one.new_status, one.new_seen_at) for one in answered] == [
        (11, "N", "Y", seen)
    ]
    assert answered[0].name == "Sprint review"
    assert [one.new_seen_at for one in everything] == sorted((one.new_seen_at for one in everything), reverse=True)
    for filters in (
        Filters(person="11", text="review"),
        Filters(event_ids=(1,)),
        Filters(text="review", calendar="user:1"),
    ):
        assert page_queries.changes(connection, synced.tables, PORTAL, seen, filters, ALL) == answered
    assert page_queries.changes(connection, synced.tables, PORTAL, seen + HOUR, Filters(), ALL) == ()
    assert page_queries.changes(connection, synced.tables, PORTAL, NOON, Filters(), Slice(1, 1)) == everything[1:2]


def test_calendars_are_those_of_the_days(synced: AttendanceStore, connection: Connection) -> None:
    assert page_queries.calendars(connection, synced.tables, PORTAL, WEEK) == ["user:1"]
    assert (
        page_queries.calendars(connection, synced.tables, PORTAL, Days(date(2027, 1, 4), date(2027, 1, 11), UTC)) == []
    )


def test_portals_are_kept_apart(synced: AttendanceStore, connection: Connection) -> None:
    other = make_store(synced.engine, portal="other.bitrix24.com")
    write(other, make_snapshot(6, make_meeting(1, MONDAY, "NN", name="Other"), window=OCTOBER))
    (mine,) = page_queries.meetings(connection, synced.tables, PORTAL, WEEK, Filters(text="review"), ALL)
    assert mine.declined == 0
    (theirs,) = page_queries.people(connection, synced.tables, other.portal, WEEK, Filters(person="11"), ALL)
    assert theirs[:5] == (11, 1, 0, 1, 0)
