"""``calendar.accessibility.get``: its checks, the day to spare, private events, and absences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests

BUSY = "calendar.accessibility.get"
DATA: dict[str, Any] = {
    "people": [
        {"id": 1, "name": "Anna", "webhook": {"secret": "anna000000000001"}},
        {"id": 2, "name": "Guest", "external": True, "webhook": {"secret": "guest00000000002"}},
    ],
    "events": [
        {"id": 10, "name": "Own and private", "host": 1, "private": True, "accessibility": "quest",
         "start": "2026-09-16T10:00", "end": "2026-09-16T11:00", "time_zone": "Europe/Moscow"},
        {"id": 20, "name": "Daily", "host": 1, "start": "2026-09-01T12:00", "end": "2026-09-01T13:00",
         "time_zone": "Europe/Moscow", "repeat": {"frequency": "DAILY", "count": 60}},
        {"id": 30, "name": "Days", "host": 1, "all_day": True, "start": "2026-09-26", "end": "2026-09-27"},
    ],
    "absences": [
        {"id": 7, "user": 1, "start": "2026-09-20", "end": "2026-09-21"},
        {"id": 8, "user": 1, "start": "2026-09-22T09:00", "end": "2026-09-22T11:30", "all_day": False},
        {"id": 9, "user": 2, "start": "2026-09-22", "end": "2026-09-22"},
    ],
}  # fmt: skip


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    return DATA


@pytest.fixture
def busy(call: Callable[..., requests.Response]) -> Callable[..., list[dict[str, Any]]]:
    def get(first: str, last: str | None = None, user: int = 1) -> list[dict[str, Any]]:
        reply = call(BUSY, {"users": [user], "from": first, "to": last or first})
        rows: list[dict[str, Any]] = reply.json()["result"][str(user)]
        return rows

    return get


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "from"),
        ({"to": "2026-09-16", "users": [1]}, "from"),
        ({"from": "2026-09-16"}, "to"),
        ({"from": "2026-09-16", "to": "2026-09-17", "users": []}, "users"),
    ],
)
def test_checks_go_from_the_dates_to_the_users(
    given: dict[str, object], named: str, call: Callable[..., requests.Response]
) -> None:
    reply = call(BUSY, given)
    assert (reply.status_code, reply.json()["error"]) == (400, "")
    assert f'"{named}"' in reply.json()["error_description"]
    # An external user is refused before any of them.
    assert call(BUSY, given, 2).json()["error_description"] == "Access denied."


def test_ones_own_private_event_is_masked(busy: Callable[..., list[dict[str, Any]]]) -> None:
    assert [row["NAME"] for row in busy("2026-09-16") if row["ID"] == "10"] == ["[Not sure]"]


def test_days_of_a_series_that_end_a_day_before_are_there(busy: Callable[..., list[dict[str, Any]]]) -> None:
    days = [row["DATE_FROM"] for row in busy("2026-09-24") if row["ID"] == "20"]
    assert days == ["23.09.2026 12:00:00", "24.09.2026 12:00:00"]


def test_whole_days_have_no_zone(busy: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = [row for row in busy("2026-09-27") if row["ID"] == "30"]
    assert [row[name] for name in ("DATE_FROM", "DT_SKIP_TIME", "TZ_FROM", "TZ_TO")] == [
        "26.09.2026 00:00:00", "Y", None, None,
    ]  # fmt: skip


def test_absences_of_the_personnel_department(busy: Callable[..., list[dict[str, Any]]]) -> None:
    absences = [row for row in busy("2026-09-21", "2026-09-22") if row.get("FROM_HR")]
    fixed = {"FROM_HR": True, "ACCESSIBILITY": "absent", "IMPORTANCE": "normal"}
    # The timestamps are those of the server's zone, three hours ahead.
    assert absences == [
        {**fixed, "ID": "7", "DT_FROM": "20.09.2026", "DT_TO": "21.09.2026", "FROM": 1789851600, "TO": 1789938000},
        {**fixed, "ID": "8", "DT_FROM": "22.09.2026 09:00:00", "DT_TO": "22.09.2026 11:30:00",
         "FROM": 1790056800, "TO": 1790065800},
    ]  # fmt: skip
    assert not [row for row in busy("2026-09-23") if row.get("FROM_HR")]
    assert [row["ID"] for row in busy("2026-09-22", user=2)] == ["9"]
