"""Attendance in files: JSON Lines and Parquet, by day."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol.errors import (
    InvalidArgumentError,
)
from tests.calendar_data import (
    ANNA,
    BUDGET,
    DAILY,
    DORA,
    MARTIN,
    PRIVATE,
)
from tests.clock import Clock
from tests.transfer_runs import delete_event, files_in, store_files


def test_files_of_people(server: SandboxServer, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(DORA))
    counts = store_files(tmp_path, calendars="company_calendar", people_names=True)
    assert (counts["files"], counts["people"]) == (3, 3)
    (text_,) = [content for path, content in files_in(tmp_path).items() if "people" in path]
    rows = [json.loads(line) for line in text_.splitlines()]
    assert [(row["user_id"], row["name"]) for row in rows] == [
        (ANNA, "Anna"),
        (MARTIN, "Martin"),
        (DORA, "Dora Ó'Neil 🗓"),
    ]
    assert set(rows[0]) == {"portal", "user_id", "name", "email", "seen_at"}


def test_names_can_be_left_out_of_files(connection: str, tmp_path: Path, clock: Clock) -> None:
    store_files(tmp_path, meeting_names=False)
    rows = [json.loads(line) for file in files_in(tmp_path).values() for line in file.splitlines()]
    assert {row["name"] for row in rows if "name" in row} == {""}
    with pytest.raises(InvalidArgumentError, match="meeting_names"):
        store_files(tmp_path, meeting_names="no")


def test_files_by_day(connection: str, tmp_path: Path, portal: Portal, clock: Clock) -> None:
    assert store_files(tmp_path) == {
        "days": 30,
        "files": 14,
        "removed": 0,
        "occurrences": 8,
        "answers": 19,
        "unknown": 1,
        "people": 0,
        "unreadable": 0,
    }
    files = files_in(tmp_path)
    days = ["03", "07", "08", "09", "25", "28", "30"]
    assert [name for name in files if "meetings" in name] == [
        f"meetings/day=2026-09-{day}/bitrix24.jsonl" for day in days
    ]
    (row,) = map(json.loads, files["meetings/day=2026-09-03/bitrix24.jsonl"].splitlines())
    assert (row["parent_id"], row["name"], row["share"]) == (BUDGET, "Budget", 0.5)
    assert (row["occurrence_start"], row["zone"]) == ("2026-09-03T08:00:00+00:00", "Europe/Berlin")
    reported = [json.loads(line) for line in files["attendance/day=2026-09-03/bitrix24.jsonl"].splitlines()]
    assert [(one["user_id"], one["status"], one["is_host"]) for one in reported] == [
        (ANNA, "Y", False), (MARTIN, "H", True), (DORA, "Q", False)
    ]  # fmt: skip
    delete_event(portal, BUDGET)
    store_files(tmp_path, window_end="2026-09-09T12:00:00+02:00")
    assert set(files) - set(files_in(tmp_path)) == {
        f"{part}/day=2026-09-03/bitrix24.jsonl" for part in ("meetings", "attendance")
    }


def test_parquet_has_types_even_where_nothing_is_known(connection: str, tmp_path: Path, clock: Clock) -> None:
    pq = pytest.importorskip("pyarrow.parquet")

    store_files(tmp_path, file_format="parquet", file_name="dora", calendars=[f"user:{DORA}"])
    tables = {name: pq.read_table(tmp_path / name) for name in files_in(tmp_path)}
    private = tables["meetings/day=2026-09-09/dora.parquet"].to_pylist()
    assert {(row["parent_id"], row["total"]) for row in private} == {(DAILY, 2), (PRIVATE, None)}
    schemas = {table.schema for name, table in tables.items() if "meetings" in name}
    assert len({str(schema) for schema in schemas}) == 1
    assert private[0]["occurrence_start"].utcoffset() == timedelta()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [({"file_format": "csv"}, "file_format"), ({"file_name": "../x"}, "file_name"), ({"file_name": ""}, "file_name")],
)
def test_files_that_are_not_acceptable(arguments: dict[str, Any], named: str, connection: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        store_files(tmp_path, **arguments)
    assert files_in(tmp_path) == {}
