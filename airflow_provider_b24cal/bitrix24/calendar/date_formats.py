"""Dates in the format of the portal's culture, which no reply names.

A date such as ``03/04/2026`` is ambiguous, so every format is tried. The right one is found from the other rows of the
reply, which have the same format, then from the requested window, and last from the row's timestamp, which can be hours
off but not a month.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_b24cal.bitrix24.calendar.fields import DAY, YEARS, RowError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from airflow_provider_b24cal.bitrix24.calendar.window import Window

_DAYS: Final = (
    r"(?P<d>[0-9]{1,2})\.(?P<m>[0-9]{1,2})\.(?P<y>[0-9]{4})",
    r"(?P<y>[0-9]{4})[-/.](?P<m>[0-9]{1,2})[-/.](?P<d>[0-9]{1,2})",
    r"(?P<m>[0-9]{1,2})/(?P<d>[0-9]{1,2})/(?P<y>[0-9]{4})",
    r"(?P<d>[0-9]{1,2})[-/](?P<m>[0-9]{1,2})[-/](?P<y>[0-9]{4})",
)
_CLOCK: Final = r"(?: (?P<H>[0-9]{1,2}):(?P<M>[0-9]{2})(?::(?P<S>[0-9]{2}))?(?: ?(?P<half>[ap]m))?)?"
_FORMATS: Final = tuple(re.compile(day + _CLOCK, re.IGNORECASE) for day in _DAYS)

EVENT_FIELDS: Final = ("DATE_FROM", "DATE_TO")
ABSENCE_FIELDS: Final = ("DT_FROM", "DT_TO")


class DateFormats(NamedTuple):
    """The possible date formats of a reply.

    :param formats: the formats in which all its rows can be read.
    :param window: the window that was requested; ``None`` for a reply about one event.
    """

    formats: tuple[re.Pattern[str], ...] = _FORMATS
    window: Window | None = None

    def wall_clocks(
        self, row: Mapping[str, Any], fields: tuple[str, str], timestamp: int | None
    ) -> tuple[datetime, datetime]:
        """Return the wall clock of a row's start and end, with UTC as a placeholder for their zone.

        :param timestamp: the timestamp of the row's start; ``None`` if it has no reliable one.
        :raises RowError: no format fits, or several do.
        """
        spans = {span for _, span in _readings(self.formats, row, fields)}
        if len(spans) > 1 and self.window is not None:
            first, last = self.window.start - 2 * DAY, self.window.end + 2 * DAY
            spans = {span for span in spans if span[0] < last and span[1] + DAY > first}
        if len(spans) > 1 and timestamp is not None:
            # One day for the error of the timestamp, another for the zone of the wall clock.
            spans = {span for span in spans if abs(span[0].timestamp() - timestamp) <= 2 * DAY.total_seconds()}
        if len(spans) != 1:
            raise RowError(fields[0], "an unambiguous time", row.get(fields[0]))
        (span,) = spans
        return span

    def only_reading(self, value: object, start: object, known_start: Callable[[], datetime | None]) -> datetime | None:
        """Return a date with UTC as a placeholder for its zone, or ``None`` if no format fits or several do.

        :param start: the start of the row in the same format.
        :param known_start: returns that start as the row has it elsewhere; called if the format is not clear yet.
        """
        readings = _all_readings(value) if isinstance(value, str) else {}
        if not readings:
            return None
        found = {one: wall for one, wall in readings.items() if one in self.formats}
        if len(set(found.values())) > 1 and isinstance(start, str) and (known := known_start()) is not None:
            starts = _all_readings(start)
            found = {one: wall for one, wall in found.items() if starts.get(one) == known}
        walls = set(found.values())
        return walls.pop() if len(walls) == 1 else None


def formats_of(rows: Iterable[object], window: Window | None = None) -> DateFormats:
    """Return the formats in which every row of a reply can be read; all formats if there is none.

    Rows without dates, and those that no format fits, are ignored.
    """
    formats = set(_FORMATS)
    for row in rows:
        for fields in (EVENT_FIELDS, ABSENCE_FIELDS):
            if isinstance(row, dict) and (fitting := {one for one, _ in _readings(_FORMATS, row, fields)}):
                formats &= fitting
    return DateFormats(tuple(one for one in _FORMATS if one in formats) or _FORMATS, window)


def _readings(
    formats: Iterable[re.Pattern[str]], row: Mapping[str, Any], fields: tuple[str, str]
) -> Iterator[tuple[re.Pattern[str], tuple[datetime, datetime]]]:
    """Yield each format that fits start and end, with the times it gives."""
    for one in formats:
        start, end = (_wall_clock(one, row.get(field)) for field in fields)
        if start is not None and end is not None and start <= end:
            yield one, (start, end)


@lru_cache(maxsize=1024)
def _all_readings(value: str) -> Mapping[re.Pattern[str], datetime]:
    """Return what each format that fits makes of a date; the occurrences of a series have the same ones."""
    readings = ((one, _wall_clock(one, value)) for one in _FORMATS)
    return {one: wall for one, wall in readings if wall is not None}


def _wall_clock(one: re.Pattern[str], value: object) -> datetime | None:
    found = one.fullmatch(value) if isinstance(value, str) else None
    if found is None or int(found["y"]) not in YEARS:
        return None
    hour, half = int(found["H"] or 0), (found["half"] or "").lower()
    if half:
        hour = hour % 12 + (12 if half == "pm" else 0)
    try:
        day = datetime(int(found["y"]), int(found["m"]), int(found["d"]), tzinfo=UTC)
        return day.replace(hour=hour, minute=int(found["M"] or 0), second=int(found["S"] or 0))
    except ValueError:
        return None
