"""The lock of the tables in real databases: who waits for whom, and what is left of a run that has ended."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from threading import Barrier, Lock
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, select, text
from sqlalchemy.engine import URL, Connection, Engine

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.table_lock import lock_tables
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.models import Attendance, AttendanceChange, Meeting, Snapshot
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from tests.attendance_tables import CALENDARS, WINDOWS, Clock, Tables, portals
from tests.stored_tables import FIRST, make_meeting, make_snapshot, make_store, read_rows, write, write_to


@contextmanager
def own_engine(url: URL, **options: Any) -> Iterator[Engine]:
    """Yield an engine as another run has it."""
    engine = create_engine(url, **options)
    try:
        yield engine
    finally:
        engine.dispose()


def is_locked(store: AttendanceStore) -> bool:
    try:
        with lock_tables(store.engine, store.tables.meetings, seconds=1):
            return False
    except TimeoutError:
        return True


# One or two meetings and few hours, so that the same are met again and again.
few = portals(parents=2, hours=st.sampled_from([5, 5, 47, 100]))
one_read = st.tuples(st.sampled_from(WINDOWS), st.sets(st.sampled_from(CALENDARS), min_size=1).map(sorted))
plans = st.lists(st.lists(one_read, min_size=1, max_size=3), min_size=2, max_size=3)
number = count(1)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(few, min_size=2, max_size=6), plans)
def test_runs_at_once_give_the_tables_of_runs_one_after_another(
    url: URL, store: AttendanceStore, states: list[Any], plans: list[list[tuple[Window, list[str]]]]
) -> None:
    """Each read finds the portal in its next state; the tables are those of the reads in their order."""
    clock, order, mutex, portal = Clock(), list[Snapshot](), Lock(), f"portal{next(number)}"

    def read(window: Window, names: list[str]) -> Snapshot:
        with mutex:
            order.append(clock.read(states[min(len(order), len(states) - 1)], window, names))
            return order[-1]

    def run(plan: list[tuple[Window, list[str]]]) -> None:
        with own_engine(url) as engine:
            own = make_store(engine, portal=portal)
            for part in plan:
                with own.lock() as session:
                    write_to(own, session, read(*part))

    with ThreadPoolExecutor(len(plans)) as pool:
        list(pool.map(run, plans))
    serial = Tables()
    for snapshot in order:
        serial.sync(snapshot)
    stored = [row for rows in serial.stored.attendances.values() for row in rows.values()]
    kinds: list[tuple[Any, Any, Any]] = [
        (store.tables.meetings, Meeting, serial.stored.meetings.values()),
        (store.tables.attendance, Attendance, stored),
        (store.tables.changes, AttendanceChange, serial.changes.values()),
    ]
    with store.engine.connect() as connection:
        for table, kind, rows in kinds:
            columns = select(*(table.c[name] for name in kind._fields)).where(table.c.portal == portal)
            assert set(map(tuple, connection.execute(columns))) == set(map(tuple, rows))


def test_two_runs_may_create_the_tables(url: URL, engine: Engine) -> None:
    gate = Barrier(2)

    def create(_: int) -> str:
        with own_engine(url) as own:
            gate.wait(60)
            return make_store(own).prepare(create=True)

    with ThreadPoolExecutor(2) as pool:
        statements = sorted(pool.map(create, range(2)))
    assert statements[0] == ""
    assert "CREATE TABLE" in statements[1]


def test_a_run_that_waits_too_long_fails_by_name(url: URL, store: AttendanceStore) -> None:
    with store.lock(), own_engine(url) as engine, pytest.raises(TimeoutError, match=r"bitrix24_meetings for 1 s"):  # noqa: SIM117
        with lock_tables(engine, store.tables.meetings, seconds=1):
            pass
    assert not is_locked(store)


def test_while_the_tables_are_locked_others_read_them(url: URL, store: AttendanceStore) -> None:
    write(store, make_snapshot(0, make_meeting(7, FIRST)))
    with store.lock() as session, own_engine(url) as engine:
        assert len(read_rows(make_store(engine))[0]) == 1
        assert session.in_transaction() is (engine.dialect.name == "sqlite")
        write_to(store, session, make_snapshot(1, make_meeting(7, FIRST), make_meeting(8, FIRST)))
    assert len(read_rows(store)[0]) == 2


def test_no_transaction_is_open_while_a_portal_is_read(url: URL, store: AttendanceStore) -> None:
    if url.get_backend_name() != "postgresql":
        pytest.skip("PostgreSQL says what its sessions do")
    states = text("SELECT state FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
    with store.lock(), own_engine(url) as engine, engine.connect() as connection:
        assert set(connection.execute(states).scalars()) == {"idle"}


def schema_of(url: URL) -> str | None:
    """Return the schema in which tables without a schema are."""
    return {"sqlite": "main", "postgresql": "public", "mysql": url.database}[url.get_backend_name()]


def test_tables_without_a_schema_have_the_lock_of_those_with_the_default_one(url: URL, store: AttendanceStore) -> None:
    with own_engine(url) as engine:
        named = make_store(engine, TableNames(schema=schema_of(url)))
        assert not is_locked(named)
        with store.lock():
            assert is_locked(named)
        with named.lock():
            assert is_locked(store)


def test_an_older_answer_does_not_replace_a_newer_one_under_the_schema_s_name(url: URL, store: AttendanceStore) -> None:
    """The slow run has read before the fast one asks for the lock, and writes after that."""
    with own_engine(url) as engine, ThreadPoolExecutor(1) as pool:
        named = make_store(engine, TableNames(schema=schema_of(url)))
        with store.lock() as session:
            fast = pool.submit(write, named, make_snapshot(1, make_meeting(7, FIRST, "YYY")))
            with pytest.raises(TimeoutError):
                fast.result(timeout=1)
            write_to(store, session, make_snapshot(0, make_meeting(7, FIRST, "QQQ")))
        assert len(fast.result(timeout=60).changes) == 3
    assert [row[11:14] for row in read_rows(store)[0]] == [(3, 0, 0)]


def test_each_schema_has_a_lock_of_its_own(url: URL, store: AttendanceStore) -> None:
    """Also where the search path leads to one that is not its first."""
    if url.get_backend_name() != "postgresql":
        pytest.skip("schemas are tried on PostgreSQL")
    with store.engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA hr"))
        connection.execute(text("CREATE SCHEMA first"))
    named = make_store(store.engine, TableNames(schema="hr"))
    named.prepare(create=True)
    path = {"options": "-csearch_path=first,hr"}
    with own_engine(url, connect_args=path) as engine:
        found = make_store(engine)
        with store.lock():
            assert not is_locked(named)
            assert not is_locked(found)
        with found.lock():
            assert is_locked(named)


def end_session(store: AttendanceStore, session: Connection) -> None:
    """End a session as a server does that restarts."""
    own, end = {
        "postgresql": ("SELECT pg_backend_pid()", "SELECT pg_terminate_backend({})"),
        "mysql": ("SELECT connection_id()", "KILL {}"),
    }[store.engine.dialect.name]
    with session.begin():
        number = session.execute(text(own)).scalar()
    with store.engine.connect() as connection:
        connection.execute(text(end.format(number)))


def test_a_run_that_has_lost_its_session_writes_nothing_and_fails_by_name(url: URL, store: AttendanceStore) -> None:
    if url.get_backend_name() == "sqlite":
        pytest.skip("SQLite has no sessions")
    write(store, make_snapshot(0, make_meeting(7, FIRST, "QQQ")))
    before = read_rows(store)

    def run() -> None:
        with store.lock() as session:
            end_session(store, session)
            assert not is_locked(store)
            write_to(store, session, make_snapshot(1, make_meeting(7, FIRST, "YYY")))

    with pytest.raises(ConnectionError, match=r"bitrix24_meetings was lost"):
        run()
    assert read_rows(store) == before
    assert len(write(store, make_snapshot(2, make_meeting(7, FIRST, "YYY"))).changes) == 3


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[2])
from sqlalchemy import create_engine, event
from tests.stored_tables import FIRST, make_meeting, make_snapshot, make_store, write_to
engine = create_engine(sys.argv[1])

@event.listens_for(engine, "before_cursor_execute")
def die(connection, cursor, statement, *_):
    if "INTO" in statement and "bitrix24_attendance_changes" in statement:
        os._exit(9)

store = make_store(engine)
with store.lock() as session:
    if sys.argv[3] == "reading":
        os._exit(9)
    write_to(store, session, make_snapshot(1, make_meeting(7, FIRST, "YYY"), make_meeting(8, FIRST)))
"""


@pytest.mark.parametrize("moment", ["reading", "writing"])
def test_a_killed_run_leaves_nothing_half_done_and_no_lock(url: URL, store: AttendanceStore, moment: str) -> None:
    write(store, make_snapshot(0, make_meeting(7, FIRST, "QQQ")))
    before = read_rows(store)
    address, root = url.render_as_string(hide_password=False), Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, address, str(root), moment], check=False, capture_output=True, text=True
    )
    assert done.returncode == 9, done.stderr
    assert read_rows(store) == before
    retry = write(store, make_snapshot(2, make_meeting(7, FIRST, "YYY"), make_meeting(8, FIRST)))
    assert (+retry.counts, len(retry.changes)) == ({"new": 1, "changed": 1}, 3)
    assert len(read_rows(store)[2]) == 3
