"""A person decides: the DAG proposes answers, somebody approves them in Airflow, and only those are set."""

from __future__ import annotations

import re
from datetime import timedelta
from inspect import signature
from typing import Any

from airflow.exceptions import AirflowOptionalProviderFeatureException
from airflow.sdk import Param, dag, task

from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import Bitrix24SetMeetingStatusOperator

try:
    from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
except (ImportError, AirflowOptionalProviderFeatureException):  # Airflow 3.0; the operators are new in 3.1
    ApprovalOperator = HITLOperator = None

WORDS = {"Y": "accept", "N": "decline"}
TIME_LIMIT = timedelta(hours=12)


@task.short_circuit
def propose(meetings: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Propose to answer as the others have, where they agree; with nothing to propose, the run ends here."""
    answers, rows = {}, ["| meeting | name | begins (UTC) | accepted | declined | answer |", "|" + " --- |" * 6]
    for meeting in meetings:
        event_id, accepted, declined = str(meeting["event_id"]), meeting["accepted"], meeting["declined"]
        # Occurrences of a series share their id and the answer: the first one stands for all.
        if event_id in answers or bool(accepted) == bool(declined):
            continue
        answers[event_id] = "Y" if accepted else "N"
        # A name is somebody's text; escaped, it is shown as it is.
        name = re.sub(r"([^\w\s])", r"\\\1", " ".join(meeting["name"].split()))
        begins = meeting["start"][:16].replace("T", " ")
        rows.append(f"| {event_id} | {name} | {begins} | {accepted} | {declined} | {WORDS[answers[event_id]]} |")
    counts = ", ".join(f"{word} {list(answers.values()).count(letter)}" for letter, word in WORDS.items())
    return {"answers": answers, "summary": counts, "table": "\n".join(rows)} if answers else None


@task.short_circuit
def approved(proposal: dict[str, Any], review: dict[str, Any]) -> dict[str, str]:
    """Return the answers that are left; with none left, nothing is set."""
    answers = proposal["answers"]
    struck = {line.strip() for line in (review["params_input"] or {}).get("strike_out") or []} - {""}
    if unknown := sorted(struck - answers.keys()):
        raise ValueError(f"Invalid strike_out {unknown}: expected ids of the table. Nothing is set.")
    return {event_id: letter for event_id, letter in answers.items() if event_id not in struck}


@dag(
    description="Propose answers for two weeks, let a person decide, then set and verify them.",
    schedule=None,
    catchup=False,
    tags=["bitrix24"],
)
def approve_the_answers() -> None:
    """Propose, let a person decide, set."""
    upcoming = Bitrix24ListEventsOperator(
        task_id="upcoming",
        window_start="{{ dag_run.run_after.isoformat() }}",
        window_end="{{ (dag_run.run_after + macros.timedelta(days=14)).isoformat() }}",
        statuses=["Q"],
    )
    proposal = propose(upcoming.output)
    # Before release 1.13, the standard provider has the limit as the task's execution_timeout.
    limit = "response_timeout" if "response_timeout" in signature(HITLOperator).parameters else "execution_timeout"
    review = ApprovalOperator(
        task_id="review",
        subject="Answers to meetings: {{ ti.xcom_pull(task_ids='propose')['summary'] }}",
        body="{{ ti.xcom_pull(task_ids='propose')['table'] }}",
        params={
            "strike_out": Param(
                [],
                type=["array", "null"],
                items={"type": "string"},
                title="Strike out",
                description="Meetings of the table that stay unanswered: one number to a line.",
            )
        },
        defaults=ApprovalOperator.REJECT,  # when nobody has decided within the limit
        **{limit: TIME_LIMIT},
    )
    answers = approved(proposal, review.output)
    proposal >> review
    Bitrix24SetMeetingStatusOperator(task_id="answer", statuses=answers)


if ApprovalOperator is not None:
    approve_the_answers()
