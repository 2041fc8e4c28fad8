"""The operators: XCom, failure, what is refused before anything is sent."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.calendar.set_status import Change
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol import errors
from airflow_provider_b24cal.bitrix24.serialization import cap_letters
from airflow_provider_b24cal.operators.bulk import summarise
from airflow_provider_b24cal.operators.meeting_status import (
    Bitrix24GetMeetingStatusOperator,
    Bitrix24SetMeetingStatusOperator,
)
from tests.clock import Clock
from tests.portal_data import ACCEPTED, DECLINED, FOREIGN, HOSTED, MANY, SILENT, UNKNOWN


class Pushes(SimpleNamespace):
    """Stands for a task instance: remembers what is pushed."""

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed = {**(self.pushed or {}), key: value}


def _execute(operator: Any) -> tuple[Any, Pushes]:
    ti = Pushes(pushed=None)
    return operator.execute({"ti": ti}), ti


@pytest.mark.parametrize(("event_id", "letter"), [(SILENT, "Q"), (str(ACCEPTED), "Y"), (HOSTED, "H")])
def test_get(event_id: Any, letter: str, connection: str) -> None:
    value, _ = _execute(Bitrix24GetMeetingStatusOperator(task_id="get", event_id=event_id))
    assert value == letter
    assert type(value) is str


def test_get_of_somebody_elses_meeting_fails(connection: str) -> None:
    with pytest.raises(errors.NotInvitedError):
        _execute(Bitrix24GetMeetingStatusOperator(task_id="get", event_id=FOREIGN))


@pytest.mark.parametrize("status", ["Y", "y", MeetingStatus.ACCEPTED])
def test_set(status: Any, connection: str, portal: Portal) -> None:
    operator = Bitrix24SetMeetingStatusOperator(task_id="set", event_id=str(SILENT), status=status)
    assert _execute(operator)[0] == {
        "total": 1, "changed": 1, "unchanged": 0, "failed": 0,
        "statuses": {"101": "Y"}, "previous": {"101": "Q"}, "failures": {},
    }  # fmt: skip
    assert portal.status(SILENT, 1) == "Y"
    again, _ = _execute(operator)
    assert (again["changed"], again["unchanged"], again["previous"]) == (0, 1, {"101": "Y"})
    count: Any = portal.count()
    assert count["methods"]["calendar.meeting.status.set"] == 1


@pytest.mark.parametrize(
    ("event_id", "error"),
    [(FOREIGN, errors.NotInvitedError), (HOSTED, errors.OrganiserError), (UNKNOWN, errors.NoSuchMeetingError)],
)
def test_set_that_fails_tells_why_in_xcom_first(event_id: int, error: type[Exception], connection: str) -> None:
    operator = Bitrix24SetMeetingStatusOperator(task_id="set", event_id=event_id, status="Y")
    ti = Pushes(pushed=None)
    with pytest.raises(error) as caught:
        operator.execute({"ti": ti})
    summary = ti.pushed["return_value"]
    assert (summary["failed"], summary["changed"]) == (1, 0)
    reported = summary["failures"][str(event_id)]
    assert (reported["error"], reported["code"]) == (error.__name__, "" if event_id == UNKNOWN else None)
    assert reported["text"][:150] == str(caught.value)[:150]


BAD_IDS: list[Any] = [
    0, -1, True, False, "", "0", "-5", "651abc", " 651", "651 ", "651\n", "0651", "6.5", 6.5, float("nan"),
    float("inf"), [651], {"id": 651}, (651,), b"651", "٦٥١", "1e3", 2**63, "9" * 40, "None", "{{ id }}",
]  # fmt: skip
BAD_STATUSES: list[Any] = ["H", "M", "YES", "", " Y", "Y ", "Y\n", True, None, 1, ["Y"], MeetingStatus.ORGANISER]


@pytest.mark.parametrize("event_id", BAD_IDS, ids=repr)
def test_a_bad_id_is_refused_before_anything_is_sent(
    event_id: Any, connection: str, portal: Portal, clock: Clock
) -> None:
    for operator in (
        Bitrix24GetMeetingStatusOperator(task_id="get", event_id=event_id),
        Bitrix24SetMeetingStatusOperator(task_id="set", event_id=event_id, status="Y"),
    ):
        with pytest.raises(errors.InvalidArgumentError, match=r"Invalid event_id .*: expected a positive whole number"):
            _execute(operator)
    count: Any = portal.count()
    assert count["requests"] == 0


@pytest.mark.parametrize("status", BAD_STATUSES, ids=repr)
def test_a_bad_status_is_refused_before_anything_is_sent(status: Any, connection: str, portal: Portal) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"Invalid status .*: expected Y \(accepted\)"):
        _execute(Bitrix24SetMeetingStatusOperator(task_id="set", event_id=SILENT, status=status))
    count: Any = portal.count()
    assert count["requests"] == 0


def test_xcom_says_only_what_was_read_back(connection: str, portal: Portal, clock: Clock) -> None:
    """The write was done and every answer after it is lost: nobody knows the status, and nobody says one."""
    portal.plan({"method": "batch", "times": 1, "error": "INTERNAL_SERVER_ERROR", "when": "after"})
    clock.later(0.1, lambda: portal.plan({"method": "*", "times": 99, "drop": "before"}))
    ti = Pushes(pushed=None)
    with pytest.raises(errors.TransportError):
        Bitrix24SetMeetingStatusOperator(task_id="set", event_id=SILENT, status="Y").execute({"ti": ti})
    assert portal.status(SILENT, 1) == "Y"
    summary = ti.pushed["return_value"]
    assert (summary["statuses"], summary["previous"]) == ({}, {str(SILENT): "Q"})


MIXED = [SILENT, UNKNOWN, str(ACCEPTED), FOREIGN]


def test_get_many(connection: str) -> None:
    value, _ = _execute(Bitrix24GetMeetingStatusOperator(task_id="get", event_ids=[SILENT, str(ACCEPTED)]))
    assert value == {"101": "Q", "102": "Y"}


@pytest.mark.parametrize("kind", ["get", "set"])
@pytest.mark.parametrize(
    ("event_ids", "fail_on", "fails"),
    [
        (MIXED, "any", True),
        (MIXED, "all", False),
        (MIXED, "none", False),
        ([UNKNOWN, FOREIGN], "all", True),
        ([UNKNOWN, FOREIGN], "none", False),
    ],
)
def test_the_failure_policy(kind: str, event_ids: Any, fail_on: str, fails: bool, connection: str) -> None:
    made: Any = (
        Bitrix24GetMeetingStatusOperator(task_id="get", event_ids=event_ids, fail_on=fail_on)
        if kind == "get"
        else Bitrix24SetMeetingStatusOperator(task_id="set", event_ids=event_ids, status="N", fail_on=fail_on)
    )
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(xcom_push=lambda key, value: pushed.update({key: value}))
    wanted = (
        rf"^2 of {len(event_ids)} meetings failed \(events {UNKNOWN}, {FOREIGN}\): 1 x NoSuchMeetingError \(code ''\), "
        r"1 x NotInvitedError\. The errors are in the log and in XCom\.$"
    )
    if fails:
        with pytest.raises(errors.MeetingsFailedError, match=wanted):
            made.execute({"ti": ti})
    else:
        made.execute({"ti": ti})
    failures = pushed["failures"] if kind == "get" else pushed["return_value"]["failures"]
    assert {key: failure["error"] for key, failure in failures.items()} == {
        str(UNKNOWN): "NoSuchMeetingError", str(FOREIGN): "NotInvitedError",
    }  # fmt: skip


def test_set_by_statuses(connection: str, portal: Portal) -> None:
    operator = Bitrix24SetMeetingStatusOperator(task_id="set", statuses={str(SILENT): "y", ACCEPTED: "N"})
    summary, _ = _execute(operator)
    assert summary["statuses"] == {"101": "Y", "102": "N"}
    assert (portal.status(SILENT, 1), portal.status(ACCEPTED, 1)) == ("Y", "N")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "expected exactly one of event_id, event_ids, statuses; got none"),
        ({"event_id": 1, "statuses": {1: "Y"}}, "got event_id and statuses"),
        ({"statuses": {1: "Y"}, "status": "Y"}, "expected none together with statuses"),
        ({"statuses": [1]}, r"Invalid statuses \[1\]: expected a mapping"),
        ({"statuses": {1: "Y", "1": "N"}}, "one status for event 1; got two"),
        ({"event_ids": 5, "status": "Y"}, "Invalid event_ids 5: expected a list of ids"),
        ({"event_ids": "651", "status": "Y"}, "Invalid event_ids '651': expected a list of ids"),
        ({"event_ids": [1, "x"], "status": "Y"}, "Invalid event_ids 'x'"),
        ({"event_ids": [1]}, "Invalid status None"),
        (
            {"event_ids": [1], "status": "Y", "fail_on": "some"},
            "Invalid fail_on 'some': expected any, all",
        ),
    ],
)
def test_forms_that_contradict_themselves(
    arguments: dict[str, Any], message: str, connection: str, portal: Portal
) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=message):
        _execute(Bitrix24SetMeetingStatusOperator(task_id="set", **arguments))
    count: Any = portal.count()
    assert count["requests"] == 0


def test_a_summary_too_large_for_xcom_keeps_its_counts() -> None:
    letters = (MeetingStatus.ACCEPTED, MeetingStatus.NOT_ANSWERED, MeetingStatus.ACCEPTED)
    changes = [Change(number, *letters) for number in range(20_000)]
    failed = [Change(number, letters[0], error=errors.ScopeError("no")) for number in range(20_000, 21_000)]
    summary = summarise([*changes, *failed])
    assert (summary["total"], summary["changed"], summary["failed"]) == (21_000, 20_000, 1_000)
    assert summary["statuses"] == {"counts": {"Y": 20_000}}
    assert summary["previous"] == {"counts": {"Q": 20_000}}
    assert len(summary["failures"]) == 100
    assert len(json.dumps(summary)) < 48 * 1024


def test_long_texts_of_failures_leave_room_for_the_rest() -> None:
    """Portals write in their own language, and each letter of Russian takes six bytes in XCom."""
    failed = [
        Change(number, MeetingStatus.ACCEPTED, error=errors.PortalError("Событие не найдено. " * 40))
        for number in range(200)
    ]
    summary = summarise(failed)
    assert summary["failed"] == 200
    assert 10 < len(summary["failures"]) < 100
    assert all(len(failure["text"]) <= 200 for failure in summary["failures"].values())
    assert len(json.dumps(summary)) <= 48 * 1024
    letters = [Change(number, *3 * [MeetingStatus.ACCEPTED]) for number in range(1000, 2700)]
    mixed = summarise([*failed, *letters])
    assert mixed["statuses"] == {"counts": {"Y": 1700}}
    assert len(json.dumps(mixed)) <= 48 * 1024


def test_letters_too_many_for_xcom_are_counted(
    connection: str, portal: Portal, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Bitrix24GetMeetingStatusOperator(
        task_id="get", event_ids=[ACCEPTED, DECLINED, *MANY, UNKNOWN], fail_on="none"
    )
    few, _ = _execute(read)
    assert (few[str(ACCEPTED)], len(few)) == ("Y", 2 + len(MANY))
    monkeypatch.setattr("airflow_provider_b24cal.bitrix24.serialization.XCOM_LIMIT", 1000)
    counted, task = _execute(read)
    assert counted == {"counts": {"Y": 1, "N": 1, "Q": len(MANY)}}
    assert list(task.pushed["failures"]) == [str(UNKNOWN)]
    assert task.pushed["failed"] == 1
    read.fail_on = "any"
    with pytest.raises(errors.MeetingsFailedError):
        read.execute({"ti": task})
    assert task.pushed["return_value"] == counted


def test_what_xcom_just_bears_is_listed() -> None:
    letters = dict.fromkeys(map(str, range(1000, 1000 + 3779)), "Y")
    assert cap_letters(letters) == letters
    assert cap_letters(letters | {"9999": "Q"}) == {"counts": {"Y": 3779, "Q": 1}}
    assert cap_letters({}) == {}


class Whole:
    """A whole number of another library."""

    def __index__(self) -> int:
        return SILENT


@pytest.mark.parametrize("event_id", [SILENT, str(SILENT), Whole()], ids=lambda value: type(value).__name__)
def test_whole_numbers_of_any_kind_are_ids(event_id: Any, connection: str) -> None:
    assert _execute(Bitrix24GetMeetingStatusOperator(task_id="get", event_id=event_id))[0] == "Q"
