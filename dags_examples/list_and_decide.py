"""List the next two weeks, decide in Python, and answer many meetings at once."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG(
    dag_id="list_and_decide",
    description="Accept what at least one other has accepted and nobody has declined.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
) as dag:
    # [START howto_operator_bitrix24_list_events]
    upcoming = Bitrix24ListEventsOperator(
        task_id="upcoming",
        window_start="{{ dag_run.run_after.isoformat() }}",
        window_end="{{ (dag_run.run_after + macros.timedelta(days=14)).isoformat() }}",
        statuses=["Q"],
    )
    # [END howto_operator_bitrix24_list_events]

    @task
    def decide(meetings: list[dict[str, Any]]) -> dict[str, str]:
        """Choose an answer for each meeting; days of a series have one id and one answer."""
        return {
            str(meeting["event_id"]): "Y" for meeting in meetings if meeting["accepted"] and not meeting["declined"]
        }

    # [START howto_operator_bitrix24_set_many]
    Bitrix24SetMeetingStatusOperator(task_id="answer", statuses=decide(upcoming.output))
    # [END howto_operator_bitrix24_set_many]
