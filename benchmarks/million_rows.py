"""One day of a million stored occurrences: which rows of PostgreSQL a sync of that day touches.

The tables hold a thousand days of a thousand meetings with an answer each. A day is synchronised by the store, its
statements are recorded, and each is run again with ``EXPLAIN (ANALYZE)`` and taken back. What counts are the rows that
the scans of the tables read, also those that a filter drops. An unchanged day, one with other answers, and one with new
meetings are tried.

``python benchmarks/million_rows.py`` needs the server of ``B24CAL_TEST_POSTGRESQL``, by default the one on loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.models import Snapshot
from airflow_provider_b24cal.attendance.reconcile import reconcile
from airflow_provider_b24cal.bitrix24.calendar.events import Attendee, CalendarEvent
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.calendar.window import Window

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import Engine

POSTGRESQL = os.environ.get("B24CAL_TEST_POSTGRESQL", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")
DAYS, MEETINGS = 1000, 1000
FIRST = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PORTAL = "example.bitrix24.com"
OTHERS = 1_000_000_000
"""Added to the id of a meeting: its id in the calendar of who is invited."""
FACTOR = 25
"""How often each row of the day, and of the day before and after it, may be read by all statements together."""

FILL = """
INSERT INTO bitrix24_meetings (portal, parent_id, occurrence_start, name, host_id, calendar, occurrence_end, zone,
    all_day, is_recurring, accepted, declined, silent, total, share, first_seen, last_seen, created_at, updated_at)
SELECT :portal, n, start, 'Meeting', 1, 'user:1', start + interval '30 minutes', 'UTC', false, false, 0, 0, 1, 1, 0.0,
    :seen, :seen, :seen, :seen
FROM (SELECT n, :first + (n / :meetings) * interval '1 day' + (n % 48) * interval '30 minutes' AS start
      FROM generate_series(0, :rows - 1) AS n) AS made;
INSERT INTO bitrix24_attendance (portal, parent_id, occurrence_start, user_id, status, is_host, first_seen, last_seen,
    created_at, updated_at, event_id)
SELECT portal, parent_id, occurrence_start, 2, 'Q', false, first_seen, last_seen, created_at, updated_at,
    parent_id + :others
FROM bitrix24_meetings;
"""


@contextmanager
def database() -> Iterator[Engine]:
    """Yield an empty database, and drop it in the end."""
    server, name = make_url(POSTGRESQL), f"b24cal_{secrets.token_hex(6)}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = create_engine(server.set(database=name))
    try:
        yield engine
    finally:
        engine.dispose()
        with admin.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        admin.dispose()


def meetings_of(day: int) -> list[CalendarEvent]:
    """Return the meetings of a day as they are stored."""
    midnight = FIRST + day * DAY
    return [
        CalendarEvent(
            id=number, parent_id=number, name="Meeting", start=midnight + number % 48 * timedelta(minutes=30),
            end=midnight + (number % 48 + 1) * timedelta(minutes=30), zone="UTC", all_day=False, calendar_type="user",
            owner_id=1, host_id=1, is_meeting=True, is_recurring=False, status=None,
            attendees=(Attendee(2, MeetingStatus.NOT_ANSWERED, number + OTHERS),),
        )
        for number in range(day * MEETINGS, (day + 1) * MEETINGS)
    ]  # fmt: skip


def sync(store: AttendanceStore, day: int, events: list[CalendarEvent]) -> None:
    """Write a day, as a run of the operator does after it has read the portal."""
    window = Window(FIRST + day * DAY, FIRST + (day + 1) * DAY)
    seen = tuple(("user:1", one) for one in events)
    snapshot = Snapshot(datetime.now(UTC), seen, frozenset({"user:1"}), window)
    with store.lock() as session:
        stored = store.load(session, snapshot)
        difference = reconcile(stored, snapshot)
        store.write(session, stored, difference, snapshot.read_at)
        store.portals_with(session, [one.key for one in difference.meetings if one.key not in stored.meetings])


@contextmanager
def recorded(engine: Engine) -> Iterator[list[tuple[str, Any]]]:
    """Yield a list that takes the statements on the tables, with their parameters."""
    found: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if "bitrix24_" in statement and statement.startswith(("SELECT", "UPDATE", "INSERT")) and "pg_" not in statement:
            found.extend((statement, one) for one in (parameters if many else [parameters]))

    event.listen(engine, "before_cursor_execute", note)
    yield found
    event.remove(engine, "before_cursor_execute", note)


def touched(plan: dict[str, Any]) -> tuple[int, set[str]]:
    """Return how many rows the scans of a plan have read, and the tables that were read as a whole."""
    rows, whole = 0, set[str]()
    if "Scan" in plan["Node Type"] and "Function" not in plan["Node Type"] and "Values" not in plan["Node Type"]:
        dropped = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
        rows += int((plan["Actual Rows"] + dropped) * plan["Actual Loops"])
        if plan["Node Type"] == "Seq Scan":
            whole.add(plan["Relation Name"])
    for one in plan.get("Plans", ()):
        more, tables = touched(one)
        rows, whole = rows + more, whole | tables
    return rows, whole


def explain(engine: Engine, statements: list[tuple[str, Any]]) -> tuple[int, set[str]]:
    """Run statements again, take them back, and return what :func:`touched` says of all."""
    rows, whole = 0, set[str]()
    with engine.connect() as connection:
        for statement, parameters in statements:
            plan: Any = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar()
            more, tables = touched((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"])
            rows, whole = rows + more, whole | tables
        connection.rollback()
    return rows, whole


def main() -> int:
    """Print what each sync touches; return 1 if a bound is missed."""
    with database() as engine:
        store = AttendanceStore(engine, TableNames(), PORTAL)
        store.prepare(create=True)
        with engine.begin() as connection:
            values = {"portal": PORTAL, "first": FIRST, "seen": FIRST, "meetings": MEETINGS, "rows": DAYS * MEETINGS,
                      "others": OTHERS}  # fmt: skip
            for statement in filter(str.strip, FILL.split(";")):
                connection.execute(text(statement), values)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))
        day = DAYS // 2
        unchanged = meetings_of(day)
        answered = [
            replace(one, attendees=(Attendee(2, MeetingStatus.ACCEPTED, one.id + OTHERS),)) for one in unchanged
        ]
        new = [replace(one, id=one.id + 2 * OTHERS, parent_id=one.id + 2 * OTHERS) for one in unchanged[:100]]
        bound, ok = 3 * MEETINGS * FACTOR, True
        print(f"{DAYS * MEETINGS:,} occurrences; a day has {MEETINGS:,}; bound {bound:,} rows, no table as a whole")
        for title, events in (
            ("an unchanged day", unchanged), ("everybody has answered", answered), ("new meetings", [*answered, *new]),
        ):  # fmt: skip
            with recorded(engine) as statements:
                began = time.monotonic()
                sync(store, day, events)
                seconds = time.monotonic() - began
            rows, whole = explain(engine, statements)
            print(f"  {title:<22} {seconds:6.2f} s, {len(statements):5d} statements, {rows:9,d} rows", *sorted(whole))
            ok &= rows <= bound and not whole
    print("all bounds hold" if ok else "A BOUND IS MISSED")
    return int(not ok)


if __name__ == "__main__":
    sys.exit(main())
