"""Shared by all tests: a private Airflow home, a portal on a free port, and clocks that need no waiting."""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

# Before anything imports Airflow: no test may touch a real home, database or network setting.
_HOME = Path(tempfile.mkdtemp(prefix="b24cal-tests-"))
atexit.register(shutil.rmtree, _HOME, ignore_errors=True)
# Processes share the rate limit through files in the temporary folder; those of the tests are removed with the tests.
# What pytest keeps stays in its place.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
tempfile.tempdir = os.environ["TMPDIR"] = str(_HOME)
os.environ.update(
    AIRFLOW_HOME=str(_HOME),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{_HOME}/airflow.db",
    AIRFLOW__CORE__DAGS_FOLDER=str(_HOME / "dags"),
)
for _name in [name for name in os.environ if name.lower().endswith("_proxy") or name.startswith("AIRFLOW_CONN_")]:
    del os.environ[_name]

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal._airflow import BaseSensorOperator
from airflow_provider_b24cal.client.operating import operating_times
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.sync import Gate

CANARY = "c4n4ryQ7x9z2w5k8"
"""The webhook code of the acting user; it must be seen nowhere but on the wire."""

SILENT, ACCEPTED, DECLINED, HOSTED, FOREIGN, PLAIN, DELETED_FOR_ME, NOTIFYING = range(101, 109)
"""Event ids of the test office, by what they are to user 1."""
UNKNOWN = 99_999
MANY = range(1001, 1121)
"""Ids of a hundred and twenty meetings that user 1 has not answered."""


def office() -> object:
    """Return the test office, in the form of the sandbox's data files."""
    day = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}

    def meeting(
        event_id: int, name: str, host: int, *attendees: dict[str, object], **more: object
    ) -> dict[str, object]:
        return {"id": event_id, "name": name, "host": host, **day, "attendees": list(attendees), **more}

    return {
        "people": [
            {"id": 1, "name": "Anna", "last_name": "Orlova", "webhook": {"secret": CANARY, "scopes": ["calendar"]}},
            {"id": 2, "name": "Martin", "last_name": "Keller", "webhook": {"secret": "m4rt1nC0de000000"}},
            {"id": 3, "name": "Irina", "webhook": {"secret": "1r1naC0de0000000", "scopes": ["user"]}},
            {"id": 4, "name": "Gone", "active": False, "webhook": {"secret": "g0neC0de00000000"}},
        ],
        "events": [
            meeting(SILENT, "Budget", 2, {"user": 1}, {"user": 3}),
            meeting(ACCEPTED, "Planning", 2, {"user": 1, "status": "Y"}),
            meeting(DECLINED, "Review", 2, {"user": 1, "status": "N"}),
            meeting(HOSTED, "My own", 1, {"user": 2}),
            meeting(FOREIGN, "Others", 2, {"user": 3}),
            {"id": PLAIN, "name": "Doctor", "host": 1, **day},
            meeting(DELETED_FOR_ME, "Removed", 2, {"user": 1, "status": "N", "removed": True}),
            meeting(NOTIFYING, "With notices", 2, {"user": 1}, notify=True),
            *(meeting(number, f"Meeting {number}", 2, {"user": 1, "id": number + 1000}) for number in MANY),
        ],
    }


@pytest.fixture(scope="session")
def _serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(office()))) as running:
        yield running


@pytest.fixture
def server(_serving: SandboxServer) -> SandboxServer:
    """A portal on a free port, as new."""
    _serving.renew()
    operating_times.cache_clear()
    return _serving


@pytest.fixture
def portal(server: SandboxServer) -> Portal:
    """The state of :func:`server`."""
    return server.portal


@pytest.fixture
def connection(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> str:
    """The connection ``bitrix24_default`` of user 1 on :func:`server`, in the environment."""
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
    return "bitrix24_default"


@pytest.fixture
def gated(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Portal, Gate]]:
    """A portal of its own that holds what it delays until the gate is opened; ``bitrix24_default`` leads there."""
    gate = Gate()
    operating_times.cache_clear()
    with SandboxServer(Portal(parse(office())), sleep=gate.sleep) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        yield server.portal, gate


@dataclass
class Clock:
    """A clock that is moved by whoever sleeps on it.

    :param plans: what happens at which time, for example somebody answering.
    """

    now: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)
    plans: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def time(self) -> float:
        return self.now

    def utcnow(self) -> datetime:
        return datetime.fromtimestamp(self.now, UTC)

    def sleep(self, seconds: float, stop: object = None) -> None:
        # The threads of one run sleep on the same clock.
        with self._lock:
            self.slept.append(seconds)
            self.now += seconds
            due = [plan for plan in self.plans if plan[0] <= self.now]
            self.plans = [plan for plan in self.plans if plan not in due]
        for plan in due:
            plan[1]()

    async def asleep(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    def later(self, seconds: float, deed: Callable[[], object]) -> None:
        """Let something happen so many seconds from now."""
        self.plans.append((self.now + seconds, deed))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock in place of the real one wherever the provider waits."""
    clock = Clock()
    monkeypatch.setattr("airflow_provider_b24cal.clock.sleep", clock.sleep)
    monkeypatch.setattr("airflow_provider_b24cal.clock.asleep", clock.asleep)
    monkeypatch.setattr("airflow_provider_b24cal.clock.time", clock.time)
    monkeypatch.setattr("airflow_provider_b24cal.triggers.shared_poll._GATHERING", 0.0)
    return clock


@pytest.fixture
def hook(connection: str, clock: Clock) -> Iterator[Bitrix24CalendarHook]:
    """A hook acting as user 1."""
    with Bitrix24CalendarHook(connection) as hook:
        yield hook


@pytest.fixture
def airflow_clock(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Airflow's own sensor loop on the same clock."""
    module = sys.modules[BaseSensorOperator.__module__]
    monkeypatch.setattr(module, "time", SimpleNamespace(sleep=clock.sleep, monotonic=clock.time))
    monkeypatch.setattr(module, "timezone", SimpleNamespace(utcnow=clock.utcnow))
    if hasattr(module, "_orig_start_date"):
        # 2.11 looks into its database for when the first poke was; later versions ask the task instance.
        started = clock.utcnow()
        monkeypatch.setattr(module, "_orig_start_date", lambda **_: started)
    return clock
