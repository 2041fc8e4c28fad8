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
    return (day for _, day in numbered_days(event))


def numbered_days(event: Event) -> Iterator[tuple[int, date]]:
    """Yield the days of an event with their numbers; excluded days are left out but have had their number."""
    first = event.starts.date()
    planned = [first] if event.repeat is None else _planned(event.repeat, first)
    return ((number, day) for number, day in enumerate(planned) if day not in event.excluded)


def last_day(event: Event) -> date:
    """Return the last day of an event; that of an endless series is in 2038."""
    first = event.starts.date()
    if event.repeat is None:
        return first
    if event.repeat.count is None:
        return event.repeat.until or LAST_DAY
    return max(_planned(event.repeat, first), default=first)


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
