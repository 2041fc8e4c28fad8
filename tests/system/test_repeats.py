"""What a real scheduler repeats, and when, after failures of this provider."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal._airflow import HAS_RETRY_POLICIES
from dev.local_airflow import LocalAirflow

# One Airflow serves all of them, so they run in one process one after the other.
pytestmark = pytest.mark.xdist_group("airflow")


def test_each_failure_is_repeated_as_it_deserves(airflow: LocalAirflow, portal: Portal) -> None:
    """None of it waits for the hour that the tasks name themselves, and the permanent one for nothing at all."""
    portal.plan({"inner": "calendar.event.get", "times": 99, "error": "OPERATION_TIME_LIMIT"})
    run_id = airflow.run_dag("repeats", {})
    rest = {"not_a_meeting": "failed", "over_the_limit": "up_for_retry"}
    if HAS_RETRY_POLICIES:
        rest["passing"] = "success"

    def states() -> dict[str, str]:
        return {one["task_id"]: one["state"] for one in airflow.task_instances("repeats", run_id)}

    try:
        airflow.wait_for("every task to rest", lambda: states() == rest)
        tries = {one["task_id"]: one["try_number"] for one in airflow.task_instances("repeats", run_id)}
    finally:
        airflow.request("PATCH", f"/dags/repeats/dagRuns/{run_id}", {"state": "failed"})
    assert tries.pop("passing", 3) == 3
    assert tries["not_a_meeting"] == 1, airflow.task_logs("task_id=not_a_meeting")
    assert "NoSuchMeetingError" in airflow.task_logs("task_id=not_a_meeting")
    if HAS_RETRY_POLICIES:
        assert _decided(airflow, "over_the_limit") == [
            (600.0, "OperatingLimitError: retrying at the time that the portal has named")
        ]
        assert _decided(airflow, "passing") == [
            (1.0, "ConnectError: backing off after try 1"),
            (2.0, "ConnectError: backing off after try 2"),
        ]


def _decided(airflow: LocalAirflow, task_id: str) -> list[Any]:
    """Return the delay before each further try and its reason, as Airflow has stored them."""
    with closing(sqlite3.connect(f"file:{airflow.home}/airflow.db?mode=ro", uri=True, timeout=60)) as database:
        return database.execute(
            """SELECT retry_delay_override, retry_reason FROM (
                 SELECT task_id, try_number, retry_delay_override, retry_reason FROM task_instance
                 UNION SELECT task_id, try_number, retry_delay_override, retry_reason FROM task_instance_history
               ) WHERE task_id = ? AND retry_reason IS NOT NULL ORDER BY try_number""",
            [task_id],
        ).fetchall()
