"""Waits that stay open, for the page that lists them."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

SILENT = 668
OWN = 670
"""The same meeting by its id in the calendar of the acting user."""

with DAG("open_waits", schedule=None, catchup=False, is_paused_upon_creation=False):
    # Polls that are far apart: while a rescheduled task polls, it runs.
    waits = {"poke_interval": 3600, "timeout": 36000, "bitrix24_conn_id": "bitrix24_default"}
    Bitrix24MeetingStatusSensor(task_id="deferred", event_ids=[SILENT], target_status="N", deferrable=True, **waits)
    Bitrix24MeetingStatusSensor(
        task_id="rescheduled", event_id=OWN, target_status="N", mode="reschedule", deferrable=False, **waits
    )
    Bitrix24AttendeesSensor(task_id="attendees", event_id="702", require="all", deferrable=True, **waits)
