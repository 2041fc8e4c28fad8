"""Operating time: what a portal says about it is remembered, and a refusal is waited out or says when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar.methods import STATUS_GET, STATUS_SET
from airflow_provider_b24cal.bitrix24.protocol.errors import OperatingLimitError
from airflow_provider_b24cal.bitrix24.protocol.limits import (
    OPERATING_WINDOW,
    OperatingTime,
    RetryPolicy,
    read_operating_time,
)
from airflow_provider_b24cal.client.operating import OperatingTimes, operating_times
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import ACCEPTED, CANARY, DECLINED, SILENT, portal_data

BEGAN = 1_800_000_000.0
"""Where the clock begins: the first second of a minute, 08:00:00 UTC."""
ONCE = RetryPolicy(attempts=1)


@pytest.fixture
def busy(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Portal]]:
    """Starts a portal on the test's clock where a call of ``status.get`` takes 3 s of 5 s in ten minutes."""
    portal = Portal(parse(portal_data()), clock=lambda: clock.now + skew)
    skew = 0.0
    with SandboxServer(portal) as running:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", running.connection_json(1))
        operating_times.cache_clear()

        def begin(ahead: float = 0.0, **settings: Any) -> Portal:
            nonlocal skew
            skew = ahead
            portal.configure({"operating_limit_s": 5.0, "operating_s": {STATUS_GET: 3.0}, **settings})
            return portal

        yield begin


def _get(retry: RetryPolicy | None = None) -> str:
    """Ask with a hook of its own, as a poll of a trigger does."""
    with Bitrix24CalendarHook(retry=retry) as hook:
        return hook.get_meeting_status(ACCEPTED).value


def _use_up(clock: Clock, later: float) -> None:
    """Use up the method's time, and let some time pass."""
    assert _get() + _get() == "YY"
    clock.now += later


def test_a_refusal_is_waited_out_until_the_portal_forgets(busy: Callable[..., Portal], clock: Clock) -> None:
    portal = busy()
    _use_up(clock, 420.0)
    assert _get() == "Y"
    assert clock.slept == [180.0]
    count: Any = portal.count()
    assert count["refusals"] == {"OPERATION_TIME_LIMIT": 1}


@pytest.mark.parametrize("ahead", [86_400.0, -86_400.0])
def test_the_portals_clock_may_be_another(ahead: float, busy: Callable[..., Portal], clock: Clock) -> None:
    busy(ahead)
    _use_up(clock, 420.0)
    assert _get() == "Y"
    assert clock.slept == [180.0]


def test_what_takes_too_long_fails_at_once_and_says_when_it_works(busy: Callable[..., Portal], clock: Clock) -> None:
    busy()
    _use_up(clock, 100.25)
    with pytest.raises(OperatingLimitError, match=r"It can be called again at 2027-01-15 08:10:00 UTC\.") as caught:
        _get()
    assert caught.value.retry_after == 499.75
    assert (caught.value.code, caught.value.event_id, clock.slept) == ("OPERATION_TIME_LIMIT", ACCEPTED, [])
    assert _get(RetryPolicy(total=500.0)) == "Y"
    assert clock.slept == [499.75]


def test_refused_once_more_it_waits_for_the_next_minute(busy: Callable[..., Portal], clock: Clock) -> None:
    portal = busy()
    assert _get() == "Y"
    clock.now += 60.0
    portal.configure({"operating_s": {STATUS_GET: 6.0}})
    assert _get() == "Y"
    clock.now += 480.0
    assert _get() == "Y"
    assert clock.slept == [60.0, 60.0]


@pytest.mark.parametrize("operating", ["partial", "absent"])
def test_a_portal_that_does_not_tell_may_need_ten_minutes(
    operating: str, busy: Callable[..., Portal], clock: Clock
) -> None:
    busy(operating=operating)
    _use_up(clock, 420.0)
    with pytest.raises(OperatingLimitError, match=r"It can be called again by 2027-01-15 08:17:00 UTC\.") as caught:
        _get()
    assert caught.value.retry_after == 600.0


def test_inside_a_batch_the_others_are_not_disturbed(busy: Callable[..., Portal], clock: Clock) -> None:
    busy(operating_s={STATUS_GET: 4.0})
    assert _get() == "Y"
    clock.now += 420.0
    with Bitrix24CalendarHook(retry=ONCE) as hook:
        outcomes = hook.get_meeting_statuses([ACCEPTED, DECLINED, SILENT])
        assert [outcome.ok for outcome in outcomes.values()] == [True, False, False]
        refusal = outcomes[SILENT].error
        assert isinstance(refusal, OperatingLimitError)
        assert (refusal.retry_after, refusal.event_id) == (180.0, SILENT)
        assert hook.scopes() == ("calendar",), "another method"
    clock.now += 180.0
    with Bitrix24CalendarHook() as hook:
        # What the batch itself has reported is known: its first command is forgotten 420 s later.
        outcomes = hook.get_meeting_statuses([ACCEPTED, DECLINED])
    assert [type(outcome.error) for outcome in outcomes.values()] == [type(None), OperatingLimitError]
    assert clock.slept == []
    assert outcomes[DECLINED].error.retry_after == 420.0  # type: ignore[union-attr]  # it is an error, see above


def test_a_set_is_finished_later(busy: Callable[..., Portal], clock: Clock) -> None:
    portal = busy(operating_s={STATUS_SET: 6.0})
    with Bitrix24CalendarHook() as hook:
        assert hook.set_meeting_status(SILENT, "Y").changed
        clock.now += 420.0
        change = hook.set_meeting_status(DECLINED, "Y")
    assert (change.previous, change.current) == ("N", "Y")
    assert portal.status(DECLINED, 1) == "Y"
    assert clock.slept == [180.0]


def test_a_batch_that_is_refused_as_a_whole(busy: Callable[..., Portal], clock: Clock) -> None:
    """Some portals were seen to book everything under ``batch``."""
    portal = busy(operating_s={})
    portal.plan({"method": "batch", "times": 1, "error": "OPERATION_TIME_LIMIT", "http_status": 429})
    with Bitrix24CalendarHook() as hook:
        outcomes = hook.get_meeting_statuses([ACCEPTED, DECLINED])
    assert [getattr(outcome.error, "retry_after", None) for outcome in outcomes.values()] == [600.0, 600.0]
    assert clock.slept == []


def test_on_an_event_loop(busy: Callable[..., Portal], clock: Clock) -> None:
    busy()
    _use_up(clock, 420.0)

    async def run_call() -> str:
        hook = Bitrix24CalendarHook()
        try:
            return (await hook.aget_meeting_statuses([ACCEPTED]))[ACCEPTED].unwrap().value
        finally:
            await hook.aclose()

    assert asyncio.run(run_call()) == "Y"
    assert clock.slept == [180.0]


def test_another_credential_has_its_own(
    busy: Callable[..., Portal], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Errors name no credential, and what one knows is not taken for another's."""
    portal = busy()
    _use_up(clock, 420.0)
    other = json.loads(os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"]) | {"login": "2", "password": "m4rt1nC0de000000"}
    monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(other))
    portal.plan({"method": STATUS_GET, "times": 1, "error": "OPERATION_TIME_LIMIT", "http_status": 429})
    with pytest.raises(OperatingLimitError) as caught:
        _get()
    assert caught.value.retry_after == 600.0
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(("each", "known"), [(300.0, True), (29.0, False)], ids=["worth it", "too little"])
def test_another_process_knows_too(
    each: float, known: bool, busy: Callable[..., Portal], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that is refused at its first call knows from those before it when it can come back."""
    portal = busy(operating_limit_s=480.0, operating_s={STATUS_GET: each})
    _use_up(clock, 420.0)
    portal.plan({"method": STATUS_GET, "times": 1, "error": "OPERATION_TIME_LIMIT", "http_status": 429})
    # What belongs to a process is lost with it.
    operating_times.cache_clear()
    with pytest.raises(OperatingLimitError) as caught:
        _get(ONCE)
    assert caught.value.retry_after == (180.0 if known else 600.0)


def test_what_is_shared_shows_nobody_a_secret(tmp_path: Path) -> None:
    times = OperatingTimes(CANARY, tmp_path)
    times.note(STATUS_GET, {"operating": 479.0, "operating_reset_at": 1_000_600, "start": 1_000_000})
    times.share()
    (file,) = tmp_path.iterdir()
    assert CANARY not in file.name
    assert CANARY.encode() not in file.read_bytes()
    assert OperatingTimes(CANARY, tmp_path).release(STATUS_GET).known
    assert not OperatingTimes(CANARY, tmp_path).release(STATUS_SET).known


@pytest.mark.parametrize("content", [b"", b"x", b"\xff" * 24, b"\0" * 24], ids=["empty", "short", "odd", "zeros"])
def test_a_broken_file_tells_nothing(content: bytes, tmp_path: Path) -> None:
    times = OperatingTimes("account", tmp_path)
    times.note(STATUS_GET, {"operating": 479.0})
    times.share()
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert not OperatingTimes("account", tmp_path).release(STATUS_GET).known


@pytest.mark.parametrize(
    ("reported", "resets_in"),
    [
        ({"operating": 3.5, "operating_reset_at": 1600, "start": 1000.5}, 599.5),
        ({"operating": 0, "operating_reset_at": 1600, "start": 1000}, 600.0),
        ({"operating": 1, "operating_reset_at": 900, "start": 1000}, 0.0),
        ({"operating": 1, "operating_reset_at": BEGAN + 60}, 60.0),
        ({"operating": 1, "operating_reset_at": BEGAN + 60, "start": None}, 60.0),
        ({"operating": 1, "operating_reset_at": 1700, "start": 1000}, None),
        ({"operating": 1, "operating_reset_at": True, "start": 1000}, None),
        ({"operating": 1, "operating_reset_at": float("nan"), "start": 1000}, None),
        ({"operating": 1, "operating_reset_at": float("inf"), "start": 1000}, None),
        ({"operating": 1, "operating_reset_at": "soon"}, None),
        ({"operating": 1, "operating_reset_at": 10**400, "start": 1000}, None),
        ({"operating": 1}, None),
    ],
)
def test_what_an_answer_tells(reported: object, resets_in: float | None) -> None:
    assert isinstance(reported, dict)
    wanted = None if resets_in is None else BEGAN + resets_in
    assert read_operating_time(reported, BEGAN) == OperatingTime(BEGAN, reported["operating"], wanted)


@pytest.mark.parametrize(
    "reported", [None, [], "", 7, {}, {"start": 1}, {"operating": "much"}, {"operating": None}, {"operating": 10**400}]
)
def test_an_answer_that_tells_nothing(reported: object) -> None:
    assert read_operating_time(reported, BEGAN) is None


@pytest.mark.parametrize(
    ("now", "wait"),
    [
        (BEGAN, 30.0), (BEGAN + 29.5, 0.5), (BEGAN + 30, 60.0), (BEGAN + 31, 59.0), (BEGAN + 599, 31.0),
        (BEGAN + 600, None), (BEGAN - 1, None),
    ],
)  # fmt: skip
def test_when_a_refusal_ends(now: float, wait: float | None) -> None:
    release = OperatingTime(BEGAN, resets_at=BEGAN + 30).release(now)
    assert (release.seconds, release.known) == ((OPERATING_WINDOW, False) if wait is None else (wait, True))
    assert release.at.timestamp() == now + release.seconds or not (now + release.seconds).is_integer()


def test_threads_share_the_last_one_at_once(tmp_path: Path) -> None:
    """The threads of a hook write the same times; one that finds nothing left is no error."""
    # Nothing can be written there, so that the threads meet often.
    no_folder = tmp_path / "file"
    no_folder.touch()
    switching = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            for _ in range(3000):
                times = OperatingTimes("account", no_folder)
                for number in range(10):
                    times.note(f"method.{number}", {"operating": 70.0})
                for done in [threads.submit(times.share) for _ in range(8)]:
                    done.result()
                assert not times.unshared
    finally:
        sys.setswitchinterval(switching)
