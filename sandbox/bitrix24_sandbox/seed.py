"""The built-in seed data: a dozen people with their meetings around today, always the same for a seed."""

from __future__ import annotations

import random
import string
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from bitrix24_sandbox import datafile
from bitrix24_sandbox.models import Event, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bitrix24_sandbox.models import SeedData

_PEOPLE = (
    ("Anna", "Orlova", "Europe/Berlin"),
    ("Martin", "Keller", "Europe/Berlin"),
    ("Irina", "Sokolova", "Europe/Moscow"),
    ("James", "O'Connor", "Europe/London"),
    ("Dmitri", "Volkov", "Europe/Moscow"),
    ("Sofia", "Almeida", "Europe/Lisbon"),
    ("Aigerim", "Nurlanova", "Asia/Almaty"),
    ("Pavel", "Dvořák", "Europe/Prague"),
    ("Ирина", "Белова", "Asia/Yekaterinburg"),
    ("Chen", "Wei", "Asia/Shanghai"),
    ("Grace", "Mitchell", "America/New_York"),
    ("Tomasz", "Zieliński", "Europe/Warsaw"),
)
_DEPARTMENTS = (
    {"id": 1, "name": "Company", "head": 2},
    {"id": 2, "name": "Engineering", "parent": 1, "head": 3},
    {"id": 3, "name": "Data platform", "parent": 2, "head": 4},
    {"id": 4, "name": "Sales", "parent": 1, "head": 6},
)
_WORK_IN = (1, 1, 2, 3, 3, 4, 3, 2, 4, 2, 4, 2)
"""The department of each person."""
_GROUPS = (
    {"id": 1, "name": "Migration", "owner": 4, "moderators": [2], "members": [6, 9]},
    {"id": 2, "name": "Hiring", "owner": 5, "members": [1, 9]},
)
_SCOPES = ("calendar", "user", "im", "sonet_group", "department")
"""Those of the methods that the provider calls."""
_TOPICS = (
    "Project sync", "Budget review", "Design critique", "Customer call", "Release planning", "Interview",
    "Sprint demo", "Risk review", "Vendor meeting", "Roadmap", "Data quality", "Onboarding",
    "Q&A with support", "Retrospective",
    "Обсуждение договора", "Планирование отдела", "Contract <draft> review", "Security check",
)  # fmt: skip
_PLACES = ("", "", "Room 4.12", "Room “Baikal”", "Online", "Café")
_STATUSES = ("Q", "Q", "Y", "Y", "Y", "N")
_SECRET_CHARACTERS = string.ascii_lowercase + string.digits
_ORDINARY = 106
_READER = 1
_HOST = 2


def default_seed_data(seed: int = 1, today: date | None = None) -> SeedData:
    """Return the built-in seed data.

    :param seed: another seed gives other meetings and other webhook codes.
    :param today: the day the meetings lie around.
    """
    day = datetime.now(UTC).date() if today is None else today
    dice = random.Random(seed)  # noqa: S311
    people = [_person(dice, index + 1, *who) for index, who in enumerate(_PEOPLE)]
    special = list(_special(day))
    ordinary = [_ordinary(dice, day, number) for number in range(_ORDINARY)]
    return datafile.parse(
        {"people": people, "events": special + ordinary, "departments": list(_DEPARTMENTS), "groups": list(_GROUPS)}
    )


def large_dataset(
    meetings: int = 50_000, status: str = "Q", first_id: int = 100_001, seed: int = 1, today: date | None = None
) -> SeedData:
    """Return seed data of the same people in which the first one is invited to a great many meetings.

    Ids of meetings follow one another, and those of the invitations follow them.

    :param meetings: how many.
    :param status: the answer of the person invited.
    :param first_id: id of the first meeting.
    :param seed: another seed gives other webhook codes.
    :param today: the day the meetings lie around.
    """
    day = datetime.now(UTC).date() if today is None else today
    events = tuple(_one_of_many(first_id + number, number, day) for number in range(meetings))
    # Written out, for checking a data file of this size would take too long.
    parents = (Row(event.id, event.id, "user", _HOST, "H", deleted=False) for event in events)
    invitations = (Row(event.id + meetings, event.id, "user", _READER, status, deleted=False) for event in events)
    return replace(default_seed_data(seed, day), events=events, rows=(*parents, *invitations))


def _one_of_many(event_id: int, number: int, today: date) -> Event:
    day, hour = divmod(number, 10)
    starts = datetime.combine(today, datetime.min.time()) + timedelta(days=day % 365 - 30, hours=8 + hour)
    return Event(
        id=event_id,
        calendar_type="user",
        owner_id=_HOST,
        host_id=_HOST,
        name=f"Meeting {number + 1}",
        description="",
        location="",
        starts=starts,
        ends=starts + timedelta(minutes=30),
        time_zone="Europe/Berlin",
        all_day=False,
        is_meeting=True,
        notify=False,
        private=False,
        accessibility="busy",
        importance="normal",
        repeat=None,
        excluded=(),
        recurrence_id=None,
        version=1,
        changed=starts - timedelta(days=14),
    )


def _person(dice: random.Random, user_id: int, name: str, last_name: str, zone: str) -> dict[str, object]:
    secret = "".join(dice.choices(_SECRET_CHARACTERS, k=16))
    return {
        "id": user_id,
        "name": name,
        "last_name": last_name,
        "time_zone": zone,
        "admin": user_id == 2,
        "departments": [_WORK_IN[user_id - 1]],
        "webhook": {"secret": secret, "scopes": list(_SCOPES)},
    }


def _guests(*user_ids: int, status: str = "Q") -> list[object]:
    return [{"user": user_id, "status": status} for user_id in user_ids]


def _at(day: date, hour: int, minute: int = 0) -> str:
    return f"{day.isoformat()}T{hour:02}:{minute:02}"


def _special(today: date) -> Iterator[dict[str, object]]:
    """Yield one meeting of every kind that behaves in its own way."""
    monday = today - timedelta(days=today.weekday())
    berlin = {"time_zone": "Europe/Berlin"}
    standup = monday - timedelta(weeks=2)
    yield {
        "name": "Daily stand-up", "host": 2, "start": _at(standup, 9, 30), "end": _at(standup, 9, 45),
        "repeat": {"frequency": "WEEKLY", "by_day": ["MO", "TU", "WE", "TH", "FR"]},
        "attendees": _guests(1, 3, 4, 8), "id": datafile.FIRST_ID, **berlin,
    }  # fmt: skip
    weekly = monday - timedelta(weeks=3) + timedelta(days=2)
    moved, cancelled = weekly + timedelta(weeks=4), weekly + timedelta(weeks=5)
    yield {
        "name": "Attendance review", "host": 3, "start": _at(weekly, 14), "end": _at(weekly, 15),
        "repeat": {"frequency": "WEEKLY", "by_day": ["WE"], "count": 12}, "notify": True,
        "except": [moved.isoformat(), cancelled.isoformat()], "id": 701,
        "attendees": _guests(1, 5, 7), "time_zone": "Europe/Moscow",
    }  # fmt: skip
    yield {
        "name": "Attendance review (moved)", "host": 3, "series": 701, "start": _at(moved, 16),
        "end": _at(moved, 17), "notify": True, "attendees": _guests(1, 5, 7), "time_zone": "Europe/Moscow",
    }  # fmt: skip
    yield {
        "name": "Working group: migration", "host": 4, "calendar": {"type": "group", "owner": 1},
        "start": _at(today + timedelta(days=2), 11), "end": _at(today + timedelta(days=2), 12),
        "attendees": [*_guests(4, status="Y"), *_guests(2, 6, 9)], **berlin,
    }  # fmt: skip
    yield {
        "name": "Company meeting", "host": 2, "calendar": {"type": "company_calendar"},
        "start": _at(today + timedelta(days=3), 16), "end": _at(today + timedelta(days=3), 17, 30), "room": 64,
        "attendees": [*_guests(2, status="Y"), *_guests(1, *range(3, 13))], **berlin,
    }  # fmt: skip
    offsite = today + timedelta(days=9)
    yield {
        "name": "Team day", "host": 6, "all_day": True, "start": offsite.isoformat(),
        "end": (offsite + timedelta(days=1)).isoformat(), "attendees": _guests(1, 2, 3, 12),
    }  # fmt: skip
    yield {
        "name": "Salary talk", "host": 2, "private": True, "start": _at(today + timedelta(days=1), 17),
        "end": _at(today + timedelta(days=1), 17, 45), "attendees": _guests(5), **berlin,
    }  # fmt: skip
    yield {
        "name": "Focus time", "host": 1, "start": _at(today + timedelta(days=1), 8),
        "end": _at(today + timedelta(days=1), 10), **berlin,
    }  # fmt: skip
    yield {
        "name": "Hiring round", "host": 5, "start": _at(today + timedelta(days=4), 13),
        "end": _at(today + timedelta(days=4), 14), "notify": True, "time_zone": "Europe/Moscow",
        "attendees": [
            {"user": 8, "status": "Y", "removed": True},
            {"user": 9, "status": "N", "removed": True},
            {"user": 9, "status": "Q"},
            {"user": 1, "status": "Q"},
        ],
    }  # fmt: skip


def _ordinary(dice: random.Random, today: date, number: int) -> dict[str, object]:
    day = today + timedelta(days=dice.randint(-14, 28))
    if day.weekday() > 4:
        day += timedelta(days=7 - day.weekday())
    others = [user_id for user_id in range(1, len(_PEOPLE) + 1) if user_id != _READER]
    guests = dice.sample(others, dice.randint(2, 6))
    host = guests.pop()
    # The reader of the page is invited to most meetings, organises some, and has no part in others.
    part = number % 6
    if part == 5:
        host, guests = _READER, [*guests, host]
    elif part != 4:
        guests = [_READER, *guests]
    hour, minutes = dice.randint(8, 17), dice.choice((30, 60, 90))
    ends = datetime.combine(day, datetime.min.time()) + timedelta(hours=hour, minutes=minutes)
    return {
        "name": dice.choice(_TOPICS),
        "host": host,
        "start": _at(day, hour),
        "end": ends.isoformat(timespec="minutes"),
        "time_zone": _PEOPLE[host - 1][2],
        "location": dice.choice(_PLACES),
        "notify": dice.random() < 0.4,
        "attendees": [
            {"user": user_id, "status": "Q" if user_id == _READER else dice.choice(_STATUSES)} for user_id in guests
        ],
    }
