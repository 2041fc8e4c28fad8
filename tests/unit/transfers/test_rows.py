"""Rows for databases of other kinds: with what is stored there, they are those of the tables."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.attendance.io.rows import Rows, read_rows, schema
from airflow_provider_b24cal.attendance.io.tables import TableNames, define
from airflow_provider_b24cal.attendance.models import Attendance, AttendanceChange, Meeting
from airflow_provider_b24cal.bitrix24 import InvalidArgumentError, Window
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.calendar_data import ANNA, BUDGET, DAILY, DAYS, DORA, EVERYTHING, GROUP
from tests.clock import Clock
from tests.databases import database
from tests.transfer_runs import delete_event, portal_host, query, sync

MONTH = Window(datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 10, 1, tzinfo=UTC))
KEYS = {field: [name for name, one in columns.items() if one["primary_key"]] for field, columns in schema().items()}


class Warehouse:
    """A database of another kind: it replaces rows by their primary key, and has columns of its own."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[tuple[Any, ...], dict[str, Any]]] = {field: {} for field in Rows._fields}

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        return {f"stored_{field}": list(self.tables[field].values()) for field in ("meetings", "attendance")}

    def load(self, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> None:
        with Bitrix24CalendarHook() as hook:
            for part in read_rows(hook, MONTH, EVERYTHING, **self.stored()):
                for field, rows in part._asdict().items():
                    for row in rows:
                        key = tuple(row[name] for name in KEYS[field])
                        self.tables[field][key] = change({**row, "_loaded_by": "test"})

    def rows(self, field: str, *columns: str) -> list[tuple[Any, ...]]:
        return sorted((tuple(row[name] for name in columns) for row in self.tables[field].values()), key=repr)


def as_text(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row as a database without times with a zone has it."""
    return json.loads(json.dumps(row, default=lambda moment: moment.replace(tzinfo=None).isoformat()))


@pytest.fixture
def in_new_york() -> Iterator[None]:
    """The machine's own zone is not UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_new_york")
@pytest.mark.parametrize("change", [dict, as_text])
def test_the_rows_are_those_of_the_tables(
    change: Callable[[dict[str, Any]], dict[str, Any]],
    connection: str,
    portal: Portal,
    tmp_path: Path,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("airflow.providers.sqlite")
    warehouse = Warehouse()
    with database("sqlite", tmp_path) as url:
        monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": url.database}))

        def load_both() -> None:
            sync(calendars=EVERYTHING)
            warehouse.load(change)

        load_both()
        portal.answer(BUDGET, DORA, "N")
        portal.answer(DAILY, DORA, "Y")
        delete_event(portal, GROUP)
        load_both()
        load_both()
        columns = "parent_id, occurrence_start, total, accepted, vanished_at IS NULL"
        in_tables = query(url, f"SELECT {columns} FROM bitrix24_meetings")
        answers = query(
            url,
            "SELECT parent_id, user_id, status, changed_at IS NULL, vanished_at IS NULL FROM bitrix24_attendance",
        )
        changes = query(url, "SELECT parent_id, user_id, old_status, new_status FROM bitrix24_attendance_changes")
    meetings = warehouse.tables["meetings"].values()
    assert sorted(
        (row["parent_id"], row["total"], row["accepted"], row["vanished_at"] is None) for row in meetings
    ) == (sorted((parent, total, accepted, bool(live)) for parent, _, total, accepted, live in in_tables))
    found = warehouse.tables["attendance"].values()
    assert sorted(
        (row["parent_id"], row["user_id"], row["status"], row["changed_at"] is None, row["vanished_at"] is None)
        for row in found
    ) == sorted((*row[:3], *map(bool, row[3:])) for row in answers)
    own = warehouse.rows("changes", "parent_id", "user_id", "old_status", "new_status")
    assert own == sorted(changes, key=repr)
    assert (BUDGET, DORA, "Q", "N") in own


def test_without_what_is_stored_all_is_new(connection: str, portal: Portal, clock: Clock) -> None:
    with Bitrix24CalendarHook() as hook:
        first = list(read_rows(hook, MONTH))
        portal.answer(BUDGET, DORA, "N")
        second = list(read_rows(hook, MONTH))
    assert [len(part.meetings) for part in first] == [len(part.meetings) for part in second]
    assert [part.changes for part in second] == [[], []], "a window of thirty days has two parts"


def test_an_occurrence_at_the_border_of_two_parts_comes_once(connection: str, clock: Clock) -> None:
    noon = Window(datetime(2026, 9, 5, 12, tzinfo=UTC), datetime(2026, 10, 3, tzinfo=UTC))
    with Bitrix24CalendarHook() as hook:
        first, second = read_rows(hook, noon)
    assert [row["parent_id"] for row in first.meetings].count(DAYS) == 1, "the first part ends at noon of its day"
    assert (second.meetings, second.attendance) == ([], [])


def test_columns_are_those_of_the_tables(connection: str, clock: Clock) -> None:
    tables, kinds = define(TableNames()), {"meetings": Meeting, "attendance": Attendance, "changes": AttendanceChange}
    python = {"bigint": int, "bool": bool, "double": float, "text": str, "timestamp": datetime}
    with Bitrix24CalendarHook() as hook:
        parts = list(read_rows(hook, MONTH, EVERYTHING))
    for field, columns in schema().items():
        table = getattr(tables, field)
        assert list(columns) == [column.name for column in table.columns]
        assert KEYS[field] == [column.name for column in table.primary_key]
        hints = {"portal": str, **get_type_hints(kinds[field], {"datetime": datetime})}
        for name, column in columns.items():
            expected = {python[column["data_type"]], *([type(None)] if column["nullable"] else [])}
            assert (set(get_args(hints[name])) or {hints[name]}) == expected, (field, name)
        for row in (row for part in parts for row in getattr(part, field)):
            assert list(row) == list(columns)
            for name, value in row.items():
                expected_type = python[columns[name]["data_type"]]
                assert isinstance(value, expected_type) or (value is None and columns[name]["nullable"]), (name, value)


def test_rows_of_other_portals_are_not_touched(connection: str, clock: Clock) -> None:
    with Bitrix24CalendarHook() as hook:
        own = [row for part in read_rows(hook, MONTH) for row in part.meetings]
        assert {row["portal"] for row in own} == {portal_host(connection)}
        gone = [{**row, "parent_id": 999, "portal": "other.bitrix24.com"} for row in own]
        again = [row for part in read_rows(hook, MONTH, stored_meetings=gone) for row in part.meetings]
        named = [row for part in read_rows(hook, MONTH, portal="acme") for row in part.meetings]
    assert {row["parent_id"] for row in again} == {row["parent_id"] for row in own}
    assert {row["portal"] for row in named} == {"acme"}


def test_what_is_not_acceptable_is_refused_before_anything_is_read(connection: str, clock: Clock) -> None:
    with Bitrix24CalendarHook() as hook:
        (row,) = [row for part in read_rows(hook, MONTH) for row in part.meetings if row["parent_id"] == BUDGET]
        del row["first_seen"]
        with pytest.raises(InvalidArgumentError, match=r"Invalid stored_meetings: expected .*'first_seen' is missing"):
            read_rows(hook, MONTH, stored_meetings=[row])
        with pytest.raises(InvalidArgumentError, match="calendars"):
            read_rows(hook, MONTH, ["users"])
        with pytest.raises(InvalidArgumentError, match="portal"):
            read_rows(hook, MONTH, [f"user:{ANNA}"], portal="")


class NaT(datetime):
    """The null of times in pandas: a datetime in name only."""

    year = float("nan")  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [
        ("first_seen", "yesterday", "'yesterday': expected a datetime or its ISO text."),
        ("last_seen", None, "None: expected a datetime or its ISO text."),
        ("vanished_at", "", "'': expected a datetime, its ISO text, or None."),
        ("vanished_at", 1767225600, "1767225600: expected a datetime, its ISO text, or None."),
        ("vanished_at", float("nan"), "nan: expected a datetime, its ISO text, or None."),
        ("vanished_at", NaT(2026, 1, 1), "NaT"),
        ("occurrence_start", "0001-01-01T00:00:00+14:00", "'0001-01-01T00:00:00+14:00': expected a datetime"),
    ],
)
def test_a_stored_value_that_is_no_time_is_named(
    column: str, value: object, expected: str, connection: str, clock: Clock
) -> None:
    with Bitrix24CalendarHook() as hook:
        part = next(read_rows(hook, MONTH))
        for argument, row in (("stored_meetings", part.meetings[0]), ("stored_attendance", part.attendance[0])):
            stored: dict[str, Any] = {argument: [{**row, column: value}]}
            with pytest.raises(InvalidArgumentError) as raised:
                read_rows(hook, MONTH, **stored)
            assert str(raised.value).startswith(f"Invalid {column} in {argument} {expected}")
