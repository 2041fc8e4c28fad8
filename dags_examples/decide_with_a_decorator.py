"""With ``@task.bitrix24_statuses``: the function only decides; the task sets the statuses and verifies them."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

with DAG(
    dag_id="decide_with_a_decorator",
    description="Accept the meetings chosen in the form, but no more of them than one can attend.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    params={
        "event_ids": Param([668, 681, 689], type="array", items={"type": "integer"}, title="Meetings"),
        "at_most": Param(2, type="integer", minimum=0, title="At most"),
    },
) as dag:
    # [START howto_decorator_bitrix24_statuses]
    @task.bitrix24_statuses(bitrix24_conn_id="bitrix24_default")
    def answer(params: dict[str, Any]) -> dict[str, str]:
        """Accept the first meetings and decline the others."""
        return {
            str(event_id): "Y" if number < params["at_most"] else "N"
            for number, event_id in enumerate(params["event_ids"])
        }

    # [END howto_decorator_bitrix24_statuses]
    answer()
