"""A day before a meeting that the acting user organises: list who has not answered."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

with DAG(
    dag_id="remind_the_silent",
    description="List who has not answered tomorrow's meetings.",
    schedule="0 9 * * *",
    catchup=False,
    tags=["bitrix24"],
) as dag:

    @task
    def silent(dag_run: Any) -> list[dict[str, Any]]:
        """Return each meeting with the users that are silent; hand them to a notifier of your choice."""
        from datetime import timedelta

        from airflow_provider_b24cal.bitrix24 import Window
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        now = dag_run.run_after
        tomorrow = Window(now + timedelta(days=1), now + timedelta(days=2))
        with Bitrix24CalendarHook() as hook:
            hosted = hook.list_events(tomorrow, only_meetings=True, statuses=["H"])
        return [
            {"event_id": meeting.id, "name": meeting.name, "start": meeting.start.isoformat(), "silent": users}
            for meeting in hosted
            if (users := [guest.user_id for guest in meeting.guests or () if guest.status == "Q"])
        ]

    silent()
