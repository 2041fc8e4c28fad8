"""What a reading of calendars changes in the rows stored so far.

A reading is applied to an occurrence only if it began after that occurrence's last one had ended. So applied
readings never overlap, whoever makes them and in whatever order they are written, and no old answer can come
after a newer one. What is not applied is not lost: the next reading sees it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC
from typing import TYPE_CHECKING

from airflow_provider_b24cal.attendance.rows import Attendance, AttendanceChange, answers, is_host, meeting, occurrence

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.attendance.rows import Key, Meeting
    from airflow_provider_b24cal.bitrix24.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.window import Window


@dataclass(frozen=True, slots=True)
class Reading:
    """What calendars have shown.

    :param started: when the reading began.
    :param ended: when it was complete; this is the time that rows carry.
    :param seen: pairs of calendar and event.
    :param calendars: those that were read whole; what they do not show of ``window`` is gone.
    :param window: ``None`` for a reading of single events.
    :param gone: meetings that were asked for by their id and are not shown.
    """

    started: datetime
    ended: datetime
    seen: tuple[tuple[str, CalendarEvent], ...]
    calendars: frozenset[str] = frozenset()
    window: Window | None = None
    gone: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Stored:
    """The rows known so far, as far as a reading can concern them."""

    meetings: Mapping[Key, Meeting] = field(default_factory=dict)
    attendances: Mapping[Key, Mapping[int, Attendance]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be written.

    :param meetings: rows to insert or to replace.
    :param attendances: rows to insert or to replace.
    :param changes: rows to insert.
    :param counts: how many occurrences were ``new``, ``changed``, ``unchanged``, ``vanished``, ``outdated`` (a
        later reading is stored) or have ``unknown`` attendance.
    """

    meetings: list[Meeting] = field(default_factory=list)
    attendances: list[Attendance] = field(default_factory=list)
    changes: list[AttendanceChange] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def reconcile(stored: Stored, reading: Reading) -> Difference:
    """Return what a reading changes; the same reading again changes nothing."""
    difference = Difference()
    views = best_views(reading.seen)
    for key, (calendar, event) in views.items():
        difference.counts["unknown"] += event.attendees is None
        before = stored.meetings.get(key)
        if before is not None and not _later(reading, before):
            difference.counts["outdated"] += 1
        elif before is None or not _hides(calendar, event, before):
            _see(difference, reading, calendar, event, before, stored.attendances.get(key, {}))
        else:
            difference.counts["unchanged"] += 1
    # An event that is no series has one start: rows of it at others tell that it was moved.
    elsewhere = {key[0] for key, (_, event) in views.items() if not event.is_recurring} | reading.gone
    for key, before in stored.meetings.items():
        missed = key not in views and before.vanished_at is None
        if missed and _later(reading, before) and (key[0] in elsewhere or _would_be_shown(before, reading)):
            _vanish(difference, reading.ended, before, stored.attendances.get(key, {}).values())
    return difference


def nameless(reading: Reading) -> Reading:
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


def _later(reading: Reading, before: Meeting) -> bool:
    return reading.started > max(before.last_seen, before.vanished_at or before.last_seen)


def _hides(calendar: str, event: CalendarEvent, before: Meeting) -> bool:
    """Tell whether a view masks what another calendar shows: it adds nothing then."""
    return (
        event.attendees is None
        and before.total is not None
        and before.vanished_at is None
        and before.calendar != calendar
    )


def _would_be_shown(before: Meeting, reading: Reading) -> bool:
    window = reading.window
    if window is None or before.calendar not in reading.calendars:
        return False
    # By the start alone: an event that reaches into a window may have been shortened.
    start = before.start.replace(tzinfo=window.start.tzinfo) if before.all_day else before.start
    return window.start.astimezone(UTC) <= start.astimezone(UTC) < window.end.astimezone(UTC)


def _see(
    difference: Difference,
    reading: Reading,
    calendar: str,
    event: CalendarEvent,
    before: Meeting | None,
    attendances: Mapping[int, Attendance],
) -> None:
    now = reading.ended
    if before is None:
        after = meeting(event, calendar, now, now)
        difference.counts["new"] += 1
    else:
        hidden = before.total is None
        if before.vanished_at is None and _rank(before.calendar, hidden=hidden) < _rank(
            calendar, hidden=event.attendees is None
        ):
            calendar = before.calendar
        after = meeting(event, calendar, before.first_seen, now)
        difference.counts["unchanged" if after == before._replace(last_seen=now) else "changed"] += 1
    difference.meetings.append(after)
    given = answers(event)
    if given is None:
        return
    for user_id, status in given.items():
        known = attendances.get(user_id)
        row, change = _answer(after, user_id, status.value, known, before)
        difference.attendances.append(row._replace(is_host=is_host(event, user_id, status)))
        difference.changes.extend([change] if change else [])
    for user_id, known in attendances.items():
        if user_id not in given and known.vanished_at is None:
            difference.attendances.append(known._replace(vanished_at=now, changed_at=now))
            difference.changes.append(AttendanceChange(*after.key, user_id, known.status, None, known.last_seen, now))


def _answer(
    after: Meeting, user_id: int, status: str, known: Attendance | None, before: Meeting | None
) -> tuple[Attendance, AttendanceChange | None]:
    now = after.last_seen
    row = known or Attendance(*after.key, user_id, status, is_host=False, first_seen=now, last_seen=now)
    invited_before = known is not None and (
        # Gone together with the occurrence, and back with it: nobody has invited them anew.
        known.vanished_at is None or (before is not None and known.vanished_at == before.vanished_at)
    )
    change = None
    if invited_before:
        if row.status != status:
            change = AttendanceChange(*after.key, user_id, row.status, status, row.last_seen, now)
    elif before is not None and before.total is not None:
        change = AttendanceChange(*after.key, user_id, None, status, before.last_seen, now)
    return row._replace(
        status=status, last_seen=now, vanished_at=None, changed_at=now if change else row.changed_at
    ), change


def _vanish(difference: Difference, now: datetime, before: Meeting, attendances: Iterable[Attendance]) -> None:
    difference.counts["vanished"] += 1
    difference.meetings.append(before._replace(vanished_at=now))
    difference.attendances.extend(row._replace(vanished_at=now) for row in attendances if row.vanished_at is None)
