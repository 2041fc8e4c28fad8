"""Clients that others wrote run against the sandbox unmodified, and return what the portal holds.

The vendor's Python client has a file of its own. What a client does wrong by itself is kept here as well, so that a
newer version which does better is noticed.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox import datafile
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from sandbox.tests.sync import PROCESS_TIMEOUT

GET, SET, EVENTS = "calendar.meeting.status.get", "calendar.meeting.status.set", "calendar.event.get"
SEPTEMBER = {"type": "user", "ownerId": 1, "from": "2026-09-01", "to": "2026-10-01"}
LISTED = ["2", "652", "661", "671", "681", "690", "700", "732", "752", "771", "781"]
"""The ids in the calendar of person 1: every row of the seed data that is neither removed nor of a group."""
SCRIPT = Path(__file__).with_name("clients") / "b24jssdk.mjs"


# b24jssdk

Steps = Callable[..., dict[str, Any]]


@pytest.fixture
def javascript(certificates: Path) -> Steps:
    """Run steps with b24jssdk: ``javascript({"webhook": ...}, ["call", "profile"], ...)``."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not (SCRIPT.parent / "node_modules").is_dir():
        pytest.skip("b24jssdk is not installed; make clients does it")

    def run(client: dict[str, Any], *steps: list[Any]) -> dict[str, Any]:
        done = subprocess.run(
            ["node", SCRIPT],
            input=json.dumps({**client, "steps": steps}),
            env={**os.environ, "NODE_EXTRA_CA_CERTS": str(certificates / "ca.pem")},
            capture_output=True,
            text=True,
            timeout=PROCESS_TIMEOUT,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture
def as_anna(javascript: Steps, secure: SandboxServer) -> Callable[..., list[Any]]:
    """Run steps with b24jssdk and the webhook of person 1, and return their results."""

    def run(*steps: list[Any]) -> list[Any]:
        results: list[Any] = javascript({"webhook": secure.webhook_url(1)}, *steps)["results"]
        return results

    return run


def _application(secure: SandboxServer, expires: float) -> dict[str, Any]:
    """Return b24jssdk's parameters for a new pair of tokens, which it is to believe good until then."""
    portal = secure.portal
    pair, server, endpoint = portal.grant(1), portal.auth_server, f"{secure.url}/rest/"
    tokens = {
        "accessToken": pair.access, "refreshToken": pair.refresh, "expires": int(expires), "expiresIn": 3600,
        "domain": secure.url, "memberId": server.member_id, "clientEndpoint": endpoint, "serverEndpoint": endpoint,
        "scope": "calendar,user", "status": "L", "applicationToken": "any", "userId": 1, "issuer": "store",
    }  # fmt: skip
    key = {"clientId": server.client_id, "clientSecret": server.client_secret}
    return {"application": {"tokens": tokens, "key": key}}


def test_b24jssdk_reads_and_sets(as_anna: Callable[..., list[Any]], portal: Portal) -> None:
    event = {"eventId": 652}
    results = as_anna(
        ["call", "profile", {}], ["call", GET, event], ["call", SET, {**event, "status": "N"}], ["call", GET, event],
        ["call", GET, {"eventId": 710}],
    )  # fmt: skip
    assert results[0]["LAST_NAME"] == "O'Hara <&>"
    assert results[1:] == ["Q", True, "N", None]
    assert portal.status(651, 1) == "N"


def test_b24jssdk_sends_batches(as_anna: Callable[..., list[Any]], portal: Portal) -> None:
    named = {"set": [SET, {"eventId": 652, "status": "Y"}], "get": [GET, {"eventId": 652}], "bad": ["no.such", {}]}
    first, second = as_anna(["batch", named], ["chunks", [[GET, {"eventId": 671}]] * 60])
    assert first == {"success": False, "data": {"set": True, "get": "Y"}, "errors": ["Method not found!"]}
    assert second == {"success": True, "data": ["N"] * 60, "errors": []}
    assert portal.status(651, 1) == "Y"
    assert (portal.count()["requests"], portal.count()["commands"]) == (3, {SET: 1, GET: 61})


def test_b24jssdk_lists_events(as_anna: Callable[..., list[Any]]) -> None:
    (found,) = as_anna(["list", EVENTS, SEPTEMBER])
    assert sorted({row["ID"] for row in found}, key=int) == LISTED


def test_b24jssdk_names_refusals(javascript: Steps, secure: SandboxServer) -> None:
    stranger = {"webhook": f"{secure.url}/rest/1/wrong/"}
    results = javascript(stranger, ["call", "profile", {}], ["call", "no.such", {}])["results"]
    assert [(one["code"], one["status"]) for one in results] == [
        ("INVALID_CREDENTIALS", 401), ("ERROR_METHOD_NOT_FOUND", 404),
    ]  # fmt: skip


def test_b24jssdk_refreshes_a_token_that_its_clock_calls_expired(
    javascript: Steps, secure: SandboxServer, portal: Portal
) -> None:
    application = _application(secure, time.time() - 10)
    portal.expire_tokens()
    found = javascript(
        application, ["together", ["profile", {}], ["user.current", {}], [SET, {"eventId": 652, "status": "Y"}]]
    )
    profile, user, done = found["results"][0]
    assert (profile["ID"], user["ID"], done, portal.status(651, 1)) == ("1", "1", True, "Y")
    assert portal.count()["tokens"] == {"issued": {"refresh_token": 1}, "refused": {}}
    assert portal.count()["requests"] == 3
    # What it hands over to be stored serves the next run.
    (kept,) = found["refreshed"]
    tokens = application["application"]["tokens"]
    tokens |= {"accessToken": kept["access_token"], "refreshToken": kept["refresh_token"]}
    assert javascript(application, ["call", "profile", {}])["results"][0]["ID"] == "1"
    assert portal.count()["tokens"] == {"issued": {"refresh_token": 2}, "refused": {}}


def test_b24jssdk_refreshes_a_token_that_the_portal_calls_expired(
    javascript: Steps, secure: SandboxServer, portal: Portal
) -> None:
    application = _application(secure, time.time() + 3600)
    portal.expire_tokens()
    found = javascript(application, ["call", SET, {"eventId": 652, "status": "N"}], ["call", "user.current", {}])
    assert found["results"][0] is True
    assert (found["results"][1]["ID"], portal.status(651, 1)) == ("1", "N")
    assert portal.count()["tokens"] == {"issued": {"refresh_token": 1}, "refused": {}}
    assert (portal.count()["requests"], len(found["refreshed"])) == (3, 1)


def test_what_b24jssdk_does_wrong(
    javascript: Steps, as_anna: Callable[..., list[Any]], secure: SandboxServer, portal: Portal
) -> None:
    # A portal names most refusals of the calendar by a description alone; their code is empty.
    single, batch, chunks = as_anna(
        ["call", GET, {"eventId": 5}],
        ["batch", {"wrong": [GET, {"eventId": 5}], "right": [GET, {"eventId": 652}]}],
        ["chunks", [[GET, {"eventId": 5}], [GET, {"eventId": 710}]]],
    )
    assert single == {"code": "ERR_BAD_REQUEST", "message": "Request failed with status code 400", "status": 400}
    assert batch == {"success": True, "data": {"right": "Q"}, "errors": []}
    assert chunks == {"success": True, "data": [None, None], "errors": []}
    application = _application(secure, time.time() - 10)
    portal.revoke_tokens()
    (refused,) = javascript(application, ["call", "profile", {}])["results"]
    assert portal.count()["tokens"] == {"issued": {}, "refused": {"invalid_grant": 1}}
    assert refused == {"code": "JSSDK_UNKNOWN_ERROR", "message": "Invalid refresh token", "status": 0}


def test_b24jssdk_never_ends_a_list_that_has_no_pages(javascript: Steps, certificates: Path) -> None:
    anna = {"id": 1, "name": "Anna", "webhook": {"secret": "anna000000000001"}}
    hours = {"start": "2026-09-16T10:00", "end": "2026-09-16T11:00", "time_zone": "Europe/Berlin"}
    events = [{"id": number, "name": "Own", "host": 1, **hours} for number in range(1, 51)]
    portal, pem = Portal(datafile.parse({"people": [anna], "events": events})), certificates / "server.pem"
    with SandboxServer(portal, certfile=pem, keyfile=pem) as server:
        (pages,) = javascript({"webhook": server.webhook_url(1)}, ["pages", EVENTS, SEPTEMBER, 3])["results"]
    assert [len(page) for page in pages] == [50, 50, 50]
    assert [row["ID"] for row in pages[0]] == [row["ID"] for row in pages[2]]


# fast_bitrix24


@pytest.fixture
def fast() -> Any:
    return pytest.importorskip("fast_bitrix24", reason="fast_bitrix24 is installed with the newest Airflow only")


def test_fast_bitrix24(fast: Any, server: SandboxServer, portal: Portal) -> None:
    client = fast.BitrixAsync(server.webhook_url(1), verbose=False)

    async def use() -> None:
        profile = await client.call("profile", raw=True)
        assert profile["result"]["LAST_NAME"] == "O'Hara <&>"
        assert await client.call(GET, {"eventId": 652}) == "Q"
        wanted = [{"eventId": 652, "status": "N"}, {"eventId": 671, "status": "Y"}]
        assert await client.call(SET, wanted) == (True, True)
        statuses = await client.get_by_ID(GET, [652, 671, 710], ID_field_name="eventId")
        assert statuses == {"652": "N", "671": "Y", "710": None}
        assert len(await client.call(GET, [{"eventId": 671}] * 60)) == 60
        events = await client.get_all(EVENTS, SEPTEMBER)
        assert sorted({row["ID"] for row in events}, key=int) == LISTED

    asyncio.run(use())
    assert (portal.status(651, 1), portal.status(670, 1)) == ("N", "Y")
    assert portal.count()["commands"] == {GET: 64, SET: 2}


def test_fast_bitrix24_with_tokens(fast: Any, server: SandboxServer, portal: Portal) -> None:
    asked = []

    async def token() -> str:
        asked.append(portal.grant(1).access)
        return asked[-1]

    client = fast.BitrixAsync(f"{server.url}/rest/", token_func=token, verbose=False)

    async def use() -> None:
        assert (await client.call("profile", raw=True))["result"]["ID"] == "1"
        portal.expire_tokens()
        assert await client.call(SET, {"eventId": 652, "status": "Y"}) is True

    asyncio.run(use())
    assert len(asked) == 2
    assert portal.status(651, 1) == "Y"


def test_what_fast_bitrix24_does_wrong(fast: Any, server: SandboxServer, portal: Portal) -> None:
    client = fast.BitrixAsync(server.webhook_url(1), verbose=False)
    # Of a refused request it keeps the status only, and its error holds the webhook's code.
    with pytest.raises(Exception, match="400, message='Bad Request'") as refused:
        asyncio.run(client.call(GET, {"eventId": 5}, raw=True))
    assert server.secret(1) in str(refused.value)
    # One command that is refused hides what the others did.
    commands = {"set": f"{SET}?eventId=652&status=Y", "bad": f"{GET}?eventId=5"}
    with pytest.raises(Exception, match="error_description"):
        asyncio.run(client.call_batch({"halt": 0, "cmd": commands}))
    assert portal.status(651, 1) == "Y"
    # A single id or record comes in another form than several do.
    assert asyncio.run(client.get_by_ID(GET, [652], ID_field_name="eventId")) == "Y"
    assert list(asyncio.run(client.call("calendar.event.getbyid", {"id": 652}))) == ["order0000000000"]

    async def token() -> str:
        asked.append(1)
        return "wrong" if len(asked) < 20 else portal.grant(1).access

    asked: list[int] = []
    # A token that is refused is asked for again without end and without a pause.
    client = fast.BitrixAsync(f"{server.url}/rest/", token_func=token, verbose=False)
    asyncio.run(client.call("profile", raw=True))
    assert len(asked) == 20


# curl


@pytest.fixture
def curl(certificates: Path) -> Callable[..., Any]:
    """Run curl, and return the body that it printed."""
    program = shutil.which("curl")
    if program is None:
        pytest.skip("curl is not installed")

    def run(*arguments: str) -> Any:
        command = [program, "--silent", "--cacert", str(certificates / "ca.pem"), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PROCESS_TIMEOUT, check=True)
        return json.loads(done.stdout)

    return run


DOCUMENTED = ("-X", "POST", "-H", "Content-Type: application/json", "-H", "Accept: application/json", "-d")
"""How the vendor's documentation calls every method."""


def test_curl_as_documented(curl: Callable[..., Any], secure: SandboxServer, portal: Portal) -> None:
    answer = curl(*DOCUMENTED, '{"eventId":651,"status":"Y"}', f"{secure.webhook_url(1)}{SET}")
    assert (answer["result"], portal.status(651, 1)) == (True, "Y")
    token = portal.grant(1).access
    answer = curl(*DOCUMENTED, json.dumps({"eventId": 651, "status": "N", "auth": token}), f"{secure.url}/rest/{SET}")
    assert (answer["result"], portal.status(651, 1)) == (True, "N")
    batch = {"halt": 0, "cmd": {"get": f"{GET}?eventId=651", "who": "profile"}}
    answer = curl(*DOCUMENTED, json.dumps(batch), f"{secure.webhook_url(1)}batch")
    assert answer["result"]["result"]["get"] == "N"
    assert answer["result"]["result"]["who"]["ID"] == "1"


@pytest.mark.parametrize(
    "arguments",
    [
        ["-d", "eventId=651", "-d", "status=Y", "{}"],
        ["--data-urlencode", "eventId=651", "--data-urlencode", "status=Y", "{}.json"],
        ["-F", "eventId=651", "-F", "status=Y", "{}"],
        ["{}?eventId=651&status=Y"],
        ["-G", "-d", "eventId=651", "-d", "status=Y", "{}"],
        ["--json", '{"eventId": 651, "status": "Y"}', "{}"],
    ],
    ids=["form", "encoded", "multipart", "query", "get", "json"],
)
def test_curl_in_other_ways(
    curl: Callable[..., Any], secure: SandboxServer, portal: Portal, arguments: list[str]
) -> None:
    *options, url = arguments
    answer = curl(*options, url.replace("{}", f"{secure.webhook_url(1)}{SET}"))
    assert (answer["result"], portal.status(651, 1)) == (True, "Y")


def test_curl_says_that_json_is_a_form(curl: Callable[..., Any], secure: SandboxServer, portal: Portal) -> None:
    answer = curl("-d", '{"eventId": 651, "status": "Y"}', f"{secure.webhook_url(1)}{SET}")
    assert "eventId" in answer["error_description"]
    assert portal.status(651, 1) == "Q"
