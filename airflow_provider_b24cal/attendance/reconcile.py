"""Compares a snapshot of calendars with the stored rows, and returns what has to be written.

A snapshot is newer than all stored rows: it is read while the tables are locked.

Different tasks read different calendars. A row holds what the calendar contained in which it was last seen. Only a read
of the same calendar can find it deleted or masked. Any read can replace it with a view that shows no less.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING

from airflow_provider_b24cal.attendance.models import (
    Attendance,
    AttendanceChange,
    answers,
    is_host,
    meeting,
    occurrence,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.attendance.models import Key, Meeting, Snapshot
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
    from airflow_provider_b24cal.bitrix24.calendar.window import Window


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored rows that a snapshot can change."""

    meetings: Mapping[Key, Meeting] = field(default_factory=dict)
    attendances: Mapping[Key, Mapping[int, Attendance]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Diff:
    """The rows to write.

    :param meetings: rows to insert or to replace.
    :param attendances: rows to insert or to replace.
    :param changes: rows to insert.
    :param counts: how many occurrences were ``new``, ``changed``, ``unchanged``, ``vanished``, or have ``unknown``
        attendance.
    :param emptied: calendars without any event, and how many occurrences have vanished with that. A loss of rights
        looks the same.
    """

    meetings: list[Meeting] = field(default_factory=list)
    attendances: list[Attendance] = field(default_factory=list)
    changes: list[AttendanceChange] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)


def reconcile(stored: Stored, snapshot: Snapshot) -> Diff:
    """Return what a snapshot changes."""
    difference = Diff()
    views, whole = best_views(snapshot.seen), snapshot.whole_calendars()
    for key, (calendar, event) in views.items():
        difference.counts["unknown"] += event.attendees is None
        before = stored.meetings.get(key)
        if before is not None and before.calendar not in {calendar, *whole} and _shows_less(event, before):
            difference.counts["unchanged"] += 1
        else:
            upsert(difference, snapshot.read_at, calendar, event, before, stored.attendances.get(key, {}))
    mark_missing(difference, stored, snapshot, views)
    return difference


def mark_missing(
    difference: Diff, stored: Stored, snapshot: Snapshot, views: Mapping[Key, tuple[str, CalendarEvent]]
) -> None:
    """Mark occurrences as vanished that the snapshot should contain and does not."""
    # A meeting that is no series has one start.
    moved = {key[0] for key, (_, event) in views.items() if not event.is_recurring}
    not_there = moved | snapshot.gone
    whole, unreadable = snapshot.whole_calendars(), {row.parent_id for _, row in snapshot.unreadable}
    empty = whole - {calendar for calendar, _ in (*snapshot.seen, *snapshot.unreadable)}
    for key, before in stored.meetings.items():
        if key in views or before.vanished_at is not None:
            continue
        covered = before.calendar in whole and _is_within(before, snapshot.window)
        if key[0] in not_there or (covered and key[0] not in unreadable):
            mark_vanished(difference, snapshot.read_at, before, stored.attendances.get(key, {}).values())
            difference.emptied.update({before.calendar} & empty)


def people_of(snapshot: Snapshot) -> frozenset[int]:
    """Return the attendees and organisers of a snapshot's meetings."""
    invited = {attendee.user_id for _, event in snapshot.seen for attendee in event.attendees or ()}
    hosts = {event.host_id for _, event in snapshot.seen if event.host_id is not None}
    return frozenset(invited | hosts)


def without_names(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without the names of meetings."""
    return replace(snapshot, seen=tuple((calendar, replace(event, name="")) for calendar, event in snapshot.seen))


def best_views(seen: Iterable[tuple[str, CalendarEvent]]) -> dict[Key, tuple[str, CalendarEvent]]:
    """Return the view of each occurrence that shows most; among equals that of the first calendar by name."""
    views: dict[Key, tuple[str, CalendarEvent]] = {}
    for calendar, event in seen:
        key = occurrence(event)
        known = views.get(key)
        if known is None or _rank(calendar, hidden=event.attendees is None) < _rank(
            known[0], hidden=known[1].attendees is None
        ):
            views[key] = calendar, event
    return views


def _rank(calendar: str, *, hidden: bool) -> tuple[bool, str]:
    return hidden, calendar


def _shows_less(event: CalendarEvent, before: Meeting) -> bool:
    """Return whether a view masks attendees that are stored."""
    return event.attendees is None and before.vanished_at is None and before.total is not None


def _is_within(before: Meeting, window: Window | None) -> bool:
    """Tell whether a reading of a window would show a row of before, were it still there."""
    if window is None:
        return False
    # By the start alone: an event that reaches into a window may have been shortened.
    start = before.occurrence_start
    if before.all_day:
        start = start.replace(tzinfo=window.start.tzinfo)
    return window.start.astimezone(UTC) <= start.astimezone(UTC) < window.end.astimezone(UTC)


def upsert(
    difference: Diff,
    now: datetime,
    calendar: str,
    event: CalendarEvent,
    before: Meeting | None,
    attendances: Mapping[int, Attendance],
) -> None:
    """Add the rows of an occurrence that was seen."""
    after = meeting(event, calendar, now if before is None else before.first_seen, now)
    difference.meetings.append(after)
    # Another calendar with the same view is no change.
    same = before is not None and after == before._replace(calendar=calendar, last_seen=now)
    difference.counts["new" if before is None else "unchanged" if same else "changed"] += 1
    # Attendees that vanished with the occurrence return with it; that is no new invitation.
    vanished_at = before and before.vanished_at
    invited = {one: row for one, row in attendances.items() if row.vanished_at == vanished_at}
    given = answers(event)
    if given is None:
        back = (row for row in invited.values() if row.vanished_at is not None)
        difference.attendances.extend(row._replace(vanished_at=None) for row in back)
        return
    # Rows that do not fit together have been emptied or restored from a backup, and begin anew.
    complete = before is not None and _is_complete(before, invited.values())
    answered_at = _answered_at(before, attendances.values()) if complete else None
    changes = [] if answered_at is None else _changes(after.key, now, invited, given, answered_at)
    difference.changes.extend(changes)
    changed_at = {one: row.changed_at for one, row in attendances.items()} | {one.user_id: now for one in changes}
    for user_id, status in sorted(given.items()):
        first_seen = attendances[user_id].first_seen if user_id in attendances else now
        host, changed = is_host(event, user_id, status), changed_at.get(user_id)
        difference.attendances.append(Attendance(*after.key, user_id, status.value, host, first_seen, now, changed))
    for user_id in sorted(invited.keys() - given.keys()):
        row = invited[user_id]._replace(changed_at=changed_at[user_id], vanished_at=now)
        difference.attendances.append(row)


def _changes(
    key: Key,
    now: datetime,
    invited: Mapping[int, Attendance],
    given: Mapping[int, MeetingStatus],
    answered_at: datetime,
) -> list[AttendanceChange]:
    """Return the differences between stored and given answers.

    :param answered_at: when the attendees were last seen.
    """
    changes: list[AttendanceChange] = []
    for user_id in sorted(given.keys() | invited.keys()):
        old, new = invited.get(user_id), given.get(user_id)
        if (old and old.status) != new:
            since = old.last_seen if old else answered_at
            changes.append(AttendanceChange(*key, user_id, old and old.status, new and new.value, since, now))
    return changes


def _is_complete(before: Meeting, invited: Collection[Attendance]) -> bool:
    """Return whether the answers of an occurrence are those that were stored together with it."""
    if before.total is None:  # answers that were seen before it was masked
        return True
    guests = sum(not row.is_host for row in invited)
    return guests == before.total and all(row.last_seen == before.last_seen for row in invited)


def _answered_at(before: Meeting | None, attendances: Iterable[Attendance]) -> datetime | None:
    """Return when the attendees were last seen; ``None`` if they never were."""
    if before is not None and before.total is not None:
        return before.last_seen
    return max((max(row.last_seen, row.changed_at or row.last_seen) for row in attendances), default=None)


def mark_vanished(difference: Diff, now: datetime, before: Meeting, attendances: Iterable[Attendance]) -> None:
    difference.counts["vanished"] += 1
    difference.meetings.append(before._replace(vanished_at=now))
    difference.attendances.extend(row._replace(vanished_at=now) for row in attendances if row.vanished_at is None)
