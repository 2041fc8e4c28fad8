"""The page "Attendance" of the web UI over 100,000 answers: server time and size of each page.

The tables hold 10,000 meetings of the eight weeks around today, each with ten of 2,000 people, and as many changes as
answers. A real API server of Airflow shows them from SQLite, and from PostgreSQL where it answers. Each page is asked
for ten times over loopback, with the sign-in; the median and the largest time count.

``python benchmarks/attendance_page.py`` needs about a minute. ``B24CAL_TEST_POSTGRESQL`` names the server, by default
the one on loopback.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
import time
import urllib.request
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

sys.path.insert(0, str(Path(__file__).parents[1]))

from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from dev.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy.engine import URL

POSTGRESQL = os.environ.get("B24CAL_TEST_POSTGRESQL", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres")
MEETINGS, GUESTS, PEOPLE = 10_000, 10, 2_000
WEEKS_BACK, WEEKS = 4, 8
ROUNDS: Final = 10
SECONDS, BYTES = 0.3, 200_000
PORTAL = "example.bitrix24.com"
PAGES = (
    "meetings", "meetings?page=20", "meetings?text=review", "meetings?person=Guest+77", "meetings?calendar=user:7",
    "meetings?event_id=70007", "people", "people?period=quarter&page=10", "people?person=Guest+77", "changes",
    "changes?page=100", "changes?person=Guest+77", "changes?text=review", "waiting",
)  # fmt: skip


def fill(url: URL) -> None:
    """Create and fill the tables."""
    engine, tables = create_engine(url), define(TableNames())
    now = datetime.now(UTC).replace(microsecond=0)
    first = (now - timedelta(days=now.weekday(), weeks=WEEKS_BACK)).replace(hour=0, minute=0, second=0)
    step, seen = timedelta(weeks=WEEKS) / MEETINGS, {"first_seen": now - timedelta(days=9), "last_seen": now}
    letters = "YYYYYYNQQQ"
    meetings, answers, changes = [], [], []
    for number in range(1, MEETINGS + 1):
        start = (first + (number - 1) * step).replace(microsecond=0)
        key = {"portal": PORTAL, "parent_id": number, "occurrence_start": start}
        meetings.append({
            **key, **seen, "name": "Quarterly review" if number % 50 == 0 else f"Meeting of team {number % 97}",
            "host_id": number % PEOPLE + 1, "calendar": f"user:{number % 40}", "zone": "UTC", "all_day": False,
            "occurrence_end": start + timedelta(hours=1), "is_recurring": False, "accepted": 6, "declined": 1,
            "silent": 3, "total": GUESTS, "share": 0.6,
        })  # fmt: skip
        for place in range(GUESTS):
            who = {**key, "user_id": (number * 7 + place * 211) % PEOPLE + 1}
            answers.append({**who, **seen, "status": letters[place], "is_host": False, "changed_at": None,
                            "event_id": MEETINGS * (place + 1) + number})  # fmt: skip
            before = now - timedelta(seconds=number * 10 + place)
            changes.append({
                **who, "old_status": "Q", "new_status": letters[place] if place < 7 else None, "old_seen_at": before,
                "new_seen_at": before + timedelta(minutes=15),
            })  # fmt: skip
    people = [
        {"portal": PORTAL, "user_id": one, "name": f"Guest {one}", "last_seen": now} for one in range(1, PEOPLE + 1)
    ]
    with engine.begin() as session:
        for table in tables:
            table.create(session)
        for table, rows in zip(tables[:4], (meetings, answers, changes, people), strict=True):
            session.execute(table.insert(), rows)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as session:
        session.execute(text("ANALYZE"))
    engine.dispose()


@contextmanager
def postgresql() -> Iterator[URL | None]:
    """Yield the address of an empty database, which is dropped in the end; ``None`` where there is no server."""
    server, name = make_url(POSTGRESQL), f"b24cal_page_{secrets.token_hex(4)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
    try:
        with engine.connect() as session:
            session.execute(text(f"CREATE DATABASE {name}"))
    except SQLAlchemyError as problem:
        print(f"PostgreSQL is left out: {str(problem).splitlines()[0]}")
        yield None
        return
    try:
        yield server.set(database=name)
    finally:
        with engine.connect() as session:
            session.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        engine.dispose()


def connection_json(url: URL) -> str:
    """Return Airflow's connection to a database."""
    if url.get_backend_name() == "sqlite":
        return json.dumps({"conn_type": "sqlite", "host": url.database})
    fields = {"host": url.host, "login": url.username, "password": url.password, "port": url.port}
    return json.dumps({"conn_type": "postgres", "schema": url.database, **{k: v for k, v in fields.items() if v}})


def measure(url: URL, folder: Path) -> bool:
    """Print the time and size of each page; return whether all are within the bounds."""
    fill(url)
    settings = {
        "AIRFLOW__BITRIX24__ATTENDANCE_PAGE_CONN_ID": "attendance",
        "AIRFLOW_CONN_ATTENDANCE": connection_json(url),
    }
    good = True
    for name in ("home", "dags"):
        (folder / name).mkdir()
    with LocalAirflow(folder / "home", folder / "dags", settings) as airflow:
        airflow.migrate()
        airflow.start(["api-server"])
        airflow.request("GET", "/dags")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        opener.addheaders = [("Authorization", f"Bearer {airflow._token}")]
        for page in PAGES:
            times, size = [], 0
            for _ in range(ROUNDS + 1):
                began = time.perf_counter()
                with opener.open(f"{airflow.url}/bitrix24/attendance/{page}", timeout=60) as reply:
                    size = len(reply.read())
                times.append(time.perf_counter() - began)
            within = median(times[1:]) < SECONDS and size < BYTES
            good = good and within
            print(
                f"  {url.get_backend_name():<11} {page:<32} median {median(times[1:]) * 1000:5.0f} ms   largest "
                f"{max(times[1:]) * 1000:5.0f} ms   {size / 1000:6.1f} kB   {'' if within else 'TOO MUCH'}"
            )
    return good


def main() -> int:
    """Measure on each database."""
    results: list[Any] = []
    with tempfile.TemporaryDirectory(prefix="b24cal-page-") as folder:
        (Path(folder) / "sqlite").mkdir()
        results.append(measure(make_url(f"sqlite:///{folder}/attendance.db"), Path(folder) / "sqlite"))
        with postgresql() as url:
            if url is not None:
                (Path(folder) / "postgresql").mkdir()
                results.append(measure(url, Path(folder) / "postgresql"))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
