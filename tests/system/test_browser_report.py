"""The report drawn from the tables, as a person sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("airflow.providers.sqlite")
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from playwright.sync_api import expect

from airflow_provider_b24cal.transfers.attendance_to_sql import Bitrix24AttendanceToSqlOperator
from tests.system.browser import Window

EXAMPLE = Path(__file__).parents[2] / "dags_examples" / "attendance_report.py"
DAYS = {
    # Letters of the guests of each meeting.
    "2026-09-14": ("YYYN", "YQ"),
    "2026-09-15": ("YYQQQ",),
    "2026-09-16": ("YYYYYY", "NNQ"),
    "2026-09-17": ("QQQQ",),
    "2026-09-18": ("YYYYYYY", "YYN"),
}
SEEN = {
    "2026-09-14": (4, 1, 1),
    "2026-09-15": (2, 0, 3),
    "2026-09-16": (6, 2, 1),
    "2026-09-17": (0, 0, 4),
    "2026-09-18": (9, 1, 0),
}
"""How many of each day accept, decline and are silent."""


def _calendar_data() -> object:
    def meeting(day: str, hour: int, letters: str) -> dict[str, Any]:
        guests = [{"user": user, "status": letter} for user, letter in enumerate(letters, 2)]
        times = {"start": f"{day}T{hour:02}:00", "end": f"{day}T{hour + 1:02}:00", "time_zone": "UTC"}
        return {"name": "Meeting", "host": 1, "attendees": guests, **times}

    webhook = {"secret": "rep0rtC0de000000", "scopes": ["calendar"]}
    people = [{"id": 1, "name": "Anna", "webhook": webhook}, *({"id": one, "name": "Guest"} for one in range(2, 9))]
    meetings = [meeting(day, 9 + number, one) for day, all_ in DAYS.items() for number, one in enumerate(all_)]
    return {"people": people, "events": meetings}


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page that the example draws from synced tables."""
    database = {"conn_type": "sqlite", "host": str(tmp_path / "attendance.db")}
    monkeypatch.setenv("AIRFLOW_CONN_ATTENDANCE_DB", json.dumps(database))
    with SandboxServer(Portal(parse(_calendar_data()))) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        Bitrix24AttendanceToSqlOperator(
            task_id="sync",
            sql_conn_id="attendance_db",
            calendars=["user"],
            window_start="2026-09-14T00:00:00+00:00",
            window_end="2026-09-19T00:00:00+00:00",
            create_tables=True,
        ).execute({})
    spec = spec_from_file_location("attendance_report", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = module_from_spec(spec)
    spec.loader.exec_module(example)
    return Path(example.dag.get_task("draw").python_callable(params={"folder": str(tmp_path / "reports")}))


def test_bars_are_as_long_as_the_numbers_in_them(report: Path, open_window: Callable[..., Window]) -> None:
    window = open_window(report.parent.as_uri())
    page = window.page
    page.goto(report.as_uri())
    expect(page.get_by_role("heading", name="Attendance by day")).to_be_visible()
    bars = page.get_by_role("img").all()
    assert len(bars) == 3 * len(SEEN)
    widths = []
    for number, (day, counts) in enumerate(SEEN.items()):
        label = page.get_by_text(day, exact=True)
        expect(label).to_be_visible()
        row = label.bounding_box()
        assert row is not None
        for count, word, bar in zip(counts, ("accepted", "declined", "silent"), bars[3 * number :], strict=False):
            assert bar.get_attribute("aria-label") == f"{count} {word}"
            if not count:
                assert bar.locator("text").count() == 0
                continue
            expect(bar.locator("rect")).to_be_visible()
            expect(bar.locator("text.count")).to_have_text(str(count))
            box = bar.locator("rect").bounding_box()
            assert box is not None
            assert box["y"] < row["y"] + row["height"] / 2 < box["y"] + box["height"], "beside its day"
            widths.append(box["width"] / count)
    assert max(widths) - min(widths) < 0.5
    window.picture("attendance_report", height=360)
    assert window.complaints == []
