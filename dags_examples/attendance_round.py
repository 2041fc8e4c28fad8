"""The main job: accept several meetings, read them back, and wait for one that is answered later.

``make demo`` runs this DAG against the sandbox portal.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

with DAG(
    dag_id="attendance_round",
    description="Accept meetings, read them back, wait for one more.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    params={
        "event_ids": Param([668, 681, 689], type="array", items={"type": "integer"}, title="Meetings to accept"),
        "awaited_id": Param(702, type="integer", minimum=1, title="Meeting to wait for"),
    },
) as dag:

    @task
    def chosen(params: dict[str, Any]) -> list[int]:
        """Hand the chosen meetings to the mapped tasks."""
        return params["event_ids"]

    event_ids = chosen()
    # [START howto_operator_bitrix24_set_meeting_status]
    accept = Bitrix24SetMeetingStatusOperator.partial(task_id="accept", status="Y").expand(event_id=event_ids)
    # [END howto_operator_bitrix24_set_meeting_status]
    # [START howto_operator_bitrix24_get_meeting_status]
    read_back = Bitrix24GetMeetingStatusOperator.partial(task_id="read_back").expand(event_id=event_ids)
    # [END howto_operator_bitrix24_get_meeting_status]
    # [START howto_sensor_bitrix24_meeting_status]
    await_answer = Bitrix24MeetingStatusSensor(
        task_id="await_answer",
        event_id="{{ params.awaited_id }}",
        target_status="Y",
        deferrable=True,
        poke_interval=10,
        timeout=15 * 60,
    )
    # [END howto_sensor_bitrix24_meeting_status]

    accept >> read_back >> await_answer
