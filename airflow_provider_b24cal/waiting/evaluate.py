"""Evaluates a poll: is the condition met, can it still be met, or never. All sensor modes use it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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
    from collections.abc import Iterable, Sequence

    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome

Statuses: TypeAlias = Mapping[Any, MeetingStatus]
"""Statuses by event id; of one event's attendees by user id; of many events' attendees by both, as a pair."""


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
    """When a wait succeeds.

    :param target: the status to reach.
    :param fail_on: statuses that count as never becoming the target.
    :param quorum: how many have to reach it.
    :param any_answer: ``N`` counts as well as the target ``Y``.
    """

    target: MeetingStatus = MeetingStatus.ACCEPTED
    fail_on: frozenset[MeetingStatus] = frozenset()
    quorum: Quorum = ALL
    any_answer: bool = False

    @property
    def label(self) -> str:
        """The target in words, for logs."""
        return "answered" if self.any_answer else self.target.label

    def is_met_by(self, status: MeetingStatus | None) -> bool:
        """Whether a status counts."""
        return status == self.target or (self.any_answer and status is MeetingStatus.DECLINED)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The evaluation of one poll.

    :param statuses: the statuses read at this poll, and those that had reached the target before.
    :param total: how many meetings or attendees there are; of the attendees of many events, how many events.
    :param needed: how many of them have to reach the target.
    :param error: why the condition can never be met; set exactly when the state is ``UNREACHABLE``.
    :param transient_error: why some status could not be read; the wait continues.
    :param until: when the wait ends at the latest, in seconds since the epoch, if the event's start decides that.
    :param event_name: the event's name, if the event was read.
    """

    state: State
    statuses: Statuses = field(default_factory=dict)
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


def evaluate(
    outcomes: Mapping[int, Outcome[MeetingStatus]], rule: Rule, *, attendees_of: int | None = None
) -> Evaluation:
    """Evaluate the outcomes of all meetings, or of all attendees of an event.

    :param attendees_of: the event whose attendees the keys are; ``None`` if they are event ids.

    The target counts. ``Q`` and other letters wait; ``N`` too, unless the rule fails on it. ``H``, not invited and no
    such meeting can never count: the state is ``UNREACHABLE`` once too few others are left for the quorum, and at once
    after a permanent error that is not of one meeting. Transient errors wait; the caller bounds their retries.
    """
    statuses = {key: outcome.unwrap() for key, outcome in outcomes.items() if outcome.ok}
    errors = [outcome.error for outcome in outcomes.values() if outcome.error is not None]
    errors += [error for key, status in statuses.items() if (error := _error_of(key, status, rule, attendees_of))]
    permanent = [error for error in errors if error.permanence is Permanence.PERMANENT]
    total, needed = len(outcomes), rule.quorum.needed(len(outcomes))
    arrived = sum(map(rule.is_met_by, statuses.values()))
    fatal = [error for error in permanent if not isinstance(error, AttendanceError)]
    transient = [error for error in errors if error.permanence is not Permanence.PERMANENT]
    if arrived >= needed:
        return Evaluation(State.ARRIVED, statuses, total, needed)
    if fatal:
        return Evaluation(State.UNREACHABLE, statuses, total, needed, error=fatal[0])
    if total - len(permanent) < needed:
        unreachable = _quorum_error(permanent, total, needed)
        return Evaluation(State.UNREACHABLE, statuses, total, needed, error=unreachable)
    return Evaluation(State.WAITING, statuses, total, needed, transient_error=transient[0] if transient else None)


def _error_of(key: int, status: MeetingStatus, rule: Rule, attendees_of: int | None) -> AttendanceError | None:
    who, event_id = ("", key) if attendees_of is None else (f"User {key}: ", attendees_of)
    if status is MeetingStatus.ORGANISER:
        wanted = "Y or N" if rule.any_answer else rule.target.value
        text = f"{who}The organiser's status is always H and never becomes {wanted}. Do not wait for it."
        return OrganiserError(text, event_id=event_id)
    if status in rule.fail_on:
        text = f"{who}The status is {status.value} ({status.label}), which is in fail_on_statuses."
        return UnwantedStatusError(text, event_id=event_id)
    return None


def evaluate_each(parts: Sequence[Evaluation]) -> Evaluation:
    """Return the evaluation of a wait that succeeds when each of its parts is met.

    Its ``total`` and ``needed`` count the parts. It has no statuses, since only the caller knows their keys.
    """
    total = len(parts)
    errors = [part.error for part in parts if part.error is not None]
    fatal = [error for error in errors if not isinstance(error, AttendanceError)]
    if errors:
        error = fatal[0] if fatal else _quorum_error(errors, total, total)
        return Evaluation(State.UNREACHABLE, total=total, needed=total, error=error)
    still = [part for part in parts if part.state is not State.ARRIVED]
    transient = [part.transient_error for part in still if part.transient_error is not None]
    # A part that could not be read may have the earliest deadline.
    until = None if transient else min((part.until for part in still if part.until is not None), default=None)
    return Evaluation(
        State.WAITING if still else State.ARRIVED,
        total=total,
        needed=total,
        transient_error=transient[0] if transient else None,
        until=until,
    )


def _quorum_error(errors: list[Bitrix24Error], total: int, needed: int) -> Bitrix24Error:
    if len(errors) == 1:
        return errors[0]
    reasons = "; ".join(map(str, errors[:_NAMED])) + ("; ..." if len(errors) > _NAMED else "")
    return QuorumUnreachableError(f"{needed} of {total} are required, and {len(errors)} can never count: {reasons}")


_NAMED: Final = 10


def letters(statuses: Iterable[MeetingStatus]) -> list[str]:
    """Return statuses as sorted letters."""
    return sorted(status.value for status in statuses)
