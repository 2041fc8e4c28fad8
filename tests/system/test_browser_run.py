"""A DAG run by somebody who only clicks: the form, the run, its log and its result."""

from __future__ import annotations

import re

import pytest
from bitrix24_sandbox.portal import Portal
from playwright.sync_api import Locator, Page, expect

from dev.local_airflow import LocalAirflow
from tests.system.browser import Window

pytestmark = pytest.mark.xdist_group("airflow")

DAG_ID = "answer_from_the_form"


def _open_the_form(page: Page, airflow: LocalAirflow) -> Locator:
    airflow.wait_for_dag(DAG_ID)
    page.goto(f"/dags/{DAG_ID}")
    page.get_by_role("button", name="Trigger").first.click()
    form = page.get_by_role("dialog")
    form.get_by_text("EVENT_ID").wait_for()
    return form


def _fill(form: Locator, event_ids: str, answer: str) -> None:
    form.get_by_role("textbox", name="Enter each string on a new line").fill(event_ids)
    form.get_by_role("combobox", name="Answer").click()
    form.page.get_by_role("option", name=answer, exact=True).click()


def test_meetings_are_declined_in_the_form(window: Window, airflow: LocalAirflow, portal: Portal) -> None:
    page = window.page
    form = _open_the_form(page, airflow)
    for title in ("Meetings", "Answer"):
        expect(form.get_by_text(title).first).to_be_visible()
    _fill(form, "668\n681\n689\n", "Decline")
    window.picture("trigger_form", form)
    form.get_by_role("button", name="Trigger").click()
    page.wait_for_url("**/runs/manual__*")

    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="answer", exact=True))
    expect(row).to_contain_text("Success")
    assert [portal.status(event_id, 1) for event_id in (668, 681, 689)] == ["N"] * 3
    expect(page.get_by_text("Running", exact=True)).to_have_count(0)
    window.picture("run", height=560)

    row.get_by_role("link", name="answer", exact=True).click()
    expect(page.get_by_text("3 meetings: 3 changed, 0 unchanged, 0 failed")).to_be_visible()
    window.picture("task_log", height=560)

    page.get_by_role("link", name="Storage", exact=True).click()
    page.get_by_role("link", name="XCom", exact=True).click()
    result = page.get_by_role("row").filter(has_text="return_value")
    expect(result).to_contain_text("{")
    expect(result).not_to_contain_text("Loading")

    def unfolded() -> bool:
        # Airflow folds the value when its editor is there, which may be after the click.
        page.get_by_role("button", name="Expand all").click()
        return '"changed": 3' in " ".join(result.inner_text().split())  # its spaces are not plain ones

    airflow.wait_for("the whole result", unfolded)


def test_the_form_says_what_it_does_not_take(window: Window, airflow: LocalAirflow, portal: Portal) -> None:
    form = _open_the_form(window.page, airflow)
    _fill(form, "668\n651abc", "Accept")
    form.get_by_role("button", name="Trigger").click()
    expect(form.get_by_text(re.compile("'the number of a meeting, such as 668' was expected"))).to_be_visible()
    expect(form.get_by_text(re.compile(r"\[0-9\]"))).to_have_count(0)
    assert portal.count()["requests"] == 0
