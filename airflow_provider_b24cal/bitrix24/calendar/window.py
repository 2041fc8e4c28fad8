"""Windows of time, split into parts that a portal can return."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.validation import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, Span

MAX_WINDOW: Final = timedelta(days=1461)
"""The longest window: four years, so that a wrong year does not let a portal expand series up to 2038."""

MARGIN: Final = timedelta(days=3)
"""How much more than the window is requested, on both sides.

A portal compares with times that are off by up to the UTC offset of its server, and ends an all-day event at the
beginning of its last day.
"""

_YEARS: Final = range(1970, 2101)
_FIRST: Final = datetime(_YEARS.start, 1, 1, tzinfo=UTC)
_LAST: Final = datetime(_YEARS.stop - 1, 12, 31, tzinfo=UTC)
_EXPECTED: Final = (
    "a datetime with a time zone, or its ISO text such as 2026-09-16T10:00:00+02:00, "
    f"from {_YEARS.start} to {_YEARS.stop - 1}"
)


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time: from ``start`` up to, and without, ``end``.

    :param start: an aware datetime; days of all-day events are those of its time zone.
    :param end: an aware datetime after ``start``, at most four years later.
    :raises InvalidArgumentError: a bound is not aware or out of range, or the end is not after the start.
    """

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        for name, bound in (("start", self.start), ("end", self.end)):
            object.__setattr__(self, name, _check_aware(bound, f"window {name}"))
        length = self.end.astimezone(UTC) - self.start.astimezone(UTC)
        if not timedelta() < length <= MAX_WINDOW:
            expected = f"a time after the start {self.start.isoformat()}, at most {MAX_WINDOW.days} days later"
            raise invalid("window end", self.end.isoformat(), expected)

    def chunks(self, longest: timedelta) -> Iterator[Window]:
        """Yield the windows to request: this window with its margins, in consecutive parts.

        :param longest: maximum length of a part.
        """
        start = max(self.start.astimezone(UTC) - MARGIN, _FIRST)
        last = min(self.end.astimezone(UTC) + MARGIN, _LAST)
        while start < last:
            end = min(last, start + longest)
            yield Window(start, end)
            start = end

    def touches(self, timed: CalendarEvent | Span | BusyPeriod) -> bool:
        """Return whether an event overlaps the window; one without duration takes place at its start."""
        start, end = timed.start, timed.end
        if timed.all_day:
            # Days have no time zone of their own.
            start, end = start.replace(tzinfo=self.start.tzinfo), end.replace(tzinfo=self.start.tzinfo)
        first, last, lower = start.astimezone(UTC), end.astimezone(UTC), self.start.astimezone(UTC)
        return first < self.end.astimezone(UTC) and (last > lower or first >= lower)


def check_moment(value: object, argument: str) -> datetime:
    """Return an aware datetime.

    :param value: an aware datetime or its ISO text.
    :param argument: the argument's name, for the error.
    :raises InvalidArgumentError: the value is anything else.
    """
    if isinstance(value, str):
        try:
            return _check_aware(datetime.fromisoformat(value), argument)
        except ValueError:
            pass
    return _check_aware(value, argument)


def _check_aware(value: object, argument: str) -> datetime:
    if isinstance(value, datetime) and value.utcoffset() is not None and value.year in _YEARS:
        # Airflow's own times are pendulum's, whose sums lose a time zone of the standard library.
        return datetime.combine(value.date(), value.time(), value.tzinfo).replace(fold=value.fold)
    raise invalid(argument, value.isoformat() if isinstance(value, datetime) else value, _EXPECTED)
