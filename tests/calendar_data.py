"""A portal with calendars of all kinds in September 2026, for tests of the transfers."""

from __future__ import annotations

from typing import Any

from tests.portal_data import CANARY

ANNA, MARTIN, DORA = 1, 2, 5
BUDGET, DAILY, PRIVATE, GROUP, COMPANY, DAYS, PLAIN = range(10, 80, 10)
PEOPLE = [{"user": ANNA, "status": "Y"}, {"user": DORA}]


def at(day: str, **more: object) -> dict[str, object]:
    return {"start": f"{day}T10:00", "end": f"{day}T11:00", "time_zone": "Europe/Berlin", **more}


DATA: dict[str, Any] = {
    "people": [
        {"id": ANNA, "name": "Anna", "webhook": {"secret": CANARY, "scopes": ["calendar"]}},
        {"id": MARTIN, "name": "Martin", "webhook": {"secret": "m4rt1nC0de000000"}},
        {"id": DORA, "name": "Dora", "last_name": "Ó'Neil 🗓",
         "webhook": {"secret": "d0raC0de00000000", "scopes": ["calendar", "user_brief"]}},
    ],
    "events": [
        {"id": BUDGET, "name": "Budget", "host": MARTIN, **at("2026-09-03"), "attendees": PEOPLE},
        {"id": DAILY, "name": "Daily", "host": MARTIN, **at("2026-09-07"), "attendees": PEOPLE,
         "repeat": {"frequency": "DAILY", "count": 3}},
        {"id": PRIVATE, "name": "Secret", "host": DORA, "private": True, **at("2026-09-09"),
         "attendees": [{"user": MARTIN}]},
        {"id": GROUP, "name": "Group", "host": MARTIN, "calendar": {"type": "group", "owner": 7}, **at("2026-09-25"),
         "attendees": PEOPLE},
        {"id": COMPANY, "name": "Company", "host": MARTIN, "calendar": {"type": "company_calendar"},
         **at("2026-09-28"), "attendees": PEOPLE},
        {"id": DAYS, "name": "Fair", "host": MARTIN, "all_day": True, "start": "2026-09-30", "end": "2026-10-01",
         "attendees": PEOPLE},
        {"id": PLAIN, "name": "Doctor", "host": ANNA, **at("2026-09-10")},
    ],
}  # fmt: skip
SEPTEMBER = {"window_start": "2026-09-01T00:00:00+00:00", "window_end": "2026-10-01T00:00:00+00:00"}
EVERYTHING = ["user", f"user:{DORA}", "group:7", "company_calendar"]
