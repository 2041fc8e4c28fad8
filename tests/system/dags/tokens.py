"""A worker and a triggerer that meet expired tokens, for the system tests."""

from __future__ import annotations

import json

from airflow.sdk import DAG, task

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor

CONNECTION = "bitrix24_tokens"

with DAG("tokens", schedule=None, catchup=False, is_paused_upon_creation=False) as dag:
    accept = Bitrix24SetMeetingStatusOperator.partial(task_id="accept", status="Y", bitrix24_conn_id=CONNECTION).expand(
        event_id=[668, 681, 689]
    )
    answered = Bitrix24MeetingStatusSensor(
        task_id="answered",
        event_id=702,
        bitrix24_conn_id=CONNECTION,
        deferrable=True,
        poke_interval=10,
        timeout=600,
    )

    @task
    def leak_by_accident() -> str:
        """Do what careless code does: print the secrets."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook(CONNECTION) as hook:
            hook.whoami()
            endpoint = hook._client._get_context().credentials.endpoint
            print("accident:", json.loads(endpoint.request("profile", {}).body)["auth"])
        return "printed"

    accept >> answered >> leak_by_accident()
