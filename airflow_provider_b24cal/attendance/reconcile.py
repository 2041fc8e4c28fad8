"""What a reading of calendars changes in the rows stored so far.

Two rules. The first is of time: a reading is applied to an occurrence only if it began after the last one that
told of it had ended, be it by showing nothing. So applied readings never overlap, whoever makes them and in whatever
order they are written, and no old answer can come after a newer one. A reading that tells something else and is not
applied is outdated, and has to be made again.

The second is of place, for calendars are read by different tasks, at different times. A row is what the calendar
that showed it last has shown. Only a reading that has looked into that same calendar can find it gone or masked, and
is bound by such a find of another; any reading can replace it by what shows no less.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING

from airflow_provider_b24cal.attendance.looks import Looks, looks_of
from airflow_provider_b24cal.attendance.models import (
    Attendance,
    AttendanceChange,
    answers,
    is_host,
    meeting,
    occurrence,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.attendance.models import Key, Look, Meeting
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, UnreadableRow
    from airflow_provider_b24cal.bitrix24.calendar.window import Window


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What calendars have shown.

    :param started: when the reading began.
    :param ended: when it was complete; this is the time that rows carry.
    :param seen: pairs of calendar and event.
    :param calendars: those that were read; what they do not show of ``window`` is gone, as far as all their rows
        could be read.
    :param window: ``None`` for a reading of single events.
    :param gone: meetings that were asked for by their id and are not shown.
    :param unreadable: pairs of calendar and row that is left out; whatever it was, it is there.
    """

    started: datetime
    ended: datetime
    seen: tuple[tuple[str, CalendarEvent], ...]
    calendars: frozenset[str] = frozenset()
    window: Window | None = None
    gone: frozenset[int] = frozenset()
    unreadable: tuple[tuple[str, UnreadableRow], ...] = ()

    def whole_calendars(self) -> frozenset[str]:
        """Return the calendars of which it is known what they show; a row of no known meeting may be any."""
        return self.calendars - {calendar for calendar, row in self.unreadable if row.parent_id is None}


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows known so far, as far as a reading can concern them.

    :param looks: those that ended after the reading began.
    """

    meetings: Mapping[Key, Meeting] = field(default_factory=dict)
    attendances: Mapping[Key, Mapping[int, Attendance]] = field(default_factory=dict)
    looks: Iterable[Look] = ()


@dataclass(frozen=True, slots=True)
class Diff:
    """What has to be written.

    :param meetings: rows to insert or to replace.
    :param attendances: rows to insert or to replace.
    :param changes: rows to insert.
    :param looks: rows to insert or to replace.
    :param counts: how many occurrences were ``new``, ``changed``, ``unchanged``, ``vanished``, ``outdated`` (a
        later reading that tells something else is stored) or have ``unknown`` attendance.
    :param emptied: calendars that show nothing at all, and how many occurrences have vanished with that. Nobody can
        tell this from a loss of rights.
    """

    meetings: list[Meeting] = field(default_factory=list)
    attendances: list[Attendance] = field(default_factory=list)
    changes: list[AttendanceChange] = field(default_factory=list)
    looks: list[Look] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    emptied: Counter[str] = field(default_factory=Counter)


def reconcile(stored: Stored, reading: Snapshot) -> Diff:
    """Return what a reading changes; the same reading again changes nothing."""
    looks = Looks(stored.looks)
    difference = Diff(looks=looks.newer(looks_of(reading)))
    views, whole = best_views(reading.seen), reading.whole_calendars()
    seen_at = _seen_at(stored.meetings.values())
    single_at = _seen_at(row for row in stored.meetings.values() if not row.is_recurring)
    for key, (calendar, event) in views.items():
        difference.counts["unknown"] += event.attendees is None
        before, attendances = stored.meetings.get(key), stored.attendances.get(key, {})
        same_place = before is not None and before.calendar in {calendar, *whole}
        here = before and before.last_seen
        gone = before.vanished_at if before is not None and same_place else None
        # What is no series has one start: where else it was seen tells of this one too.
        elsewhere = (single_at if event.is_recurring else seen_at).get(event.parent_id)
        looked = looks.at(calendar, event)
        later = _later(reading, here, gone, elsewhere, looked)
        if before is not None and not same_place and _shows_less(event, before):
            difference.counts["unchanged"] += 1
        elif later:
            upsert(difference, reading.ended, calendar, event, before, attendances)
        elif before is not None and _shows_the_same(event, before, attendances):
            difference.counts["unchanged"] += 1
        else:
            difference.counts["outdated"] += 1
    mark_missing(difference, stored, reading, views)
    return difference


def _seen_at(rows: Iterable[Meeting]) -> dict[int, datetime]:
    """Return when meetings were last seen, wherever that was."""
    seen_at: dict[int, datetime] = {}
    for row in rows:
        seen_at[row.parent_id] = max(row.last_seen, seen_at.get(row.parent_id, row.last_seen))
    return seen_at


def mark_missing(
    difference: Diff, stored: Stored, reading: Snapshot, views: Mapping[Key, tuple[str, CalendarEvent]]
) -> None:
    """Let vanish what a reading would show if it were still there."""
    moved = {key[0] for key, (_, event) in views.items() if not event.is_recurring}
    not_there = moved | reading.gone
    whole, unreadable = reading.whole_calendars(), {row.parent_id for _, row in reading.unreadable}
    empty = whole - {calendar for calendar, _ in (*reading.seen, *reading.unreadable)}
    for key, before in stored.meetings.items():
        if key in views or before.vanished_at is not None:
            continue
        if key[0] not in not_there and (
            key[0] in unreadable or before.calendar not in whole or not _looked_for(before, reading.window)
        ):
            continue
        if _later(reading, before.last_seen):
            mark_vanished(difference, reading.ended, before, stored.attendances.get(key, {}).values())
            difference.emptied.update({before.calendar} & empty)
        elif key[0] not in moved:
            difference.counts["outdated"] += 1


def people_of(reading: Snapshot) -> frozenset[int]:
    """Return who is invited to what a reading shows, and who has called it."""
    invited = {attendee.user_id for _, event in reading.seen for attendee in event.attendees or ()}
    hosts = {event.host_id for _, event in reading.seen if event.host_id is not None}
    return frozenset(invited | hosts)


def without_names(reading: Snapshot) -> Snapshot:
    """Return a reading without the names of meetings."""
    return replace(reading, seen=tuple((calendar, replace(event, name="")) for calendar, event in reading.seen))


def best_views(seen: Iterable[tuple[str, CalendarEvent]]) -> dict[Key, tuple[str, CalendarEvent]]:
    """Return of each occurrence the view that shows most; among equals that of the first calendar by name."""
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


def _later(reading: Snapshot, *told_at: datetime | None) -> bool:
    return all(at is None or reading.started > at for at in told_at)


def _shows_the_same(event: CalendarEvent, before: Meeting, attendances: Mapping[int, Attendance]) -> bool:
    """Tell whether a view shows nothing but what is stored."""
    given = answers(event)
    stored = {user_id: row.status for user_id, row in attendances.items() if row.vanished_at is None}
    return meeting(event, before.calendar, before.first_seen, before.last_seen) == before and given in (None, stored)


def _shows_less(event: CalendarEvent, before: Meeting) -> bool:
    """Tell whether a view masks what was shown before."""
    return event.attendees is None and before.vanished_at is None and before.total is not None


def _looked_for(before: Meeting, window: Window | None) -> bool:
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
        # Of calendars that show the same, whichever was read last is no change.
        same = after == before._replace(calendar=calendar, last_seen=now)
        difference.counts["unchanged" if same else "changed"] += 1
    # Who has gone together with the occurrence is back with it: nobody has invited them anew.
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
    """Return when it was last seen who is invited; ``None`` if it never was."""
    if before is not None and before.total is not None:
        return before.last_seen
    return max((max(row.last_seen, row.changed_at or row.last_seen) for row in attendances), default=None)


def mark_vanished(difference: Diff, now: datetime, before: Meeting, attendances: Iterable[Attendance]) -> None:
    difference.counts["vanished"] += 1
    difference.meetings.append(before._replace(vanished_at=now))
    difference.attendances.extend(row._replace(vanished_at=now) for row in attendances if row.vanished_at is None)
