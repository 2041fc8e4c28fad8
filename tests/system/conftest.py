"""A real Airflow beside a sandbox portal and a real browser, shared by the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from bitrix24_sandbox.oauth import AuthServer
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from dev.local_airflow import LocalAirflow

if TYPE_CHECKING:
    from playwright.sync_api import Browser, StorageState

    from tests.system.browser import Window

from tests.airflow_version import AIRFLOW
from tests.statsd import Statsd

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is written for Airflow 3: Airflow 2 has other processes and another REST API."""
    if not AIRFLOW.startswith("3."):
        reason = f"written for the processes, the REST API and the web UI of Airflow 3, this is {AIRFLOW}"
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent) and item.path.name != "test_airflow_2.py":
                item.add_marker(pytest.mark.skip(reason=reason))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--pictures", type=Path, help="folder for the pictures that browser tests make for the docs")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Add to the failure of a browser test where its page was kept."""
    try:
        return (yield)
    except Exception as failure:
        for value in getattr(item, "funcargs", {}).values():
            if hasattr(value, "story"):
                failure.add_note(value.story())
        raise


@pytest.fixture(scope="session")
def data_server() -> Iterator[SandboxServer]:
    """The seed data, whose ids the example DAGs use."""
    with SandboxServer() as server:
        yield server


@pytest.fixture
def portal(data_server: SandboxServer) -> Portal:
    """The state of :func:`data_server`, as new."""
    data_server.renew()
    return data_server.portal


@pytest.fixture(scope="session")
def auth_server(data_server: SandboxServer) -> AuthServer:
    """The authorisation server that knows the tokens of :func:`airflow`; a reset portal has a new one."""
    return data_server.portal.auth_server


@pytest.fixture(scope="session")
def hosts() -> int:
    """The number of hosts that Airflow runs on, as the provider sees it."""
    return 1


@pytest.fixture(scope="session")
def statsd() -> Iterator[Statsd]:
    """Receives the provider's metrics from all processes of :func:`airflow`."""
    with Statsd() as server:
        yield server


@pytest.fixture(scope="session")
def airflow(
    data_server: SandboxServer, auth_server: AuthServer, statsd: Statsd, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalAirflow]:
    """Airflow's processes with the example DAGs and those of the system tests."""
    dags = tmp_path_factory.mktemp("dags")
    for source in (*ROOT.glob("dags_examples/*.py"), *ROOT.glob("tests/system/dags/*.py")):
        shutil.copy(source, dags)
    settings = {
        "AIRFLOW_CONN_BITRIX24_DEFAULT": data_server.connection_json(1),
        "AIRFLOW_CONN_BITRIX24_TOKENS": data_server.oauth_connection_json(1),
        **statsd.settings(),
    }
    with LocalAirflow(tmp_path_factory.mktemp("airflow"), dags, settings) as running:
        running.migrate()
        running.start()
        yield running


# Not of the session: Playwright occupies the thread's event loop, which other tests need for themselves.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the test is skipped where there is none."""
    from tests.system.browser import chromium, find_chromium

    path, reason = find_chromium()
    if path is None:
        pytest.skip(f"no browser: {reason}")
    with chromium(path) as running:
        yield running


@pytest.fixture
def open_window(browser: Browser, tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Callable[..., Window]]:
    """Open windows on a site; they are closed after the test."""
    from tests.system.browser import SIZE, TIMEOUT_MS, Window

    def open_(base_url: str, signed_in: StorageState | None = None) -> Window:
        context = browser.new_context(
            base_url=base_url,
            storage_state=signed_in,
            viewport=SIZE,
            color_scheme="light",
            locale="en-GB",
            timezone_id="UTC",
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT_MS)
        return Window(context.new_page(), tmp_path, pytestconfig.getoption("--pictures", None))

    yield open_
    for context in browser.contexts:
        context.close()


@pytest.fixture(scope="module")
def signed_in(browser: Browser, airflow: LocalAirflow) -> StorageState:
    """What a browser keeps of somebody who has signed in to Airflow."""
    from tests.system.browser import TIMEOUT_MS, sign_in

    if tuple(map(int, version("apache-airflow").split(".")[:2])) < (3, 3):
        pytest.skip("written for the web UI of Airflow 3.3")
    with browser.new_context(base_url=airflow.url) as context:
        context.set_default_timeout(TIMEOUT_MS)
        sign_in(context.new_page(), airflow.password)
        return context.storage_state()


@pytest.fixture
def window(open_window: Callable[..., Window], airflow: LocalAirflow, signed_in: StorageState) -> Window:
    """A window on Airflow, signed in."""
    return open_window(airflow.url, signed_in)
