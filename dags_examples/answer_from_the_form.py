"""Triggered from the web UI: a person fills in a form, the DAG sets the statuses and verifies them."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

with DAG(
    dag_id="answer_from_the_form",
    description="Answer meetings: name them and choose the answer in the form.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
    render_template_as_native_obj=True,  # so that the list stays a list
    params={
        # Texts and not numbers, for the form then has a line for each. An empty line is not a meeting.
        "event_ids": Param(
            ["668"],
            type="array",
            # What the form says of a wrong line is what "const" holds; of a pattern alone it would show the pattern.
            items={
                "type": "string",
                "if": {"pattern": "^([1-9][0-9]*)?$"},
                "else": {"const": "the number of a meeting, such as 668"},
            },
            contains={"minLength": 1},
            title="Meetings",
            description="One to a line: the number behind EVENT_ID= in the meeting's address in Bitrix24.",
        ),
        "status": Param(
            "Y",
            type="string",
            enum=["Y", "N", "Q"],
            values_display={"Y": "Accept", "N": "Decline", "Q": "Take the answer back"},
            title="Answer",
            description="The portal notifies the organiser of a change. It reports an answer taken back as a decline.",
        ),
    },
) as dag:
    Bitrix24SetMeetingStatusOperator(
        task_id="answer",
        event_ids="{{ params.event_ids | select | list }}",
        status="{{ params.status }}",
    )
