"""Ten thousand occurrences with eight attendees each into SQL tables, beside what cannot be saved.

The sandbox serves a hundred daily series over a hundred days: four parts of 25 days of one calendar. Each run is
``Bitrix24AttendanceToSqlOperator.execute`` in a process of its own. What cannot be saved is the portal's time, taken
with bare requests for the same parts, and the database's own bulk upsert of the same rows by SQLAlchemy Core.

``python benchmarks/attendance_to_sql.py [sqlite] [postgresql]``; both by default. PostgreSQL is the server of
``B24CAL_TEST_POSTGRESQL``, by default the one on loopback; it is left out where none answers.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from _portal import counters, portal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sqlalchemy.engine import Engine

SERIES, DAYS, ATTENDEES = 100, 100, 8
PARTS, TURNS = 4, 3
FACTOR, MEMORY_MB = 1.5, 200.0
WINDOW = {"window_start": "2026-01-01T00:00:00+00:00", "window_end": "2026-04-11T00:00:00+00:00"}
POSTGRESQL = os.environ.get("B24CAL_TEST_POSTGRESQL", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")


def calendar_data() -> dict[str, Any]:
    """Return a hundred daily series that person 1 has called, each with eight attendees."""
    people = [{"id": number, "name": f"Person {number}"} for number in range(1, ATTENDEES + 2)]
    people[0]["webhook"] = {"secret": "benchmark0000000"}
    events = [
        {
            "id": 1000 + number,
            "name": f"Daily {number}",
            "host": 1,
            "start": f"2026-01-01T{number % 20:02}:00",
            "end": f"2026-01-01T{number % 20:02}:30",
            "repeat": {"frequency": "DAILY", "count": DAYS},
            "attendees": [{"user": user, "status": "YNQ"[(number + user) % 3]} for user in range(2, ATTENDEES + 2)],
        }
        for number in range(SERIES)
    ]
    return {"people": people, "events": events}


@contextmanager
def serve_data(folder: Path) -> Iterator[tuple[str, str]]:
    """Serve the calendar from another process; yield its address and the connection of user 1."""
    data = folder / "calendar.json"
    data.write_text(json.dumps(calendar_data()), "utf-8")
    with portal("--data", str(data)) as (url, connection):
        yield url, json.dumps(connection)


def portal_seconds(url: str) -> float:
    """Return how long the portal takes for the same parts, asked one after the other by a bare client."""
    from datetime import datetime

    import requests

    from airflow_provider_b24cal.attendance.calendars import parts
    from airflow_provider_b24cal.bitrix24.calendar.window import MARGIN, Window

    window = Window(*(datetime.fromisoformat(bound) for bound in WINDOW.values()))
    with requests.Session() as session:
        session.trust_env = False
        began = time.monotonic()
        for part in parts(window):
            asked = {"type": "user", "ownerId": 1, "from": (part.start - MARGIN).isoformat(),
                     "to": (part.end + MARGIN).isoformat()}  # fmt: skip
            address = f"{url}/rest/1/benchmark0000000/calendar.event.get.json"
            assert session.post(address, json=asked, timeout=120).status_code == 200
        return time.monotonic() - began


def sync(connections: dict[str, str]) -> dict[str, Any]:
    """Run the operator in a process of its own; return its counts, seconds and megabytes above the baseline."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, **connections, "AIRFLOW_HOME": home}
        done = subprocess.run(
            [sys.executable, __file__, "--one"], env=environment, capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    reported: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return reported


def one() -> None:
    """Run the operator once, and print what came of it."""
    import sqlalchemy

    from airflow_provider_b24cal._airflow import BaseHook
    from airflow_provider_b24cal.attendance.io import reader as snapshot
    from airflow_provider_b24cal.attendance.io import source
    from airflow_provider_b24cal.attendance.io import sql_store as store
    from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator

    assert all((snapshot, source, store, sqlalchemy))  # loaded before the clock starts, as the baseline has them
    BaseHook.get_hook("warehouse").get_sqlalchemy_engine().dispose()
    task = Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="warehouse",
        calendars=["user:1"],
        create_tables=True,
        window_start=WINDOW["window_start"],
        window_end=WINDOW["window_end"],
    )
    baseline = _kilobytes("VmRSS")
    began = time.monotonic()
    counts = task.execute({})
    seconds = time.monotonic() - began
    print(json.dumps({"counts": counts, "seconds": seconds, "mb": (_kilobytes("VmHWM") - baseline) / 1024}))


def _kilobytes(field: str) -> float:
    found = re.search(rf"{field}:\s+([0-9]+) kB", Path("/proc/self/status").read_text("ascii"))
    assert found is not None
    return float(found[1])


def upsert_seconds(engine: Engine) -> float:
    """Return how long the database takes for a bulk upsert of the same rows into tables that have none yet."""
    from sqlalchemy.dialects import postgresql, sqlite

    from airflow_provider_b24cal.attendance.io.tables import TableNames, define

    insert = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}[engine.dialect.name]
    filled = define(TableNames())
    empty = define(TableNames(meetings="bare_meetings", attendance="bare_attendance", changes="bare_changes"))
    empty.meetings.metadata.create_all(engine)
    with engine.connect() as connection:
        selects = (filled.meetings.select(), filled.attendance.select())
        rows = [[dict(row._mapping) for row in connection.execute(select)] for select in selects]
    began = time.monotonic()
    with engine.begin() as connection:
        for table, given in zip((empty.meetings, empty.attendance), rows, strict=True):
            statement: Any = insert(table)
            others = {column.name: statement.excluded[column.name] for column in table.c if not column.primary_key}
            keys = list(table.primary_key)
            upsert = statement.on_conflict_do_update(index_elements=keys, set_=others)
            # SQLAlchemy takes far longer for one list of all rows.
            for first in range(0, len(given), 5000):
                connection.execute(upsert, given[first : first + 5000])
    return time.monotonic() - began


def own_engine(connection: str) -> Engine:
    """Return the engine that Airflow's hook makes, with its driver."""
    from airflow_provider_b24cal._airflow import BaseHook

    os.environ["AIRFLOW_CONN_WAREHOUSE"] = connection
    engine: Engine = BaseHook.get_hook("warehouse").get_sqlalchemy_engine()
    return engine


def empty(engine: Engine) -> None:
    """Drop all tables."""
    from sqlalchemy import MetaData

    found = MetaData()
    found.reflect(engine)
    found.drop_all(engine)


@contextmanager
def warehouse(kind: str, folder: Path) -> Iterator[str | None]:
    """Yield Airflow's connection to an empty database; ``None`` where there is no server."""
    from sqlalchemy import create_engine, text
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import OperationalError

    if kind == "sqlite":
        path = f"{folder}/attendance.db"
        yield json.dumps({"conn_type": "sqlite", "host": path})
        return
    server, name = make_url(POSTGRESQL), f"b24cal_{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
    except OperationalError as problem:
        print(f"postgresql: left out, {str(problem.orig).splitlines()[0]}")
        yield None
        return
    try:
        fields = {"conn_type": "postgres", "host": server.host, "port": server.port, "login": server.username,
                  "password": server.password, "schema": name}  # fmt: skip
        yield json.dumps({key: value for key, value in fields.items() if value is not None})
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def compare(kind: str) -> bool:
    """Print the figures of one database; return whether all bounds hold."""
    with tempfile.TemporaryDirectory() as name, warehouse(kind, Path(name)) as found:
        if found is None:
            return True
        engine = own_engine(found)
        with serve_data(Path(name)) as (url, stored):
            connections = {"AIRFLOW_CONN_BITRIX24_DEFAULT": stored, "AIRFLOW_CONN_WAREHOUSE": found}
            firsts, seconds, portals, upserts, requests = [], [], [], [], 0
            # By turns, and the best of each: a machine that others use as well is now faster and now slower.
            for _ in range(TURNS):
                empty(engine)
                before = counters(url)["requests"]
                firsts.append(sync(connections))
                requests = max(requests, counters(url)["requests"] - before)
                seconds.append(sync(connections))
                portals.append(portal_seconds(url))
                upserts.append(upsert_seconds(engine))
        engine.dispose()
    first, second = (min(runs, key=lambda run: run["seconds"]) for runs in (firsts, seconds))
    bare_portal, bare_upsert = min(portals), min(upserts)
    bound = FACTOR * (bare_portal + bare_upsert)
    print(f"{kind}: {first['counts']['occurrences']} occurrences, {first['counts']['answers']} answers")
    print(f"  requests             {requests:6d}      bound {PARTS}")
    print(f"  portal alone         {bare_portal:8.1f} s")
    print(f"  bulk upsert alone    {bare_upsert:8.1f} s")
    ok = requests <= PARTS
    for title, run in (("first run", first), ("second run", second)):
        print(f"  {title:<18} {run['seconds']:10.1f} s  bound {bound:.1f} s; {run['mb']:.0f} MB above the baseline")
        ok &= run["seconds"] <= bound and run["mb"] <= MEMORY_MB
    changed = {name: second["counts"][name] for name in ("new", "changed", "vanished", "answer_changes")}
    print(f"  second run changed   {sum(changed.values()):6d}      bound 0")
    print(f"  {'all bounds hold' if ok and not any(changed.values()) else 'A BOUND IS MISSED'}")
    return ok and not any(changed.values())


def main(wanted: Sequence[str]) -> int:
    """Run the comparisons; return 1 when a bound is missed."""
    with tempfile.TemporaryDirectory() as home:
        os.environ["AIRFLOW_HOME"] = home
        return int(not all(list(map(compare, wanted or ("sqlite", "postgresql")))))


if __name__ == "__main__":
    if sys.argv[1:] == ["--one"]:
        one()
        sys.exit(0)
    sys.exit(main(sys.argv[1:]))
