"""The limits of a cluster in a real Redis server, and what becomes of them when it is away, slow or wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidConnectionError, OperatingLimitError
from airflow_provider_b24cal.bitrix24.protocol.limits import (
    LONGEST_INTERVAL,
    MOST_AHEAD,
    OPERATING_WINDOW,
    SHARE_MEMORY,
    Bucket,
    Plan,
)
from airflow_provider_b24cal.client import redis_state
from airflow_provider_b24cal.client.operating import OperatingTimes, operating_times
from airflow_provider_b24cal.client.rate_limiter import RateLimiter
from airflow_provider_b24cal.client.redis_state import RETRY_INTERVAL, RedisState
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import CANARY, SILENT
from tests.redis_server import RedisServer
from tests.sync import TIMEOUT

PLAN = Plan(0.1, 50.0)
"""So slow that the time that a busy machine takes does not count."""
ORIGIN = "https://example.bitrix24.com"
CONN_ID = "shared_redis"
WARNING = f"The rate limit is not shared through the Redis connection '{CONN_ID}'"


@pytest.fixture(scope="module")
def _redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as running:
        yield running


@pytest.fixture
def redis(_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch) -> RedisServer:
    """An empty server that is not killed, which the connection ``shared_redis`` leads to."""
    _redis_server.client().flushall()
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", _redis_server.connection())
    return _redis_server


@pytest.fixture
def mortal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RedisServer]:
    """A server of this test alone."""
    with RedisServer(tmp_path) as running:
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", running.connection())
        yield running


@pytest.fixture(autouse=True)
def as_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """No state is known in this process, and a busy machine does not make a server slow."""
    monkeypatch.setattr(redis_state, "_STATES", {})
    monkeypatch.setattr(redis_state, "TIMEOUT", TIMEOUT)


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Moves the clock by which a server that failed is tried again."""
    now = 1000.0

    def move(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(redis_state, "monotonic", lambda: now)
    return move


def _state() -> RedisState:
    """Return the state as another host has it."""
    state = RedisState(CONN_ID)
    state.connect()
    return state


Limiters = Callable[..., RateLimiter]


@pytest.fixture
def limiter(tmp_path: Path) -> Limiters:
    """Makes a rate limiter as another host has it."""
    hosts = 0

    def make(origin: str = ORIGIN, group: str = "default", state: RedisState | None = None) -> RateLimiter:
        nonlocal hosts
        hosts += 1
        return RateLimiter(origin, PLAN, tmp_path / f"host {hosts}", state or _state(), group)

    return make


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("airflow_provider_b24cal")]


def test_hosts_share_one_bucket(redis: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture) -> None:
    hosts = [limiter() for _ in range(4)]
    waits = [host.reserve() for _ in range(15) for host in hosts]
    assert waits[:48] == [0.0] * 48
    assert waits == sorted(waits)
    assert 60.0 < waits[-1] <= 112.5
    assert _warnings(caplog) == []


@pytest.mark.parametrize("other", [{"origin": "https://other.bitrix24.com"}, {"group": "other"}], ids=str)
def test_portals_and_groups_have_buckets_of_their_own(
    other: dict[str, str], redis: RedisServer, limiter: Limiters
) -> None:
    assert max(limiter().reserve() for _ in range(60)) > 3.0
    assert limiter(**other).reserve() == 0.0


def test_what_comes_too_late_is_not_reserved(redis: RedisServer, limiter: Limiters) -> None:
    host = limiter()
    longest = max(host.reserve() for _ in range(60))
    assert [host.reserve(1.0) > 1.0 for _ in range(50)] == [True] * 50
    assert host.reserve() <= longest + 10.0


def test_a_refusal_fills_the_bucket_of_all(redis: RedisServer, limiter: Limiters) -> None:
    limiter().refused()
    assert limiter().reserve() > 0.0


offsets = st.floats(-1000, 1000) | st.floats(-1e10, 1e10)
odd = st.sampled_from(["inf", "-inf", "nan", "1e300", "-1e300", "0", "", "x"])
plans = st.just(PLAN) | st.builds(Plan, st.floats(0.1, 50), st.integers(2, 300).map(float))


@pytest.fixture(scope="module")
def bare(_redis_server: RedisServer) -> tuple[RedisState, Any]:
    """A state on the server, without a connection of Airflow, and a client that sees what it stores."""
    state, client = RedisState(CONN_ID), _redis_server.client()
    state._client = client
    return state, client


shares = st.floats(0, 1.5) | odd
jitters = st.floats(0, 1, exclude_max=True)


@given(plans, st.tuples(offsets | odd, offsets | odd, shares, offsets | odd), jitters, st.booleans())
def test_the_script_does_what_the_bucket_does(
    bare: tuple[RedisState, Any], plan: Plan, numbers: tuple[float | str, ...], jitter: float, refused: bool
) -> None:
    """Whatever is stored: the time at which the server has noted it is the time for both."""
    state, client = bare
    client.flushall()
    state.reserve(ORIGIN, "", plan)
    (key,) = client.keys()
    seconds, micros = client.time()
    began = seconds + micros / 1e6
    given_numbers = {
        name: number if name == "share" or isinstance(number, str) else began + number
        for name, number in zip(("empty_at", "noted_at", "share", "refused_at"), numbers, strict=True)
    }
    client.hset(key, mapping=given_numbers)
    wait = None if refused else state.reserve(ORIGIN, "", plan, jitter=jitter)
    if refused:
        assert state.refused(ORIGIN, "", plan)
    stored = {name.decode(): float(text) for name, text in client.hgetall(key).items()}
    now = stored["noted_at"]
    known = Bucket(plan, *map(_number, given_numbers.values()))
    wanted, after = (0.0, known.refused(now)) if refused else known.reserve(now, jitter)
    if wait is not None:
        assert wait == pytest.approx(wanted, abs=1e-4)
    assert list(stored.values()) == pytest.approx(list(after.numbers()), abs=1e-4)
    assert 0 < client.pttl(key) <= 1000 * (MOST_AHEAD + LONGEST_INTERVAL + SHARE_MEMORY + plan.burst / plan.rate + 120)


def _number(stored: float | str) -> float:
    """Return a stored number; any other text counts as 0."""
    try:
        return float(stored)
    except ValueError:
        return 0.0


@pytest.fixture
def connect(server: SandboxServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes ``bitrix24_default`` a connection with one request every ten seconds, shared through Redis."""

    def make(host: str = "host", **extra: Any) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / host))
        (tmp_path / host).mkdir(exist_ok=True)
        monkeypatch.setattr(redis_state, "_STATES", {})
        operating_times.cache_clear()
        fields = json.loads(server.connection_json(1))
        fields["extra"] |= {"requests_per_second": 0.1, "burst": 3, "rate_limit_conn_id": CONN_ID, **extra}
        fields["extra"].pop("plan", None)
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", json.dumps(fields))

    return make


async def _aget() -> str:
    hook = Bitrix24CalendarHook()
    try:
        return (await hook.aget_meeting_status(SILENT)).value
    finally:
        await hook.aclose()


def _get() -> str:
    with Bitrix24CalendarHook() as hook:
        return hook.get_meeting_status(SILENT).value


def test_workers_and_triggerers_share_it(redis: RedisServer, connect: Callable[..., None], clock: Clock) -> None:
    for number in range(6):
        connect(f"host {number}")
        assert (asyncio.run(_aget()) if number % 2 else _get()) == "Q"
    assert [round(wait, -1) for wait in clock.slept] == [0.0, 10.0, 20.0, 30.0, 40.0]


def test_another_group_does_not_wait(redis: RedisServer, connect: Callable[..., None], clock: Clock) -> None:
    for number in range(6):
        connect(f"host {number}", rate_limit_group=f"address-{number % 2}", requests_per_second=0.01, burst=4)
        _get()
    assert [round(wait, -1) for wait in clock.slept] == [20.0, 20.0]


def test_the_loop_goes_on_while_the_server_does_not_answer(
    mortal: RedisServer, connect: Callable[..., None], clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It is thawed by the loop, which it would have stopped for ever."""
    connect()

    async def go() -> str:
        hook = Bitrix24CalendarHook()
        try:
            await hook.aget_meeting_status(SILENT)
            mortal.freeze()
            second = asyncio.create_task(hook.aget_meeting_status(SILENT))
            asyncio.get_running_loop().call_later(0.05, mortal.thaw)
            return (await second).value
        finally:
            await hook.aclose()

    assert asyncio.run(go()) == "Q"
    assert _warnings(caplog) == []


def test_killed_it_is_warned_of_once_and_the_host_goes_on(
    mortal: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture, later: Callable[[float], None]
) -> None:
    host = limiter()
    assert host.reserve() == 0.0
    mortal.kill()
    waits = [host.reserve() for _ in range(60)]
    host.refused()
    later(RETRY_INTERVAL)
    waits.append(host.reserve())
    assert waits[:49] == [0.0] * 49, "the bucket of the host, which was not used before"
    assert waits[-1] > 3.0
    (warning,) = _warnings(caplog)
    assert warning.startswith(WARNING)


def test_it_comes_back_by_itself(
    mortal: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture, later: Callable[[float], None]
) -> None:
    host, other = limiter(), limiter()
    mortal.kill()
    assert host.reserve() == 0.0
    mortal.start()
    assert max(other.reserve() for _ in range(60)) > 3.0, "a connection that was closed is opened again at once"
    assert host.reserve() == 0.0, "not before its time"
    later(RETRY_INTERVAL)
    assert host.reserve() > 3.0
    assert len(_warnings(caplog)) == 1
    mortal.kill()
    host.reserve()
    assert len(_warnings(caplog)) == 2, "what fails again is warned of again"


def test_a_server_that_comes_later_is_used(
    mortal: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture, later: Callable[[float], None]
) -> None:
    """A task that began while it was away does not stay alone to its end."""
    mortal.kill()
    host = limiter()
    assert host.reserve() == 0.0
    mortal.start()
    other = limiter()
    assert max(other.reserve() for _ in range(60)) > 3.0
    assert host.reserve() == 0.0, "not before its time"
    later(RETRY_INTERVAL)
    assert host.reserve() > 3.0
    assert len(_warnings(caplog)) == 1


def test_a_restart_between_two_requests_is_not_noticed(
    mortal: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture
) -> None:
    host = limiter()
    host.reserve()
    mortal.kill()
    mortal.start()
    assert max(host.reserve() for _ in range(60)) > 3.0
    assert len(mortal.client().keys()) == 1
    assert _warnings(caplog) == []


def test_flushed_it_begins_anew(redis: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture) -> None:
    host = limiter()
    assert max(host.reserve() for _ in range(60)) > 3.0
    redis.client().flushall()
    redis.client().script_flush()
    assert host.reserve() == 0.0
    assert _warnings(caplog) == []


def test_too_slow_it_is_not_waited_for(
    mortal: RedisServer,
    limiter: Limiters,
    caplog: pytest.LogCaptureFixture,
    later: Callable[[float], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(redis_state, "TIMEOUT", 0.05)
    host = limiter()
    mortal.freeze()
    assert max(host.reserve() for _ in range(60)) > 3.0
    (warning,) = _warnings(caplog)
    assert "TimeoutError" in warning
    mortal.thaw()


def test_a_delay_within_the_time_out_is_waited_for(
    redis: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture
) -> None:
    host = limiter()
    redis.client().client_pause(200)
    host.reserve()
    assert len(redis.client().keys()) == 1
    assert _warnings(caplog) == []


def _wrong_password(redis: RedisServer) -> str:
    return redis.connection(login="nobody", password="wr0ngPassw0rd")


def _no_such_database(redis: RedisServer) -> str:
    return redis.connection(extra=json.dumps({"db": 9999}))


def _a_cluster(redis: RedisServer) -> str:
    return redis.connection(extra=json.dumps({"cluster": True}))


def _no_json(_: RedisServer) -> str:
    return "redis://127.0.0.1:port"


@pytest.mark.parametrize("make", [_wrong_password, _no_such_database, _a_cluster, _no_json, None])
def test_a_wrong_connection_is_warned_of_once(
    make: Callable[[RedisServer], str] | None,
    redis: RedisServer,
    limiter: Limiters,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if make is None:
        monkeypatch.delenv(f"AIRFLOW_CONN_{CONN_ID.upper()}")
    else:
        monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", make(redis))
    host = limiter()
    assert max(host.reserve() for _ in range(60)) > 3.0
    (warning,) = _warnings(caplog)
    assert warning.startswith(WARNING)
    assert "wr0ngPassw0rd" not in caplog.text


def test_a_server_of_something_else_is_warned_of_once(
    server: SandboxServer, limiter: Limiters, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_state, "TIMEOUT", 0.2)  # it answers at its leisure
    elsewhere = {"conn_type": "redis", "host": "127.0.0.1", "port": server.port}
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", json.dumps(elsewhere))
    host = limiter()
    assert max(host.reserve() for _ in range(60)) > 3.0
    assert len(_warnings(caplog)) == 1


def test_a_corrected_connection_is_read_again(
    redis: RedisServer, limiter: Limiters, monkeypatch: pytest.MonkeyPatch, later: Callable[[float], None]
) -> None:
    good = os.environ[f"AIRFLOW_CONN_{CONN_ID.upper()}"]
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", _wrong_password(redis))
    state = redis_state.redis_state(CONN_ID)
    monkeypatch.setenv(f"AIRFLOW_CONN_{CONN_ID.upper()}", good)
    limiter(state=state).reserve()
    assert redis.client().keys() == []
    later(RETRY_INTERVAL)
    assert redis_state.redis_state(CONN_ID) is state
    limiter(state=state).reserve()
    assert len(redis.client().keys()) == 1


def test_what_others_have_stored_there_does_not_stop_anybody(
    redis: RedisServer, limiter: Limiters, caplog: pytest.LogCaptureFixture
) -> None:
    host = limiter()
    host.reserve()
    (key,) = redis.client().keys()
    redis.client().set(key, "something else")
    assert max(host.reserve() for _ in range(60)) > 3.0
    assert len(_warnings(caplog)) == 1


def test_the_test_button_says_so(mortal: RedisServer, connect: Callable[..., None], clock: Clock) -> None:
    connect()
    mortal.kill()
    with Bitrix24CalendarHook() as hook:
        good, text = hook.test_connection()
    assert good
    assert WARNING in text


def test_without_the_package_the_error_names_the_extra(
    connect: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    connect()
    monkeypatch.setitem(sys.modules, "airflow.providers.redis.hooks.redis", None)
    with pytest.raises(InvalidConnectionError, match=r"Install airflow-provider-b24cal\[redis\]") as caught:
        _get()
    assert "Redis connection (extra key rate_limit_conn_id)" in str(caught.value)


OPERATING = {"operating": 479.0, "operating_reset_at": 1_000_300, "start": 1_000_000}


def _release(folder: Path, state: RedisState | None, method: str = "method") -> tuple[float, bool]:
    release = OperatingTimes(CANARY, folder, state).release(method)
    return round(release.seconds), release.known


@pytest.mark.parametrize("ahead", [0.0, 86_400.0, -86_400.0])
def test_hosts_share_operating_times_whatever_their_clocks_show(
    ahead: float, redis: RedisServer, tmp_path: Path, clock: Clock
) -> None:
    times = OperatingTimes(CANARY, tmp_path / "one", _state())
    times.note("Method", OPERATING)
    times.share()
    clock.now += ahead
    assert _release(tmp_path / "two", _state()) == (300, True)
    assert _release(tmp_path / "two", _state(), "other") == (OPERATING_WINDOW, False)
    assert _release(tmp_path / "two", None) == (OPERATING_WINDOW, False)


def test_operating_times_without_a_reset_are_shared_too(redis: RedisServer, tmp_path: Path, clock: Clock) -> None:
    times = OperatingTimes(CANARY, tmp_path / "one", _state())
    times.note("method", {"operating": 479.0})
    times.share()
    assert _release(tmp_path / "two", _state()) == (OPERATING_WINDOW, False)
    assert len(redis.client().keys()) == 1


def test_without_the_server_operating_times_are_those_of_the_host(
    mortal: RedisServer, tmp_path: Path, clock: Clock
) -> None:
    state = _state()
    mortal.kill()
    times = OperatingTimes(CANARY, tmp_path, state)
    times.note("method", OPERATING)
    times.share()
    assert _release(tmp_path, state) == (300, True)


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asynchronous"])
def test_a_host_that_is_refused_knows_from_another_when_to_return(
    asynchronous: bool, redis: RedisServer, connect: Callable[..., None], clock: Clock, portal: Portal
) -> None:
    method = "calendar.meeting.status.get"
    portal.configure({"operating_s": {method: 300.0}})
    connect("one", requests_per_second=1000)
    assert _get() == "Q"
    portal.plan({"method": method, "times": 1, "error": "OPERATION_TIME_LIMIT", "http_status": 429})
    connect("two", requests_per_second=1000)
    with pytest.raises(OperatingLimitError, match="It can be called again at"):
        asyncio.run(_aget()) if asynchronous else _get()


def test_keys_hold_no_secret_and_expire(
    redis: RedisServer, connect: Callable[..., None], clock: Clock, portal: Portal
) -> None:
    portal.configure({"operating_s": {"calendar.meeting.status.get": 300.0}})
    connect()
    _get()
    client = redis.client()
    keys = client.keys()
    assert len(keys) == 2
    assert all(key.startswith(b"b24cal:") for key in keys)
    assert all(0 < client.pttl(key) < 4_000_000 for key in keys)
    stored = [*keys, *(client.get(key) if client.type(key) == b"string" else b"" for key in keys)]
    code = json.loads(os.environ["AIRFLOW_CONN_BITRIX24_DEFAULT"])["password"].encode()
    assert not any(code in text for text in stored)


def test_a_child_process_opens_a_connection_of_its_own(redis: RedisServer, limiter: Limiters) -> None:
    host = limiter()
    host.reserve()
    child = os.fork()
    if child == 0:
        try:
            done = [host.reserve() for _ in range(100)]
            os._exit(0 if len(set(done)) > 1 else 1)
        finally:
            os._exit(2)
    waits = [host.reserve() for _ in range(100)]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert waits == sorted(waits)
    assert 1400 < host.reserve() <= 1532.5, "each has reserved its own places"


def test_threads_share_a_state(redis: RedisServer, limiter: Limiters) -> None:
    host = limiter()
    threads = [threading.Thread(target=lambda: [host.reserve() for _ in range(25)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 1400 < host.reserve() <= 1522.5


@pytest.mark.parametrize("extra", [{"rate_limit_conn_id": "two words"}, {"rate_limit_group": "two words"}], ids=str)
def test_names_with_spaces_are_refused(extra: dict[str, str], connect: Callable[..., None]) -> None:
    connect(**extra)
    with pytest.raises(InvalidConnectionError, match=next(iter(extra))):
        _get()


def test_nothing_of_redis_is_loaded_without_a_connection_to_it(
    connection: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert _get() == "Q"
    assert redis_state._STATES == {}
