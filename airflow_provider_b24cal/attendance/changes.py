"""Changes of answers between two polls of a watcher.

A series has one answer per person for all its dates, so the key of a meeting is its id alone: a change of a series is
one change, and a meeting that was moved keeps its answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.attendance.models import answers

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent


@dataclass(frozen=True, slots=True)
class AnswerChange:
    """A change of an answer.

    :param occurrence_start: the first date that was read.
    :param old: ``None`` if the user was not invited.
    :param new: ``None`` if the user is no longer invited.
    """

    parent_id: int
    occurrence_start: datetime
    user_id: int
    old: str | None
    new: str | None


@dataclass(slots=True)
class WatcherState:
    """The answers seen and the number of events; stored so that a watcher can be restarted.

    :param since: time of the first poll.
    :param emitted: how many events were fired since.
    :param answers: letters by user, by meeting.
    """

    since: str
    emitted: int = 0
    answers: dict[int, dict[int, str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the state as JSON values."""
        letters = {str(one): {str(user): letter for user, letter in by.items()} for one, by in self.answers.items()}
        return {"since": self.since, "emitted": self.emitted, "answers": letters}

    def change_id(self, change: AnswerChange) -> str:
        """Return an id that only the next change has; it is the same if the event is fired again."""
        parts = (self.since, self.emitted, change.parent_id, change.user_id, change.old, change.new)
        return sha256("|".join(map(str, parts)).encode()).hexdigest()[:16]

    def mark_emitted(self, change: AnswerChange) -> None:
        """Apply a change whose event is fired."""
        letters = self.answers.setdefault(change.parent_id, {})
        self.emitted += 1
        if change.new is None:
            letters.pop(change.user_id, None)
        else:
            letters[change.user_id] = change.new

    def update(self, seen: Mapping[int, MeetingAnswers], unreadable: Collection[int | None] = ()) -> None:
        """Replace the answers by those of a poll, after its changes were emitted.

        :param unreadable: meetings of rows that cannot be read, with ``None`` for any: their answers are kept.
        """
        kept = {
            parent: letters
            for parent, letters in self.answers.items()
            if parent in seen or parent in unreadable or None in unreadable
        }
        shown = {parent: dict(one.letters) for parent, one in seen.items() if one.letters is not None}
        self.answers = {**kept, **shown}

    def changes(self, seen: Mapping[int, MeetingAnswers]) -> Iterator[AnswerChange]:
        """Yield the differences to a poll; meetings not known yet and answers not shown have none."""
        for parent_id, meeting in sorted(seen.items()):
            before, after = self.answers.get(parent_id), meeting.letters
            if before is None or after is None:
                continue
            for user_id in sorted(before.keys() | after.keys()):
                old, new = before.get(user_id), after.get(user_id)
                if old != new:
                    yield AnswerChange(parent_id, meeting.start, user_id, old, new)


def state_from_json(stored: Any) -> WatcherState | None:
    """Turn :meth:`WatcherState.to_json` back into a state; ``None`` for anything else."""
    try:
        letters = {
            int(parent): {int(user): str(letter) for user, letter in by.items()}
            for parent, by in stored["answers"].items()
        }
        return WatcherState(str(stored["since"]), int(stored["emitted"]), letters)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


@dataclass(frozen=True, slots=True)
class MeetingAnswers:
    """A meeting in one poll.

    :param start: its first date that was read.
    :param letters: answers by user; ``None`` where the portal does not show them.
    """

    start: datetime
    letters: Mapping[int, str] | None


def by_meeting(events: Iterable[CalendarEvent]) -> dict[int, MeetingAnswers]:
    """Return the answers by meeting."""
    meetings: dict[int, MeetingAnswers] = {}
    for event in sorted(events, key=lambda one: one.start):
        given = answers(event)
        letters = None if given is None else {user: status.value for user, status in given.items()}
        known = meetings.get(event.parent_id)
        if known is None:
            meetings[event.parent_id] = MeetingAnswers(event.start, letters)
        elif known.letters is None:
            meetings[event.parent_id] = MeetingAnswers(known.start, letters)
    return meetings
