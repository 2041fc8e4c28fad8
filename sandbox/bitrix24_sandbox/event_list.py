"""Which rows and which days of series a list holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from bitrix24_sandbox.event_times import instants, on_day, stored, stored_end
from bitrix24_sandbox.event_view import event_record
from bitrix24_sandbox.recurrence import numbered_days

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bitrix24_sandbox.models import CalendarStore, Event, Person, Row
    from bitrix24_sandbox.settings import Settings

_DAY_S = 86_400
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
    :param number: of the day within the series; ``None`` for what is no series.
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
    return Window(lower, (end or _END_OF_TIME).timestamp() + _DAY_S - 1)


def days_window(start: datetime, end: datetime, server_zone: str) -> Window:
    """Return the window from a moment to the end of a day of the server's zone."""
    last = datetime.combine(end.astimezone(ZoneInfo(server_zone)).date(), datetime.min.time(), ZoneInfo(server_zone))
    return Window(start.timestamp(), (last + timedelta(days=1)).timestamp() - 1)


def overlapping(book: CalendarStore, rows: Iterable[Row], window: Window, settings: Settings) -> Iterator[Entry]:
    """Yield what overlaps a window, going by the times as they are stored.

    A series passes as a whole, and its days by their start, with a day to spare before the window.
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
            yield from _days(row, event, window, settings)


def _days(row: Row, event: Event, window: Window, settings: Settings) -> Iterator[Entry]:
    for number, day in numbered_days(event):
        begins = stored(on_day(event, day)[0], event, settings)
        if begins > window.upper:
            return
        if begins >= window.lower - _DAY_S:
            yield Entry(row, event, day, number)


def really_overlapping(book: CalendarStore, rows: Iterable[Row], window: Window, settings: Settings) -> list[Entry]:
    """Return what overlaps a window, going by true times, in order of the start."""
    # What is stored is off by no more than two zones can be apart.
    wide = Window(window.lower - 2 * _DAY_S, window.upper + 2 * _DAY_S)
    found = []
    for entry in overlapping(book, rows, wide, settings):
        starts, ends = instants(entry.event, entry.day, settings)
        if starts.timestamp() <= window.upper and ends.timestamp() > window.lower:
            found.append((starts, entry.row.id, entry))
    return [entry for _, _, entry in sorted(found, key=lambda item: item[:2])]


def list_record(book: CalendarStore, entry: Entry, viewer: Person, settings: Settings) -> dict[str, object] | None:
    """Return an entry as lists print it, or ``None`` when it is invisible to the viewer."""
    record = event_record(book, entry.row, viewer, settings, entry.day)
    if record is None:
        return None
    number: dict[str, object] = {} if entry.number is None else {"RINDEX": entry.number}
    return {**record, "ACTIVE": "Y", "DT_FROM": None, "DT_TO": None, "TEXT_COLOR": "", **number}
