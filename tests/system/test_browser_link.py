"""The button to the portal on a task's page."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from playwright.sync_api import expect

from dev.local_airflow import LocalAirflow
from tests.system.browser import Window

pytestmark = pytest.mark.xdist_group("airflow")


@pytest.mark.parametrize(
    ("dag_id", "conf", "task", "wanted"),
    [
        ("answer_from_the_form", {"event_ids": ["681"]}, "answer", "?EVENT_ID=681"),
        ("answer_from_the_form", {"event_ids": ["668", "681"]}, "answer", ""),
        ("map_over_meetings", {"answers": {"668": "Y", "681": "N"}}, "answer/mapped/1", "?EVENT_ID=681"),
        ("answer_from_the_form", {"event_ids": ["999999"]}, "answer", "?EVENT_ID=999999"),
    ],
    ids=["one", "many", "mapped", "failed"],
)
def test_opens_the_meeting_or_the_calendar(
    dag_id: str,
    conf: dict[str, object],
    task: str,
    wanted: str,
    window: Window,
    airflow: LocalAirflow,
    portal: Portal,
    data_server: SandboxServer,
) -> None:
    run_id = airflow.run_dag(dag_id, conf)
    airflow.wait_for(f"the end of {dag_id}", lambda: airflow.run_state(dag_id, run_id) in {"success", "failed"})
    window.page.goto(f"/dags/{dag_id}/runs/{quote(run_id)}/tasks/{task}/details")
    button = window.page.get_by_role("link", name="Open in Bitrix24")
    expect(button).to_have_attribute("href", f"{data_server.url}/company/personal/user/1/calendar/{wanted}")
    expect(window.page.get_by_role("link", name="Attendance", exact=True)).to_have_count(0)  # that page is off here
    assert data_server.secret(1) not in window.page.content()
    with window.page.expect_popup() as opened:
        button.click()
    expect(opened.value.get_by_role("heading", name="Sandbox portal")).to_be_visible()
