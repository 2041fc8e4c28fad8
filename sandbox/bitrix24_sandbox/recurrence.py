"""The days on which a series takes place."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import count, islice
from typing import TYPE_CHECKING

from bitrix24_sandbox.models import WEEKDAYS, Event, Repeat

if TYPE_CHECKING:
    from collections.abc import Iterator

# A portal expands an endless rule to the start of 2038, where 32-bit clocks end.
LAST_DAY = date(2038, 1, 1)


def days(event: Event) -> Iterator[date]:
    """Yield the days of an event in order, excluded ones left out."""
    return (day for day in planned_days(event) if day not in event.excluded)


def planned_days(event: Event) -> Iterator[date]:
    """Yield the days of an event in order, excluded ones too."""
    first = event.starts.date()
    return iter([first]) if event.repeat is None else _planned(event.repeat, first)


def last_day(event: Event) -> date:
    """Return the last day of an event; that of an endless series is in 2038."""
    if event.repeat is None or event.repeat.count is None:
        return stored_last_day(event)
    return max(planned_days(event), default=event.starts.date())


def stored_last_day(event: Event) -> date:
    """Return the last day as a portal stores it: a series that ends after a number of days is stored as endless."""
    if event.repeat is None:
        return event.starts.date()
    return event.repeat.until or LAST_DAY


def next_day(event: Event, today: date) -> date:
    """Return the next day of an event from today on, or its last one when all are over."""
    day = event.starts.date()
    for day in days(event):
        if day >= today:
            break
    return day


def _planned(repeat: Repeat, first: date) -> Iterator[date]:
    end = min(repeat.until or LAST_DAY, LAST_DAY)
    candidates = (day for day in _CANDIDATES[repeat.frequency](repeat, first) if day is not None)
    for day in islice(candidates, repeat.count):
        if day > end:
            return
        yield day


def _daily(repeat: Repeat, first: date) -> Iterator[date | None]:
    return (first + timedelta(days=step * repeat.interval) for step in count())


def _weekly(repeat: Repeat, first: date) -> Iterator[date | None]:
    # Without a weekday Monday is meant.
    weekdays = sorted(WEEKDAYS.index(name) for name in repeat.by_day) or [0]
    monday = first - timedelta(days=first.weekday())
    for step in count():
        for weekday in weekdays:
            day = monday + timedelta(weeks=step * repeat.interval, days=weekday)
            yield day if day >= first else None


def _monthly(repeat: Repeat, first: date) -> Iterator[date | None]:
    for step in count():
        months = first.month - 1 + step * repeat.interval
        yield _same_day(first, first.year + months // 12, months % 12 + 1)


def _yearly(repeat: Repeat, first: date) -> Iterator[date | None]:
    return (_same_day(first, first.year + step * repeat.interval, first.month) for step in count())


def _same_day(first: date, year: int, month: int) -> date | None:
    try:
        return first.replace(year=year, month=month)
    except ValueError:
        return None


_CANDIDATES = {"DAILY": _daily, "WEEKLY": _weekly, "MONTHLY": _monthly, "YEARLY": _yearly}
