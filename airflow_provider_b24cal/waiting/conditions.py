"""The kinds of wait: what each asks, how it reads the answers, and what it tells in the end.

Both are plain values that travel to the triggerer as JSON, and both end by the one judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

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
from airflow_provider_b24cal.bitrix24.validation import check_wanted_status, invalid
from airflow_provider_b24cal.bitrix24.wording import name_ids
from airflow_provider_b24cal.waiting.evaluate import Evaluation, Rule, State, judge, letters, of_status
from airflow_provider_b24cal.waiting.quorum import check_quorum
from airflow_provider_b24cal.xcom import cap_letters

if TYPE_CHECKING:
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.protocol.call import Call

Statuses = Mapping[int, MeetingStatus]


class WaitCondition(Protocol):
    """What sensors and triggers need to know of a wait."""

    @property
    def rule(self) -> Rule:
        """What it waits for."""

    @property
    def noun(self) -> str:
        """What the keys of its statuses are ids of, in one word."""

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Return what the next poll asks.

        :param before: statuses of the poll before; empty at the first one.
        """

    def judge(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Judge the answers to :meth:`calls`; the verdict holds also what was known before and is still last."""

    def proves(self, statuses: Statuses) -> bool:
        """Tell whether statuses show that the wait has arrived."""

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return statuses as the task's result, JSON values."""

    def pack(self, statuses: Statuses) -> str:
        """Return statuses as a short text, for the way to the triggerer or to the next process."""

    def unpack(self, text: str) -> Statuses:
        """Turn :meth:`pack` back into statuses."""

    def to_dict(self) -> dict[str, Any]:
        """Return the wait as JSON values, for :func:`condition_from_dict`."""

    def __str__(self) -> str:
        """Name what is waited for."""


@dataclass(frozen=True, slots=True)
class MeetingsCondition:
    """Wait for the acting user's status in meetings.

    :param event_ids: checked ids, each once.
    """

    event_ids: tuple[int, ...]
    rule: Rule

    @property
    def noun(self) -> str:
        """Statuses are kept by event."""
        return "event"

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Ask for those that have not arrived yet."""
        return [get_status(event_id) for event_id in self._open(before)]

    def judge(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Judge the new answers together with what had arrived before."""
        new = dict(zip(self._open(before), outcomes, strict=True))
        evaluation = judge({event: new.get(event) or Outcome(before[event]) for event in self.event_ids}, self.rule)
        # Of those that did not answer this time, what was seen before is still the last thing known.
        return replace(evaluation, statuses={**before, **evaluation.statuses})

    def proves(self, statuses: Statuses) -> bool:
        """Whether enough of the meetings have the target."""
        arrived = set(of_status(statuses, self.rule.target)).intersection(self.event_ids)
        return len(arrived) >= self.rule.quorum.needed(len(self.event_ids))

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return ``{"651": "Y"}``, or the counts of letters that are too many for XCom."""
        return cap_letters({str(event): status.value for event, status in statuses.items()})

    def pack(self, statuses: Statuses) -> str:
        """Return a letter per meeting, in the order of the ids; ``-`` for one without a status."""
        return "".join(statuses[event].value if event in statuses else _NONE for event in self.event_ids)

    def unpack(self, text: str) -> Statuses:
        """Return the statuses of the meetings that have a letter."""
        letters = zip(self.event_ids, text, strict=False)
        return {event: MeetingStatus(letter) for event, letter in letters if letter != _NONE}

    def to_dict(self) -> dict[str, Any]:
        """Return the wait as JSON values."""
        return {"event_ids": list(self.event_ids), **_rule_to_dict(self.rule)}

    def __str__(self) -> str:
        return name_ids("event", self.event_ids)

    def _open(self, before: Statuses) -> list[int]:
        return [event for event in self.event_ids if before.get(event) != self.rule.target]


@dataclass(frozen=True, slots=True)
class AttendeesCondition:
    """Wait for the answers of one event's attendees, read from its list.

    :param event_id: any of the event's ids.
    :param user_ids: whose answers count; ``None`` for everybody but the organiser.
    :param seconds_before_start: the wait is over so long before the event starts; ``None`` for no such bound.
    """

    event_id: int
    rule: Rule
    user_ids: tuple[int, ...] | None = None
    seconds_before_start: float | None = None

    @property
    def noun(self) -> str:
        """Statuses are kept by user."""
        return "user"

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Ask for the event, which carries all answers."""
        return [get_event(self.event_id)]

    def judge(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Judge the attendees' answers."""
        (outcome,) = outcomes
        error = outcome.error or self._unfit(outcome.unwrap())
        if error is not None:
            lasting = error.permanence is Permanence.PERMANENT
            # What was seen before is still the last thing known.
            if lasting:
                return Evaluation(State.UNREACHABLE, before, error=error)
            return Evaluation(State.WAITING, before, transient_error=error)
        event: CalendarEvent = outcome.unwrap()
        evaluation = replace(judge(self._answers(event), self.rule, of_users=True), event_name=event.name)
        if self.seconds_before_start is None:
            return evaluation
        return replace(evaluation, until=event.start.timestamp() - self.seconds_before_start)

    def proves(self, statuses: Statuses) -> bool:
        """Whether enough of the attendees have accepted."""
        total = len(statuses if self.user_ids is None else self.user_ids)
        return bool(total) and len(of_status(statuses, self.rule.target)) >= self.rule.quorum.needed(total)

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return ``{"accepted": [2], "declined": [], "silent": [3]}``, user ids."""
        accepted = of_status(statuses, MeetingStatus.ACCEPTED)
        declined = of_status(statuses, MeetingStatus.DECLINED)
        told = {*accepted, *declined}
        return {"accepted": accepted, "declined": declined, "silent": [user for user in statuses if user not in told]}

    def pack(self, statuses: Statuses) -> str:
        """Return letters with user ids, such as ``2Y 5Q``: who is invited is not known beforehand."""
        return " ".join(f"{user}{status.value}" for user, status in statuses.items())

    def unpack(self, text: str) -> Statuses:
        """Return the users' statuses."""
        return {int(part[:-1]): MeetingStatus(part[-1]) for part in text.split()}

    def to_dict(self) -> dict[str, Any]:
        """Return the wait as JSON values."""
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
        """Return why an event cannot be waited on."""
        if not event.is_meeting:
            return NoSuchMeetingError("This event is not a meeting.", event_id=self.event_id)
        if event.attendees is None:
            return QuorumUnreachableError(
                "The portal does not show the attendees of this event to the acting user.", event_id=self.event_id
            )
        answers = self._answers(event)
        needed = self.rule.quorum.needed(len(answers))
        if not answers or needed > len(answers):
            # As many as are named in users were checked before anything was sent.
            return QuorumUnreachableError(
                f"{max(needed, 1)} acceptances are required, and {len(answers)} are invited besides the organiser.",
                event_id=self.event_id,
            )
        if self.seconds_before_start is not None and event.is_recurring:
            return InvalidArgumentError(
                f"Event {self.event_id} is a series, which has no one start that a deadline could be relative to; "
                "accepted with deadline_before_start is a single event or an edited occurrence."
            )
        return None


_NONE: Final = "-"


def _absent(user: int, wait: AttendeesCondition) -> Outcome[MeetingStatus]:
    return Outcome(error=NotInvitedError(f"User {user} is not invited to this meeting.", event_id=wait.event_id))


def _rule_to_dict(rule: Rule) -> dict[str, Any]:
    return {"target_status": rule.target.value, "fail_on_statuses": letters(rule.fail_on), "require": rule.quorum.text}


def condition_from_dict(given: Mapping[str, Any]) -> WaitCondition:
    """Return the wait that ``to_dict`` has described.

    :raises TriggerEventError: it is no such description.
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
    raise TriggerEventError(f"The trigger was given a wait it does not know: {ascii(dict(given))[:200]}.")


def check_rule(target: object, fail_on: object, require: object) -> Rule:
    """Return a rule from a sensor's arguments.

    :raises InvalidArgumentError: one of them is not acceptable, or the target is among the letters to fail on.
    """
    wanted, quorum = check_wanted_status(target, "target_status"), check_quorum(require)
    given: Any = (fail_on,) if isinstance(fail_on, str) else fail_on
    if not isinstance(given, list | tuple | set | frozenset) or (isinstance(fail_on, str) and len(fail_on) != 1):
        raise invalid("fail_on_statuses", fail_on, "a list of Y, N and Q")
    unwanted = frozenset(check_wanted_status(letter, "fail_on_statuses") for letter in given)
    if wanted in unwanted:
        raise InvalidArgumentError(f"fail_on_statuses holds {wanted.value}, which is the target_status.")
    return Rule(wanted, unwanted, quorum)


MOST_DEFERRED: Final = 2500
"""The most meetings that one deferred wait may have.

Airflow keeps a trigger's arguments encrypted in a column of text, which on MySQL holds 65,535 bytes; encryption
takes a third of them. What is left, 49,000 bytes, is enough for so many ids of sixteen digits.
"""


def check_meetings(wait: MeetingsCondition, *, deferrable: bool) -> MeetingsCondition:
    """Return the wait, if there are as many meetings as it requires, and no more than can be deferred.

    :raises InvalidArgumentError: there are fewer or more.
    """
    total = len(wait.event_ids)
    if wait.rule.quorum.needed(total) > total:
        raise InvalidArgumentError(f"require={wait.rule.quorum.text} is not acceptable for {total} events.")
    if deferrable and total > MOST_DEFERRED:
        raise InvalidArgumentError(
            f"event_ids holds {total} events; accepted in one deferrable wait are at most {MOST_DEFERRED}, for "
            "databases bound what a trigger is given. Use several sensors, or deferrable=False."
        )
    return wait


def check_users_suffice(wait: AttendeesCondition) -> AttendeesCondition:
    """Return the wait, if as many users are named as it requires.

    :raises InvalidArgumentError: there are fewer, or none.
    """
    if wait.user_ids is None:
        return wait
    named, needed = len(wait.user_ids), max(1, wait.rule.quorum.needed(len(wait.user_ids)))
    if needed > named:
        raise InvalidArgumentError(
            f"require={wait.rule.quorum.text} is not acceptable: {needed} acceptances are required, "
            f"and {named} are named in users."
        )
    return wait
