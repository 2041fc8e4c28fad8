"""The sandbox portal's own page in a browser."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from urllib.request import Request, urlopen

import pytest
from playwright.sync_api import Locator, expect

from airflow_provider_b24cal.sandbox.portal import Portal
from airflow_provider_b24cal.sandbox.seed import default_office
from airflow_provider_b24cal.sandbox.server import SandboxServer
from tests.gates import PATIENCE
from tests.system.browser import Window

MORNING = datetime(2026, 9, 14, 6, tzinfo=UTC)
"""A Monday before work, so that none of the day's meetings is over."""


@pytest.fixture(scope="module")
def _serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(default_office(today=MORNING.date()))) as server:
        yield server


@pytest.fixture
def server(_serving: SandboxServer) -> SandboxServer:
    """The built-in office on that Monday, as new."""
    _serving.renew()
    return _serving


@pytest.fixture
def window(open_window: Callable[..., Window], server: SandboxServer) -> Window:
    """A window on the portal's page, on that Monday."""
    window = open_window(server.url)
    window.page.clock.set_fixed_time(MORNING)
    window.page.goto("/")
    return window


def _answer(window: Window, event_id: int, person: str) -> Locator:
    card = window.page.get_by_role("article").filter(has_text=re.compile(rf"\bid {event_id}\b"))
    return card.locator(".chip").filter(has_text=person)


def test_a_task_is_seen_at_work(window: Window, server: SandboxServer) -> None:
    """An answer set by REST appears on a page that is open, with its counters."""
    expect(_answer(window, 668, "Anna Orlova")).to_have_text("? Anna Orlova")
    body = json.dumps({"eventId": 668, "status": "Y"}).encode()
    address = f"{server.webhook_url(1)}calendar.meeting.status.set"
    urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=PATIENCE).close()
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


def test_a_portal_that_is_gone_is_told(open_window: Callable[..., Window]) -> None:
    with SandboxServer() as server:
        window = open_window(server.url)
        window.page.goto("/")
        expect(window.page.get_by_role("article").first).to_be_visible()
    expect(window.page.get_by_text("The portal does not answer.")).to_be_visible()
