"""What must hold for any schedule of senders, any state of shared files, and any sequence of errors."""

from __future__ import annotations

import json
import struct
import time
from itertools import pairwise
from pathlib import Path

import pytest
from bitrix24_sandbox.limits import Limiter
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24.auth.credentials import Endpoint, Secret, Webhook
from airflow_provider_b24cal.bitrix24.calendar import methods
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import Permanence
from airflow_provider_b24cal.bitrix24.protocol.exchange import Blocking, Pause, Send, call_with_retry
from airflow_provider_b24cal.bitrix24.protocol.limits import (
    HEADROOM,
    LONGEST_INTERVAL,
    MOST_AHEAD,
    OPERATING_WINDOW,
    PLANS,
    SHARE_LEFT,
    Bucket,
    OperatingTime,
    Plan,
    RetryPolicy,
    RetryState,
)
from airflow_provider_b24cal.bitrix24.protocol.replies import Reply
from airflow_provider_b24cal.client.operating import OperatingTimes
from airflow_provider_b24cal.client.rate_limiter import RateLimiter
from tests.contexts import context_for

NOW = 1_800_000_000.0
ROUNDING = 1e-3
"""Seconds that sums of floats may be off, far less than the headroom forgives."""

# A bucket of one request has no room for any headroom, see below.
plans = st.sampled_from([plan for plan in PLANS.values() if plan]) | st.builds(
    Plan, st.floats(0.1, 50), st.integers(2, 300).map(float)
)
gaps = st.lists(st.just(0.0) | st.floats(0, 0.3) | st.floats(0, 400), min_size=1, max_size=400)


def _believed(plan: Plan, gaps: list[float]) -> list[float]:
    """Return as many as may have reserved places ahead of time; of more a bucket is taken for an error."""
    return gaps[: int(MOST_AHEAD * plan.rate)]


@given(plans, gaps)
def test_whenever_senders_come_the_portals_bucket_is_never_exceeded(plan: Plan, gaps: list[float]) -> None:
    portal, bucket, now, sent = Limiter(), Bucket(plan), NOW, []
    for gap in _believed(plan, gaps):
        now += gap
        wait, bucket = bucket.reserve(now)
        sent.append(now + wait)
    assert sent == sorted(sent), "who came first is sent first"
    assert all(portal.admit("here", at, plan.rate, int(plan.burst)) for at in sent)


@given(st.floats(0.1, 50), gaps)
def test_of_a_bucket_of_one_each_is_sent_as_the_one_before_has_leaked_away(rate: float, gaps: list[float]) -> None:
    bucket, now, sent = Bucket(Plan(rate, 1.0)), NOW, []
    for gap in _believed(bucket.plan, gaps):
        now += gap
        wait, bucket = bucket.reserve(now)
        sent.append(now + wait)
    assert all(later - earlier > 1 / rate - ROUNDING for earlier, later in pairwise(sent))


@given(plans, gaps)
def test_nobody_starves(plan: Plan, gaps: list[float]) -> None:
    """A sender waits for those before it at most, each for as long as one request takes to leak away."""
    bucket, now = Bucket(plan), NOW
    for before, gap in enumerate(gaps):
        now += gap
        wait, bucket = bucket.reserve(now)
        assert wait <= max(0.0, before + 1 - plan.burst + HEADROOM) / plan.rate + ROUNDING


@given(plans, st.lists(st.tuples(st.floats(-1e6, 1e6), st.booleans()), max_size=60), st.floats(-1e6, 1e6))
def test_refusals_and_a_clock_that_jumps_cost_a_bounded_wait(
    plan: Plan, past: list[tuple[float, bool]], jump: float
) -> None:
    bucket, now = Bucket(plan), NOW
    for step, refused in past:
        now += step
        bucket = bucket.refused(now) if refused else bucket.reserve(now)[1]
    assert 0 <= bucket.reserve(now + jump)[0] <= bucket.reserve(now)[0] + ROUNDING


offsets = st.floats(-1000, 1000) | st.floats(-1e10, 1e10)
odd = st.sampled_from([float("inf"), float("-inf"), float("nan"), 1e300, -1e300, 0.0]) | st.floats()
numbers = odd | offsets.map(lambda ahead: NOW + ahead)


shares = odd | st.floats(0, 1)
jitters = st.floats(0, 1, exclude_max=True)


@given(plans, st.tuples(numbers, numbers, shares, numbers), jitters)
def test_a_bucket_of_any_numbers_costs_a_bounded_wait(
    plan: Plan, stored: tuple[float, float, float, float], jitter: float
) -> None:
    interval = max(LONGEST_INTERVAL, 1 / SHARE_LEFT / plan.rate)
    most = MOST_AHEAD + 2 * interval + (plan.burst + 1 + HEADROOM) / plan.rate + ROUNDING
    wait, after = Bucket(plan, *stored).reserve(NOW, jitter)
    assert 0 <= wait <= most
    assert after.reserve(NOW, jitter)[0] <= most
    assert 0 <= Bucket(plan, *stored).refused(NOW).reserve(NOW, jitter)[0] <= most


@given(numbers, odd, st.none() | numbers)
@settings(max_examples=300)
def test_an_operating_time_of_any_numbers_ends_within_the_portals_window(
    reported_at: float, used: float, resets_at: float | None
) -> None:
    release = OperatingTime(reported_at, used, resets_at).release(NOW)
    assert 0 <= release.seconds <= OPERATING_WINDOW + 60
    assert 0 <= release.at.timestamp() - NOW <= OPERATING_WINDOW + 61


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the state of :class:`RateLimiter` and :class:`OperatingTimes`, one file each."""
    folder: Path = tmp_path_factory.mktemp("state")
    folder.chmod(0o700)
    return folder


# What something else has written there, or a process whose clock was wrong.
near = offsets.map(lambda ahead: time.time() + ahead)
contents = st.binary(max_size=32) | st.lists(near | odd, min_size=1, max_size=4).map(
    lambda numbers: struct.pack(f"<{len(numbers)}d", *numbers)
)


@given(contents)
@settings(max_examples=300)
def test_whatever_the_files_hold_nobody_fails_or_waits_for_long(folder: Path, content: bytes) -> None:
    plan = Plan(2.0, 50.0)
    times = OperatingTimes("account", folder)
    before = set(folder.iterdir())
    RateLimiter("https://portal", plan, folder).reserve()
    times.note("method", {"operating": 479.0})
    times.share()
    for file in folder.iterdir():
        file.write_bytes(content)
    assert not before or before == set(folder.iterdir()), "always the same two files"
    pace = RateLimiter("https://portal", plan, folder)
    assert 0 <= pace.reserve() <= MOST_AHEAD + 2 * LONGEST_INTERVAL
    pace.refused()
    assert 0 <= pace.reserve() <= MOST_AHEAD + 3 * LONGEST_INTERVAL
    release = OperatingTimes("account", folder).release("method")
    assert 0 <= release.seconds <= OPERATING_WINDOW + 60


@given(plans, gaps, st.lists(jitters, min_size=60, max_size=60))
def test_after_a_refusal_the_portals_full_bucket_is_not_exceeded(
    plan: Plan, gaps: list[float], jitters: list[float]
) -> None:
    """Others have filled the bucket; once that is known, nobody here is refused a second time."""
    portal, now = Limiter(), NOW
    while portal.admit("here", now, plan.rate, int(plan.burst)):
        pass
    bucket, sent = Bucket(plan).refused(now), []
    for gap, jitter in zip(gaps, jitters, strict=False):
        now += gap
        wait, bucket = bucket.reserve(now, jitter)
        sent.append(now + wait)
    assert all(portal.admit("here", at, plan.rate, int(plan.burst)) for at in sorted(sent))


policies = st.builds(RetryPolicy, st.integers(1, 12), st.floats(0, 100), st.floats(0, 100), st.floats(0, 1000))
CALLS = [methods.get_status(1), methods.set_status(2, MeetingStatus.ACCEPTED), methods.get_status(3)]


CODES = {
    "QUERY_LIMIT_EXCEEDED": Permanence.TRANSIENT,
    "OPERATION_TIME_LIMIT": Permanence.TRANSIENT,
    "INTERNAL_SERVER_ERROR": Permanence.AMBIGUOUS,
    "ERROR_CORE": Permanence.AMBIGUOUS,
    "ACCESS_DENIED": Permanence.PERMANENT,
    "": Permanence.PERMANENT,
}
"""Error codes of a command by what repeating it can lead to."""


def _reply(commands: dict[str, str], codes: list[str | None]) -> Reply:
    """Return the reply to a batch whose commands end with these codes; ``None`` is success."""
    values: dict[str, object] = {}
    failed: dict[str, object] = {}
    for (key, command), code in zip(commands.items(), codes, strict=True):
        if code is None:
            values[key] = True if ".set?" in command else "Q"
        else:
            failed[key] = {"error": code, "error_description": "x"}
    return Reply(200, json.dumps({"result": {"result": values, "result_error": failed}}).encode())


@given(policies, st.lists(st.none() | st.sampled_from(sorted(CODES)), min_size=1, max_size=40))
@settings(max_examples=500)
def test_retries_are_bounded_and_repeat_nothing_that_may_have_run(
    policy: RetryPolicy, script: list[str | None]
) -> None:
    endpoint = Endpoint("https://example.bitrix24.com", Webhook("1", Secret("c0dec0dec0de")))
    steps = call_with_retry(CALLS, context_for(endpoint, policy), RetryState(policy))
    step, rounds, answered, waited = next(steps), 0, 0, 0.0
    last: dict[str, str | None] = {}
    try:
        while True:
            if isinstance(step, Send):
                rounds += 1
                commands = json.loads(step.request.body)["cmd"]
                codes = [script[(answered + number) % len(script)] for number in range(len(commands))]
                answered += len(commands)
                for command, code in zip(commands.values(), codes, strict=True):
                    if command in last:
                        before = last[command]
                        assert before is not None, "a call that has succeeded is not repeated"
                        assert CODES[before] is not Permanence.PERMANENT
                        assert CODES[before] is Permanence.TRANSIENT or ".set?" not in command
                    last[command] = code
                step = steps.send(_reply(commands, codes))
                continue
            if isinstance(step, Blocking):
                step = steps.send(step.function())
                continue
            if isinstance(step, Pause):
                waited += step.seconds
            step = next(steps)
    except StopIteration as end:
        found, state = end.value
    assert [outcome.error.code if outcome.error else None for outcome in found] == list(last.values())
    assert rounds <= policy.attempts
    assert waited <= policy.total
    assert state.waited == waited
