"""Addresses, verbs, bodies, suffixes, credentials: everything around a method."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import requests

from sandbox.tests.sync import TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from bitrix24_sandbox.portal import Portal
    from bitrix24_sandbox.server import SandboxServer

GET = "calendar.meeting.status.get"
EVERY_SCOPE = ["calendar", "user", "im", "sonet_group", "department"]
SECRET = "anna000000000001"
NOT_FOUND = {"error": "ERROR_METHOD_NOT_FOUND", "error_description": "Method not found!"}
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def code(reply: requests.Response) -> tuple[int, str]:
    return reply.status_code, reply.json()["error"]


@pytest.mark.parametrize(
    "path",
    [
        f"1/{SECRET}/profile",
        f"1/{SECRET}/profile/",
        f"1/{SECRET}/PROFILE",
        f"1/{SECRET}/Profile.json",
        f"1/{SECRET}/profile.JSON/",
        f"profile?aplogin=1&ap={SECRET}",
        f"profile.json/?aplogin=1&ap={SECRET}",
        f"1/{SECRET}/profile?aplogin=2&ap=wrong",
    ],
)
@pytest.mark.parametrize("verb", ["GET", "POST", "PUT"])
def test_address(server: SandboxServer, path: str, verb: str) -> None:
    reply = requests.request(verb, f"{server.url}/rest/{path}", timeout=TIMEOUT)
    assert reply.status_code == 200
    assert reply.json()["result"]["ID"] == "1"


@pytest.mark.parametrize(
    "path",
    [
        "", "nothing", "profile.yaml", "profile.json.json", f"1/{SECRET}/", f"1/{SECRET}",
        f"1/{SECRET}/x/profile", "1/profile", "a/b/c/d/e", "1//profile.txt", "1/wrong/nothing",
    ],
)  # fmt: skip
def test_method_is_looked_up_before_credentials(server: SandboxServer, path: str) -> None:
    reply = requests.get(f"{server.url}/rest/{path}", timeout=TIMEOUT)
    assert reply.status_code == 404
    assert reply.json() == NOT_FOUND


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("profile", "NO_AUTH_FOUND"),
        ("profile?aplogin=1", "NO_AUTH_FOUND"),
        (f"profile?ap={SECRET}", "NO_AUTH_FOUND"),
        ("profile?auth=token", "invalid_token"),
        ("1/wrong/profile", "INVALID_CREDENTIALS"),
        ("1/martin0000000002/profile", "INVALID_CREDENTIALS"),
        (f"2/{SECRET}/profile", "INVALID_CREDENTIALS"),
        (f"99/{SECRET}/profile", "INVALID_CREDENTIALS"),
        (f"01/{SECRET}/profile", "INVALID_CREDENTIALS"),
        (f"1/{SECRET.upper()}/profile", "INVALID_CREDENTIALS"),
        ("5/anything/profile", "INVALID_CREDENTIALS"),
        ("3/gone000000000003/profile", "authorization_error"),
        ("6/scopeless0000006/calendar.meeting.status.get", "insufficient_scope"),
    ],
)
@pytest.mark.parametrize(
    ("column", "statuses"),
    [
        ("module", {}),
        ("docs", {"INVALID_CREDENTIALS": 403, "insufficient_scope": 403}),
    ],
)
def test_credentials(server: SandboxServer, path: str, error: str, column: str, statuses: dict[str, int]) -> None:
    server.portal.configure({"auth_statuses": column})
    reply = requests.get(f"{server.url}/rest/{path}", timeout=TIMEOUT)
    assert code(reply) == (statuses.get(error, 401), error)
    assert set(reply.json()) == {"error", "error_description"}


def test_login_in_place_of_the_id(server: SandboxServer) -> None:
    reply = requests.get(f"{server.url}/rest/martin/martin0000000002/profile", timeout=TIMEOUT)
    assert reply.json()["result"]["ID"] == "2"


def test_method_outside_the_scope_that_needs_none(result: Callable[..., Any]) -> None:
    assert result("profile", user=6)["NAME"] == "Scopeless"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, '{"eventId": 651}'),
        ({"Content-Type": "Application/JSON; charset=cp1251"}, '{"eventId": 651}'),
        ({"Content-Type": "application/vnd.api+json"}, '{"eventId": 651}'),
        (FORM, "eventId=651"),
        ({"Content-Type": "application/x-www-form-urlencoded; charset=UTF-8"}, "x=1&eventId=651"),
    ],
)
def test_body_is_read(server: SandboxServer, headers: dict[str, str], body: str) -> None:
    reply = requests.post(server.webhook_url(1) + GET, data=body, headers=headers, timeout=TIMEOUT)
    assert reply.json().get("result") == "Q", reply.text


def test_multipart_body(server: SandboxServer) -> None:
    fields = {
        "cmd[a]": (None, f"{GET}?eventId=651"),
        "cmd[b]": ("file.txt", "profile"),
        "cmd[c]": (None, "profile"),
    }
    reply = requests.post(server.webhook_url(1) + "batch", files=fields, timeout=TIMEOUT)
    assert list(reply.json()["result"]["result"]) == ["a", "c"]
    broken = {"Content-Type": "multipart/form-data"}
    reply = requests.post(server.webhook_url(1) + "batch", data=b"--x", headers=broken, timeout=TIMEOUT)
    assert reply.json()["result"]["result"] == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (JSON, "{"),
        (JSON, "651"),
        (JSON, '"eventId"'),
        (JSON, "eventId=651"),
        (FORM, '{"eventId": 651}'),
        ({"Content-Type": "text/plain"}, '{"eventId": 651}'),
        ({}, b'{"eventId": 651}'),
    ],
)
def test_body_is_dropped(server: SandboxServer, headers: dict[str, str], body: str | bytes) -> None:
    url = server.webhook_url(1)
    reply = requests.post(url + GET, data=body, headers=headers, timeout=TIMEOUT)
    assert code(reply) == (400, "")
    assert "eventId" in reply.json()["error_description"]
    batch = requests.post(url + "batch", data=body, headers=headers, timeout=TIMEOUT)
    assert batch.status_code == 200
    assert list(batch.json()["result"].values()) == [[], [], [], [], []]


@pytest.mark.parametrize(
    ("verb", "status"), [("GET", 400), ("POST", 200), ("PUT", 400), ("DELETE", 400), ("PATCH", 400)]
)
def test_only_post_has_a_body(server: SandboxServer, verb: str, status: int) -> None:
    reply = requests.request(verb, server.webhook_url(1) + GET, json={"eventId": 651}, timeout=TIMEOUT)
    assert reply.status_code == status


@pytest.mark.parametrize("verb", ["GET", "POST", "PUT"])
def test_query_is_read_with_any_verb(server: SandboxServer, verb: str) -> None:
    url = server.webhook_url(1) + "calendar.meeting.status.set?eventId=651&status=N"
    assert requests.request(verb, url, timeout=TIMEOUT).json()["result"] is True
    assert server.portal.status(651, 1) == "N"


def test_body_wins_over_query(server: SandboxServer) -> None:
    url = server.webhook_url(1) + GET + "?eventId=999"
    assert requests.post(url, json={"eventId": 651}, timeout=TIMEOUT).json()["result"] == "Q"


def test_path_wins_over_body(server: SandboxServer) -> None:
    sent = {"aplogin": "2", "ap": "wrong", "method": "scope"}
    reply = requests.post(server.webhook_url(1) + "profile", json=sent, timeout=TIMEOUT)
    assert reply.json()["result"]["ID"] == "1"


def test_credentials_in_the_body(server: SandboxServer) -> None:
    sent = {"aplogin": 1, "ap": SECRET}
    assert requests.post(f"{server.url}/rest/profile", json=sent, timeout=TIMEOUT).json()["result"]["ID"] == "1"
    arrays: dict[str, Any] = {"aplogin": [1], "ap": [SECRET]}
    assert code(requests.post(f"{server.url}/rest/profile", json=arrays, timeout=TIMEOUT))[1] == "INVALID_CREDENTIALS"


def test_xml_loses_types(server: SandboxServer, portal: Portal) -> None:
    url = server.webhook_url(1)

    def body(path: str) -> str:
        reply = requests.get(url + path, timeout=TIMEOUT)
        assert reply.headers["Content-Type"] == "text/xml; charset=utf-8"
        return reply.text.partition("<time>")[0].partition("<response>")[2]

    assert body("calendar.meeting.status.set.xml?eventId=651&status=Y") == "<result>1</result>"
    assert body("calendar.meeting.status.get.xml?eventId=710") == "<result></result>"
    assert body("scope.xml") == "<result><item>calendar</item></result>"
    assert "<ADMIN></ADMIN>" in body("profile.xml")
    assert "<LAST_NAME>O&#x27;Hara &lt;&amp;&gt;</LAST_NAME>" in body("profile.xml")
    failed = requests.get(url + "calendar.meeting.status.get.xml", timeout=TIMEOUT)
    assert failed.status_code == 400
    assert "<error></error>" in failed.text
    portal.plan({"error": "QUERY_LIMIT_EXCEEDED"})
    assert "<error>QUERY_LIMIT_EXCEEDED</error>" in requests.get(url + "profile.xml", timeout=TIMEOUT).text


@pytest.mark.parametrize("method", ["profile", GET, "nothing"])
def test_headers(call: Callable[..., requests.Response], method: str) -> None:
    headers = call(method).headers
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_json_is_escaped_as_php_does(call: Callable[..., requests.Response]) -> None:
    reply = call("profile")
    assert rb'"LAST_NAME":"O\u0027Hara \u003C\u0026\u003E","PERSONAL_GENDER":""' in reply.content
    assert rb'"TIME_ZONE":"Europe\/Moscow"' in reply.content
    assert reply.json()["result"]["LAST_NAME"] == "O'Hara <&>"


def test_cyrillic_goes_out_raw(call: Callable[..., requests.Response], portal: Portal) -> None:
    portal.configure({"language": "ru"})
    assert "обязателен".encode() in call(GET).content


@pytest.mark.parametrize(("style", "kind"), [("int", int), ("float", float)])
def test_time_start(call: Callable[..., requests.Response], portal: Portal, style: str, kind: type) -> None:
    portal.configure({"time_start": style})
    time = call("profile").json()["time"]
    assert type(time["start"]) is kind
    assert {"start", "finish", "duration", "processing", "date_start", "date_finish"} <= set(time)
    assert abs(datetime.fromisoformat(time["date_start"]).timestamp() - time["start"]) < 2


@pytest.mark.parametrize(
    ("style", "expected"),
    [("full", {"operating", "operating_reset_at"}), ("partial", {"operating"}), ("absent", set())],
)
def test_operating(call: Callable[..., requests.Response], portal: Portal, style: str, expected: set[str]) -> None:
    portal.configure({"operating": style})
    time = call("profile").json()["time"]
    assert {"operating", "operating_reset_at"} & set(time) == expected


def test_errors_carry_no_time(call: Callable[..., requests.Response]) -> None:
    assert set(call(GET).json()) == {"error", "error_description"}


def test_basic_methods(result: Callable[..., Any]) -> None:
    assert result("profile") == {
        "ID": "1",
        "ADMIN": False,
        "NAME": "Anna",
        "LAST_NAME": "O'Hara <&>",
        "PERSONAL_GENDER": "",
        "TIME_ZONE": "Europe/Moscow",
    }
    assert result("profile", user=2)["ADMIN"] is True
    assert result("scope") == ["calendar"]
    assert result("scope", user=2) == EVERY_SCOPE
    every = ["calendar", "department", "im", "sonet_group", "user", "user_basic", "user_brief"]
    assert result("scope", {"FULL": True}, 6) == every
    assert datetime.fromisoformat(result("server.time")).utcoffset() is not None


def test_methods(result: Callable[..., Any]) -> None:
    basic = {"app.info", "batch", "profile", "scope", "methods", "method.get", "server.time"}
    calendar = {GET, "calendar.meeting.status.set", "calendar.event.getbyid"}
    calendar |= {"calendar.event.get", "calendar.event.get.nearest", "calendar.accessibility.get"}
    calendar |= {f"calendar.{kind}.{verb}" for kind in ("event", "section") for verb in ("add", "delete")}
    calendar |= {"calendar.event.update", "calendar.section.get"}
    assert set(result("methods")) == basic | calendar
    assert set(result("methods", user=6)) == basic | {"user.get", "user.current"}
    more = {"user.get", "user.current", "department.get", "sonet_group.user.get", "im.notify.personal.add"}
    assert set(result("methods", {"FULL": 1}, 6)) == basic | calendar | more
    assert result("methods", {"scope": "user_brief"}) == ["user.get", "user.current"]
    assert set(result("methods", {"Scope": "calendar"}, 6)) == calendar
    assert set(result("methods", {"scope": ""})) == basic


@pytest.mark.parametrize(
    ("name", "user", "expected"),
    [
        (GET, 1, (True, True)),
        (GET.upper(), 1, (True, True)),
        (GET, 6, (True, False)),
        ("profile", 6, (True, True)),
        ("nothing", 1, (False, False)),
        (None, 1, (False, False)),
        ([GET], 1, (False, False)),
    ],
)
def test_method_get(result: Callable[..., Any], name: object, user: int, expected: tuple[bool, bool]) -> None:
    answer = result("method.get", {"name": name}, user)
    assert answer == {"isExisting": expected[0], "isAvailable": expected[1]}


def test_unknown_method_in_xml(server: SandboxServer) -> None:
    reply = requests.get(f"{server.url}/rest/profile.json.xml", timeout=TIMEOUT)
    assert reply.status_code == 404
    assert "<error>ERROR_METHOD_NOT_FOUND</error>" in reply.text


@pytest.mark.parametrize(
    "path", [f"/1/{SECRET}/profile", f"1//{SECRET}///profile//", f"//profile?aplogin=1&ap={SECRET}"]
)
def test_several_slashes_are_one(server: SandboxServer, path: str) -> None:
    reply = requests.get(f"{server.url}/rest/{path}", timeout=TIMEOUT)
    assert reply.json()["result"]["ID"] == "1"


def test_a_browser_may_send_json_from_another_site(server: SandboxServer, portal: Portal) -> None:
    url = f"{server.webhook_url(1)}calendar.meeting.status.set"
    headers = {"Origin": "https://app.example", "Access-Control-Request-Method": "POST",
               "Access-Control-Request-Headers": "content-type"}  # fmt: skip
    # The question carries the parameters of the address, and nothing is run.
    asked = requests.options(f"{url}?eventId=652&status=Y", headers=headers, timeout=TIMEOUT)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["Access-Control-Allow-Origin"] == "*"
    assert asked.headers["Access-Control-Allow-Headers"] == "origin, content-type, accept"
    assert (portal.status(651, 1), portal.count()["requests"]) == ("Q", 0)
    sent = requests.post(url, json={"eventId": 652, "status": "Y"}, headers=headers, timeout=TIMEOUT)
    assert sent.headers["Access-Control-Allow-Origin"] == "*"
    assert portal.status(651, 1) == "Y"


@pytest.mark.parametrize(
    ("plan", "license_name"),
    [("none", "en_company_selfhosted"), ("standard", "en_basic"), ("enterprise", "en_ent250")],
)
def test_app_info_of_a_webhook(plan: str, license_name: str, result: Callable[..., Any], portal: Portal) -> None:
    portal.configure({"plan": plan})
    assert result("app.info", user=2) == {"SCOPE": EVERY_SCOPE, "LICENSE": license_name}
    inside = result("batch", {"cmd": {"a": "app.info"}})["result"]["a"]
    assert inside == {"SCOPE": ["calendar"], "LICENSE": license_name}


def test_replies_have_a_cookie_and_headers_as_in_the_cloud(server: SandboxServer, portal: Portal) -> None:
    with requests.Session() as session:
        for expected in (0, 1):
            reply = session.post(f"{server.webhook_url(1)}profile", timeout=TIMEOUT)
            assert reply.headers["Set-Cookie"].startswith("PHPSESSID=")
            assert float(reply.headers["X-Bitrix-Rest-Time"]) >= 0
            assert all(name in reply.headers for name in ("X-Bitrix-Rest-User-Time", "X-Bitrix-Rest-System-Time"))
            assert "X-Bitrix-Rest-Application" not in reply.headers
            assert portal.count()["cookies"] == expected
        # A client that keeps cookies is taken for the user of its session.
        assert code(session.post(f"{server.webhook_url(2)}profile", timeout=TIMEOUT)) == (401, "authorization_error")
    token = portal.grant(1).access
    reply = requests.post(f"{server.url}/rest/profile", json={"auth": token}, timeout=TIMEOUT)
    assert reply.headers["X-Bitrix-Rest-Application"] == portal.auth_server.client_id


@pytest.mark.parametrize(("kind", "type_"), [("int", int), ("float", float)])
def test_the_start_of_a_request_is_whole_or_not(
    kind: str, type_: type, call: Callable[..., requests.Response], portal: Portal
) -> None:
    portal.configure({"time_start": kind})
    time = call("profile").json()["time"]
    assert (type(time["start"]), type(time["finish"])) == (type_, float)
    # In the zone of the server, which is no guide to the zone of what it has stored.
    assert time["date_start"].endswith("+03:00")
