from __future__ import annotations

import http.client
import json
import select
import socket
from typing import TYPE_CHECKING, Any

import pytest
import requests
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import TIMEOUT, Gate, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bitrix24_sandbox.portal import Portal

GET = "calendar.meeting.status.get"
SET = "calendar.meeting.status.set"
ANSWER = {"eventId": 651, "status": "N"}
Call = Any


@pytest.mark.parametrize(
    ("rule", "status", "body"),
    [
        ({"error": "QUERY_LIMIT_EXCEEDED"}, 503, {"error": "QUERY_LIMIT_EXCEEDED", "error_description": ""}),
        ({"error": "OVERLOAD_LIMIT"}, 401, {"error": "OVERLOAD_LIMIT", "error_description": ""}),
        ({"error": "", "http_status": 418, "description": "я"}, 418, {"error": "", "error_description": "я"}),
        ({"error": "OWN"}, 400, {"error": "OWN", "error_description": ""}),
    ],
)
def test_error(call: Call, portal: Portal, rule: dict[str, object], status: int, body: object) -> None:
    portal.plan(rule)
    reply = call(SET, ANSWER)
    assert (reply.status_code, reply.json()) == (status, body)
    assert portal.status(651, 1) == "Q"
    assert call(SET, ANSWER).json()["result"] is True


def test_error_statuses_follow_the_setting(call: Call, portal: Portal) -> None:
    portal.configure({"auth_statuses": "docs"})
    portal.plan({"error": "OVERLOAD_LIMIT"}, {"error": "PORTAL_DELETED"})
    assert [call("profile").status_code for _ in range(3)] == [503, 500, 200]


def test_raw_body(call: Call, portal: Portal) -> None:
    portal.plan(
        {
            "body": "<h1>502</h1>", "http_status": 502, "content_type": "text/html",
            "headers": {"Retry-After": "3"},
        },
        {"body": '{"result": tr', "content_type": "application/json"},
    )  # fmt: skip
    reply = call("profile")
    assert (reply.status_code, reply.text, reply.headers["Retry-After"]) == (502, "<h1>502</h1>", "3")
    assert reply.headers["Content-Type"] == "text/html"
    reply = call("profile")
    assert (reply.status_code, reply.text) == (200, '{"result": tr')


def test_redirect(server: SandboxServer) -> None:
    where = "https://new.example/rest/"
    server.portal.plan({"body": "", "http_status": 302, "headers": {"Location": where}})
    reply = requests.post(server.webhook_url(1) + "profile", allow_redirects=False, timeout=TIMEOUT)
    assert (reply.status_code, reply.headers["Location"]) == (302, where)


@pytest.mark.parametrize(("when", "expected"), [("before", "Q"), ("after", "N")])
@pytest.mark.parametrize(
    "trouble", [{"error": "INTERNAL_SERVER_ERROR"}, {"body": "", "http_status": 504}], ids=["error", "body"]
)
def test_before_and_after(call: Call, portal: Portal, trouble: dict[str, object], when: str, expected: str) -> None:
    portal.plan({**trouble, "when": when})
    assert call(SET, ANSWER).status_code >= 500
    assert portal.status(651, 1) == expected


@pytest.mark.parametrize(("when", "expected"), [("before", "Q"), ("after", "N")])
def test_drop_resets_the_connection(call: Call, portal: Portal, when: str, expected: str) -> None:
    portal.plan({"drop": when})
    with pytest.raises(requests.ConnectionError, match="reset by peer"):
        call(SET, ANSWER)
    assert portal.status(651, 1) == expected
    assert call("profile").status_code == 200


@pytest.fixture
def delayed(fresh: Any, clock: Any) -> Iterator[SandboxServer]:
    """A portal whose delays pass on the test's own clock."""
    with SandboxServer(fresh(), sleep=clock.sleep) as server:
        yield server


@pytest.mark.parametrize("when", ["before", "after"])
def test_delay_is_slow_but_correct(delayed: SandboxServer, clock: Any, when: str) -> None:
    delayed.portal.plan({"delay": 30, "when": when})
    reply = requests.post(delayed.webhook_url(1) + SET, json=ANSWER, timeout=TIMEOUT)
    assert reply.json()["result"] is True
    assert clock.slept == [30]
    assert delayed.portal.status(651, 1) == "N"


@pytest.mark.parametrize(("when", "meanwhile"), [("before", "Q"), ("after", "N")])
def test_a_held_answer_holds_up_nobody_else(fresh: Any, when: str, meanwhile: str) -> None:
    """Whether what was asked for is done before or after the delay, no answer comes until that is over."""
    gate = Gate()
    with SandboxServer(fresh(), sleep=gate.sleep) as server, socket.socket() as client:
        server.portal.plan({"method": SET, "delay": 600, "when": when})
        client.connect((server.host, server.port))
        body = json.dumps(ANSWER).encode()
        path = server.webhook_url(1).removeprefix(server.url) + SET
        head = f"POST {path} HTTP/1.1\r\nHost: portal\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        wait_until(lambda: gate.held)
        assert requests.post(server.webhook_url(1) + "profile", timeout=TIMEOUT).status_code == 200
        assert server.portal.status(651, 1) == meanwhile
        assert select.select([client], [], [], 0) == ([], [], [])
        gate.open()
        client.settimeout(TIMEOUT)
        assert client.recv(12) == b"HTTP/1.1 200"
        assert server.portal.status(651, 1) == "N"


def test_matching_and_times(call: Call, portal: Portal) -> None:
    portal.plan({"method": GET, "times": 2, "error": "ONE"}, {"method": "*", "error": "ANY"})
    plan = [("scope", "ANY"), (GET.upper(), "ONE"), ("scope", None), (GET + ".json", "ONE"), (GET, None)]
    assert [(method, call(method, {"eventId": 651}).json().get("error")) for method, _ in plan] == plan


def test_faults_come_before_credentials_and_lookup(server: SandboxServer) -> None:
    server.portal.plan({"error": "QUERY_LIMIT_EXCEEDED", "times": 2})
    for path in ("nothing", "1/wrong/profile"):
        assert requests.get(f"{server.url}/rest/{path}", timeout=TIMEOUT).status_code == 503


def test_refused_requests_are_counted_but_reach_no_method(call: Call, portal: Portal) -> None:
    portal.plan({"error": "QUERY_LIMIT_EXCEEDED"})
    call("profile")
    call("profile")
    assert (portal.count()["requests"], portal.count()["methods"]) == (2, {"profile": 1})


def test_inner_command(result: Callable[..., Any], portal: Portal) -> None:
    rule = {"inner": SET, "error": "OPERATION_TIME_LIMIT", "description": "Method is blocked"}
    portal.plan(rule)
    cmd = {"a": f"{SET}?eventId=651&status=N", "b": f"{SET}?eventId=651&status=Y", "c": "scope"}
    answer = result("batch", {"cmd": cmd})
    assert answer["result_error"] == {"a": {"error": "OPERATION_TIME_LIMIT", "error_description": "Method is blocked"}}
    assert list(answer["result"]) == ["b", "c"]
    assert portal.status(651, 1) == "Y"


def test_inner_rules_leave_requests_alone(result: Callable[..., Any], portal: Portal) -> None:
    portal.plan({"inner": "scope", "error": "X"}, {"method": "scope", "error": "X"})
    assert result("batch", {"cmd": ["profile"]})["result_error"] == []
    assert list(result("batch", {"cmd": {"a": "scope"}})["result_error"]) == ["a"]


def test_delay_before_another_trouble(delayed: SandboxServer, clock: Any) -> None:
    delayed.portal.plan({"delay": 30, "drop": "after"})
    with pytest.raises(requests.ConnectionError):
        requests.post(delayed.webhook_url(1) + SET, json=ANSWER, timeout=TIMEOUT)
    assert clock.slept == [30]
    assert delayed.portal.status(651, 1) == "N"


@pytest.mark.parametrize("corruption", ["reset", "cut", "gzip"])
def test_an_answer_that_cannot_be_read(call: Call, portal: Portal, corruption: str) -> None:
    portal.plan({"corruption": corruption})
    with pytest.raises(requests.RequestException):
        call(SET, ANSWER)
    assert portal.status(651, 1) == "N", "the work is done"
    assert call("profile").status_code == 200


def test_reset_and_cut_differ(server: SandboxServer) -> None:
    """One is an error of the socket, the other an end before its time."""
    for corruption, wanted in (("reset", ConnectionResetError), ("cut", http.client.IncompleteRead)):
        server.portal.plan({"corruption": corruption})
        plain = http.client.HTTPConnection(server.host, server.port, timeout=TIMEOUT)
        plain.request("POST", server.webhook_url(1).removeprefix(server.url) + "profile", "{}")
        with pytest.raises(wanted):
            plain.getresponse().read()
        plain.close()


def test_half_an_answer_passes_for_the_whole(call: Call, portal: Portal) -> None:
    portal.plan({"corruption": "half"})
    reply = call(SET, ANSWER)
    assert reply.status_code == 200
    assert reply.text.startswith('{"result":true')
    with pytest.raises(ValueError):
        reply.json()


@pytest.mark.parametrize(
    ("corruption", "kind"), [("untyped", "text/html"), ("drip", "application/json; charset=utf-8")]
)
def test_an_answer_that_can_be_read_after_all(call: Call, portal: Portal, corruption: str, kind: str) -> None:
    portal.plan({"corruption": corruption})
    reply = call(SET, ANSWER)
    assert (reply.json()["result"], reply.headers["Content-Type"]) == (True, kind)


def test_an_unknown_corruption_is_refused_under_its_own_name(server: SandboxServer) -> None:
    answer = requests.post(f"{server.url}/-/fault", json={"corruption": "nope"}, timeout=TIMEOUT)
    assert (answer.status_code, answer.json()["field"]) == (400, "corruption")
