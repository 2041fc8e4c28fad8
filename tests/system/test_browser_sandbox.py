"""The sandbox portal's own page in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.parse import quote
from urllib.request import Request, urlopen

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data
from bitrix24_sandbox.server import SandboxServer
from playwright.sync_api import Locator, ViewportSize, expect

from airflow_provider_b24cal.bitrix24.urls import calendar_page, event_page
from tests.sync import TIMEOUT
from tests.system.browser import Window

MORNING = datetime(2026, 9, 14, 6, tzinfo=UTC)
"""A Monday before work, so that none of the day's meetings is over."""
PHONE: ViewportSize = {"width": 390, "height": 844}


@pytest.fixture(scope="module")
def _serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(default_seed_data(today=MORNING.date()))) as server:
        yield server


@pytest.fixture
def server(_serving: SandboxServer) -> SandboxServer:
    """The seed data on that Monday, as new."""
    _serving.renew()
    return _serving


@pytest.fixture
def window(open_window: Callable[..., Window], server: SandboxServer) -> Window:
    """A window on the portal's page, on that Monday."""
    window = open_window(server.url)
    window.page.clock.set_fixed_time(MORNING)
    window.page.goto("/")
    return window


def _card(window: Window, event_id: int) -> Locator:
    return window.page.get_by_role("article").filter(has_text=re.compile(rf"\bid {event_id}\b"))


def _answer(window: Window, event_id: int, person: str) -> Locator:
    return _card(window, event_id).locator(".chip").filter(has_text=person)


def test_a_task_is_seen_at_work(window: Window, server: SandboxServer) -> None:
    """An answer set by REST appears on a page that is open, with its counters."""
    expect(_answer(window, 668, "Anna Orlova")).to_have_text("? Anna Orlova")
    body = json.dumps({"eventId": 668, "status": "Y"}).encode()
    address = f"{server.webhook_url(1)}calendar.meeting.status.set"
    urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=TIMEOUT).close()
    expect(_answer(window, 668, "Anna Orlova")).to_have_text("✓ Anna Orlova")
    expect(window.page.locator("#sets")).to_have_text("1")
    window.picture("sandbox")
    assert window.complaints == []


def test_a_click_answers(window: Window, server: SandboxServer) -> None:
    _answer(window, 702, "Anna Orlova").click()
    question = window.page.get_by_role("dialog")
    expect(question).to_contain_text("Anna Orlova answers “Customer call”")
    question.get_by_role("button", name="Decline").click()
    expect(question).to_be_hidden()
    expect(_answer(window, 702, "Anna Orlova")).to_have_text("✕ Anna Orlova")
    assert server.portal.status(702, 1) == "N"
    assert window.complaints == []


def test_a_filter_leaves_what_fits(window: Window) -> None:
    expect(_answer(window, 668, "Anna Orlova")).to_be_visible()
    window.page.get_by_role("searchbox").fill("company MEETING")
    expect(window.page.get_by_role("article")).to_have_count(1)
    window.page.get_by_role("searchbox").fill("no such meeting")
    expect(window.page.get_by_text("No meetings match.")).to_be_visible()
    assert window.complaints == []


def _open(window: Window, address: str | None) -> None:
    assert address is not None
    window.page.goto(address)
    expect(window.page.get_by_role("article").first).to_be_visible()


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (event_page("", 702, user_id=1), "Customer call"),
        (event_page("", 668, user_id=3), ""),
        ("/calendar/?EVENT_ID=702", "Customer call"),
        ("/workgroups/group/1/calendar/?EVENT_ID=702&EVENT_DATE=16.09.2026", "Customer call"),
    ],
)
def test_a_link_opens_its_meeting(window: Window, server: SandboxServer, address: str, name: str) -> None:
    page = window.page
    page.set_viewport_size({"width": 900, "height": 400})
    _open(window, address)
    event_id = int(re.findall(r"EVENT_ID=(\d+)", address)[0])
    card = page.locator("article.opened")
    expect(card).to_have_count(1)
    expect(card).to_contain_text(f"id {event_id}")
    expect(card).to_contain_text(name)
    expect(card).to_be_in_viewport(ratio=0.5)
    expect(card).to_be_focused()
    # What changes on the page takes neither the mark nor the focus away.
    server.portal.answer(event_id, 1, "N")
    expect(_answer(window, event_id, "Anna Orlova")).to_have_text("✕ Anna Orlova")
    expect(card).to_be_focused()
    expect(page.get_by_role("alert").filter(has_text="no meeting")).to_have_count(0)
    assert window.complaints == []


def test_a_link_may_name_the_row_of_a_guest(window: Window, server: SandboxServer) -> None:
    """In every calendar a meeting has another id."""
    row = next(one.id for one in server.portal.book.rows_of(702) if one.id != 702)
    _open(window, event_page("", row, user_id=1))
    expect(window.page.locator("article.opened")).to_contain_text("id 702")


def test_a_link_opens_a_meeting_that_is_over(window: Window, server: SandboxServer) -> None:
    over = next(
        event
        for event in server.portal.book.events.values()
        if event.repeat is None and event.ends.date() < MORNING.date()
    )
    _open(window, event_page("", over.id, user_id=1))
    expect(window.page.locator("article.opened")).to_contain_text(f"id {over.id}")
    expect(window.page.get_by_label("past meetings")).to_be_checked()


@pytest.mark.parametrize("event_id", ["999999", "0", "abc", "<b>x</b>", "x" * 300])
def test_a_link_to_no_meeting_says_so(window: Window, event_id: str) -> None:
    window.page.set_viewport_size(PHONE)
    _open(window, f"/company/personal/user/1/calendar/?EVENT_ID={quote(event_id)}")
    expect(window.page.get_by_text(f"There is no meeting with the id {event_id}.")).to_be_visible()
    expect(window.page.locator("article.opened")).to_have_count(0)
    assert _width(window) <= PHONE["width"]
    assert window.complaints == []


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (calendar_page("", user_id=1, calendar_type="company_calendar"), "Company calendar"),
        (calendar_page("", user_id=1, calendar_type="group", owner_id=1), "Calendar of group 1"),
        (calendar_page("", user_id=3), "Irina Sokolova"),
    ],
)
def test_a_link_opens_a_whole_calendar(window: Window, server: SandboxServer, address: str, shown: str) -> None:
    _open(window, address)
    choice = window.page.get_by_label("Filter by person or calendar")
    assert choice.locator("option:checked").inner_text() == shown
    some = window.page.get_by_role("article").count()
    choice.select_option(label="Everybody")
    expect(window.page.get_by_role("article")).not_to_have_count(some)
    assert window.complaints == []


def test_a_link_to_the_calendar_of_nobody_says_so(window: Window) -> None:
    _open(window, calendar_page("", user_id=999))
    expect(window.page.get_by_text("There is no person with the id 999.")).to_be_visible()


def test_answers_are_named(window: Window) -> None:
    """A screen reader does not see the colour."""
    expect(_answer(window, 668, "Anna Orlova")).to_have_accessible_name("Anna Orlova: not answered")
    expect(window.page.get_by_role("button", name="Anna Orlova: not answered", exact=True).first).to_be_visible()
    expect(window.page.get_by_role("img", name=": organiser").first).to_be_visible()
    expect(_card(window, 668)).to_have_accessible_name(re.compile(r"^.+, .+ 2026, \d\d:\d\d . \d\d:\d\d$"))


def _width(window: Window) -> int:
    """Return how wide the page is; more than the window's width makes a phone scroll it sideways."""
    return int(window.page.evaluate("document.documentElement.scrollWidth"))


@pytest.mark.parametrize("long", ["Wolfeschlegelsteinhausenbergerdorff" * 4, "Anna Maria " * 16], ids=["word", "words"])
def test_a_phone_shows_long_names(open_window: Callable[..., Window], long: str) -> None:
    webhook = {"secret": "phoneC0de0000000", "scopes": ["calendar"]}
    people = [
        {"id": 1, "name": long, "webhook": webhook}, {"id": 2, "name": "Martin", "last_name": long},
    ]  # fmt: skip
    times = {"start": "2026-09-14T10:00", "end": "2026-09-14T11:00", "time_zone": "Europe/Berlin"}
    meeting = {"id": 7, "name": long, "location": long, "host": 1, "attendees": [{"user": 2}], **times}
    with SandboxServer(Portal(parse({"people": people, "events": [meeting]}))) as server:
        window = open_window(server.url)
        window.page.set_viewport_size(PHONE)
        window.page.clock.set_fixed_time(MORNING)
        _open(window, "/")
        assert _width(window) <= PHONE["width"]
        for part in window.page.locator("main *, header *").all():
            box = part.bounding_box()
            assert box is None or box["x"] + box["width"] <= PHONE["width"], part.inner_text()
        window.page.get_by_role("button", name=re.compile("^Martin")).click()
        dialog = window.page.get_by_role("dialog").bounding_box()
        assert dialog is not None
        assert dialog["width"] <= PHONE["width"]
        assert _width(window) <= PHONE["width"]


def test_a_portal_that_is_gone_is_reported(open_window: Callable[..., Window]) -> None:
    with SandboxServer() as server:
        window = open_window(server.url)
        window.page.goto("/")
        expect(window.page.get_by_role("article").first).to_be_visible()
    expect(window.page.get_by_text("The portal does not answer.")).to_be_visible()
