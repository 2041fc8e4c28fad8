"""Answers that a DAG proposes and a person approves, through Airflow's required actions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from dev.local_airflow import LocalAirflow
from tests.airflow_version import AIRFLOW
from tests.system.runs import finish, states_of, wait_for_question

pytestmark = [
    pytest.mark.xdist_group("airflow"),
    pytest.mark.skipif(AIRFLOW < "3.1", reason=f"human-in-the-loop operators came with Airflow 3.1, this is {AIRFLOW}"),
]

DAG_ID = "approve_the_answers"
SOURCE = Path(__file__).parents[2] / "dags_examples" / f"{DAG_ID}.py"


def _decide(airflow: LocalAirflow, option: str, strike_out: list[str]) -> tuple[str, dict[str, Any]]:
    """Run the DAG and answer as a person does; return the run's id and what the person was shown."""
    run_id = airflow.run_dag(DAG_ID, {})
    wait_for_question(airflow, DAG_ID, run_id, "review")
    path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances/review/-1/hitlDetails"
    shown: dict[str, Any] = airflow.request("GET", path)
    airflow.request("PATCH", path, {"chosen_options": [option], "params_input": {"strike_out": strike_out}})
    airflow.wait_for("the end", lambda: airflow.run_state(DAG_ID, run_id) in {"success", "failed"})
    return run_id, shown


def _own_id(portal: Portal, event_id: int) -> str:
    """Return the id of user 1's own row of a meeting, which lists and sets name."""
    with portal.locked() as calendar:
        return str(next(row.id for row in calendar.rows_of(event_id) if row.owner_id == 1))


def _stored(airflow: LocalAirflow, run_id: str, portal: Portal, dag_id: str = DAG_ID) -> dict[str, str | None]:
    """Return what the portal holds of the meetings that were proposed."""
    parents = {str(row["event_id"]): row["parent_id"] for row in airflow.xcom(dag_id, run_id, "upcoming")}
    proposed = airflow.xcom(dag_id, run_id, "propose")["answers"]
    return {event_id: portal.status(parents[event_id], 1) for event_id in proposed}


def test_what_is_approved_is_set_and_verified(airflow: LocalAirflow, portal: Portal) -> None:
    portal.answer(668, 3, "Y")
    portal.answer(689, 9, "N")
    accepted, declined = _own_id(portal, 668), _own_id(portal, 689)
    run_id, shown = _decide(airflow, "Approve", [declined, ""])
    assert airflow.run_state(DAG_ID, run_id) == "success", airflow.task_logs(f"dag_id={DAG_ID}")
    proposed = airflow.xcom(DAG_ID, run_id, "propose")["answers"]
    assert {accepted: "Y", declined: "N"}.items() <= proposed.items()
    accepts = list(proposed.values()).count("Y")
    assert shown["subject"] == f"Answers to meetings: accept {accepts}, decline {len(proposed) - accepts}"
    assert f"| {accepted} | Company meeting |" in shown["body"]
    approved = {event_id: letter for event_id, letter in proposed.items() if event_id != declined}
    assert airflow.xcom(DAG_ID, run_id, "answer")["statuses"] == approved
    assert _stored(airflow, run_id, portal) == approved | {declined: "Q"}


def test_a_rejection_sets_nothing(airflow: LocalAirflow, portal: Portal) -> None:
    portal.answer(668, 3, "Y")
    run_id, _ = _decide(airflow, "Reject", [])
    assert states_of(airflow, DAG_ID, run_id)["answer"] == "skipped"
    assert set(_stored(airflow, run_id, portal).values()) == {"Q"}


def test_a_wrong_number_sets_nothing(airflow: LocalAirflow, portal: Portal) -> None:
    portal.answer(668, 3, "Y")
    run_id, _ = _decide(airflow, "Approve", ["6680"])
    assert airflow.run_state(DAG_ID, run_id) == "failed"
    assert "Invalid strike_out ['6680']" in airflow.task_logs("task_id=approved")
    assert set(_stored(airflow, run_id, portal).values()) == {"Q"}


def test_nobody_decides_within_the_limit(airflow: LocalAirflow, portal: Portal) -> None:
    portal.answer(668, 3, "Y")
    dag_id = "approve_in_a_hurry"
    hurried = SOURCE.read_text("utf-8").replace("hours=12", "seconds=15").replace(DAG_ID, dag_id)
    (Path(airflow.environment["AIRFLOW__CORE__DAGS_FOLDER"]) / f"{dag_id}.py").write_text(hurried, "utf-8")
    run_id = finish(airflow, dag_id, {})
    assert airflow.run_state(dag_id, run_id) == "success", airflow.task_logs(f"dag_id={dag_id}")
    assert states_of(airflow, dag_id, run_id) == {
        "upcoming": "success", "propose": "success", "review": "success", "approved": "skipped", "answer": "skipped",
    }  # fmt: skip
    assert set(_stored(airflow, run_id, portal, dag_id).values()) == {"Q"}
