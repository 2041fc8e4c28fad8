from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from bitrix24_sandbox import datafile, structure
from bitrix24_sandbox.checks import BadInputError
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.seed import default_seed_data
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

EXAMPLE = Path(str(files("bitrix24_sandbox").joinpath("example.yaml")))
HOURS = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}


def test_example() -> None:
    seed_data = datafile.load(EXAMPLE)
    budget, weekly, moved, group, offsite, doctor = seed_data.events
    assert (budget.id, budget.notify, budget.starts) == (651, True, datetime(2026, 9, 16, 10, 0))  # noqa: DTZ001
    assert weekly.excluded == (date(2026, 9, 14), date(2026, 9, 21))
    assert moved.recurrence_id == weekly.id == 670
    assert (group.calendar_type, group.owner_id) == ("group", 7)
    assert (offsite.all_day, offsite.is_meeting, doctor.is_meeting, doctor.private) == (
        True,
        True,
        False,
        True,
    )
    rows = [(row.id, row.owner_id, row.status, row.deleted) for row in seed_data.rows if row.parent_id == 651]
    people, (room,) = rows[:4], rows[4:]
    assert people == [(651, 2, "H", False), (652, 1, "Q", False), (660, 3, "Y", False), (653, 4, "N", True)]
    # Its id is given after those of all events and attendees.
    assert room == (663, 0, "", False)
    assert [(one.id, one.user_id, f"{one.starts:%d %H}", f"{one.ends:%d %H}") for one in seed_data.absences] == [
        (5, 3, "21 00", "25 00"), (2, 1, "22 09", "22 11"),
    ]  # fmt: skip


def test_example_shows_every_key() -> None:
    content = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    assert {key for person in content["people"] for key in person} == set(datafile._PERSON_KEYS)
    assert {key for event in content["events"] for key in event} == set(datafile._EVENT_KEYS)
    assert {key for absence in content["absences"] for key in absence} == set(datafile._ABSENCE_KEYS)
    assert {key for unit in content["departments"] for key in unit} == set(structure.DEPARTMENT_KEYS)
    assert {key for group in content["groups"] for key in group} == set(structure.GROUP_KEYS)


def test_departments_and_groups() -> None:
    seed_data = datafile.load(EXAMPLE)
    assert [(unit.id, unit.parent_id, unit.head_id) for unit in seed_data.departments] == [(1, None, None), (2, 1, 2)]
    assert {person.id: person.departments for person in seed_data.people} == {1: (1,), 2: (2,), 3: (1,), 4: ()}
    (group,) = seed_data.groups
    assert (group.id, group.owner_id, group.moderators, group.members) == (7, 2, (1,), (3, 4))


def test_example_is_served() -> None:
    with SandboxServer(Portal(datafile.load(EXAMPLE))) as server:
        get = server.webhook_url(1) + "calendar.meeting.status.get"
        assert requests.post(get, json={"eventId": 651}, timeout=TIMEOUT).json()["result"] == "Q"


def test_json_file(tmp_path: Path) -> None:
    file = tmp_path / "portal.json"
    content = yaml.safe_load(EXAMPLE.read_text("utf-8"))
    file.write_text(json.dumps(content, default=str, indent="\t"), "utf-8")
    assert datafile.load(file) == datafile.load(EXAMPLE)


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.yaml", "people: ["), ("a.json", "{"), ("a.yaml", "\tx"), ("a.yaml", "!!python/object:os.x {}")],
)
def test_unreadable_file(tmp_path: Path, name: str, text: str) -> None:
    file = tmp_path / name
    file.write_text(text, "utf-8")
    with pytest.raises(BadInputError, match="a readable YAML or JSON file"):
        datafile.load(file)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="no-such-file"):
        datafile.load(tmp_path / "no-such-file.yaml")


def seed_data(person: dict[str, Any], event: dict[str, Any], *more: dict[str, Any]) -> dict[str, Any]:
    first = {"id": 1, "name": "A", **person}
    meeting = {"name": "M", "host": 1, **HOURS, **event}
    return {"people": [first, {"id": 2, "name": "B"}], "events": [meeting, *more]}


def absence(fields: dict[str, Any]) -> dict[str, Any]:
    return {**seed_data({}, {}), "absences": [{"user": 1, "start": "2026-09-16", "end": "2026-09-16", **fields}]}


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (None, ""),
        ([], ""),
        ({}, "people"),
        ({"people": {}}, "people"),
        ({"people": [], "rooms": []}, "rooms"),
        ({"people": [], "events": 1}, "events"),
        ({"people": ["Anna"]}, "people[0]"),
        (seed_data({"id": 2}, {}), "people"),
        (seed_data({"id": "1"}, {}), "people[0].id"),
        (seed_data({"id": 0}, {}), "people[0].id"),
        (seed_data({"name": None}, {}), "people[0].name"),
        (seed_data({"nick": "x"}, {}), "people[0].nick"),
        (seed_data({"time_zone": "Mars"}, {}), "people[0].time_zone"),
        (seed_data({"time_zone": "../etc"}, {}), "people[0].time_zone"),
        (seed_data({"active": "yes"}, {}), "people[0].active"),
        (seed_data({"shares": "some"}, {}), "people[0].shares"),
        (seed_data({"login": "user2"}, {}), "people"),
        (seed_data({"webhook": {}}, {}), "people[0].webhook.secret"),
        (seed_data({"webhook": {"secret": "a/b"}}, {}), "people[0].webhook.secret"),
        (seed_data({"webhook": {"secret": ""}}, {}), "people[0].webhook.secret"),
        (seed_data({"webhook": {"secret": "a", "scopes": [1]}}, {}), "people[0].webhook.scopes[0]"),
        (seed_data({}, {"host": 9}), "events[0].host"),
        (seed_data({}, {"title": "x"}), "events[0].title"),
        (seed_data({}, {"start": "tomorrow"}), "events[0].start"),
        (seed_data({}, {"start": "2026-09-16T10:00Z"}), "events[0].start"),
        (seed_data({}, {"start": 5}), "events[0].start"),
        (seed_data({}, {"end": "2026-09-16T09:00"}), "events[0].end"),
        (seed_data({}, {"all_day": True}), "events[0].start"),
        (seed_data({}, {"id": 0}), "events[0].id"),
        (seed_data({}, {"importance": "huge"}), "events[0].importance"),
        (seed_data({}, {"accessibility": "maybe"}), "events[0].accessibility"),
        (seed_data({}, {"calendar": {"type": "room"}}), "events[0].calendar.type"),
        (seed_data({}, {"calendar": {"type": "group"}}), "events[0].calendar.owner"),
        (seed_data({}, {"calendar": {"type": "user", "owner": 2}}), "events[0].calendar.owner"),
        (seed_data({}, {"repeat": {"frequency": "HOURLY"}}), "events[0].repeat.frequency"),
        (seed_data({}, {"repeat": {"frequency": "DAILY", "interval": 0}}), "events[0].repeat.interval"),
        (seed_data({}, {"repeat": {"frequency": "WEEKLY", "by_day": ["Monday"]}}), "events[0].repeat.by_day[0]"),
        (seed_data({}, {"except": ["x"]}), "events[0].except[0]"),
        (seed_data({}, {"room": "Baikal"}), "events[0].room"),
        (
            {**seed_data({}, {}), "absences": [{"user": 9, "start": "2026-09-16", "end": "2026-09-16"}]},
            "absences[0].user",
        ),
        (
            {**seed_data({}, {}), "absences": [{"user": 1, "start": "2026-09-16", "end": "2026-09-15"}]},
            "absences[0].end",
        ),
        (
            {**seed_data({}, {}), "absences": [{"user": 1, "start": "2026-09-16T10:00", "end": "2026-09-16T11:00"}]},
            "absences[0].start",
        ),
        (seed_data({}, {"series": 5}), "events[0].series"),
        (seed_data({}, {"attendees": [1]}), "events[0].attendees[0]"),
        (seed_data({}, {"attendees": [{"user": 9}]}), "events[0].attendees[0].user"),
        (seed_data({}, {"attendees": [{"user": 1}]}), "events[0].attendees[0].user"),
        (seed_data({}, {"attendees": [{"user": 2}, {"user": 2}]}), "events[0].attendees[1].user"),
        (seed_data({}, {"attendees": [{"user": 2, "status": "H"}]}), "events[0].attendees[0].status"),
        (seed_data({}, {"attendees": [{"user": 2, "removed": 1}]}), "events[0].attendees[0].removed"),
        (seed_data({}, {"id": 5}, {"name": "N", "host": 1, **HOURS, "id": 5}), "events"),
        (seed_data({"departments": [2]}, {}), "people[0].departments[0]"),
        (seed_data({"departments": 1}, {}), "people[0].departments"),
        ({**seed_data({}, {}), "departments": {}}, "departments"),
        ({**seed_data({}, {}), "departments": [{"id": 1}]}, "departments[0].name"),
        ({**seed_data({}, {}), "departments": [{"id": 1, "name": "C"}, {"id": 1, "name": "D"}]}, "departments"),
        ({**seed_data({}, {}), "departments": [{"id": 1, "name": "C", "parent": 1}]}, "departments[0].parent"),
        ({**seed_data({}, {}), "departments": [{"id": 1, "name": "C", "head": 9}]}, "departments[0].head"),
        ({**seed_data({}, {}), "groups": [{"id": 1, "name": "G"}]}, "groups[0].owner"),
        ({**seed_data({}, {}), "groups": [{"id": 1, "name": "G", "owner": 9}]}, "groups[0].owner"),
        ({**seed_data({}, {}), "groups": [{"id": 0, "name": "G", "owner": 1}]}, "groups[0].id"),
        ({**seed_data({}, {}), "groups": [{"id": 1, "name": "G", "owner": 1, "members": [9]}]}, "groups[0].members[0]"),
        ({**seed_data({}, {}), "groups": [{"id": 1, "name": "G", "owner": 1, "members": [2, 1]}]}, "groups[0]"),
        ({**seed_data({}, {}), "groups": [{"id": 1, "name": "G", "owner": 1}] * 2}, "groups"),
    ],
)
def test_bad_file_names_the_key(content: object, field: str) -> None:
    with pytest.raises(BadInputError) as caught:
        datafile.parse(content)
    assert caught.value.field == field
    assert caught.value.accepted


def test_ids_are_given_around_written_ones() -> None:
    second = {"name": "N", "host": 1, **HOURS, "attendees": [{"user": 2}]}
    parsed = datafile.parse(seed_data({}, {"attendees": [{"user": 2, "id": 653}]}, second))
    assert [row.id for row in parsed.rows] == [651, 653, 652, 654]


def test_default_seed_data_is_the_same_for_a_seed() -> None:
    day = date(2026, 9, 16)
    assert default_seed_data(1, day) == default_seed_data(1, day)
    assert default_seed_data(1, day) != default_seed_data(2, day)


@pytest.mark.parametrize("day", [date(2026, 9, 16), date(2026, 2, 28), date(2026, 12, 27), date(2028, 2, 29)])
def test_default_seed_data_has_everything(day: date) -> None:
    seed_data = default_seed_data(7, day)
    assert len(seed_data.people) == 12
    assert 110 <= len(seed_data.events) <= 130
    assert min(row.id for row in seed_data.rows) == 651
    mine = [row for row in seed_data.rows if row.owner_id == 1 and row.calendar_type == "user"]
    assert sum(row.status == "Q" and not row.is_parent for row in mine) > 50
    assert sum(row.is_parent and row.status == "H" for row in mine) > 10
    invited = {row.parent_id for row in mine}
    assert sum(event.id not in invited for event in seed_data.events) > 10
    assert Counter(event.calendar_type for event in seed_data.events) == {
        "user": len(seed_data.events) - 2, "group": 1, "company_calendar": 1,
    }  # fmt: skip
    assert len({event.time_zone for event in seed_data.events}) > 5
    assert any(event.all_day for event in seed_data.events)
    assert any(event.private for event in seed_data.events)
    series = {event.id for event in seed_data.events if event.repeat is not None and event.excluded}
    assert [event.id for event in seed_data.events if event.recurrence_id in series]
    assert all(abs((event.starts.date() - day).days) <= 31 for event in seed_data.events)
    secrets = [person.webhook.secret for person in seed_data.people if person.webhook is not None]
    assert len(set(secrets)) == 12
    assert all(len(secret) == 16 and secret.isalnum() for secret in secrets)
