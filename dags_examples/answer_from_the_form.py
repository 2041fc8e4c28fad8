"""Triggered from the web UI: a person fills in a form, the DAG sets the status and proves it."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG(
    dag_id="answer_from_the_form",
    description="Answer one meeting: choose it and the answer in the form.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    params={
        "event_id": Param(
            668,
            type="integer",
            minimum=1,
            title="Meeting",
            description="The number behind EVENT_ID= in the meeting's address in Bitrix24.",
        ),
        "status": Param(
            "Y",
            type="string",
            enum=["Y", "N", "Q"],
            values_display={"Y": "Accept", "N": "Decline", "Q": "Take the answer back"},
            title="Answer",
            description="The organiser is told of a change. Taking the answer back is told as a decline.",
        ),
    },
) as dag:
    Bitrix24SetMeetingStatusOperator(
        task_id="answer",
        event_id="{{ params.event_id }}",
        status="{{ params.status }}",
    )
