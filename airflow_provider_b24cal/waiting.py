"""When a wait is over: the only judgement, shared by poke, reschedule and deferrable mode.

Pure, like the language it speaks; no clock, no Airflow.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.errors import (
    AttendanceError,
    Bitrix24Error,
    OrganiserError,
    Permanence,
    TriggerEventError,
    UnwantedStatusError,
    error_from_dict,
)
from airflow_provider_b24cal.bitrix24.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.status import WORDS, MeetingStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from airflow_provider_b24cal.bitrix24.batch import Outcome


class State(StrEnum):
    """Where a wait stands."""

    ARRIVED = "arrived"
    """Every meeting has the status waited for."""
    WAITING = "waiting"
    """Not yet, but it can still come."""
    HOPELESS = "hopeless"
    """It can never come, or asking is not permitted any more: the wait fails now."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a wait waits for.

    :param target: the status waited for.
    :param fail_on: statuses that end the wait as failed.
    """

    target: MeetingStatus = MeetingStatus.ACCEPTED
    fail_on: frozenset[MeetingStatus] = frozenset()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judgement of one poll.

    :param statuses: what was read, by event id.
    :param error: why there is no hope; set exactly when the state is ``HOPELESS``.
    :param trouble: an error in passing that hid some status; the wait goes on.
    """

    state: State
    statuses: Mapping[int, MeetingStatus] = field(default_factory=dict)
    error: Bitrix24Error | None = None
    trouble: Bitrix24Error | None = None

    @property
    def words(self) -> str:
        """The statuses for a log line, such as ``651: not answered``."""
        return ", ".join(f"{event}: {WORDS.get(status, status.value)}" for event, status in self.statuses.items())


def judge(outcomes: Mapping[int, Outcome[MeetingStatus]], rule: Rule) -> Verdict:
    """Judge what one poll has read.

    ``Y`` (the target) has arrived, ``Q`` and other letters wait, ``N`` waits too unless the rule fails on
    it. ``H``, not invited, no such meeting and every other permanent error are hopeless. Errors in
    passing wait; whether they end the wait is for the caller's patience to say.
    """
    statuses = {event: outcome.unwrap() for event, outcome in outcomes.items() if outcome.ok}
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    errors += [error for event, status in statuses.items() if (error := _hopeless(event, status, rule))]
    permanent = [error for error in errors if error.permanence is Permanence.PERMANENT]
    if permanent:
        return Verdict(State.HOPELESS, statuses, error=permanent[0])
    if errors:
        return Verdict(State.WAITING, statuses, trouble=errors[0])
    arrived = all(status == rule.target for status in statuses.values())
    return Verdict(State.ARRIVED if arrived else State.WAITING, statuses)


def _hopeless(event_id: int, status: MeetingStatus, rule: Rule) -> AttendanceError | None:
    if status is MeetingStatus.ORGANISER:
        return OrganiserError(
            f"The acting user is the organiser of this meeting; {rule.target.value} will never come.",
            event_id=event_id,
        )
    if status in rule.fail_on:
        return UnwantedStatusError(
            f"The meeting's status is {status.value} ({WORDS.get(status, 'unknown')}), "
            "on which this wait was told to fail.",
            event_id=event_id,
        )
    return None


PATIENCE: Final = RetryPolicy(total=900.0)
"""What one poll of a wait bears of errors in passing.

More than other calls do: the longest time that a portal refuses a method for is ten minutes, and a wait has
time. It is spent within one poll, for a rescheduled sensor is a new process at each and remembers nothing.
"""


class Ending(StrEnum):
    """How a wait ended."""

    ARRIVED = "arrived"
    FAILED = "failed"
    TIMED_OUT = "timed_out"


@dataclass(frozen=True, slots=True)
class End:
    """The end of a wait, as it travels from the triggerer through the database to the task.

    :param error: why it failed; set exactly when the ending is ``FAILED``.
    """

    ending: Ending
    statuses: Mapping[int, MeetingStatus] = field(default_factory=dict)
    error: Bitrix24Error | None = None

    def to_event(self) -> dict[str, Any]:
        """Return the end as JSON values without secrets."""
        return {
            "ending": self.ending.value,
            "statuses": as_xcom(self.statuses),
            "error": None if self.error is None else self.error.to_dict(),
        }


def end_from_event(event: object) -> End:
    """Turn :meth:`End.to_event` back into an end.

    :raises TriggerEventError: the event is missing or not one of ours; a wait never succeeds by default.
    """
    end: End | None = None
    try:
        given: Any = event
        end = End(
            Ending(given["ending"]),
            {int(key): MeetingStatus(status) for key, status in given["statuses"].items()},
            None if given["error"] is None else error_from_dict(given["error"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError):
        pass  # told below, without the accident as its context
    if end is None or (end.ending is Ending.FAILED) != (end.error is not None):
        raise TriggerEventError(f"The task resumed with an event it does not know: {ascii(event)[:200]}.")
    return end


def as_xcom(statuses: Mapping[int, MeetingStatus]) -> dict[str, str]:
    """Return statuses as JSON values: ``{"651": "Y"}``."""
    return {str(event): status.value for event, status in statuses.items()}


def interval(poke_interval: float, polls: int, *, exponential_backoff: bool, max_wait: float | None) -> float:
    """Return the seconds between two polls; never under one second, so that no loop can spin.

    :param polls: how many polls were made at this pace already.
    """
    seconds = poke_interval * 2.0 ** min(polls, 64) if exponential_backoff else poke_interval
    return max(1.0, seconds if max_wait is None else min(seconds, max_wait))
