"""Tables of earlier versions, tables of others, and databases that do not suffice."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, inspect, text
from sqlalchemy.engine import URL, Engine

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from tests.stored_tables import DAY, FIRST, NOON, make_meeting, make_snapshot, make_store, own_id, read_rows, write

FIRST_TABLES = """
CREATE TABLE bitrix24_meetings (portal VARCHAR(255) NOT NULL, parent_id BIGINT NOT NULL, occurrence_start
  {time} NOT NULL, name TEXT NOT NULL, host_id BIGINT, calendar VARCHAR(64) NOT NULL, occurrence_end {time}
  NOT NULL, zone VARCHAR(64), all_day BOOLEAN NOT NULL, is_recurring BOOLEAN NOT NULL, recurrence_id BIGINT,
  accepted INTEGER, declined INTEGER, silent INTEGER, total INTEGER, share FLOAT(53), first_seen {time} NOT
  NULL, last_seen {time} NOT NULL, vanished_at {time}, PRIMARY KEY (portal, parent_id,
  occurrence_start)){options};
CREATE INDEX ix_bitrix24_meetings_occurrence_start ON bitrix24_meetings (portal, occurrence_start);
CREATE TABLE bitrix24_attendance (portal VARCHAR(255) NOT NULL, parent_id BIGINT NOT NULL, occurrence_start
  {time} NOT NULL, user_id BIGINT NOT NULL, status VARCHAR(1) NOT NULL, is_host BOOLEAN NOT NULL, first_seen
  {time} NOT NULL, last_seen {time} NOT NULL, changed_at {time}, vanished_at {time}, PRIMARY KEY (portal,
  parent_id, occurrence_start, user_id)){options};
CREATE INDEX ix_bitrix24_attendance_occurrence_start ON bitrix24_attendance (portal, occurrence_start);
CREATE TABLE bitrix24_attendance_changes (portal VARCHAR(255) NOT NULL, parent_id BIGINT NOT NULL,
  occurrence_start {time} NOT NULL, user_id BIGINT NOT NULL, old_status VARCHAR(1), new_status VARCHAR(1),
  old_seen_at {time} NOT NULL, new_seen_at {time} NOT NULL, PRIMARY KEY (portal, parent_id, occurrence_start,
  user_id, old_seen_at)){options};
CREATE INDEX ix_bitrix24_attendance_changes_occurrence_start ON bitrix24_attendance_changes (portal,
  occurrence_start);
CREATE TABLE bitrix24_attendance_looks (portal VARCHAR(255) NOT NULL, calendar VARCHAR(64) NOT NULL,
  window_start {time} NOT NULL, window_end {time} NOT NULL, read_at {time} NOT NULL, PRIMARY KEY (portal,
  calendar, window_start, window_end)){options};
CREATE INDEX ix_bitrix24_attendance_looks_read_at ON bitrix24_attendance_looks (portal, read_at);
CREATE TABLE bitrix24_people (portal VARCHAR(255) NOT NULL, user_id BIGINT NOT NULL, name TEXT NOT NULL,
  last_seen {time} NOT NULL, PRIMARY KEY (portal, user_id)){options};
INSERT INTO bitrix24_meetings (portal, parent_id, occurrence_start, name, host_id, calendar, occurrence_end,
  zone, all_day, is_recurring, accepted, declined, silent, total, first_seen, last_seen) VALUES ({portal}, 7,
  {start}, 'Old', 1, 'user:1', {end}, 'Europe/Berlin', false, false, 0, 0, 1, 1, {seen}, {seen});
INSERT INTO bitrix24_attendance (portal, parent_id, occurrence_start, user_id, status, is_host, first_seen,
  last_seen) VALUES ({portal}, 7, {start}, 1, 'H', true, {seen}, {seen});
INSERT INTO bitrix24_attendance (portal, parent_id, occurrence_start, user_id, status, is_host, first_seen,
  last_seen) VALUES ({portal}, 7, {start}, 10, 'Q', false, {seen}, {seen});
INSERT INTO bitrix24_attendance_looks (portal, calendar, window_start, window_end, read_at) VALUES ({portal},
  'user:1', {seen}, {end}, {seen})
"""
"""The tables as the first version made them, with the log of readings that later ones do not have."""

_FORMS = {
    "sqlite": {"time": "DATETIME", "options": ""},
    "postgresql": {"time": "TIMESTAMP WITH TIME ZONE", "options": ""},
    "mysql": {"time": "DATETIME(6)", "options": " ENGINE=InnoDB CHARSET=utf8mb4"},
}


def run(engine: Engine, statements: str) -> None:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("SET TIME ZONE 'UTC'"))
        for statement in filter(str.strip, statements.split(";")):
            connection.exec_driver_sql(statement)


def make_first_tables(engine: Engine) -> None:
    values = {
        "portal": "'example.bitrix24.com'", "seen": "'2026-09-20 00:00:00.000000'",
        "start": "'2026-09-04 00:00:00.000000'", "end": "'2026-09-04 01:00:00.000000'",
    }  # fmt: skip
    run(engine, FIRST_TABLES.format(**_FORMS[engine.dialect.name], **values))


def answer_is_stored(store: AttendanceStore) -> None:
    """Sync an answer that was given since the rows of an earlier version were written."""
    write(store, make_snapshot(0, make_meeting(7, FIRST + 3 * DAY, "Y", name="New", location="Room 1")))
    rows = read_rows(store)
    (meeting,), seen = rows.meetings, make_snapshot(0).read_at
    assert (meeting.name, meeting.location, meeting.accepted) == ("New", "Room 1", 1)
    assert (meeting.created_at, meeting.updated_at) == (None, seen)
    assert [(row.user_id, row.status, row.created_at, row.updated_at) for row in rows.attendance] == [
        (1, "H", None, seen),
        (10, "Y", None, seen),
    ]
    assert [row.event_id for row in rows.attendance] == [7, own_id(7, 10)]
    assert [row[3:6] for row in rows.changes] == [(10, "Q", "Y")]


def test_tables_of_the_first_version_get_their_columns(engine: Engine) -> None:
    make_first_tables(engine)
    store = make_store(engine)
    statements = store.prepare(create=True)
    assert statements.count("ADD COLUMN") == 13
    assert "CREATE TABLE bitrix24_crm_links" in statements
    assert store.prepare(create=True) == ""
    answer_is_stored(store)


def test_or_the_error_has_the_statements_that_add_them(engine: Engine) -> None:
    make_first_tables(engine)
    store = make_store(engine)
    with pytest.raises(InvalidArgumentError, match=r"column bitrix24_meetings\.location") as refusal:
        store.prepare(create=False)
    message = str(refusal.value)
    assert "Set create_tables=True, or run:" in message
    run(engine, message.partition("\n")[2])
    assert store.prepare(create=False) == ""
    answer_is_stored(store)


def test_indexes_that_an_administrator_has_dropped_stop_no_task(store: AttendanceStore) -> None:
    gone = sorted(index.name or "" for table in store.tables for index in table.indexes)
    with store.engine.begin() as connection:
        for table in store.tables:
            for index in table.indexes:
                index.drop(connection)
    assert store.prepare(create=False) == ""
    assert store.prepare(create=True).count("CREATE INDEX") == len(gone)
    found = inspect(store.engine)
    assert gone == sorted(index["name"] or "" for table in store.tables for index in found.get_indexes(table.name))


@pytest.mark.parametrize("create", [True, False])
def test_a_table_without_its_primary_key_is_refused(engine: Engine, create: bool) -> None:
    """It would take every row once more with each sync."""
    make_store(engine).prepare(create=True)
    run(engine, "CREATE TABLE copied AS SELECT * FROM bitrix24_attendance")
    store = make_store(engine, TableNames(attendance="copied"))
    with pytest.raises(
        InvalidArgumentError, match=r"copied has the primary key \(\); expected \(portal, parent_id, occ"
    ):
        store.prepare(create=create)


@pytest.mark.parametrize("create", [True, False])
def test_a_table_of_somebody_else_is_refused(engine: Engine, create: bool) -> None:
    run(engine, "CREATE TABLE bitrix24_meetings (id INTEGER PRIMARY KEY, name VARCHAR(20))")
    with pytest.raises(InvalidArgumentError, match="has no column portal, parent_id, occurrence_start, calendar"):
        make_store(engine).prepare(create=create)
    assert inspect(engine).get_table_names() == ["bitrix24_meetings"]


def test_a_schema_that_does_not_exist_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidArgumentError, match="schema 'nowhere': expected a schema that exists"):
        make_store(engine, TableNames(schema="nowhere")).prepare(create=True)


def test_a_schema_is_no_part_of_a_table_s_name() -> None:
    with pytest.raises(InvalidArgumentError, match=r"meetings_table 'public\.m': expected a name without a dot"):
        TableNames(meetings="public.m")


def test_names_with_too_many_bytes_are_refused(engine: Engine) -> None:
    """PostgreSQL would cut the name in silence."""
    store = make_store(engine, TableNames(meetings="ж" * 40))
    if engine.dialect.name != "postgresql":
        assert "ж" * 40 in store.prepare(create=True)
        return
    with pytest.raises(InvalidArgumentError, match=r"Invalid meetings_table .*: expected a name of at most 63 bytes"):
        store.prepare(create=True)
    assert inspect(engine).get_table_names() == []


def test_a_connection_without_all_characters_is_refused(engine: Engine, url: URL) -> None:
    if engine.dialect.name != "mysql":
        pytest.skip("a setting of MySQL and MariaDB")
    narrow = create_engine(url.update_query_dict({"charset": "latin1"}))
    with pytest.raises(InvalidArgumentError, match=r"is 'latin1'\. Set \{\"charset\": \"utf8mb4\"\} in the extra"):
        make_store(narrow).prepare(create=True)
    narrow.dispose()


@contextmanager
def reader(engine: Engine, url: URL) -> Iterator[Engine]:
    """Yield the database of somebody who may read and not write."""
    name = f"b24cal_{secrets.token_hex(6)}"
    who: dict[str, Any]
    if engine.dialect.name == "sqlite":
        assert url.database is not None
        who, options = {"database": f"file:{Path(url.database)}"}, {"mode": "ro", "uri": "true"}
        begin, end = "", ""
    elif engine.dialect.name == "postgresql":
        begin = f"CREATE ROLE {name} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}"
        end, who, options = f"DROP OWNED BY {name}; DROP ROLE {name}", {"username": name, "password": None}, {}
    else:
        begin = f"CREATE USER {name}@127.0.0.1; GRANT SELECT ON {url.database}.* TO {name}@127.0.0.1"
        end, who, options = f"DROP USER {name}@127.0.0.1", {"username": name, "password": None}, {}
    run(engine, begin)
    narrow = create_engine(url.set(**who).update_query_dict(options))
    try:
        yield narrow
    finally:
        narrow.dispose()
        run(engine, end)


def test_a_right_that_is_missing_is_named(store: AttendanceStore, engine: Engine, url: URL) -> None:
    write(store, make_snapshot(0, make_meeting(7, FIRST)))
    before = read_rows(store)
    with reader(engine, url) as narrow:
        with pytest.raises(InvalidArgumentError, match="the right INSERT on bitrix24_meetings; the database says: "):
            make_store(narrow).prepare(create=False)
        with pytest.raises(InvalidArgumentError, match="the right DELETE on bitrix24_meetings"):
            make_store(narrow).prepare(create=False, rights=["SELECT", "DELETE"])
        assert make_store(narrow).prepare(create=False, rights=["SELECT"]) == ""
        with pytest.raises(InvalidArgumentError, match=r"(?s)database refuses it: .*run:\nCREATE TABLE .?others"):
            make_store(narrow, TableNames(meetings="others")).prepare(create=True)
    assert read_rows(store) == before
    assert write(store, make_snapshot(1, make_meeting(7, FIRST))).counts["unchanged"] == 1
    assert read_rows(store).meetings[0].last_seen > NOON
