"""What the documentation shows of Python beside whole DAGs; it shows what stands between the marks."""

from __future__ import annotations

# [START howto_test_without_a_portal]
from collections.abc import Iterator
from contextlib import closing

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator


@pytest.fixture
def sandbox_portal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    with SandboxServer() as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        yield server.portal


def test_my_task_accepts(sandbox_portal: Portal) -> None:
    Bitrix24SetMeetingStatusOperator(task_id="accept", event_id=668, status="Y").execute({})
    assert sandbox_portal.status(668, 1) == "Y"


# [END howto_test_without_a_portal]

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

from airflow_provider_b24cal._airflow import HAS_RETRY_POLICIES
from airflow_provider_b24cal.bitrix24.protocol.errors import ConnectError, NotInvitedError
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator

NOW = datetime.now(UTC)
WHEN = {"dag_run": SimpleNamespace(run_after=NOW), "macros": SimpleNamespace(timedelta=timedelta)}
"""What Airflow fills templates with."""


def test_outcomes(sandbox_portal: Portal) -> None:
    sandbox_portal.answer(681, 1, "N")
    # [START howto_outcomes]
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    with Bitrix24CalendarHook() as hook:
        outcomes = hook.get_meeting_statuses([668, 681, 999_999])
    silent = [event_id for event_id, outcome in outcomes.items() if outcome.value == "Q"]
    wrong = {event_id: str(outcome.error) for event_id, outcome in outcomes.items() if not outcome.ok}
    # [END howto_outcomes]
    assert silent == [668]
    assert list(wrong) == [999_999]
    assert "no such meeting" in wrong[999_999]


def test_calendars_in_python(sandbox_portal: Portal) -> None:
    # [START howto_hook_events]
    from datetime import UTC, datetime, timedelta

    from airflow_provider_b24cal.bitrix24.calendar.window import Window
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

    now = datetime.now(UTC)
    fortnight = Window(now, now + timedelta(days=14))

    with Bitrix24CalendarHook() as hook:
        mine = hook.list_events(fortnight, only_meetings=True, statuses=["Q"])
        group = hook.list_events(fortnight, calendar_type="group", owner_id=1)
        one = hook.get_event(668)
        today = hook.nearest_events(days=1, most=10)
        busy = hook.get_accessibility([1, 2, 3], fortnight)
    # [END howto_hook_events]
    assert {event.status for event in mine} == {"Q"}
    assert {event.name for event in group} == {"Working group: migration"}
    assert one.name == "Company meeting"
    assert len(today) <= 10
    assert set(busy) == {1, 2, 3}


def test_tables_of_the_days_ahead(sandbox_portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")}))
    # [START howto_sync_ahead]
    from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator

    sync = Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="warehouse",
        calendars=["user", "user:7", "group:1", "company_calendar"],
        window_start="{{ dag_run.run_after.isoformat() }}",
        window_end="{{ (dag_run.run_after + macros.timedelta(days=30)).isoformat() }}",
        create_tables=True,
    )
    # [END howto_sync_ahead]
    sync.render_template_fields(WHEN)
    counts = sync.execute({})
    with closing(sqlite3.connect(tmp_path / "w.db")) as database:
        ((stored, calendars),) = database.execute("SELECT count(*), count(DISTINCT calendar) FROM bitrix24_meetings")
    assert (stored, calendars) == (counts["new"], 4)


def test_keeping_less(sandbox_portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")}))
    # [START howto_keep_less]
    from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator

    sync = Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="warehouse",
        calendars=["company_calendar"],
        window_start="{{ (dag_run.run_after - macros.timedelta(days=7)).isoformat() }}",
        window_end="{{ (dag_run.run_after + macros.timedelta(days=30)).isoformat() }}",
        create_tables=True,
        keep_days=400,
        exclude_users=[3],
    )
    # [END howto_keep_less]
    sync.render_template_fields(WHEN)
    counts = sync.execute({})
    assert (counts["answers"] > 0, counts["removed_answers"]) == (True, 0)
    with closing(sqlite3.connect(tmp_path / "w.db")) as database:
        assert 3 not in {user for (user,) in database.execute("SELECT user_id FROM bitrix24_attendance")}


def test_views_of_tables(sandbox_portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")}))
    sync = Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="warehouse",
        window_start=NOW.isoformat(),
        window_end=(NOW + timedelta(days=30)).isoformat(),
        create_tables=True,
    )
    sync.execute({})
    # [START howto_views]
    from airflow_provider_b24cal.views import create_attendance_views

    create_attendance_views("warehouse")
    # [END howto_views]
    with closing(sqlite3.connect(tmp_path / "w.db")) as database:
        (current,) = database.execute("SELECT count(*) FROM bitrix24_attendance_current").fetchone()
        (stored,) = database.execute("SELECT count(*) FROM bitrix24_attendance").fetchone()
    assert current == stored > 0


def test_files_by_day(sandbox_portal: Portal, tmp_path: Path) -> None:
    # [START howto_files]
    from airflow_provider_b24cal.transfers.attendance_to_object_storage import (
        Bitrix24AttendanceToObjectStorageOperator,
    )

    files = Bitrix24AttendanceToObjectStorageOperator(
        task_id="files",
        path="{{ var.value.attendance_folder }}",  # such as s3://bucket/attendance, with storage_conn_id="aws_default"
        calendars=["user", "company_calendar"],
        window_start="{{ dag_run.run_after.isoformat() }}",
        window_end="{{ (dag_run.run_after + macros.timedelta(days=30)).isoformat() }}",
    )
    # [END howto_files]
    folder = SimpleNamespace(value=SimpleNamespace(attendance_folder=f"file://{tmp_path}"))
    files.render_template_fields({**WHEN, "var": folder})
    counts = files.execute({})
    rows = [line for file in tmp_path.glob("meetings/day=*/*") for line in file.read_text("utf-8").splitlines()]
    assert len(rows) == counts["occurrences"] > 0


@pytest.mark.skipif(not HAS_RETRY_POLICIES, reason="retry policies came with Airflow 3.3")
def test_retries_that_make_sense() -> None:
    # [START howto_retry_policy]
    from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
    from airflow_provider_b24cal.retry_policy import Bitrix24RetryPolicy

    accept = Bitrix24SetMeetingStatusOperator(
        task_id="accept", event_id=668, status="Y", retries=5, retry_policy=Bitrix24RetryPolicy()
    )
    # [END howto_retry_policy]
    decided = [accept.retry_policy.evaluate(error, 1, 5) for error in (NotInvitedError("no"), ConnectError("no"))]
    assert [decision.action.value for decision in decided] == ["fail", "retry"]
