"""What every version of Airflow must do with this provider's tasks: the link, the decorator, failure, mapping."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

try:
    from airflow.sdk import DAG, task
except ImportError:  # 2.11
    from airflow import DAG
    from airflow.decorators import task

from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

with DAG("at_home", schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False) as dag:
    Bitrix24SetMeetingStatusOperator(task_id="one", event_id="{{ 101 }}", status="Y")
    Bitrix24SetMeetingStatusOperator(task_id="not_invited", event_id=105, status="Y")
    Bitrix24SetMeetingStatusOperator(
        task_id="not_invited_for_good", event_id=105, status="Y", retries=3, retry_permanent_errors=False
    )
    Bitrix24SetMeetingStatusOperator(task_id="by_statuses", statuses={"1005": "Y"})
    Bitrix24GetMeetingStatusOperator(task_id="many", event_ids=[102, 103])
    Bitrix24GetMeetingStatusOperator.partial(task_id="mapped").expand(event_id=[102, 103])
    for calendar_type, owner in {"user": None, "group": 7, "company_calendar": None}.items():
        Bitrix24ListEventsOperator(
            task_id=f"list_{calendar_type}",
            window_start="2026-09-01T00:00:00Z",
            window_end="2026-09-30T00:00:00Z",
            calendar_type=calendar_type,
            owner_id=owner,
        )

    upcoming = Bitrix24ListEventsOperator(
        task_id="upcoming",
        window_start="2026-10-01T00:00:00Z",
        window_end="2026-10-31T00:00:00Z",
        statuses=["Q"],
    )
    # [START howto_map_over_events]
    Bitrix24SetMeetingStatusOperator.partial(task_id="accept", status="Y").expand(
        event_id=upcoming.output.map(lambda row: row["event_id"])
    )
    # [END howto_map_over_events]

    Bitrix24MeetingStatusSensor(task_id="arrived", event_id=102, timeout=60)
    Bitrix24MeetingStatusSensor(
        task_id="deferred", event_ids=[102, 103], target_status="N", timeout=12, deferrable=True
    )
    Bitrix24AttendeesSensor(task_id="unreachable", event_id=99999, timeout=60)

    @task.bitrix24_statuses
    def decide() -> dict[int, str]:
        """Answer two meetings."""
        return {1001: "Y", 1002: "n"}

    @task.bitrix24_statuses(fail_on="none")
    def decide_mapped(event_id: int, params: dict[str, Any]) -> dict[str, str]:
        """Answer one of several, with what Airflow's context holds at hand."""
        return {str(event_id): "Y"} if params is not None else {}

    @task.bitrix24_statuses
    def decide_nothing() -> dict[str, str]:
        """Find nothing to answer."""
        return {}

    @task.bitrix24_statuses
    def decide_badly() -> str:
        """Return what is no mapping."""
        return "Y"

    # [START howto_hook_results]
    @task
    def answer(event_id):
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            return hook.set_meeting_status(event_id, "Y").to_dict()

    @task
    def read(event_ids):
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            outcomes = hook.get_meeting_statuses(event_ids)
        return {event_id: outcome.to_dict() for event_id, outcome in outcomes.items()}

    # [END howto_hook_results]

    @task
    def pass_on(change: Any, outcomes: Any) -> Any:
        """Take what other tasks have returned."""
        return [change["current"], outcomes["105"]["error"]["class"]]

    @task
    def return_object() -> Any:
        """Return what cannot be passed on."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            return hook.set_meeting_status(1007, "Y")

    pass_on(answer(1006), read([102, 105]))
    return_object()
    decide()
    decide_mapped.expand(event_id=[1003, 1004])
    decide_nothing()
    decide_badly()
