"""A person approves proposed answers in Airflow's web UI."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from bitrix24_sandbox.portal import Portal
from playwright.sync_api import expect

from dev.local_airflow import LocalAirflow
from tests.system.browser import Window
from tests.system.runs import wait_for_question

pytestmark = pytest.mark.xdist_group("airflow")

DAG_ID = "approve_the_answers"


@pytest.mark.parametrize("number", [1, 0])
def test_a_person_strikes_out_and_approves(number: int, window: Window, airflow: LocalAirflow, portal: Portal) -> None:
    run_id = airflow.run_dag(DAG_ID, {})
    wait_for_question(airflow, DAG_ID, run_id, "review")
    proposed = airflow.xcom(DAG_ID, run_id, "propose")["answers"]
    struck = list(proposed)[:number]

    page = window.page
    page.set_viewport_size({"width": 1200, "height": 1060})
    page.goto(f"/dags/{DAG_ID}/runs/{quote(run_id)}/tasks/review/required_actions")
    expect(page.get_by_text("Answers to meetings: accept")).to_be_visible()
    table = page.get_by_role("table")
    expect(table.get_by_role("row")).to_have_count(1 + len(proposed))
    expect(table.get_by_role("cell", name="Contract <draft> review", exact=True).first).to_be_visible()
    if struck:
        page.get_by_role("textbox", name="Enter each string on a new line").fill("\n".join(struck))
        window.picture("approval", height=1060)
    page.get_by_role("button", name="Approve").click()

    airflow.wait_for("the end", lambda: airflow.run_state(DAG_ID, run_id) in {"success", "failed"})
    assert airflow.run_state(DAG_ID, run_id) == "success", airflow.task_logs(f"dag_id={DAG_ID}")
    approved = {event_id: letter for event_id, letter in proposed.items() if event_id not in struck}
    assert airflow.xcom(DAG_ID, run_id, "answer")["statuses"] == approved
