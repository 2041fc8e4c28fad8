"""Limits and latencies of a portal, seen over the wire; the portal's clock is the test's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import Any

import pytest
import requests
from bitrix24_sandbox.server import SandboxServer
from bitrix24_sandbox.settings import Settings
from requests.adapters import HTTPAdapter

from sandbox.tests.sync import TIMEOUT

GET = "calendar.meeting.status.get"
SET = "calendar.meeting.status.set"
Post = Callable[..., requests.Response]


@pytest.fixture
def limited(fresh: Any, clock: Any) -> Callable[..., Any]:
    """Serve a portal with settings: ``with limited(plan="standard") as (post, portal): ...``."""

    @contextmanager
    def serve(**settings: Any) -> Iterator[tuple[Post, Any]]:
        portal = fresh(Settings(**settings), clock)
        with SandboxServer(portal, sleep=clock.sleep) as server, requests.Session() as session:
            # The portal takes whoever sends its cookie for the user who was given it.
            session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))

            def post(method: str, parameters: object = None, user: int = 1) -> requests.Response:
                return session.post(server.webhook_url(user) + method, json=parameters or {}, timeout=TIMEOUT)

            yield post, portal

    return serve


def commands(number: int, method: str = GET) -> dict[str, object]:
    return {"cmd": {f"c{n}": f"{method}?eventId=651&status=Y" for n in range(number)}}


def test_nothing_is_limited_by_default(limited: Any, clock: Any) -> None:
    with limited() as (post, portal):
        answers = [post(GET, {"eventId": 651}) for _ in range(300)]
        assert {answer.status_code for answer in answers} == {200}
        assert answers[-1].json()["time"]["operating"] == 0
        assert portal.count()["refusals"] == {}
    assert clock.slept == []


# Requests


@pytest.mark.parametrize(("plan", "burst", "rate"), [("standard", 50, 2), ("enterprise", 250, 5)])
def test_plan(limited: Any, clock: Any, plan: str, burst: int, rate: int) -> None:
    with limited(plan=plan) as (post, portal):
        assert [post("profile").status_code for _ in range(burst + 2)] == [200] * burst + [503] * 2
        clock.now += 1
        assert [post("profile").status_code for _ in range(rate + 1)] == [200] * rate + [503]
        counts = portal.count()
        assert counts["refusals"] == {"QUERY_LIMIT_EXCEEDED": 3}
        assert counts["requests"] == burst + rate + 3
        assert counts["methods"] == {"profile": burst + rate}


def test_a_refused_request_is_not_executed(limited: Any) -> None:
    with limited(rate=0.0, burst=1) as (post, portal):
        assert post("profile").status_code == 200
        portal.plan({"method": SET, "error": "X"})
        refusal = post(SET, {"eventId": 651, "status": "Y"})
        assert refusal.status_code == 503
        assert refusal.json()["error"] == "QUERY_LIMIT_EXCEEDED"
        assert refusal.json()["error_description"]
        assert "time" not in refusal.json()
        assert portal.status(651, 1) == "Q"
        # What was planned for a request is kept for one that gets through.
        assert portal.plan({"method": "scope", "error": "X"})[0] == {"method": SET, "times": 1}


def test_a_batch_is_one_request(limited: Any) -> None:
    with limited(rate=0.0, burst=2) as (post, _):
        assert [post("batch", commands(50)).status_code for _ in range(3)] == [200, 200, 503]


def test_wrong_requests_count_too(limited: Any) -> None:
    with limited(rate=0.0, burst=2) as (post, _):
        assert [post("no.such.method").status_code for _ in range(3)] == [404, 404, 503]


def test_the_bucket_is_that_of_the_address(limited: Any, fresh: Any, clock: Any) -> None:
    with SandboxServer(fresh(Settings(rate=0.0, burst=1), clock)) as server, requests.Session() as other:
        adapter = HTTPAdapter()
        adapter.init_poolmanager(1, 1, source_address=("127.0.0.2", 0))
        other.mount("http://", adapter)
        url = server.webhook_url(1) + "profile"
        # Somebody else's webhook and a header that claims another address do not help.
        assert requests.post(url, timeout=TIMEOUT).status_code == 200
        assert requests.post(server.webhook_url(2) + "profile", timeout=TIMEOUT).status_code == 503
        assert requests.post(url, headers={"X-Forwarded-For": "10.0.0.1"}, timeout=TIMEOUT).status_code == 503
        assert other.post(url, timeout=TIMEOUT).status_code == 200


def test_control_requests_are_not_limited(limited: Any) -> None:
    with limited(rate=0.0, burst=1) as (_, portal), SandboxServer(portal) as server:
        for _ in range(3):
            assert requests.get(f"{server.url}/-/state", timeout=TIMEOUT).status_code == 200


def test_switched_by_a_control_request(call: Post, control: Post) -> None:
    assert control("settings", {"rate": 0, "burst": 1}).status_code == 200
    assert [call("profile").status_code for _ in range(2)] == [200, 503]
    counters = control("settings", {"rate": None, "burst": None})
    assert counters.json()["burst"] is None
    assert call("profile").status_code == 200


def test_reset_empties_the_bucket_and_forgets_loads(limited: Any) -> None:
    with limited(rate=0.0, burst=2, operating_limit_s=1.0, operating_s={"profile": 2.0}) as (post, portal):
        assert [post("profile").status_code for _ in range(3)] == [200, 429, 503]
        portal.reset()
        assert post("profile").status_code == 200
        assert portal.count()["refusals"] == {}


# Operating time


def test_operating_time_adds_up_until_refused(limited: Any, clock: Any) -> None:
    with limited(operating_limit_s=480.0, operating_s={GET: 240.0}) as (post, portal):
        answers = [post(GET, {"eventId": 651}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        times = [answer.json()["time"] for answer in answers[:3]]
        assert [spent["operating"] for spent in times] == [240, 480, 720]
        reset_at = times[2]["operating_reset_at"]
        assert reset_at == clock.now // 60 * 60 + 600
        assert set(answers[3].json()) == {"error", "error_description"}
        assert answers[3].json()["error"] == "OPERATION_TIME_LIMIT"
        # Other methods and other webhooks go on.
        assert post("profile").status_code == 200
        assert post(GET, {"eventId": 651}, 2).status_code == 200
        clock.now = reset_at - 1
        assert post(GET, {"eventId": 651}).status_code == 429
        clock.now = reset_at
        assert post(GET, {"eventId": 651}).json()["time"]["operating"] == 240
        assert portal.count()["refusals"] == {"OPERATION_TIME_LIMIT": 2}


def test_a_refused_call_is_not_executed(limited: Any) -> None:
    with limited(operating_limit_s=1.0, operating_s={SET: 2.0}) as (post, portal):
        assert post(SET, {"eventId": 651, "status": "Y"}).status_code == 200
        assert post(SET, {"eventId": 651, "status": "N"}).status_code == 429
        assert portal.status(651, 1) == "Y"


def test_the_latency_of_a_command_is_its_operating_time(limited: Any) -> None:
    with limited(command_ms=150.0, latency_ms=5000.0) as (post, _):
        assert post("profile").json()["time"]["operating"] == pytest.approx(0.15)
        assert post("profile").json()["time"]["operating"] == pytest.approx(0.3)


def test_calls_too_short_leave_no_trace(limited: Any) -> None:
    with limited(command_ms=100.0) as (post, _):
        assert [post("profile").json()["time"]["operating"] for _ in range(3)] == [0, 0, 0]
        # The commands of one batch add up.
        spent = post("batch", commands(3)).json()["result"]["result_time"]
        assert [spent[name]["operating"] for name in ("c0", "c1", "c2")] == pytest.approx([0, 0.2, 0.3])


def test_methods_of_a_batch_have_their_own_budgets(limited: Any, clock: Any) -> None:
    with limited(operating_limit_s=5.0, operating_s={GET: 3.0, SET: 1.0}) as (post, portal):
        answer = post("batch", {"cmd": {**commands(4)["cmd"], "s": f"{SET}?eventId=651&status=N", "p": "profile"}})
        assert answer.status_code == 200
        found = answer.json()["result"]
        assert list(found["result"]) == ["c0", "c1", "s", "p"]
        assert {name: error["error"] for name, error in found["result_error"].items()} == {
            "c2": "OPERATION_TIME_LIMIT",
            "c3": "OPERATION_TIME_LIMIT",
        }
        assert {name: spent["operating"] for name, spent in found["result_time"].items()} == {
            "c0": 3, "c1": 6, "s": 1, "p": 0,
        }  # fmt: skip
        assert found["result_time"]["c0"]["operating_reset_at"] == clock.now // 60 * 60 + 600
        # The batch itself is exempt, and calls of their own share the budget of their method.
        assert answer.json()["time"]["operating"] == 0
        assert post("batch", {"cmd": {"p": "profile"}}).status_code == 200
        assert post(GET, {"eventId": 651}).status_code == 429
        assert portal.count()["refusals"] == {"OPERATION_TIME_LIMIT": 3}


def test_halt_stops_at_a_refusal(limited: Any) -> None:
    with limited(operating_limit_s=1.0, operating_s={GET: 3.0}) as (post, _):
        found = post("batch", {**commands(3), "halt": 1}).json()["result"]
        assert (list(found["result"]), list(found["result_error"])) == (["c0"], ["c1"])


@pytest.mark.parametrize(
    ("style", "expected"),
    [("full", {"operating", "operating_reset_at"}), ("partial", {"operating"}), ("absent", set())],
)
def test_load_figures_are_a_setting(limited: Any, style: str, expected: set[str]) -> None:
    with limited(operating=style, operating_s={"profile": 3.0}) as (post, _):
        assert {"operating", "operating_reset_at"} & set(post("profile").json()["time"]) == expected
        inner = post("batch", {"cmd": {"p": "profile"}}).json()["result"]["result_time"]["p"]
        assert {"operating", "operating_reset_at"} & set(inner) == expected


# Block by hand


@pytest.mark.parametrize(("column", "status"), [("module", 401), ("docs", 503)])
def test_blocked_by_hand(limited: Any, column: str, status: int) -> None:
    with limited(blocked=True, auth_statuses=column) as (post, portal):
        for method in ("profile", "batch"):
            answer = post(method, commands(1))
            assert (answer.status_code, answer.json()["error"]) == (status, "OVERLOAD_LIMIT")
        assert portal.count()["refusals"] == {"OVERLOAD_LIMIT": 2}
        portal.configure({"blocked": False})
        assert post("profile").status_code == 200


# Latency


def test_what_requests_take(limited: Any, clock: Any) -> None:
    with limited(latency_ms=120.0, command_ms=15.0) as (post, _):
        began = clock.now
        assert post("profile").json()["time"]["duration"] == pytest.approx(0.015, abs=1e-6)
        assert clock.now - began == pytest.approx(0.135)
        clock.slept.clear()
        post("batch", {"cmd": {**commands(3)["cmd"], "x": "no.such", "y": GET}})
        # A command that fails has been executed, one of no method has not.
        assert clock.slept == pytest.approx([0.12, 0.015, 0.015, 0.015, 0.015])


def test_a_refused_request_takes_its_latency_only(limited: Any, clock: Any) -> None:
    with limited(latency_ms=120.0, command_ms=15.0, rate=0.0, burst=1) as (post, _):
        post("profile")
        clock.slept.clear()
        assert post("batch", commands(5)).status_code == 503
        assert clock.slept == pytest.approx([0.12])


def test_commands_of_a_batch_run_one_after_the_other(limited: Any, clock: Any) -> None:
    with limited(command_ms=1000.0) as (post, _):
        spent = post("batch", commands(3)).json()["result"]["result_time"]
        starts = [spent[f"c{n}"]["start"] for n in range(3)]
        assert [start - starts[0] for start in starts] == [0, 1, 2]


def test_requests_overlap(fresh: Any) -> None:
    """No request can finish before all are under way: one served after the other would never end."""
    met = asyncio.Barrier(5)

    async def sleep(_: float) -> None:
        await asyncio.wait_for(met.wait(), TIMEOUT)

    with SandboxServer(fresh(Settings(command_ms=1000.0)), sleep=sleep) as server:
        url = server.webhook_url(1) + "batch"

        def send(_: int) -> int:
            return requests.post(url, json=commands(3), timeout=2 * TIMEOUT).status_code

        with ThreadPoolExecutor(5) as pool:
            assert list(pool.map(send, range(5))) == [200] * 5


def test_the_portal_can_be_looked_at_while_a_request_takes_its_time(fresh: Any) -> None:
    began, go_on = threading.Event(), asyncio.Event()
    loops: list[asyncio.AbstractEventLoop] = []

    async def sleep(_: float) -> None:
        loops.append(asyncio.get_running_loop())
        began.set()
        await asyncio.wait_for(go_on.wait(), TIMEOUT)

    with SandboxServer(fresh(Settings(command_ms=1.0)), sleep=sleep) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(
            requests.post,
            server.webhook_url(1) + SET,
            json={"eventId": 651, "status": "Y"},
            timeout=2 * TIMEOUT,
        )
        assert began.wait(TIMEOUT)
        assert server.portal.status(651, 1) == "Q"
        assert server.portal.count()["methods"] == {SET: 1}
        assert not answer.done()
        loops[0].call_soon_threadsafe(go_on.set)
        assert answer.result(TIMEOUT).status_code == 200
        assert server.portal.status(651, 1) == "Y"


def test_latency_really_passes(server: SandboxServer, call: Post) -> None:
    """Without a clock of a test's own it is the machine's."""
    server.portal.configure({"latency_ms": 60, "command_ms": 20})
    assert call("batch", commands(2)).elapsed.total_seconds() >= 0.1
