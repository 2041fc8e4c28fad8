"""Waits for the rate limit as a person sees them: in the log, and behind the Test button."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.protocol.limits import HEADROOM
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import SILENT

Connect = Callable[[float, float], None]


class LoggedHook(Bitrix24CalendarHook):
    """A hook that keeps its log lines; the logger is a property, another one in each version of Airflow."""

    lines: list[str]

    @property
    def log(self) -> Any:
        return self

    def info(self, message: str, *values: object) -> None:
        self.__dict__.setdefault("lines", []).append(message % values)

    warning = info


@pytest.fixture
def connect(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Makes ``bitrix24_default`` a connection with a rate and burst; no other test's requests count."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def make(rate: float, burst: float) -> None:
        fields = json.loads(server.connection_json(1))
        fields["extra"] |= {"requests_per_second": rate, "burst": burst}
        fields["extra"].pop("plan", None)
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(fields))

    return make


def test_a_portal_without_limits_is_never_waited_for(
    server: SandboxServer, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    fields = json.loads(server.connection_json(1))
    fields["extra"] |= {"plan": "self_hosted"}
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(fields))
    with Bitrix24CalendarHook() as hook:
        assert {hook.get_meeting_status(SILENT) for _ in range(60)} == {"Q"}
    assert clock.slept == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asynchronous"])
def test_a_long_wait_is_logged_once(
    asynchronous: bool, connect: Connect, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_b24cal.client.rate_limiter.time", clock.time)
    connect(0.1, 1.0)
    hook = LoggedHook()

    async def run_call() -> str:
        try:
            return await hook.aget_meeting_status(SILENT)
        finally:
            await hook.aclose()

    for _ in range(3):
        assert (asyncio.run(run_call()) if asynchronous else hook.get_meeting_status(SILENT)) == "Q"
    hook.close()
    short, *long = clock.slept
    assert short == pytest.approx(10 * HEADROOM)
    assert hook.lines == [f"Waiting {seconds:.1f} s for the portal's rate limit." for seconds in long]
    assert long == [pytest.approx(10.0), pytest.approx(10.0)]


def test_a_short_wait_is_not_logged(connect: Connect, clock: Clock) -> None:
    connect(2.0, 1.0)
    with LoggedHook() as hook:
        for _ in range(5):
            hook.get_meeting_status(SILENT)
    assert len(clock.slept) == 5
    assert "lines" not in vars(hook)


def test_the_test_button_does_not_wait_longer_than_ten_seconds(connect: Connect, clock: Clock, portal: Portal) -> None:
    connect(0.1, 1.0)
    hook = Bitrix24CalendarHook()
    for _ in range(3):
        hook.get_meeting_status(SILENT)
    before: Any = portal.count()
    waited = len(clock.slept)
    for _ in range(2):
        good, text = hook.test_connection()
        assert not good
        # A place that is not waited for is left to others, so the second test is reported no more.
        assert "The rate limit is used up: the next request can be sent in 3" in text
    after: Any = portal.count()
    assert (len(clock.slept), after["requests"]) == (waited, before["requests"])
    hook.close()


def test_the_test_button_waits_for_a_few_seconds(connect: Connect, clock: Clock) -> None:
    connect(0.25, 1.0)
    with Bitrix24CalendarHook() as hook:
        hook.get_meeting_status(SILENT)
        good, text = hook.test_connection()
    assert (good, [round(seconds) for seconds in clock.slept]) == (True, [1, 5]), text


def test_the_test_button_gives_up_what_comes_too_late(connect: Connect, clock: Clock, portal: Portal) -> None:
    connect(0.1, 1.0)
    portal.plan({"method": "batch", "times": 1, "error": "QUERY_LIMIT_EXCEEDED", "http_status": 503})
    with Bitrix24CalendarHook() as hook:
        good, text = hook.test_connection()
    # The refusal has filled the bucket: the second attempt would be in more than ten seconds.
    assert (good, "rate limit is used up" in text) == (False, True), text
    assert max(clock.slept) < 10
