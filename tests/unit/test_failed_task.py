"""What the log of a failed task says: each sentence once, and what to do before the portal's own words."""

from __future__ import annotations

from traceback import format_exception
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_b24cal._airflow import AirflowFailException
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from tests.clock import Clock
from tests.portal_data import FOREIGN, HOSTED, MANY, UNKNOWN
from tests.sensor_runner import MODES, Lines, run_sensor

FAILURES = [
    (FOREIGN, "The acting user is not invited to this meeting. Check the id, and the connection's acting user. "),
    (UNKNOWN, ("The portal has no such meeting. Check the id: it is unknown, deleted, or an event that is not a "
              "meeting. The portal says: ")),
]  # fmt: skip
OPERATORS: dict[str, Any] = {
    "get": lambda event_id: Bitrix24GetMeetingStatusOperator(task_id="t", event_id=event_id),
    "get of a list": lambda event_id: Bitrix24GetMeetingStatusOperator(task_id="t", event_ids=[event_id]),
    "set": lambda event_id: Bitrix24SetMeetingStatusOperator(task_id="t", event_id=event_id, status="Y"),
    "set of a mapping": lambda event_id: Bitrix24SetMeetingStatusOperator(task_id="t", statuses={event_id: "Y"}),
}


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the tasks log."""
    kept = Lines()
    for kind in (
        Bitrix24GetMeetingStatusOperator,
        Bitrix24SetMeetingStatusOperator,
        Bitrix24MeetingStatusSensor,
        Bitrix24AttendanceTrigger,
    ):
        # The logger is a property, another one in each version of Airflow.
        monkeypatch.setattr(kind, "log", property(lambda _: kept), raising=False)
    return kept.lines


def _execute(operator: Any) -> Any:
    return operator.execute({"ti": SimpleNamespace(xcom_push=lambda key, value: None)})


@pytest.mark.parametrize("permanent", [True, False])
@pytest.mark.parametrize(("event_id", "sentence"), FAILURES)
@pytest.mark.parametrize("kind", OPERATORS)
def test_one_meeting(
    kind: str, event_id: int, sentence: str, permanent: bool, connection: str, lines: list[str]
) -> None:
    """Airflow logs the error that a task raises, so the task itself does not."""
    operator = OPERATORS[kind](event_id)
    operator.retry_permanent_errors = permanent
    with pytest.raises(errors.AttendanceError if permanent else AirflowFailException) as caught:
        _execute(operator)
    assert sentence in str(caught.value)
    assert sentence not in "\n".join(lines)
    assert sentence not in "".join(format_exception(caught.value)).replace(str(caught.value), "", 1)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("event_id", "sentence"), FAILURES)
def test_a_wait(
    mode: str, event_id: int, sentence: str, connection: str, airflow_clock: Clock, lines: list[str]
) -> None:
    how: dict[str, Any] = {"deferrable": True} if mode == "deferrable" else {"mode": mode, "deferrable": False}
    with pytest.raises(errors.AttendanceError) as caught:
        run_sensor(Bitrix24MeetingStatusSensor(task_id="t", event_id=event_id, **how), airflow_clock, [])
    assert str(caught.value).startswith(sentence)
    assert sentence not in "\n".join(lines)


def test_one_meeting_of_which_the_task_bears_the_failure(connection: str, lines: list[str]) -> None:
    _execute(Bitrix24SetMeetingStatusOperator(task_id="t", event_id=FOREIGN, status="Y", fail_on="none"))
    assert "\n".join(lines).count("is not invited to this meeting") == 1
    assert lines[-1] == (
        "1 of 1 meetings failed (event 105); the task continues because of fail_on='none': 1 x NotInvitedError"
    )


def test_several_meetings_are_named(connection: str, lines: list[str]) -> None:
    """Their errors are in the log, each once; what the task raises says which and how many."""
    unknown = range(UNKNOWN, UNKNOWN + 6)
    event_ids = [FOREIGN, HOSTED, MANY[0], *unknown]
    with pytest.raises(errors.MeetingsFailedError) as caught:
        _execute(Bitrix24SetMeetingStatusOperator(task_id="t", event_ids=event_ids, status="Y"))
    assert str(caught.value) == (
        "8 of 9 meetings failed (events 105, 104, 99999, 100000, 100001 and 3 more): "
        "6 x NoSuchMeetingError (code ''), 1 x NotInvitedError, 1 x OrganiserError. "
        "The errors are in the log and in XCom."
    )
    reported = "\n".join(lines)
    assert reported.count("Event 105: The acting user is not invited to this meeting. Check the id") == 1
    assert reported.count("Event 104: The acting user is the organiser of this meeting. Leave it out: ") == 1
    assert reported.count("The portal has no such meeting. Check the id") == 6
