"""A database that is slow, missing or broken holds up nobody, and the page says what is wrong."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Connection
from sqlalchemy.pool import NullPool

from airflow_provider_b24cal._airflow import HAS_PLUGIN_PAGES

if not HAS_PLUGIN_PAGES:
    pytest.skip("pages of plugins know their readers from Airflow 3.1.1 on", allow_module_level=True)
pytest.importorskip("airflow.providers.sqlite")

from airflow_provider_b24cal.attendance.io.report_page import check_tables
from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.attendance_page import bounded_reads
from airflow_provider_b24cal.attendance_page.bounded_reads import THREADS, BoundedReads, DatabaseUnavailableError
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from tests.databases import DATABASES, connect_airflow, database

SLOW = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n",
    "postgresql": "SELECT pg_sleep(600)",
    "mysql": "SELECT count(*) FROM seq_1_to_1000000 a, seq_1_to_1000000 b, seq_1_to_1000000 c",
}
"""Statements that take longer than anybody waits."""


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[URL]:
    """An empty database behind the connection ``warehouse``."""
    with database(request.param, tmp_path) as url:
        create_engine(url, poolclass=NullPool).connect().close()
        connect_airflow(url, monkeypatch)
        yield url


def _run(read: Any, conn_id: str = "warehouse") -> Any:
    return asyncio.run(BoundedReads(conn_id).run(read))


def test_it_reads(url: URL) -> None:
    assert _run(lambda connection: connection.execute(text("SELECT 1")).scalar()) == 1


def test_missing_tables_are_named(url: URL) -> None:
    with pytest.raises(InvalidArgumentError, match="Missing tables: bitrix24_meetings, bitrix24_attendance"):
        _run(lambda connection: check_tables(connection, define(TableNames())))


def test_a_slow_statement_is_ended_by_the_database(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_reads, "STATEMENT_SECONDS", 1)
    monkeypatch.setattr(bounded_reads, "READ_SECONDS", 600)
    with pytest.raises(DatabaseUnavailableError, match=r"connection 'warehouse' cannot be read \(.*Check that"):
        _run(lambda connection: connection.execute(text(SLOW[url.get_backend_name()])).scalar())


def test_nothing_can_be_written_to_a_file_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "none.db"
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    with pytest.raises(DatabaseUnavailableError, match="There is no file"):
        _run(lambda _: None)
    assert not path.exists()


def test_a_connection_that_does_not_exist_is_named() -> None:
    with pytest.raises(DatabaseUnavailableError, match="connection 'nowhere' cannot be opened"):
        _run(lambda _: None, "nowhere")


def test_a_connection_of_another_kind_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "bitrix24", "host": "example.bitrix24.com"}))
    with pytest.raises(InvalidArgumentError, match="expected a connection of a database"):
        _run(lambda _: None)


def test_a_server_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("airflow.providers.postgres")
    monkeypatch.setattr(bounded_reads, "CONNECT_SECONDS", 2)
    monkeypatch.setattr(bounded_reads, "READ_SECONDS", 600)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        fields = {"conn_type": "postgres", "host": "127.0.0.1", "port": silent.getsockname()[1], "login": "x"}
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(fields))
        with pytest.raises(DatabaseUnavailableError, match="cannot be read"):
            _run(lambda _: None)


def test_readers_beyond_the_threads_wait_no_longer_than_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop stays free, no more than the threads read, and afterwards everything works again."""
    monkeypatch.setattr(bounded_reads, "READ_SECONDS", 1)
    path = tmp_path / "attendance.db"
    path.touch()
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    reads, go, began = BoundedReads("warehouse"), threading.Event(), list[int]()

    def hang(_: Connection) -> None:
        began.append(threading.get_ident())
        go.wait()

    async def crowd() -> list[Any]:
        results = await asyncio.gather(*(reads.run(hang) for _ in range(5 * THREADS)), return_exceptions=True)
        go.set()
        while True:
            try:
                return [await reads.run(lambda connection: connection.execute(text("SELECT 2")).scalar()), *results]
            except DatabaseUnavailableError:
                continue

    two, *refused = asyncio.run(crowd())
    assert two == 2
    assert {type(one) for one in refused} == {DatabaseUnavailableError}
    assert "has not answered within 1 seconds" in str(refused[0])
    assert len(set(began)) <= THREADS


DENIED = """
import sys
sys.modules["airflow.api_fastapi.core_api.security"] = None
from starlette.testclient import TestClient
from airflow_provider_b24cal.attendance_page.app import make_app
client = TestClient(make_app("warehouse"))
paths = ("/", "/meetings", "/people", "/changes", "/waiting", "/meetings.json", "/static/page.css", "/none")
print({client.get(path, follow_redirects=False).status_code for path in paths}, client.post("/meetings").status_code)
"""


def test_nobody_is_let_in_where_airflows_check_cannot_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", DENIED], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1:] == ["{403} 403"], done.stderr
