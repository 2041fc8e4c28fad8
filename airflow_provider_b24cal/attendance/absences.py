"""Occurrences that are stored and that calendars do not show any more: which they are, and where they have moved."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.attendance.models import best_views, occurrence

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from datetime import datetime

    from airflow_provider_b24cal.attendance.models import Key, Meeting, Snapshot, Stored, Views
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent
    from airflow_provider_b24cal.bitrix24.calendar.window import Window

_LEAST_PERIOD: Final = timedelta(hours=23)
"""The shortest time between two dates of a series: a day, one hour less where clocks are changed."""


def absent_rows(stored: Stored, snapshot: Snapshot, views: Views) -> dict[Key, bool]:
    """Return the live occurrences that a snapshot should show and does not.

    :return: for each whether it has ended for certain. The others have ended if they have moved.
    """
    window, whole = snapshot.window, snapshot.whole_calendars()
    unreadable, ids_read = {row.parent_id for _, row in snapshot.unreadable}, snapshot.ids_read()
    # A meeting that is no series has one start.
    ended = snapshot.cancelled | {key[0] for key, (_, event) in views.items() if not event.is_recurring}
    series: Collection[int] = ()
    if window is None:
        ended |= snapshot.not_found
        series = {key[0] for key in views}
    absent: dict[Key, bool] = {}
    for key, row in stored.meetings.items():
        if key in views or row.vanished_at is not None:
            continue
        if key[0] in ended:
            absent[key] = True
        elif key[0] in series:
            absent[key] = False
        elif window is not None and row.calendar in whole and key[0] not in unreadable:
            start, end = _in_zone_of(window, row)
            if window.start <= start < window.end:
                absent[key] = True
            elif start < window.start < end <= window.end:
                # It may have been shortened, which only a reading by its id shows.
                absent[key] = key[0] in ids_read
    return absent


def views_by_id(snapshot: Snapshot, absent: Collection[Key], stored: Stored) -> Views:
    """Return the views of absent occurrences that take place outside the window, as a reading by id has shown."""
    events = {event.parent_id: event for event in snapshot.by_id}
    views: Views = {}
    for key in absent:
        event = events.get(key[0])
        if event is None or snapshot.window is None:
            continue
        if event.is_recurring:
            # Of a series the first date was read.
            event = replace(event, start=key[1], end=key[1] + (event.end - event.start))
        if not snapshot.window.touches(event):
            views[occurrence(event)] = stored.meetings[key].calendar, event
    return views


def find_moves(stored: Stored, views: Views, absent: Collection[Key]) -> dict[Key, Key]:
    """Return where absent occurrences have moved to.

    Dates of a series are matched in their order, if as many are new as are absent. Unless there are several and all
    have moved, they have to be nearer than two dates of any series are: a date may be new because no window has
    contained it. What other windows have contained does not count, so that windows may be read in any order.
    """
    if not absent:
        return {}
    live = {key: row for key, row in stored.meetings.items() if row.vanished_at is None}
    new = {key: event for key, (_, event) in views.items() if key not in live}
    singles = {key[0]: key for key, event in new.items() if not event.is_recurring}
    moves = {key: singles[key[0]] for key in absent if key[0] in singles and not live[key].is_recurring}
    taken = set(moves.values())
    before = _by_series((key, live[key]) for key in absent if key not in moves)
    after = _by_series((key, event) for key, event in new.items() if key not in taken)
    kept = {_series(row) for key, row in live.items() if key in views}
    for series, starts in before.items():
        pairs = list(zip(starts, after.get(series, ()), strict=False))
        if len(pairs) == len(starts) == len(after.get(series, ())) and (
            (len(pairs) > 1 and series not in kept)
            or all(abs(new_key[1] - key[1]) < _LEAST_PERIOD for key, new_key in pairs)
        ):
            moves.update(pairs)
    return moves


def not_explained(stored: Stored, snapshot: Snapshot) -> frozenset[int]:
    """Return the meetings to read by their id, because a snapshot does not show how they ended."""
    views = best_views(snapshot.seen)
    absent = absent_rows(stored, snapshot, views)
    parents = {key[0] for key in absent.keys() - find_moves(stored, views, absent).keys()}
    return frozenset(parents if snapshot.window is not None else parents & snapshot.not_found)


def _in_zone_of(window: Window, row: Meeting) -> tuple[datetime, datetime]:
    start, end = row.occurrence_start, row.occurrence_end
    if row.all_day:
        # Days have no time zone of their own.
        start, end = start.replace(tzinfo=window.start.tzinfo), end.replace(tzinfo=window.start.tzinfo)
    return start.astimezone(UTC), end.astimezone(UTC)


def _series(one: Meeting | CalendarEvent) -> int:
    """Return the series of an occurrence: that of an edited date is the one it was split from."""
    return one.recurrence_id or one.parent_id


def _by_series(some: Iterable[tuple[Key, Meeting | CalendarEvent]]) -> Mapping[int, list[Key]]:
    """Return the keys of each series, in the order of their starts."""
    found: dict[int, list[Key]] = {}
    for key, one in sorted(some, key=lambda pair: (pair[0][1], pair[0][0])):
        found.setdefault(_series(one), []).append(key)
    return found
