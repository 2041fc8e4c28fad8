"""A real Airflow beside a sandbox portal, shared by the tests of this folder."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest

from airflow_provider_b24cal.sandbox.oauth import AuthServer
from airflow_provider_b24cal.sandbox.server import SandboxServer
from airflow_provider_b24cal.sandbox.stage import Stage

ROOT = Path(__file__).parents[2]
AIRFLOW = version("apache-airflow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what the stage cannot do: Airflow 2 has other processes and another REST API."""
    if not AIRFLOW.startswith("3."):
        reason = f"the stage and the example DAGs are for Airflow 3, this is {AIRFLOW}"
        for item in items:
            if item.path.is_relative_to(Path(__file__).parent):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def office_server() -> Iterator[SandboxServer]:
    """The built-in office, whose ids the example DAGs use."""
    with SandboxServer() as server:
        yield server


@pytest.fixture(scope="session")
def auth_server(office_server: SandboxServer) -> AuthServer:
    """The authorisation server that knows the tokens of the stage; a renewed portal has a new one."""
    return office_server.portal.auth_server


@pytest.fixture(scope="session")
def stage(
    office_server: SandboxServer, auth_server: AuthServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Airflow's processes with the example DAGs and those of the system tests."""
    dags = tmp_path_factory.mktemp("dags")
    for source in (*ROOT.glob("dags_examples/*.py"), *ROOT.glob("tests/system/dags/*.py")):
        shutil.copy(source, dags)
    settings = {
        "AIRFLOW_CONN_BITRIX24_DEFAULT": office_server.connection_json(1),
        "AIRFLOW_CONN_BITRIX24_TOKENS": office_server.oauth_connection_json(1),
    }
    with Stage(tmp_path_factory.mktemp("airflow"), dags, settings) as running:
        running.migrate()
        running.start()
        yield running
