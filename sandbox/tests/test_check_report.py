"""What the check writes may be shown in public: keys, types, letters and formats, and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox import datafile
from bitrix24_sandbox.check.report import Redactor
from bitrix24_sandbox.check.scratch import DAYS_AGO
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.checking import Check, checking

check = pytest.fixture(checking)

CANARY = "Canary4711"
NOON = {"start": "2026-09-16T12:00", "end": "2026-09-16T13:00", "name": f"{CANARY} event"}
PEOPLE = [
    {"id": 4711471101, "name": CANARY, "last_name": f"{CANARY}!", "login": CANARY,
     "webhook": {"secret": f"{CANARY}a000000", "scopes": ["calendar", "user"]}},
    {"id": 4711471102, "name": f"[{CANARY}]", "webhook": {"secret": f"{CANARY}b000000"}},
]  # fmt: skip
WRONG: tuple[dict[str, Any], ...] = (
    {},
    {"body": json.dumps({"result": {CANARY: {CANARY: [CANARY, 4711471101, f"U{CANARY}", f"Mon {CANARY}"]}}})},
    {"body": json.dumps({"error": CANARY, "error_description": CANARY, CANARY: 1}), "http_status": 400},
    {"body": json.dumps([CANARY]), "headers": {"X-Content-Type-Options": CANARY, f"X-{CANARY}": CANARY}},
    {"body": f"<p>{CANARY}</p>", "content_type": f"text/{CANARY}", "http_status": 502},
    {"body": json.dumps({"result": CANARY, "time": {CANARY: CANARY, "start": CANARY}})},
)  # fmt: skip
PASSED = {"server.time": 0, "calendar.meeting.status.get": 1, "calendar.event.getbyid": 6, "batch": 2, "user.get": 2,
          "scope": 1}  # fmt: skip
"""How many requests pass before the wrong reply, by method."""


@pytest.fixture
def secretive() -> Portal:
    """A portal whose people, events and webhooks are all named after the canary."""
    people = [{**one, "id": one["id"] % 2**31} for one in PEOPLE]
    host, guest = (one["id"] for one in people)
    events = [{"host": host, "attendees": [{"user": guest}], "description": CANARY, **NOON}]
    return Portal(datafile.parse({"people": people, "events": events}))


def _written(folder: Path) -> str:
    return "\n".join(path.read_text("utf-8") for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("wrong", WRONG, ids=range(len(WRONG)))
def test_no_canary_is_in_what_it_writes(
    secretive: Portal, check: Check, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: dict[str, Any]
) -> None:
    caplog.set_level(logging.INFO, logger="httpx")
    host, guest = secretive.book.people
    with SandboxServer(secretive) as server:
        for method, passed in PASSED.items() if wrong else ():
            # The first replies are about users and own meetings, not about facts.
            before = [{"method": method, "times": passed, "delay": 0}] if passed else []
            secretive.plan(*before, {"method": method, **wrong})
        shown = check(
            server, "--scratch", "--report", str(tmp_path / "report.md"), "--record", str(tmp_path / "replies"),
            host=host, guest=guest,
        )  # fmt: skip
        secrets = (CANARY, str(host), str(guest), "127.0.0.1", str(server.port))
    assert len(shown.marked("DIFFERS")) == (len(PASSED) if wrong else 0)
    assert secretive.plan() == []
    written = _written(tmp_path)
    assert "facts checked" in written
    for secret in secrets:
        assert secret.lower() not in written.lower()
        assert secret.lower() not in f"{shown.out}{shown.err}".lower()
    assert not [record for record in caplog.records if record.name == "httpx"]


def test_the_report_shows_replies_of_differences_only(server: SandboxServer, check: Check, tmp_path: Path) -> None:
    server.portal.plan({"method": "scope", "times": 1, "delay": 0},
                       {"method": "scope", "error": "ACCESS_DENIED", "description": "Words"})  # fmt: skip
    assert check(server, "--report", str(tmp_path / "report.md"), guest=None).status == 1
    text = (tmp_path / "report.md").read_text("utf-8")
    assert text.startswith("bitrix24-sandbox 0.1.0 check: 18 facts checked, 1 differ, ")
    assert "| DIFFERS | Envelope: the scopes of a webhook | a list with calendar | null |" in text
    (block,) = text.split("```json")[1:]
    (reply,) = json.loads(block.partition("```")[0])
    assert reply["body"] == {"error": "ACCESS_DENIED", "error_description": "xxxxx"}
    assert (reply["method"], reply["status"]) == ("scope", 401)


def test_recorded_replies_keep_their_shape(server: SandboxServer, check: Check, tmp_path: Path) -> None:
    assert check(server, "--scratch", "--record", str(tmp_path / "replies")).status == 0
    samples = {one["fact"]: one for one in (json.loads(path.read_text("utf-8")) for path in tmp_path.rglob("*.json"))}
    meeting = samples["Rows: a meeting"]["replies"][0]["body"]["result"]
    assert meeting["ID"] == meeting["PARENT_ID"] != "801"
    assert meeting["ATTENDEE_LIST"] == [{"id": int(meeting["OWNER_ID"]), "entryId": meeting["ID"], "status": "H"}]
    assert (meeting["NAME"], meeting["TZ_FROM"], meeting["DT_LENGTH"]) == ("xxxx", "Europe/Berlin", 3600)
    (asked,) = samples["Unknown meetings: the status of an unknown id"]["replies"]
    assert type(asked["params"]["eventId"]) is int
    assert asked["params"]["eventId"] < 1000
    assert set(asked["body"]) == {"error", "error_description"}


def test_rows_of_other_events_are_dropped(
    server: SandboxServer, check: Check, result: Callable[..., Any], tmp_path: Path
) -> None:
    """Busy times are listed whosever they are."""
    day = server.portal.now().date() - timedelta(days=DAYS_AGO - 8)
    event = {"type": "user", "ownerId": 1, "name": "Away", "from": f"{day}T09:00", "to": f"{day}T10:00"}
    event_id = result("calendar.event.add", event)
    busy = result("calendar.accessibility.get", {"users": [1], "from": str(day), "to": str(day)})
    assert [row["ID"] for row in busy["1"]] == [str(event_id)]
    assert check(server, "--scratch", "--record", str(tmp_path / "replies")).status == 0
    (file,) = tmp_path.rglob("*-private-event-among-busy-times*.json")
    (reply,) = json.loads(file.read_text("utf-8"))["replies"]
    assert [len(rows) for rows in reply["body"]["result"].values()] == [1]


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"ID": "651", "PARENT_ID": 651, "OWNER_ID": "7"}, {"ID": "1", "PARENT_ID": 1, "OWNER_ID": "2"}),
        ({"MEETING_STATUS": "Y", "IS_MEETING": True, "OPTIONS": None}, "as it is"),
        ({"ID": "0", "RRULE": "", "REMIND": [], "MEETING": {}}, "as it is"),
        ({"Anna": "Anna", "UF_SECRET": 1}, {"UNKNOWN_0": "xxxx", "UNKNOWN_1": 1}),
        ({"7": [], "12": []}, {"1": [], "2": []}),
        ({"NAME": "26.10.2026"}, {"NAME": "00.00.0000"}),
        ({"TIMESTAMP_X": "10/26/2026 05:59:00 pm"}, {"TIMESTAMP_X": "00/00/0000 00:00:00 pm"}),
        ({"DATE_FROM_FORMATTED": "Mon Oct 26 2026 12:00:00"}, "as it is"),
        ({"DATE_FROM_FORMATTED": "Mon Anna 26"}, {"DATE_FROM_FORMATTED": "xxxxxxxxxxx"}),
        ({"TZ_FROM": "Europe/Berlin"}, "as it is"),
        ({"TZ_FROM": "Asia/Omsk"}, {"TZ_FROM": "xxxxxxxxx"}),
        ({"time": {"start": 1.5, "processing": 3}}, {"time": {"start": 0.0, "processing": 0}}),
        ({"error": "INVALID_CREDENTIALS"}, "as it is"),
        ({"error": "ANNA"}, {"error": "xxxx"}),
        ({"COUNT": 3, "RINDEX": 2, "TZ_OFFSET_FROM": "7200"}, "as it is"),
        ({"ATTENDEES_CODES": ["U1", "D12"]}, {"ATTENDEES_CODES": ["U1", "xxx"]}),
        ("x" * 1000, "x" * 40),
        (1.25, 0.5),
    ],
)  # fmt: skip
def test_what_is_kept(value: Any, kept: Any) -> None:
    assert Redactor().value(value) == (value if kept == "as it is" else kept)


def test_ids_are_the_same_numbers_in_all_of_a_run() -> None:
    redactor = Redactor()
    first = redactor.value({"ID": "651", "PARENT_ID": "650"})
    assert redactor.value({"eventId": 650}) == {"eventId": int(first["PARENT_ID"])}
