"""Loading seed data from a YAML or JSON file.

The file lists ``people``, ``events``, ``absences``, ``departments`` and ``groups``; ``example.yaml`` beside this module
shows every key. Ids of events and attendee rows may be left out and are then given in order, starting at 651.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import yaml

from bitrix24_sandbox import checks, structure
from bitrix24_sandbox.checks import MAX_ID, BadInputError, unique
from bitrix24_sandbox.models import (
    ACCESSIBILITIES,
    ANSWERS,
    CALENDAR_TYPES,
    FREQUENCIES,
    IMPORTANCES,
    ROOMS,
    SHARES,
    WEEKDAYS,
    Absence,
    Event,
    Person,
    Repeat,
    Row,
    SeedData,
    Webhook,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FIRST_ID = 651
_PERSON_KEYS = (
    "id", "name", "last_name", "time_zone", "login", "active", "admin", "external", "shares", "webhook",
    "departments",
)  # fmt: skip
_EVENT_KEYS = (
    "id", "name", "description", "location", "calendar", "host", "start", "end", "time_zone", "all_day",
    "notify", "private", "accessibility", "importance", "repeat", "except", "series", "changed", "attendees", "room",
    "crm_links",
)  # fmt: skip
_REPEAT_KEYS = ("frequency", "interval", "by_day", "count", "until")
_ABSENCE_KEYS = ("id", "user", "start", "end", "all_day")


def load(path: Path) -> SeedData:
    """Return the seed data described by a file.

    :param path: a YAML or JSON file.
    :raises BadInputError: naming the key that is wrong.
    """
    try:
        text = path.read_text("utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise BadInputError(str(path), str(error), "a readable YAML or JSON file") from None
    return parse(content)


def parse(content: object) -> SeedData:
    """Return the seed data described by decoded YAML or JSON.

    :raises BadInputError: naming the key that is wrong.
    """
    fields = checks.mapping(content, "", ("people", "events", "absences", "departments", "groups"), ("people",))
    units = checks.sequence(fields.get("departments", [structure.COMPANY]), "departments")
    known = structure.department_ids(units)
    listed = checks.sequence(fields["people"], "people")
    people = [_person(item, f"people[{i}]", known) for i, item in enumerate(listed)]
    unique([person.id for person in people], "people", "id")
    unique([person.login for person in people], "people", "login")
    items = checks.sequence(fields.get("events", []), "events")
    ids = _Ids(items, frozenset(person.id for person in people))
    departments = structure.departments(units, known, ids.person)
    groups = structure.groups(checks.sequence(fields.get("groups", []), "groups"), ids.person)
    parsed = [_event(item, f"events[{i}]", ids) for i, item in enumerate(items)]
    events = tuple(event for event, _ in parsed)
    rows = tuple(row for _, event_rows in parsed for row in event_rows)
    rows += tuple(_booking(event, ids) for event in events if event.room is not None)
    unique([row.id for row in rows], "events", "id")
    _check_series(events)
    found = checks.sequence(fields.get("absences", []), "absences")
    absences = tuple(_absence(item, f"absences[{i}]", i + 1, ids) for i, item in enumerate(found))
    return SeedData(tuple(people), events, rows, absences, departments, groups)


def _person(item: object, field: str, departments: list[int]) -> Person:
    given = checks.mapping(item, field, _PERSON_KEYS, ("id", "name"))
    user_id = checks.integer(given["id"], f"{field}.id", 1, MAX_ID)
    external = checks.flag(given.get("external", False), f"{field}.external")
    usual: list[int] = [] if external else departments[:1]
    works_in = checks.sequence(given.get("departments", usual), f"{field}.departments")
    return Person(
        id=user_id,
        name=checks.text(given["name"], f"{field}.name"),
        last_name=checks.text(given.get("last_name", ""), f"{field}.last_name"),
        time_zone=checks.zone(given.get("time_zone", "UTC"), f"{field}.time_zone"),
        login=checks.text(given.get("login", f"user{user_id}"), f"{field}.login"),
        active=checks.flag(given.get("active", True), f"{field}.active"),
        admin=checks.flag(given.get("admin", False), f"{field}.admin"),
        external=external,
        shares=checks.choice(given.get("shares", "time"), f"{field}.shares", SHARES),
        webhook=_webhook(given["webhook"], f"{field}.webhook") if "webhook" in given else None,
        departments=tuple(
            structure.one_of(one, f"{field}.departments[{i}]", departments, "a department")
            for i, one in enumerate(works_in)
        ),
    )


def _webhook(item: object, field: str) -> Webhook:
    given = checks.mapping(item, field, ("secret", "scopes"), ("secret",))
    secret = checks.text(given["secret"], f"{field}.secret")
    if not (secret.isascii() and secret.isalnum()):
        raise BadInputError(f"{field}.secret", secret, "letters and digits")
    scopes = checks.sequence(given.get("scopes", ["calendar"]), f"{field}.scopes")
    return Webhook(secret, tuple(checks.text(scope, f"{field}.scopes[{i}]") for i, scope in enumerate(scopes)))


class _Ids:
    """Gives ids to rows that were written without."""

    def __init__(self, items: list[object], people: frozenset[int]) -> None:
        self.people = people
        self._taken = set(_written_ids(items))
        self._next = FIRST_ID

    def pick(self, given: dict[str, object], field: str) -> int:
        """Return the id written, or the next one that is written nowhere."""
        if "id" in given:
            return checks.integer(given["id"], f"{field}.id", 1, MAX_ID)
        while self._next in self._taken:
            self._next += 1
        self._taken.add(self._next)
        return self._next

    def person(self, value: object, field: str) -> int:
        """Return the id of somebody listed under ``people``."""
        user_id = checks.integer(value, field, 1, MAX_ID)
        if user_id not in self.people:
            raise BadInputError(field, user_id, f"the id of a person: {', '.join(map(str, sorted(self.people)))}")
        return user_id


def _written_ids(items: list[object]) -> Iterator[object]:
    for item in items:
        if isinstance(item, dict):
            if isinstance(item.get("id"), int):
                yield item["id"]
            attendees = item.get("attendees")
            yield from _written_ids(attendees if isinstance(attendees, list) else [])


@dataclass(frozen=True)
class _Calendar:
    type: str
    owner_id: int


def _event(item: object, field: str, ids: _Ids) -> tuple[Event, list[Row]]:
    given = checks.mapping(item, field, _EVENT_KEYS, ("name", "host", "start", "end"))
    all_day = checks.flag(given.get("all_day", False), f"{field}.all_day")
    host_id = ids.person(given["host"], f"{field}.host")
    calendar = _calendar(given.get("calendar"), f"{field}.calendar", host_id)
    starts = _moment(given["start"], f"{field}.start", all_day)
    ends = _moment(given["end"], f"{field}.end", all_day)
    if ends < starts:
        raise BadInputError(f"{field}.end", given["end"], "a time not before the start")
    event = Event(
        id=ids.pick(given, field),
        calendar_type=calendar.type,
        owner_id=calendar.owner_id,
        host_id=host_id,
        name=checks.text(given["name"], f"{field}.name"),
        description=checks.text(given.get("description", ""), f"{field}.description"),
        location=checks.text(given.get("location", ""), f"{field}.location"),
        starts=starts,
        ends=ends,
        time_zone=checks.zone(given.get("time_zone", "UTC"), f"{field}.time_zone"),
        all_day=all_day,
        is_meeting="attendees" in given,
        notify=checks.flag(given.get("notify", False), f"{field}.notify"),
        private=checks.flag(given.get("private", False), f"{field}.private"),
        accessibility=checks.choice(given.get("accessibility", "busy"), f"{field}.accessibility", ACCESSIBILITIES),
        importance=checks.choice(given.get("importance", "normal"), f"{field}.importance", IMPORTANCES),
        repeat=_repeat(given["repeat"], f"{field}.repeat") if "repeat" in given else None,
        excluded=tuple(
            checks.day(day, f"{field}.except[{i}]")
            for i, day in enumerate(checks.sequence(given.get("except", []), f"{field}.except"))
        ),
        recurrence_id=(checks.integer(given["series"], f"{field}.series", 1, MAX_ID) if "series" in given else None),
        version=1,
        changed=checks.wall_clock(given.get("changed", starts - timedelta(days=14)), f"{field}.changed"),
        room=checks.integer(given["room"], f"{field}.room", 1, MAX_ID) if "room" in given else None,
        crm_links=tuple(
            checks.text(link, f"{field}.crm_links[{i}]")
            for i, link in enumerate(checks.sequence(given.get("crm_links", []), f"{field}.crm_links"))
        ),
    )
    return event, [_parent(event), *_children(event, given, field, ids)]


def _moment(value: object, field: str, all_day: bool) -> datetime:
    if all_day:
        return datetime.combine(checks.day(value, field), datetime.min.time())
    return checks.wall_clock(value, field)


def _calendar(item: object, field: str, host_id: int) -> _Calendar:
    if item is None:
        return _Calendar("user", host_id)
    given = checks.mapping(item, field, ("type", "owner"), ("type",))
    kind = checks.choice(given["type"], f"{field}.type", CALENDAR_TYPES)
    default = {"user": host_id, "company_calendar": 0}.get(kind)
    owner = checks.integer(given.get("owner", default), f"{field}.owner", 0 if kind == "company_calendar" else 1)
    if kind == "user" and owner != host_id:
        raise BadInputError(f"{field}.owner", owner, f"the host, {host_id}, in a personal calendar")
    return _Calendar(kind, owner)


def _repeat(item: object, field: str) -> Repeat:
    given = checks.mapping(item, field, _REPEAT_KEYS, ("frequency",))
    frequency = checks.choice(given["frequency"], f"{field}.frequency", FREQUENCIES)
    # A portal stores a weekly rule without a weekday as Monday, whatever day it starts on.
    days = checks.sequence(given.get("by_day", []), f"{field}.by_day") or (["MO"] if frequency == "WEEKLY" else [])
    return Repeat(
        frequency=frequency,
        interval=checks.integer(given.get("interval", 1), f"{field}.interval", 1, 1000),
        by_day=tuple(checks.choice(day, f"{field}.by_day[{i}]", WEEKDAYS) for i, day in enumerate(days)),
        count=checks.integer(given["count"], f"{field}.count", 1, 5000) if "count" in given else None,
        until=checks.day(given["until"], f"{field}.until") if "until" in given else None,
    )


def _parent(event: Event) -> Row:
    status = "H" if event.is_meeting else ""
    return Row(event.id, event.id, event.calendar_type, event.owner_id, status, deleted=False)


def _booking(event: Event, ids: _Ids) -> Row:
    """Return the row of a booked room; its id comes after those of all events and attendees."""
    return Row(ids.pick({}, ""), event.id, ROOMS, 0, "", deleted=False)


def _absence(item: object, field: str, number: int, ids: _Ids) -> Absence:
    given = checks.mapping(item, field, _ABSENCE_KEYS, ("user", "start", "end"))
    all_day = checks.flag(given.get("all_day", True), f"{field}.all_day")
    starts, ends = (_moment(given[name], f"{field}.{name}", all_day) for name in ("start", "end"))
    if ends < starts:
        raise BadInputError(f"{field}.end", given["end"], "a time not before the start")
    absence_id = checks.integer(given.get("id", number), f"{field}.id", 1, MAX_ID)
    return Absence(absence_id, ids.person(given["user"], f"{field}.user"), starts, ends)


def _children(event: Event, given: dict[str, object], field: str, ids: _Ids) -> Iterator[Row]:
    present = {event.owner_id} if event.calendar_type == "user" else set()
    for index, item in enumerate(checks.sequence(given.get("attendees", []), f"{field}.attendees")):
        here = f"{field}.attendees[{index}]"
        attendee = checks.mapping(item, here, ("user", "status", "removed", "id"), ("user",))
        user_id = ids.person(attendee["user"], f"{here}.user")
        removed = checks.flag(attendee.get("removed", False), f"{here}.removed")
        if user_id in present:
            raise BadInputError(f"{here}.user", user_id, "a person once, apart from removed entries before")
        if not removed:
            present.add(user_id)
        yield Row(
            id=ids.pick(attendee, here),
            parent_id=event.id,
            calendar_type="user",
            owner_id=user_id,
            status=checks.choice(attendee.get("status", "Q"), f"{here}.status", ANSWERS),
            deleted=removed,
        )


def _check_series(events: tuple[Event, ...]) -> None:
    series = {event.id for event in events if event.repeat is not None}
    for index, event in enumerate(events):
        if event.recurrence_id is not None and event.recurrence_id not in series:
            raise BadInputError(f"events[{index}].series", event.recurrence_id, "the id of a repeating event")
