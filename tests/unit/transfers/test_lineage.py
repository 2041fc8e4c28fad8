"""Lineage and assets of the transfers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import URL

from airflow_provider_b24cal.assets import database_alias, database_uri, table_asset
from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from tests.calendar_data import SEPTEMBER
from tests.clock import Clock
from tests.portal_data import CANARY
from tests.transfer_runs import portal_host, store_files, sync


def _events() -> Any:
    """Return what Airflow hands a task for the events of its outlets."""
    try:
        from airflow.sdk.execution_time.context import OutletEventAccessors
    except ImportError:
        from airflow.utils.context import OutletEventAccessors
    return OutletEventAccessors()


def _emitted(events: Any, alias: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the URIs and extras of the events that an alias has got."""
    accessor = events[alias]
    if hasattr(accessor, "asset_alias_events"):
        return [(one.dest_asset_key.uri, one.extra) for one in accessor.asset_alias_events]
    return [(one["dest_dataset_uri"], one["extra"]) for one in accessor.dataset_alias_events]


def test_tables_are_outlets_and_carry_the_counts(connection: str, warehouse: URL, clock: Clock) -> None:
    task = Bitrix24AttendanceToSqlOperator(
        task_id="sync",
        sql_conn_id="warehouse",
        schema=None,
        create_tables=True,
        **SEPTEMBER,  # type: ignore[arg-type]
    )
    *tables, alias = task.outlets
    assert [outlet.uri for outlet in tables] == [
        f"b24cal://tables/warehouse/bitrix24_{name}" for name in ("meetings", "attendance", "attendance_changes")
    ]
    assert tables[1] == table_asset("warehouse")
    assert alias == database_alias("warehouse")
    events = _events()
    counts = task.execute({"outlet_events": events})  # type: ignore[typeddict-item, arg-type]
    assert [events[outlet].extra for outlet in tables] == [counts] * 3
    standard = {
        "sqlite": None,
        "postgresql": f"postgres://{warehouse.host}:5432/{warehouse.database}/public",
        "mysql": f"mysql://{warehouse.host}:3306/{warehouse.database}",
    }[warehouse.get_backend_name()]
    assert _emitted(events, alias) == [
        (f"{standard}/{table.name}", counts) for table in define(TableNames())[:3] if standard is not None
    ]
    own = Bitrix24AttendanceToSqlOperator(task_id="own", sql_conn_id="warehouse", outlets=[])
    assert own.outlets == []
    templated = Bitrix24AttendanceToSqlOperator(task_id="templated", sql_conn_id="{{ params.x }}")
    assert templated.outlets == []
    for people_names, uris in ((True, ["b24cal://tables/warehouse/bitrix24_people"]), ("{{ names }}", [])):
        named: Any = Bitrix24AttendanceToSqlOperator(
            task_id="named",
            sql_conn_id="warehouse",
            people_names=people_names,  # type: ignore[arg-type]
        )
        assert [outlet.uri for outlet in named.outlets[3:-1]] == uris
        assert bool(named.outlets) == bool(uris)


@pytest.mark.parametrize(
    ("address", "uri"),
    [
        (("postgresql", "db.example.com", None, "lake", "public", "t"), "postgres://db.example.com:5432/lake/public/t"),
        (("postgresql", "db", 6432, "lake", "own", "a table"), "postgres://db:6432/lake/own/a%20table"),
        (("postgresql", "::1", None, "lake", "public", "t"), "postgres://[::1]:5432/lake/public/t"),
        (("mysql", "db", None, "lake", "other", "t"), "mysql://db:3306/other/t"),
        (("mariadb", "db", 3307, "lake", "lake", "t"), "mysql://db:3307/lake/t"),
        (("postgresql", None, None, "lake", "public", "t"), None),
        (("sqlite", None, None, "/data/lake.db", "main", "t"), None),
    ],
)
def test_standard_uris(address: tuple[Any, ...], uri: str | None) -> None:
    assert database_uri(*address) == uri


def _collector() -> Any:
    """Return the class that collects lineage, where this Airflow has it."""
    try:
        from airflow.sdk.lineage import HookLineageCollector
    except ImportError:
        from airflow.lineage.hook import HookLineageCollector
    return HookLineageCollector


def test_lineage_names_the_calendars_and_the_tables(
    connection: str, warehouse: URL, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector = _collector()()
    monkeypatch.setattr("airflow_provider_b24cal._airflow.lineage_collector", lambda: collector)
    sync(calendars=["user:1", "company_calendar"], changes_table="what changed?")
    old = not hasattr(type(collector), "collected_assets")
    reported = collector.collected_datasets if old else collector.collected_assets
    inputs, outputs = (
        sorted((one.dataset if old else one.asset).uri for one in some) for some in (reported.inputs, reported.outputs)
    )
    host = portal_host(connection)
    assert inputs == [f"b24cal://{host}/{path}" for path in ("company_calendar", "user/1")]
    assert len(outputs) == 3
    assert all(str(warehouse.database).strip("/") in uri for uri in outputs)
    assert outputs[0].endswith("/bitrix24_attendance")
    assert outputs[2].endswith("/what%20changed%3F")
    assert CANARY not in f"{reported!r} {[vars(one.context) for one in reported.inputs]}", (
        "nor in what the hook would show"
    )


def test_lineage_that_fails_takes_nothing_back(
    connection: str, warehouse: URL, clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database behind a socket has no host, which Airflow's addresses of tables need."""

    class Strict(_collector()):  # type: ignore[misc]
        def add_output_asset(self, *_: Any, **__: Any) -> None:
            raise ValueError("URI format postgres:// must contain a host.")

        add_output_dataset = add_output_asset

    monkeypatch.setattr("airflow_provider_b24cal._airflow.lineage_collector", Strict)
    assert sync(calendars=["user:1"])["new"] == 7
    assert store_files(tmp_path, calendars=["user:1"])["occurrences"] == 7
