"""The conditions to wait for: the calls of a poll, how their outcomes are evaluated, and the result.

They are plain values that travel to the triggerer as JSON. All use the same evaluation.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

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
from airflow_provider_b24cal.bitrix24.serialization import XCOM_LIMIT, cap_letters, size_of
from airflow_provider_b24cal.bitrix24.wording import name_ids
from airflow_provider_b24cal.waiting.evaluate import Evaluation, Rule, State, evaluate, evaluate_each, letters
from airflow_provider_b24cal.waiting.quorum import check_quorum

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.waiting.evaluate import Statuses


@dataclass(frozen=True, slots=True)
class MeetingsCondition:
    """Wait for the acting user's status in meetings.

    :param event_ids: checked ids, each once.
    """

    event_ids: tuple[int, ...]
    rule: Rule

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Return the calls of the next poll: one for each meeting that has not reached the target.

        :param before: statuses of the last poll; empty at the first one.
        """
        return [get_status(event_id) for event_id in self._open(before)]

    def evaluate(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Evaluate the outcomes of :meth:`calls`, together with the meetings that had reached the target before."""
        new = dict(zip(self._open(before), outcomes, strict=True))
        evaluation = evaluate({event: new.get(event) or Outcome(before[event]) for event in self.event_ids}, self.rule)
        # A meeting that could not be read keeps its last status.
        return replace(evaluation, statuses={**before, **evaluation.statuses})

    def is_met_by(self, statuses: Statuses) -> bool:
        """Whether enough of the meetings have the target."""
        arrived = sum(self.rule.is_met_by(statuses.get(event)) for event in self.event_ids)
        return arrived >= self.rule.quorum.needed(len(self.event_ids))

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
        return [event for event in self.event_ids if not self.rule.is_met_by(before.get(event))]


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

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Return the call of the next poll: one for the event, which has all answers."""
        return [get_event(self.event_id)]

    def evaluate(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Evaluate the attendees' answers."""
        (outcome,) = outcomes
        answers = {} if outcome.value is None else self._answers(outcome.value)
        error = outcome.error or self._unfit(outcome.unwrap(), len(answers))
        if error is not None:
            # The last statuses stay.
            if error.permanence is Permanence.PERMANENT:
                return Evaluation(State.UNREACHABLE, before, error=error)
            return Evaluation(State.WAITING, before, transient_error=error)
        event: CalendarEvent = outcome.unwrap()
        evaluation = replace(evaluate(answers, self.rule, attendees_of=self.event_id), event_name=event.name)
        if self.seconds_before_start is None:
            return evaluation
        return replace(evaluation, until=event.start.timestamp() - self.seconds_before_start)

    def is_met_by(self, statuses: Statuses) -> bool:
        """Whether enough of the attendees have answered as wanted."""
        total = len(statuses if self.user_ids is None else self.user_ids)
        arrived = sum(map(self.rule.is_met_by, statuses.values()))
        return bool(total) and arrived >= self.rule.quorum.needed(total)

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return ``{"accepted": [2], "declined": [], "silent": [3]}``, user ids; numbers where ids are too many."""
        found = self.by_kind(statuses)
        return found if size_of(found) <= XCOM_LIMIT else _counts([found])

    def by_kind(self, statuses: Statuses) -> dict[str, list[int]]:
        """Return the user ids of each kind of answer."""
        found: dict[str, list[int]] = {"accepted": [], "declined": [], "silent": []}
        for user, status in statuses.items():
            found[_KINDS.get(status, "silent")].append(user)
        return found

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

    def _unfit(self, event: CalendarEvent, total: int) -> Bitrix24Error | None:
        """Return why the event cannot fulfil the condition.

        :param total: how many attendees' answers count.
        """
        if not event.is_meeting:
            return NoSuchMeetingError("This event is not a meeting.", event_id=self.event_id)
        if event.attendees is None:
            return QuorumUnreachableError(
                "The portal does not show the attendees of this event to the acting user.", event_id=self.event_id
            )
        needed = self.rule.quorum.needed(total)
        if not total or needed > total:
            # The number of users given was checked before the first poll.
            wanted = "answers" if self.rule.any_answer else "acceptances"
            return QuorumUnreachableError(
                f"{max(needed, 1)} {wanted} are required, and {total} are invited besides the organiser.",
                event_id=self.event_id,
            )
        if self.seconds_before_start is not None and event.is_recurring:
            return InvalidArgumentError(
                f"Invalid event_id {self.event_id}: expected a single event or an edited occurrence with "
                "deadline_before_start; this event is a series, which has no single start."
            )
        return None


@dataclass(frozen=True, slots=True)
class ManyAttendeesCondition:
    """Wait for the answers of many events' attendees, until each event meets the rule in the same poll.

    Every poll reads all events. Keys of the statuses are pairs of an event id and a user id.

    :param event_ids: checked ids, each once.
    :param user_ids: the attendees whose answers count, the same for each event; ``None`` for all but the organiser.
    :param seconds_before_start: seconds before an event's start at which its answers must be there; ``None`` for no
        such deadline.
    """

    event_ids: tuple[int, ...]
    rule: Rule
    user_ids: tuple[int, ...] | None = None
    seconds_before_start: float | None = None

    def calls(self, before: Statuses) -> list[Call[Any]]:
        """Return the calls of the next poll: one for each event, which has all its answers."""
        return [get_event(event_id) for event_id in self.event_ids]

    def evaluate(self, outcomes: Sequence[Outcome[Any]], before: Statuses) -> Evaluation:
        """Evaluate the attendees' answers, event by event."""
        known = self.by_event(before)
        parts = [
            one.evaluate([outcome], known[one.event_id]) for one, outcome in zip(self._each(), outcomes, strict=True)
        ]
        statuses = {
            (event_id, user): status
            for event_id, part in zip(self.event_ids, parts, strict=True)
            for user, status in part.statuses.items()
        }
        return replace(evaluate_each(parts), statuses=statuses)

    def is_met_by(self, statuses: Statuses) -> bool:
        """Whether enough of each event's attendees have answered as wanted."""
        return len(self.met(statuses)) == len(self.event_ids)

    def met(self, statuses: Statuses) -> list[int]:
        """Return the events of which enough attendees have answered as wanted."""
        known = self.by_event(statuses)
        return [one.event_id for one in self._each() if one.is_met_by(known[one.event_id])]

    def xcom(self, statuses: Statuses) -> dict[str, Any]:
        """Return ``{"651": {"accepted": [2], "declined": [], "silent": [3]}}``; numbers where ids are too many."""
        known = self.by_event(statuses)
        found = {str(one.event_id): one.by_kind(known[one.event_id]) for one in self._each() if known[one.event_id]}
        return found if size_of(found) <= XCOM_LIMIT else _counts(found.values())

    def pack(self, statuses: Statuses) -> str:
        """Return statuses as a short text: events with letters and user ids, such as ``651 2Y 5Q,653 2N``."""
        known = self.by_event(statuses)
        return ",".join(f"{one.event_id} {one.pack(known[one.event_id])}" for one in self._each())

    def unpack(self, text: str) -> Statuses:
        """Turn :meth:`pack` back into statuses."""
        parts = [part.partition(" ") for part in text.split(",") if part]
        users = AttendeesCondition(0, self.rule)
        return {
            (int(event_id), user): status
            for event_id, _, answers in parts
            for user, status in users.unpack(answers).items()
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the condition as JSON values, for :func:`condition_from_dict`."""
        return {
            "event_ids": list(self.event_ids),
            "user_ids": None if self.user_ids is None else list(self.user_ids),
            "seconds_before_start": self.seconds_before_start,
            **_rule_to_dict(self.rule),
        }

    def __str__(self) -> str:
        return f"attendees of {name_ids('event', self.event_ids)}"

    def by_event(self, statuses: Statuses) -> dict[int, dict[int, MeetingStatus]]:
        """Return statuses by user for each event."""
        found: dict[int, dict[int, MeetingStatus]] = {event_id: {} for event_id in self.event_ids}
        for (event_id, user), status in statuses.items():
            if event_id in found:
                found[event_id][user] = status
        return found

    def _each(self) -> Iterator[AttendeesCondition]:
        for event_id in self.event_ids:
            yield AttendeesCondition(event_id, self.rule, self.user_ids, self.seconds_before_start)


WaitCondition: TypeAlias = MeetingsCondition | AttendeesCondition | ManyAttendeesCondition

_NONE: Final = "-"
_KINDS: Final = {MeetingStatus.ACCEPTED: "accepted", MeetingStatus.DECLINED: "declined"}


def _counts(answers: Collection[Mapping[str, list[int]]]) -> dict[str, Any]:
    kinds = ("accepted", "declined", "silent")
    return {"counts": {kind: sum(len(users[kind]) for users in answers) for kind in kinds}}


def _absent(user: int, wait: AttendeesCondition) -> Outcome[MeetingStatus]:
    return Outcome(error=NotInvitedError(f"User {user} is not invited to this meeting.", event_id=wait.event_id))


def _rule_to_dict(rule: Rule) -> dict[str, Any]:
    return {
        "target_status": rule.target.value,
        "fail_on_statuses": letters(rule.fail_on),
        "require": rule.quorum.text,
        # Left out otherwise, as stored waits of earlier versions do.
        **({"count": "answered"} if rule.any_answer else {}),
    }


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
            {"accepted": False, "answered": True}[rest.pop("count", "accepted")],
        )
        if "user_ids" not in rest:
            return MeetingsCondition(tuple(rest.pop("event_ids")), rule, **rest)
        users = rest.pop("user_ids")
        users = None if users is None else tuple(users)
        if "event_ids" in rest:
            return ManyAttendeesCondition(tuple(rest.pop("event_ids")), rule, users, **rest)
        return AttendeesCondition(rule=rule, user_ids=users, **rest)
    except (KeyError, TypeError, ValueError):
        pass
    raise TriggerEventError(f"The trigger was given an unknown condition: {ascii(dict(given))[:200]}.")
