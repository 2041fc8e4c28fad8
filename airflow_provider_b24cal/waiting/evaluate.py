"""Evaluates a poll: has the wait arrived, does it continue, or can it never arrive. All sensor modes use it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
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
    """The state of a wait after a poll."""

    ARRIVED = "arrived"
    """As many as required have the target status."""
    WAITING = "waiting"
    """The condition can still be met."""
    UNREACHABLE = "unreachable"
    """The condition can never be met, or the portal refuses to be polled: the wait fails now."""


@dataclass(frozen=True, slots=True)
class Rule:
    """When a wait arrives.

    :param target: the status to reach.
    :param fail_on: statuses that count as never becoming the target.
    :param quorum: how many have to reach it.
    """

    target: MeetingStatus = MeetingStatus.ACCEPTED
    fail_on: frozenset[MeetingStatus] = frozenset()
    quorum: Quorum = ALL


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of one poll. Keys are event ids, or user ids when an event's attendees are waited for.

    :param statuses: the statuses read at this poll, and those that had arrived before.
    :param total: how many meetings or attendees there are.
    :param needed: how many have to arrive.
    :param error: why the condition can never be met; set exactly when the state is ``UNREACHABLE``.
    :param transient_error: why some status could not be read; the wait continues.
    :param until: when the wait ends at the latest, in seconds since the epoch, if the event's start decides that.
    :param event_name: the event's name, if the event was read.
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


def evaluate(outcomes: Mapping[int, Outcome[MeetingStatus]], rule: Rule, *, of_users: bool = False) -> Evaluation:
    """Evaluate the outcomes of all meetings or attendees.

    :param of_users: the keys are user ids rather than event ids.

    The target has arrived. ``Q`` and other letters wait; ``N`` too, unless the rule fails on it. ``H``, not invited and
    no such meeting can never arrive: the state is ``UNREACHABLE`` once too few others are left for the quorum, and at
    once after a permanent error that is not of one meeting. Transient errors wait; the caller bounds their retries.
    """
    statuses = {key: outcome.unwrap() for key, outcome in outcomes.items() if outcome.ok}
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    errors += [error for key, status in statuses.items() if (error := _error_of(key, status, rule, of_users=of_users))]
    lost = [error for error in errors if error.permanence is Permanence.PERMANENT]
    total, needed = len(outcomes), rule.quorum.needed(len(outcomes))
    arrived = sum(status == rule.target for status in statuses.values())
    fatal = [error for error in lost if not isinstance(error, AttendanceError)]
    transient = [error for error in errors if error.permanence is not Permanence.PERMANENT]
    if arrived >= needed:
        return Evaluation(State.ARRIVED, statuses, total, needed)
    if fatal:
        return Evaluation(State.UNREACHABLE, statuses, total, needed, error=fatal[0])
    if total - len(lost) < needed:
        return Evaluation(State.UNREACHABLE, statuses, total, needed, error=_quorum_error(lost, total, needed))
    return Evaluation(State.WAITING, statuses, total, needed, transient_error=transient[0] if transient else None)


def _error_of(key: int, status: MeetingStatus, rule: Rule, *, of_users: bool) -> AttendanceError | None:
    who, event_id = (f"User {key}: ", None) if of_users else ("", key)
    if status is MeetingStatus.ORGANISER:
        text = f"{who}The organiser's status is always H and never becomes {rule.target.value}. Do not wait for it."
        return OrganiserError(text, event_id=event_id)
    if status in rule.fail_on:
        text = f"{who}The status is {status.value} ({status.label}), which is in fail_on_statuses."
        return UnwantedStatusError(text, event_id=event_id)
    return None


def _quorum_error(lost: list[Bitrix24Error], total: int, needed: int) -> Bitrix24Error:
    if len(lost) == 1:
        return lost[0]
    reasons = "; ".join(map(str, lost[:_NAMED])) + ("; ..." if len(lost) > _NAMED else "")
    return QuorumUnreachableError(f"{needed} of {total} are required, and {len(lost)} can never arrive: {reasons}")


_NAMED: Final = 10


def of_status(statuses: Mapping[int, MeetingStatus], *wanted: MeetingStatus) -> list[int]:
    """Return the keys that have one of some statuses."""
    return [key for key, status in statuses.items() if status in wanted]


def letters(statuses: Iterable[MeetingStatus]) -> list[str]:
    """Return statuses as sorted letters."""
    return sorted(status.value for status in statuses)
