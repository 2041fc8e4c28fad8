"""A connection to a database of another kind is refused, and the error says what to do."""

from __future__ import annotations

import json
from importlib.util import find_spec

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24 import InvalidArgumentError
from tests.clock import Clock
from tests.transfer_runs import sync

NAMED = r"expected SQLite, PostgreSQL, MySQL or MariaDB; this database is \'{}\'.*dlt.*attendance_destinations"


def refused(conn_type: str, kind: str, portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {"conn_type": conn_type, "host": "127.0.0.1", "port": 1, "login": "reader", "password": "s3cret"}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(stored))
    with pytest.raises(InvalidArgumentError, match=NAMED.format(kind)):
        sync()
    assert portal.count()["requests"] == 0, "nothing was read for it"


def test_airflow_has_no_hook_for_it(
    connection: str, portal: Portal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused("snowflake", "snowflake", portal, monkeypatch)


def test_airflow_has_a_hook_for_it(
    connection: str, portal: Portal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``make destinations`` has the one of SQL Server."""
    pytest.importorskip("airflow.providers.microsoft.mssql", reason="no provider of another database is installed")
    refused("mssql", "mssql", portal, monkeypatch)


@pytest.mark.skipif(find_spec("airflow.providers.mysql") is not None, reason="Airflow's MySQL provider is installed")
def test_a_missing_provider_of_ours_is_named_by_airflow(
    connection: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "mysql", "host": "127.0.0.1"}))
    with pytest.raises(Exception, match="Unknown hook type"):
        sync()
