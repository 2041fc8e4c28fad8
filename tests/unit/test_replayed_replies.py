"""Behind a gateway that answers with an earlier reply, nothing counts as proof and no meeting is set without end."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar.set_status import MAX_SETS
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import CANARY, MANY, NOTIFYING

Choose = Callable[[str, list[bytes]], bytes | None]
"""Given the method and the replies so far, what to answer in place of the portal; ``None`` for its own reply."""


class Gateway:
    """Passes requests on to the sandbox, which carries them out, and answers as ``choose`` says."""

    def __init__(self, portal_url: str) -> None:
        self.choose: Choose = lambda _method, _replies: None
        self.batch_status = 200
        self.replies: list[bytes] = []
        target, gateway = urlsplit(portal_url), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                behind = HTTPConnection(target.hostname or "", target.port)
                behind.request("POST", self.path, sent, {"Content-Type": self.headers["Content-Type"]})
                own = behind.getresponse().read()
                behind.close()
                method = self.path.rsplit("/", 1)[1]
                body = gateway.choose(method, gateway.replies)
                gateway.replies.append(own)
                self.send_response(gateway.batch_status if method == "batch" else 200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body or own)))
                self.end_headers()
                self.wfile.write(body or own)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def gateway(server: SandboxServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    gateway = Gateway(server.url)
    thread = threading.Thread(target=gateway.server.serve_forever)
    thread.start()
    stored = {
        "conn_type": "bitrix24", "host": f"http://127.0.0.1:{gateway.server.server_port}", "login": "1",
        "password": CANARY,
    }  # fmt: skip
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(stored))
    yield gateway
    gateway.server.shutdown()
    gateway.server.server_close()
    thread.join()


def _hook() -> Bitrix24CalendarHook:
    return Bitrix24CalendarHook("bitrix24_default", retry=RetryPolicy(attempts=8))


def test_the_reply_to_another_batch_proves_nothing(gateway: Gateway, portal: Portal, clock: Clock) -> None:
    """The first batch says that both are as wanted; it is given for every later one too."""
    with _hook() as hook:
        assert [outcome.unwrap() for outcome in hook.get_meeting_statuses(MANY[:4]).values()] == ["Q"] * 4
        gateway.choose = lambda method, replies: replies[0] if method == "batch" else None
        outcomes = hook.get_meeting_statuses(MANY[4:8])
    assert {type(outcome.error).__name__ for outcome in outcomes.values()} == {"ReplyError"}


@pytest.mark.parametrize("letter", ["Q", "Y"])
def test_no_meeting_is_set_more_than_twice_behind_a_gateway_that_repeats_itself(
    letter: str, gateway: Gateway, portal: Portal, clock: Clock
) -> None:
    """It has carried the sets out, and shows what was there before, or what would be proof in another run."""
    repeated = json.dumps({"result": {"result": {"c0": True, "c1": letter}, "result_error": []}}).encode()
    gateway.choose = lambda method, _replies: repeated if method == "batch" else b'{"result":"Q"}'
    with _hook() as hook, pytest.raises((errors.ReplyError, errors.StatusNotAppliedError)):
        hook.set_meeting_status(NOTIFYING, "Y")
    assert portal.counters.methods["calendar.meeting.status.set"] == MAX_SETS
    assert portal.counters.notifications[NOTIFYING] == {"accepted": MAX_SETS}


@pytest.mark.parametrize("http_status", [429, 502, 503])
def test_what_became_of_the_writes_is_the_error(
    http_status: int, gateway: Gateway, portal: Portal, clock: Clock
) -> None:
    """Each write is passed on, and a page of the gateway's own is the answer; readings are those of before."""
    gateway.choose = lambda method, _replies: b"<html>" if method == "batch" else b'{"result":"Q"}'
    gateway.batch_status = http_status
    with _hook() as hook, pytest.raises(errors.NotJsonError) as raised:
        hook.set_meeting_status(NOTIFYING, "Y")
    assert raised.value.permanence is not errors.Permanence.PERMANENT, "Airflow may try again"
    assert portal.counters.methods["calendar.meeting.status.set"] == MAX_SETS
