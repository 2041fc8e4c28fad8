"""The only judgement of a wait, shared by poke, reschedule and deferrable mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.calendar.status import WORDS, MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    AttendanceError,
    Bitrix24Error,
    OrganiserError,
    Permanence,
    QuorumUnreachableError,
    UnwantedStatusError,
)
from airflow_provider_b24cal.waiting.quorum import ALL, Quorum

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome


class State(StrEnum):
    """Where a wait stands."""

    ARRIVED = "arrived"
    """As many as required have the status waited for."""
    WAITING = "waiting"
    """Not yet, but it can still come."""
    UNREACHABLE = "unreachable"
    """The condition can never be met, or the portal refuses to be polled: the wait fails now."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a wait waits for.

    :param target: the status waited for.
    :param fail_on: statuses that count as never becoming the target.
    :param quorum: how many have to arrive.
    """

    target: MeetingStatus = MeetingStatus.ACCEPTED
    fail_on: frozenset[MeetingStatus] = frozenset()
    quorum: Quorum = ALL


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The judgement of one poll.

    Keys are whatever answers: event ids for the acting user's answers, user ids for an event's attendees.

    :param statuses: what was read at this poll, and what had arrived before.
    :param total: how many are waited for.
    :param needed: how many have to arrive.
    :param error: why there is no hope; set exactly when the state is ``UNREACHABLE``.
    :param trouble: an error in passing that hid some status; the wait goes on.
    :param until: when the wait is over at the latest, in seconds since the epoch, if the portal's answer
        says so.
    :param event_name: the event's name, if the answer was read from the event.
    """

    state: State
    statuses: Mapping[int, MeetingStatus] = field(default_factory=dict)
    total: int = 0
    needed: int = 0
    error: Bitrix24Error | None = None
    transient_error: Bitrix24Error | None = None
    until: float | None = None
    event_name: str | None = None

    @property
    def failure(self) -> Bitrix24Error | None:
        """The error of this poll, permanent or transient."""
        return self.error or self.transient_error


def judge(outcomes: Mapping[int, Outcome[MeetingStatus]], rule: Rule, *, of_users: bool = False) -> Evaluation:
    """Judge the answers of all that are waited for.

    :param of_users: the keys are user ids rather than event ids.

    ``Y`` (the target) has arrived, ``Q`` and other letters wait, ``N`` waits too unless the rule fails on
    it. ``H``, not invited, no such meeting can never arrive: there is no hope once too few are left for the
    quorum. A permanent error that is no matter of one meeting ends every hope. Errors in passing wait;
    whether they end the wait is for the caller's patience to say.
    """
    statuses = {key: outcome.unwrap() for key, outcome in outcomes.items() if outcome.ok}
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    errors += [error for key, status in statuses.items() if (error := _error_of(key, status, rule, of_users=of_users))]
    lost = [error for error in errors if error.permanence is Permanence.PERMANENT]
    total, needed = len(outcomes), rule.quorum.needed(len(outcomes))
    arrived = sum(status == rule.target for status in statuses.values())
    fatal = [error for error in lost if not isinstance(error, AttendanceError)]
    passing = [error for error in errors if error.permanence is not Permanence.PERMANENT]
    if arrived >= needed:
        return Evaluation(State.ARRIVED, statuses, total, needed)
    if fatal:
        return Evaluation(State.UNREACHABLE, statuses, total, needed, error=fatal[0])
    if total - len(lost) < needed:
        return Evaluation(State.UNREACHABLE, statuses, total, needed, error=_out_of_reach(lost, total, needed))
    return Evaluation(State.WAITING, statuses, total, needed, transient_error=passing[0] if passing else None)


def _error_of(key: int, status: MeetingStatus, rule: Rule, *, of_users: bool) -> AttendanceError | None:
    who, event_id = (f"User {key}: ", None) if of_users else ("", key)
    if status is MeetingStatus.ORGANISER:
        text = f"{who}The organiser's status is always H and never becomes {rule.target.value}. Do not wait for it."
        return OrganiserError(text, event_id=event_id)
    if status in rule.fail_on:
        word = WORDS.get(status, "unknown")
        text = f"{who}The status is {status.value} ({word}), on which this wait was told to fail."
        return UnwantedStatusError(text, event_id=event_id)
    return None


def _out_of_reach(lost: list[Bitrix24Error], total: int, needed: int) -> Bitrix24Error:
    if len(lost) == 1:
        return lost[0]
    told = "; ".join(map(str, lost[:_NAMED])) + ("; ..." if len(lost) > _NAMED else "")
    return QuorumUnreachableError(f"{needed} of {total} are required, and {len(lost)} can never arrive: {told}")


_NAMED: Final = 10


def of_status(statuses: Mapping[int, MeetingStatus], *wanted: MeetingStatus) -> list[int]:
    """Return the keys that have one of some statuses."""
    return [key for key, status in statuses.items() if status in wanted]


def letters(statuses: Iterable[MeetingStatus]) -> list[str]:
    """Return statuses as sorted letters."""
    return sorted(status.value for status in statuses)
