"""Busy periods of users, from the rows of ``calendar.accessibility.get``.

Their times are in the portal's own date format, see
:mod:`~airflow_provider_b24cal.bitrix24.calendar.date_formats`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.calendar.date_formats import ABSENCE_FIELDS, EVENT_FIELDS, DateFormats
from airflow_provider_b24cal.bitrix24.calendar.fields import DAY, RowError, instant, number, text, truth
from airflow_provider_b24cal.bitrix24.serialization import HookResult

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

    from airflow_provider_b24cal.bitrix24.calendar.window import Window

_LAST_MINUTE: Final = time(23, 59)


@dataclass(frozen=True, slots=True)
class BusyPeriod(HookResult):
    """A busy period of a user.

    :param event_id: id of the event; for an absence entered by the personnel department, the id of the absence.
    :param start: when it begins, in UTC; whole days begin at midnight UTC of the first.
    :param end: when it ends, in UTC; whole days end at midnight UTC after the last.
    :param all_day: whether it consists of whole days.
    :param kind: ``busy``, ``quest`` (perhaps) or ``absent``.
    :param name: the event's name, or a label of the portal if the acting user may not see it.
    """

    event_id: int
    start: datetime
    end: datetime
    all_day: bool
    kind: str
    name: str | None


def read_busy(
    row: Mapping[str, Any], window: Window, dates: DateFormats | None = None, zone: tzinfo | None = None
) -> BusyPeriod:
    """Return the busy period of a row.

    :param window: the window that was requested.
    :param dates: the date formats of the reply; by default only the window limits them.
    :param zone: time zone of an hourly absence whose row does not define it; default that of the window.
    :raises RowError: a field that every row has is missing, or one is ambiguous.
    """
    absence = truth(row, "FROM_HR")
    fields = ABSENCE_FIELDS if absence else EVENT_FIELDS
    stamps = [_stamp(row, field) for field in (("FROM", "TO") if absence else ("DATE_FROM_TS_UTC", "DATE_TO_TS_UTC"))]
    first, last = (dates or DateFormats(window=window)).wall_clocks(row, fields, stamps[0])
    all_day = _whole_days(first, last) if absence else truth(row, "DT_SKIP_TIME")
    if all_day:
        start, end = _midnight(first), _midnight(last) + DAY
    elif absence:
        known = zone or window.start.tzinfo or UTC
        start, end = (_absence(*one, row, known) for one in ((first, "FROM", stamps[0]), (last, "TO", stamps[1])))
    else:
        start, end = instant(first, row, "FROM"), instant(last, row, "TO")
    return BusyPeriod(
        event_id=number(row, "ID") or 0,
        start=start,
        end=max(start, end),
        all_day=all_day,
        kind=text(row, "ACCESSIBILITY") or ("absent" if absence else "busy"),
        name=text(row, "NAME"),
    )


def _whole_days(first: datetime, last: datetime) -> bool:
    """Return whether an absence is of whole days: from midnight to midnight, or to the last minute of a day."""
    return first.time() == time() and (last.time() == time() or last.time() >= _LAST_MINUTE)


def _absence(wall: datetime, side: str, stamp: int | None, row: Mapping[str, Any], zone: tzinfo) -> datetime:
    """Return the instant of an hourly absence.

    Such rows name no zone. Wall clock and timestamp are in the zone of the portal's server; without a timestamp, the
    hours are in ``zone``.
    """
    try:
        return instant(wall, row, side)
    except RowError:
        pass
    if stamp is not None and abs(stamp - wall.timestamp()) < DAY.total_seconds():
        return datetime.fromtimestamp(0, UTC) + timedelta(seconds=stamp)
    return wall.replace(tzinfo=zone).astimezone(UTC)


def _stamp(row: Mapping[str, Any], field: str) -> int | None:
    try:
        return number(row, field)
    except RowError:
        return None


def _midnight(wall: datetime) -> datetime:
    return wall.replace(hour=0, minute=0, second=0)
