"""From the demo's login to who has not answered, and to the task that waits for them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from playwright.sync_api import Locator, expect

from tests.airflow_version import AIRFLOW
from tests.sync import ending
from tests.system.browser import Window, sign_in

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.xdist_group("demo"),
    pytest.mark.skipif(AIRFLOW < "3.3", reason="written for the web UI of Airflow 3.3"),
]


class Demo(NamedTuple):
    """What the demo has printed: addresses, the password, and the meeting that is waited for."""

    url: str
    password: str
    page: str
    event_id: str
    name: str


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    environment = {**os.environ, "TMPDIR": str(tmp_path_factory.mktemp("demo")), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "dev.demo", "dags_examples", "--ui"]
    with ending(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)) as running:
        assert running.stdout is not None
        printed = ""
        for line in running.stdout:
            printed += line
            if "Ctrl-C stops both" in line:
                break
        found = re.search(
            r"  Airflow +(\S+) +user admin, password (\S+)\n  Attendance +(\S+) (?s:.*)"
            r"waits for the answers to meeting (\d+), (.+)\.\n",
            printed,
        )
        assert found is not None, printed
        yield Demo(*found.groups())


class Clicks:
    """Clicks, and counts how many there were."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, what: Locator) -> None:
        what.click()
        self.count += 1


def test_four_clicks_show_who_has_not_answered_and_which_task_waits(
    demo: Demo, open_window: Callable[..., Window]
) -> None:
    window, click = open_window(demo.url), Clicks()
    page = window.page
    sign_in(page, demo.password)
    click(page.get_by_role("link", name="Attendance", exact=True))
    frame = page.frame_locator("iframe")
    expect(frame.get_by_text("Days of silence are counted from")).to_be_attached()  # the last line of the page
    next_week = frame.get_by_role("region", name="Next week")
    meeting = next_week.get_by_role("group").filter(has_text=demo.name).filter(has_text=f"Id {demo.event_id},")
    more = frame.get_by_role("link", name="Next part")
    if not meeting.count() and more.count():
        click(more)
    window.picture("attendance_page", height=640)
    click(meeting.locator("summary"))
    silent = meeting.get_by_role("term").filter(has_text="not answered")
    expect(silent).to_be_visible()
    people = meeting.get_by_role("listitem").filter(has_text="silent for")
    expect(people.filter(has_text="Anna Orlova")).to_be_visible()
    meeting.evaluate("one => one.scrollIntoView()")
    window.picture("attendance_page_silent", height=480)

    click(frame.get_by_role("link", name="Waiting now"))
    waiting = frame.get_by_role("listitem").filter(has=frame.get_by_role("link", name=demo.name))
    expect(waiting).to_contain_text("chase_the_silent")
    expect(waiting).to_contain_text("all of the invited people: accepted")
    window.picture("attendance_page_waiting", height=440)
    assert click.count <= 4


def test_the_button_of_a_task_opens_its_meetings(demo: Demo, open_window: Callable[..., Window]) -> None:
    window = open_window(demo.url)
    page = window.page
    sign_in(page, demo.password)
    # Outside Airflow's frame the names of tasks are links.
    page.goto(demo.page.replace("/meetings", "/waiting"))
    page.get_by_role("link", name="everybody").click()
    page.get_by_role("link", name="Details", exact=True).click()
    # The navigation has a link of this name too.
    page.get_by_role("link", name="Attendance", exact=True).and_(page.locator("[href*=event_id]")).click()
    expect(page).to_have_url(f"{demo.page}?event_id={demo.event_id}")
    expect(page.get_by_role("group")).to_have_count(1)
    expect(page.get_by_role("group")).to_contain_text(demo.name)
