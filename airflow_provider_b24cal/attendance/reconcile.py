"""Compares a snapshot of calendars with the stored rows, and returns what has to be written.

Two rules decide. The first is about time: a snapshot is applied to an occurrence only if it began after the last read
of that occurrence had ended, also if that read did not find it. So applied snapshots never overlap, in whatever order
they are written, and no old answer can replace a newer one. A snapshot that differs and is not applied is outdated, and
has to be read again.

The second is about calendars, which different tasks read at different times. A row holds what the calendar contained in
which it was last seen. Only a read of the same calendar can find it deleted or masked. Any read can replace it with a
view that shows no less.
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
from airflow_provider_b24cal.attendance.read_log import ReadLog, reads_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.attendance.models import CompletedRead, Key, Meeting, Snapshot
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.calendar.window import Window


@dataclass(frozen=True, slots=True)
class Stored:
    """The stored rows that a snapshot can change.

    :param reads: the reads that ended after the snapshot began.
    """

    meetings: Mapping[Key, Meeting] = field(default_factory=dict)
    attendances: Mapping[Key, Mapping[int, Attendance]] = field(default_factory=dict)
    reads: Iterable[CompletedRead] = ()


@dataclass(frozen=True, slots=True)
class Diff:
    """The rows to write.

    :param meetings: rows to insert or to replace.
    :param attendances: rows to insert or to replace.
    :param changes: rows to insert.
    :param reads: rows to insert or to replace.
    :param counts: how many occurrences were ``new``, ``changed``, ``unchanged``, ``vanished``, ``outdated`` (a
        later read with another result is stored) or have ``unknown`` attendance.
    :param emptied: calendars without any event, and how many occurrences have vanished with that. A loss of rights
        looks the same.
    """

    meetings: list[Meeting] = field(default_factory=list)
    attendances: list[Attendance] = field(default_factory=list)
    changes: list[AttendanceChange] = field(default_factory=list)
    reads: list[CompletedRead] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)


def reconcile(stored: Stored, snapshot: Snapshot) -> Diff:
    """Return what a snapshot changes; the same snapshot again changes nothing."""
    reads = ReadLog(stored.reads)
    difference = Diff(reads=reads.newer(reads_of(snapshot)))
    views, whole = best_views(snapshot.seen), snapshot.whole_calendars()
    seen_at = _seen_at(stored.meetings.values())
    single_at = _seen_at(row for row in stored.meetings.values() if not row.is_recurring)
    for key, (calendar, event) in views.items():
        difference.counts["unknown"] += event.attendees is None
        before, attendances = stored.meetings.get(key), stored.attendances.get(key, {})
        same_place = before is not None and before.calendar in {calendar, *whole}
        here = before and before.last_seen
        gone = before.vanished_at if before is not None and same_place else None
        # A single meeting has one start: a read of it at another start is a read of this one too.
        elsewhere = (single_at if event.is_recurring else seen_at).get(event.parent_id)
        read_times = reads.at(calendar, event)
        later = _later(snapshot, here, gone, elsewhere, read_times)
        if before is not None and not same_place and _shows_less(event, before):
            difference.counts["unchanged"] += 1
        elif later:
            upsert(difference, snapshot.ended, calendar, event, before, attendances)
        elif before is not None and _shows_the_same(event, before, attendances):
            difference.counts["unchanged"] += 1
        else:
            difference.counts["outdated"] += 1
    mark_missing(difference, stored, snapshot, views)
    return difference


def _seen_at(rows: Iterable[Meeting]) -> dict[int, datetime]:
    """Return when meetings were last seen, at any start."""
    seen_at: dict[int, datetime] = {}
    for row in rows:
        seen_at[row.parent_id] = max(row.last_seen, seen_at.get(row.parent_id, row.last_seen))
    return seen_at


def mark_missing(
    difference: Diff, stored: Stored, snapshot: Snapshot, views: Mapping[Key, tuple[str, CalendarEvent]]
) -> None:
    """Mark occurrences as vanished that the snapshot should contain and does not."""
    moved = {key[0] for key, (_, event) in views.items() if not event.is_recurring}
    not_there = moved | snapshot.gone
    whole, unreadable = snapshot.whole_calendars(), {row.parent_id for _, row in snapshot.unreadable}
    empty = whole - {calendar for calendar, _ in (*snapshot.seen, *snapshot.unreadable)}
    for key, before in stored.meetings.items():
        if key in views or before.vanished_at is not None:
            continue
        if key[0] not in not_there and (
            key[0] in unreadable or before.calendar not in whole or not _is_within(before, snapshot.window)
        ):
            continue
        if _later(snapshot, before.last_seen):
            mark_vanished(difference, snapshot.ended, before, stored.attendances.get(key, {}).values())
            difference.emptied.update({before.calendar} & empty)
        elif key[0] not in moved:
            difference.counts["outdated"] += 1


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


def _later(snapshot: Snapshot, *read_at: datetime | None) -> bool:
    return all(at is None or snapshot.started > at for at in read_at)


def _shows_the_same(event: CalendarEvent, before: Meeting, attendances: Mapping[int, Attendance]) -> bool:
    """Return whether a view equals the stored rows."""
    given = answers(event)
    stored = {user_id: row.status for user_id, row in attendances.items() if row.vanished_at is None}
    return meeting(event, before.calendar, before.first_seen, before.last_seen) == before and given in (None, stored)


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
    after = meeting(event, calendar, now if before is None else before.first_seen, now)
    difference.meetings.append(after)
    if before is None:
        difference.counts["new"] += 1
    else:
        # Another calendar with the same view is no change.
        same = after == before._replace(calendar=calendar, last_seen=now)
        difference.counts["unchanged" if same else "changed"] += 1
    # Attendees that vanished with the occurrence return with it; that is no new invitation.
    invited = {
        user_id: row
        for user_id, row in attendances.items()
        if before is not None and row.vanished_at == before.vanished_at
    }
    given = answers(event)
    if given is None:
        back = (row for row in invited.values() if row.vanished_at is not None)
        difference.attendances.extend(row._replace(vanished_at=None) for row in back)
        return
    answered_at = _answered_at(before, attendances.values())
    for user_id in sorted(given.keys() | invited.keys()):
        old, new, row = invited.get(user_id), given.get(user_id), attendances.get(user_id)
        changed_at = row and row.changed_at
        if answered_at is not None and (old and old.status) != new:
            since, changed_at = old.last_seen if old else answered_at, now
            change = AttendanceChange(*after.key, user_id, old and old.status, new and new.value, since, now)
            difference.changes.append(change)
        if new is None:
            assert row is not None
            difference.attendances.append(row._replace(changed_at=changed_at, vanished_at=now))
        else:
            host, first_seen = is_host(event, user_id, new), row.first_seen if row else now
            difference.attendances.append(
                Attendance(*after.key, user_id, new.value, host, first_seen, now, changed_at, None)
            )


def _answered_at(before: Meeting | None, attendances: Iterable[Attendance]) -> datetime | None:
    """Return when the attendees were last seen; ``None`` if they never were."""
    if before is not None and before.total is not None:
        return before.last_seen
    return max((max(row.last_seen, row.changed_at or row.last_seen) for row in attendances), default=None)


def mark_vanished(difference: Diff, now: datetime, before: Meeting, attendances: Iterable[Attendance]) -> None:
    difference.counts["vanished"] += 1
    difference.meetings.append(before._replace(vanished_at=now))
    difference.attendances.extend(row._replace(vanished_at=now) for row in attendances if row.vanished_at is None)
