"""Wait until a team has answered all the meetings of the next two weeks that it is invited to, with one connection."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor

TEAM = [1, 3]

with DAG(
    dag_id="wait_for_the_team",
    description="Wait until the team has answered its meetings, then say who declines which.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
) as dag:

    @task
    def meetings_of_the_team(dag_run: Any) -> list[int]:
        """Return the meetings that everybody of the team is invited to."""
        from datetime import timedelta

        from airflow_provider_b24cal.bitrix24 import Window
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        now = dag_run.run_after
        with Bitrix24CalendarHook() as hook:
            meetings = hook.list_events(Window(now, now + timedelta(days=14)), only_meetings=True)
        invited = {meeting.id: {guest.user_id for guest in meeting.guests or ()} for meeting in meetings}
        return [event_id for event_id, users in invited.items() if users.issuperset(TEAM)]

    # [START howto_sensor_bitrix24_attendees_of_many]
    answered = Bitrix24AttendeesSensor(
        task_id="answered",
        event_ids=meetings_of_the_team(),
        users=TEAM,
        count="answered",
        deferrable=True,
        poke_interval=10,
        timeout=15 * 60,
    )
    # [END howto_sensor_bitrix24_attendees_of_many]

    @task
    def declines(answers: dict[str, dict[str, list[int]]]) -> dict[str, list[int]]:
        """Return who declines which meeting."""
        return {event_id: users["declined"] for event_id, users in answers.items() if users["declined"]}

    declines(answered.output)
