"""Waits for many: a quorum of meetings, and an event's attendees, in every mode with the same end."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.models.trigger import Trigger
from bitrix24_sandbox.portal import Portal
from cryptography.fernet import Fernet

from airflow_provider_b24cal._airflow import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from airflow_provider_b24cal.waiting.arguments import MOST_DEFERRED
from airflow_provider_b24cal.waiting.conditions import MeetingsCondition
from airflow_provider_b24cal.waiting.evaluate import Rule
from tests.clock import Clock
from tests.portal_data import ACCEPTED, DECLINED, FOREIGN, HOSTED, MANY, PLAIN, SILENT, UNKNOWN
from tests.sensor_runner import MODES, context_of, run_sensor
from tests.wait_cases import Wait, check, how

GET = "calendar.meeting.status.get"
FIVE = [SILENT, DECLINED, 1001, 1002, 1003]
START = datetime(2026, 9, 16, 10, tzinfo=UTC).timestamp()
"""When every event of the test portal starts."""


def _of(event_ids: list[int], require: Any = "all", **more: Any) -> dict[str, Any]:
    return {"event_ids": event_ids, "require": require, **more}


MEETINGS = [
    Wait("all of them", {"101": "Y", "102": "Y"}, _of([SILENT, ACCEPTED]), ((130, SILENT, 1, "Y"),)),
    Wait("any of them", {"101": "Q", "103": "N", "1001": "Y", "1002": "Q", "1003": "Q"}, _of(FIVE, "any"),
         ((70, 1001, 1, "Y"),)),
    Wait("two of them", {"101": "Q", "103": "N", "1001": "Y", "1002": "Q", "1003": "Y"}, _of(FIVE, "2"),
         ((70, 1001, 1, "Y"), (190, 1003, 1, "Y"))),
    Wait("60% of five is three", {"101": "Y", "103": "N", "1001": "Y", "1002": "Q", "1003": "Y"}, _of(FIVE, "60%"),
         ((70, 1001, 1, "Y"), (190, 1003, 1, "Y"), (250, SILENT, 1, "Y"))),
    Wait("a number is a number", {"101": "Q", "102": "Y"}, _of([SILENT, ACCEPTED], 1)),
    Wait("half of three is two", {"101": "Q", "1001": "Y", "1002": "Y"}, _of([SILENT, 1001, 1002], "50%"),
         ((70, 1001, 1, "Y"), (130, 1002, 1, "Y"))),
    Wait("what has arrived stays", {"101": "Y", "1001": "Y"}, _of([SILENT, 1001]),
         ((30, SILENT, 1, "Y"), (70, 1001, 1, "Y"))),
    Wait("nothing to wait for", {}, _of([])),
    Wait("another target", {"101": "N", "103": "N"}, _of([SILENT, DECLINED], target_status="N"),
         ((70, SILENT, 1, "N"),)),
    Wait("one of all is lost", errors.NotInvitedError, _of([SILENT, FOREIGN, ACCEPTED]),
         left={"101": "Q", "102": "Y"}),
    Wait("the lost are enough to fail", errors.QuorumUnreachableError,
         _of([SILENT, FOREIGN, HOSTED, PLAIN, UNKNOWN], 2),
         left={"101": "Q", "104": "H"}, says="2 of 5 are required, and 4 can never count"),
    Wait("the lost can be spared", {"101": "Y", "104": "H"}, _of([SILENT, FOREIGN, HOSTED, UNKNOWN], "any"),
         ((70, SILENT, 1, "Y"),)),
    Wait("a decline can be spared", {"101": "Y", "103": "N"}, _of([SILENT, DECLINED], "50%", fail_on_statuses=["N"]),
         ((70, SILENT, 1, "Y"),)),
    Wait("a decline cannot be spared", errors.UnwantedStatusError, _of([SILENT, DECLINED], fail_on_statuses=["N"]),
         left={"101": "Q", "103": "N"}),
    Wait("a decline later cannot be spared", errors.UnwantedStatusError,
         _of([SILENT, 1001], fail_on_statuses=["N"], soft_fail=True), ((70, 1001, 1, "N"),),
         left={"101": "Q", "1001": "N"}),
    Wait("times out", AirflowSensorTimeout, _of([SILENT, ACCEPTED], timeout=200), left={"101": "Q", "102": "Y"}),
    Wait("times out and is skipped", AirflowSkipException, _of([SILENT, ACCEPTED], timeout=200, soft_fail=True),
         left={"101": "Q", "102": "Y"}),
    Wait("dead credentials end every hope", errors.CredentialsError, _of(FIVE, "any"),
         faults=({"method": "batch", "times": 99, "error": "INVALID_CREDENTIALS"},)),
    Wait("trouble of one passes", {"101": "Y", "102": "Y"}, _of([SILENT, ACCEPTED]), ((5, SILENT, 1, "Y"),),
         ({"inner": "calendar.meeting.status.get", "times": 2, "error": "QUERY_LIMIT_EXCEEDED"},)),
    Wait("dead credentials keep what was seen", errors.CredentialsError, _of([SILENT, ACCEPTED, DECLINED]),
         later_faults=((70, {"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"}),),
         left={"101": "Q", "102": "Y", "103": "N"}),
    Wait("silent_fail remembers what has arrived", AirflowSensorTimeout,
         _of([SILENT, FOREIGN], timeout=400, silent_fail=True), ((70, SILENT, 1, "Y"), (190, SILENT, 1, "N")),
         left={"101": "Y"}),
    Wait("both forms", errors.InvalidArgumentError, _of([SILENT], event_id=SILENT), says="got event_id and"),
    Wait("no form", errors.InvalidArgumentError, says="got none"),
    Wait("more than there are", errors.InvalidArgumentError, _of([SILENT], 2), says="Invalid require '2'"),
    Wait("any of nothing", errors.InvalidArgumentError, _of([], "any"), says="Invalid require 'any'"),
    *(
        Wait(f"require={require!r}", errors.InvalidArgumentError, _of(FIVE, require), says="expected 'all', 'any'")
        for require in ("", "most", 0, "-1", "0%", "101%", "1e2%", 1.5, True, None, "60 %", [1], "٣")
    ),
]  # fmt: skip


def _event(event_id: int, **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, **more}


ATTENDEES = [
    Wait("everybody", {"accepted": [1, 3], "declined": [], "silent": []}, _event(SILENT),
         ((70, SILENT, 1, "Y"), (130, SILENT, 3, "Y"))),
    Wait("by an attendee's own id", {"accepted": [1], "declined": [], "silent": []}, _event(2001),
         ((70, 1001, 1, "Y"),)),
    Wait("half of them", {"accepted": [3], "declined": [1], "silent": []}, _event(SILENT, require="50%"),
         ((70, SILENT, 1, "N"), (130, SILENT, 3, "Y"))),
    Wait("one in particular", {"accepted": [3], "declined": [], "silent": []}, _event(SILENT, users=["3"]),
         ((70, SILENT, 3, "Y"),)),
    Wait("a decline is waited on", {"accepted": [1, 3], "declined": [], "silent": []}, _event(SILENT),
         ((10, SILENT, 1, "N"), (70, SILENT, 1, "Y"), (70, SILENT, 3, "Y"))),
    Wait("a decline fails", errors.UnwantedStatusError, _event(SILENT, fail_when_declined=True),
         ((70, SILENT, 3, "N"),), left={"accepted": [], "declined": [3], "silent": [1]}, says="User 3: "),
    Wait("a decline is spared", {"accepted": [1], "declined": [3], "silent": []},
         _event(SILENT, fail_when_declined=True, require="any"), ((70, SILENT, 3, "N"), (130, SILENT, 1, "Y"))),
    Wait("times out", AirflowSensorTimeout, _event(SILENT, timeout=200), ((70, SILENT, 1, "Y"),),
         left={"accepted": [1], "declined": [], "silent": [3]}),
    Wait("somebody who is not invited", errors.NotInvitedError, _event(SILENT, users=[1, 4]), says="User 4 is not"),
    Wait("the organiser never answers", errors.OrganiserError, _event(SILENT, users=[2]), says="User 2: "),
    Wait("more than are invited", errors.QuorumUnreachableError, _event(SILENT, require=3),
         says="3 acceptances are required"),
    Wait("no meeting", errors.NoSuchMeetingError, _event(PLAIN), says="not a meeting"),
    Wait("no such event", errors.NoSuchEventError, _event(UNKNOWN)),
    Wait("dead credentials", errors.CredentialsError, _event(SILENT, soft_fail=True),
         faults=({"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"},)),
    Wait("trouble passes", {"accepted": [1, 3], "declined": [], "silent": []}, _event(SILENT),
         ((5, SILENT, 1, "Y"), (5, SILENT, 3, "Y")), ({"method": "*", "times": 2, "error": "QUERY_LIMIT_EXCEEDED"},)),
    Wait("no user", errors.InvalidArgumentError, _event(SILENT, users=[]),
         says="expected at most the number of users, 0"),
    Wait("more than are named", errors.InvalidArgumentError, _event(SILENT, users=[1], require=2),
         says="expected at most the number of users, 1"),
    Wait("never_fail does not skip a deadline", AirflowSensorTimeout,
         _event(SILENT, never_fail=True, deadline_before_start=START - 1_800_000_000 - 150),
         left={"accepted": [], "declined": [], "silent": [1, 3]}, says="deadline"),
    Wait("trouble keeps what was seen", errors.AuthServerError, _event(SILENT, timeout=9000), ((10, SILENT, 1, "Y"),),
         later_faults=((70, {"method": "*", "times": 99, "error": "CONNECTION_ERROR"}),),
         left={"accepted": [1], "declined": [], "silent": [3]}),
    Wait("dead credentials keep what was seen", errors.CredentialsError, _event(SILENT),
         later_faults=((70, {"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"}),),
         left={"accepted": [], "declined": [], "silent": [1, 3]}),
    Wait("bad users", errors.InvalidArgumentError, _event(SILENT, users="1,3"), says="Invalid users '1,3'"),
    Wait("a bad flag", errors.InvalidArgumentError, _event(SILENT, fail_when_declined="False"),
         says="Invalid fail_when_declined 'False'"),
    Wait("a bad event", errors.InvalidArgumentError, _event(0), says="Invalid event_id 0"),
    *(
        Wait(f"deadline_before_start={span!r}", errors.InvalidArgumentError, _event(SILENT, deadline_before_start=span),
             says="expected a timedelta or a number of seconds")
        for span in ("soon", True, [1], "nan", float("inf"))
    ),
]  # fmt: skip


@pytest.fixture
def sooner(airflow_clock: Clock) -> Clock:
    """A clock of an hour before the events start."""
    airflow_clock.now = START - 3600
    return airflow_clock


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait", MEETINGS, ids=lambda wait: wait.name)
def test_meetings(wait: Wait, mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    arguments = {"poke_interval": 60, "timeout": 3600, **wait.arguments}
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", bitrix24_conn_id=connection, **how(mode), **arguments)
    check(wait, sensor, portal, airflow_clock)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait", ATTENDEES, ids=lambda wait: wait.name)
def test_attendees(wait: Wait, mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    arguments = {"poke_interval": 60, "timeout": 3600, **wait.arguments}
    sensor = Bitrix24AttendeesSensor(task_id="wait", bitrix24_conn_id=connection, **how(mode), **arguments)
    check(wait, sensor, portal, airflow_clock)


@pytest.mark.parametrize("mode", MODES)
def test_what_has_arrived_is_not_asked_again(mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """A poll is as many requests as fifties still wait: 120 take three, 70 take two."""
    for event_id in MANY[:50]:
        airflow_clock.later(10, lambda event=event_id: portal.answer(event, 1, "Y"))
    for event_id in MANY[:49]:
        # Who changes their mind later has been there all the same.
        airflow_clock.later(70, lambda event=event_id: portal.answer(event, 1, "N"))
    for event_id in MANY[50:]:
        airflow_clock.later(130, lambda event=event_id: portal.answer(event, 1, "Y"))
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_ids=list(MANY), poke_interval=60, timeout=3600, **how(mode)
    )
    assert set(run_sensor(sensor, airflow_clock, []).values()) == {"Y"}
    count: Any = portal.count()
    assert count["commands"]["calendar.meeting.status.get"] == 120 + 120 + 70 + 70
    assert count["requests"] == 3 + 3 + 2 + 2


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    ("before", "ends"), [(timedelta(minutes=30), START - 1800), ("1800", START - 1800), (-600, START + 600)]
)
def test_the_deadline_goes_with_the_event(
    mode: str, before: Any, ends: float, connection: str, portal: Portal, sooner: Clock
) -> None:
    sensor = Bitrix24AttendeesSensor(
        task_id="wait", event_id=SILENT, deadline_before_start=before, poke_interval=300, **how(mode)
    )
    context = context_of(sooner)
    with pytest.raises(AirflowSensorTimeout, match="deadline"):
        run_sensor(sensor, sooner, [], context)
    # A rescheduled sensor does not come back within seconds.
    assert ends <= sooner.now < ends + 15
    assert context["pushed"]["return_value"] == {"accepted": [], "declined": [], "silent": [1, 3]}


@pytest.mark.parametrize("mode", MODES)
def test_answers_in_time_are_before_the_deadline(mode: str, connection: str, portal: Portal, sooner: Clock) -> None:
    sooner.later(1700, lambda: portal.answer(SILENT, 3, "Y"))
    sensor = Bitrix24AttendeesSensor(
        task_id="wait", event_id=SILENT, require="any", deadline_before_start=1800, poke_interval=120, **how(mode)
    )
    assert run_sensor(sensor, sooner, []) == {"accepted": [3], "declined": [], "silent": [1]}


@pytest.mark.parametrize("mode", MODES)
def test_the_invited_are_counted_as_of_now(mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    airflow_clock.later(70, lambda: portal.answer(SILENT, 1, "Y"))
    airflow_clock.later(130, lambda: portal.remove(SILENT, 3))
    sensor = Bitrix24AttendeesSensor(task_id="wait", event_id=SILENT, poke_interval=60, **how(mode))
    assert run_sensor(sensor, airflow_clock, []) == {"accepted": [1], "declined": [], "silent": []}


def test_without_a_memory_a_rescheduled_sensor_asks_for_all(
    connection: str, portal: Portal, airflow_clock: Clock
) -> None:
    """As on Airflow before 3.3, and in a later try of the same task, which begins anew."""
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_ids=[SILENT, ACCEPTED], poke_interval=60, mode="reschedule", deferrable=False
    )
    context = context_of(airflow_clock)
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(context)
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(context)
    assert _asked(portal) == 2 + 1
    context["ti"].try_number = 2
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(context)
    del context["task_state_store"]
    with pytest.raises(AirflowRescheduleException):
        sensor.execute(context)
    assert _asked(portal) == 2 + 1 + 2 + 2


def test_a_memory_of_other_events_is_not_taken_for_these(connection: str, portal: Portal, airflow_clock: Clock) -> None:
    """Templates are rendered anew for every poll."""
    context = context_of(airflow_clock)

    def poll(*event_ids: int) -> Any:
        sensor = Bitrix24MeetingStatusSensor(
            task_id="wait", event_ids=event_ids, poke_interval=60, mode="reschedule", deferrable=False
        )
        return sensor.execute(context)

    for event_ids in ((ACCEPTED, SILENT), (SILENT,), (SILENT, ACCEPTED), (ACCEPTED, SILENT)):
        with pytest.raises(AirflowRescheduleException):
            poll(*event_ids)
    assert _asked(portal) == 2 + 1 + 2 + 2


def _asked(portal: Portal) -> int:
    count: Any = portal.count()
    return int(count["methods"].get(GET, 0))


@pytest.mark.parametrize("mode", MODES)
def test_the_first_poll_already_tells_the_deadline(mode: str, connection: str, sooner: Clock) -> None:
    """The next poll would come long after it."""
    sensor = Bitrix24AttendeesSensor(
        task_id="wait", event_id=SILENT, deadline_before_start=3000, poke_interval=7200, **how(mode)
    )
    with pytest.raises(AirflowSensorTimeout, match="deadline"):
        run_sensor(sensor, sooner, [])
    assert START - 3000 <= sooner.now < START - 3000 + 15


@pytest.mark.parametrize("mode", MODES)
def test_a_deadline_that_is_moved_to_later(mode: str, connection: str, portal: Portal, sooner: Clock) -> None:
    event = portal.book.events[SILENT]
    moved = replace(event, starts=event.starts + timedelta(hours=1), ends=event.ends + timedelta(hours=1))
    sooner.later(500, lambda: portal.book.events.update({SILENT: moved}))
    sensor = Bitrix24AttendeesSensor(
        task_id="wait", event_id=SILENT, deadline_before_start=1800, poke_interval=300, **how(mode)
    )
    with pytest.raises(AirflowSensorTimeout, match="deadline"):
        run_sensor(sensor, sooner, [])
    assert START + 1800 <= sooner.now < START + 1815


@pytest.mark.parametrize("mode", MODES)
def test_no_result_is_left_where_none_is_wanted(mode: str, connection: str, airflow_clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_ids=[SILENT], poke_interval=60, timeout=200, do_xcom_push=False, **how(mode)
    )
    context = context_of(airflow_clock)
    with pytest.raises(AirflowSensorTimeout):
        run_sensor(sensor, airflow_clock, [], context)
    assert context["pushed"] == {}


@pytest.mark.parametrize("mode", MODES)
def test_max_wait_bounds_only_what_grows(mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_ids=[SILENT], poke_interval=300, max_wait=30, timeout=900, **how(mode)
    )
    with pytest.raises(AirflowSensorTimeout):
        run_sensor(sensor, airflow_clock, [])
    assert _asked(portal) <= 5


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
@pytest.mark.parametrize("flags", [{}, {"soft_fail": True}, {"never_fail": True}, {"silent_fail": True}])
def test_execution_timeout_within_a_poll(
    flags: dict[str, Any], mode: str, connection: str, portal: Portal, airflow_clock: Clock
) -> None:
    """It is never skipped, and what was seen is left once."""

    def strike() -> None:
        raise AirflowTaskTimeout("Timeout")

    airflow_clock.later(50, lambda: portal.plan({"method": "*", "times": 99, "error": "CONNECTION_ERROR"}))
    airflow_clock.later(60.001, strike)
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_ids=[SILENT], poke_interval=60, **how(mode), **flags)
    context = context_of(airflow_clock)
    left: list[Any] = []
    context["ti"].xcom_push = lambda key, value: left.append(value)
    with pytest.raises(AirflowTaskTimeout):
        run_sensor(sensor, airflow_clock, [], context)
    assert left == [{"101": "Q"}]


def test_more_events_than_a_trigger_row_holds(connection: str, portal: Portal, airflow_clock: Clock) -> None:
    event_ids = range(1, MOST_DEFERRED + 2)
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_ids=event_ids, deferrable=True)
    with pytest.raises(errors.InvalidArgumentError, match=r"at most 2500.*several sensors, or deferrable=False"):
        sensor.execute(context_of(airflow_clock))
    assert _asked(portal) == 0


def test_the_largest_deferred_wait_fits_a_trigger_row() -> None:
    """MySQL's ``TEXT`` holds 65,535 bytes; Airflow stores the arguments serialized and encrypted."""
    event_ids = tuple(range(10**15, 10**15 + MOST_DEFERRED))
    wait = MeetingsCondition(event_ids, Rule())
    seen = wait.pack(dict.fromkeys(event_ids, MeetingStatus.NOT_ANSWERED))
    trigger = Bitrix24AttendanceTrigger(
        bitrix24_conn_id="c" * 250, wait=wait.to_dict(), seen=seen, poke_interval=60.0, deferred_at=1_800_000_000.123,
        deadline=1_800_000_000.123, retry_timeout=900.0, until=1_800_000_000.123,
    )  # fmt: skip
    stored = Fernet(Fernet.generate_key()).encrypt(json.dumps({"__var": trigger.serialize()[1]}).encode())
    assert len(stored) <= 65_535
    assert len(Trigger(*trigger.serialize()).encrypted_kwargs) <= 65_535


def test_a_deferred_quorum_does_not_wait_for_what_is_refused(
    connection: str, portal: Portal, airflow_clock: Clock
) -> None:
    """One meeting's command is refused for ten minutes, another has arrived."""
    airflow_clock.later(50, lambda: portal.plan({"inner": GET, "times": 1, "error": "OPERATION_TIME_LIMIT"}))
    airflow_clock.later(50, lambda: portal.answer(1001, 1, "Y"))
    began = airflow_clock.now
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_ids=[SILENT, 1001], require="any", poke_interval=60, deferrable=True
    )
    assert run_sensor(sensor, airflow_clock, []) == {"101": "Q", "1001": "Y"}
    assert airflow_clock.now < began + 120
