"""Real databases for tests: SQLite always, servers where they answer. Each test has its own and drops it."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import OperationalError, ProgrammingError

from airflow_provider_b24cal._airflow import BaseHook

SERVERS = {
    "postgresql": os.environ.get("B24CAL_TEST_POSTGRESQL", "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"),
    "mariadb": os.environ.get("B24CAL_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/test?charset=utf8mb4"),
}
"""Where the servers are; another place is named in the environment."""
DATABASES = ("sqlite", *SERVERS)


def airflow_connection(url: URL) -> str:
    """Return Airflow's connection to a database, as JSON."""
    conn_type = {"sqlite": "sqlite", "postgresql": "postgres", "mysql": "mysql"}[url.get_backend_name()]
    server = {"host": url.host, "login": url.username, "password": url.password, "port": url.port}
    fields = {"host": url.database} if conn_type == "sqlite" else {**server, "schema": url.database}
    return json.dumps({"conn_type": conn_type, **{name: value for name, value in fields.items() if value is not None}})


def connect_airflow(url: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a database behind the connection ``warehouse``; that of MySQL has a bare hook, its own needs a compiler."""
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", airflow_connection(url))
    if url.get_backend_name() == "mysql":
        hook = SimpleNamespace(get_sqlalchemy_engine=lambda options=None: create_engine(url, **(options or {})))
        monkeypatch.setattr(type(BaseHook.get_connection("warehouse")), "get_hook", lambda _: hook)
    elif url.get_backend_name() == "postgresql":
        pytest.importorskip("airflow.providers.postgres")


@contextmanager
def database(kind: str, folder: Path) -> Iterator[URL]:
    """Yield the address of an empty database, and drop it in the end; skip where there is no server."""
    if kind == "sqlite":
        yield make_url(f"sqlite:///{folder}/attendance.db")
        return
    pytest.importorskip({"postgresql": "psycopg2", "mariadb": "pymysql"}[kind])
    server = make_url(SERVERS[kind])
    name = f"b24cal_{secrets.token_hex(6)}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 5})
    try:
        try:
            with engine.connect() as connection:
                connection.execute(text(f"CREATE DATABASE {name}"))
        except (OperationalError, ProgrammingError) as problem:  # nobody answers, or this user may not
            pytest.skip(f"no database on {kind} at {server.host}:{server.port}: {str(problem.orig).splitlines()[0]}")
        try:
            yield server.set(database=name)
        finally:
            with engine.connect() as connection:
                connection.execute(text(f"DROP DATABASE {name}{' WITH (FORCE)' if kind == 'postgresql' else ''}"))
    finally:
        engine.dispose()
