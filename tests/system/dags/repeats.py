"""Failures of every kind in tasks that Airflow may repeat three times, for the system tests."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_b24cal._airflow import HAS_RETRY_POLICIES
from airflow_provider_b24cal.bitrix24 import ConnectError
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.retry_policy import Bitrix24RetryPolicy

RETRIES: dict[str, Any] = {"retries": 3, "retry_delay": 3600}
if HAS_RETRY_POLICIES:
    RETRIES["retry_policy"] = Bitrix24RetryPolicy(first_delay=1)
OURS = RETRIES if HAS_RETRY_POLICIES else {**RETRIES, "retry_permanent_errors": False}

with DAG("repeats", schedule=None, catchup=False, is_paused_upon_creation=False):
    Bitrix24SetMeetingStatusOperator(task_id="not_a_meeting", event_id=1, status="Y", **OURS)
    window = {"window_start": "2026-09-01T00:00:00Z", "window_end": "2026-10-01T00:00:00Z"}
    Bitrix24ListEventsOperator(task_id="over_the_limit", **window, **OURS)

    @task(**RETRIES)
    def passing(ti: Any = None) -> int:
        """Fail twice in passing, as if the portal could not be reached."""
        if ti.try_number <= 2:
            raise ConnectError("no connection")
        return int(ti.try_number)

    if HAS_RETRY_POLICIES:  # otherwise it would wait for an hour
        passing()
