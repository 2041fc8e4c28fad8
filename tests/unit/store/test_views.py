"""The views of the tables, in real databases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.io.views import VIEWS, create_views, view_names
from airflow_provider_b24cal.bitrix24 import InvalidArgumentError, Window
from tests.stored_tables import DAY, FIRST, NOON, PORTAL, make_meeting, make_snapshot, make_store, write

HOUR = timedelta(hours=1)
MONDAY = FIRST + 6 * DAY
SEEN = NOON + timedelta(seconds=1)
NAMES = TableNames()


def look(store: AttendanceStore, ending: str, columns: str = "*") -> list[tuple[Any, ...]]:
    """Return the rows of a view, with numbers as floats and times as aware ones."""
    view = view_names(NAMES)[ending]
    with store.engine.connect() as connection:
        rows = connection.execute(text(f"SELECT {columns} FROM {view} ORDER BY 1, 2, 3, 4")).all()
    return [tuple(map(_plain, row)) for row in rows]


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value[:2] == "20" and ":" in value:
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
    if isinstance(value, str) and value[:2] == "20":
        return date.fromisoformat(value)
    return float(value) if hasattr(value, "as_integer_ratio") else value


def test_current_answers(store: AttendanceStore) -> None:
    create_views(store, NAMES)
    start = FIRST + 3 * DAY
    masked = make_meeting(9, start, None)
    write(store, make_snapshot(0, make_meeting(7, start, "YQQ"), make_meeting(8, start, "Y"), masked))
    write(store, make_snapshot(1, make_meeting(7, start, "YN"), masked))
    columns = "parent_id, user_id, status, is_host, since, observed"
    changed = SEEN + HOUR
    assert look(store, "current", columns) == [
        (7, 1, "H", True, SEEN, False), (7, 10, "Y", False, SEEN, False), (7, 11, "N", False, changed, True),
    ]  # fmt: skip


def test_the_response_of_each_week_begins_on_monday(store: AttendanceStore) -> None:
    create_views(store, NAMES)
    sunday, last = MONDAY - HOUR, MONDAY + 7 * DAY - 2 * HOUR
    events = make_meeting(1, sunday, "YQ"), make_meeting(2, MONDAY, "YQ"), make_meeting(3, last, "NN")
    write(store, make_snapshot(0, *events))
    columns = "user_id, week, invited, accepted, declined, silent, response_rate"
    before, week = (MONDAY - 7 * DAY).date(), MONDAY.date()
    assert look(store, "weekly", columns) == [
        (10, before, 1, 1, 0, 0, 1.0), (10, week, 2, 1, 1, 0, 1.0),
        (11, before, 1, 0, 0, 1, 0.0), (11, week, 2, 0, 1, 1, 0.5),
    ]  # fmt: skip


def test_the_time_to_answer_is_shown_where_it_is_known(store: AttendanceStore) -> None:
    create_views(store, NAMES)
    start = FIRST + 3 * DAY
    for hours, answers in enumerate(["QYQ", "NQQ", "YYQ", "YYYQ", "YYYY"]):
        write(store, make_snapshot(hours, make_meeting(7, start, answers)))
    found = look(store, "answer_times", "user_id, status, invited_seen_at, silent_until, answered_seen_at")
    # 10: the first answer. 11: had answered already. 12: later. 13: was invited at three, answered at four.
    assert found == [
        (10, "N", SEEN, SEEN, SEEN + HOUR),
        (12, "Y", SEEN, SEEN + 2 * HOUR, SEEN + 3 * HOUR),
        (13, "Y", SEEN + 3 * HOUR, SEEN + 3 * HOUR, SEEN + 4 * HOUR),
    ]
    assert look(store, "answer_times", "user_id, hours_to_answer, 1, 1") == [
        (10, 1, 1, 1), (12, 3, 1, 1), (13, 1, 1, 1),
    ]  # fmt: skip


def test_answers_of_emptied_tables_have_no_time(store: AttendanceStore) -> None:
    create_views(store, NAMES)
    start = FIRST + 3 * DAY
    for hours, answers in enumerate("QY"):
        write(store, make_snapshot(hours, make_meeting(7, start, answers)))
    with store.engine.begin() as connection:
        connection.execute(store.tables.attendance.delete())
    write(store, make_snapshot(2, make_meeting(7, start, "Y")))
    assert look(store, "answer_times") == []


def test_the_silent_are_those_of_meetings_to_come(store: AttendanceStore) -> None:
    create_views(store, NAMES)
    now = datetime.now(UTC)
    soon, over = now + DAY, now - DAY
    window = Window(now - 3 * DAY, now + 3 * DAY)
    events = make_meeting(7, soon, "YQ"), make_meeting(8, over, "Q"), make_meeting(9, now - HOUR, "Q", end=soon)
    snapshot = replace(make_snapshot(0, *events, window=window), read_at=now - 2 * DAY - HOUR)
    write(store, snapshot)
    columns = "parent_id, user_id, since, days_of_silence"
    assert look(store, "silent", columns) == [(7, 11, snapshot.read_at, 2), (9, 10, snapshot.read_at, 2)]


def test_how_fresh_each_calendar_is(store: AttendanceStore) -> None:
    create_views(store, NAMES)
    start = FIRST + 3 * DAY
    write(store, make_snapshot(0, make_meeting(7, start), make_meeting(8, start)))
    write(store, make_snapshot(1, make_meeting(7, start)))
    other = make_snapshot(2, make_meeting(9, start))
    write(store, replace(other, seen=(("group:7", other.seen[0][1]),), calendars=frozenset({"group:7"})))
    columns = "portal, calendar, last_seen, meetings, live"
    assert look(store, "freshness", columns) == [
        (PORTAL, "group:7", SEEN + 2 * HOUR, 1, 1), (PORTAL, "user:1", SEEN + HOUR, 2, 1),
    ]  # fmt: skip
    (ago, _) = look(store, "freshness", "calendar, hours_ago, 1, 1")
    since = (datetime.now(UTC) - SEEN - 2 * HOUR) / HOUR
    assert since - 1 < ago[1] < since + 0.01


def test_views_are_replaced_also_by_others(store: AttendanceStore, monkeypatch: pytest.MonkeyPatch) -> None:
    names = create_views(store, NAMES)
    assert names == create_views(store, NAMES) == [f"bitrix24_attendance_{ending}" for ending in VIEWS]
    assert set(names) == set(inspect(store.engine).get_view_names())
    # An earlier version, with other columns.
    monkeypatch.setitem(VIEWS, "current", VIEWS["current"].replace("a.portal,", "m.zone, a.portal,", 1))
    create_views(store, NAMES)
    monkeypatch.undo()
    assert look(store, "current", "*") == []
    create_views(store, NAMES)
    with store.engine.connect() as connection:
        columns = connection.execute(text("SELECT * FROM bitrix24_attendance_current")).keys()
    assert next(iter(columns)) == "portal"


def test_a_view_that_cannot_be_replaced_changes_none(store: AttendanceStore) -> None:
    if store.engine.dialect.name != "postgresql":
        pytest.skip("the others let go of a view that others read")
    create_views(store, NAMES)
    with store.engine.begin() as connection:
        connection.execute(text("CREATE VIEW mine AS SELECT live FROM bitrix24_attendance_freshness"))
    create_views(store, NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(VIEWS, "freshness", VIEWS["freshness"].replace("portal,", "portal AS p,", 1))
        with pytest.raises(DBAPIError, match="mine"):
            create_views(store, NAMES)
    assert look(store, "freshness") == []


def test_views_of_tables_with_other_names_and_a_schema(store: AttendanceStore) -> None:
    if store.engine.dialect.name != "postgresql":
        pytest.skip("the others have no schemas")
    with store.engine.begin() as connection:
        connection.execute(text('CREATE SCHEMA "The people"'))
    names = TableNames("The people", "Meetings", "Who comes", "change%s")
    other = make_store(store.engine, names)
    with pytest.raises(InvalidArgumentError, match=r"Missing in the database: table The people\.Meetings, "):
        create_views(other, names)
    other.prepare(create=True)
    assert create_views(other, names) == [f"The people.Who comes_{ending}" for ending in VIEWS]
    with store.engine.connect() as connection:
        assert connection.execute(text('SELECT * FROM "The people"."Who comes_silent"')).all() == []


def test_names_that_are_too_long_are_refused(store: AttendanceStore) -> None:
    names = TableNames(attendance="a" * 51)
    with pytest.raises(InvalidArgumentError, match=r"Invalid attendance_table .*: expected at most 50 characters"):
        create_views(store, names)
    assert max(map(len, view_names(TableNames(attendance="a" * 50)).values())) == 63
