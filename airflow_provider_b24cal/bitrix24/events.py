"""Calendar events as values, from the rows in which a portal writes them.

The one reliable instant of an event is ``DATE_FROM_FORMATTED``, a wall clock in fixed English, together with
``TZ_FROM``. ``DATE_FROM`` is written in the portal's culture, and ``DATE_FROM_TS_UTC`` can be hours off and is
the first start of a series.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.rows import (
    DAY,
    YEARS,
    RowError,
    instant,
    is_empty,
    needed_number,
    number,
    text,
    truth,
)
from airflow_provider_b24cal.bitrix24.serialization import HookResult
from airflow_provider_b24cal.bitrix24.status import MeetingStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_WALL_CLOCK: Final = re.compile(
    rf"[A-Z][a-z]{{2}} ({'|'.join(_MONTHS)}) ([0-9]{{1,2}}) ([0-9]{{4}})(?: ([0-9]{{1,2}}):([0-9]{{2}}):([0-9]{{2}}))?"
)


@dataclass(frozen=True, slots=True)
class Attendee(HookResult):
    """One participant's answer.

    :param row_id: id of the event in this participant's own calendar.
    """

    user_id: int
    status: MeetingStatus
    row_id: int | None = None


@dataclass(frozen=True, slots=True)
class CalendarEvent(HookResult):
    """One event, or one occurrence of a series.

    :param id: id of the row; differs per attendee, and is shared by all occurrences of a series.
    :param parent_id: id of the meeting, the same for all of its attendees.
    :param name: a label of the portal's in place of the name where the acting user may not see it.
    :param start: when it begins, in UTC; an all-day event begins at midnight UTC of its first day.
    :param end: when it ends, in UTC; an all-day event ends at midnight UTC after its last day.
    :param zone: name of the zone in which it was set; ``None`` for all-day events.
    :param calendar_type: ``user``, ``group`` or ``company_calendar``.
    :param owner_id: user or group whose calendar the row lies in; 0 for the company's.
    :param host_id: the organiser.
    :param status: answer of the row's owner, not of the acting user; ``None`` without a meeting.
    :param attendees: everybody's answers; ``None`` means that the portal does not show them, not nobody.
    :param recurrence_id: for an edited occurrence, the series it was split from.
    """

    id: int
    parent_id: int
    name: str
    start: datetime
    end: datetime
    zone: str | None
    all_day: bool
    calendar_type: str
    owner_id: int
    host_id: int | None
    is_meeting: bool
    is_recurring: bool
    status: MeetingStatus | None
    attendees: tuple[Attendee, ...] | None
    recurrence_id: int | None = None

    @property
    def key(self) -> tuple[int, datetime]:
        """What tells occurrences apart: id and start."""
        return self.id, self.start

    @property
    def guests(self) -> tuple[Attendee, ...] | None:
        """Attendees without the organiser, who has none to answer; ``None`` where the portal does not show them.

        In meetings of groups and of the company the organiser is listed like anybody else, as having accepted.
        """
        if self.attendees is None:
            return None
        return tuple(
            one for one in self.attendees if one.status is not MeetingStatus.ORGANISER and one.user_id != self.host_id
        )


def read_event(row: Mapping[str, Any]) -> CalendarEvent:
    """Return the event that a portal's row describes.

    :raises RowError: a field that every row has is missing, or one cannot be read.
    """
    all_day = truth(row, "DT_SKIP_TIME")
    start = _moment(row, "FROM", all_day=all_day)
    end = _moment(row, "TO", all_day=all_day) + (DAY if all_day else timedelta())
    event_id = needed_number(row, "ID")
    return CalendarEvent(
        id=event_id,
        parent_id=number(row, "PARENT_ID") or event_id,
        name=text(row, "NAME") or "",
        start=start,
        end=max(start, end),
        zone=None if all_day else text(row, "TZ_FROM"),
        all_day=all_day,
        calendar_type=text(row, "CAL_TYPE") or "user",
        owner_id=number(row, "OWNER_ID") or 0,
        host_id=number(row, "MEETING_HOST") or None,
        is_meeting=truth(row, "IS_MEETING"),
        is_recurring=not is_empty(row.get("RRULE")),
        status=None if is_empty(row.get("MEETING_STATUS")) else _status(row, "MEETING_STATUS"),
        attendees=_attendees(row.get("ATTENDEE_LIST")),
        recurrence_id=number(row, "RECURRENCE_ID") or None,
    )


def _attendees(listed: Any) -> tuple[Attendee, ...] | None:
    if not isinstance(listed, list | dict):
        if is_empty(listed):
            return None
        raise RowError("ATTENDEE_LIST", "a list", listed)
    # An object where PHP has filtered a list and kept its keys.
    rows = listed if isinstance(listed, list) else list(listed.values())
    for row in rows:
        if not isinstance(row, dict):
            raise RowError("ATTENDEE_LIST", "a list of objects", listed)
    return tuple(Attendee(needed_number(row, "id"), _status(row, "status"), number(row, "entryId")) for row in rows)


def _status(row: Mapping[str, Any], field: str) -> MeetingStatus:
    letter = row.get(field)
    try:
        # The class itself refuses whatever is no letter.
        return MeetingStatus(letter)  # type: ignore[arg-type]
    except ValueError:
        raise RowError(field, "one capital letter", letter) from None


def _moment(row: Mapping[str, Any], side: str, *, all_day: bool) -> datetime:
    field = f"DATE_{side}_FORMATTED"
    given = row.get(field)
    found = _WALL_CLOCK.fullmatch(given) if isinstance(given, str) else None
    if found is None or int(found[3]) not in YEARS:
        raise RowError(field, "a time such as Mon Feb 10 2025 00:45:00", given)
    hour, minute, second = (0 if all_day else int(part or 0) for part in found.group(4, 5, 6))
    try:
        day = datetime(int(found[3]), _MONTHS.index(found[1]) + 1, int(found[2]), tzinfo=UTC)
        wall = day.replace(hour=hour, minute=minute, second=second)
    except ValueError:
        raise RowError(field, "a time of the calendar", given) from None
    return wall if all_day else instant(wall, row, side)
