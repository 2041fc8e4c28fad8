"""Rows that are removed from the tables, and people who are left out of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from sqlalchemy.engine import URL

from airflow_provider_b24cal.attendance.io.rows import read_rows
from airflow_provider_b24cal.bitrix24 import InvalidArgumentError, Window
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.calendar_data import ANNA, BUDGET, DAILY, DAYS, DORA, MARTIN, PRIVATE, SEPTEMBER
from tests.clock import Clock
from tests.databases import DATABASES, connect_airflow, database
from tests.transfer_runs import files_in, query, store_files, sync

ALL = {"calendars": ["user:1", "user:5", "group:7", "company_calendar"], "bitrix24_conn_id": "as_dora"}
OTHERS = {**ALL, "calendars": ["user:1", "group:7", "company_calendar"]}
TABLES = ("bitrix24_meetings", "bitrix24_attendance", "bitrix24_attendance_changes", "bitrix24_people")
OF_SEVERAL = {"window_start": None, "window_end": None}
COUNTS = "SELECT accepted, declined, silent, total, share FROM bitrix24_meetings WHERE parent_id = {} ORDER BY 1"


@pytest.fixture(autouse=True)
def at_october(clock: Clock) -> None:
    clock.now = datetime(2026, 10, 1, 6, tzinfo=UTC).timestamp()


@pytest.fixture
def as_dora(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection ``as_dora``, which may read names."""
    monkeypatch.setenv("AIRFLOW_CONN_AS_DORA", server.connection_json(DORA))


@pytest.fixture(params=[1000, 2])
def slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large slices, and small ones that are many."""
    monkeypatch.setattr("airflow_provider_b24cal.attendance.io.removal._SLICE", request.param)


@pytest.fixture(params=DATABASES)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[URL]:
    """An empty database behind the connection ``warehouse``."""
    with database(request.param, tmp_path) as url:
        connect_airflow(url, monkeypatch)
        yield url


@pytest.fixture
def sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[URL]:
    """A database for what is the same in all of them."""
    pytest.importorskip("airflow.providers.sqlite")
    with database("sqlite", tmp_path) as url:
        connect_airflow(url, monkeypatch)
        yield url


def removed(counts: dict[str, int]) -> dict[str, int]:
    return {name.removeprefix("removed_"): number for name, number in counts.items() if name.startswith("removed_")}


def people_in(url: URL) -> dict[str, set[Any]]:
    """Return the people of each table."""
    columns = ("host_id", "user_id", "user_id", "user_id")
    return {
        table: {user for (user,) in query(url, f"SELECT {column} FROM {table}")}
        for table, column in zip(TABLES, columns, strict=True)
    }


def test_a_person_is_deleted_and_stays_away(as_dora: None, warehouse: URL, portal: Portal, slices: None) -> None:
    sync(**ALL, people_names=True)
    portal.answer(BUDGET, DORA, "N")
    sync(**ALL, people_names=True)
    assert all(DORA in users for users in people_in(warehouse).values())
    # What others answer meanwhile is a change, and nothing else is.
    portal.answer(BUDGET, ANNA, "N")
    counts = sync(**OTHERS, exclude_users=[DORA])
    assert removed(counts) == {"occurrences": 0, "answers": 8, "changes": 1, "people": 1}
    assert (counts["answer_changes"], counts["vanished"]) == (1, 0)
    assert people_in(warehouse) == {
        TABLES[0]: {MARTIN, None}, TABLES[1]: {ANNA, MARTIN}, TABLES[2]: {ANNA}, TABLES[3]: {ANNA, MARTIN},
    }  # fmt: skip
    assert query(warehouse, COUNTS.format(BUDGET)) == [(0, 1, 0, 1, 0.0)]
    assert query(warehouse, COUNTS.format(DAILY)) == [(1, 0, 0, 1, 1.0)] * 3
    private = f"SELECT calendar, host_id, total FROM bitrix24_meetings WHERE parent_id = {PRIVATE}"
    assert query(warehouse, private) == [("user", None, 1)]
    before = [query(warehouse, f"SELECT * FROM {table}") for table in TABLES[2:]]
    again = sync(**OTHERS, exclude_users=[DORA], people_names=True)
    assert set(removed(again).values()) == {0}
    assert (again["unchanged"], again["answer_changes"]) == (7, 0)
    assert query(warehouse, f"SELECT * FROM {TABLES[2]}") == before[0]
    assert all(users <= {ANNA, MARTIN, None} for users in people_in(warehouse).values())


def test_meetings_of_other_windows_keep_their_history(as_dora: None, warehouse: URL, portal: Portal) -> None:
    """A count that still had the person would not fit the rows, which then began anew."""
    sync(**OTHERS)
    later = {"window_start": "2026-10-05T00:00:00Z", "window_end": "2026-10-06T00:00:00Z"}
    sync(**{**OTHERS, **later}, exclude_users=[DORA])
    assert query(warehouse, COUNTS.format(BUDGET)) == [(1, 0, 0, 1, 1.0)]
    portal.answer(BUDGET, ANNA, "N")
    assert sync(**OTHERS, exclude_users=[DORA])["answer_changes"] == 1
    assert query(warehouse, "SELECT user_id, old_status, new_status FROM bitrix24_attendance_changes") == [
        (ANNA, "Y", "N")
    ]


def test_a_meeting_from_which_somebody_was_taken_is_one_that_changed(as_dora: None, sqlite: URL, clock: Clock) -> None:
    """Who loads only what has changed loads it again."""
    sync(**OTHERS)
    changed = f"SELECT count(*) FROM bitrix24_meetings WHERE updated_at > '{datetime.now(UTC):%Y-%m-%d %H:%M:%S.%f}'"
    later = {"window_start": "2026-10-05T00:00:00Z", "window_end": "2026-10-06T00:00:00Z"}
    sync(**{**OTHERS, **later}, exclude_users=[DORA])
    assert query(sqlite, changed) == [(7,)]


def test_links_of_meetings_that_are_not_kept_go_with_them(as_dora: None, warehouse: URL, portal: Portal) -> None:
    with portal.locked() as book:
        for event_id in (BUDGET, DAYS):
            book.events[event_id] = replace(book.events[event_id], crm_links=("D_12",))
    sync(**ALL, crm_links=True)
    later = {"window_start": "2026-10-01T00:00:00Z", "window_end": "2026-10-02T00:00:00Z"}
    sync(**{**ALL, **later}, keep_days=1)
    assert query(warehouse, "SELECT parent_id FROM bitrix24_crm_links") == [(DAYS,)]


def test_who_is_let_in_again_was_invited_later(as_dora: None, sqlite: URL) -> None:
    sync(**OTHERS, exclude_users=[DORA])
    assert sync(**OTHERS)["answer_changes"] == 7
    changes = "SELECT DISTINCT user_id, old_status, new_status FROM bitrix24_attendance_changes"
    assert query(sqlite, changes) == [(DORA, None, "Q")]


def test_single_meetings_have_no_organiser_who_is_left_out(as_dora: None, sqlite: URL) -> None:
    sync(**{**ALL, **OF_SEVERAL, "calendars": None}, event_ids=[PRIVATE], exclude_users=[DORA])
    assert query(sqlite, "SELECT host_id, calendar, total FROM bitrix24_meetings") == [(None, "user", 1)]
    assert query(sqlite, "SELECT user_id FROM bitrix24_attendance") == [(MARTIN,)]


@pytest.mark.parametrize("calendars", ["user", "user:5"])
def test_the_calendar_of_a_person_who_is_left_out_is_refused(as_dora: None, sqlite: URL, calendars: str) -> None:
    with pytest.raises(InvalidArgumentError, match="none of exclude_users; user:5 is"):
        sync(calendars=calendars, exclude_users=[DORA], bitrix24_conn_id="as_dora")
    assert query(sqlite, "SELECT * FROM bitrix24_meetings") == []


def test_what_is_older_is_removed(as_dora: None, warehouse: URL, portal: Portal, slices: None) -> None:
    sync(**ALL, people_names=True)
    portal.answer(BUDGET, DORA, "N")
    portal.answer(DAYS, DORA, "N")
    sync(**ALL, people_names=True)
    sync(**ALL, portal="other.example.com")
    days = {"window_start": "2026-09-29T00:00:00Z", "window_end": "2026-10-02T00:00:00Z"}
    counts = sync(**{**ALL, **days}, keep_days=3, people_names=True)
    # The company's meeting ended 69 hours ago.
    assert removed(counts) == {"occurrences": 6, "answers": 16, "changes": 1, "people": 0}
    here = "WHERE portal <> 'other.example.com'"
    assert query(warehouse, f"SELECT name FROM bitrix24_meetings {here} ORDER BY 1") == [("Company",), ("Fair",)]
    assert query(warehouse, f"SELECT parent_id FROM bitrix24_attendance_changes {here}") == [(DAYS,)]
    assert query(warehouse, f"SELECT count(*) FROM bitrix24_attendance {here}") == [(5,)]
    assert query(warehouse, "SELECT count(*) FROM bitrix24_meetings") == [(10,)]
    assert set(removed(sync(**{**ALL, **days}, keep_days=3)).values()) == {0}


def test_names_go_with_the_last_row_of_a_person(as_dora: None, warehouse: URL, clock: Clock) -> None:
    sync(**ALL, people_names=True)
    clock.now = datetime(2026, 10, 3, 6, tzinfo=UTC).timestamp()
    days = {"window_start": "2026-10-02T12:00:00Z", "window_end": "2026-10-04T00:00:00Z"}
    # The fair ended on the second of October in UTC, and hours later where clocks are behind.
    assert removed(sync(**{**ALL, **days}, keep_days=1)) == {"occurrences": 7, "answers": 18, "changes": 0, "people": 0}
    assert people_in(warehouse)[TABLES[3]] == {ANNA, MARTIN, DORA}
    clock.now += timedelta(days=1, hours=1).total_seconds()
    days = {"window_start": "2026-10-04T00:00:00Z", "window_end": "2026-10-05T00:00:00Z"}
    assert removed(sync(**{**ALL, **days}, keep_days=1)) == {"occurrences": 1, "answers": 3, "changes": 0, "people": 3}
    assert people_in(warehouse) == {table: set() for table in TABLES}


def test_answers_without_their_meeting_are_removed_too(as_dora: None, warehouse: URL, portal: Portal) -> None:
    sync(**ALL)
    portal.answer(BUDGET, DORA, "N")
    sync(**ALL)
    engine_statement(warehouse, "DELETE FROM bitrix24_meetings")
    days = {"window_start": "2026-10-01T00:00:00Z", "window_end": "2026-10-02T00:00:00Z"}
    counts = sync(**{**OTHERS, **days}, keep_days=2)
    # The fair begins on the last day that is kept.
    assert removed(counts) == {"occurrences": 0, "answers": 18, "changes": 1, "people": 0}
    assert query(warehouse, "SELECT DISTINCT parent_id FROM bitrix24_attendance") == [(DAYS,)]


def test_a_single_meeting_that_is_too_old_does_not_stay(as_dora: None, sqlite: URL) -> None:
    counts = sync(**{**ALL, **OF_SEVERAL, "calendars": None}, event_ids=[BUDGET, DAYS], keep_days=7)
    assert (counts["new"], counts["removed_occurrences"], counts["removed_answers"]) == (2, 1, 3)
    assert query(sqlite, "SELECT parent_id FROM bitrix24_meetings") == [(DAYS,)]


def test_a_window_that_begins_before_what_is_kept_is_refused(as_dora: None, sqlite: URL, portal: Portal) -> None:
    with pytest.raises(InvalidArgumentError, match="Invalid keep_days 30: expected at least 31, because the window"):
        sync(**ALL, keep_days=30)
    assert portal.count()["requests"] == 0
    assert set(removed(sync(**ALL, keep_days=31)).values()) == {0}


@pytest.mark.parametrize("invalid", [0, -1, True, 1.5, "30", "None", 36_501])
def test_an_invalid_number_of_days_is_refused_by_name(sqlite: URL, invalid: object) -> None:
    with pytest.raises(InvalidArgumentError, match=r"Invalid keep_days .*: expected a whole number from 1 to 36,500"):
        sync(keep_days=invalid)


@pytest.mark.parametrize("invalid", [5, "5", [0], ["x"], {5: 6}])
def test_invalid_ids_of_people_are_refused_by_name(sqlite: URL, invalid: object) -> None:
    with pytest.raises(InvalidArgumentError, match="Invalid exclude_users"):
        sync(exclude_users=invalid)


def test_files_are_without_a_person(as_dora: None, tmp_path: Path) -> None:
    store_files(tmp_path, **OTHERS, people_names=True, exclude_users=[DORA])
    texts = {path: content.decode() for path, content in files_in(tmp_path).items()}
    rows = [(path, json.loads(line)) for path, text in texts.items() for line in text.splitlines()]
    assert {row["user_id"] for _, row in rows if "user_id" in row} == {ANNA, MARTIN}
    counts = {(row["accepted"], row["silent"], row["total"]) for path, row in rows if path.startswith("meetings/")}
    assert counts == {(1, 0, 1)}
    with pytest.raises(InvalidArgumentError, match="user:5 is the calendar of such a person"):
        store_files(tmp_path, **ALL, exclude_users=[DORA])


def test_plain_rows_are_without_a_person(as_dora: None, portal: Portal) -> None:
    month = Window(*map(datetime.fromisoformat, SEPTEMBER.values()))
    with Bitrix24CalendarHook("as_dora") as hook:
        (first, second) = read_rows(hook, month, "user:1")
        portal.answer(BUDGET, ANNA, "N")
        stored = {
            "stored_meetings": first.meetings + second.meetings,
            "stored_attendance": first.attendance + second.attendance,
        }
        parts = list(read_rows(hook, month, "user:1", **stored, exclude_users=[DORA]))
    assert [(row["user_id"], row["new_status"]) for part in parts for row in part.changes] == [(ANNA, "N")]
    assert {row["user_id"] for part in parts for row in part.attendance} == {ANNA, MARTIN}
    assert {row["total"] for part in parts for row in part.meetings} == {1}


def engine_statement(url: URL, statement: str) -> None:
    from sqlalchemy import create_engine, text

    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()
