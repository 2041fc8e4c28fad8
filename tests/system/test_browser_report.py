"""The report, as a person sees it: on a screen by day and by night, on a phone, on paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("airflow.providers.sqlite")
from playwright.sync_api import expect
from sqlalchemy import create_engine

from airflow_provider_b24cal.attendance.models import Person, Snapshot
from airflow_provider_b24cal.bitrix24.calendar.window import Window
from airflow_provider_b24cal.report import write_attendance_report
from tests.stored_tables import DAY, PORTAL, make_meeting, make_snapshot, make_store, write
from tests.system.contrast import smallest_contrast

if TYPE_CHECKING:
    from tests.system.browser import Window as BrowserWindow

NOW = datetime(2026, 10, 13, 14, tzinfo=UTC)
HOSTILE = "<img src=x onerror=document.title='hit'>"
LONG = "Donaudampfschifffahrtsgesellschaftskapitänsversammlung" * 2
GUESTS = ("Martin Weiß", "Irina Petrova", "Jonas Wolf", "Dora O'Neil", "Mei Lin", "Omar Haddad", "Zoë Kaya")
MEETINGS = {
    # Day of October, and the letters of the guests.
    "Sprint 41": (-15, "YYYYNQQ"), "Sprint 42": (-8, "YYYNQQ"), "Sprint 43": (-1, "YYYYYQ"), "Sprint 44": (6, "YYYYNN"),
    "Sprint review": (14, "YQNQQY"), "Budget 2027": (15, "YQQ"), "Team day": (22, "QYYYYYY"),
}  # fmt: skip
HARD = {HOSTILE: (20, "QYYYYYY"), LONG: (22, "Q")}
WORDS = ("accepted", "declined", "not answered")


def _snapshot(hours: float, meetings: dict[str, tuple[int, str]]) -> Snapshot:
    events = [
        make_meeting(number, datetime(2026, 10, 1, 9, tzinfo=UTC) + (day - 1) * DAY, letters, name=name)
        for number, (name, (day, letters)) in enumerate(meetings.items(), 1)
    ]
    return make_snapshot(hours, *events, window=Window(NOW - 40 * DAY, NOW + 40 * DAY))


@pytest.fixture(params=[{**MEETINGS, **HARD}], ids=["hard"])
def report(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page made of tables that were synced on two days, between which Martin has accepted."""
    path = tmp_path / "attendance.db"
    monkeypatch.setenv("AIRFLOW_CONN_ATTENDANCE_DB", json.dumps({"conn_type": "sqlite", "host": str(path)}))
    store = make_store(create_engine(f"sqlite:///{path}"))
    store.prepare(create=True)
    names = {1: "Anna Becker", **dict(enumerate(GUESTS, 10))}
    if HOSTILE in request.param:
        names[11] = HOSTILE
    people = [Person(user_id, name, NOW) for user_id, name in names.items()]
    write(store, _snapshot(0, {**request.param, "Sprint review": (14, "QQNQQY")}), people)
    write(store, _snapshot(12 * 24, request.param))
    store.engine.dispose()
    return Path(write_attendance_report(str(tmp_path / "report" / "attendance.html"), "attendance_db", now=NOW))


@pytest.fixture
def window(report: Path, open_window: Callable[..., BrowserWindow]) -> BrowserWindow:
    window = open_window(report.parent.as_uri())
    window.page.goto(report.as_uri())
    return window


@pytest.mark.parametrize("report", [MEETINGS], indirect=True, ids=["plain"])
def test_what_a_team_lead_asks(window: BrowserWindow) -> None:
    page = window.page
    review = page.get_by_role("article").filter(has=page.get_by_role("heading", name="Sprint review"))
    expect(review).to_contain_text("Wed 14 Oct 2026, 09:00")
    expect(review.get_by_role("listitem")).to_have_text(
        [
            "Omar Haddad before 1 Oct 2026, 12:00", "Martin Weiß since 13 Oct 2026, 12:00",
            "Jonas Wolf before 1 Oct 2026, 12:00", "Irina Petrova silent for 12 days",
            "Dora O'Neil silent for 12 days", "Mei Lin silent for 12 days",
        ]
    )  # fmt: skip
    silent = page.get_by_role("region", name="Not answered yet").get_by_role("row")
    expect(silent).to_have_count(6)
    expect(silent.nth(2)).to_have_text("Irina Petrova12 days2 meetings")
    rates = page.get_by_role("region", name="Response rate by week").locator("strong")
    answered = (71, 66, 83, 100, 44, 85)
    expect(rates).to_have_text([f"{percent} % answered" for percent in answered])
    window.picture("attendance_report", page.locator("body"))
    assert window.complaints == []


def test_a_name_is_text(window: BrowserWindow) -> None:
    page = window.page
    expect(page.get_by_role("heading", name=HOSTILE)).to_be_visible()
    expect(page.get_by_role("rowheader", name=HOSTILE)).to_be_visible()
    assert page.locator("img, script").count() == 0
    expect(page).to_have_title(f"Attendance: {PORTAL}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1200])
def test_it_fits_the_screen_and_can_be_read(window: BrowserWindow, scheme: Any, width: int) -> None:
    page = window.page
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert smallest_contrast(page) >= 4.5
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")


def test_on_paper_it_is_dark_on_white_and_keeps_its_bars(window: BrowserWindow, tmp_path: Path) -> None:
    page = window.page
    page.emulate_media(media="print", color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert smallest_contrast(page) >= 4.5
    assert page.locator(".bar i").first.evaluate("bar => getComputedStyle(bar).printColorAdjust") == "exact"
    assert page.pdf(format="A4").startswith(b"%PDF")


def test_nothing_is_said_by_colour_alone(window: BrowserWindow) -> None:
    """Beside each bar stand the words, and without colour its parts still differ."""
    page = window.page
    groups = page.get_by_role("article").filter(has=page.locator(".bar"))
    for group in groups.all():
        parts = group.locator(".bar i").count()
        words = " ".join(group.locator("dt").all_inner_texts())
        assert parts == sum(f" {word}" in f" {words}" for word in WORDS)
    looks = {
        letter: page.locator(f".bar .{letter}").first.evaluate(
            "bar => [getComputedStyle(bar).backgroundImage != 'none', getComputedStyle(bar).backgroundColor]"
        )
        for letter in "YNQ"
    }
    assert looks["N"][0], "striped"
    assert (looks["Y"][0], looks["Q"]) == (False, [False, "rgba(0, 0, 0, 0)"])
    assert looks["Y"][1] != looks["Q"][1], "filled, and empty"


def test_bars_are_as_long_as_their_numbers(window: BrowserWindow) -> None:
    week = window.page.get_by_role("listitem").filter(has_text="Week of 14 Sep 2026")
    lengths = [box["width"] for part in week.locator(".bar i").all() if (box := part.bounding_box())]
    per_person = [length / count for length, count in zip(lengths, (4, 1, 2), strict=True)]
    assert max(per_person) - min(per_person) < 3
