"""Waits for the attendees of many events: one wait, one request a poll, and an end that names events and users."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.exceptions import TaskDeferred
from airflow.models.trigger import Trigger
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal._airflow import AirflowSensorTimeout, AirflowSkipException
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.serialization import XCOM_LIMIT, size_of
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from airflow_provider_b24cal.waiting.arguments import MOST_DEFERRED
from airflow_provider_b24cal.waiting.conditions import (
    AttendeesCondition,
    ManyAttendeesCondition,
    MeetingsCondition,
    condition_from_dict,
)
from airflow_provider_b24cal.waiting.evaluate import Rule
from airflow_provider_b24cal.waiting.quorum import check_quorum
from airflow_provider_b24cal.waiting.trigger_event import ResultKind, WaitResult, result_from_event
from tests.clock import Clock
from tests.portal_data import ACCEPTED, DECLINED, HOSTED, MANY, PLAIN, SILENT, UNKNOWN
from tests.sensor_runner import MODES, context_of, run_sensor
from tests.wait_cases import Wait, check, how

START = datetime(2026, 9, 16, 10, tzinfo=UTC).timestamp()
"""When every event of the test portal starts."""
Y, N, Q = MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED


def _of(*event_ids: int, **more: Any) -> dict[str, Any]:
    return {"event_ids": list(event_ids), **more}


def _answers(accepted: str = "", declined: str = "", silent: str = "") -> dict[str, list[int]]:
    given = {"accepted": accepted, "declined": declined, "silent": silent}
    return {kind: list(map(int, users)) for kind, users in given.items()}


CASES = [
    Wait("everybody in each", {"101": _answers("13"), "102": _answers("1"), "1001": _answers("1")},
         _of(SILENT, ACCEPTED, 1001), ((10, SILENT, 1, "Y"), (70, 1001, 1, "Y"), (130, SILENT, 3, "Y"))),
    Wait("one user in each", {"101": _answers("1"), "1001": _answers("1")}, _of(SILENT, 1001, users=[1]),
         ((70, SILENT, 1, "Y"), (130, 1001, 1, "Y"))),
    Wait("any of each", {"101": _answers("3", "", "1"), "102": _answers("1")}, _of(SILENT, ACCEPTED, require="any"),
         ((70, SILENT, 3, "Y"),)),
    Wait("half of each", {"101": _answers("1", "3"), "103": _answers("1")}, _of(SILENT, DECLINED, require="50%"),
         ((10, SILENT, 3, "N"), (70, SILENT, 1, "Y"), (130, DECLINED, 1, "Y"))),
    Wait("what is taken back is waited for again", {"102": _answers("1"), "1001": _answers("1")},
         _of(ACCEPTED, 1001), ((30, ACCEPTED, 1, "N"), (70, 1001, 1, "Y"), (190, ACCEPTED, 1, "Y"))),
    Wait("any answer", {"101": _answers("1", "3"), "103": _answers("", "1")}, _of(SILENT, DECLINED, count="answered"),
         ((70, SILENT, 3, "N"), (130, SILENT, 1, "Y"))),
    Wait("any answer of one event", _answers("1", "3"), {"event_id": SILENT, "count": "answered"},
         ((70, SILENT, 3, "N"), (130, SILENT, 1, "Y"))),
    Wait("a template's text", {"103": _answers("", "1")}, _of("103", users=["1"], count="answered", require="1")),
    Wait("nothing to wait for", {}, _of()),
    Wait("times out", AirflowSensorTimeout, _of(SILENT, 1001, timeout=200), ((70, SILENT, 1, "Y"),),
         left={"101": _answers("1", "", "3"), "1001": _answers("", "", "1")}),
    Wait("times out and is skipped", AirflowSkipException,
         _of(SILENT, 1001, timeout=200, soft_fail=True, count="answered"),
         left={"101": _answers("", "", "13"), "1001": _answers("", "", "1")}),
    Wait("a decline fails", errors.UnwantedStatusError, _of(SILENT, 1001, fail_when_declined=True),
         ((70, 1001, 1, "N"),), left={"101": _answers("", "", "13"), "1001": _answers("", "1")}, says="(event 1001"),
    Wait("a decline is spared", {"101": _answers("1", "3"), "1001": _answers("1")},
         _of(SILENT, 1001, fail_when_declined=True, require="any"),
         ((10, SILENT, 3, "N"), (70, SILENT, 1, "Y"), (130, 1001, 1, "Y"))),
    Wait("somebody is not invited to one of them", errors.NotInvitedError, _of(SILENT, 1001, users=[1, 3]),
         says="User 3 is not invited to this meeting. (event 1001"),
    Wait("somebody who can be spared", {"101": _answers("1", "", "3"), "1001": _answers("1")},
         _of(SILENT, 1001, users=[1, 3], require="any"), ((70, SILENT, 1, "Y"), (70, 1001, 1, "Y"))),
    Wait("somebody is the organiser of one", errors.OrganiserError, _of(HOSTED, SILENT, users=[1], count="answered"),
         says="User 1: The organiser's status is always H and never becomes Y or N"),
    Wait("several can never count", errors.QuorumUnreachableError, _of(PLAIN, SILENT, UNKNOWN),
         says="3 of 3 are required, and 2 can never count"),
    Wait("more than are invited", errors.QuorumUnreachableError, _of(SILENT, 1001, require=2, count="answered"),
         says="2 answers are required, and 1 are invited besides the organiser. (event 1001"),
    Wait("dead credentials", errors.CredentialsError, _of(SILENT, UNKNOWN, soft_fail=True),
         faults=({"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"},)),
    Wait("dead credentials keep what was seen", errors.CredentialsError, _of(SILENT, 1001),
         later_faults=((70, {"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"}),),
         left={"101": _answers("", "", "13"), "1001": _answers("", "", "1")}),
    Wait("trouble of one passes", {"101": _answers("13"), "1001": _answers("1")}, _of(SILENT, 1001),
         ((5, SILENT, 1, "Y"), (5, SILENT, 3, "Y"), (5, 1001, 1, "Y")),
         ({"inner": "calendar.event.getbyid", "times": 1, "error": "QUERY_LIMIT_EXCEEDED"},)),
    Wait("trouble keeps what was seen", errors.AuthServerError, _of(SILENT, 1001, timeout=9000),
         ((10, SILENT, 1, "Y"),),
         later_faults=((70, {"method": "*", "times": 99, "error": "CONNECTION_ERROR"}),),
         left={"101": _answers("1", "", "3"), "1001": _answers("", "", "1")}),
    Wait("both forms", errors.InvalidArgumentError, _of(SILENT, event_id=SILENT), says="got event_id and event_ids"),
    Wait("no form", errors.InvalidArgumentError, says="expected exactly one of event_id, event_ids; got none"),
    Wait("bad ids", errors.InvalidArgumentError, {"event_ids": "101, 102"}, says="Invalid event_ids '101, 102': "),
    Wait("a bad id", errors.InvalidArgumentError, _of(SILENT, "102x"), says="Invalid event_ids '102x'"),
    Wait("a decline is to count and to fail", errors.InvalidArgumentError,
         _of(SILENT, count="answered", fail_when_declined=True),
         says="Invalid fail_when_declined True: expected False with count='answered'"),
    Wait("more than are named", errors.InvalidArgumentError, _of(SILENT, users=[1], require=2),
         says="expected at most the number of users, 1"),
    Wait("a series has no start", errors.InvalidArgumentError, _of(SILENT, 1001, deadline_before_start="soon"),
         says="Invalid deadline_before_start 'soon'"),
    *(
        Wait(f"count={count!r}", errors.InvalidArgumentError, _of(SILENT, count=count),
             says=f"Invalid count {count!r}: expected accepted, answered")
        for count in ("", "Accepted", "declined", None, True, ["answered"], {"answered": 1}, 1)
    ),
]  # fmt: skip


def _sensor(mode: str, **arguments: Any) -> Bitrix24AttendeesSensor:
    given = {"poke_interval": 60, "timeout": 3600, **how(mode), **arguments}
    return Bitrix24AttendeesSensor(task_id="wait", **given)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait", CASES, ids=lambda wait: wait.name)
def test_attendees_of_many(wait: Wait, mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    check(wait, _sensor(mode, **wait.arguments), portal, airflow_clock)


@pytest.mark.parametrize("mode", MODES)
def test_fifty_events_are_one_request(mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """Forty events are one request a poll, also when all but one have arrived."""
    events = MANY[:40]
    for event_id in events[1:]:
        airflow_clock.later(10, lambda event=event_id: portal.answer(event, 1, "N"))
    airflow_clock.later(130, lambda: portal.answer(events[0], 1, "Y"))
    sensor = _sensor(mode, event_ids=list(events), users=[1], count="answered")
    found = run_sensor(sensor, airflow_clock, [])
    assert found == {str(event): _answers("", "1") for event in events} | {str(events[0]): _answers("1")}
    counted: Any = portal.count()
    assert counted["requests"] == 4
    assert counted["commands"]["calendar.event.getbyid"] == 4 * 40


@pytest.mark.parametrize("mode", MODES)
def test_a_meeting_that_is_deleted_meanwhile(mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """It is named, and the answers of the others are left."""

    def delete() -> None:
        with portal.locked() as book:
            book.drop(1001)

    airflow_clock.later(10, lambda: portal.answer(SILENT, 1, "Y"))
    airflow_clock.later(70, delete)
    context = context_of(airflow_clock)
    with pytest.raises(errors.NoSuchEventError, match="event 1001"):
        run_sensor(_sensor(mode, event_ids=[SILENT, 1001]), airflow_clock, [], context)
    assert context["pushed"]["return_value"] == {"101": _answers("1", "", "3"), "1001": _answers("", "", "1")}


@pytest.mark.parametrize("mode", MODES)
def test_attendees_that_are_masked_meanwhile(mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """Who is no longer invited no longer sees the others."""
    portal.invite(1001, 3)
    airflow_clock.later(70, lambda: portal.remove(1001, 1))
    context = context_of(airflow_clock)
    with pytest.raises(errors.QuorumUnreachableError, match=r"does not show the attendees .*event 1001"):
        run_sensor(_sensor(mode, event_ids=[SILENT, 1001], users=[3]), airflow_clock, [], context)
    assert context["pushed"]["return_value"] == {"101": _answers("", "", "3"), "1001": _answers("", "", "3")}


def test_a_deferred_time_out_says_what_was_waited_for(connection: str, airflow_clock: Clock) -> None:
    sensor = _sensor("deferrable", event_ids=[SILENT, 1001], count="answered", require="50%", timeout=200)
    with pytest.raises(AirflowSensorTimeout, match=r"attendees of events 101, 1001 to be answered \(require=50%\)"):
        run_sensor(sensor, airflow_clock, [])


def _move_earlier(portal: Portal, event_id: int) -> None:
    event = portal.book.events[event_id]
    portal.book.events.update({event_id: replace(event, starts=event.starts - timedelta(minutes=30))})


@pytest.mark.parametrize("mode", MODES)
def test_the_deadline_is_that_of_the_first_open_event(
    mode: str, connection: str, portal: Portal, airflow_clock: Clock
) -> None:
    """The event that starts first has all of its answers before its deadline, so that of the other one counts."""
    airflow_clock.now = START - 3600
    _move_earlier(portal, 1001)
    airflow_clock.later(100, lambda: portal.answer(1001, 1, "Y"))
    context = context_of(airflow_clock)
    sensor = _sensor(mode, event_ids=[SILENT, 1001], deadline_before_start=900, poke_interval=300, timeout=9000)
    with pytest.raises(AirflowSensorTimeout, match="deadline"):
        run_sensor(sensor, airflow_clock, [], context)
    assert START - 900 <= airflow_clock.now < START - 885


@pytest.mark.parametrize("mode", MODES)
def test_an_open_event_ends_the_wait_at_its_own_deadline(
    mode: str, connection: str, portal: Portal, airflow_clock: Clock
) -> None:
    airflow_clock.now = START - 3600
    _move_earlier(portal, 1001)
    sensor = _sensor(mode, event_ids=[SILENT, 1001], deadline_before_start=900, poke_interval=300, timeout=9000)
    with pytest.raises(AirflowSensorTimeout, match="deadline"):
        run_sensor(sensor, airflow_clock, [])
    assert START - 2700 <= airflow_clock.now < START - 2685


def test_one_event_keeps_its_own_form(connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """Also if it is the only one of ``event_ids``, the result is by event, so that a computed list has one form."""
    assert run_sensor(_sensor("poke", event_id=ACCEPTED), airflow_clock, []) == _answers("1")
    assert run_sensor(_sensor("poke", event_ids=[ACCEPTED]), airflow_clock, []) == {"102": _answers("1")}


def test_too_many_for_a_trigger(connection: str, portal: Portal, airflow_clock: Clock) -> None:
    sensor = _sensor("deferrable", event_ids=range(1, MOST_DEFERRED), users=[1, 2])
    with pytest.raises(errors.InvalidArgumentError, match=r"at most 2500 events and users .*; got 2501"):
        sensor.execute(context_of(airflow_clock))
    counted: Any = portal.count()
    assert counted["requests"] == 0


def test_too_many_users_for_a_trigger(connection: str, portal: Portal, airflow_clock: Clock) -> None:
    sensor = _sensor("deferrable", event_id=ACCEPTED, users=range(1, MOST_DEFERRED + 1))
    with pytest.raises(errors.InvalidArgumentError, match=r"users: expected at most 2500 .*; got 2501"):
        sensor.execute(context_of(airflow_clock))
    counted: Any = portal.count()
    assert counted["requests"] == 0


def test_answers_that_do_not_fit_a_trigger_row_are_read_again(
    connection: str, portal: Portal, airflow_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MySQL's ``TEXT`` holds 65,535 bytes; without the statuses a wait ends as well."""
    sensor = _sensor("deferrable", event_ids=list(MANY), count="answered")
    crowd = {(event, user): Q for event in MANY for user in range(100_000, 100_100)}
    monkeypatch.setattr(ManyAttendeesCondition, "evaluate", _evaluate_with(crowd))
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context_of(airflow_clock))
    _, arguments = deferred.value.trigger.serialize()
    assert arguments["seen"] == ""
    assert len(Trigger(*deferred.value.trigger.serialize()).encrypted_kwargs) <= 65_535


def _evaluate_with(statuses: Any) -> Any:
    evaluate = ManyAttendeesCondition.evaluate

    def evaluate_crowd(self: ManyAttendeesCondition, outcomes: Any, before: Any) -> Any:
        return replace(evaluate(self, outcomes, before), statuses=statuses)

    return evaluate_crowd


def test_the_largest_wait_fits_a_trigger_row() -> None:
    event_ids = tuple(range(10**15, 10**15 + MOST_DEFERRED - 5))
    wait = ManyAttendeesCondition(event_ids, Rule(any_answer=True), tuple(range(10**15, 10**15 + 5)), 3600.0)
    trigger = Bitrix24AttendanceTrigger(
        bitrix24_conn_id="c" * 250, wait=wait.to_dict(), seen="", poke_interval=60.0, deferred_at=1_800_000_000.123,
        deadline=1_800_000_000.123, retry_timeout=900.0, until=1_800_000_000.123,
    )  # fmt: skip
    assert len(Trigger(*trigger.serialize()).encrypted_kwargs) <= 65_535


def test_a_result_too_large_for_xcom_is_counted() -> None:
    wait = ManyAttendeesCondition(tuple(range(1, 501)), Rule(any_answer=True))
    letters = {1: Y, 2: N, 3: Q}
    statuses = {(event, user): letters[1 + user % 3] for event in wait.event_ids for user in range(100_000, 100_030)}
    assert wait.xcom(statuses) == {"counts": {"accepted": 5000, "declined": 5000, "silent": 5000}}
    few = {key: status for key, status in statuses.items() if key[0] <= 100}
    assert XCOM_LIMIT / 2 < size_of(wait.xcom(few)) <= XCOM_LIMIT
    crowd = AttendeesCondition(1, Rule(any_answer=True))
    answers = {user: letters[1 + user % 3] for user in range(100_000, 109_000)}
    assert crowd.xcom(answers) == {"counts": {"accepted": 3000, "declined": 3000, "silent": 3000}}
    assert set(wait.xcom(few)) == {str(event) for event in range(1, 101)}


@pytest.mark.parametrize(
    "wait",
    [
        ManyAttendeesCondition((651, 7), Rule(any_answer=True, quorum=check_quorum("60%")), (2, 5), 60.0),
        ManyAttendeesCondition((651,), Rule(fail_on=frozenset({N}))),
        ManyAttendeesCondition((), Rule()),
        AttendeesCondition(651, Rule(any_answer=True)),
    ],
    ids=str,
)
def test_what_travels_to_the_triggerer_comes_back(wait: Any) -> None:
    assert condition_from_dict(json.loads(json.dumps(wait.to_dict()))) == wait
    statuses = {(event, user): letter for event in (651, 7) for user, letter in ((2, Y), (5, MeetingStatus("M")))}
    if isinstance(wait, AttendeesCondition):
        statuses = {2: Y, 5: N}  # type: ignore[dict-item]  # keys are those of the condition
    elif wait.event_ids != (651, 7):
        statuses = {key: letter for key, letter in statuses.items() if key[0] in wait.event_ids}
    assert wait.unpack(wait.pack(statuses)) == statuses
    result = WaitResult(ResultKind.ARRIVED, statuses)
    assert result_from_event(json.loads(json.dumps(result.to_event()))) == result


STORED_BY_0_1 = [
    ({"event_ids": [651], "target_status": "Y", "fail_on_statuses": [], "require": "all"},
     MeetingsCondition((651,), Rule())),
    ({"event_id": 651, "user_ids": [2, 3], "seconds_before_start": None, "target_status": "Y",
      "fail_on_statuses": ["N"], "require": "60%"},
     AttendeesCondition(651, Rule(fail_on=frozenset({N}), quorum=check_quorum("60%")), (2, 3))),
]  # fmt: skip


@pytest.mark.parametrize(("stored", "wait"), STORED_BY_0_1, ids=["meetings", "attendees"])
def test_a_wait_that_an_earlier_version_stored(stored: dict[str, Any], wait: Any) -> None:
    """It is read, and a new one of the same kind is stored alike, so that a rescheduled sensor keeps its memory."""
    assert condition_from_dict(stored) == wait
    assert wait.to_dict() == stored


@pytest.mark.parametrize(
    "stored",
    [
        {"event_ids": [1], "user_ids": None, "target_status": "Y", "fail_on_statuses": [], "require": "all", "new": 1},
        {"event_id": 1, "user_ids": None, "target_status": "Y", "fail_on_statuses": [], "require": "all", "count": 1},
    ],
)
def test_a_condition_that_is_not_known_is_no_wait(stored: dict[str, Any]) -> None:
    with pytest.raises(errors.TriggerEventError, match="unknown condition"):
        condition_from_dict(stored)


def test_an_event_of_the_trigger_has_to_fulfil_the_condition(connection: str, airflow_clock: Clock) -> None:
    """A wait never succeeds by default: one event has arrived, the other one has no answers."""
    event = WaitResult(ResultKind.ARRIVED, {(SILENT, 1): Y, (SILENT, 3): N}).to_event()
    sensor = _sensor("deferrable", event_ids=[SILENT, 1001], count="answered")
    with pytest.raises(errors.TriggerEventError, match="reports arrived with"):
        sensor.execute_complete(context_of(airflow_clock), event)
    one = _sensor("deferrable", event_ids=[SILENT], count="answered")
    assert one.execute_complete(context_of(airflow_clock), event) == {"101": _answers("1", "3")}
