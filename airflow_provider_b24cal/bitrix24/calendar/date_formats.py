"""Dates as portals write them: in the culture of the portal, which no reply names.

A date such as ``03/04/2026`` has two readings, and every format is tried. The right one is told by the other rows of
the reply, which are written in the same format, then by the window that was asked for, and last by the row's
timestamp, which can be hours off but not a month.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from airflow_provider_b24cal.bitrix24.calendar.fields import DAY, YEARS, RowError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

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
    """What is known of the dates in the rows of a reply.

    :param formats: the formats in question.
    :param asked: the window that was asked for; ``None`` for a reply about one event.
    """

    formats: tuple[re.Pattern[str], ...] = _FORMATS
    asked: Window | None = None

    def wall_clocks(
        self, row: Mapping[str, Any], fields: tuple[str, str], timestamp: int | None
    ) -> tuple[datetime, datetime]:
        """Return start and end of a row as it writes them, in the guise of UTC.

        :param timestamp: the row's own, of its start; ``None`` if it has none that can be relied upon.
        :raises RowError: there is no reading, or more than one that is possible.
        """
        spans = {span for _, span in _readings(self.formats, row, fields)}
        if len(spans) > 1 and self.asked is not None:
            first, last = self.asked.start - 2 * DAY, self.asked.end + 2 * DAY
            spans = {span for span in spans if span[0] < last and span[1] + DAY > first}
        if len(spans) > 1 and timestamp is not None:
            # A day for the timestamp's own error, another for the zone of the wall clock.
            spans = {span for span in spans if abs(span[0].timestamp() - timestamp) <= 2 * DAY.total_seconds()}
        if len(spans) != 1:
            raise RowError(fields[0], "a time that can be read in one way", row.get(fields[0]))
        (span,) = spans
        return span


def formats_of(rows: Iterable[object], asked: Window | None = None) -> DateFormats:
    """Return the formats in which every row of a reply can be read; all formats if there is none.

    Rows without dates, and those that no format can read, say nothing of the others.
    """
    formats = set(_FORMATS)
    for row in rows:
        for fields in (EVENT_FIELDS, ABSENCE_FIELDS):
            if isinstance(row, dict) and (fitting := {one for one, _ in _readings(_FORMATS, row, fields)}):
                formats &= fitting
    return DateFormats(tuple(one for one in _FORMATS if one in formats) or _FORMATS, asked)


def _readings(
    formats: Iterable[re.Pattern[str]], row: Mapping[str, Any], fields: tuple[str, str]
) -> Iterator[tuple[re.Pattern[str], tuple[datetime, datetime]]]:
    """Yield each format that fits start and end, and what they are in it."""
    for one in formats:
        start, end = (_wall_clock(one, row.get(field)) for field in fields)
        if start is not None and end is not None and start <= end:
            yield one, (start, end)


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
