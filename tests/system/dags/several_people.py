"""One answer for several people, one task at a time."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG("several_people", schedule=None, catchup=False) as dag:
    # [START howto_several_people]
    Bitrix24SetMeetingStatusOperator.partial(
        task_id="accept",
        event_id=668,
        status="Y",
        pool="bitrix24",
    ).expand(bitrix24_conn_id=["bitrix24_anna", "bitrix24_irina"])
    # [END howto_several_people]
