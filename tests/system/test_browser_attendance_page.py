"""The page "Attendance" as a person sees it: in Airflow's frame, in a tab of its own, on a phone, by the keyboard."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bitrix24_sandbox.server import SandboxServer
from playwright.sync_api import FrameLocator, Page, Route, expect

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES
from dev.local_airflow import LocalAirflow
from tests.airflow_version import AIRFLOW
from tests.attendance_page import HOSTILE, HOSTILE_PERSON, PATH, fill_tables, page_settings
from tests.system.contrast import smallest_contrast

if TYPE_CHECKING:
    from playwright.sync_api import Browser, StorageState

    from tests.system.browser import Window

pytest.importorskip("airflow.providers.sqlite")
pytestmark = [
    pytest.mark.xdist_group("attendance_page_browser"),
    pytest.mark.skipif(not HAS_PLUGIN_PAGES, reason="pages of plugins know their readers from Airflow 3.1.1 on"),
]
DAG = "open_waits"
WAITING = {"deferred", "rescheduled", "attendees"}


@pytest.fixture(scope="module")
def waiting_airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalAirflow]:
    """Airflow with the page switched on, and three tasks that wait."""
    home, dags = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("dags")
    shutil.copy(Path(__file__).parent / "dags" / f"{DAG}.py", dags)
    fill_tables(home / "attendance.db")
    with SandboxServer() as portal:
        settings = {
            **page_settings(home / "attendance.db"),
            "AIRFLOW_CONN_BITRIX24_DEFAULT": portal.connection_json(1),
        }
        with LocalAirflow(home, dags, settings) as running:
            running.migrate()
            running.start()
            run_id = running.run_dag(DAG, {})
            running.wait_for("the waits", lambda: _waiting(running, run_id) == WAITING)
            yield running


def _waiting(airflow: LocalAirflow, run_id: str) -> set[str]:
    instances = airflow.task_instances(DAG, run_id)
    return {one["task_id"] for one in instances if one["state"] in {"deferred", "up_for_reschedule"}}


@pytest.fixture(scope="module")
def reader(browser: Browser, waiting_airflow: LocalAirflow) -> StorageState:
    """What a browser keeps of somebody who has signed in."""
    from tests.system.browser import TIMEOUT_MS, sign_in

    with browser.new_context(base_url=waiting_airflow.url) as context:
        context.set_default_timeout(TIMEOUT_MS)
        sign_in(context.new_page(), waiting_airflow.password)
        return context.storage_state()


@pytest.fixture
def window(open_window: Callable[..., Window], waiting_airflow: LocalAirflow, reader: StorageState) -> Window:
    return open_window(waiting_airflow.url, reader)


def _open_frame(page: Page) -> FrameLocator:
    """Click from Airflow's start page to the page in its frame."""
    page.goto("/")
    page.get_by_role("link", name="Attendance", exact=True).click()
    return page.frame_locator("iframe[title=Attendance]")


def test_from_the_navigation_to_the_silent_and_the_tasks_that_wait_for_them(window: Window) -> None:
    page = window.page
    frame = _open_frame(page)
    next_week = frame.get_by_role("region", name="Next week")
    next_week.get_by_text("Budget & forecast").click()
    expect(next_week.get_by_role("listitem").filter(has_text="Dora O'Neil")).to_have_text(
        "Dora O'Neil silent for 2 days"
    )
    frame.get_by_role("link", name="Waiting now").click()
    expect(frame.get_by_role("status")).to_have_text("3 tasks wait.")
    task = frame.get_by_role("listitem").filter(has_text=HOSTILE).filter(has_text="(deferred)")
    expect(task).to_contain_text("all of 1 meeting: declined")
    expect(task).to_contain_text(DAG)
    # Airflow's frames open no windows.
    expect(frame.get_by_text("Open this page in a tab of its own")).to_be_visible()
    assert frame.locator("main a[href*='/dags/']").count() == 0
    address = frame.locator("#address").inner_text()
    page.goto(address)
    expect(page.get_by_role("status")).to_have_text("3 tasks wait.")
    expect(page.get_by_text("Open this page in a tab of its own")).to_be_hidden()
    page.get_by_role("link", name="rescheduled", exact=True).click()
    page.wait_for_url("**/dags/open_waits/runs/**/tasks/rescheduled**")
    expect(page.get_by_text("rescheduled").first).to_be_visible()


def test_waits_for_one_meeting(window: Window) -> None:
    page = window.page
    page.goto(f"{PATH}/waiting?event_id=702")
    expect(page.get_by_role("status")).to_have_text("1 task waits for this meeting.")
    expect(page.get_by_role("listitem").filter(has_text="Meeting 702")).to_contain_text("all of the invited people")
    page.get_by_role("link", name="Meeting 702").click()
    expect(page.get_by_role("main")).to_contain_text("The tables have no meeting with this id.")
    assert window.complaints == []


@pytest.mark.parametrize("event_id", [668, 670])
def test_waits_for_one_meeting_by_its_id_in_any_calendar(window: Window, event_id: int) -> None:
    page = window.page
    page.goto(f"{PATH}/waiting?event_id={event_id}")
    expect(page.get_by_role("status")).to_have_text("2 tasks wait for this meeting.")
    own = page.get_by_role("listitem").filter(has_text="(rescheduled)")
    own.get_by_role("link", name=HOSTILE).click()
    expect(page.get_by_role("main")).to_contain_text("Only the meetings 670")
    expect(page.get_by_role("main")).to_contain_text(HOSTILE)
    assert window.complaints == []


def test_a_rescheduled_task_waits_since_its_first_poll(window: Window, waiting_airflow: LocalAirflow) -> None:
    page = window.page
    if AIRFLOW >= "3.2":  # older ones log no starts
        with closing(sqlite3.connect(waiting_airflow.home / "airflow.db", timeout=60)) as database, database:
            database.execute(
                "INSERT INTO log (dttm, dag_id, task_id, run_id, map_index, try_number, event) "
                "SELECT '2026-01-05 06:07:00.000000', dag_id, task_id, run_id, map_index, try_number, event "
                "FROM log WHERE event = 'running' AND task_id = 'rescheduled' LIMIT 1"
            )
    page.goto(f"{PATH}/waiting?tz=Europe/Berlin")
    wait = page.get_by_role("listitem").filter(has_text="(rescheduled)")
    if AIRFLOW >= "3.2":
        expect(wait).to_contain_text(re.compile("Waiting since *5 Jan 2026, 07:07"))
    else:
        expect(wait).to_contain_text("Last poll")
    assert window.complaints == []


def test_it_says_that_ids_could_not_be_looked_up(window: Window) -> None:
    page = window.page
    page.goto(f"{PATH}/waiting?portal=another.bitrix24.com")
    expect(page.get_by_role("status")).to_contain_text("3 tasks wait. Some ids could not be looked up in the tables")
    expect(page.get_by_role("link", name="Meeting 670")).to_be_visible()


def _change_tasks(page: Page, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the waiting tasks in the replies of Airflow's REST API."""

    def answer(route: Route) -> None:
        reply = route.fetch()
        found = reply.json()
        for task in found["task_instances"]:
            change(task)
        route.fulfill(response=reply, json=found)

    page.route("**/api/v2/dags/~/dagRuns/~/taskInstances?**", answer)


def _waits_for(page: Page, event_id: object, expected: str) -> None:
    page.goto(f"{PATH}/waiting?event_id={event_id}")
    expect(page.get_by_role("status")).to_have_text(expected)


def test_it_counts_tasks_whose_list_of_meetings_is_cut(window: Window) -> None:
    """Airflow cuts a field of more than 4,096 characters, often within a number."""
    page = window.page
    prefix = "Truncated. You can change this behaviour in [core]max_templated_field_length. "
    meetings = [651, *range(1_000_000, 1_001_000)]
    cut = str(meetings)[: 4096 - len(prefix) - 3]
    part = cut.rpartition(" ")[2]
    assert 0 < len(part) < 7

    def change(task: dict[str, Any]) -> None:
        if task["task_id"] == "deferred":
            task["rendered_fields"] = {"event_id": None, "event_ids": f"{prefix}{cut}..."}

    _change_tasks(page, change)
    may = "1 more may wait: not all of its meetings are known."
    _waits_for(page, meetings[1], "1 task waits for this meeting.")
    _waits_for(page, meetings[-1], f"No task is known to wait for this meeting. {may}")
    _waits_for(page, part, f"No task is known to wait for this meeting. {may}")
    _waits_for(page, 702, f"1 task waits for this meeting. {may}")
    page.goto(f"{PATH}/waiting")
    expect(page.get_by_role("status")).to_have_text("3 tasks wait. Not all meetings of 1 task are known.")
    task = page.get_by_role("listitem").filter(has_text="Meeting 1000000")
    expect(task).to_contain_text("all of at least 447 meetings: accepted")
    expect(task).to_contain_text("and at least 426 more")
    assert window.complaints == []


def test_it_counts_tasks_whose_meetings_cannot_be_read(window: Window) -> None:
    page = window.page
    _change_tasks(page, lambda task: task.update(rendered_fields={}) if task["task_id"] == "attendees" else None)
    page.route("**/api/v2/dags/*/dagRuns/*/taskInstances/attendees", lambda route: route.fulfill(status=500))
    may = "1 more may wait: not all of its meetings are known."
    _waits_for(page, 702, f"No task is known to wait for this meeting. {may}")
    _waits_for(page, 668, f"2 tasks wait for this meeting. {may}")
    page.goto(f"{PATH}/waiting")
    expect(page.get_by_role("status")).to_have_text("3 tasks wait. Not all meetings of 1 task are known.")
    expect(page.get_by_role("listitem").filter(has_text="Unknown meeting")).to_contain_text(
        re.compile("Required *unknown")
    )


def test_names_are_text(window: Window) -> None:
    page = window.page
    for path in ("meetings", "people", "changes", "waiting"):
        page.goto(f"{PATH}/{path}")
        if path == "waiting":
            expect(page.get_by_role("link", name=HOSTILE).first).to_be_visible()
        expect(page).to_have_title(f"{page.get_by_role('heading', level=2).inner_text()}: attendance")
        assert page.locator("img, main script, head script:not([src])").count() == 0
    page.goto(f"{PATH}/people")
    expect(page.get_by_role("rowheader", name=HOSTILE_PERSON)).to_be_visible()
    assert window.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("path", ["meetings", "people", "changes", "waiting"])
def test_it_fits_the_screen_and_can_be_read(window: Window, path: str, scheme: Any, width: int) -> None:

    page = window.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(f"{PATH}/{path}")
    if path == "waiting":
        expect(page.get_by_role("status")).to_have_text("3 tasks wait.")
    for closed in page.locator("details").all():
        closed.evaluate("one => one.open = true")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert smallest_contrast(page) >= 4.5
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_in_the_frame_it_takes_the_theme_of_airflow(window: Window, theme: str) -> None:
    page = window.page
    other: Any = "dark" if theme == "light" else "light"
    page.emulate_media(color_scheme=other)
    page.goto("/")
    page.evaluate("theme => localStorage.setItem('theme', theme)", theme)
    frame = _open_frame(page)
    expect(frame.locator("html")).to_have_attribute("data-theme", theme)


def test_the_keyboard_reaches_everything(window: Window) -> None:
    page = window.page
    page.goto(f"{PATH}/meetings")
    planning = page.locator("summary").filter(has_text="Planning")
    for _ in range(40):
        page.keyboard.press("Tab")
        if planning.evaluate("one => one === document.activeElement"):
            break
    page.keyboard.press("Enter")
    expect(page.get_by_role("listitem").filter(has_text="Martin Weiß")).to_be_visible()
    assert planning.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"


def test_it_filters_without_javascript(browser: Browser, waiting_airflow: LocalAirflow, reader: StorageState) -> None:
    from tests.system.browser import TIMEOUT_MS

    with browser.new_context(base_url=waiting_airflow.url, storage_state=reader, java_script_enabled=False) as context:
        page = context.new_page()
        page.set_default_timeout(TIMEOUT_MS)
        page.goto(f"{PATH}/meetings")
        page.get_by_label("Name of the meeting").fill("budget")
        page.get_by_label("Time zone").fill("Europe/Berlin")
        page.get_by_role("button", name="Show").click()
        expect(page.locator("summary")).to_have_count(1)
        expect(page.locator("summary")).to_contain_text("2 accepted 1 declined 1 not answered")
        expect(page.get_by_text("Times in")).to_be_visible()
        expect(page.locator("dd").filter(has_text="Europe/Berlin")).to_be_visible()
        page.get_by_role("link", name="People").click()
        expect(page.get_by_role("row").filter(has_text="Martin Weiß")).to_contain_text("100 %")
        page.get_by_role("link", name="Changes").click()
        expect(page.get_by_role("row").filter(has_text="Irina Petrova")).to_contain_text("not answered")
        page.goto(f"{PATH}/waiting")
        expect(page.get_by_text("This list needs JavaScript")).to_be_visible()
