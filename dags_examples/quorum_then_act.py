"""Wait until enough of a meeting's attendees have accepted, then go on with those who come."""

from __future__ import annotations

from airflow.sdk import DAG, Param, task

from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor

with DAG(
    dag_id="quorum_then_act",
    description="Wait for 60 % of the attendees, then order lunch for them.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    params={"event_id": Param(681, type="integer", minimum=1, title="Meeting")},
) as dag:
    # [START howto_sensor_bitrix24_attendees]
    enough = Bitrix24AttendeesSensor(
        task_id="enough",
        event_id="{{ params.event_id }}",
        require="60%",
        fail_when_declined=True,
        deferrable=True,
        poke_interval=10,
        timeout=15 * 60,
    )
    # [END howto_sensor_bitrix24_attendees]

    @task
    def order_lunch(answers: dict[str, list[int]]) -> int:
        """Act on the answers; here it is only counted."""
        print(f"Lunch for users {answers['accepted']}; {answers['silent']} have not answered yet.")
        return len(answers["accepted"])

    order_lunch(enough.output)
