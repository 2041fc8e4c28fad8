"""One table of waits, run in poke, reschedule and deferrable mode with the same end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from airflow.exceptions import TaskDeferred
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal._airflow import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
)
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from tests.clock import Clock
from tests.portal_data import DECLINED, FOREIGN, HOSTED, PLAIN, SILENT, UNKNOWN
from tests.sensor_runner import MODES, context_of, run_sensor

GET = "calendar.meeting.status.get"


@dataclass(frozen=True)
class Wait:
    """A wait, what happens meanwhile, and its end.

    :param wanted: the XCom, or the class of the exception.
    :param answers: (after seconds, letter) given by user 1 in the meeting.
    :param polls: how often the portal is asked, by mode; ``None`` for any number.
    """

    name: str
    wanted: Any
    event_id: Any = SILENT
    arguments: dict[str, Any] = field(default_factory=dict)
    answers: tuple[tuple[float, str], ...] = ()
    faults: tuple[dict[str, Any], ...] = ()
    later_faults: tuple[tuple[float, dict[str, Any]], ...] = ()
    polls: int | None = None


def _fault(code: str, times: int = 1) -> dict[str, Any]:
    return {"method": "*", "times": times, "error": code, "http_status": 401}


WAITS = [
    Wait("already there", {"101": "Y"}, event_id="101", answers=((-1, "Y"),), polls=1),
    Wait("comes later", {"101": "Y"}, answers=((130, "Y"),), polls=4),
    Wait("declines first, then accepts", {"101": "Y"}, answers=((30, "N"), (130, "Y")), polls=4),
    Wait("another target", {"101": "N"}, arguments={"target_status": "n"}, answers=((30, "N"),), polls=2),
    Wait("declined and reported to fail", errors.UnwantedStatusError, DECLINED, {"fail_on_statuses": ["n"]}, polls=1),
    Wait("declines later and reported to fail", errors.UnwantedStatusError, SILENT, {"fail_on_statuses": "N"},
         answers=((70, "N"),), polls=3),
    Wait("fails red in spite of soft_fail", errors.UnwantedStatusError, SILENT,
         {"fail_on_statuses": ["N"], "soft_fail": True}, answers=((70, "N"),)),
    Wait("never_fail skips whatever fails", AirflowSkipException, SILENT,
         {"fail_on_statuses": ["N"], "never_fail": True}, answers=((70, "N"),)),
    Wait("never_fail skips what fails at once", AirflowSkipException, FOREIGN, {"never_fail": True}),
    Wait("the organiser's own row never becomes Y", errors.OrganiserError, HOSTED, {"soft_fail": True}, polls=1),
    Wait("not invited", errors.NotInvitedError, FOREIGN, {"soft_fail": True}, polls=1),
    Wait("no such meeting", errors.NoSuchMeetingError, UNKNOWN, {"soft_fail": True}, polls=1),
    Wait("not a meeting", errors.NoSuchMeetingError, PLAIN, polls=1),
    Wait("times out", AirflowSensorTimeout, arguments={"timeout": 200}),
    Wait("times out within a first interval", AirflowSensorTimeout, arguments={"timeout": 20}),
    Wait("times out and is skipped", AirflowSkipException, arguments={"timeout": 200, "soft_fail": True}),
    Wait("times out and never_fail does not speak of that", AirflowSensorTimeout,
         arguments={"timeout": 200, "never_fail": True}),
    Wait("a bad id is not waited for", errors.InvalidArgumentError, "0", {"silent_fail": True}, polls=0),
    Wait("a bad id is not skipped", errors.InvalidArgumentError, "0", {"never_fail": True}, polls=0),
    Wait("answered at the last poll", {"101": "Y"}, arguments={"timeout": 180}, answers=((175, "Y"),)),
    Wait("poke_interval is kept", {"101": "Y"}, arguments={"poke_interval": 20}, answers=((59, "Y"),), polls=4),
    Wait("poke_interval may be a timedelta", {"101": "Y"}, arguments={"poke_interval": timedelta(seconds=20)},
         answers=((59, "Y"),), polls=4),
    Wait("trouble in passing", {"101": "Y"}, answers=((30, "Y"),), faults=(_fault("CONNECTION_ERROR", 2),)),
    Wait("trouble in passing later", {"101": "Y"}, answers=((130, "Y"),),
         later_faults=((50, _fault("QUERY_LIMIT_EXCEEDED", 3)),)),
    Wait("trouble at the last poll that passes", {"101": "Y"}, arguments={"timeout": 180, "poke_interval": 90},
         answers=((100, "Y"),), later_faults=((170, _fault("QUERY_LIMIT_EXCEEDED")),)),
    Wait("refused for ten minutes", {"101": "Y"}, answers=((100, "Y"),),
         later_faults=((50, _fault("OPERATION_TIME_LIMIT")),)),
    Wait("trouble that does not pass", errors.AuthServerError, arguments={"soft_fail": True},
         faults=(_fault("CONNECTION_ERROR", 100),)),
    Wait("trouble later that does not pass", errors.AuthServerError, arguments={"soft_fail": True, "timeout": 9000},
         later_faults=((50, _fault("CONNECTION_ERROR", 100)),)),
    Wait("credentials die meanwhile", errors.CredentialsError, arguments={"soft_fail": True},
         later_faults=((50, _fault("INVALID_CREDENTIALS")),)),
    Wait("silent_fail goes on after an error", {"101": "Y"}, arguments={"silent_fail": True}, answers=((130, "Y"),),
         faults=(_fault("INVALID_CREDENTIALS"),), later_faults=((50, _fault("INVALID_CREDENTIALS")),), polls=4),
    Wait("a bad id", errors.InvalidArgumentError, "651abc", polls=0),
    Wait("a bad target", errors.InvalidArgumentError, arguments={"target_status": "H"}, polls=0),
    Wait("a bad letter to fail on", errors.InvalidArgumentError, arguments={"fail_on_statuses": ["NQ"]}, polls=0),
    Wait("target and failure at once", errors.InvalidArgumentError, arguments={"fail_on_statuses": "Y"}, polls=0),
    Wait("an unknown connection", Exception, arguments={"bitrix24_conn_id": "nobody"}, polls=0),
]  # fmt: skip


def _sensor(wait: Wait, mode: str, connection: str) -> Bitrix24MeetingStatusSensor:
    how: dict[str, Any] = {"deferrable": True} if mode == "deferrable" else {"mode": mode, "deferrable": False}
    arguments = {"poke_interval": 60, "timeout": 3600, "bitrix24_conn_id": connection, **wait.arguments}
    return Bitrix24MeetingStatusSensor(task_id="wait", event_id=wait.event_id, **how, **arguments)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.name)
def test_wait(wait: Wait, mode: str, connection: str, portal: Portal, airflow_clock: Clock) -> None:
    sensor = _sensor(wait, mode, connection)
    for seconds, letter in wait.answers:
        deed = _answering(portal, wait, letter)
        if seconds < 0:
            deed()
        else:
            airflow_clock.later(seconds, deed)
    portal.plan(*wait.faults)
    for seconds, fault in wait.later_faults:
        airflow_clock.later(seconds, lambda fault=fault: portal.plan(fault))
    deferrals: list[Any] = []
    if isinstance(wait.wanted, type):
        with pytest.raises(wait.wanted) as caught:
            run_sensor(sensor, airflow_clock, deferrals)
        if wait.wanted is not Exception:
            assert type(caught.value) is wait.wanted
    else:
        assert run_sensor(sensor, airflow_clock, deferrals) == wait.wanted
    if wait.polls is not None and not wait.faults and not wait.later_faults:
        count: Any = portal.count()
        assert count["requests"] == wait.polls
    for deferral in deferrals:
        assert deferral.timeout.total_seconds() <= 2 * sensor.timeout
        assert deferral.trigger.deadline <= 1_800_000_000 + max(10, sensor.timeout)
        assert deferral.trigger.deferred_at >= 1_800_000_000


def _answering(portal: Portal, wait: Wait, letter: str) -> Callable[[], object]:
    return lambda: portal.answer(int(wait.event_id), 1, letter)


# What only a deferred wait can meet.


def _deferred(sensor: Bitrix24MeetingStatusSensor, clock: Clock) -> Any:
    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(context_of(clock))
    return caught.value


@pytest.mark.parametrize("event", [None, {}, {"ending": "arrived"}, {"ending": "done", "statuses": {}, "error": None},
                                   {"ending": "arrived", "statuses": {}, "error": None}, "arrived", [],
                                   {"ending": "arrived", "statuses": {"101": "N"}, "error": None},
                                   {"ending": "arrived", "statuses": {"102": "Y"}, "error": None},
                                   {"ending": "failed", "statuses": {}, "error": None},
                                   {"ending": "failed", "statuses": {}, "error": {"class": "Nonsense"}}])  # fmt: skip
@pytest.mark.parametrize("soft_fail", [False, True])
def test_an_unknown_event_fails_closed(event: Any, soft_fail: bool, connection: str, clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_id=SILENT, soft_fail=soft_fail)
    with pytest.raises(errors.TriggerEventError):
        sensor.resume_execution("execute_complete", {"event": event}, context_of(clock))
    with pytest.raises(errors.TriggerEventError):
        sensor.execute_complete(context_of(clock))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ({}, AirflowSensorTimeout),
        ({"soft_fail": True}, AirflowSkipException),
        ({"never_fail": True}, AirflowSensorTimeout),
        ({"execution_timeout": timedelta(seconds=30)}, AirflowTaskTimeout),
        ({"execution_timeout": timedelta(seconds=30), "soft_fail": True}, AirflowTaskTimeout),
    ],
)
def test_airflow_ends_the_deferral(arguments: dict[str, Any], wanted: type[BaseException], clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_id=SILENT, timeout=60, **arguments)
    text = "Trigger/execution timeout" if deferral_says_timeout_by_text() else "Trigger timeout"
    with pytest.raises(wanted) as caught:
        sensor.resume_execution("__fail__", {"error": text}, context_of(clock))
    assert type(caught.value) is wanted


def deferral_says_timeout_by_text() -> bool:
    from airflow_provider_b24cal import _airflow

    return not hasattr(_airflow, "TaskDeferralTimeout")


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [({"soft_fail": True}, "TaskDeferralError"), ({"never_fail": True}, "AirflowSkipException")],
)
def test_a_broken_trigger_is_not_a_time_out(arguments: dict[str, Any], wanted: str, clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_id=SILENT, **arguments)
    with pytest.raises(Exception) as caught:
        sensor.resume_execution("__fail__", {"error": "Trigger failure"}, context_of(clock))
    assert type(caught.value).__name__ == wanted


def test_execution_timeout_bounds_the_deferral(connection: str, clock: Clock) -> None:
    sensor = Bitrix24MeetingStatusSensor(
        task_id="wait", event_id=SILENT, deferrable=True, timeout=3600, execution_timeout=timedelta(seconds=90)
    )
    deferral = _deferred(sensor, clock)
    assert deferral.trigger.deadline == clock.now + 90
    # A trigger that does not end is ended from outside, after a last poll has had its timeout.
    assert deferral.timeout == timedelta(seconds=90 + 90)
    longer = Bitrix24MeetingStatusSensor(
        task_id="longer", event_id=SILENT, deferrable=True, timeout=60, execution_timeout=timedelta(hours=1)
    )
    assert _deferred(longer, clock).trigger.deadline == clock.now + 60


def test_a_slow_first_poll_does_not_bring_the_event_too_soon(connection: str, portal: Portal, clock: Clock) -> None:
    portal.plan(_fault("CONNECTION_ERROR", 6))
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_id=SILENT, deferrable=True, timeout=60)
    deferral = _deferred(sensor, clock)
    assert sum(clock.slept) > 20
    assert deferral.trigger.deadline >= clock.now + 10


def test_a_short_wait_is_not_deferred(connection: str, airflow_clock: Clock) -> None:
    """A trigger must not fire within seconds of the deferral, so nothing is gained by one."""
    sensor = Bitrix24MeetingStatusSensor(task_id="wait", event_id=SILENT, deferrable=True, timeout=10, poke_interval=3)
    with pytest.raises(AirflowSensorTimeout):
        sensor.execute(context_of(airflow_clock))
    assert airflow_clock.slept == [3, 3, 3, 3]


@pytest.mark.parametrize("mode", ["poke", "reschedule"])
def test_default_deferrable_is_honoured_in_every_mode(mode: str) -> None:
    """The default is read when the class is made, so it takes a process of its own."""
    code = (
        "from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor as S;"
        f"print(S(task_id='t', event_id=1, mode={mode!r}).deferrable,"
        f" S(task_id='u', event_id=1, mode={mode!r}, deferrable=False).deferrable)"
    )
    environment = {**os.environ, "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE": "True"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
