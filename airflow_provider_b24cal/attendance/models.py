"""The rows of attendance: occurrences of meetings, answers, changes of answers; and the snapshot they are made from.

All times are aware and in UTC. ``last_seen`` and the like are the times of our reads: a portal keeps no time of an
answer. The fields have the names of the columns in tables and files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, UnreadableRow
    from airflow_provider_b24cal.bitrix24.calendar.window import Window

Key: TypeAlias = "tuple[int, datetime]"
"""The key of an occurrence within a portal: id of the meeting and start."""
Views: TypeAlias = "dict[Key, tuple[str, CalendarEvent]]"
"""A view of each occurrence: the calendar that shows it, and the event."""

CANCELLED: Final = "cancelled"
MOVED: Final = "moved"
NOT_VISIBLE: Final = "not_visible"


class Meeting(NamedTuple):
    """One occurrence of a meeting.

    :param parent_id: id of the meeting, the same in all calendars.
    :param occurrence_start: an all-day event begins at midnight UTC of its first day.
    :param calendar: the calendar in which it was last seen, such as ``user:7``.
    :param zone: name of its time zone; ``None`` for all-day events.
    :param recurrence_id: for an edited occurrence, the series it was split from.
    :param accepted: how many have accepted; this and the other counts are without the organiser, and ``None``
        where the portal does not show the attendees.
    :param total: how many are invited.
    :param share: ``accepted`` of ``total``, 0 to 1; ``None`` also when nobody is invited.
    :param first_seen: also of an occurrence that has moved: when it was first seen at its old start.
    :param vanished_at: when it was first found to be absent from where it was.
    :param vanished_reason: ``moved`` to another start, ``cancelled``: the portal has no such meeting any more, or
        ``not_visible``: the calendar does not show it any more. ``None`` while it is there.
    :param moved_to: the start at which it takes place, if it has moved. Its row there has the same ``parent_id``, or is
        an edited date with the series as ``recurrence_id``.
    :param location: where it takes place; ``calendar_`` and two numbers for a booked room.
    :param recurrence_rule: of a series, its rule of iCalendar, such as ``FREQ=DAILY;INTERVAL=1``.
    :param original_start: for an edited occurrence, the start that it had in its series.
    :param portal_created: when the meeting was created, as the portal writes it: ISO text without a zone. This and
        ``portal_changed`` are those of the organiser's row of the meeting, as it was last seen.
    :param portal_changed: when the meeting was last changed, in the same form. An answer is no change.
    :param created_at: when this row was first written.
    :param updated_at: when anything in this row last changed, besides ``last_seen``.
    """

    parent_id: int
    occurrence_start: datetime
    name: str
    host_id: int | None
    calendar: str
    occurrence_end: datetime
    zone: str | None
    all_day: bool
    is_recurring: bool
    recurrence_id: int | None
    accepted: int | None
    declined: int | None
    silent: int | None
    total: int | None
    share: float | None
    first_seen: datetime
    last_seen: datetime
    vanished_at: datetime | None = None
    vanished_reason: str | None = None
    moved_to: datetime | None = None
    location: str | None = None
    recurrence_rule: str | None = None
    original_start: datetime | None = None
    portal_created: str | None = None
    portal_changed: str | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def key(self) -> Key:
        """The key of the occurrence."""
        return self.parent_id, self.occurrence_start


class Attendance(NamedTuple):
    """The answer of one attendee to one occurrence.

    :param status: the letter last seen, also after it has vanished.
    :param changed_at: when a change was last observed; ``None`` while only the first answer was seen.
    :param vanished_at: when this person was first found to be no longer invited, or the occurrence to be gone.
    :param created_at: when this row was first written.
    :param updated_at: when anything in this row last changed, besides ``last_seen``.
    :param event_id: id of the meeting in this person's own calendar; in a meeting of a user's calendar, the organiser's
        is ``parent_id``. ``None`` where the portal has not shown it.
    """

    parent_id: int
    occurrence_start: datetime
    user_id: int
    status: str
    is_host: bool
    first_seen: datetime
    last_seen: datetime
    changed_at: datetime | None = None
    vanished_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None
    event_id: int | None = None


class AttendanceChange(NamedTuple):
    """A change of an answer, which happened between two reads.

    :param old_status: ``None`` if the user was not invited.
    :param new_status: ``None`` if the user is no longer invited.
    :param old_seen_at: the last read that saw the old answer.
    :param new_seen_at: the first read that saw the new answer.
    """

    parent_id: int
    occurrence_start: datetime
    user_id: int
    old_status: str | None
    new_status: str | None
    old_seen_at: datetime
    new_seen_at: datetime


class Person(NamedTuple):
    """The name of a user, stored only if names are requested.

    :param name: first and last name; empty where the portal has none.
    :param email: ``None`` where the credential's scope does not show it.
    """

    user_id: int
    name: str
    last_seen: datetime
    email: str | None = None


class CrmLink(NamedTuple):
    """A link of a meeting to an item of the portal's CRM, stored only if links are requested.

    :param crm_type: ``deal``, ``lead``, ``contact``, ``company``, or the portal's prefix for another type.
    :param vanished_at: when the meeting was first found not to have it any more.
    """

    parent_id: int
    crm_type: str
    crm_id: int
    first_seen: datetime
    last_seen: datetime
    vanished_at: datetime | None = None


class Day(NamedTuple):
    """A day that was read, in UTC; only in files, where its folder names it.

    :param occurrences: how many begin on it.
    :param answers: how many rows of answers these have.
    :param complete: whether all rows of the day could be read.
    """

    occurrences: int
    answers: int
    complete: bool
    last_seen: datetime


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What calendars contained when they were read.

    :param read_at: when the read was complete; the rows have this time.
    :param seen: pairs of calendar and event.
    :param calendars: those that were read. A meeting in ``window`` that they do not contain is gone, if all their rows
        could be read.
    :param window: ``None`` if single events were read.
    :param unreadable: pairs of calendar and row that is left out; the event exists.
    :param by_id: meetings that were read by their id, because the calendars do not show them any more; of a series the
        first date.
    :param not_found: meetings that were read by their id and are not visible, or no meetings.
    :param cancelled: meetings that the portal does not have, whoever asks.
    """

    read_at: datetime
    seen: tuple[tuple[str, CalendarEvent], ...]
    calendars: frozenset[str] = frozenset()
    window: Window | None = None
    unreadable: tuple[tuple[str, UnreadableRow], ...] = ()
    by_id: tuple[CalendarEvent, ...] = ()
    not_found: frozenset[int] = frozenset()
    cancelled: frozenset[int] = frozenset()

    def whole_calendars(self) -> frozenset[str]:
        """Return the calendars without an unreadable row of an unknown meeting, which could be any."""
        return self.calendars - {calendar for calendar, row in self.unreadable if row.parent_id is None}

    def ids_read(self) -> frozenset[int]:
        """Return the meetings that were read by their id."""
        return frozenset(event.parent_id for event in self.by_id) | self.not_found | self.cancelled


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored rows that a snapshot can change.

    :param same_answers: occurrences whose stored answers are those that the snapshot shows; ``attendances`` has none of
        them.
    :param span: all rows of occurrences that begin in it are here; ``None`` if single meetings were read.
    """

    meetings: Mapping[Key, Meeting] = field(default_factory=dict)
    attendances: Mapping[Key, Mapping[int, Attendance]] = field(default_factory=dict)
    crm_links: Collection[CrmLink] = ()
    same_answers: frozenset[Key] = frozenset()
    span: tuple[datetime, datetime] | None = None


def occurrence(event: CalendarEvent) -> Key:
    """Return the key of the occurrence that an event of any calendar is."""
    return event.parent_id, event.start


def best_views(seen: Iterable[tuple[str, CalendarEvent]]) -> Views:
    """Return the view of each occurrence that shows most; among equals that of the first calendar by name.

    The organiser's row shows most. The row of somebody who was invited to one date alone does not say of which series
    it is.
    """
    views: Views = {}
    for calendar, event in seen:
        key = occurrence(event)
        known = views.get(key)
        if known is None or _order(calendar, event) < _order(*known):
            views[key] = calendar, event
    return views


def _order(calendar: str, event: CalendarEvent) -> tuple[bool, bool, bool, str]:
    return event.attendees is None, event.id != event.parent_id, event.recurrence_id is None, calendar


def answers(event: CalendarEvent) -> dict[int, MeetingStatus] | None:
    """Return the answers by user id; ``None`` where the portal does not show the attendees."""
    if event.attendees is None:
        return None
    return {attendee.user_id: attendee.status for attendee in event.attendees}


def row_ids(event: CalendarEvent) -> dict[int, int | None]:
    """Return the ids that an event has in its attendees' own calendars, by user id."""
    return {attendee.user_id: attendee.row_id for attendee in event.attendees or ()}


def is_host(event: CalendarEvent, user_id: int, status: str) -> bool:
    """Return whether an attendee is the organiser, whom group meetings list as an ordinary attendee."""
    return status == MeetingStatus.ORGANISER or user_id == event.host_id


def meeting(event: CalendarEvent, calendar: str, seen_at: datetime, before: Meeting | None = None) -> Meeting:
    """Return the row of an event that was just seen.

    :param before: its row so far.
    """
    given = answers(event)
    accepted = declined = silent = total = None
    if given is not None:
        counted = [status for user_id, status in given.items() if not is_host(event, user_id, status)]
        total = len(counted)
        accepted, declined, silent = (
            counted.count(status)
            for status in (MeetingStatus.ACCEPTED, MeetingStatus.DECLINED, MeetingStatus.NOT_ANSWERED)
        )
    created, changed = event.created, event.changed
    series, original_start = event.recurrence_id, event.original_start
    if event.id != event.parent_id:  # an attendee's row has times of its own, and may not name the series
        created, changed = (before.portal_created, before.portal_changed) if before else (None, None)
        if series is None and before is not None:
            series, original_start = before.recurrence_id, before.original_start
    return Meeting(
        parent_id=event.parent_id,
        occurrence_start=event.start,
        name=event.name,
        host_id=event.host_id,
        calendar=calendar,
        occurrence_end=event.end,
        zone=event.zone,
        all_day=event.all_day,
        is_recurring=event.is_recurring,
        recurrence_id=series,
        accepted=accepted,
        declined=declined,
        silent=silent,
        total=total,
        share=accepted / total if accepted is not None and total else None,
        first_seen=before.first_seen if before else seen_at,
        last_seen=seen_at,
        location=event.location,
        recurrence_rule=event.recurrence_rule,
        original_start=original_start,
        portal_created=created,
        portal_changed=changed,
    )
