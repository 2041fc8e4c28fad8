"""Rows that cannot be read, and rows that are no meetings: they hide nothing, and nothing vanishes because of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from sqlalchemy import create_engine, text

from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import UnexpectedReplyError
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.operators.events import Bitrix24ListEventsOperator
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from airflow_provider_b24cal.triggers.attendance_changes import Bitrix24AttendanceChangesTrigger
from tests.clock import Clock
from tests.portal_data import CANARY
from tests.standin import Answer, Request, serve, webhook

WINDOW = {"window_start": "2026-09-01T00:00:00+00:00", "window_end": "2026-09-20T00:00:00+00:00"}
SEPTEMBER = Window(*map(datetime.fromisoformat, WINDOW.values()))
BROKEN = {"DATE_FROM_FORMATTED": "soon"}
"""A start that cannot be read; the other fields can."""
ODD = {"MEETING_STATUS": "yes"}
"""A status that cannot be read, at a time that can."""
NAMELESS = {"ID": "x"} | BROKEN


def _row(event_id: int, day: int, **changes: Any) -> dict[str, Any]:
    letters = changes.pop("letters", "Y")
    return {
        "ID": str(event_id), "PARENT_ID": str(event_id), "NAME": f"Meeting {event_id}", "CAL_TYPE": "user",
        "OWNER_ID": "1", "DATE_FROM_FORMATTED": f"Tue Sep {day:02} 2026 10:00:00",
        "DATE_TO_FORMATTED": f"Tue Sep {day:02} 2026 11:00:00", "TZ_FROM": "UTC", "TZ_TO": "UTC",
        "DT_SKIP_TIME": "N", "IS_MEETING": True, "MEETING_HOST": "1", "MEETING_STATUS": "H",
        "ATTENDEE_LIST": [{"id": 1, "entryId": str(event_id), "status": "H"},
                          *({"id": 2 + number, "status": letter} for number, letter in enumerate(letters))],
        **changes,
    }  # fmt: skip


def _private(event_id: int, day: int, nobody: object = 0) -> dict[str, Any]:
    """Return an entry that is no meeting, as portals write it."""
    listed = [{"id": nobody, "entryId": str(event_id), "status": "Y"}]
    return _row(event_id, day, IS_MEETING=False, MEETING_HOST="0", MEETING_STATUS="Y", ATTENDEE_LIST=listed)


class Calendars:
    """A portal with rows by owner, which tests change."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {}

    def __call__(self, request: Request) -> Answer:
        if request.method != "batch":
            return Answer({"result": self._result(request.method, request.body)})
        commands = [one.partition("?") for one in request.body["cmd"].values()]
        results = [
            self._result(method, {name: values[0] for name, values in parse_qs(query).items()})
            for method, _, query in commands
        ]
        numbered = {f"c{number}": result for number, result in enumerate(results)}
        return Answer({"result": {"result": numbered, "result_error": []}})

    def _result(self, method: str, params: Any) -> Any:
        if method == "calendar.event.getbyid":
            rows = [row for some in self.rows.values() for row in some]
            return next((row for row in rows if row["ID"] == str(params["id"])), None)
        if method == "calendar.meeting.status.get":
            return None
        return {"ID": "1"} if method == "profile" else self.rows.get(str(params["ownerId"]), [])


@pytest.fixture
def calendars(clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Calendars]:
    portal = Calendars()
    with serve(portal) as url:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", webhook(url, CANARY))
        monkeypatch.setenv(
            "AIRFLOW_CONN_WAREHOUSE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "w.db")})
        )
        yield portal


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> Any:
    """Return the lines logged about rows left out, wherever this Airflow logs to."""

    def lines() -> list[str]:
        kept, printed = [record.getMessage() for record in caplog.records], capsys.readouterr().out.splitlines()
        caplog.clear()
        # Airflow 2 prints what it has logged too.
        kept, printed = (
            [line for line in some if "cannot be read and is left out" in line] for some in (kept, printed)
        )
        return kept or printed

    return lines


# Lists


def test_one_row_hides_no_other(calendars: Calendars, logged: Any) -> None:
    calendars.rows["1"] = [_row(7, 3), _row(8, 4, **BROKEN), _private(9, 5), _private(10, 6, None)]
    with Bitrix24CalendarHook() as hook:
        events = hook.list_events(SEPTEMBER, owner_id=1)
    assert [(event.id, event.status) for event in events] == [(7, "H"), (9, None), (10, None)]
    assert [event.guests for event in events[1:]] == [(), ()]
    (line,) = logged()
    assert "Event 8 cannot be read and is left out: " in line
    assert "DATE_FROM_FORMATTED of a row; got str 'soon'" in line


@pytest.mark.parametrize("row", [_row(8, 4, **BROKEN), _row(8, 4, **NAMELESS), {}, None, 5])
def test_a_list_of_which_nothing_can_be_read_is_an_error(row: Any, calendars: Calendars) -> None:
    calendars.rows["1"] = [row]
    with Bitrix24CalendarHook() as hook:
        with pytest.raises(UnexpectedReplyError, match="Expected "):
            hook.list_events(SEPTEMBER, owner_id=1)
        calendars.rows["1"] = [row, _row(7, 3)]
        assert [event.id for event in hook.list_events(SEPTEMBER, owner_id=1)] == [7]


def test_an_answer_of_no_meeting_is_no_answer(calendars: Calendars) -> None:
    calendars.rows["1"] = [_private(9, 5), _row(7, 3, MEETING_STATUS="Y")]
    with Bitrix24CalendarHook() as hook:
        assert [event.id for event in hook.list_events(SEPTEMBER, owner_id=1, statuses=["Y"])] == [7]


@pytest.mark.parametrize(
    ("broken", "number"),
    [
        ([], 0),
        ([_row(8, 4, **BROKEN)], 1),
        ([{}, {}], 2),
        ([_row(8, 4, **ODD), _row(8, 5, **ODD)], 2),
        ([_row(8, 22, **ODD)], 0),  # after the window
    ],
)
def test_the_operator_counts_them(broken: list[Any], number: int, calendars: Calendars, logged: Any) -> None:
    calendars.rows["1"] = [_row(7, 3), *broken]
    pushed: dict[str, Any] = {}
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))}
    rows = Bitrix24ListEventsOperator(task_id="list", owner_id=1, **WINDOW).execute(context)
    assert [row["event_id"] for row in rows] == [7]
    assert pushed == {"unreadable": number}
    assert len(logged()) == min(number, 1), "a series is named once"


def test_a_row_in_two_parts_of_a_window_counts_once(calendars: Calendars) -> None:
    calendars.rows["1"] = [_row(7, 3), _row(8, 4, **ODD), {}]
    pushed: dict[str, Any] = {}
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))}
    whole_year = {"window_start": "2026-01-01T00:00:00+00:00", "window_end": "2027-01-01T00:00:00+00:00"}
    Bitrix24ListEventsOperator(task_id="list", owner_id=1, **whole_year).execute(context)
    assert pushed == {"unreadable": 2}


# Tables


def _sync(**more: Any) -> dict[str, int]:
    arguments: dict[str, Any] = {"sql_conn_id": "warehouse", "create_tables": True, "calendars": ["user:1"], **WINDOW}
    task = Bitrix24AttendanceToSqlOperator(task_id="sync", **{**arguments, **more})
    return task.execute({})  # type: ignore[arg-type]


def _query(folder: Path, statement: str) -> list[tuple[Any, ...]]:
    engine = create_engine(f"sqlite:///{folder / 'w.db'}")
    try:
        with engine.connect() as connection:
            return list(map(tuple, connection.execute(text(statement))))
    finally:
        engine.dispose()


def _there(folder: Path) -> tuple[list[int], list[tuple[Any, ...]]]:
    """Return the meetings that have not vanished, and who is invited."""
    meetings = _query(folder, "SELECT parent_id FROM bitrix24_meetings WHERE vanished_at IS NULL ORDER BY 1")
    where = "WHERE vanished_at IS NULL ORDER BY 1, 2"
    return [row[0] for row in meetings], _query(folder, f"SELECT parent_id, user_id FROM bitrix24_attendance {where}")


def test_tables_of_a_calendar_with_private_entries(calendars: Calendars, tmp_path: Path) -> None:
    calendars.rows["1"] = [_private(9, 5), _private(10, 6, None), _private(11, 6, 1), _row(7, 3)]
    calendars.rows["1"][-1]["ATTENDEE_LIST"].append({"id": 0, "entryId": "7", "status": "Y"})
    counts = _sync()
    assert (counts["occurrences"], counts["answers"], counts["unreadable"]) == (1, 2, 0)
    assert _there(tmp_path) == ([7], [(7, 1), (7, 2)])
    assert _query(tmp_path, "SELECT accepted, total FROM bitrix24_meetings") == [(1, 1)]


@pytest.mark.parametrize("change", [BROKEN, ODD, {"ATTENDEE_LIST": [{"id": 1, "status": ""}]}])
def test_what_cannot_be_read_any_more_has_not_vanished(
    change: dict[str, Any], calendars: Calendars, tmp_path: Path, logged: Any
) -> None:
    calendars.rows["1"] = [_row(7, 3), _row(8, 4), _row(9, 5)]
    _sync()
    calendars.rows["1"] = [_row(7, 3), _row(8, 4, **change)]
    logged()
    counts = _sync()
    assert (counts["unreadable"], counts["vanished"]) == (1, 1)
    assert _there(tmp_path) == ([7, 8], [(7, 1), (7, 2), (8, 1), (8, 2)])
    assert _query(tmp_path, "SELECT count(*) FROM bitrix24_attendance_changes") == [(0,)]
    (line,) = logged()
    assert "Event 8 of user:1 cannot be read" in line
    calendars.rows["1"] = [_row(7, 3), _row(8, 4, letters="N")]
    assert _sync()["answer_changes"] == 1


@pytest.mark.parametrize("change", [NAMELESS, {"PARENT_ID": "x"}])
def test_nothing_of_a_calendar_vanishes_beside_a_row_without_an_id(
    change: dict[str, Any], calendars: Calendars, tmp_path: Path
) -> None:
    calendars.rows = {"1": [_row(7, 3), _row(8, 4)], "5": [_row(17, 3), _row(18, 4)]}
    both = {"calendars": ["user:1", "user:5"]}
    _sync(**both)
    calendars.rows = {"1": [_row(7, 3), _row(9, 5, **change)], "5": [_row(17, 3)]}
    counts = _sync(**both)
    assert (counts["unreadable"], counts["vanished"]) == (1, 1)
    assert _there(tmp_path)[0] == [7, 8, 17], "of the other calendar it has"
    calendars.rows["1"].pop()
    assert _sync(**both)["vanished"] == 1
    assert _there(tmp_path)[0] == [7, 17]


def test_a_meeting_that_was_moved_vanishes_from_its_old_start(calendars: Calendars, tmp_path: Path) -> None:
    """What another calendar shows of it is enough to know."""
    calendars.rows = {"1": [_row(7, 3)], "5": [_row(7, 3)]}
    both = {"calendars": ["user:1", "user:5"]}
    _sync(**both)
    calendars.rows = {"1": [_row(7, 4)], "5": [_row(7, 4, **ODD)]}
    _sync(**both)
    starts = _query(tmp_path, "SELECT occurrence_start FROM bitrix24_meetings WHERE vanished_at IS NULL")
    assert [row[0][:10] for row in starts] == ["2026-09-04"]


def test_a_calendar_with_one_row_that_cannot_be_read_does_not_hold_up_the_others(
    calendars: Calendars, tmp_path: Path
) -> None:
    calendars.rows = {"1": [_row(8, 4, **BROKEN)], "5": [_row(17, 3)]}
    assert _sync(calendars=["user:1", "user:5"])["unreadable"] == 1
    assert _there(tmp_path)[0] == [17]
    with pytest.raises(UnexpectedReplyError, match="DATE_FROM_FORMATTED"):
        _sync()


# Files


def _store(folder: Path, **more: Any) -> dict[str, int]:
    arguments: dict[str, Any] = {"path": (folder / "lake").as_uri(), "calendars": ["user:1"], **WINDOW, **more}
    task = Bitrix24AttendanceToObjectStorageOperator(task_id="store", **arguments)
    return task.execute({})  # type: ignore[arg-type]


def _files(folder: Path) -> dict[str, list[Any]]:
    """Return the records of each day's meetings."""
    return {
        file.parent.name: [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        for file in sorted((folder / "lake" / "meetings").rglob("*.jsonl"))
    }


def _days(folder: Path) -> list[str]:
    return [name.removeprefix("day=2026-09-") for name in _files(folder)]


def test_files_of_a_calendar_with_private_entries(calendars: Calendars, tmp_path: Path) -> None:
    calendars.rows["1"] = [_private(9, 5), _private(10, 6, None), _row(7, 3)]
    counts = _store(tmp_path)
    assert (counts["files"], counts["occurrences"], counts["answers"], counts["unreadable"]) == (2, 1, 2, 0)
    assert _days(tmp_path) == ["03"]


def test_no_file_is_removed_because_its_rows_cannot_be_read(calendars: Calendars, tmp_path: Path, logged: Any) -> None:
    calendars.rows["1"] = [_row(7, 3), _row(8, 4), _row(9, 5), _row(10, 5)]
    _store(tmp_path)
    # The 4th is known to have a row; of the 5th one is left, and one cannot be read.
    calendars.rows["1"] = [_row(8, 4, **ODD), _row(9, 5), _row(10, 5, **ODD)]
    logged()
    counts = _store(tmp_path)
    assert (counts["unreadable"], counts["removed"]) == (2, 2)
    assert _days(tmp_path) == ["04", "05"]
    assert [record["parent_id"] for record in _files(tmp_path)["day=2026-09-05"]] == [9]
    assert len(logged()) == 2
    # Where not even the day is known, no day's file is removed.
    calendars.rows["1"] = [_row(8, 4, **BROKEN), _row(9, 6)]
    assert _store(tmp_path)["removed"] == 0
    assert _days(tmp_path) == ["04", "05", "06"]


# Names


def test_names_are_the_same_wherever_they_go(calendars: Calendars, tmp_path: Path) -> None:
    name = "Plan\0 \ud800" + "🗓" * 20_000
    calendars.rows["1"] = [_row(7, 3, NAME=name, TZ_FROM="Mars/" + "x" * 100, TZ_OFFSET_FROM="0", TZ_OFFSET_TO="0")]
    _sync()
    _store(tmp_path)
    context: Any = {"ti": SimpleNamespace(xcom_push=lambda **_: None)}
    (row,) = Bitrix24ListEventsOperator(task_id="list", owner_id=1, **WINDOW).execute(context)
    ((stored, zone),) = _query(tmp_path, "SELECT name, zone FROM bitrix24_meetings")
    ((record,),) = _files(tmp_path).values()
    assert row["name"] == stored == record["name"] == ("Plan\ufffd \ufffd" + "🗓" * 20_000)[:16_383]
    assert zone == record["zone"] == "Mars/" + "x" * 59


# The watcher


@pytest.fixture
def watch(calendars: Calendars, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that lets a watcher see some readings one after the other, and returns its events."""
    clock.now = datetime(2026, 9, 1, 12, tzinfo=UTC).timestamp()

    def run(*readings: list[Any], **arguments: Any) -> list[Any]:
        calendars.rows["1"] = readings[0]
        for number, rows in enumerate(readings[1:], 1):
            clock.later(60 * number - 5, lambda rows=rows: calendars.rows.update({"1": rows}))  # type: ignore[misc]
        payloads: list[Any] = []

        def stop() -> None:
            raise _Enough

        async def read() -> None:
            async for event in Bitrix24AttendanceChangesTrigger(poke_interval=60, **arguments).run():
                payloads.append(event.payload)  # noqa: PERF401 - events before the end count

        clock.later(60 * len(readings) + 30, stop)
        with pytest.raises(_Enough):
            asyncio.run(read())
        return [(one["parent_id"], one["user_id"], one["old"], one["new"]) for one in payloads]

    return run


class _Enough(BaseException):
    """The test has seen what it wants."""


@pytest.mark.parametrize("change", [BROKEN, ODD, NAMELESS])
@pytest.mark.parametrize("arguments", [{"calendar": "user:1"}, {"event_ids": [7, 8]}])
def test_a_watcher_goes_on_and_forgets_nothing(change: Any, arguments: Any, watch: Any, logged: Any) -> None:
    if "event_ids" in arguments and change is NAMELESS:
        change = ODD  # what is asked for by its id has one
    payloads = watch(
        [_row(7, 3, letters="Q"), _row(8, 4, letters="Q")],
        [_row(7, 3, letters="Y"), _row(8, 4, letters="N", **change)],
        [_row(7, 3, letters="Y"), _row(8, 4, letters="N", **change)],
        [_row(7, 3, letters="Y"), _row(8, 4, letters="N")],
        **arguments,
    )
    assert payloads == [(7, 2, "Q", "Y"), (8, 2, "Q", "N")]
    assert len(logged()) == 1
