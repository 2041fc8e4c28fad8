from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import requests

from sandbox.tests.sync import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitrix24_sandbox.portal import Portal
    from bitrix24_sandbox.server import SandboxServer

GET = "calendar.meeting.status.get"
SET = "calendar.meeting.status.set"
Control = Any


def state(server: SandboxServer) -> Any:
    reply = requests.get(f"{server.url}/-/state", timeout=TIMEOUT)
    assert reply.status_code == 200
    return reply.json()


def test_state(server: SandboxServer) -> None:
    seen = state(server)
    assert {"id": 1, "name": "Anna O'Hara <&>", "time_zone": "Europe/Moscow", "active": True} in seen["people"]
    meetings = {meeting["id"]: meeting for meeting in seen["meetings"]}
    plain = meetings[651]
    assert (plain["start"], plain["end"]) == ("2026-09-16T10:00:00+02:00", "2026-09-16T11:00:00+02:00")
    assert plain["attendees"][:2] == [
        {"user_id": 2, "row_id": 651, "status": "H", "removed": False},
        {"user_id": 1, "row_id": 652, "status": "Q", "removed": False},
    ]
    assert (meetings[660]["repeats"], meetings[670]["edited_from"]) == ("weekly", 660)
    assert (meetings[770]["start"], meetings[770]["end"]) == ("2026-09-18", "2026-09-19")
    assert meetings[721 - 1]["attendees"][1]["removed"] is True


def test_state_holds_no_secrets(server: SandboxServer) -> None:
    text = requests.get(f"{server.url}/-/state", timeout=TIMEOUT).text
    for person in server.portal.book.people.values():
        assert person.webhook is None or person.webhook.secret not in text


def test_nothing_here_is_a_rest_request(server: SandboxServer, control: Control) -> None:
    control("answer", {"event_id": 651, "user_id": 1, "status": "Y"})
    state(server)
    counters = requests.get(f"{server.url}/-/counters", timeout=TIMEOUT).json()
    assert (counters["requests"], counters["methods"]) == (0, {})


def test_somebody_answers(control: Control, result: Callable[..., Any], portal: Portal) -> None:
    for row in (651, 652, 653):
        assert control("answer", {"event_id": row, "user_id": 5, "status": "N"}).status_code == 200
    assert portal.status(651, 5) == "N"
    assert result(GET, {"eventId": 651}) == "Q"
    assert portal.count()["notifications"] == {"651": {"declined": 3}}


def test_removed_and_invited_again(control: Control, result: Callable[..., Any], portal: Portal) -> None:
    control("answer", {"event_id": 651, "user_id": 1, "status": "Y"})
    assert control("remove", {"event_id": 651, "user_id": 1}).status_code == 200
    assert result(GET, {"eventId": 651}) == "Y"
    assert portal.status(651, 1) is None
    row = control("invite", {"event_id": 651, "user_id": 1}).json()["row_id"]
    assert row > 800
    assert result(GET, {"eventId": row}) == "Q"
    assert result(GET, {"eventId": 651}) == "Y"
    assert portal.status(651, 1) == "Q"


@pytest.mark.parametrize(
    ("action", "body", "field"),
    [
        ("answer", {"event_id": 999, "user_id": 1, "status": "Y"}, "event_id"),
        ("answer", {"event_id": 690, "user_id": 1, "status": "Y"}, "event_id"),
        ("answer", {"event_id": "651", "user_id": 1, "status": "Y"}, "event_id"),
        ("answer", {"event_id": True, "user_id": 1, "status": "Y"}, "event_id"),
        ("answer", {"event_id": 651, "user_id": 7, "status": "Y"}, "user_id"),
        ("answer", {"event_id": 651, "user_id": 2, "status": "Y"}, "user_id"),
        ("answer", {"event_id": 720, "user_id": 1, "status": "Y"}, "user_id"),
        ("answer", {"event_id": 651, "user_id": 1, "status": "H"}, "status"),
        ("answer", {"event_id": 651, "user_id": 1, "status": "y"}, "status"),
        ("answer", {"event_id": 651, "user_id": 1, "status": None}, "status"),
        ("answer", {"event_id": 651, "user_id": 1}, "status"),
        ("answer", {"event_id": 651, "user_id": 1, "status": "Y", "x": 1}, "x"),
        ("answer", [], ""),
        ("answer", None, "body"),
        ("invite", {"event_id": 651, "user_id": 1}, "user_id"),
        ("invite", {"event_id": 651, "user_id": 99}, "user_id"),
        ("remove", {"event_id": 651, "user_id": 7}, "user_id"),
        ("remove", {"event_id": 651, "user_id": 2}, "user_id"),
        ("settings", {"language": "de"}, "language"),
        ("settings", {"language": None}, "language"),
        ("settings", {"auth_statuses": "both"}, "auth_statuses"),
        ("settings", {"time_start": 1}, "time_start"),
        ("settings", {"operating": ""}, "operating"),
        ("settings", {"plan": "free"}, "plan"),
        ("settings", {"culture": "x"}, "culture"),
        ("settings", {"server_zone": "Moscow"}, "server_zone"),
        ("settings", {"plan": None}, "plan"),
        ("settings", {"rate": -1}, "rate"),
        ("settings", {"rate": True}, "rate"),
        ("settings", {"burst": 0}, "burst"),
        ("settings", {"burst": 1.5}, "burst"),
        ("settings", {"latency_ms": None}, "latency_ms"),
        ("settings", {"command_ms": "15"}, "command_ms"),
        ("settings", {"operating_limit_s": "480"}, "operating_limit_s"),
        ("settings", {"operating_s": 5}, "operating_s"),
        ("settings", {"operating_s": {"profile": None}}, "operating_s.profile"),
        ("settings", {"blocked": 1}, "blocked"),
        ("settings", {"x": 1}, "x"),
        ("settings", 5, ""),
        ("fault", {}, "fault"),
        ("fault", 5, "fault"),
        ("fault", {"method": "profile"}, "fault"),
        ("fault", {"error": 5}, "error"),
        ("fault", {"error": "X", "times": 0}, "times"),
        ("fault", {"error": "X", "times": "1"}, "times"),
        ("fault", {"error": "X", "when": "later"}, "when"),
        ("fault", {"error": "X", "http_status": 99}, "http_status"),
        ("fault", {"error": "X", "method": 5}, "method"),
        ("fault", {"error": "X", "body": "x"}, "body"),
        ("fault", {"error": "X", "headers": {}}, "headers"),
        ("fault", {"body": 1}, "body"),
        ("fault", {"body": "", "headers": []}, "headers"),
        ("fault", {"body": "", "headers": {"A": 1}}, "headers.A"),
        ("fault", {"delay": -1}, "delay"),
        ("fault", {"delay": "1"}, "delay"),
        ("fault", {"drop": True}, "drop"),
        ("fault", {"drop": "before", "when": "after"}, "when"),
        ("fault", {"inner": "profile"}, "error"),
        ("fault", {"inner": "profile", "error": "X", "when": "after"}, "when"),
        ("fault", [{"error": "X"}, {"error": "X", "times": -1}], "[1].times"),
    ],
)
def test_bad_input(control: Control, server: SandboxServer, action: str, body: object, field: str) -> None:
    before = state(server)
    reply = control(action, body)
    assert reply.status_code == 400
    problem = reply.json()
    assert set(problem) == {"error", "field", "value", "accepted"}
    assert problem["field"] == field
    assert problem["accepted"]
    for name in ("people", "meetings", "settings"):
        assert state(server)[name] == before[name]
    assert requests.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
def test_body_that_is_no_json(server: SandboxServer, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    reply = requests.post(f"{server.url}/-/answer", data=body, headers=headers, timeout=TIMEOUT)
    assert (reply.status_code, reply.json()["field"]) == (400, "body")


def test_settings_are_kept_until_reset(control: Control, portal: Portal) -> None:
    answer = control("settings", {"language": "ru", "operating": "absent"}).json()
    assert (answer["language"], answer["operating"], answer["time_start"]) == ("ru", "absent", "int")
    control("settings", {"time_start": "float"})
    assert (portal.settings.language, portal.settings.time_start) == ("ru", "float")
    control("reset")
    assert (portal.settings.language, portal.settings.time_start) == ("en", "int")


def test_faults_are_listed_and_forgotten(control: Control, server: SandboxServer) -> None:
    rules = [{"error": "X", "times": 3}, {"inner": "SCOPE", "error": "Y"}]
    waiting = control("fault", rules).json()["waiting"]
    assert waiting == [{"method": "*", "times": 3}, {"inner": "scope", "times": 1}]
    assert requests.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 400
    assert requests.delete(f"{server.url}/-/fault", timeout=TIMEOUT).json() == {"waiting": []}
    assert requests.get(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 200


def test_reset(control: Control, result: Callable[..., Any], portal: Portal) -> None:
    result(SET, {"eventId": 651, "status": "N"})
    control("invite", {"event_id": 651, "user_id": 7})
    control("fault", {"error": "X"})
    assert control("reset").json() == {"ok": True}
    assert portal.status(651, 1) == "Q"
    assert portal.status(651, 7) is None
    counts = portal.count()
    assert (counts["requests"], counts["methods"], counts["notifications"]) == (0, {}, {})
    assert result("scope") == ["calendar"]


def test_connections(server: SandboxServer, control: Control) -> None:
    counters = f"{server.url}/-/counters"
    with requests.Session() as session:
        first = session.get(counters, timeout=TIMEOUT).json()["connections"]
        second = session.get(counters, timeout=TIMEOUT).json()["connections"]
        assert second["seen"] == first["seen"]
        third = requests.get(counters, timeout=TIMEOUT).json()["connections"]
        assert third["seen"] == first["seen"] + 1
        assert third["open"] >= 2


@pytest.mark.parametrize(
    ("verb", "path"), [("GET", "/-/answer"), ("POST", "/-/state"), ("GET", "/-/x"), ("GET", "/rest")]
)
def test_wrong_addresses(server: SandboxServer, verb: str, path: str) -> None:
    assert requests.request(verb, server.url + path, timeout=TIMEOUT).status_code in (404, 405)
