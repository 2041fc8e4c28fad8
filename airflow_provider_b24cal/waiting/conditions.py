"""The two conditions to wait for: the calls of a poll, how their outcomes are evaluated, and the result.

Both are plain values that travel to the triggerer as JSON. Both use the same evaluation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias

from airflow_provider_b24cal.bitrix24.calendar.event_methods import get_event
from airflow_provider_b24cal.bitrix24.calendar.methods import get_status
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    InvalidArgumentError,
    NoSuchMeetingError,
    NotInvitedError,
    Permanence,
    QuorumUnreachableError,
    TriggerEventError,
)
from airflow_provider_b24cal.bitrix24.serialization import cap_letters
from airflow_provider_b24cal.bitrix24.validation import check_wanted_status, invalid
from airflow_provider_b24cal.bitrix24.wording import name_ids
from airflow_provider_b24cal.waiting.evaluate import Evaluation, Rule, State, evaluate, letters, of_status
from airflow_provider_b24cal.waiting.quorum import check_quorum

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.protocol.call import Call

Statuses = Mapping[int, MeetingStatus]


@dataclass(frozen=True, slots=True)
class MeetingsCondition:
    """Wait for the acting user's status in meetings.

    :param event_ids: checked ids, each once.
    """

    event_ids: tuple[int, ...]
    rule: Rule

    noun: ClassVar[str] = "event"
    """What the keys of the statuses are ids of."""

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Return the calls of the next poll: one for each meeting that has not arrived yet.

        :param before: statuses of the last poll; empty at the first one.
        """
        return [get_status(event_id) for event_id in self._open(before)]

    def evaluate(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Evaluate the outcomes of :meth:`calls`, together with the meetings that had arrived before."""
        new = dict(zip(self._open(before), outcomes, strict=True))
        evaluation = evaluate({event: new.get(event) or Outcome(before[event]) for event in self.event_ids}, self.rule)
        # A meeting that could not be read keeps its last status.
        return replace(evaluation, statuses={**before, **evaluation.statuses})

    def is_met_by(self, statuses: Statuses) -> bool:
        """Whether enough of the meetings have the target."""
        arrived = set(of_status(statuses, self.rule.target)).intersection(self.event_ids)
        return len(arrived) >= self.rule.quorum.needed(len(self.event_ids))

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return ``{"651": "Y"}``, or the counts of letters that are too many for XCom."""
        return cap_letters({str(event): status.value for event, status in statuses.items()})

    def pack(self, statuses: Statuses) -> str:
        """Return statuses as a short text, for the triggerer or the next process.

        It has a letter per meeting, in the order of the ids; ``-`` for one without a status.
        """
        return "".join(statuses[event].value if event in statuses else _NONE for event in self.event_ids)

    def unpack(self, text: str) -> Statuses:
        """Turn :meth:`pack` back into statuses."""
        letters = zip(self.event_ids, text, strict=False)
        return {event: MeetingStatus(letter) for event, letter in letters if letter != _NONE}

    def to_dict(self) -> dict[str, Any]:
        """Return the condition as JSON values, for :func:`condition_from_dict`."""
        return {"event_ids": list(self.event_ids), **_rule_to_dict(self.rule)}

    def __str__(self) -> str:
        return name_ids("event", self.event_ids)

    def _open(self, before: Statuses) -> list[int]:
        return [event for event in self.event_ids if before.get(event) != self.rule.target]


@dataclass(frozen=True, slots=True)
class AttendeesCondition:
    """Wait for the answers of one event's attendees, read from its list.

    :param event_id: any of the event's ids.
    :param user_ids: the attendees whose answers count; ``None`` for all but the organiser.
    :param seconds_before_start: seconds before the event's start at which the wait ends; ``None`` for no such deadline.
    """

    event_id: int
    rule: Rule
    user_ids: tuple[int, ...] | None = None
    seconds_before_start: float | None = None

    noun: ClassVar[str] = "user"
    """What the keys of the statuses are ids of."""

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Return the call of the next poll: one for the event, which has all answers."""
        return [get_event(self.event_id)]

    def evaluate(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Evaluate the attendees' answers."""
        (outcome,) = outcomes
        error = outcome.error or self._unfit(outcome.unwrap())
        if error is not None:
            # The last statuses stay.
            if error.permanence is Permanence.PERMANENT:
                return Evaluation(State.UNREACHABLE, before, error=error)
            return Evaluation(State.WAITING, before, transient_error=error)
        event: CalendarEvent = outcome.unwrap()
        evaluation = replace(evaluate(self._answers(event), self.rule, of_users=True), event_name=event.name)
        if self.seconds_before_start is None:
            return evaluation
        return replace(evaluation, until=event.start.timestamp() - self.seconds_before_start)

    def is_met_by(self, statuses: Statuses) -> bool:
        """Whether enough of the attendees have accepted."""
        total = len(statuses if self.user_ids is None else self.user_ids)
        return bool(total) and len(of_status(statuses, self.rule.target)) >= self.rule.quorum.needed(total)

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return ``{"accepted": [2], "declined": [], "silent": [3]}``, user ids."""
        accepted = of_status(statuses, MeetingStatus.ACCEPTED)
        declined = of_status(statuses, MeetingStatus.DECLINED)
        silent = [user for user in statuses if user not in {*accepted, *declined}]
        return {"accepted": accepted, "declined": declined, "silent": silent}

    def pack(self, statuses: Statuses) -> str:
        """Return statuses as a short text: letters with user ids, such as ``2Y 5Q``."""
        return " ".join(f"{user}{status.value}" for user, status in statuses.items())

    def unpack(self, text: str) -> Statuses:
        """Turn :meth:`pack` back into statuses."""
        return {int(part[:-1]): MeetingStatus(part[-1]) for part in text.split()}

    def to_dict(self) -> dict[str, Any]:
        """Return the condition as JSON values, for :func:`condition_from_dict`."""
        return {
            "event_id": self.event_id,
            "user_ids": None if self.user_ids is None else list(self.user_ids),
            "seconds_before_start": self.seconds_before_start,
            **_rule_to_dict(self.rule),
        }

    def __str__(self) -> str:
        return f"attendees of event {self.event_id}"

    def _answers(self, event: CalendarEvent) -> dict[int, Outcome[MeetingStatus]]:
        if self.user_ids is None:
            return {guest.user_id: Outcome(guest.status) for guest in event.guests or ()}
        listed = {attendee.user_id: attendee.status for attendee in event.attendees or ()}
        return {user: Outcome(listed[user]) if user in listed else _absent(user, self) for user in self.user_ids}

    def _unfit(self, event: CalendarEvent) -> Bitrix24Error | None:
        """Return why the event cannot fulfil the condition."""
        if not event.is_meeting:
            return NoSuchMeetingError("This event is not a meeting.", event_id=self.event_id)
        if event.attendees is None:
            return QuorumUnreachableError(
                "The portal does not show the attendees of this event to the acting user.", event_id=self.event_id
            )
        answers = self._answers(event)
        needed = self.rule.quorum.needed(len(answers))
        if not answers or needed > len(answers):
            # The number of users given was checked before the first poll.
            return QuorumUnreachableError(
                f"{max(needed, 1)} acceptances are required, and {len(answers)} are invited besides the organiser.",
                event_id=self.event_id,
            )
        if self.seconds_before_start is not None and event.is_recurring:
            return InvalidArgumentError(
                f"Invalid event_id {self.event_id}: expected a single event or an edited occurrence with "
                "deadline_before_start; this event is a series, which has no single start."
            )
        return None


WaitCondition: TypeAlias = MeetingsCondition | AttendeesCondition

_NONE: Final = "-"


def _absent(user: int, wait: AttendeesCondition) -> Outcome[MeetingStatus]:
    return Outcome(error=NotInvitedError(f"User {user} is not invited to this meeting.", event_id=wait.event_id))


def _rule_to_dict(rule: Rule) -> dict[str, Any]:
    return {"target_status": rule.target.value, "fail_on_statuses": letters(rule.fail_on), "require": rule.quorum.text}


def condition_from_dict(given: Mapping[str, Any]) -> WaitCondition:
    """Turn ``to_dict`` back into a condition.

    :raises TriggerEventError: the values are not those of a condition.
    """
    try:
        rest = dict(given)
        rule = Rule(
            MeetingStatus(rest.pop("target_status")),
            frozenset(map(MeetingStatus, rest.pop("fail_on_statuses"))),
            check_quorum(rest.pop("require")),
        )
        if "event_ids" in rest:
            return MeetingsCondition(tuple(rest.pop("event_ids")), rule, **rest)
        users = rest.pop("user_ids")
        return AttendeesCondition(rule=rule, user_ids=None if users is None else tuple(users), **rest)
    except (KeyError, TypeError, ValueError):
        pass
    raise TriggerEventError(f"The trigger was given an unknown condition: {ascii(dict(given))[:200]}.")


def check_rule(target: object, fail_on: object, require: object) -> Rule:
    """Return a rule from a sensor's arguments.

    :raises InvalidArgumentError: one of them is invalid, or the target is among the letters to fail on.
    """
    wanted, quorum = check_wanted_status(target, "target_status"), check_quorum(require)
    given: Any = (fail_on,) if isinstance(fail_on, str) else fail_on
    if not isinstance(given, list | tuple | set | frozenset) or (isinstance(fail_on, str) and len(fail_on) != 1):
        raise invalid("fail_on_statuses", fail_on, "a list of Y, N and Q", text=False)
    unwanted = frozenset(check_wanted_status(letter, "fail_on_statuses") for letter in given)
    if wanted in unwanted:
        raise invalid("fail_on_statuses", letters(unwanted), f"letters other than the target_status {wanted.value}")
    return Rule(wanted, unwanted, quorum)


MOST_DEFERRED: Final = 2500
"""Meetings of one deferred wait at most.

Airflow stores a trigger's arguments encrypted in a text column, which holds 65,535 bytes on MySQL. Encryption takes a
third of them. The other 49,000 bytes hold this many ids of sixteen digits.
"""


def check_meetings(wait: MeetingsCondition, *, deferrable: bool) -> MeetingsCondition:
    """Return the condition, if it has as many meetings as it requires, and no more than can be deferred.

    :raises InvalidArgumentError: there are fewer or more.
    """
    total = len(wait.event_ids)
    if wait.rule.quorum.needed(total) > total:
        raise invalid("require", wait.rule.quorum.text, f"at most the number of events, {total}")
    if deferrable and total > MOST_DEFERRED:
        raise InvalidArgumentError(
            f"Invalid event_ids: expected at most {MOST_DEFERRED} events in one deferrable wait; got {total}. "
            "Databases limit the arguments of a trigger. Use several sensors, or deferrable=False."
        )
    return wait


def check_users_suffice(wait: AttendeesCondition) -> AttendeesCondition:
    """Return the condition, if it names as many users as it requires.

    :raises InvalidArgumentError: there are fewer, or none.
    """
    if wait.user_ids is None:
        return wait
    named, needed = len(wait.user_ids), max(1, wait.rule.quorum.needed(len(wait.user_ids)))
    if needed > named:
        raise invalid("require", wait.rule.quorum.text, f"at most the number of users, {named}")
    return wait
