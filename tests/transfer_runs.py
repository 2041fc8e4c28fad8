"""Runs of the transfers, and what they have written."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bitrix24_sandbox.portal import Portal
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL

from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from tests.calendar_data import EVERYTHING, SEPTEMBER


def make_task(**more: Any) -> Bitrix24AttendanceToSqlOperator:
    arguments: dict[str, Any] = {"sql_conn_id": "warehouse", "create_tables": True, **SEPTEMBER, **more}
    return Bitrix24AttendanceToSqlOperator(task_id="sync", **arguments)


def sync(context: dict[str, Any] | None = None, **more: Any) -> dict[str, int]:
    return make_task(**more).execute(context or {})  # type: ignore[arg-type]


def query(url: URL, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return list(map(tuple, connection.execute(text(statement))))
    finally:
        engine.dispose()


def delete_event(portal: Portal, event_id: int) -> None:
    with portal.locked() as book:
        book.put([replace(row, deleted=True) for row in book.rows_of(event_id)])


def hand_over(portal: Portal, event_id: int, group_id: int) -> None:
    """Put a group's meeting into the calendar of another group."""
    with portal.locked() as book:
        event, rows = book.events[event_id], book.rows_of(event_id)
        book.drop(event_id)
        moved = [replace(row, owner_id=group_id) if row.is_parent else row for row in rows]
        book.add(replace(event, owner_id=group_id), moved)


def log_of(task: Any) -> list[str]:
    """Run a task and return what it has reported."""
    lines: list[str] = []

    def keep(message: str, *values: Any) -> None:
        lines.append(message % (values[0] if values and isinstance(values[0], dict) else values) if values else message)

    log = SimpleNamespace(debug=keep, info=keep, warning=keep, error=keep)
    # The logger is a property, another one in each version of Airflow.
    kind = type(task)
    task.__class__ = type(kind.__name__, (kind,), {"log": property(lambda _: log)})
    try:
        task.execute({})
    finally:
        task.__class__ = kind
    return lines


def store_files(folder: Path, **more: Any) -> dict[str, int]:
    arguments: dict[str, Any] = {"path": f"file://{folder}", "calendars": EVERYTHING, **SEPTEMBER, **more}
    return Bitrix24AttendanceToObjectStorageOperator(task_id="files", **arguments).execute({})  # type: ignore[typeddict-item]


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def portal_host(connection: str) -> str:
    """Return what the portal is called in the tables."""
    stored = json.loads(os.environ[f"AIRFLOW_CONN_{connection.upper()}"])
    return str(stored["host"]).removeprefix("http://")
