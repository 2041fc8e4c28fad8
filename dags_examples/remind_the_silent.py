"""A day before a meeting that the acting user organises: remind those who have not answered."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_b24cal.notifications.bitrix24 import Bitrix24Notifier
from airflow_provider_b24cal.operators.notify import Bitrix24NotifyOperator

with DAG(
    dag_id="remind_the_silent",
    description="Remind those who have not answered, a day before the acting user's meetings.",
    schedule="0 9 * * *",
    catchup=False,
    tags=["bitrix24"],
    # [START howto_notifier_bitrix24]
    on_failure_callback=Bitrix24Notifier(user_ids=[1], text="Reminders of {{ dag.dag_id }} have failed."),
    # [END howto_notifier_bitrix24]
) as dag:

    @task
    def silent(dag_run: Any) -> list[dict[str, Any]]:
        """Return a reminder for each meeting that somebody has not answered."""
        from datetime import timedelta

        from airflow_provider_b24cal.bitrix24 import Window
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        now = dag_run.run_after
        next_day = Window(now + timedelta(days=1), now + timedelta(days=2))
        with Bitrix24CalendarHook() as hook:
            hosted = hook.list_events(next_day, only_meetings=True, statuses=["H"])
        return [
            {
                "user_ids": users,
                "text": f"Please answer: {meeting.name}, {meeting.start:%d.%m. %H:%M} UTC",
                "tag": f"meeting {meeting.id}, {meeting.start.isoformat()}",
            }
            for meeting in hosted
            if (users := [guest.user_id for guest in meeting.guests or () if guest.status == "Q"])
        ]

    Bitrix24NotifyOperator.partial(task_id="remind").expand_kwargs(silent())
