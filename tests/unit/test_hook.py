"""The hook: many meetings at once, raw calls, the connection test, and the asynchronous twins."""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bitrix24_sandbox.datafile import parse
from bitrix24_sandbox.portal import Portal
from bitrix24_sandbox.server import SandboxServer

from airflow_provider_b24cal.bitrix24.calendar.methods import Profile
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from tests.clock import Clock
from tests.portal_data import (
    ACCEPTED,
    CANARY,
    DECLINED,
    FOREIGN,
    HOSTED,
    MANY,
    NOTIFYING,
    SILENT,
    UNKNOWN,
    portal_data,
)


def _requests(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["requests"])


MIXED = [DECLINED, UNKNOWN, ACCEPTED, FOREIGN, str(SILENT), HOSTED, ACCEPTED]
MIXED_ANSWERS = {
    DECLINED: "N", UNKNOWN: "NoSuchMeetingError", ACCEPTED: "Y", FOREIGN: "NotInvitedError", SILENT: "Q", HOSTED: "H",
}  # fmt: skip


def _shown(outcomes: Any) -> dict[int, str]:
    return {
        key: outcome.value.value if outcome.ok else type(outcome.error).__name__ for key, outcome in outcomes.items()
    }


def test_many_statuses_in_one_request_each_with_its_outcome(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    outcomes = hook.get_meeting_statuses(MIXED)
    assert _shown(outcomes) == MIXED_ANSWERS
    assert list(outcomes) == list(MIXED_ANSWERS), "in the order asked"
    assert _requests(portal) == 1


def test_fifty_to_a_request(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    outcomes = hook.get_meeting_statuses(MANY)
    assert list(outcomes) == list(MANY)
    assert set(_shown(outcomes).values()) == {"Q"}
    assert _requests(portal) == 3


def test_nothing_asked_nothing_sent(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    assert hook.get_meeting_statuses([]) == {}
    assert hook.set_meeting_statuses({}) == {}
    assert hook.batch([]) == []
    assert _requests(portal) == 0


def test_only_what_failed_in_passing_is_asked_again(hook: Bitrix24CalendarHook, portal: Portal, clock: Clock) -> None:
    portal.plan({"inner": "calendar.meeting.status.get", "times": 2, "error": "QUERY_LIMIT_EXCEEDED"})
    assert _shown(hook.get_meeting_statuses(MIXED)) == MIXED_ANSWERS
    count: Any = portal.count()
    assert count["requests"] == 2
    assert count["commands"]["calendar.meeting.status.get"] == 6 + 2
    assert len(clock.slept) == 1


def test_a_request_that_cannot_be_read_fails_its_events_alone(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    body = {"body": '{"result":{"result":{"{c0}":5},"result_error":[]}}', "http_status": 200}
    portal.plan({"method": "batch", "times": 1, "content_type": "application/json", **body})
    shown = _shown(hook.get_meeting_statuses(MANY))
    assert Counter(shown.values()) == {"UnexpectedReplyError": 1, "Q": 119}


@pytest.mark.parametrize("write", [False, True])
def test_a_refusal_for_good_is_not_asked_for_again(write: bool, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    """Fifty thousand events of a dead webhook take no thousand requests to find out."""
    portal.plan({"method": "batch", "times": 999, "error": "INVALID_CREDENTIALS"})
    ids = range(1, 5001)
    results: Any = hook.set_meeting_statuses(dict.fromkeys(ids, "Y")) if write else hook.get_meeting_statuses(ids)
    assert list(results) == list(ids), "every event has its outcome all the same"
    assert {type(result.error) for result in results.values()} == {errors.CredentialsError}
    assert _requests(portal) <= 10


def test_the_asynchronous_twin_gives_up_as_early(connection: str, portal: Portal) -> None:
    portal.plan({"method": "batch", "times": 999, "error": "INVALID_CREDENTIALS"})

    async def run_call() -> Any:
        hook = Bitrix24CalendarHook(connection)
        try:
            return await hook.aget_meeting_statuses(range(1, 5001))
        finally:
            await hook.aclose()

    assert len(asyncio.run(run_call())) == 5000
    assert _requests(portal) <= 10


def test_requests_are_under_way_at_once_on_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twelve requests none is answered before three others have come: four at once, on as many connections."""
    met = asyncio.Barrier(4)

    async def sleep(_: float) -> None:
        await asyncio.wait_for(met.wait(), 120)

    with SandboxServer(Portal(parse(portal_data())), sleep=sleep) as server:
        monkeypatch.setenv("AIRFLOW_CONN_BITRIX24_DEFAULT", server.connection_json(1))
        server.portal.configure({"latency_ms": 1})
        before: Any = server.portal.count()
        with Bitrix24CalendarHook() as hook:
            hook.batch([("scope", None)] * 600)
        after: Any = server.portal.count()
    assert after["requests"] - before["requests"] == 12
    assert after["connections"]["seen"] - before["connections"]["seen"] == 4


class EnoughError(Exception):
    """What breaks a run off."""


@contextmanager
def _broken_off_after(seconds: float) -> Iterator[None]:
    """Raise in the main thread after so many seconds, as Airflow does when a task's time is up or it is killed."""

    def break_off(_number: int, _frame: object) -> None:
        raise EnoughError

    previous = signal.signal(signal.SIGALRM, break_off)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(EnoughError):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


TROUBLES: dict[str, dict[str, object]] = {"pauses": {"error": "CONNECTION_ERROR"}, "answers": {"delay": 300}}


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_run_that_is_broken_off_waits_for_nothing(trouble: str, connection: str, portal: Portal) -> None:
    portal.plan({"method": "batch", "times": 999, **TROUBLES[trouble]})
    hook = Bitrix24CalendarHook(connection, retry=RetryPolicy(first=300.0, longest=300.0))
    hook.scopes()
    began = time.monotonic()
    with _broken_off_after(0.5):
        hook.batch([("scope", None)] * 400)
    assert time.monotonic() - began < 100
    hook.close()


def test_set_many_writes_only_what_differs(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    wanted = {ACCEPTED: "Y", DECLINED: "y", UNKNOWN: "Y", FOREIGN: "N", HOSTED: "N", SILENT: "N", NOTIFYING: "Q"}
    changes = hook.set_meeting_statuses(wanted)
    assert list(changes) == list(wanted)
    assert {key: type(change.error).__name__ for key, change in changes.items() if change.error} == {
        UNKNOWN: "NoSuchMeetingError", FOREIGN: "NotInvitedError", HOSTED: "OrganiserError",
    }  # fmt: skip
    assert [key for key, change in changes.items() if change.changed] == [DECLINED, SILENT]
    assert [portal.status(key, 1) for key in (ACCEPTED, DECLINED, SILENT, NOTIFYING)] == ["Y", "Y", "N", "Q"]
    count: Any = portal.count()
    assert count["methods"]["calendar.meeting.status.set"] == 2
    assert count["requests"] == 2
    assert count["notifications"] == {}


def test_set_a_hundred_and_twenty(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    changes = hook.set_meeting_statuses(dict.fromkeys(MANY, "Y"))
    assert all(change.changed for change in changes.values())
    assert {portal.status(number, 1) for number in MANY} == {"Y"}
    # Reading takes 3 requests of fifty; writing with reading back, twenty-five meetings to a request, takes 5.
    assert _requests(portal) == 3 + 5


def test_two_ids_of_one_meeting_cannot_both_be_reported_true(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    """The parent's id and the attendee's own reach the same row; the last write wins, and reading back shows it."""
    parent, own = MANY[0], MANY[0] + 1000
    changes = hook.set_meeting_statuses({parent: "Y", own: "N"})
    assert portal.status(parent, 1) == "N"
    assert type(changes[parent].error) is errors.StatusNotAppliedError
    assert changes[own].error is None


def test_contradictions_are_refused(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="one status for event 101; got two"):
        hook.set_meeting_statuses({SILENT: "Y", str(SILENT): "N"})  # type: ignore[dict-item]
    with pytest.raises(errors.InvalidArgumentError, match="Invalid event_ids '651': expected a list of ids"):
        hook.get_meeting_statuses("651")
    assert _requests(portal) == 0


def test_call_and_batch(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    assert hook.call("calendar.event.getbyid", {"id": SILENT}, writes=False)["NAME"] == "Budget"
    assert hook.call("server.time")
    answers = hook.batch([("calendar.event.getbyid", {"id": SILENT}), ("no.such.method", None), ("scope", {})])
    assert answers[0].unwrap()["NAME"] == "Budget"
    assert type(answers[1].error) is errors.PortalError
    assert answers[2].unwrap() == ["calendar"]
    assert _requests(portal) == 3


@pytest.mark.parametrize("method", ["", "a b", "../x", "x?y=1", "profile\n", None, 5, ".x", "x."])
def test_a_bad_method_is_refused(method: Any, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"Invalid method .*: expected a REST method name"):
        hook.call(method)
    with pytest.raises(errors.InvalidArgumentError, match=r"Invalid params .*: expected a mapping"):
        hook.call("profile", ["x"])  # type: ignore[arg-type]
    assert _requests(portal) == 0


@pytest.mark.parametrize("count", [1, 2, 51])
def test_a_batch_with_a_reference_is_refused_whole(count: int, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    calls: list[Any] = [("scope", None)] * (count - 1)
    with pytest.raises(errors.InvalidArgumentError, match="replace the reference in name="):
        hook.batch([*calls, ("calendar.event.add", {"name": "$result[c0]"})])
    assert _requests(portal) == 0


@pytest.mark.parametrize(
    ("calls", "reported"),
    [
        (None, "Invalid calls None: expected a list of pairs"),
        ("xy", "Invalid calls 'xy'"),
        ({"profile": {}}, "Invalid calls {'profile': {}}"),
        ([("scope", None), "ab"], "Invalid calls[1] 'ab': expected a pair of method and params"),
        ([("profile",)], "Invalid calls[0] ('profile',)"),
        ([{"method": "profile", "params": {}}], "Invalid calls[0] {'method': 'profile', 'params': {}}"),
        ([("scope", None), ("a b", None)], "Invalid method of calls[1] 'a b'"),
        ([("scope", [1])], "Invalid params of calls[0] [1]"),
        ([("scope", {"a": []})], "A batch would drop a=[] of scope"),
    ],
)
def test_calls_that_are_no_pairs_are_refused(
    calls: Any, reported: str, hook: Bitrix24CalendarHook, portal: Portal
) -> None:
    with pytest.raises(errors.InvalidArgumentError) as caught:
        hook.batch(calls)
    assert reported in str(caught.value)
    assert _requests(portal) == 0


def test_calls_may_come_one_by_one(hook: Bitrix24CalendarHook) -> None:
    assert [outcome.ok for outcome in hook.batch(pair for pair in [("scope", None), ["scope", {}]])] == [True, True]  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}, b"x"], ids=lambda value: type(value).__name__)
def test_params_that_are_not_json_are_refused(value: Any, hook: Bitrix24CalendarHook, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match="Invalid params: expected"):
        hook.call("profile", {"deep": [value]})
    assert _requests(portal) == 0


def test_all_waiting_of_one_set_is_bounded_together(hook: Bitrix24CalendarHook, portal: Portal, clock: Clock) -> None:
    portal.plan(
        {"method": "calendar.meeting.status.get", "times": 3, "error": "CONNECTION_ERROR"},
        {"method": "batch", "times": 99, "error": "CONNECTION_ERROR"},
    )
    with pytest.raises(errors.AuthServerError):
        hook.set_meeting_status(SILENT, "Y")
    assert len(clock.slept) == 7
    assert sum(clock.slept) <= 300


def test_a_raw_write_is_not_repeated_when_it_may_have_run(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    portal.plan({"method": "calendar.meeting.status.set", "times": 1, "drop": "after"})
    with pytest.raises(errors.TransportError):
        hook.call("calendar.meeting.status.set", {"eventId": NOTIFYING, "status": "Y"})
    count: Any = portal.count()
    assert (count["requests"], count["notifications"]) == (1, {str(NOTIFYING): {"accepted": 1}})


def test_who_and_what(hook: Bitrix24CalendarHook) -> None:
    assert hook.whoami() == Profile(1, "Anna Orlova")
    assert hook.scopes() == ("calendar",)


def test_the_session_holds_no_credential(hook: Bitrix24CalendarHook) -> None:
    session = hook.get_conn()
    assert CANARY not in repr(vars(session))
    assert session.trust_env is False


@pytest.mark.parametrize(
    ("user", "more", "wanted", "message"),
    [
        (1, {}, True, "as Anna Orlova (user 1); scopes: calendar."),
        (3, {}, False, "scopes: user. The scope `calendar` is missing: add it to the webhook's permissions."),
        (4, {}, False, "the user may be deactivated"),
        (1, {"password": "notTheCode000000"}, False, "Create a new one under Developer resources"),
        (1, {"host": "http://127.0.0.1:9"}, False, "No connection to the portal could be made."),
        (1, {"host": ""}, False, "Invalid connection field Portal (host): expected the portal"),
        (1, {"extra": {"proxi": "x"}}, False, "expected no key 'proxi'. Did you mean proxy?"),
    ],
)
def test_test_connection(
    user: int, more: dict[str, Any], wanted: bool, message: str, server: SandboxServer, clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    fields = {**json.loads(server.connection_json(user)), **more}
    monkeypatch.setenv("AIRFLOW_CONN_TESTED", json.dumps(fields))
    good, text = Bitrix24CalendarHook("tested").test_connection()
    assert (good, message in text) == (wanted, True), text
    assert fields["password"] not in text


def test_test_connection_tells_a_webhook_that_acts_as_somebody_else(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    for result, message in (
        (
            '{"result":{"{c0}":{"ID":"99","NAME":"System"},"{c1}":["calendar"]},"result_error":[]}',
            "acts as System (user 99)",
        ),
        ('{"result":{"{c0}":[],"{c1}":["calendar"]},"result_error":[]}', "the acting user is not active"),
    ):
        portal.plan({"method": "batch", "times": 1, "http_status": 200, "body": f'{{"result":{result}}}',
                     "content_type": "application/json"})  # fmt: skip
        good, text = hook.test_connection()
        assert not good
        assert message in text


def test_the_asynchronous_twins(connection: str, portal: Portal, clock: Clock) -> None:
    async def run_call() -> tuple[Any, ...]:
        hook = Bitrix24CalendarHook(connection)
        try:
            return (
                await hook.aget_meeting_status(SILENT),
                await hook.aget_meeting_statuses(MIXED),
                await hook.awhoami(),
                await hook.ascopes(),
            )
        finally:
            await hook.aclose()

    status, outcomes, profile, scopes = asyncio.run(run_call())
    assert (status, profile, scopes) == ("Q", Profile(1, "Anna Orlova"), ("calendar",))
    assert _shown(outcomes) == MIXED_ANSWERS
    assert list(outcomes) == list(MIXED_ANSWERS)


def test_a_closed_hook_opens_again(connection: str, portal: Portal) -> None:
    hook = Bitrix24CalendarHook(connection)
    for _ in range(2):
        assert hook.get_meeting_status(SILENT) == "Q"
        hook.close()


def test_connections_are_kept(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    before: Any = portal.count()
    for _ in range(5):
        hook.get_meeting_status(SILENT)
    after: Any = portal.count()
    assert after["connections"]["seen"] - before["connections"]["seen"] == 1


def test_what_was_done_beside_a_unreachable_request_counts(hook: Bitrix24CalendarHook, portal: Portal) -> None:
    """The first request is slow and then finds the webhook refused; those beside it were quicker."""
    portal.plan({"method": "batch", "delay": 1.0, "error": "INVALID_CREDENTIALS", "http_status": 401})
    changes = hook.set_meeting_statuses(dict.fromkeys(MANY, "Y"))
    reported = {key for key, change in changes.items() if change.error is None}
    assert reported == {key for key in MANY if portal.status(key, 1) == "Y"}
    assert reported, "one request of three has failed, and the others were under way"
    assert {type(change.error) for change in changes.values() if change.error} == {errors.CredentialsError}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "asynchronous"])
def test_a_portal_that_lets_nobody_in_is_not_asked_for_every_fifty(
    asynchronous: bool, connection: str, portal: Portal, clock: Clock
) -> None:
    portal.plan({"method": "*", "times": 9999, "error": "QUERY_LIMIT_EXCEEDED"})
    hook = Bitrix24CalendarHook(connection, retry=RetryPolicy(attempts=3))
    event_ids = range(1, 2001)

    async def run_call() -> Any:
        try:
            return await hook.aget_meeting_statuses(event_ids)
        finally:
            await hook.aclose()

    outcomes = asyncio.run(run_call()) if asynchronous else hook.get_meeting_statuses(event_ids)
    hook.close()
    assert {type(outcome.error) for outcome in outcomes.values()} == {errors.RateLimitError}
    assert list(outcomes) == list(event_ids)
    # Four requests are under way at once; each is sent three times, and the others never.
    assert _requests(portal) <= 4 * 3
