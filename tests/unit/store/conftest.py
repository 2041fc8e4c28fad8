"""A store in each kind of database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from tests.databases import DATABASES, database
from tests.stored_tables import make_store


@pytest.fixture(params=DATABASES)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[URL]:
    with database(request.param, tmp_path) as url:
        yield url


@pytest.fixture
def engine(url: URL) -> Iterator[Engine]:
    engine = create_engine(url)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> AttendanceStore:
    store = make_store(engine)
    store.prepare(create=True)
    return store
