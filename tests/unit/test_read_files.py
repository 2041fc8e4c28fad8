"""What reads files of attendance: DuckDB, pandas and pyarrow, each by one pattern. ``make destinations`` has all."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from tests.calendar_data import BUDGET, DATA, DORA, PRIVATE
from tests.transfer_runs import store_files

pytest.importorskip("pyarrow", reason="pyarrow, which writes Parquet, is not installed")

FORMATS = ("jsonl", "parquet")
EVENTS = [event for event in DATA["events"] if event["id"] in {BUDGET, PRIVATE}]
START = datetime(2026, 9, 3, 8, tzinfo=UTC)
ROWS = [(BUDGET, START, 2), (PRIVATE, START.replace(day=9), None)]
"""What the readers have to find: on one day all counts are null."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Files of September in both formats, in the current folder."""
    monkeypatch.chdir(tmp_path)
    with SandboxServer(Portal(parse({**DATA, "events": EVENTS}))) as running:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", running.connection_json(1))
        for file_format in FORMATS:
            store_files(tmp_path, calendars=["user", f"user:{DORA}"], file_format=file_format)
        yield


def test_duckdb() -> None:
    duckdb = pytest.importorskip("duckdb")
    # [START howto_read_duckdb]
    query = """
        SELECT parent_id, occurrence_start, total
        FROM read_json('meetings/*/*.jsonl', columns = {
            parent_id: 'BIGINT', occurrence_start: 'TIMESTAMPTZ', total: 'BIGINT'
        })
        ORDER BY occurrence_start
    """
    rows = duckdb.sql(query).fetchall()
    # [END howto_read_duckdb]
    assert rows == ROWS
    masked = duckdb.sql(query.replace("meetings/*/", "meetings/day=2026-09-09/"))
    assert list(map(str, masked.types)) == ["BIGINT", "TIMESTAMP WITH TIME ZONE", "BIGINT"], "where all is null, too"
    read = "SELECT parent_id, occurrence_start, total FROM read_{}('meetings/*/*.{}') ORDER BY 2"
    days = "SELECT count(*), count(DISTINCT day), sum(occurrences), min(complete) FROM read_{}('days/*/*.{}')"
    for function, ending in (("json", "jsonl"), ("parquet", "parquet")):
        assert duckdb.sql(read.format(function, ending)).fetchall() == ROWS
        assert duckdb.sql(days.format(function, ending)).fetchall() == [(30, 30, 2, True)]


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    # [START howto_read_pandas]
    from pathlib import Path

    import pandas as pd

    files = sorted(Path("meetings").glob("*/*.jsonl"))
    meetings = pd.concat(pd.read_json(file, lines=True, dtype=False) for file in files)
    meetings = meetings.astype({"occurrence_start": "datetime64[us, UTC]", "total": "Int64"})
    # [END howto_read_pandas]
    for frame in (meetings, pandas.read_parquet(sorted(Path("meetings").glob("*/*.parquet")))):
        assert str(frame["occurrence_start"].dtype).endswith("UTC]")
        found = frame[["parent_id", "occurrence_start", "total"]].astype({"total": "Int64"}).astype(object)
        assert [tuple(None if value is pandas.NA else value for value in row) for row in found.to_numpy()] == ROWS
    assert str(meetings["total"].dtype) == "Int64"


def test_pyarrow() -> None:
    dataset = pytest.importorskip("pyarrow.dataset")
    # [START howto_read_pyarrow]
    from pathlib import Path

    import pyarrow as pa
    import pyarrow.dataset as ds

    schema = pa.schema({"parent_id": pa.int64(), "occurrence_start": pa.timestamp("us", tz="UTC"), "total": pa.int64()})
    files = sorted(map(str, Path("meetings").glob("*/*.jsonl")))
    meetings = ds.dataset(files, schema=schema, format="json").to_table()
    # [END howto_read_pyarrow]
    typed = dataset.dataset(sorted(map(str, Path("meetings").glob("*/*.parquet")))).to_table(columns=schema.names)
    assert typed.schema.types == meetings.schema.types
    for table in (meetings, typed):
        assert [tuple(row.values()) for row in table.to_pylist()] == ROWS
