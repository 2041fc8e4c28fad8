"""Start a DAG when somebody accepts: an asset that is watched, with Airflow 3.0 and later."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_b24cal.triggers.attendance_changes import Bitrix24AttendanceChangesTrigger

# [START howto_trigger_bitrix24_attendance_changes]
acceptances = Asset(
    "acceptances",
    watchers=[
        AssetWatcher(
            name="the_next_fortnight",
            trigger=Bitrix24AttendanceChangesTrigger(calendar="user", new_statuses=["Y"], poke_interval=10),
        )
    ],
)
# [END howto_trigger_bitrix24_attendance_changes]

with DAG(
    dag_id="start_when_the_customer_accepts",
    description="Prepare what an accepted meeting needs.",
    schedule=[acceptances],
    catchup=False,
    tags=["bitrix24"],
) as dag:

    @task
    def prepare(triggering_asset_events: Any = None) -> list[str]:
        """Return what was accepted; several events can come in one run."""
        changes = [event.extra["payload"] for events in triggering_asset_events.values() for event in events]
        return [f"user {change['user_id']} comes to {change['parent_id']}" for change in changes]

    prepare()
