"""The portal and the databases of the transfers' tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from sqlalchemy.engine import URL

from tests.calendar_data import DATA
from tests.databases import database

CONN_TYPES = {"sqlite": "sqlite", "postgresql": "postgres", "mariadb": "mysql"}


@pytest.fixture(scope="module")
def serving() -> Iterator[SandboxServer]:
    with SandboxServer(Portal(parse(DATA))) as running:
        yield running


@pytest.fixture
def server(serving: SandboxServer) -> SandboxServer:
    """A portal on a free port, as new, in place of the one that other tests use."""
    serving.portal.reset()
    return serving


@pytest.fixture(params=CONN_TYPES)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[URL]:
    """An empty database behind the connection ``warehouse``, through Airflow's own hook."""
    conn_type = CONN_TYPES[request.param]
    pytest.importorskip(f"airflow.providers.{conn_type}")
    with database(request.param, tmp_path) as url:
        server = {"host": url.host, "login": url.username, "password": url.password, "port": url.port}
        fields = {"host": url.database} if conn_type == "sqlite" else {**server, "schema": url.database}
        stored = {"conn_type": conn_type, **{name: value for name, value in fields.items() if value is not None}}
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(stored))
        yield url
