"""The log of a wait: one table of waits, with the same lines in every mode."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from bitrix24_sandbox.portal import Portal

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import NoSuchMeetingError
from airflow_provider_b24cal.sensors.attendees import Bitrix24AttendeesSensor
from airflow_provider_b24cal.sensors.base import Bitrix24WaitSensor
from airflow_provider_b24cal.sensors.meeting_status import Bitrix24MeetingStatusSensor
from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
from airflow_provider_b24cal.waiting.conditions import AttendeesCondition, MeetingsCondition
from airflow_provider_b24cal.waiting.evaluate import Evaluation, Rule, State
from airflow_provider_b24cal.waiting.log_lines import log_lines
from airflow_provider_b24cal.waiting.quorum import check_quorum
from airflow_provider_b24cal.waiting.trigger_event import ResultKind
from tests.clock import Clock
from tests.portal_data import ACCEPTED, DECLINED, FOREIGN, HOSTED, SILENT
from tests.sensor_runner import MODES, Lines, run_sensor

Y, N, Q = MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED
AIRFLOWS_OWN = ("Poking", "Sensor poke failed", "Success criteria met", "Poll failed", "First poll failed")
START = datetime(2026, 9, 16, 10, tzinfo=UTC).timestamp()
NEXT = "next poll in 60 s, until 2027-01-15 09:00:00 UTC"


@dataclass(frozen=True)
class Wait:
    """A wait, what happens meanwhile, and what its log holds after the line that says who acts.

    :param answers: who answers which event and how, after so many seconds.
    """

    name: str
    lines: tuple[str, ...]
    arguments: dict[str, Any]
    answers: tuple[tuple[float, int, int, str], ...] = ()
    later_faults: tuple[tuple[float, dict[str, Any]], ...] = ()
    sensor: type[Bitrix24WaitSensor] = Bitrix24MeetingStatusSensor


WAITS = [
    Wait("accepted at once", ("Accepted: event 102",), {"event_id": ACCEPTED}),
    Wait("accepted later",
         (f"Waiting for event 101: not answered; {NEXT}",
          "Event 101: not answered -> accepted",
          "Accepted: event 101"),
         {"event_id": SILENT}, ((130, SILENT, 1, "Y"),)),
    Wait("without news every ten minutes",
         (f"Waiting for event 101: not answered; {NEXT}",
          f"Waiting for event 101: not answered; {NEXT}",
          "Event 101: not answered -> declined",
          f"Waiting for event 101: declined; {NEXT}",
          f"Waiting for event 101: declined; {NEXT}",
          "Event 101: declined -> accepted",
          "Accepted: event 101"),
         {"event_id": SILENT}, ((890, SILENT, 1, "N"), (1550, SILENT, 1, "Y"))),
    Wait("another target", (f"Waiting for event 102: accepted; {NEXT}",
                            "Event 102: accepted -> declined",
                            "Declined: event 102"),
         {"event_id": ACCEPTED, "target_status": "N"}, ((70, ACCEPTED, 1, "N"),)),
    Wait("declined", (f"Waiting for event 101: not answered; {NEXT}",
                      "Event 101: not answered -> declined",
                      "Cannot become accepted any more: event 101: declined"),
         {"event_id": SILENT, "fail_on_statuses": ["N"]}, ((70, SILENT, 1, "N"),)),
    Wait("the organiser", ("Cannot become accepted any more: event 104: organiser",), {"event_id": HOSTED}),
    Wait("not invited", ("Cannot become accepted any more: event 105: no status",), {"event_id": FOREIGN}),
    Wait("timed out", ("Waiting for event 101: not answered; next poll in 60 s, until 2027-01-15 08:02:59 UTC",
                       "Timed out: event 101: not answered"),
         {"event_id": SILENT, "timeout": 179}),
    Wait("timed out and skipped",
         ("Waiting for event 101: not answered; next poll in 60 s, until 2027-01-15 08:02:59 UTC",
          "Timed out: event 101: not answered"),
         {"event_id": SILENT, "timeout": 179, "soft_fail": True}),
    Wait("the last poll brings news",
         ("Waiting for event 101: not answered; next poll in 60 s, until 2027-01-15 08:02:59 UTC",
          "Event 101: not answered -> declined",
          "Timed out: event 101: declined"),
         {"event_id": SILENT, "timeout": 179}, ((170, SILENT, 1, "N"),)),
    Wait("credentials are deleted meanwhile",
         (f"Waiting for event 101: not answered; {NEXT}",
          "Failed: event 101: not answered"),
         {"event_id": SILENT}, (), ((70, {"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"}),)),
    Wait("a failure that is skipped",
         (f"Waiting for event 101: not answered; {NEXT}",
          "Failed: event 101: not answered"),
         {"event_id": SILENT, "never_fail": True}, (),
         ((70, {"method": "*", "times": 99, "error": "INVALID_CREDENTIALS"}),)),
    Wait("several meetings",
         ((f"Waiting for events 101, 102, 103: 1 of 3 accepted, 1 not answered (event 101), 1 declined (event 103); "
          f"{NEXT}"),
          "Event 101: not answered -> accepted",
          f"Waiting for events 101, 102, 103: 2 of 3 accepted, 1 declined (event 103); {NEXT}",
          "Event 103: declined -> accepted",
          "Accepted: events 101, 102, 103: 3 of 3 accepted"),
         {"event_ids": [SILENT, ACCEPTED, DECLINED]}, ((70, SILENT, 1, "Y"), (130, DECLINED, 1, "Y"))),
    Wait("some of many meetings",
         ((f"Waiting for events 1001, 1002, 1003, 1004, 1005 and 2 more: 0 of 7 accepted, 1 required, "
          f"7 not answered (events 1001, 1002, 1003, 1004, 1005 and 2 more); {NEXT}"),
          "Event 1007: not answered -> accepted",
          ("Accepted: events 1001, 1002, 1003, 1004, 1005 and 2 more: 1 of 7 accepted, 1 required, "
          "6 not answered (events 1001, 1002, 1003, 1004, 1005 and 1 more)")),
         {"event_ids": list(range(1001, 1008)), "require": "any"}, ((70, 1007, 1, "Y"),)),
    Wait("nothing to wait for", ("Accepted: no events",), {"event_ids": []}),
    Wait("attendees",
         (f'Waiting for attendees of event 101 "Budget": 0 of 2 accepted, 2 not answered (users 1, 3); {NEXT}',
          "User 3: not answered -> accepted",
          f'Waiting for attendees of event 101 "Budget": 1 of 2 accepted, 1 not answered (user 1); {NEXT}',
          "User 1: not answered -> accepted",
          'Accepted: attendees of event 101 "Budget": 2 of 2 accepted'),
         {"event_id": SILENT}, ((70, SILENT, 3, "Y"), (130, SILENT, 1, "Y")), sensor=Bitrix24AttendeesSensor),
    Wait("attendees who may decline",
         (f'Waiting for attendees of event 101 "Budget": 0 of 2 answered, 2 not answered (users 1, 3); {NEXT}',
          "User 3: not answered -> declined",
          f'Waiting for attendees of event 101 "Budget": 1 of 2 answered, 1 not answered (user 1); {NEXT}',
          "User 1: not answered -> accepted",
          'Answered: attendees of event 101 "Budget": 2 of 2 answered'),
         {"event_id": SILENT, "count": "answered"}, ((70, SILENT, 3, "N"), (130, SILENT, 1, "Y")),
         sensor=Bitrix24AttendeesSensor),
    Wait("attendees of many",
         (("Waiting for attendees of events 101, 102, 103, 1001: 1 of 4 events accepted, "
           f"3 open (events 101, 103, 1001), 3 not answered (users 1, 3), 1 declined (user 1); {NEXT}"),
          "Event 101, user 3: not answered -> accepted",
          "Event 1001, user 1: not answered -> accepted",
          ("Waiting for attendees of events 101, 102, 103, 1001: 2 of 4 events accepted, 2 open (events 101, 103), "
           f"1 not answered (user 1), 1 declined (user 1); {NEXT}"),
          "Event 101, user 1: not answered -> accepted",
          "Event 103, user 1: declined -> accepted",
          "Accepted: attendees of events 101, 102, 103, 1001: 4 of 4 events accepted"),
         {"event_ids": [SILENT, ACCEPTED, DECLINED, 1001]},
         ((70, SILENT, 3, "Y"), (70, 1001, 1, "Y"), (130, SILENT, 1, "Y"), (130, DECLINED, 1, "Y")),
         sensor=Bitrix24AttendeesSensor),
    Wait("one of many is lost",
         (("Waiting for attendees of events 101, 1001: 0 of 2 events accepted, 2 open (events 101, 1001), "
           f"3 not answered (users 1, 3); {NEXT}"),
          "Event 1001, user 1: not answered -> declined",
          ("Cannot become accepted any more: attendees of events 101, 1001: 0 of 2 events accepted, "
           "2 open (events 101, 1001), 2 not answered (users 1, 3), 1 declined (user 1)")),
         {"event_ids": [SILENT, 1001], "fail_when_declined": True}, ((70, 1001, 1, "N"),),
         sensor=Bitrix24AttendeesSensor),
    Wait("the deadline before the start",
         (('Waiting for attendees of event 101 "Budget": 0 of 1 accepted, 1 not answered (user 3); next poll in 60 s, '
          "until 2027-01-15 08:02:50 UTC"),
          ("The deadline before the event's start has passed: "
          'attendees of event 101 "Budget": 0 of 1 accepted, 1 not answered (user 3)')),
         {"event_id": SILENT, "users": [3], "deadline_before_start": START - 1_800_000_170},
         sensor=Bitrix24AttendeesSensor),
]  # fmt: skip


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("wait", WAITS, ids=lambda wait: wait.name)
def test_the_log_is_the_same_in_every_mode(
    wait: Wait,
    mode: str,
    connection: str,
    server: Any,
    portal: Portal,
    airflow_clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines = Lines()
    for kind in (wait.sensor, Bitrix24AttendanceTrigger):
        # The logger is a property, another one in each version of Airflow.
        monkeypatch.setattr(kind, "log", property(lambda _: lines), raising=False)
    for seconds, event_id, user_id, letter in wait.answers:
        airflow_clock.later(seconds, lambda given=(event_id, user_id, letter): portal.answer(*given))
    for seconds, fault in wait.later_faults:
        airflow_clock.later(seconds, lambda fault=fault: portal.plan(fault))
    how: dict[str, Any] = {"deferrable": True} if mode == "deferrable" else {"mode": mode, "deferrable": False}
    arguments = {"poke_interval": 60, "timeout": 3600, "bitrix24_conn_id": connection, **wait.arguments}
    with suppress(Exception):  # the ends themselves are in test_sensor.py and test_wait_for_many.py
        run_sensor(wait.sensor(task_id="wait", **how, **arguments), airflow_clock, [])
    ours = [line for line in lines.lines if "outside" not in line and not line.startswith(AIRFLOWS_OWN)]
    assert ours == [f"Acting as user 1 on {server.url}", *wait.lines]


def _lines(wait: Any, statuses: dict[int, MeetingStatus], **more: Any) -> list[str]:
    how = {"ending": None, "next_poll": 60.0, "deadline": 1_800_000_000.0, "heartbeat_due": True}
    total = more.pop("total", len(statuses))
    verdict = Evaluation(
        more.pop("state", State.WAITING), statuses, total, total, event_name=more.pop("event_name", None)
    )
    return log_lines(wait, more.pop("before", {}), verdict, **{**how, **more})


def test_a_name_cannot_forge_a_line() -> None:
    name = "Budget\n[2026-09-16] ERROR \x1b[31m\u202eforged" + "x" * 99
    (line,) = _lines(AttendeesCondition(5, Rule()), {1: Q}, event_name=name)
    assert line.isprintable()
    assert 'event 5 "Budget [2026-09-16] ERROR  [31m forgedxxx' in line
    assert len(line) < 200


@pytest.mark.parametrize("deadline", [1e12, float("inf")])
def test_a_deadline_past_every_calendar_is_not_named(deadline: float) -> None:
    assert _lines(MeetingsCondition((5,), Rule()), {5: Q}, deadline=deadline) == [
        "Waiting for event 5: not answered; next poll in 60 s"
    ]


def test_what_has_no_status_is_counted() -> None:
    wait = MeetingsCondition((5, 6, 7), Rule(quorum=check_quorum("all")))
    assert _lines(wait, {5: Q, 6: MeetingStatus("M")}, total=3) == [
        (
            "Waiting for events 5, 6, 7: 0 of 3 accepted, 1 not answered (event 5), 1 unknown letter M (event 6), "
            "1 without a status; next poll in 60 s, until 2027-01-15 08:00:00 UTC"
        )
    ]
    assert _lines(wait, {}, total=0, ending=ResultKind.FAILED) == ["Failed: events 5, 6, 7: no status"]
    assert _lines(wait, {5: Y}, total=0, ending=ResultKind.FAILED) == ["Failed: events 5, 6, 7: 1 accepted (event 5)"]


def test_many_changes_are_counted() -> None:
    ids = tuple(range(1, 31))
    lines = _lines(MeetingsCondition(ids, Rule()), dict.fromkeys(ids, N), before=dict.fromkeys(ids, Q))
    assert lines[:20] == [f"Event {number}: not answered -> declined" for number in range(1, 21)]
    assert lines[20] == "... and 10 more changes"
    assert lines[21].startswith("Waiting for events 1, 2, 3, 4, 5 and 25 more: 0 of 30 accepted, 30 declined (events 1")
    assert len(lines) == 22


def test_the_error_is_left_to_whoever_raises_it() -> None:
    verdict = Evaluation(State.UNREACHABLE, {}, 1, 1, error=NoSuchMeetingError("The portal has no such meeting."))
    assert log_lines(MeetingsCondition((5,), Rule()), {}, verdict, ending=ResultKind.FAILED) == [
        "Cannot become accepted any more: event 5: no status"
    ]


def test_no_news_no_line() -> None:
    assert _lines(MeetingsCondition((5,), Rule()), {5: Q}, before={5: Q}, heartbeat_due=False) == []
