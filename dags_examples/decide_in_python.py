"""With TaskFlow: the hook in ``@task`` functions, for logic that is easier to write in Python."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

with DAG(
    dag_id="decide_in_python",
    description="Accept what is not answered yet; leave every other answer alone.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    params={"event_ids": Param([668, 681, 689], type="array", items={"type": "integer"}, title="Meetings")},
) as dag:
    # [START howto_hook_bitrix24]
    @task
    def decide(params: dict[str, Any]) -> dict[str, str]:
        """Choose the meetings that wait for an answer."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            outcomes = hook.get_meeting_statuses(params["event_ids"])
        return {str(event_id): "Y" for event_id, outcome in outcomes.items() if outcome.value == "Q"}

    @task
    def apply(decisions: dict[str, str]) -> dict[str, str]:
        """Set the statuses and return what was read back; fail if one is not in place."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

        with Bitrix24CalendarHook() as hook:
            changes = hook.set_meeting_statuses(decisions)
        return {str(event_id): change.unwrap().wanted.value for event_id, change in changes.items()}

    # [END howto_hook_bitrix24]
    apply(decide())
