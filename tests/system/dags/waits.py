"""Waits of every kind, for the system tests: what only a real triggerer and scheduler can show."""

from __future__ import annotations

from airflow.sdk import DAG, task

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

SILENT, FOREIGN, ANSWERED_LATER = 668, 681, 702

with DAG("waits", schedule=None, catchup=False, is_paused_upon_creation=False) as dag:
    for name, arguments in {
        "time_out": {"event_id": SILENT, "timeout": 15},
        "time_out_with_retries": {"event_id": SILENT, "timeout": 15, "retries": 2, "retry_delay": 0},
        "time_out_skipped": {"event_id": SILENT, "timeout": 15, "soft_fail": True},
        "declined_later": {"event_id": ANSWERED_LATER, "timeout": 600, "soft_fail": True, "fail_on_statuses": ["N"]},
        "declines_are_awaited": {"event_id": ANSWERED_LATER, "timeout": 600, "target_status": "N"},
        "mapped": {"timeout": 600, "target_status": "N"},
    }.items():
        common = {"task_id": name, "deferrable": True, "poke_interval": 10}
        if "event_id" in arguments:
            Bitrix24MeetingStatusSensor(**common, **arguments)
        else:
            Bitrix24MeetingStatusSensor.partial(**common, **arguments).expand(
                event_id=[ANSWERED_LATER, str(ANSWERED_LATER)]
            )
    Bitrix24MeetingStatusSensor(
        task_id="rescheduled",
        event_id=ANSWERED_LATER,
        target_status="N",
        mode="reschedule",
        poke_interval=15,  # sooner, Airflow's scheduler may take the end of the process for a failure
        timeout=600,
        deferrable=False,
    )
    waits = {"deferrable": True, "poke_interval": 10, "timeout": 600}
    Bitrix24MeetingStatusSensor(
        task_id="quorum", event_ids=[SILENT, FOREIGN, ANSWERED_LATER], target_status="N", require="any", **waits
    )
    Bitrix24AttendeesSensor(
        task_id="attendee_declines", event_id=ANSWERED_LATER, users=[1], fail_when_declined=True, **waits
    )
    Bitrix24AttendeesSensor(task_id="enough_attendees", event_id=ANSWERED_LATER, require=2, **waits)
    Bitrix24SetMeetingStatusOperator(task_id="not_a_meeting", event_id=1, status="Y")

    @task
    def leak_by_accident() -> str:
        """Do what careless code does: print the secret."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            hook.whoami()
            endpoint = hook._client.settings().endpoint
            print("accident:", endpoint.request("profile", {}).url.reveal())
        return "printed"

    leak_by_accident()
