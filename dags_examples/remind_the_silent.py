"""A day before: who has not answered the meetings that the acting user calls."""

from __future__ import annotations

from airflow.sdk import DAG, task

with DAG(
    dag_id="remind_the_silent",
    description="Tell who has not answered tomorrow's meetings.",
    schedule="0 9 * * *",
    catchup=False,
    tags=["bitrix24"],
) as dag:

    @task
    def silent() -> dict[str, list[int]]:
        """Return the users that are silent, by the meeting's name; hand them to a notifier of your choice."""
        from datetime import UTC, datetime, timedelta

        from airflow_provider_b24cal.bitrix24.window import Window
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        now = datetime.now(UTC)
        tomorrow = Window(now + timedelta(days=1), now + timedelta(days=2))
        with Bitrix24CalendarHook() as hook:
            hosted = hook.list_events(tomorrow, only_meetings=True, statuses=["H"])
        return {
            meeting.name: [attendee.user_id for attendee in meeting.attendees or () if attendee.status == "Q"]
            for meeting in hosted
        }

    silent()
