"""The figures of the report, from tables in each kind of database."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.engine import Connection

from airflow_provider_b24cal.attendance.io import queries
from airflow_provider_b24cal.attendance.io.queries import Days, SilentPerson, Totals, WeekResponse
from airflow_provider_b24cal.attendance.io.report_page import reading
from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.models import Person
from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.stored_tables import DAY, PORTAL, make_meeting, make_snapshot, make_store, write

OCTOBER = Window(datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))
WEEK = Days(date(2026, 10, 5), date(2026, 10, 12), UTC)
MONDAY = datetime(2026, 10, 5, 9, tzinfo=UTC)


def _sync(store: AttendanceStore, hours: float, *events: CalendarEvent) -> datetime:
    """Store a reading; return its time."""
    snapshot = make_snapshot(hours, *events, window=OCTOBER)
    write(store, snapshot)
    return snapshot.read_at


def _whole_days(parent: int, first: date, days: int = 1) -> CalendarEvent:
    start = datetime(first.year, first.month, first.day, tzinfo=UTC)
    return make_meeting(parent, start, "Y", end=start + days * DAY, all_day=True, zone=None)


@pytest.fixture
def connection(store: AttendanceStore) -> Iterator[Connection]:
    # Each query sees what was written before it.
    with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def _ids(connection: Connection, store: AttendanceStore, days: Days, limit: int = 50) -> list[int]:
    found = queries.coming_meetings(connection, store.tables, PORTAL, days, limit)
    return [meeting.parent_id for meeting in found]


def test_meetings_come_in_order_and_not_more_than_asked_for(store: AttendanceStore, connection: Connection) -> None:
    _sync(
        store,
        0,
        make_meeting(2, MONDAY),
        make_meeting(1, MONDAY + DAY),
        make_meeting(3, MONDAY),
        make_meeting(4, MONDAY),
    )
    _sync(store, 1, make_meeting(2, MONDAY), make_meeting(1, MONDAY + DAY), make_meeting(3, MONDAY))  # 4 is gone
    assert _ids(connection, store, WEEK) == [2, 3, 1]
    assert _ids(connection, store, WEEK, limit=2) == [2, 3]
    (first, *_) = queries.coming_meetings(connection, store.tables, PORTAL, WEEK, 1)
    assert first == (2, MONDAY, MONDAY + timedelta(hours=1), False, "Plan 🗓 'x'", 1, 1, 1, 1, 3)


@pytest.mark.parametrize(
    ("zone", "found"),
    [
        ("UTC", [10, 2, 11, 3]),
        # Sunday evening of UTC is Monday there; Sunday of the next week is already the week after.
        ("Asia/Tokyo", [1, 10, 2, 11]),
        # And the other way round; days without hours stay where they are.
        ("America/New_York", [10, 11, 3, 4]),
    ],
)
def test_days_are_those_of_the_zone(
    zone: str, found: list[int], store: AttendanceStore, connection: Connection
) -> None:
    _sync(
        store, 0,
        make_meeting(1, datetime(2026, 10, 4, 20, tzinfo=UTC)),
        make_meeting(2, datetime(2026, 10, 5, 1, tzinfo=UTC)),
        make_meeting(3, datetime(2026, 10, 11, 20, tzinfo=UTC)),
        make_meeting(4, datetime(2026, 10, 12, 1, tzinfo=UTC)),
        _whole_days(9, date(2026, 10, 4)), _whole_days(10, date(2026, 10, 5)), _whole_days(11, date(2026, 10, 11)),
        _whole_days(12, date(2026, 10, 12)),
    )  # fmt: skip
    days = Days(WEEK.first, WEEK.end, ZoneInfo(zone))
    assert _ids(connection, store, days) == found
    assert queries.totals(connection, store.tables, PORTAL, days).meetings == 4
    mondays = [WEEK.first - 7 * DAY, WEEK.first, WEEK.end, WEEK.end + 7 * DAY]
    weeks = queries.weekly_responses(connection, store.tables, PORTAL, mondays, days.zone)
    assert [(week.monday, week.meetings) for week in weeks][1] == (WEEK.first, 4)


def test_answers_know_since_when(store: AttendanceStore, connection: Connection) -> None:
    first = _sync(store, 0, make_meeting(1, MONDAY, "YQQ"))
    later = _sync(store, 5, make_meeting(1, MONDAY, "YQNQ"))
    _sync(store, 6, make_meeting(1, MONDAY, "YQNQ"))
    ((key, groups),) = queries.answers(connection, store.tables, PORTAL, WEEK, 50).items()
    assert key == (1, MONDAY)
    found = [(group.status.value, group.size, [one[::2] + one[3:] for one in group.answers]) for group in groups]
    assert found == [
        ("Y", 1, [(10, first, False)]),
        ("N", 1, [(12, later, True)]),
        ("Q", 2, [(11, first, False), (13, later, True)]),
    ]


def test_of_many_answers_some_are_left_out_and_all_are_counted(store: AttendanceStore, connection: Connection) -> None:
    _sync(
        store,
        0,
        make_meeting(1, MONDAY, "YYYYQM"),
        make_meeting(2, MONDAY + DAY, "NN"),
        make_meeting(3, MONDAY + 2 * DAY),
    )
    found = queries.answers(connection, store.tables, PORTAL, WEEK, 2)
    assert {
        key[0]: [(one.status.value, one.size, len(one.answers)) for one in groups] for key, groups in found.items()
    } == {
        1: [("Y", 4, 2), ("Q", 1, 1), ("M", 1, 1)],
        2: [("N", 2, 2)],
    }
    assert [answer.user_id for answer in found[1, MONDAY][0].answers] == [10, 11]


def test_masked_meetings_have_no_answers(store: AttendanceStore, connection: Connection) -> None:
    """Those that were seen before may have changed since."""
    _sync(store, 0, make_meeting(1, MONDAY, "YQ"), make_meeting(2, MONDAY, "Y"))
    _sync(store, 5, make_meeting(1, MONDAY, None), make_meeting(2, MONDAY, "Y"))
    assert set(queries.answers(connection, store.tables, PORTAL, WEEK, 50)) == {(2, MONDAY)}


def test_the_longest_silent_come_first(store: AttendanceStore, connection: Connection) -> None:
    """Without organisers, those invited no more, and meetings that the portal masks or that are later."""
    first = _sync(
        store, 0, make_meeting(1, MONDAY, "YQQ"), make_meeting(2, MONDAY + DAY, "YQQ"), make_meeting(3, MONDAY, "QQ")
    )
    later = _sync(
        store, 5,
        make_meeting(1, MONDAY, "YQ"), make_meeting(2, MONDAY + DAY, "QQY"), make_meeting(3, MONDAY, None),
        make_meeting(4, MONDAY + 7 * DAY, "QQQ"), make_meeting(5, MONDAY, "YYQ", host_id=12),
    )  # fmt: skip
    silent = queries.silent_people(connection, store.tables, PORTAL, WEEK, 50)
    assert silent == (SilentPerson(11, 2, first), SilentPerson(10, 1, later))
    assert queries.silent_people(connection, store.tables, PORTAL, WEEK, 1) == silent[:1]


def test_totals(store: AttendanceStore, connection: Connection) -> None:
    assert queries.totals(connection, store.tables, PORTAL, WEEK) == Totals(0, 0, 0, 0, 0)
    events = make_meeting(1, MONDAY, "YNQ"), make_meeting(2, MONDAY, "QQ"), make_meeting(3, MONDAY, None)
    _sync(store, 0, *events, make_meeting(4, MONDAY + 7 * DAY, "YYYY"))
    assert queries.totals(connection, store.tables, PORTAL, WEEK) == Totals(3, 1, 5, 2, 3)


def test_weeks(store: AttendanceStore, connection: Connection) -> None:
    _sync(
        store, 0,
        make_meeting(1, MONDAY, "YNQ"), make_meeting(2, MONDAY + 6 * DAY, "YM"), make_meeting(3, MONDAY, None),
        make_meeting(4, MONDAY + DAY, ""), make_meeting(5, MONDAY + 14 * DAY, "Q"),
    )  # fmt: skip
    mondays = [WEEK.first + number * 7 * DAY for number in range(-1, 3)]
    found = queries.weekly_responses(connection, store.tables, PORTAL, mondays, UTC)
    assert found == (WeekResponse(WEEK.first, 2, 2, 1, 5),)
    assert found[0].silent == 2
    found = queries.weekly_responses(connection, store.tables, PORTAL, [*mondays, mondays[-1] + 7 * DAY], UTC)
    assert found[1:] == (WeekResponse(mondays[-1], 1, 0, 0, 1),)


def test_each_portal_by_itself(store: AttendanceStore, connection: Connection) -> None:
    assert queries.portals(connection, store.tables) == []
    other = make_store(store.engine, portal="other.bitrix24.com")
    first = _sync(store, 0, make_meeting(1, MONDAY, "Q"))
    _sync(other, 5, make_meeting(1, MONDAY, "QYN"))
    assert queries.portals(connection, store.tables) == [PORTAL, other.portal]
    assert queries.last_sync(connection, store.tables, PORTAL) == first
    assert queries.last_sync(connection, store.tables, "third") is None
    assert queries.totals(connection, store.tables, PORTAL, WEEK) == Totals(1, 0, 1, 0, 1)
    ((group,),) = queries.answers(connection, store.tables, PORTAL, WEEK, 50).values()
    assert [answer.user_id for answer in group.answers] == [10]


def test_the_last_sync_is_known_though_everything_is_gone(store: AttendanceStore, connection: Connection) -> None:
    _sync(store, 0, make_meeting(1, MONDAY))
    assert _sync(store, 5) == queries.last_sync(connection, store.tables, PORTAL)


def test_names(store: AttendanceStore, connection: Connection) -> None:
    now = datetime(2026, 10, 1, tzinfo=UTC)
    people = [Person(7, "Zoë 🗓", now), Person(8, "", now), *(Person(one, f"P{one}", now) for one in range(100, 1300))]
    write(store, make_snapshot(0, window=OCTOBER), people)
    found = queries.people_names(connection, store.tables.people, PORTAL, [7, 8, 9, *range(100, 1300)])
    assert (found[7], found.keys() & {8, 9}, len(found)) == ("Zoë 🗓", set(), 1201)


def test_what_is_written_meanwhile_is_not_seen(store: AttendanceStore) -> None:
    _sync(store, 0, make_meeting(1, MONDAY))
    with reading(store.engine) as connection:
        before = queries.totals(connection, store.tables, PORTAL, WEEK)
        if store.engine.dialect.name == "sqlite":  # there a writer has to wait
            with closing(sqlite3.connect(str(store.engine.url.database), timeout=0)) as writer:
                writer.execute("DELETE FROM bitrix24_meetings")
                with pytest.raises(sqlite3.OperationalError, match="locked"):
                    writer.commit()
            return
        _sync(store, 1, make_meeting(1, MONDAY), make_meeting(2, MONDAY))
        assert queries.totals(connection, store.tables, PORTAL, WEEK) == before
    with reading(store.engine) as connection:
        assert queries.totals(connection, store.tables, PORTAL, WEEK).meetings == 2
