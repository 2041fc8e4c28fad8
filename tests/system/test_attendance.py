"""Attendance as data in a real Airflow: a schedule, assets and a watcher, which would disturb the tests of others."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_b24cal.sandbox.server import SandboxServer
from airflow_provider_b24cal.sandbox.stage import Stage

pytestmark = pytest.mark.xdist_group("airflow of attendance")

EXAMPLES = Path(__file__).parents[2] / "dags_examples"
USED = ("sync_company_calendar", "attendance_report", "start_when_the_customer_accepts")
ENDED = {"success", "failed"}


@pytest.fixture(scope="module")
def office() -> Iterator[SandboxServer]:
    with SandboxServer() as server:
        yield server


@pytest.fixture(scope="module")
def airflow(office: SandboxServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    dags, place = tmp_path_factory.mktemp("dags"), tmp_path_factory.mktemp("place")
    for name in USED:
        shutil.copy(EXAMPLES / f"{name}.py", dags)
    settings = {
        "AIRFLOW_CONN_BITRIX24_DEFAULT": office.connection_json(1),
        "AIRFLOW_CONN_ATTENDANCE_DB": json.dumps({"conn_type": "sqlite", "host": str(place / "attendance.db")}),
        "TMPDIR": str(place),
    }
    with Stage(tmp_path_factory.mktemp("airflow"), dags, settings) as running:
        running.migrate()
        running.start()
        yield running


def _ended(stage: Stage, dag_id: str) -> list[dict[str, Any]]:
    runs: list[dict[str, Any]] = stage.request("GET", f"/dags/{dag_id}/dagRuns")["dag_runs"]
    return [run for run in runs if run["state"] in ENDED]


def _unpause(stage: Stage, dag_id: str) -> None:
    stage.wait_for(dag_id, lambda: any(dag["dag_id"] == dag_id for dag in stage.request("GET", "/dags")["dags"]))
    stage.request("PATCH", f"/dags/{dag_id}", {"is_paused": False})


def test_the_nightly_sync_starts_the_report(airflow: Stage) -> None:
    """The scheduler makes the run of the last day; its asset events start the DAG that draws."""
    _unpause(airflow, "attendance_report")
    _unpause(airflow, "sync_company_calendar")
    airflow.wait_for("the sync", lambda: _ended(airflow, "sync_company_calendar"), patience=300)
    (sync,) = _ended(airflow, "sync_company_calendar")
    assert sync["state"] == "success", airflow.task_logs("task_id=sync")
    counts = airflow.xcom("sync_company_calendar", sync["dag_run_id"], "sync")
    assert counts["occurrences"] == counts["new"] >= 0
    airflow.wait_for("the report", lambda: _ended(airflow, "attendance_report"), patience=300)
    report = _ended(airflow, "attendance_report")[0]
    assert report["state"] == "success", airflow.task_logs("task_id=draw")
    page = Path(airflow.xcom("attendance_report", report["dag_run_id"], "draw")).read_text("utf-8")
    assert "<svg" in page
    assert page.count("<rect") % 3 == 0


def test_an_answer_starts_a_dag(airflow: Stage, office: SandboxServer) -> None:
    """The watcher's first reading tells nothing; the answer given after it starts one run."""
    dag_id = "start_when_the_customer_accepts"
    _unpause(airflow, dag_id)

    def watched() -> bool:
        logs = [path for path in airflow.home.rglob("*") if path.suffix in {".log", ".out"}]
        return any("Watching" in path.read_text("utf-8", "replace") for path in logs)

    airflow.wait_for("the watcher", watched, patience=300)
    office.portal.answer(681, 1, "Y")
    airflow.wait_for("the run", lambda: _ended(airflow, dag_id), patience=300)
    (run,) = _ended(airflow, dag_id)
    assert run["state"] == "success", airflow.task_logs("task_id=prepare")
    (told,) = airflow.xcom(dag_id, run["dag_run_id"], "prepare")
    assert told.startswith("user 1 comes to ")
