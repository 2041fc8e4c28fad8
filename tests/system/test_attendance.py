"""Attendance as data in a real Airflow: a schedule, assets and a watcher, which would disturb the tests of others."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import LocalAirflow

pytestmark = pytest.mark.xdist_group("airflow of attendance")

EXAMPLES = Path(__file__).parents[2] / "dags_examples"
USED = ("sync_company_calendar", "attendance_report", "start_when_the_customer_accepts")
ENDED = {"success", "failed"}
SYNC = "sync_company_calendar"

# Airflow has the real clock, so days are counted from it; nothing depends on which day it is.
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
FIRST = TODAY - timedelta(days=40)
"""The first day of the backfill, whose three windows end before that of the nightly run begins."""
ON_FIRST, NEXT_DAY, LAST_WINDOW, TOO_LATE, AHEAD = 10, 20, 30, 40, 50
ANNA, MARTIN, IRINA = 1, 2, 3
DAYS = {ON_FIRST: FIRST, NEXT_DAY: FIRST + timedelta(days=1), LAST_WINDOW: FIRST + timedelta(days=16),
        TOO_LATE: FIRST + timedelta(days=17), AHEAD: TODAY + timedelta(days=4)}  # fmt: skip


def _calendar_data() -> object:
    def meeting(event_id: int, **status: str) -> dict[str, Any]:
        day = f"{DAYS[event_id]:%Y-%m-%d}"
        guests = [{"user": MARTIN, "status": "Y"}]
        guests += [{"user": user, "status": status[name]} for name, user in (("anna", ANNA), ("irina", IRINA))]
        times = {"start": f"{day}T09:00", "end": f"{day}T10:00", "time_zone": "UTC"}
        where = {"calendar": {"type": "company_calendar"}, "host": MARTIN}
        return {"id": event_id, "name": f"Meeting {event_id}", "attendees": guests, **where, **times}

    webhook = {"secret": "c0mpanyC0de00000", "scopes": ["calendar"]}
    return {
        "people": [
            {"id": ANNA, "name": "Anna", "webhook": webhook},
            {"id": MARTIN, "name": "Martin"},
            {"id": IRINA, "name": "Irina"},
        ],
        "events": [
            meeting(ON_FIRST, anna="Y", irina="N"),
            meeting(NEXT_DAY, anna="Q", irina="Y"),
            meeting(LAST_WINDOW, anna="Q", irina="Q"),
            meeting(TOO_LATE, anna="Q", irina="Q"),
            meeting(AHEAD, anna="Q", irina="N"),
        ],
    }


@pytest.fixture(scope="module")
def server() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(_calendar_data()))) as server:
        yield server


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tables and the report are."""
    return tmp_path_factory.mktemp("place")


@pytest.fixture(scope="module")
def airflow(server: SandboxServer, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    dags = tmp_path_factory.mktemp("dags")
    for name in USED:
        shutil.copy(EXAMPLES / f"{name}.py", dags)
    settings = {
        "AIRFLOW_CONN_BITRIX24_DEFAULT": server.connection_json(ANNA),
        "AIRFLOW_CONN_ATTENDANCE_DB": json.dumps({"conn_type": "sqlite", "host": str(place / "attendance.db")}),
        "TMPDIR": str(place),
    }
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), dags, settings) as running:
        running.migrate()
        running.start()
        yield running


def _need_the_timetable() -> None:
    if not hasattr(import_module("airflow.sdk"), "CronDataIntervalTimetable"):
        pytest.skip("the example takes its timetable from the SDK of Airflow 3.2 and later")


def _ended(airflow: LocalAirflow, dag_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = airflow.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
    return [run for run in runs if run["state"] in ENDED]


def _unpause(airflow: LocalAirflow, dag_id: str) -> None:
    airflow.wait_for_dag(dag_id)
    airflow.request("PATCH", f"/dags/{dag_id}", {"is_paused": False})


def _rows(place: Path, columns: str, table: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(place / "attendance.db", timeout=30)) as database:
        return database.execute(f"SELECT {columns} FROM bitrix24_{table} ORDER BY {columns}").fetchall()


def _counts(place: Path) -> list[tuple[Any, ...]]:
    found = _rows(place, "parent_id, occurrence_start, accepted, declined, silent, total, vanished_at", "meetings")
    return [(parent, start[:16], *rest) for parent, start, *rest in found]


def _nine(event_id: int) -> str:
    return f"{DAYS[event_id]:%Y-%m-%d} 09:00"


@contextmanager
def _no_other_writers(airflow: LocalAirflow) -> Iterator[None]:
    """Stop what writes to Airflow's database: of a backfill that SQLite refuses, a part may stay."""
    others = ("scheduler", "triggerer", "dag-processor")
    for name in others:
        airflow.stop_component(name)
    yield
    for name in others:
        airflow.start_component(name)


def _backfill(airflow: LocalAirflow) -> None:
    """Run the command in the example's comment, for three days."""
    days = ["--from-date", f"{FIRST:%Y-%m-%d}", "--to-date", f"{FIRST + timedelta(days=3):%Y-%m-%d}"]
    with _no_other_writers(airflow):
        done = airflow.command("backfill", "create", "--dag-id", SYNC, *days, "--max-active-runs", "1")
    assert done.returncode == 0, done.stdout + done.stderr
    _wait_for_backfill(airflow)


def _backfill_again(airflow: LocalAirflow) -> None:
    """Repeat it by the REST API, as the web UI does."""
    days = {"from_date": f"{FIRST:%Y-%m-%dT00:00:00Z}", "to_date": f"{FIRST + timedelta(days=3):%Y-%m-%dT00:00:00Z}"}
    how = {"dag_id": SYNC, "reprocess_behavior": "completed", "max_active_runs": 1}
    with _no_other_writers(airflow):
        airflow.request("POST", "/backfills", {**how, **days})
    _wait_for_backfill(airflow)


def _wait_for_backfill(airflow: LocalAirflow) -> None:
    def over() -> bool:
        backfills = airflow.request("GET", f"/backfills?dag_id={SYNC}")["backfills"]
        return all(backfill["completed_at"] for backfill in backfills)

    airflow.wait_for("the end of the backfill", over)
    runs = [run for run in _ended(airflow, SYNC) if run["run_type"] == "backfill"]
    assert [run["state"] for run in runs] == ["success"] * 3, airflow.task_logs("task_id=sync")


def test_the_nightly_sync_starts_the_report(airflow: LocalAirflow, place: Path) -> None:
    """The scheduler makes the run of the last day, which looks ahead; its asset events start the DAG that draws."""
    pytest.importorskip("airflow.providers.sqlite")
    _need_the_timetable()
    _unpause(airflow, "attendance_report")
    _unpause(airflow, SYNC)
    airflow.wait_for("the sync", lambda: _ended(airflow, SYNC))
    (sync,) = _ended(airflow, SYNC)
    assert sync["state"] == "success", airflow.task_logs("task_id=sync")
    counts = airflow.xcom(SYNC, sync["dag_run_id"], "sync")
    assert (counts["occurrences"], counts["new"]) == (1, 1)
    assert _counts(place) == [(AHEAD, _nine(AHEAD), 0, 1, 1, 2, None)]
    airflow.wait_for("the report", lambda: _ended(airflow, "attendance_report"))
    report = _ended(airflow, "attendance_report")[0]
    assert report["state"] == "success", airflow.task_logs("task_id=draw")
    page = Path(airflow.xcom("attendance_report", report["dag_run_id"], "draw")).read_text("utf-8")
    assert f"Meeting {AHEAD}</bdi>" in page
    assert f"{DAYS[AHEAD]:%a} {DAYS[AHEAD].day} {DAYS[AHEAD]:%b %Y}, 09:00" in page
    for reported in ("1 declined", "1 not answered", "50 % of 2 invitations answered"):
        assert reported in " ".join(page.split())


def test_days_before_are_filled_and_later_answers_become_history(
    airflow: LocalAirflow, server: SandboxServer, place: Path
) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    _need_the_timetable()
    _backfill(airflow)
    assert _counts(place) == [
        (ON_FIRST, _nine(ON_FIRST), 1, 1, 0, 2, None),
        (NEXT_DAY, _nine(NEXT_DAY), 1, 0, 1, 2, None),
        (LAST_WINDOW, _nine(LAST_WINDOW), 0, 0, 2, 2, None),
        (AHEAD, _nine(AHEAD), 0, 1, 1, 2, None),
    ]
    letters = {ON_FIRST: "YYN", NEXT_DAY: "QYY", LAST_WINDOW: "QYQ", AHEAD: "QYN"}
    assert _rows(place, "parent_id, user_id, status, is_host", "attendance") == [
        (event, user, letter, user == MARTIN)
        for event, given in letters.items()
        for user, letter in zip((ANNA, MARTIN, IRINA), given, strict=True)
    ]
    assert _rows(place, "parent_id", "attendance_changes") == []

    server.portal.answer(NEXT_DAY, ANNA, "N")
    _backfill_again(airflow)
    assert _rows(place, "parent_id, user_id, old_status, new_status", "attendance_changes") == [
        (NEXT_DAY, ANNA, "Q", "N")
    ]
    assert _counts(place)[1] == (NEXT_DAY, _nine(NEXT_DAY), 1, 1, 0, 2, None)


def test_an_answer_starts_a_dag(airflow: LocalAirflow, server: SandboxServer) -> None:
    """The watcher's first reading fires nothing; the answer given after it starts one run."""
    dag_id = "start_when_the_customer_accepts"
    _unpause(airflow, dag_id)

    def watched() -> bool:
        logs = [path for path in airflow.home.rglob("*") if path.suffix in {".log", ".out"}]
        return any("Watching" in path.read_text("utf-8", "replace") for path in logs)

    airflow.wait_for("the watcher", watched)
    server.portal.answer(AHEAD, ANNA, "Y")
    airflow.wait_for("the run", lambda: _ended(airflow, dag_id))
    (run,) = _ended(airflow, dag_id)
    assert run["state"] == "success", airflow.task_logs("task_id=prepare")
    assert airflow.xcom(dag_id, run["dag_run_id"], "prepare") == [f"user {ANNA} comes to {AHEAD}"]
