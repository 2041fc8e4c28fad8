"""The recipe that loads rows of attendance into a warehouse with dlt, run into DuckDB by ``make destinations``."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

pytest.importorskip("dlt", reason="dlt is not installed")
duckdb = pytest.importorskip("duckdb", reason="duckdb is not installed")

# [START howto_dlt]
from datetime import timedelta

import dlt
from airflow.sdk import task

from airflow_provider_b24cal.attendance.io.rows import read_rows, schema
from airflow_provider_b24cal.bitrix24 import Window
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

CALENDARS = ["user", "company_calendar"]
MARGIN = timedelta(days=30)  # A meeting that moves here from further away keeps its old row too.


@dlt.source(name="bitrix24")
def attendance_source(hook, window, stored):
    """Return the tables ``meetings``, ``attendance`` and ``changes``."""

    @dlt.resource
    def attendance_rows():
        columns = schema()
        for part in read_rows(hook, window, CALENDARS, **stored):
            for table, rows in part._asdict().items():
                hints = dlt.mark.make_hints(table_name=table, write_disposition="merge", columns=columns[table])
                yield dlt.mark.with_hints(rows, hints, create_table_variant=True)

    return attendance_rows


def stored_rows(pipeline, window):
    """Return what the warehouse has, so that changes and cancelled meetings are found."""
    pipeline.sync_destination()
    known = [] if pipeline.first_run else pipeline.default_schema.data_table_names()
    found = {}
    with pipeline.sql_client() as client:
        for table in {"meetings", "attendance"}.intersection(known):
            query = f"SELECT * FROM {client.make_qualified_table_name(table)} WHERE occurrence_start BETWEEN %s AND %s"
            with client.execute_query(query, window.start - MARGIN, window.end + MARGIN) as cursor:
                names = [column[0] for column in cursor.description]
                found[f"stored_{table}"] = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    return found


@task(max_active_tis_per_dag=1)
def load_attendance(warehouse, data_interval_start=None, data_interval_end=None):
    window = Window(data_interval_start, data_interval_end)
    pipeline = dlt.pipeline("bitrix24", destination=dlt.destinations.duckdb(warehouse), dataset_name="bitrix24")
    with Bitrix24CalendarHook() as hook:
        pipeline.run(attendance_source(hook, window, stored_rows(pipeline, window)))


# [END howto_dlt]


# [START howto_dlt_scd2]
KEY = ["portal", "parent_id", "occurrence_start", "user_id"]
ANSWER = {name: {**schema()["attendance"][name], "primary_key": False} for name in [*KEY, "status", "vanished_at"]}


@dlt.resource(write_disposition={"disposition": "merge", "strategy": "scd2"}, merge_key=KEY, columns=ANSWER)
def attendance_history(hook, window, stored):
    """Return the table ``attendance_history``: each answer with the time from which and to which it was valid."""
    for part in read_rows(hook, window, CALENDARS, **stored):
        yield [{name: row[name] for name in ANSWER} for row in part.attendance]


# [END howto_dlt_scd2]

from tests.calendar_data import BUDGET, COMPANY, DATA, DORA
from tests.transfer_runs import delete_event

SEPTEMBER = {
    "data_interval_start": datetime(2026, 9, 1, tzinfo=UTC),
    "data_interval_end": datetime(2026, 10, 1, tzinfo=UTC),
}


@pytest.fixture
def portal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Portal]:
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "dlt"))
    monkeypatch.setenv("RUNTIME__DLTHUB_TELEMETRY", "false")
    with SandboxServer(Portal(parse(DATA))) as running:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", running.connection_json(1))
        yield running.portal


def query(warehouse: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        return connection.sql(statement).fetchall()


def test_rows_are_merged_and_history_is_kept(portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    load_attendance.function(str(warehouse), **SEPTEMBER)
    count = "SELECT count(*), count(DISTINCT (portal, parent_id, occurrence_start)) FROM bitrix24.meetings"
    before = query(warehouse, count)
    portal.answer(BUDGET, DORA, "N")
    delete_event(portal, COMPANY)
    # As on another worker, which has nothing of dlt's own state.
    monkeypatch.setenv("DLT_DATA_DIR", str(tmp_path / "another"))
    load_attendance.function(str(warehouse), **SEPTEMBER)
    load_attendance.function(str(warehouse), **SEPTEMBER)
    assert query(warehouse, count) == before
    assert before[0][0] == before[0][1] > 0
    assert query(warehouse, "SELECT parent_id, user_id, old_status, new_status FROM bitrix24.changes") == [
        (BUDGET, DORA, "Q", "N")
    ]
    assert query(warehouse, "SELECT parent_id FROM bitrix24.meetings WHERE vanished_at IS NOT NULL") == [(COMPANY,)]
    answer = f"FROM bitrix24.attendance WHERE parent_id = {BUDGET} AND user_id = {DORA}"
    assert query(warehouse, f"SELECT status, first_seen < last_seen {answer}") == [("N", True)]


def test_an_answer_is_valid_from_one_reading_to_another(portal: Portal, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    month = Window(*SEPTEMBER.values())
    day = Window(month.start + timedelta(days=2), month.start + timedelta(days=3))
    pipeline = dlt.pipeline("history", destination=dlt.destinations.duckdb(str(warehouse)), dataset_name="bitrix24")
    with Bitrix24CalendarHook() as hook:
        for status, window in (("Q", month), ("N", month), ("N", month), ("Y", day)):
            portal.answer(BUDGET, DORA, status)
            stored = stored_rows(pipeline, window)
            pipeline.run([attendance_source(hook, window, stored), attendance_history(hook, window, stored)])
    ended = query(
        warehouse, "SELECT DISTINCT parent_id FROM bitrix24.attendance_history WHERE _dlt_valid_to IS NOT NULL"
    )
    assert ended == [(BUDGET,)], "what is outside a window stays valid"
    rows = query(
        warehouse,
        f"SELECT status, _dlt_valid_from, _dlt_valid_to FROM bitrix24.attendance_history WHERE parent_id = {BUDGET} "
        f"AND user_id = {DORA} ORDER BY _dlt_valid_from",
    )
    assert [row[0] for row in rows] == ["Q", "N", "Y"]
    assert [row[2] for row in rows] == [rows[1][1], rows[2][1], None]


def test_a_run_that_fails_loads_nothing(portal: Portal, tmp_path: Path) -> None:
    warehouse = tmp_path / "warehouse.duckdb"
    load_attendance.function(str(warehouse), **SEPTEMBER)
    everything = "SELECT * FROM bitrix24.meetings ORDER BY ALL"
    before = query(warehouse, everything)
    portal.answer(BUDGET, DORA, "N")
    # The first part of the window is read, the second is refused.
    portal.plan({"method": "batch", "delay": 0.01}, {"method": "batch", "error": "insufficient_scope"})
    with pytest.raises(Exception, match="insufficient_scope"):
        load_attendance.function(str(warehouse), **SEPTEMBER)
    assert query(warehouse, everything) == before
    portal.forget_faults()
    load_attendance.function(str(warehouse), **SEPTEMBER)
    assert query(warehouse, "SELECT count(*) FROM bitrix24.changes") == [(1,)]
