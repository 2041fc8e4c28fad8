"""The report: a page of HTML, written from synced tables in each kind of database."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine
from sqlalchemy.engine import URL, Engine

from airflow_provider_b24cal.attendance.io.sql_store import AttendanceStore
from airflow_provider_b24cal.attendance.io.tables import TableNames
from airflow_provider_b24cal.attendance.models import Person
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
from airflow_provider_b24cal.report import write_attendance_report
from tests.clock import Clock
from tests.stored_tables import PORTAL, make_meeting, make_snapshot, make_store, write

NOW = datetime(2026, 10, 6, 8, 30, tzinfo=UTC)
NINE = datetime(2026, 10, 6, 9, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = Window(NOW - 100 * DAY, NOW + 100 * DAY)
HOSTILE = "<img src=x onerror=alert(1)> & 'co'"


class _Page(HTMLParser):
    """The elements of a page, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words: list[str] = []
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words).replace("\N{EN DASH}", "-")


@pytest.fixture
def engine(warehouse: URL) -> Iterator[Engine]:
    engine = create_engine(warehouse)
    yield engine
    engine.dispose()


@pytest.fixture
def store(engine: Engine) -> AttendanceStore:
    store = make_store(engine)
    store.prepare(create=True)
    return store


def _write(folder: Path, **more: Any) -> _Page:
    address = write_attendance_report(f"{folder}/made/attendance.html", "warehouse", **{"now": NOW, **more})
    assert address == f"{folder}/made/attendance.html"
    return _Page(Path(address).read_text("utf-8"))


def _sync(store: AttendanceStore, hours: float, *events: Any, people: tuple[Person, ...] = ()) -> None:
    write(store, make_snapshot(hours, *events, window=WINDOW), people)


def test_it_shows_who_has_answered_how_and_since_when(store: AttendanceStore, tmp_path: Path) -> None:
    people = Person(1, "Anna", NOW), Person(10, "Boris", NOW), Person(11, HOSTILE, NOW)
    _sync(store, 0, make_meeting(1, NINE, "QQQ", name="Weekly"), people=people)
    _sync(store, 48, make_meeting(1, NINE, "QYN", name="Weekly"))
    page = _write(tmp_path)
    for shown in (
        "Portal example.bitrix24.com", "Meetings of 6 Oct 2026 - 2 Nov 2026", "Last sync 3 Oct 2026, 12:00",
        "Page made 6 Oct 2026, 08:30", "Times in UTC",
        "1 meeting in 4 weeks. 66 % of 3 invitations answered. 1 person has not answered.",
        "Weekly Tue 6 Oct 2026, 09:00-10:00, called by Anna",
        f"1 accepted {HOSTILE} since 3 Oct 2026, 12:00",
        "1 declined User 12 since 3 Oct 2026, 12:00",
        "1 not answered Boris silent for 4 days",
        "Person Silent for Not answered Boris 4 days 1 meeting",
        "Week of 5 Oct 2026 so far 66 % answered in 1 meeting 1 accepted 1 declined 1 not answered",
    ):  # fmt: skip
        assert shown in page.text
    assert not {"img", "script", "link"} & set(page.tags)


def test_times_are_in_the_zone_that_is_asked_for(store: AttendanceStore, tmp_path: Path) -> None:
    late = datetime(2026, 10, 6, 14, 30, tzinfo=UTC)
    days = make_meeting(
        2, datetime(2026, 10, 7, tzinfo=UTC), "Y", name="Trip", end=datetime(2026, 10, 9, tzinfo=UTC), all_day=True
    )
    _sync(store, 0, make_meeting(1, late, "Y", name="Late"), days)
    text = _write(tmp_path, time_zone="Asia/Tokyo").text
    assert "Times in Asia/Tokyo" in text
    assert "Late Tue 6 Oct 2026, 23:30 - Wed 7 Oct 2026, 00:30" in text
    assert "Trip Wed 7 Oct 2026 - Thu 8 Oct 2026, all day" in text
    assert "before 1 Oct 2026, 21:00" in text


def test_the_weeks_before_show_their_response(store: AttendanceStore, tmp_path: Path) -> None:
    past = [make_meeting(one, NINE - 7 * one * DAY, "Y" * one + "Q", name="Past") for one in (1, 2, 12, 13)]
    _sync(store, 0, *past)
    text = _write(tmp_path).text
    assert re.findall(r"Week of (\d+ \w+) 2026 (\d+ %)", text) == [
        ("13 Jul", "92 %"),
        ("21 Sep", "66 %"),
        ("28 Sep", "50 %"),
    ]
    assert "so far" not in text
    assert "0 meetings in 4 weeks." in text
    assert "No meetings." in text
    assert "Nobody." in text


def test_what_is_left_out_is_counted(store: AttendanceStore, tmp_path: Path) -> None:
    _sync(store, 0, *(make_meeting(one, NINE + one * DAY, "YYYYQQQ", name=f"M{one}") for one in range(6)))
    text = _write(tmp_path, max_rows=2).text
    assert re.findall(r"M\d", text) == ["M0", "M1"]
    assert re.findall(r"Not shown: (\d+ \w+)\.", text) == ["2 people", "1 person"] * 2 + ["4 meetings", "1 person"]
    assert "6 meetings in 4 weeks." in text
    text = _write(tmp_path, weeks=1).text
    assert "6 meetings in 1 week." in text
    assert "Not shown" not in text


def test_what_the_portal_hides_is_not_taken_for_silence(store: AttendanceStore, tmp_path: Path) -> None:
    masked, empty = make_meeting(1, NINE, None, name="Masked"), make_meeting(2, NINE, "", name="")
    _sync(store, 0, make_meeting(1, NINE, "QQ"), empty)
    _sync(store, 1, masked, empty)
    text = _write(tmp_path).text
    assert (
        "Masked Tue 6 Oct 2026, 09:00-10:00, called by User 1 The portal does not show who is invited. Meeting 2"
        in text
    )
    assert "Nobody is invited." in text
    assert "The portal does not show who is invited to 1 meeting. Coming" in text
    assert "No invitations." in text


def test_it_needs_neither_rows_nor_names(engine: Engine, tmp_path: Path) -> None:
    store = AttendanceStore(engine, TableNames(), PORTAL)
    with pytest.raises(InvalidArgumentError, match=r"tables: bitrix24_meetings, bitrix24_attendance\. B"):
        _write(tmp_path)
    assert not list(tmp_path.rglob("*.html"))
    store.prepare(create=True)
    assert "The tables are empty: nothing was synced yet." in _write(tmp_path).text
    _sync(store, 0, make_meeting(1, NINE, "Q"))
    assert "1 not answered User 10 silent for 4 days" in _write(tmp_path).text


def test_one_portal_is_shown(store: AttendanceStore, tmp_path: Path) -> None:
    _sync(store, 0, make_meeting(1, NINE, name="Here"))
    _sync(make_store(store.engine, portal="other.bitrix24.com"), 0, make_meeting(1, NINE, name="There"))
    expected = f"Invalid portal None: expected one of those in the tables: {PORTAL}, other.bitrix24.com."
    with pytest.raises(InvalidArgumentError, match=re.escape(expected)):
        _write(tmp_path)
    text = _write(tmp_path, portal="other.bitrix24.com").text
    assert "Portal other.bitrix24.com" in text
    assert ("There" in text, "Here" in text) == (True, False)


def test_tables_have_the_names_that_are_given(engine: Engine, tmp_path: Path) -> None:
    names = {"meetings_table": "m", "attendance_table": "a", "people_table": "p"}
    store = make_store(engine, TableNames(meetings="m", attendance="a", people="p"))
    store.prepare(create=True)
    _sync(store, 0, make_meeting(1, NINE), people=(Person(1, "Anna", NOW),))
    assert "called by Anna" in _write(tmp_path, **names).text


WRONG_PATHS = ("attendance.html", "reports/a.html", "/reports", "s3://a.html", "file://reports/a.html", "", None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"weeks": 0}, "Invalid weeks 0: expected a whole number from 1 to 52"),
        ({"max_rows": "5"}, "Invalid max_rows '5': expected a whole number from 1 to 1,000"),
        ({"time_zone": "Mars/Base"}, "Invalid time_zone 'Mars/Base': expected the name of a time zone"),
        ({"time_zone": "Europe"}, "Invalid time_zone 'Europe'"),
        ({"time_zone": None}, "Invalid time_zone None"),
        ({"now": datetime(2026, 10, 6)}, "Invalid now '2026-10-06T00:00:00'"),  # noqa: DTZ001
        ({"sql_conn_id": ""}, "Invalid sql_conn_id ''"),
        ({"storage_conn_id": ""}, "Invalid storage_conn_id ''"),
        *(({"path": path}, f"Invalid path {path!r}: expected a URL such as s3://b") for path in WRONG_PATHS),
    ],
)
def test_an_argument_that_is_wrong_is_named(given: dict[str, Any], expected: str) -> None:
    arguments: dict[str, Any] = {"path": "/nowhere/a.html", "sql_conn_id": "there_is_none", **given}
    with pytest.raises(InvalidArgumentError, match=re.escape(expected)):
        write_attendance_report(**arguments)


def test_urls_and_the_current_time(store: AttendanceStore, tmp_path: Path, clock: Clock) -> None:
    address = write_attendance_report(f"file://{tmp_path}/a.html", "warehouse")
    assert address == f"file://{tmp_path}/a.html"
    assert f"Page made {clock.utcnow():%d %b %Y, %H:%M}" in _Page((tmp_path / "a.html").read_text("utf-8")).text


def test_a_page_is_replaced_as_a_whole(store: AttendanceStore, tmp_path: Path) -> None:
    """Whoever is reading the old one reads it to its end."""
    _sync(store, 0, make_meeting(1, NINE))
    _write(tmp_path, weeks=1)
    with (tmp_path / "made" / "attendance.html").open(encoding="utf-8") as reader:
        assert "1 meeting in 2 weeks." in _write(tmp_path, weeks=2).text
        assert "1 meeting in 1 week." in _Page(reader.read()).text
    assert len(list((tmp_path / "made").iterdir())) == 1
