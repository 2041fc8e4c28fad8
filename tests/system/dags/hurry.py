"""Tasks that would ask more of the portal at once than it lets in, for the tests of executors."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

with DAG(
    "hurry", schedule=None, catchup=False, params={"bitrix24_conn_id": Param("bitrix24_default", type="string")}
) as dag:

    @task
    def ask(times: int, params: dict[str, Any]) -> str:
        """Ask for a status again and again, each time with a request of its own."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook(params["bitrix24_conn_id"]) as hook:
            return {hook.get_meeting_status(668).value for _ in range(times)}.pop()

    ask.expand(times=[30] * 4)
