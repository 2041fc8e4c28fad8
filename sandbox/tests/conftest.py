"""A portal with one meeting of every kind, served over real HTTP; one server for each module, reset per test."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from bitrix24_sandbox import datafile
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

Call = Callable[..., requests.Response]

HOURS = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00", "time_zone": "Europe/Berlin"}
DATA: dict[str, Any] = {
    "people": [
        {"id": 1, "name": "Anna", "last_name": "O'Hara <&>", "time_zone": "Europe/Moscow",
         "webhook": {"secret": "anna000000000001"}},
        {"id": 2, "name": "Martin", "login": "martin", "admin": True,
         "webhook": {"secret": "martin0000000002", "scopes": ["calendar", "user", "im", "sonet_group", "department"]}},
        {"id": 3, "name": "Gone", "active": False, "webhook": {"secret": "gone000000000003"}},
        {"id": 4, "name": "Guest", "external": True, "webhook": {"secret": "guest00000000004"}},
        {"id": 5, "name": "Mute", "departments": [2, 3]},
        {"id": 6, "name": "Scopeless", "webhook": {"secret": "scopeless0000006", "scopes": ["user"]}},
        {"id": 7, "name": "Open", "departments": [3], "shares": "full", "webhook": {"secret": "open000000000007"}},
        {"id": 8, "name": "Closed", "shares": "none", "webhook": {"secret": "closed0000000008"}},
    ],
    "departments": [
        {"id": 1, "name": "Company"},
        {"id": 2, "name": "Engineering", "parent": 1, "head": 5},
        {"id": 3, "name": "Data platform", "parent": 2},
        {"id": 4, "name": "Sales", "parent": 1},
    ],
    "groups": [
        {"id": 9, "name": "Migration", "owner": 2, "moderators": [5], "members": [1, 3, 7]},
    ],
    "events": [
        {"id": 1, "name": "Event one", "host": 2, **HOURS,
         "attendees": [{"user": 1, "id": 2, "status": "N"}]},
        {"id": 651, "name": "Plain", "host": 2, "notify": True, **HOURS,
         "attendees": [{"user": 1, "id": 652}, {"user": 5, "id": 653, "status": "Y"}]},
        {"id": 660, "name": "Series", "host": 2, **HOURS, "except": ["2026-09-23", "2026-09-30"],
         "repeat": {"frequency": "WEEKLY", "by_day": ["WE"], "count": 5},
         "attendees": [{"user": 1, "id": 661}, {"user": 5, "id": 662}]},
        {"id": 670, "name": "Edited", "host": 2, "series": 660, **HOURS,
         "attendees": [{"user": 1, "id": 671, "status": "N"}, {"user": 5, "id": 672, "status": "N"}]},
        {"id": 680, "name": "Edited too", "host": 2, "series": 660, **HOURS,
         "attendees": [{"user": 1, "id": 681, "status": "N"}]},
        {"id": 690, "name": "Alone", "host": 1, **HOURS},
        {"id": 700, "name": "Own", "host": 1, **HOURS, "attendees": [{"user": 2, "id": 701}]},
        {"id": 710, "name": "Foreign", "host": 2, "notify": True, **HOURS,
         "attendees": [{"user": 5, "id": 711}]},
        {"id": 720, "name": "Removed", "host": 2, "notify": True, **HOURS,
         "attendees": [{"user": 1, "id": 721, "status": "N", "removed": True}]},
        {"id": 730, "name": "Invited again", "host": 2, **HOURS,
         "attendees": [{"user": 1, "id": 731, "status": "N", "removed": True}, {"user": 1, "id": 732}]},
        {"id": 740, "name": "Group one", "host": 2, "calendar": {"type": "group", "owner": 1}, **HOURS,
         "attendees": [{"user": 2, "id": 741, "status": "Y"}]},
        {"id": 750, "name": "Group nine", "host": 2, "calendar": {"type": "group", "owner": 9}, **HOURS,
         "attendees": [{"user": 2, "id": 751, "status": "Y"}, {"user": 1, "id": 752}]},
        {"id": 760, "name": "Secret", "host": 2, "private": True, **HOURS,
         "attendees": [{"user": 5, "id": 761}]},
        {"id": 770, "name": "Whole days", "host": 2, "all_day": True, "start": "2026-09-18",
         "end": "2026-09-19", "attendees": [{"user": 1, "id": 771}]},
        {"id": 780, "name": "Company", "host": 2, "calendar": {"type": "company_calendar"}, **HOURS,
         "attendees": [{"user": 1, "id": 781}]},
        {"id": 790, "name": "Of Open", "host": 7, "location": "Room 7", "attendees": [], **HOURS},
        {"id": 800, "name": "Of Closed", "host": 8, "attendees": [], **HOURS},
    ],
}  # fmt: skip


class Clock:
    """A clock that only sleeping moves; it can stand for both the portal's clock and its timeout."""

    def __init__(self) -> None:
        self.now = 1_789_545_600.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    """A clock of the test's own."""
    return Clock()


@pytest.fixture
def fresh() -> Callable[..., Portal]:
    """Make further portals of the same seed data, for tests that start servers of their own."""
    return lambda *more: Portal(datafile.parse(DATA), *more)


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """The seed data; a module with seed data of its own overrides this."""
    return DATA


@pytest.fixture(scope="module")
def portal_clock() -> Callable[[], float]:
    """The portal's clock; a module that needs a fixed time overrides this."""
    return time.time


@pytest.fixture(scope="module")
def shared_server(data: dict[str, Any], portal_clock: Callable[[], float]) -> Iterator[SandboxServer]:
    with SandboxServer(Portal(datafile.parse(data), None, portal_clock)) as server:
        yield server


@pytest.fixture
def server(shared_server: SandboxServer) -> SandboxServer:
    shared_server.renew()
    return shared_server


@pytest.fixture
def portal(server: SandboxServer) -> Portal:
    return server.portal


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``server.pem``, a certificate and key of this machine, and ``ca.pem``, which vouches for it."""
    trustme: Any = pytest.importorskip("trustme")
    folder, authority = tmp_path_factory.mktemp("certificates"), trustme.CA()
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return folder


@pytest.fixture
def secure(portal: Portal, certificates: Path) -> Iterator[SandboxServer]:
    """The portal over TLS."""
    pem = certificates / "server.pem"
    with SandboxServer(portal, certfile=pem, keyfile=pem) as server:
        yield server


@pytest.fixture
def call(server: SandboxServer) -> Call:
    """Call a method with a JSON body: ``call("profile", {"a": 1}, user=2)``."""

    def post(method: str, parameters: object = None, user: int = 1) -> requests.Response:
        sent = {} if parameters is None else parameters
        return requests.post(server.webhook_url(user) + method, json=sent, timeout=TIMEOUT)

    return post


@pytest.fixture
def result(call: Call) -> Callable[..., Any]:
    """Call a method that must succeed, and return its result."""

    def get(method: str, parameters: object = None, user: int = 1) -> Any:
        reply = call(method, parameters, user)
        assert reply.status_code == 200, reply.text
        return reply.json()["result"]

    return get


@pytest.fixture
def control(server: SandboxServer) -> Call:
    """Send a control request: ``control("answer", {...})``."""

    def post(action: str, body: object = None) -> requests.Response:
        return requests.post(f"{server.url}/-/{action}", json=body, timeout=TIMEOUT)

    return post
