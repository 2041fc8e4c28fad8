"""The trigger by itself: restarts, one event, a loop that is never blocked."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from contextlib import suppress
from importlib import import_module
from secrets import token_hex
from typing import Any
from urllib.parse import quote

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from airflow_provider_b24cal.triggers.shared_poll import shared_poll
from airflow_provider_b24cal.waiting.conditions import MeetingsCondition
from airflow_provider_b24cal.waiting.evaluate import Rule
from tests.clock import Clock
from tests.portal_data import CANARY, SILENT
from tests.sync import Gate, await_until


def _trigger(now: float, **more: Any) -> Bitrix24AttendanceTrigger:
    arguments = {
        "bitrix24_conn_id": "bitrix24_default",
        "wait": MeetingsCondition((SILENT,), Rule()).to_dict(),
        "seen": "",
        "poke_interval": 60.0,
        "deferred_at": now,
        "deadline": now + 3600,
        "retry_timeout": 900.0,
        **more,
    }
    return Bitrix24AttendanceTrigger(**arguments)


async def _payloads(trigger: Bitrix24AttendanceTrigger) -> list[Any]:
    return [event.payload async for event in trigger.run()]


def test_arguments_are_json_and_hold_no_secret(connection: str) -> None:
    path, arguments = _trigger(0.0, max_wait=90.0, exponential_backoff=True, silent_fail=True).serialize()
    text = json.dumps(arguments)
    assert CANARY not in text
    assert "127.0.0.1" not in text
    again = Bitrix24AttendanceTrigger(**json.loads(text))
    assert again.serialize() == (path, arguments)


def test_one_event_and_done(connection: str, portal: Portal, clock: Clock) -> None:
    clock.later(100, lambda: portal.answer(SILENT, 1, "Y"))
    payloads = asyncio.run(_payloads(_trigger(clock.now)))
    assert payloads == [{"ending": "arrived", "statuses": {str(SILENT): "Y"}, "error": None}]
    assert clock.slept == [60, 60]


def test_a_restart_polls_at_once_what_is_overdue(connection: str, portal: Portal, clock: Clock) -> None:
    before = _trigger(clock.now, deadline=clock.now + 500)
    clock.now += 300  # the triggerer was down
    portal.answer(SILENT, 1, "Y")
    _, arguments = before.serialize()
    payloads = asyncio.run(_payloads(Bitrix24AttendanceTrigger(**arguments)))
    assert payloads[0]["ending"] == "arrived"
    assert clock.slept == [0]


def test_a_restart_after_the_deadline_asks_once_more(connection: str, portal: Portal, clock: Clock) -> None:
    before = _trigger(clock.now, deadline=clock.now + 500)
    clock.now += 5000
    payloads = asyncio.run(_payloads(before))
    assert payloads == [{"ending": "timed_out", "statuses": {str(SILENT): "Q"}, "error": None}]
    count: Any = portal.count()
    assert count["requests"] == 1


def test_backoff_doubles_up_to_max_wait(connection: str, clock: Clock) -> None:
    trigger = _trigger(clock.now, exponential_backoff=True, max_wait=200.0, deadline=clock.now + 800)
    asyncio.run(_payloads(trigger))
    assert clock.slept == [60, 60, 120, 180, 180, 180, 20], "rounded down to ticks of 60 s, up to the deadline"


def test_no_pace_can_make_it_spin(connection: str, clock: Clock) -> None:
    trigger = _trigger(clock.now, poke_interval=0.0, deferred_at=clock.now - 20, deadline=clock.now + 5)
    asyncio.run(_payloads(trigger))
    assert clock.slept == [0, 1, 1, 1, 1, 1]


def test_an_unusable_connection_is_an_event(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", '{"conn_type": "bitrix24", "host": "x.bitrix24.com"}')
    (payload,) = asyncio.run(_payloads(_trigger(clock.now)))
    assert payload["ending"] == "failed"
    assert payload["error"]["class"] == "InvalidConnectionError"


def test_every_poll_reads_the_connection_anew(
    connection: str, server: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = json.dumps({**json.loads(server.connection_json(1)), "password": "rotated000000000"})
    clock.later(100, lambda: monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", stale))
    (payload,) = asyncio.run(_payloads(_trigger(clock.now)))
    assert payload["error"]["class"] == "CredentialsError"
    assert clock.slept == [60, 60]


def test_one_poll_bears_no_more_than_its_timeout(connection: str, portal: Portal, clock: Clock) -> None:
    portal.plan({"method": "*", "times": 99, "error": "CONNECTION_ERROR"})
    (payload,) = asyncio.run(_payloads(_trigger(clock.now, deferred_at=clock.now - 60, retry_timeout=20.0)))
    assert payload["error"]["class"] == "AuthServerError"
    assert 0 < sum(clock.slept) <= 20


def test_the_end_closes_the_connections(connection: str, portal: Portal, clock: Clock) -> None:
    portal.answer(SILENT, 1, "Y")
    before: Any = portal.count()

    async def closed() -> None:
        await _payloads(_trigger(clock.now))
        # The loop lives on, as a triggerer's does.
        await await_until(lambda: _open(portal) <= before["connections"]["open"])

    asyncio.run(closed())
    after: Any = portal.count()
    assert after["connections"]["seen"] > before["connections"]["seen"], "there was one to close"
    assert after["connections"]["open"] == before["connections"]["open"]


def test_the_triggerers_masker_learns_every_form_of_the_secret(
    connection: str, server: Any, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = f"m4sk&m3/{token_hex(4)}=7"
    encoded = quote(code, safe="")
    address = f"{server.url}/rest/1/{encoded}/"
    stored = {**json.loads(server.connection_json(1)), "password": address}
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(stored))
    redact = _masker().redact
    for form in (code, encoded, address):
        assert redact(f"accident: {form}!") == f"accident: {form}!"
    asyncio.run(_payloads(_trigger(clock.now, deferred_at=clock.now - 60)))
    for form in (code, encoded, address):
        assert redact(f"accident: {form}!") == "accident: ***!"


def _masker() -> Any:
    """Return Airflow's own masker, wherever this version has it."""
    for home in ("airflow.sdk._shared.secrets_masker", "airflow.sdk.execution_time.secrets_masker"):
        with suppress(ImportError):
            return import_module(home)
    return import_module("airflow.utils.log.secrets_masker")  # 2.11


def test_it_only_reads(connection: str, portal: Portal, clock: Clock) -> None:
    asyncio.run(_payloads(_trigger(clock.now, deadline=clock.now + 300)))
    count: Any = portal.count()
    assert set(count["methods"]) == {"calendar.meeting.status.get"}


def test_the_loop_is_not_blocked(gated: tuple[Portal, Gate]) -> None:
    """The portal answers only once the loop has gone on meanwhile; a blocking call would wait in vain."""
    portal, gate = gated
    portal.plan({"method": "*", "times": 99, "delay": 600})
    portal.answer(SILENT, 1, "Y")

    async def beside() -> list[Any]:
        polling = asyncio.create_task(_payloads(_trigger(time.time(), deferred_at=time.time() - 60)))
        await await_until(lambda: gate.held)
        for _ in range(100):
            await asyncio.sleep(0)
        gate.open()
        return await polling

    payloads = asyncio.run(beside())
    assert payloads[0]["ending"] == "arrived"
    assert portal.count()["requests"] == 1, "the answer did not come too late"


@pytest.mark.parametrize("ago", [0.0, 9.0, 49.0])
def test_beside_others_the_first_poll_comes_at_a_common_tick(ago: float, connection: str, clock: Clock) -> None:
    """Never within ten seconds of the deferral, and no later than an interval after that."""

    async def first_poll() -> float:
        poll = shared_poll("bitrix24_default")
        poll.origin(60.0, clock.now + 20.0)
        await _payloads(_trigger(clock.now, deferred_at=clock.now - ago, deadline=clock.now + 70))
        return clock.slept[0]

    assert asyncio.run(first_poll()) == 20.0


def test_silent_fail_complains_of_what_is_new(
    connection: str, portal: Portal, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Half an hour of the same error at every poll: said at first, and then every ten minutes."""
    portal.plan({"method": "*", "times": 999, "error": "INVALID_CREDENTIALS"})
    trigger = _trigger(clock.now, silent_fail=True, poke_interval=200.0, deadline=clock.now + 2100)
    trigger._log = logging.getLogger("waits")
    asyncio.run(_payloads(trigger))
    complaints = [record for record in caplog.records if "continuing because silent_fail is set" in record.message]
    assert 2 <= len(complaints) <= 4


def test_a_wait_without_news_says_so_now_and_then(
    connection: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Half an hour of polls without news logs every ten minutes that it goes on."""
    caplog.set_level(logging.INFO)
    trigger = _trigger(clock.now, seen="Q", poke_interval=200.0, deadline=clock.now + 2100)
    trigger._log = logging.getLogger("waits")
    asyncio.run(_payloads(trigger))
    reported = [record for record in caplog.records if "Waiting for event" in record.message]
    assert 2 <= len(reported) <= 4


def test_cancelling_closes_the_connections(connection: str, portal: Portal) -> None:
    portal.plan({"method": "*", "times": 1, "delay": 600})

    async def cancelled() -> None:
        running = asyncio.create_task(_payloads(_trigger(time.time(), deferred_at=time.time() - 60)))
        await await_until(lambda: portal.count()["requests"])
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await await_until(lambda: not _open(portal))

    asyncio.run(cancelled())


def _open(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["connections"]["open"])
