"""One reading over a connection that is named when the DAG is triggered."""

from __future__ import annotations

try:
    from airflow.sdk import DAG, Param
except ImportError:  # Airflow 2
    from airflow.models.dag import DAG
    from airflow.models.param import Param

from airflow_provider_b24cal.operators.meeting_status import Bitrix24GetMeetingStatusOperator

with DAG(
    "by_connection", schedule=None, catchup=False, params={"bitrix24_conn_id": Param("bitrix24_default", type="string")}
) as dag:
    Bitrix24GetMeetingStatusOperator(task_id="read", event_id=668, bitrix24_conn_id="{{ params.bitrix24_conn_id }}")
