"""Invalid arguments of DAG authors: refused by name, before anything is sent or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal._airflow import BaseOperator, ObjectStoragePath
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from airflow_provider_b24cal.triggers.attendance_changes import Bitrix24AttendanceChangesTrigger
from tests.portal_data import SILENT

SEPTEMBER = {"window_start": "2026-09-01T00:00:00+00:00", "window_end": "2026-10-01T00:00:00+00:00"}
HINT = r"render_template_as_native_obj=True.*\.output"


def _get(**arguments: Any) -> BaseOperator:
    return Bitrix24GetMeetingStatusOperator(task_id="t", **arguments)


def _set(**arguments: Any) -> BaseOperator:
    return Bitrix24SetMeetingStatusOperator(task_id="t", **arguments)


def _list(**arguments: Any) -> BaseOperator:
    return Bitrix24ListEventsOperator(task_id="t", **SEPTEMBER, **arguments)


def _wait(**arguments: Any) -> BaseOperator:
    return Bitrix24MeetingStatusSensor(task_id="t", **arguments)


def _attendees(**arguments: Any) -> BaseOperator:
    return Bitrix24AttendeesSensor(task_id="t", event_id=SILENT, **arguments)


def _sql(**arguments: Any) -> BaseOperator:
    return Bitrix24AttendanceToSqlOperator(task_id="t", **{"sql_conn_id": "nowhere", **arguments})


def _files(**arguments: Any) -> BaseOperator:
    return Bitrix24AttendanceToObjectStorageOperator(task_id="t", **{**SEPTEMBER, **arguments})


def _execute(task: Any) -> Any:
    return task.execute({"ti": SimpleNamespace(xcom_push=lambda key, value: None)})


def _refused(task: BaseOperator, portal: Portal, message: str) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        _execute(task)
    count: Any = portal.count()
    assert count["requests"] == 0


@pytest.mark.parametrize("event_ids", ["", {}, 0, False, b"", 0.0], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        _get,
        lambda event_ids: _set(event_ids=event_ids, status="Y"),
        _wait,
        lambda event_ids: _wait(event_ids=event_ids, deferrable=True),
        _sql,
    ],
    ids=["get", "set", "wait", "defer", "sql"],
)
def test_what_is_false_is_no_empty_list(
    make: Callable[..., BaseOperator], event_ids: Any, connection: str, portal: Portal
) -> None:
    _refused(make(event_ids=event_ids), portal, "Invalid event_ids .*: expected a list of ids")


def test_an_empty_list_reads_nothing(connection: str) -> None:
    assert _execute(_get(event_ids=[])) == {}


@pytest.mark.parametrize(
    ("task", "named"),
    [
        (lambda: _get(event_ids="[668, 681]"), "event_ids"),
        (lambda: _set(event_ids="[668, 681]", status="Y"), "event_ids"),
        (lambda: _set(statuses="{'668': 'Y'}"), "statuses"),
        (lambda: _wait(event_ids="[668, 681]"), "event_ids"),
        (lambda: _wait(event_id=668, fail_on_statuses="['N']"), "fail_on_statuses"),
        (lambda: _attendees(users="[1, 3]"), "users"),
        (lambda: _attendees(fail_when_declined="True"), "fail_when_declined"),
        (lambda: _list(statuses="['Q']"), "statuses"),
        (lambda: _list(sections="[5]"), "sections"),
        (lambda: _list(only_meetings="False"), "only_meetings"),
        (lambda: _sql(event_ids="[668, 681]"), "event_ids"),
        (lambda: _sql(calendars="['user', 'user:7']", **SEPTEMBER), "calendars"),
        (lambda: _files(path="/nowhere", calendars="['user', 'user:7']"), "calendars"),
    ],
)
def test_a_list_that_a_template_made_a_text_of(
    task: Callable[[], BaseOperator], named: str, connection: str, portal: Portal
) -> None:
    """The message says how to keep it a list."""
    _refused(task(), portal, rf"Invalid {named} .*: expected .*{HINT}")


@pytest.mark.parametrize("conn_id", [None, "", " ", "None", 5], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda **conn: _get(event_id=SILENT, **conn),
        lambda **conn: _set(event_id=SILENT, status="Y", **conn),
        _list,
        lambda **conn: _wait(event_id=SILENT, **conn),
        lambda **conn: _wait(event_id=SILENT, silent_fail=True, deferrable=True, **conn),
        _attendees,
        lambda **conn: _files(path="/nowhere", **conn),
    ],
    ids=["get", "set", "list", "wait", "defer", "attendees", "files"],
)
def test_a_task_without_a_connection(make: Callable[..., BaseOperator], conn_id: Any, portal: Portal) -> None:
    _refused(make(bitrix24_conn_id=conn_id), portal, "Invalid bitrix24_conn_id .*: expected the id of an Airflow")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"event_ids": []}, "event_ids"),
        ({"event_ids": ()}, "event_ids"),
        ({"user_ids": []}, "user_ids"),
        ({"new_statuses": []}, "new_statuses"),
        ({"calendar": ""}, "calendar"),
        ({"bitrix24_conn_id": None}, "bitrix24_conn_id"),
        ({"bitrix24_conn_id": ""}, "bitrix24_conn_id"),
        ({"bitrix24_conn_id": " "}, "bitrix24_conn_id"),
    ],
)
def test_a_watcher_of_nothing_breaks_the_dag_file(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        Bitrix24AttendanceChangesTrigger(**arguments)


BAD_PATHS: list[Any] = [
    "", " ", None, "None", 5, "attendance", "./attendance", " /attendance", "file://attendance", "file://a@b/c",
    "s3://", "s3:///", "s3://conn@", "s3:/bucket",
]  # fmt: skip


@pytest.mark.parametrize("path", BAD_PATHS, ids=repr)
def test_files_are_written_nowhere_by_accident(
    path: Any, connection: str, portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _refused(_files(path=path), portal, "Invalid path .*: expected a URL such as s3://bucket/attendance")
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_is_rendered_to_none(
    connection: str, portal: Portal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    task = _files(path="{{ params.folder }}")
    task.render_template_fields({"params": {"folder": None}})  # type: ignore[arg-type,typeddict-item]
    _refused(task, portal, "Invalid path 'None'")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "as_given",
    [
        str,
        lambda folder: f"file://{folder}",
        lambda folder: f"file://conn@{folder}",
        PurePosixPath,
        lambda folder: ObjectStoragePath(f"file://{folder}", conn_id="conn"),
    ],
    ids=["folder", "url", "url with a connection", "Path", "ObjectStoragePath"],
)
def test_paths_that_are_taken(
    as_given: Callable[[Path], Any], connection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_CONN", "file://")
    assert _execute(_files(path=as_given(tmp_path)))["files"] == 2
    assert (tmp_path / "meetings" / "day=2026-09-16" / "bitrix24.jsonl").exists()


@pytest.mark.parametrize("value", ["", " ", "None"], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda value: (_files(path="/nowhere", storage_conn_id=value), "storage_conn_id"),
        lambda value: (_files(path="/nowhere", file_name=value), "file_name"),
        lambda value: (_files(path="/nowhere", file_format=value), "file_format"),
        lambda value: (_files(path="/nowhere", window_end=value), "window_end"),
        lambda value: (_files(path="/nowhere", calendars=value), "calendars"),
        lambda value: (_sql(**SEPTEMBER, sql_conn_id=value), "sql_conn_id"),
        lambda value: (_sql(**SEPTEMBER, calendars=value), "calendars"),
        lambda value: (_sql(**SEPTEMBER, schema=value), "schema"),
        lambda value: (_sql(**SEPTEMBER, meetings_table=value), "meetings_table"),
        lambda value: (_sql(**SEPTEMBER, people_table=value), "people_table"),
        lambda value: (_sql(**SEPTEMBER, create_tables=value), "create_tables"),
    ],
)
def test_transfers_name_what_is_blank(
    make: Callable[[str], tuple[BaseOperator, str]], value: str, connection: str, portal: Portal
) -> None:
    task, named = make(value)
    _refused(task, portal, named)


def test_a_transfer_without_a_database(connection: str, portal: Portal) -> None:
    _refused(_sql(**SEPTEMBER, sql_conn_id=None), portal, "Invalid sql_conn_id None: expected the id of an Airflow")
