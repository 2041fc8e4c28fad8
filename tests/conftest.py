"""Shared by all tests: a private Airflow home, a portal on a free port, and clocks that need no waiting."""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
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
from tests.clock import Clock
from tests.portal_data import portal_data
from tests.sync import Gate


@pytest.fixture(autouse=True)
def _forget_secrets() -> Iterator[None]:
    """Take what a test has had masked out of Airflow's maskers: for each new secret they compile all that they know."""
    yield
    for name in [name for name in sys.modules if name.endswith(".secrets_masker")]:
        find = getattr(sys.modules[name], "_secrets_masker", None)
        with suppress(RuntimeError):  # 2.11 has none before it logs
            if find is not None:
                find().patterns.clear()
                find().replacer = None


@pytest.fixture(scope="session")
def _serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(portal_data()))) as running:
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
    with SandboxServer(Portal(parse(portal_data())), sleep=gate.sleep) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        yield server.portal, gate


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
