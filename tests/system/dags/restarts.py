"""What is under way when a process of Airflow is killed."""

from __future__ import annotations

from airflow.sdk import DAG, Asset, AssetWatcher, task

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.triggers.attendance_changes import Bitrix24AttendanceChangesTrigger

AGAIN = {"retries": 2, "retry_delay": 0}

with DAG("accept_many", schedule=None, catchup=False, is_paused_upon_creation=False):
    Bitrix24SetMeetingStatusOperator(task_id="accept", event_ids=list(range(1001, 1121)), status="Y", **AGAIN)

with DAG("wait_then_accept", schedule=None, catchup=False, is_paused_upon_creation=False):
    waits = {"deferrable": True, "poke_interval": 10, "timeout": 1800}
    [
        Bitrix24MeetingStatusSensor(task_id="one", event_id=101, **waits),
        Bitrix24MeetingStatusSensor(task_id="quorum", event_ids=[101, 102, 103], require=2, **waits),
        Bitrix24AttendeesSensor(task_id="attendees", event_id=102, users=[1], **waits),
    ] >> Bitrix24SetMeetingStatusOperator(task_id="accept", event_id=103, status="Y", **AGAIN)

answers = Asset(
    "answers",
    watchers=[AssetWatcher(name="one", trigger=Bitrix24AttendanceChangesTrigger(event_ids=[110], poke_interval=2))],
)

# Begins to watch when a test lets it, for its polls would take what others have planned.
with DAG("watch", schedule=[answers], catchup=False, is_paused_upon_creation=True):

    @task
    def note() -> None:
        """Do nothing: what was reported is seen in the asset's events."""

    note()
