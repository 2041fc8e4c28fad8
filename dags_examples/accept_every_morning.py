"""On a schedule: accept a standing meeting every weekday morning.

A status that is in place already is not set again, so the organiser hears of it once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG(
    dag_id="accept_every_morning",
    description="Keep a standing meeting accepted.",
    schedule="0 7 * * 1-5",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    tags=["bitrix24"],
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
) as dag:
    Bitrix24SetMeetingStatusOperator(
        task_id="accept",
        event_id="{{ var.value.get('standing_meeting_id', 668) }}",
        status="Y",
    )
