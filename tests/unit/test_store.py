"""The tables in real databases: upserts, history, two writers at once, a killed one."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Engine

from airflow_provider_b24cal.attendance.calendars import Calendar
from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.models import (
    Attendance,
    AttendanceChange,
    CompletedRead,
    Meeting,
    Person,
    Snapshot,
)
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, CalendarEvent, read_event
from airflow_provider_b24cal.bitrix24.calendar.methods import get_names
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from tests.databases import DATABASES, database

DAY = timedelta(days=1)
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
SEPTEMBER = Window(FIRST, FIRST + 30 * DAY)
NOON = datetime(2026, 10, 1, 12, 0, 0, 123456, tzinfo=UTC)


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    with database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> AttendanceStore:
    store = _store(engine)
    store.prepare(create=True)
    return store


def _store(engine: Engine, names: TableNames | None = None, portal: str = "example.bitrix24.com") -> AttendanceStore:
    return AttendanceStore(engine, names or TableNames(), portal, people_names=True, now=lambda: NOON + 2 * DAY)


def _event(parent: int, start: datetime, answers: str | None = "YNQ", **more: Any) -> CalendarEvent:
    attendees = None
    if answers is not None:
        given = (Attendee(10 + number, MeetingStatus(letter)) for number, letter in enumerate(answers))
        attendees = (Attendee(1, MeetingStatus("H")), *given)
    values: dict[str, Any] = {
        "id": parent, "parent_id": parent, "name": "Plan 🗓 'x'", "start": start, "end": start + timedelta(hours=1),
        "zone": "Europe/Berlin", "all_day": False, "calendar_type": "user", "owner_id": 1, "host_id": 1,
        "is_meeting": True, "is_recurring": False, "status": MeetingStatus("H"), "attendees": attendees, **more,
    }  # fmt: skip
    return CalendarEvent(**values)


def _reading(hours: float, *events: CalendarEvent, window: Window | None = SEPTEMBER) -> Snapshot:
    at = NOON + timedelta(hours=hours)
    seen = tuple(("user:1", event) for event in events)
    return Snapshot(at, at + timedelta(seconds=1), seen, frozenset({"user:1"}) if window else frozenset(), window)


def _rows(store: AttendanceStore) -> list[list[tuple[Any, ...]]]:
    with store.engine.connect() as connection:
        return [
            sorted(map(tuple, connection.execute(table.select())), key=repr)
            for table in store.tables.needed(people_names=True)
        ]


def test_rows_are_what_was_seen(store: AttendanceStore) -> None:
    start = FIRST + 3 * DAY
    days = _event(9, FIRST + 5 * DAY, None, all_day=True, zone=None, end=FIRST + 7 * DAY, is_recurring=True,
                  recurrence_id=4, host_id=None)  # fmt: skip
    assert store.write(_reading(0, _event(7, start), days)).counts == {"new": 2, "unknown": 1}
    meetings, attendance, changes, *_ = _rows(store)
    seen = NOON + timedelta(seconds=1)
    assert meetings == [
        ("example.bitrix24.com", 7, start, "Plan 🗓 'x'", 1, "user:1", start + timedelta(hours=1), "Europe/Berlin",
         False, False, None, 1, 1, 1, 3, 1 / 3, seen, seen, None),
        ("example.bitrix24.com", 9, days.start, "Plan 🗓 'x'", None, "user:1", days.end, None, True, True, 4,
         None, None, None, None, None, seen, seen, None),
    ]  # fmt: skip
    assert attendance == [
        ("example.bitrix24.com", 7, start, user, letter, user == 1, seen, seen, None, None)
        for user, letter in ((1, "H"), (10, "Y"), (11, "N"), (12, "Q"))
    ]
    assert changes == []


def test_columns_are_the_fields_of_the_rows(store: AttendanceStore) -> None:
    kinds = (Meeting, Attendance, AttendanceChange, CompletedRead, Person)
    for table, kind in zip(store.tables.needed(people_names=True), kinds, strict=True):
        assert {column.name for column in table.c} == {"portal", *kind._fields}
        optional = {name for name, hint in get_type_hints(kind, {"datetime": datetime}).items() if "None" in str(hint)}
        assert {column.name for column in table.c if column.nullable} == optional


def test_any_text_of_a_portal_can_be_stored(store: AttendanceStore) -> None:
    row = {
        "ID": "7", "IS_MEETING": True, "NAME": "a\0b\ud800c" + "🗓" * 70_000, "CAL_TYPE": "x" * 300,
        "OWNER_ID": 10**18 - 1,
        "DATE_FROM_FORMATTED": "Thu Sep 03 2026 10:00:00", "DATE_TO_FORMATTED": "Thu Sep 03 2026 11:00:00",
        "TZ_FROM": "Mars\0" + "x" * 300, "TZ_OFFSET_FROM": "0", "TZ_OFFSET_TO": "0",
    }  # fmt: skip
    event = read_event(row)
    snapshot = _reading(0, event)
    store.write(replace(snapshot, seen=((str(Calendar(event.calendar_type, event.owner_id)), event),)))
    (name,) = get_names([9]).read([{"ID": 9, "NAME": "\0" + "🗓" * 20_000, "LAST_NAME": "🗓" * 20_000}], str).values()
    store.write_people([Person(9, name, NOON)])
    meetings, *_, people = _rows(store)
    assert [row[3] for row in meetings] == [event.name]
    assert (event.name[:5], len(event.name), len(event.zone or "")) == ("a\ufffdb\ufffdc", 16_383, 64)
    assert [row[2] for row in people] == [name]


def test_a_history(store: AttendanceStore) -> None:
    start = FIRST + 3 * DAY
    store.write(_reading(0, _event(7, start, "YNQ")))
    again = store.write(_reading(1, _event(7, start, "YNQ")))
    assert (+again.counts, again.changes) == ({"unchanged": 1}, [])
    assert store.write(_reading(2, _event(7, start, "YY"))).counts["changed"] == 1
    assert store.write(_reading(3)).counts == {"vanished": 1}
    assert store.write(_reading(4)).counts == {}
    meetings, attendance, changes, *_ = _rows(store)
    one, two, three = (NOON + timedelta(hours=hours, seconds=1) for hours in (1, 2, 3))
    assert meetings[0][-3:] == (NOON + timedelta(seconds=1), two, three)
    assert [(row[3], row[4], row[-2], row[-1]) for row in attendance] == [
        (1, "H", None, three), (10, "Y", None, three), (11, "Y", two, three), (12, "Q", two, two),
    ]  # fmt: skip
    assert [row[3:] for row in changes] == [(11, "N", "Y", one, two), (12, "Q", None, one, two)]


def test_what_is_as_it_was_carries_the_time_of_the_last_reading(store: AttendanceStore) -> None:
    other = _store(store.engine, portal="other.bitrix24.com")
    start, tomorrow = FIRST + 3 * DAY, FIRST + 4 * DAY
    other.write(_reading(0, _event(7, start, "YNQ")))
    store.write(_reading(0, _event(7, start, "YNQ"), _event(8, tomorrow, "YY")))
    store.write(_reading(1, _event(7, start, "YN"), _event(8, tomorrow, "YY")))
    assert +store.write(_reading(2, _event(7, start, "YN"), _event(8, tomorrow, "YQ"))).counts == {
        "unchanged": 1,
        "changed": 1,
    }
    zero, one, two = (NOON + timedelta(hours=hours, seconds=1) for hours in (0, 1, 2))
    meetings, attendance, *_ = _rows(store)
    seen = {(row[0].partition(".")[0], *row[1:4:2], row[7]): row[-1] for row in attendance}
    assert seen == {
        ("example", 7, 1, two): None, ("example", 7, 10, two): None, ("example", 7, 11, two): None,
        ("example", 7, 12, zero): one,
        ("example", 8, 1, two): None, ("example", 8, 10, two): None, ("example", 8, 11, two): None,
        **{("other", 7, user, zero): None for user in (1, 10, 11, 12)},
    }  # fmt: skip
    assert [(row[1], row[-2]) for row in meetings] == [(7, two), (8, two), (7, zero)]


def test_a_meeting_moved_far_away_is_gone_from_where_it_was(store: AttendanceStore) -> None:
    store.write(_reading(0, _event(7, FIRST + 3 * DAY), _event(8, FIRST + 3 * DAY, is_recurring=True)))
    november = Window(FIRST + 61 * DAY, FIRST + 91 * DAY)
    moved = (_event(7, FIRST + 70 * DAY), _event(8, FIRST + 71 * DAY, is_recurring=True))
    assert store.write(_reading(1, *moved, window=november)).counts == {"new": 2, "vanished": 1, "unknown": 0}
    assert [row[1] for row in _rows(store)[0] if row[-1]] == [7]


def test_single_events_concern_nothing_else(store: AttendanceStore) -> None:
    store.write(_reading(0, _event(7, FIRST + 3 * DAY), _event(8, FIRST + 3 * DAY)))
    counts = store.write(_reading(1, _event(7, FIRST + 3 * DAY, "YYY"), window=None)).counts
    assert +counts == {"changed": 1}
    assert len(_rows(store)[2]) == 2


def test_portals_and_names_are_kept_apart(store: AttendanceStore) -> None:
    odd = TableNames(meetings="Meet ings", attendance='at"tendance', changes="select", reads="reads%s")
    others = [
        _store(store.engine, portal="other.bitrix24.com"),
        _store(store.engine, odd),
    ]
    others[1].prepare(create=True)
    store.write(_reading(0, _event(7, FIRST)))
    for other in others:
        assert other.write(_reading(1)).counts == {}
        assert other.write(_reading(2, _event(7, FIRST, "NNN"))).counts["new"] == 1
    assert not _rows(store)[2]


def test_names_as_long_as_accepted(engine: Engine) -> None:
    names = ("meetings", "attendance", "changes", "reads", "people")
    store = _store(engine, TableNames(**{name: name.ljust(63, "x") for name in names}))
    assert store.prepare(create=True).count("CREATE INDEX") == 4
    assert store.prepare(create=False) == ""
    assert store.write(_reading(0, _event(7, FIRST))).counts["new"] == 1


def test_missing_tables_are_named_with_what_creates_them(engine: Engine) -> None:
    store = _store(engine)
    with pytest.raises(InvalidArgumentError, match=r"create_tables=True") as refusal:
        store.prepare(create=False)
    statements = str(refusal.value).partition("\n")[2]
    assert (statements.count("CREATE TABLE"), statements.count("CREATE INDEX")) == (5, 4)
    with engine.begin() as connection:
        for statement in statements.split(";")[:-1]:
            connection.execute(text(statement))
    assert store.prepare(create=False) == ""
    store.write(_reading(0, _event(7, FIRST)))


def test_a_reading_that_was_overtaken_is_written_in_part_or_not_at_all(store: AttendanceStore) -> None:
    """Another run has looked meanwhile: it saw meeting 8 where this one saw 7, and both saw 9."""
    late = _reading(0, _event(7, FIRST), _event(9, FIRST + DAY))
    store.write(_reading(1, _event(8, FIRST), _event(9, FIRST + DAY)))
    before = _rows(store)
    assert +store.write(late, whole=True).counts == {"outdated": 2, "unchanged": 1}
    assert _rows(store) == before
    november = Window(FIRST + 61 * DAY, FIRST + 91 * DAY)
    elsewhere = _reading(0, _event(10, FIRST + 70 * DAY), window=november)
    assert +store.write(elsewhere, whole=True).counts == {"new": 1}
    assert +store.write(late).counts == {"outdated": 2, "unchanged": 1}
    assert [row[1] for row in _rows(store)[0]] == [10, 8, 9]


def test_reads_are_kept_for_a_day(store: AttendanceStore) -> None:
    other = _store(store.engine, portal="other.bitrix24.com")
    start, end = SEPTEMBER.start, SEPTEMBER.end
    gone = Snapshot(NOON, NOON + timedelta(seconds=1), (), gone=frozenset({7}))
    other.write(_reading(0))
    for snapshot in (_reading(0), _reading(1), gone):
        store.write(snapshot)
    seen = [NOON + timedelta(hours=hours, seconds=1) for hours in (0, 1, 25, 25.001)]
    always = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
    assert [row[1:] for row in _rows(store)[3] if row[0].startswith("example")] == [
        ("event:7", *always, seen[0]),
        ("user:1", start, end, seen[1]),
    ]
    store.write(_reading(25, window=Window(start, end + DAY)))
    assert [row[1:] for row in _rows(store)[3] if row[0].startswith("example")] == [
        ("user:1", start, end, seen[1]),
        ("user:1", start, end + DAY, seen[2]),
    ]
    store.write(_reading(25.001, window=Window(start, end + DAY)))
    assert sorted((row[0].partition(".")[0], row[-1]) for row in _rows(store)[3]) == [
        ("example", seen[3]),
        ("other", seen[0]),
    ]


def test_reads_from_the_future_are_ignored(store: AttendanceStore) -> None:
    """A clock that is wrong by more than minutes."""
    store.write(_reading(48.2))
    assert +store.write(_reading(47, _event(7, FIRST)), whole=True).counts == {"new": 1}
    store.write(_reading(48.1, window=Window(FIRST + 61 * DAY, FIRST + 91 * DAY)))
    late = _reading(47, _event(8, FIRST + 70 * DAY), window=Window(FIRST + 61 * DAY, FIRST + 91 * DAY))
    assert +store.write(late, whole=True).counts == {"outdated": 1}


def test_a_series_that_has_become_a_single_meeting_elsewhere(store: AttendanceStore) -> None:
    november = Window(FIRST + 61 * DAY, FIRST + 91 * DAY)
    store.write(_reading(1, _event(7, FIRST + 70 * DAY), window=november))
    dates = [_event(7, FIRST + day * DAY, is_recurring=True) for day in (3, 4)]
    assert +store.write(_reading(0, *dates), whole=True).counts == {"outdated": 2}
    assert +store.write(_reading(2, *dates)).counts == {"new": 2}


def test_later_names_stay(store: AttendanceStore) -> None:
    store.write_people([Person(1, "Anna", NOON), Person(2, "Martin", NOON)])
    store.write_people([Person(1, "Anna Orlova", NOON + DAY)])
    store.write_people([Person(1, "Anna", NOON), Person(3, "Dora", NOON)])
    assert [row[1:] for row in _rows(store)[4]] == [
        (1, "Anna Orlova", NOON + DAY),
        (2, "Martin", NOON),
        (3, "Dora", NOON),
    ]


def test_two_at_once_give_the_tables_of_one(url: URL, store: AttendanceStore) -> None:
    """Both create, both write; the readings overlap, as those of two runs do, and none is reported twice."""
    store.write(_reading(0, *(_event(number, FIRST + number * DAY, "QQQ") for number in range(1, 21))))
    gate, failures = threading.Barrier(2), []

    def run(late: float) -> None:
        engine = create_engine(url)
        try:
            other = _store(engine)
            gate.wait(60)
            other.prepare(create=True)
            for hour in (1, 2, 3):
                events = (_event(number, FIRST + number * DAY, "YNQ"[hour - 1] * 3) for number in range(1, 21))
                other.write(_reading(hour + late, *events))
        except BaseException as error:
            failures.append(error)
            raise
        finally:
            engine.dispose()

    threads = [threading.Thread(target=run, args=(late,)) for late in (0.0, 0.0001)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    meetings, attendance, changes, *_ = _rows(store)
    assert (len(meetings), len(attendance)) == (20, 80)
    for user in (10, 11, 12):
        for number in range(1, 21):
            reported = sorted((row[6], row[4], row[5]) for row in changes if (row[1], row[3]) == (number, user))
            letters = [(old, new) for _, old, new in reported]
            # One of the two may have written all three hours before the other came to its first.
            assert letters == [("Q", "Y"), ("Y", "N"), ("N", "Q")]


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from sqlalchemy import create_engine, event
from tests.unit.test_store import FIRST, DAY, _event, _reading, _store
engine = create_engine(sys.argv[1])

@event.listens_for(engine, "before_cursor_execute")
def die(connection, cursor, statement, *_):
    if "INTO" in statement and "bitrix24_attendance_changes" in statement:
        os._exit(9)

_store(engine).write(_reading(1, _event(7, FIRST, "YYY"), _event(8, FIRST)))
"""


def test_a_killed_run_leaves_nothing_half_done_and_no_lock(url: URL, store: AttendanceStore) -> None:
    store.write(_reading(0, _event(7, FIRST, "QQQ")))
    before = _rows(store)
    address = url.render_as_string(hide_password=False)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, address, str(root)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 9, done.stderr
    assert _rows(store) == before
    retry = store.write(_reading(2, _event(7, FIRST, "YYY"), _event(8, FIRST)))
    assert (+retry.counts, len(retry.changes)) == ({"new": 1, "changed": 1}, 3)
    assert len(_rows(store)[2]) == 3


def test_a_failure_takes_everything_back_and_frees_the_lock(store: AttendanceStore) -> None:
    store.write(_reading(0, _event(7, FIRST, "QQQ")))
    before = _rows(store)
    with store.engine.begin() as connection:
        store.tables.changes.drop(connection)
    with pytest.raises(Exception, match="bitrix24_attendance_changes"):
        store.write(_reading(1, _event(7, FIRST, "YYY")))
    store.prepare(create=True)
    assert _rows(store) == before
    assert len(store.write(_reading(2, _event(7, FIRST, "YYY"))).changes) == 3


def test_a_schema_of_its_own(engine: Engine) -> None:
    if engine.dialect.name != "postgresql":
        pytest.skip("schemas are tried on PostgreSQL")
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA hr"))
    store = _store(engine, TableNames(schema="hr"))
    assert "hr.bitrix24_meetings" in store.prepare(create=True)
    store.write(_reading(0, _event(7, FIRST)))
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
