"""What must hold for any schedule of senders and for any sequence of errors."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_b24cal.bitrix24 import errors, methods
from airflow_provider_b24cal.bitrix24.batch import Outcome
from airflow_provider_b24cal.bitrix24.errors import Bitrix24Error, Permanence
from airflow_provider_b24cal.bitrix24.exchange import Pause, repeat
from airflow_provider_b24cal.bitrix24.limits import HEADROOM, PLANS, Bucket, Patience, Plan, RetryPolicy
from airflow_provider_b24cal.bitrix24.status import MeetingStatus
from airflow_provider_b24cal.sandbox.limits import Limiter

NOW = 1_800_000_000.0
ROUNDING = 1e-3
"""Seconds that sums of floats may be off, far less than the headroom forgives."""

# A bucket of one request has no room for any headroom, see below.
plans = st.sampled_from([plan for plan in PLANS.values() if plan]) | st.builds(
    Plan, st.floats(0.1, 50), st.integers(2, 300).map(float)
)
gaps = st.lists(st.just(0.0) | st.floats(0, 0.3) | st.floats(0, 400), min_size=1, max_size=400)


@given(plans, gaps)
def test_whenever_senders_come_the_portals_bucket_is_never_exceeded(plan: Plan, gaps: list[float]) -> None:
    portal, bucket, now, sent = Limiter(), Bucket(plan), NOW, []
    for gap in gaps:
        now += gap
        wait, bucket = bucket.reserve(now)
        sent.append(now + wait)
    assert sent == sorted(sent), "who came first is sent first"
    assert all(portal.admit("here", at, plan.rate, int(plan.burst)) for at in sent)


@given(st.floats(0.1, 50), gaps)
def test_of_a_bucket_of_one_each_is_sent_as_the_one_before_has_leaked_away(rate: float, gaps: list[float]) -> None:
    bucket, now, sent = Bucket(Plan(rate, 1.0)), NOW, []
    for gap in gaps:
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
    wait, _ = bucket.reserve(now + jump)
    assert 0 <= wait <= 600 + (1 + HEADROOM) / plan.rate + ROUNDING


@given(plans, gaps)
def test_after_a_refusal_the_portals_full_bucket_is_not_exceeded(plan: Plan, gaps: list[float]) -> None:
    """Others have filled the bucket; once that is known, nobody here is refused a second time."""
    portal, now = Limiter(), NOW
    while portal.admit("here", now, plan.rate, int(plan.burst)):
        pass
    bucket = Bucket(plan).refused(now)
    for gap in gaps[:60]:
        now += gap
        wait, bucket = bucket.reserve(now)
        assert portal.admit("here", now + wait, plan.rate, int(plan.burst))


policies = st.builds(RetryPolicy, st.integers(1, 12), st.floats(0, 100), st.floats(0, 100), st.floats(0, 1000))
troubles = st.builds(
    lambda kind, permanence, retry_after, attempts: kind(
        "x", permanence=permanence, retry_after=retry_after, attempts=attempts
    ),
    st.sampled_from(
        [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Bitrix24Error)]
    ),
    st.none() | st.sampled_from(list(Permanence)),
    st.none() | st.floats(0, 2000),
    st.none() | st.integers(1, 20),
)
CALLS = [methods.get_status(1), methods.set_status(2, MeetingStatus.ACCEPTED), methods.get_status(3)]


@given(policies, st.lists(st.none() | troubles, min_size=1, max_size=40), st.floats(0, 1, exclude_max=True))
@settings(max_examples=500)
def test_repeating_is_bounded_and_repeats_nothing_that_may_have_been_done(
    policy: RetryPolicy, script: list[Bitrix24Error | None], chance: float
) -> None:
    repeating = repeat(CALLS, Patience(policy), lambda: chance)
    step, rounds, answered, waited = next(repeating), 0, 0, 0.0
    last: dict[int, Bitrix24Error | None] = {}
    try:
        while True:
            if isinstance(step, Pause):
                waited += step.seconds
                step = next(repeating)
                continue
            rounds += 1
            outcomes: list[Outcome[Any]] = []
            for call in step:
                assert call.event_id is not None
                before = last.get(call.event_id)
                assert call.event_id not in last or before is not None, "an answer is not asked for twice"
                if before is not None:
                    assert before.permanence is not Permanence.PERMANENT
                    assert not (call.writes and before.permanence is Permanence.AMBIGUOUS)
                last[call.event_id] = script[answered % len(script)]
                outcomes.append(Outcome(error=last[call.event_id]))
                answered += 1
            step = repeating.send(outcomes)
    except StopIteration as end:
        found, patience = end.value
    assert [outcome.error for outcome in found] == [last[number] for number in (1, 2, 3)]
    assert rounds <= policy.attempts
    assert waited <= policy.total
    assert patience.waited == waited
