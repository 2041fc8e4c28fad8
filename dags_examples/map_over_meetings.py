"""Mapped over meetings: one task per meeting, each with its own answer, log and retries."""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG(
    dag_id="map_over_meetings",
    description="Answer several meetings, one mapped task each.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    params={
        "answers": Param(
            {"668": "Y", "681": "N"},
            type="object",
            additionalProperties={"type": "string", "enum": ["Y", "N", "Q"]},
            title="Answer by meeting",
        )
    },
) as dag:

    @task
    def plan(params: dict[str, Any]) -> list[dict[str, str]]:
        """Return the arguments of each mapped task."""
        return [{"event_id": event_id, "status": status} for event_id, status in params["answers"].items()]

    Bitrix24SetMeetingStatusOperator.partial(task_id="answer").expand_kwargs(plan())
