"""Decline what is not answered and collides with a meeting that is accepted."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG(
    dag_id="decline_what_collides",
    description="Decline invitations for times that are taken.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
) as dag:

    @task
    def collisions(dag_run: Any) -> dict[str, str]:
        """Return a decline for each unanswered meeting that overlaps an accepted one in the next two weeks."""
        from datetime import timedelta

        from airflow_provider_b24cal.bitrix24 import Window
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        now = dag_run.run_after
        window = Window(now, now + timedelta(days=14))
        with Bitrix24CalendarHook() as hook:
            me = hook.whoami().active_id()
            meetings = hook.list_events(window, only_meetings=True)
            # It leaves out what is marked as free time, and holds unanswered invitations too.
            busy = hook.get_accessibility([me], window)[me]
        accepted = {meeting.id for meeting in meetings if meeting.status in ("Y", "H")}
        taken = [time for time in busy if time.event_id in accepted and not time.all_day]
        return {
            str(meeting.id): "N"
            for meeting in meetings
            if meeting.status == "Q"
            and not meeting.all_day  # such a day leaves room for meetings
            and not meeting.is_recurring  # an answer to a series is one to all its days
            and any(meeting.start < other.end and other.start < meeting.end for other in taken)
        }

    Bitrix24SetMeetingStatusOperator(task_id="decline", statuses=collisions())
