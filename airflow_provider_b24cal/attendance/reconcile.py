"""Compares a snapshot of calendars with the stored rows, and returns what has to be written.

A snapshot is newer than all stored rows: it is read while the tables are locked.

Different tasks read different calendars. A row holds what the calendar contained in which it was last seen. Only a read
of the same calendar can find it absent or masked. Any read can replace it with a view that shows no less.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from airflow_provider_b24cal.attendance.absences import absent_rows, find_moves, views_by_id
from airflow_provider_b24cal.attendance.crm_links import link_rows
from airflow_provider_b24cal.attendance.models import (
    CANCELLED,
    MOVED,
    NOT_VISIBLE,
    Attendance,
    AttendanceChange,
    answers,
    best_views,
    is_host,
    meeting,
    row_ids,
)
from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.attendance.models import CrmLink, Key, Meeting, Snapshot, Stored
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent

R = TypeVar("R", "Meeting", Attendance)


@dataclass(frozen=True, slots=True)
class Diff:
    """The rows to write.

    :param meetings: rows to insert or to replace.
    :param attendances: rows to insert or to replace.
    :param changes: rows to insert.
    :param crm_links: rows to insert or to replace.
    :param seen_again: for occurrences whose answers are all as they are stored, how many answers those are.
    :param counts: how many occurrences were ``new``, ``changed``, ``unchanged``, ``moved``, ``vanished``, or have
        ``unknown`` attendance.
    :param emptied: calendars without any event, and how many occurrences are not visible any more with that. A loss of
        rights looks the same.
    """

    meetings: list[Meeting] = field(default_factory=list)
    attendances: list[Attendance] = field(default_factory=list)
    changes: list[AttendanceChange] = field(default_factory=list)
    crm_links: list[CrmLink] = field(default_factory=list)
    seen_again: dict[Key, int] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)


def reconcile(stored: Stored, snapshot: Snapshot, counted: Collection[Key] = ()) -> Diff:
    """Return what a snapshot changes.

    :param counted: occurrences that an earlier part of the window has counted.
    """
    difference = Diff()
    views, whole = best_views(snapshot.seen), snapshot.whole_calendars()
    absent = absent_rows(stored, snapshot, views)
    views |= views_by_id(snapshot, absent, stored)
    moves = find_moves(stored, views, absent)
    origins = {new: old for old, new in moves.items()}
    for key, (calendar, event) in views.items():
        origin, before = origins.get(key), stored.meetings.get(key)
        if origin is not None:
            upsert(difference, snapshot.read_at, calendar, event, *_at_new_start(stored, origin, key), moved=True)
            outcome = "moved"
        elif before is not None and before.calendar not in {calendar, *whole} and _shows_less(event, before):
            outcome = "unchanged"
        else:
            attendances = None if key in stored.same_answers else stored.attendances.get(key, {})
            outcome = upsert(difference, snapshot.read_at, calendar, event, before, attendances)
        if key not in counted:
            difference.counts[outcome] += 1
            difference.counts["unknown"] += event.attendees is None
    empty = whole - {calendar for calendar, _ in (*snapshot.seen, *snapshot.unreadable)}
    for key, certain in absent.items():
        if key not in views and (certain or key in moves):
            reason = MOVED if key in moves else CANCELLED if key[0] in snapshot.cancelled else NOT_VISIBLE
            before = stored.meetings[key]._replace(vanished_at=snapshot.read_at, vanished_reason=reason)
            moved_to = moves[key][1] if key in moves else None
            mark_vanished(difference, before._replace(moved_to=moved_to), stored.attendances.get(key, {}).values())
            if reason != MOVED:
                difference.counts["vanished"] += 1
            if reason == NOT_VISIBLE:
                difference.emptied.update({before.calendar} & empty)
    _set_row_times(difference, stored, snapshot.read_at)
    difference.crm_links.extend(link_rows(stored.crm_links, snapshot))
    return difference


def people_of(snapshot: Snapshot) -> frozenset[int]:
    """Return the attendees and organisers of a snapshot's meetings."""
    events = [*(event for _, event in snapshot.seen), *snapshot.by_id]
    invited = {attendee.user_id for event in events for attendee in event.attendees or ()}
    return frozenset(invited | {event.host_id for event in events if event.host_id is not None})


def without_names(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without the names and places of meetings."""
    return replace(
        snapshot,
        seen=tuple((calendar, replace(event, name="", location=None)) for calendar, event in snapshot.seen),
        by_id=tuple(replace(event, name="", location=None) for event in snapshot.by_id),
    )


def _set_row_times(difference: Diff, stored: Stored, now: datetime) -> None:
    """Set when each row was first written, and when anything but ``last_seen`` has last changed in it."""
    difference.meetings[:] = [_with_row_times(row, stored.meetings.get(row.key), now) for row in difference.meetings]
    difference.attendances[:] = [
        _with_row_times(row, stored.attendances.get((row.parent_id, row.occurrence_start), {}).get(row.user_id), now)
        for row in difference.attendances
    ]


def _with_row_times(row: R, before: R | None, now: datetime) -> R:
    if before is None:
        return row._replace(created_at=now, updated_at=now)
    after = row._replace(created_at=before.created_at, updated_at=before.updated_at)
    return after if after == before._replace(last_seen=row.last_seen) else after._replace(updated_at=now)


def _shows_less(event: CalendarEvent, before: Meeting) -> bool:
    """Return whether a view masks attendees that are stored."""
    return event.attendees is None and before.vanished_at is None and before.total is not None


def _at_new_start(stored: Stored, old: Key, new: Key) -> tuple[Meeting, dict[int, Attendance]]:
    """Return the rows of an occurrence that has moved, as if they had always been at its new start."""
    kept = [one for one in stored.attendances.get(old, {}).values() if not one.vanished_at]
    if new[0] != old[0]:  # an edited date has ids of its own
        kept = [one._replace(event_id=None) for one in kept]
    return _at(stored.meetings[old], new), {one.user_id: _at(one, new) for one in kept}


def _at(row: R, key: Key) -> R:
    return row._replace(parent_id=key[0], occurrence_start=key[1])


def upsert(
    difference: Diff,
    now: datetime,
    calendar: str,
    event: CalendarEvent,
    before: Meeting | None,
    attendances: Mapping[int, Attendance] | None,
    *,
    moved: bool = False,
) -> str:
    """Add the rows of an occurrence that was seen, and return whether it is ``new``, ``changed`` or ``unchanged``.

    :param attendances: its answers so far; ``None`` if those that were given are the same.
    :param moved: the rows are stored at another start.
    """
    after = meeting(event, calendar, now, before)
    difference.meetings.append(after)
    # Another calendar with the same view is no change.
    same = before is not None and after == before._replace(
        calendar=calendar, last_seen=now, created_at=None, updated_at=None
    )
    outcome = "new" if before is None else "unchanged" if same else "changed"
    given = answers(event)
    if attendances is None:
        difference.seen_again[after.key] = len(given or ())
        return outcome
    # Attendees that vanished with the occurrence return with it; that is no new invitation.
    vanished_at = before and before.vanished_at
    invited = {one: row for one, row in attendances.items() if row.vanished_at == vanished_at}
    if given is None:
        kept = (row for row in invited.values() if moved or row.vanished_at is not None)
        difference.attendances.extend(row._replace(vanished_at=None) for row in kept)
        return outcome
    # Rows that do not fit together have been emptied or restored from a backup, and begin anew.
    complete = before is not None and _is_complete(before, invited, given)
    answered_at = _answered_at(before, attendances.values()) if complete else None
    changes = [] if answered_at is None else _changes(after.key, now, invited, given, answered_at)
    difference.changes.extend(changes)
    changed_at = {one: row.changed_at for one, row in attendances.items()} | {one.user_id: now for one in changes}
    ids = row_ids(event)
    for user_id, status in sorted(given.items()):
        known = attendances.get(user_id)
        row = Attendance(
            *after.key, user_id, status.value, is_host(event, user_id, status), known.first_seen if known else now, now,
            changed_at.get(user_id), event_id=ids[user_id] or (known and known.event_id),
        )  # fmt: skip
        difference.attendances.append(row)
    for user_id in sorted(invited.keys() - given.keys()):
        row = invited[user_id]._replace(changed_at=changed_at[user_id], vanished_at=now)
        difference.attendances.append(row)
    return outcome


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


def _is_complete(before: Meeting, invited: Mapping[int, Attendance], given: Mapping[int, MeetingStatus]) -> bool:
    """Return whether the answers of an occurrence are those that were stored together with it."""
    if before.total is None:  # answers that were seen before it was masked
        return True
    guests = sum(not row.is_host for row in invited.values())
    # Nobody becomes the organiser later.
    organisers = {user_id for user_id, status in given.items() if status == MeetingStatus.ORGANISER}
    as_stored = all(row.last_seen == before.last_seen for row in invited.values())
    return guests == before.total and organisers <= invited.keys() and as_stored


def _answered_at(before: Meeting | None, attendances: Iterable[Attendance]) -> datetime | None:
    """Return when the attendees were last seen; ``None`` if they never were."""
    if before is not None and before.total is not None:
        return before.last_seen
    return max((max(row.last_seen, row.changed_at or row.last_seen) for row in attendances), default=None)


def mark_vanished(difference: Diff, after: Meeting, attendances: Iterable[Attendance]) -> None:
    """Add the rows of an occurrence that has vanished."""
    difference.meetings.append(after)
    ended = (row._replace(vanished_at=after.vanished_at) for row in attendances if row.vanished_at is None)
    difference.attendances.extend(ended)
