"""Which rows and which days of series a list holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.event_times import on_day, stored, stored_end
from bitrix24_sandbox.recurrence import planned_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bitrix24_sandbox.models import CalendarStore, Event, Row
    from bitrix24_sandbox.settings import Settings

DAY_S = 86_400
# Where an open end lies.
_END_OF_TIME = datetime(2038, 1, 1, 6, tzinfo=UTC)


@dataclass(frozen=True)
class Window:
    """A span of time in seconds since the epoch, both ends included."""

    lower: float
    upper: float


@dataclass(frozen=True)
class Entry:
    """One line of a list.

    :param day: when it takes place.
    :param number: of the day within the list; ``None`` for what is no series.
    """

    row: Row
    event: Event
    day: date
    number: int | None


def asked_window(start: datetime | None, end: datetime | None, now: datetime) -> Window:
    """Return the window of ``calendar.event.get``; the day that ``end`` begins belongs to it."""
    if start is None and end is None:
        start, end = now - timedelta(days=30), now + timedelta(days=90)
    lower = float("-inf") if start is None else start.timestamp()
    return Window(lower, (end or _END_OF_TIME).timestamp() + DAY_S - 1)


def days_window(start: datetime, end: datetime, server_zone: str) -> Window:
    """Return the window from the day of one moment to that of another, whole days of the server's zone."""
    first, last = (_midnight(moment, ZoneInfo(server_zone)) for moment in (start, end))
    return Window(first.timestamp(), (last + timedelta(days=1)).timestamp() - 1)


def _midnight(moment: datetime, zone: ZoneInfo) -> datetime:
    return datetime.combine(moment.astimezone(zone).date(), datetime.min.time(), zone)


def overlapping(
    book: CalendarStore, rows: Iterable[Row], window: Window, settings: Settings, slack: int = DAY_S
) -> Iterator[Entry]:
    """Yield what overlaps a window, going by the times as they are stored.

    A series passes as a whole. Its days pass if they end after the window's start.

    :param slack: seconds before the window in which a day of a series may end.
    """
    for row in rows:
        event = book.events[row.parent_id]
        if row.deleted or stored(event.starts, event, settings) > window.upper:
            continue
        if stored_end(event, settings) < window.lower:
            continue
        if event.repeat is None:
            yield Entry(row, event, event.starts.date(), None)
        else:
            yield from _days(row, event, Window(window.lower - slack, window.upper), settings)


def _days(row: Row, event: Event, window: Window, settings: Settings) -> Iterator[Entry]:
    first = event.starts.date()
    for index, day in enumerate(_days_within(event, window, settings)):
        if day not in event.excluded:
            # Days are counted within the window; the first one has 1 if the series has begun before.
            yield Entry(row, event, day, index or int(day > first + timedelta(days=1)))


def _days_within(event: Event, window: Window, settings: Settings) -> Iterator[date]:
    for day in planned_days(event):
        starts, ends = (stored(moment, event, settings) for moment in on_day(event, day))
        if starts > window.upper:
            return
        if ends > window.lower:
            yield day
