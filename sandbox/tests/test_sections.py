"""``calendar.section.get``: the sections of every type of calendar, as far as the caller sees them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from bitrix24_sandbox import datafile
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT

RECORDED = Path(__file__).parents[2] / "tests" / "samples" / "calendar.section.get" / "rooms.json"


def _names(rows: list[dict[str, Any]]) -> dict[str, str]:
    return {row["ID"]: row["NAME"] for row in rows}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"type": "user"}, {"11": "My calendar", "12": "Invitations"}),
        ({"type": "user", "ownerId": 2}, {"21": "My calendar", "22": "Invitations"}),
        ({"type": "user", "ownerId": 8}, {}),
        ({"type": "user", "ownerId": 99}, {}),
        ({"type": "group", "ownerId": 9}, {"93": "Migration"}),
        ({"type": "group", "ownerId": 1}, {"13": "Group 1"}),
        ({"type": "group", "ownerId": 99}, {}),
        ({"type": "company_calendar", "ownerId": 0}, {"4": "Company calendar"}),
        ({"type": "location", "ownerId": 0}, {}),
        ({"type": "own_type", "ownerId": 0}, {}),
    ],
)
def test_sections(parameters: object, expected: dict[str, str], result: Callable[..., Any]) -> None:
    assert _names(result("calendar.section.get", parameters)) == expected


def test_each_section_has_the_events_that_name_it(result: Callable[..., Any]) -> None:
    window = {"from": "2026-09-01", "to": "2026-10-01"}
    for kind, owner in (("user", 2), ("group", 9), ("company_calendar", 0)):
        rows = result("calendar.event.get", {"type": kind, "ownerId": owner, **window}, user=2)
        listed = _names(result("calendar.section.get", {"type": kind, "ownerId": owner}, user=2))
        assert {row["SECTION_ID"] for row in rows} <= set(listed), kind


def test_only_the_owner_may_edit(result: Callable[..., Any]) -> None:
    own, foreign = (result("calendar.section.get", {"type": "user", "ownerId": user})[0] for user in (1, 2))
    assert (own["PERM"]["edit"], foreign["PERM"]["edit"]) == (True, False)


def test_rooms_have_the_fields_of_a_recorded_reply() -> None:
    (room, *_) = json.loads(RECORDED.read_text("utf-8"))["body"]["result"]
    data = datafile.load(Path(str(datafile.__file__)).with_name("example.yaml"))
    with SandboxServer(Portal(data)) as server:
        asked = {"type": "location", "ownerId": 0}
        reply = requests.post(server.webhook_url(1) + "calendar.section.get", json=asked, timeout=TIMEOUT).json()
    (row,) = reply["result"]
    assert (row["ID"], row["NAME"]) == ("64", "Room 64")
    assert [list(row), list(row["PERM"]), list(row["EXPORT"])] == [list(room), list(room["PERM"]), list(room["EXPORT"])]


@pytest.mark.parametrize(
    ("parameters", "user"),
    [({}, 1), ({"ownerId": 1}, 1), ({"type": "group"}, 1), ({"type": "location"}, 1), ({"type": "user"}, 4)],
)
def test_refused(parameters: object, user: int, call: Callable[..., requests.Response]) -> None:
    reply = call("calendar.section.get", parameters, user)
    assert (reply.status_code, reply.json()["error"]) == (400, "")
