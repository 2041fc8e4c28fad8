"""Give a meeting's attendees time to answer, then remind those who have not."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_b24cal.operators.notify import Bitrix24NotifyOperator
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor

with DAG(
    dag_id="chase_the_silent",
    description="A day before the meeting starts, remind those who have not answered.",
    schedule=None,
    catchup=False,
    # A list of users stays a list.
    render_template_as_native_obj=True,
    tags=["bitrix24"],
    params={
        "event_id": Param(668, type="integer", minimum=1, title="Meeting"),
        "hours_before": Param(24, type="integer", minimum=0, title="Hours before the start"),
    },
) as dag:
    # [START howto_sensor_bitrix24_attendees_deadline]
    everybody = Bitrix24AttendeesSensor(
        task_id="everybody",
        event_id="{{ params.event_id }}",
        deadline_before_start="{{ params.hours_before * 3600 }}",
        soft_fail=True,
        deferrable=True,
        poke_interval=600,
    )
    # [END howto_sensor_bitrix24_attendees_deadline]

    # [START howto_operator_bitrix24_notify]
    # A skipped wait leaves the answers that it has read last.
    chase = Bitrix24NotifyOperator(
        task_id="chase",
        user_ids="{{ ti.xcom_pull('everybody')['silent'] }}",
        text="Please answer the invitation to meeting {{ params.event_id }}.",
        tag="meeting {{ params.event_id }}",
        trigger_rule="none_failed",
    )
    # [END howto_operator_bitrix24_notify]
    everybody >> chase
