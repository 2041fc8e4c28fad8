from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import requests

from airflow_provider_b24cal.bitrix24.urls import calendar_page, event_page
from tests.sync import TIMEOUT

if TYPE_CHECKING:
    from bitrix24_sandbox.server import SandboxServer


@pytest.fixture
def page(server: SandboxServer) -> requests.Response:
    return requests.get(server.url + "/", timeout=TIMEOUT)


def test_is_served(page: requests.Response) -> None:
    assert page.status_code == 200
    assert page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<title>Sandbox portal</title>" in page.text


@pytest.mark.parametrize(
    "address",
    [
        event_page("", 668, user_id=1),
        calendar_page("", user_id=1),
        calendar_page("", user_id=1, owner_id=999),
        calendar_page("", user_id=1, calendar_type="group", owner_id=9),
        "/workgroups/group/9/calendar/?EVENT_ID=668",
        calendar_page("", user_id=1, calendar_type="company_calendar"),
        "/calendar/?EVENT_ID=668&EVENT_DATE=16.09.2026",
    ],
)
def test_is_what_a_link_to_the_portal_opens(server: SandboxServer, page: requests.Response, address: str) -> None:
    linked = requests.get(server.url + address, timeout=TIMEOUT)
    assert (linked.status_code, linked.text) == (200, page.text)


def test_other_addresses_are_not_found(server: SandboxServer) -> None:
    for address in ("/company/personal/user/x/calendar/", "/company/personal/user/1/", "/calendar/x", "/x"):
        assert requests.get(server.url + address, timeout=TIMEOUT).status_code == 404


def test_is_self_contained(page: requests.Response) -> None:
    assert not re.search(r"https?://", page.text)
    assert not re.search(r"<script[^>]+src|<link[^>]+stylesheet|@import|url\(", page.text)
    assert re.findall(r'fetch\("([^"]*)"', page.text) == ["/-/state", "/-/answer"]
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self'" in policy


def test_data_never_becomes_markup(page: requests.Response) -> None:
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("):
        assert way not in page.text


def test_holds_no_data(page: requests.Response, server: SandboxServer) -> None:
    for person in server.portal.book.people.values():
        assert person.webhook is None or person.webhook.secret not in page.text


def test_elements_the_script_looks_up_exist(page: requests.Response) -> None:
    wanted = set(re.findall(r'byId\("(\w+)"\)', page.text)) | set(re.findall(r'count\("(\w+)"', page.text))
    assert wanted == set(re.findall(r'id="(\w+)"', page.text))
