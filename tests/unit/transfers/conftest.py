"""The portal and the databases of the transfers' tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from sqlalchemy.engine import URL

from tests.calendar_data import DATA
from tests.databases import airflow_connection, database

PROVIDERS = {"sqlite": "sqlite", "postgresql": "postgres", "mariadb": "mysql"}


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    """The seed data; a module with seed data of its own overrides this."""
    return DATA


@pytest.fixture(scope="module")
def serving(data: dict[str, Any]) -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(data))) as running:
        yield running


@pytest.fixture
def server(serving: SandboxServer) -> SandboxServer:
    """A portal on a free port, as new, in place of the one that other tests use."""
    serving.portal.reset()
    return serving


@pytest.fixture(params=PROVIDERS)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[URL]:
    """An empty database behind the connection ``warehouse``, through Airflow's own hook."""
    pytest.importorskip(f"airflow.providers.{PROVIDERS[request.param]}")
    with database(request.param, tmp_path) as url:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", airflow_connection(url))
        yield url
