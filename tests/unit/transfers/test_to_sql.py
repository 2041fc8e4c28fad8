"""Transfers over sockets and into real databases and files: what arrives, what it costs, what is refused."""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from datetime import UTC, date, datetime
from inspect import unwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import URL

from airflow_provider_b24cal._airflow import AirflowFailException
from airflow_provider_b24cal.attendance.io.source import ahead
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    CredentialsError,
    InvalidArgumentError,
    ScopeError,
)
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.client.dispatcher import Stopped
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.transfers.attendance_to_object_storage import Bitrix24AttendanceToObjectStorageOperator
from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from tests.calendar_data import (
    ANNA,
    BUDGET,
    COMPANY,
    DAILY,
    DATA,
    DAYS,
    DORA,
    EVERYTHING,
    GROUP,
    MARTIN,
    PRIVATE,
    SEPTEMBER,
)
from tests.clock import Clock
from tests.portal_data import CANARY
from tests.sync import Gate, wait_until
from tests.transfer_runs import (
    delete_event,
    files_in,
    hand_over,
    log_of,
    make_task,
    portal_host,
    query,
    store_files,
    sync,
)


def test_a_month_of_all_kinds_of_calendars(connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    counts = sync(calendars=EVERYTHING)
    assert counts == {
        "occurrences": 8, "new": 8, "changed": 0, "unchanged": 0, "moved": 0, "vanished": 0, "unknown": 1,
        "answers": 19, "answer_changes": 0, "people": 0, "unreadable": 0,
    }  # fmt: skip
    host = portal_host(connection)
    rows = query(
        warehouse,
        "SELECT parent_id, name, calendar, accepted, declined, silent, total, is_recurring, all_day "
        "FROM bitrix24_meetings ORDER BY parent_id, occurrence_start",
    )
    assert [tuple(row) for row in rows] == [
        (BUDGET, "Budget", "user:1", 1, 0, 1, 2, False, False),
        *[(DAILY, "Daily", "user:1", 1, 0, 1, 2, True, False)] * 3,
        (PRIVATE, "[Busy]", "user:5", None, None, None, None, False, False),
        (GROUP, "Group", "group:7", 1, 0, 1, 2, False, False),
        (COMPANY, "Company", "company_calendar", 1, 0, 1, 2, False, False),
        (DAYS, "Fair", "user:1", 1, 0, 1, 2, False, True),
    ]
    assert query(warehouse, "SELECT DISTINCT portal FROM bitrix24_attendance") == [(host,)]
    assert query(warehouse, f"SELECT count(*) FROM bitrix24_attendance WHERE parent_id = {PRIVATE}") == [(0,)]
    portal.answer(BUDGET, DORA, "N")
    again = sync(calendars=EVERYTHING)
    assert (again["new"], again["changed"], again["vanished"], again["answer_changes"]) == (0, 1, 0, 1)
    assert query(warehouse, "SELECT user_id, old_status, new_status FROM bitrix24_attendance_changes") == [
        (DORA, "Q", "N")
    ]
    third = sync(calendars=EVERYTHING)
    assert (third["changed"], third["answer_changes"], third["unchanged"]) == (0, 0, 8)


def test_it_asks_once_for_each_part(connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    sync(calendars=["user:1", "group:7"], window_end="2026-12-01T00:00:00+00:00")
    count: Any = portal.count()
    assert count["methods"]["calendar.event.get"] == 2 * 4, "calendars by parts of 25 days"
    assert count["requests"] == 4, "the calendars of a part travel together"


def test_an_occurrence_in_two_parts_of_the_window_counts_once(
    connection: str, warehouse: URL, portal: Portal, clock: Clock
) -> None:
    """The fair is on both sides of the first of October, where the second part begins."""
    span = {"window_start": "2026-09-06T00:00:00+00:00", "window_end": "2026-10-20T00:00:00+00:00"}
    first = sync(calendars="user:1", **span)
    assert +Counter(first) == {"occurrences": 6, "new": 6, "answers": 16}
    portal.answer(DAYS, DORA, "N")
    second = sync(calendars="user:1", **span)
    assert +Counter(second) == {
        "occurrences": 6, "unchanged": 5, "changed": 1, "answers": 16, "answer_changes": 1,
    }  # fmt: skip
    count: Any = portal.count()
    assert count["requests"] == 4


def test_the_data_interval_is_the_window(connection: str, warehouse: URL, clock: Clock) -> None:
    start = pendulum.datetime(2026, 9, 28, tz="Europe/Berlin")
    interval = {"data_interval_start": start, "data_interval_end": start.add(days=1)}
    assert sync(interval, window_start=None, window_end=None, calendars="company_calendar")["new"] == 1


SOME_DAYS = {"calendars": "user:1", "window_end": "2026-09-11T00:00:00+00:00"}


@pytest.mark.parametrize(
    ("source", "left"),
    [(SOME_DAYS, 3), ({"event_ids": [BUDGET, DAILY], "window_start": None, "window_end": None}, 1)],
    ids=["calendar", "meetings"],
)
def test_a_run_waits_until_another_one_has_written(
    source: dict[str, Any], left: int, warehouse: URL, monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    """The slow one was answered before a meeting was deleted and an answer changed, the fast one after that."""
    gate = Gate()
    # Airflow 2's guard around it knows the main thread alone.
    execute: Any = unwrap(Bitrix24AttendanceToSqlOperator.execute)
    with SandboxServer(Portal(parse(DATA)), sleep=gate.sleep) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(ANNA))
        server.portal.plan({"method": "batch", "times": 1, "delay": 1, "when": "after"})
        with ThreadPoolExecutor(2) as pool:
            slow = pool.submit(execute, make_task(**source), {})
            wait_until(lambda: gate.held or slow.done())
            delete_event(server.portal, BUDGET)
            server.portal.answer(DAILY, DORA, "N")
            fast = pool.submit(execute, make_task(**source), {})
            waiting = not wait([fast], timeout=1).done
            gate.open()
            counts = slow.result(), fast.result()
        count: Any = server.portal.count()
    assert waiting
    assert +Counter(counts[0]) == {"occurrences": left + 1, "new": left + 1, "answers": 3 * (left + 1)}
    assert +Counter(counts[1]) == {
        "occurrences": left, "changed": left, "vanished": 1, "answers": 3 * (left + 1), "answer_changes": left,
    }  # fmt: skip
    assert count["requests"] == 3, "the deleted meeting is read by its id"
    current = "SELECT DISTINCT parent_id, accepted, declined FROM bitrix24_meetings WHERE vanished_at IS NULL"
    assert query(warehouse, current) == [(DAILY, 1, 1)]


@pytest.mark.parametrize("interval", [{}, {"data_interval_start": datetime(2026, 9, 1, tzinfo=UTC),
                                           "data_interval_end": datetime(2026, 9, 1, tzinfo=UTC)}])  # fmt: skip
def test_without_an_interval_the_window_has_to_be_named(interval: dict[str, Any], connection: str) -> None:
    with pytest.raises(InvalidArgumentError, match=r"expected window_start and window_end.*CronTriggerTimetable"):
        sync(interval, window_start=None, window_end=None)


def test_single_meetings_and_one_that_is_gone(connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    alone = {"window_start": None, "window_end": None}
    assert sync(event_ids=[BUDGET, str(GROUP)], **alone)["new"] == 2
    count: Any = portal.count()
    assert count["requests"] == 1
    delete_event(portal, BUDGET)
    counts = sync(event_ids=[BUDGET, GROUP, 999], **alone)
    assert (counts["vanished"], counts["unchanged"]) == (1, 1)


def test_a_meeting_that_is_one_no_more(connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    alone = {"window_start": None, "window_end": None, "event_ids": [BUDGET]}
    sync(**alone)
    with portal.locked() as book:
        book.events[BUDGET] = replace(book.events[BUDGET], is_meeting=False)
    assert sync(**alone)["vanished"] == 1


def test_a_row_of_somebody_s_own_is_no_meeting(connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    """It goes when they are removed, while the meeting takes place."""
    with portal.locked() as book:
        (own,) = [row.id for row in book.rows_of(BUDGET) if row.owner_id == ANNA]
    with pytest.raises(InvalidArgumentError, match=rf"Invalid event_ids {own}: .* parent_id {BUDGET}"):
        sync(event_ids=[own], window_start=None, window_end=None)


@pytest.mark.parametrize(
    "source", [{"calendars": "user:1"}, {"event_ids": [BUDGET], "window_start": None, "window_end": None}]
)
def test_a_webhook_that_acts_as_somebody_else_writes_nothing(
    source: dict[str, Any], connection: str, warehouse: URL, portal: Portal, clock: Clock
) -> None:
    """As those of a dismissed person may; whom they act as now sees other calendars."""
    sync(**source)
    before = query(warehouse, "SELECT * FROM bitrix24_meetings ORDER BY parent_id, occurrence_start")
    for profile, named in (('{"ID":"99","NAME":"System"}', "user 1 acts as user 99"), ("[]", "no active user")):
        nothing = '"{c1}":[]' if "calendars" in source else '"{c1}":null'
        body = f'{{"result":{{"result":{{"{{c0}}":{profile},{nothing}}},"result_error":[]}}}}'
        answer = {"http_status": 200, "content_type": "application/json", "body": body}
        portal.plan({"method": "batch", "times": 1, **answer})
        with pytest.raises(CredentialsError, match=named):
            sync(**source)
    assert query(warehouse, "SELECT * FROM bitrix24_meetings ORDER BY parent_id, occurrence_start") == before


def test_a_calendar_that_shows_nothing_any_more_is_reported(
    connection: str, warehouse: URL, portal: Portal, clock: Clock, tmp_path: Path
) -> None:
    """A portal answers the same to whoever may not look and where nothing is."""
    asked = {**SEPTEMBER, "calendars": ["user:1", "group:7"]}
    task = Bitrix24AttendanceToSqlOperator(task_id="sync", sql_conn_id="warehouse", create_tables=True, **asked)  # type: ignore[arg-type]
    files = Bitrix24AttendanceToObjectStorageOperator(task_id="files", path=f"file://{tmp_path}", **asked)  # type: ignore[arg-type]
    assert not [line for one in (task, files) for line in log_of(one) if "group:7" in line]
    portal.remove(GROUP, ANNA)
    assert not [line for line in log_of(task) if "group:7" in line]
    hand_over(portal, GROUP, 8)
    (reported,) = [line for line in log_of(task) if "group:7" in line]
    assert reported.startswith("group:7 is empty from 2026-09-01T00:00:00+00:00 ")
    assert "1 occurrences are not visible any more" in reported
    assert "has lost access" in reported
    assert not [line for line in log_of(task) if "group:7" in line], "once"
    hand_over(portal, GROUP, 7)
    assert not [line for line in log_of(task) if "group:7" in line]
    delete_event(portal, GROUP)
    assert not [line for line in log_of(task) if "group:7" in line], "it was cancelled"
    for event_id in (BUDGET, DAILY, DAYS, PRIVATE, COMPANY):
        delete_event(portal, event_id)
    (reported,) = [line for line in log_of(files) if "removed" in line]
    assert "14 files" in reported
    assert "has lost access" in reported


def test_a_portal_keeps_one_name(
    connection: str, warehouse: URL, portal: Portal, clock: Clock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def doubles(**more: Any) -> list[str]:
        return [line for line in log_of(make_task(**more)) if "rows are double" in line]

    host = portal_host(connection)
    assert not doubles()
    delete_event(portal, DAILY)
    assert not doubles(), "the same name"
    monkeypatch.setenv(
        "AIRFLOW_CONN_BITRIX24_DEFAULT", os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"].replace("127.0.0.1", "localhost")
    )
    assert sync(portal=host)["new"] == 0
    assert sync(portal="other.bitrix24.com")["new"] == 4, "it is named, so it is another portal"
    (line,) = doubles()
    assert f"under the portal {host} and other.bitrix24.com; this run writes" in line
    assert not doubles(), "once they are double"
    store_files(tmp_path / "files", portal="b24.example")
    assert {
        json.loads(line)["portal"] for one in files_in(tmp_path / "files").values() for line in one.splitlines()
    } == {"b24.example"}


def test_permanent_errors_can_end_the_task(connection: str, warehouse: URL, portal: Portal, tmp_path: Path) -> None:
    for task in (
        Bitrix24AttendanceToSqlOperator(
            task_id="sync", sql_conn_id="warehouse", calendars=["nobody"], retry_permanent_errors=False
        ),
        Bitrix24AttendanceToObjectStorageOperator(
            task_id="files", path=f"file://{tmp_path}", calendars=["nobody"], retry_permanent_errors=False
        ),
    ):
        with pytest.raises(AirflowFailException, match="InvalidArgumentError: Invalid calendars"):
            task.execute({})  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("source", "page"),
    [
        ({}, "/company/personal/user/1/calendar/"),
        ({"calendars": "user:5"}, "/company/personal/user/5/calendar/"),
        ({"calendars": ["group:7"]}, "/workgroups/group/7/calendar/"),
        ({"calendars": ["company_calendar"]}, "/calendar/"),
        ({"calendars": ["user", "user:5"]}, None),
        ({"event_ids": [650]}, "/company/personal/user/1/calendar/?EVENT_ID=650"),
    ],
)
def test_the_button_opens_what_is_read(
    source: dict[str, Any], page: str | None, connection: str, server: SandboxServer
) -> None:
    tasks: list[Any] = [Bitrix24AttendanceToSqlOperator(task_id="sync", sql_conn_id="warehouse", **source)]
    if "event_ids" not in source:
        tasks.append(Bitrix24AttendanceToObjectStorageOperator(task_id="files", path="file:///tmp/x", **source))
    for task in tasks:
        left: dict[str, str] = {}
        push = SimpleNamespace(task=task, xcom_push=lambda key, value, left=left: left.update({key: value}))
        task.pre_execute({"ti": push})
        assert left == ({} if page is None else {"bitrix24_link": f"{server.url}{page}"})


def test_the_log_says_as_whom(connection: str, warehouse: URL, server: SandboxServer, tmp_path: Path) -> None:
    sync = Bitrix24AttendanceToSqlOperator(task_id="sync", sql_conn_id="warehouse", create_tables=True, **SEPTEMBER)  # type: ignore[arg-type]
    files = Bitrix24AttendanceToObjectStorageOperator(task_id="files", path=f"file://{tmp_path}", **SEPTEMBER)  # type: ignore[arg-type]
    for task in (sync, files):
        assert log_of(task).count(f"Acting as user 1 on {server.url}") == 1


def test_people_have_names_if_they_are_asked_for(
    warehouse: URL, server: SandboxServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(DORA))
    assert sync(calendars="company_calendar")["people"] == 0
    engine = create_engine(warehouse)
    assert not inspect(engine).has_table("bitrix24_people")
    before: Any = server.portal.count()
    assert sync(calendars=["user", "company_calendar"], people_names=True)["people"] == 3
    count: Any = server.portal.count()
    assert count["requests"] - before["requests"] == 4, "who acts, two parts of the window, and once for all people"
    assert count["methods"]["user.get"] == 1
    rows = query(warehouse, "SELECT portal, user_id, name FROM bitrix24_people ORDER BY user_id")
    host = portal_host("bitrix24_default")
    assert rows == [(host, ANNA, "Anna"), (host, MARTIN, "Martin"), (host, DORA, "Dora Ó'Neil 🗓")]
    with server.portal.locked() as book:
        book.people[ANNA] = replace(book.people[ANNA], last_name="Orlova")
    sync(calendars="user", people_names=True, people_table="guests")
    assert query(warehouse, f"SELECT name FROM guests WHERE user_id = {ANNA}") == [("Anna Orlova",)]
    assert query(warehouse, f"SELECT name FROM bitrix24_people WHERE user_id = {ANNA}") == [("Anna",)]
    sync(calendars="user", people_names=True)
    assert query(warehouse, f"SELECT name FROM bitrix24_people WHERE user_id = {ANNA}") == [("Anna Orlova",)]
    engine.dispose()


def test_e_mail_addresses_take_a_larger_scope(
    warehouse: URL, server: SandboxServer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = f"SELECT email FROM bitrix24_people WHERE user_id = {ANNA}"
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(DORA))
    sync(calendars="user", people_names=True)
    assert query(warehouse, asked) == [(None,)]
    with server.portal.locked() as book:
        person = book.people[DORA]
        assert person.webhook is not None
        book.people[DORA] = replace(person, webhook=replace(person.webhook, scopes=("calendar", "user")))
    sync(calendars="user", people_names=True)
    assert query(warehouse, asked) == [("user1@portal.example",)]


def test_links_to_the_crm_if_they_are_asked_for(connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    with portal.locked() as book:
        book.events[DAILY] = replace(book.events[DAILY], crm_links=("D_12", "CO_3"), location=f"Room {CANARY}")
    sync()
    engine = create_engine(warehouse)
    assert not inspect(engine).has_table("bitrix24_crm_links")
    engine.dispose()
    sync(crm_links=True, crm_links_table="links")
    assert query(warehouse, "SELECT parent_id, crm_type, crm_id FROM links ORDER BY crm_type") == [
        (DAILY, "company", 3),
        (DAILY, "deal", 12),
    ]
    rows = query(warehouse, f"SELECT location, recurrence_rule FROM bitrix24_meetings WHERE parent_id = {DAILY}")
    assert rows == [("Room ***", "FREQ=DAILY;INTERVAL=1;COUNT=3")] * 3
    sync(meeting_names=False)
    assert query(warehouse, "SELECT DISTINCT location FROM bitrix24_meetings") == [(None,)]
    with pytest.raises(InvalidArgumentError, match="crm_links"):
        sync(crm_links="maybe")


@pytest.mark.parametrize("modules", ["current", "2021"])
def test_the_end_of_a_series(modules: str, connection: str, warehouse: URL, portal: Portal, clock: Clock) -> None:
    portal.configure({"modules": modules, "culture": "spanish"})
    with portal.locked() as book:
        daily = book.events[DAILY]
        assert daily.repeat is not None
        book.events[DAILY] = replace(daily, repeat=replace(daily.repeat, count=None, until=date(2026, 9, 25)))
    sync()
    rows = query(warehouse, f"SELECT DISTINCT recurrence_rule FROM bitrix24_meetings WHERE parent_id = {DAILY}")
    assert rows == [("FREQ=DAILY;INTERVAL=1;UNTIL=20260925",)]


def test_names_of_people_take_a_scope(connection: str, warehouse: URL, clock: Clock, tmp_path: Path) -> None:
    with pytest.raises(ScopeError, match="`user_brief`"):
        sync(people_names=True)
    assert query(warehouse, "SELECT count(*) FROM bitrix24_meetings") == [(0,)]
    with pytest.raises(ScopeError, match="`user_brief`"):
        store_files(tmp_path / "files", people_names=True)
    assert not (tmp_path / "files").exists()
    with pytest.raises(InvalidArgumentError, match="people_names"):
        sync(people_names="maybe")


def test_names_can_be_left_out(connection: str, warehouse: URL, clock: Clock) -> None:
    sync(meeting_names=False)
    assert query(warehouse, "SELECT DISTINCT name FROM bitrix24_meetings") == [("",)]


def test_created_tables_are_reported(
    connection: str, warehouse: URL, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InvalidArgumentError, match="CREATE TABLE"):
        sync(create_tables=False)
    capsys.readouterr()
    sync()
    reported = capsys.readouterr().out
    assert "CREATE TABLE bitrix24_attendance_changes" in reported
    assert CANARY not in reported
    assert sync(create_tables=False)["new"] == 0


def test_a_part_that_cannot_be_read_writes_nothing_of_it(
    connection: str, warehouse: URL, portal: Portal, clock: Clock
) -> None:
    sync()
    before = query(warehouse, "SELECT * FROM bitrix24_meetings ORDER BY parent_id, occurrence_start")
    portal.plan({"inner": "calendar.event.get", "times": 1, "error": "ACCESS_DENIED"})
    with pytest.raises(Bitrix24Error):
        sync(calendars=["user:1", "group:7"])
    assert query(warehouse, "SELECT * FROM bitrix24_meetings ORDER BY parent_id, occurrence_start") == before


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"calendars": []}, "calendars"),
        ({"calendars": {"user": 7}}, "calendars"),
        ({"calendars": ["user:x"]}, "calendars"),
        ({"calendars": ["group"]}, "calendars"),
        ({"calendars": ["company_calendar:1"]}, "calendars"),
        ({"calendars": ["room:1"]}, "calendars"),
        ({"event_ids": [1]}, "Invalid event_ids: expected none together with window_start"),
        ({"event_ids": [0], "window_start": None, "window_end": None}, "event_ids"),
        ({"window_start": "2026-09-01"}, "window_start"),
        ({"create_tables": "False"}, "create_tables"),
        ({"meeting_names": "no"}, "meeting_names"),
        ({"attendance_table": ""}, "attendance_table"),
        ({"sql_conn_id": "bitrix24_default"}, "sql_conn_id"),
        ({"portal": ""}, "Invalid portal '': expected a host"),
        ({"portal": "https://example.bitrix24.com/rest"}, "portal"),
        ({"portal": "x" * 256}, "portal"),
    ],
)
def test_what_is_not_acceptable(arguments: dict[str, Any], named: str, connection: str, portal: Portal) -> None:
    with pytest.raises(InvalidArgumentError, match=named):
        sync(**arguments)
    count: Any = portal.count()
    assert count["requests"] == 0


def test_a_failure_does_not_wait_for_what_is_read_ahead() -> None:
    gate, ended = threading.Event(), []

    def parts() -> Iterator[int]:
        yield 1
        gate.wait(20)
        ended.append("read")
        yield 2

    def deal_with() -> None:
        for _ in ahead(parts()):
            raise TimeoutError

    with pytest.raises(TimeoutError):
        deal_with()
    ended.append("failed")
    gate.set()
    assert ended[0] == "failed"


def test_what_waits_in_another_thread_ends_with_the_hook(connection: str, portal: Portal) -> None:
    portal.plan({"method": "profile", "error": "QUERY_LIMIT_EXCEEDED", "times": 99})
    ends: list[str] = []
    with Bitrix24CalendarHook(connection, retry=RetryPolicy(attempts=99, total=3000.0)) as hook:

        def run_call() -> None:
            try:
                hook.whoami()
            except Stopped:
                ends.append("stopped")

        thread = threading.Thread(target=run_call)
        thread.start()
        count: Any = portal.count()
        while not count["requests"]:
            thread.join(0.01)
            count = portal.count()
    thread.join(20)
    assert ends == ["stopped"]
