"""A first DAG: accept one meeting, then wait until another one is accepted, and give up at a decline."""

from datetime import UTC, datetime

from airflow import DAG

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

with DAG("prepare_the_review", schedule="@daily", start_date=datetime(2026, 9, 1, tzinfo=UTC), catchup=False):
    accept = Bitrix24SetMeetingStatusOperator(task_id="accept", event_id=668, status="Y")
    customer_call = Bitrix24MeetingStatusSensor(
        task_id="customer_call",
        event_id="{{ var.value.get('customer_call_id', 702) }}",
        fail_on_statuses=["N"],
        deferrable=True,
        timeout=24 * 3600,
    )
    accept >> customer_call
