"""Calendar events, read from the rows of a portal's replies.

The only reliable time of an event is ``DATE_FROM_FORMATTED``, a wall clock in fixed English, together with ``TZ_FROM``.
Older portals do not have it; there ``DATE_FROM`` is read, which has the format of the portal's culture.
``DATE_FROM_TS_UTC`` can be hours off, and of a series it is the first start.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from airflow_provider_b24cal.bitrix24.calendar import details
from airflow_provider_b24cal.bitrix24.calendar.date_formats import EVENT_FIELDS, DateFormats
from airflow_provider_b24cal.bitrix24.calendar.fields import (
    DAY,
    TYPE_LENGTH,
    YEARS,
    ZONE_LENGTH,
    RowError,
    instant,
    is_empty,
    needed_number,
    number,
    positive_number,
    text,
    truth,
)
from airflow_provider_b24cal.bitrix24.calendar.status import STATUSES, MeetingStatus
from airflow_provider_b24cal.bitrix24.serialization import HookResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    :param name: a label of the portal in place of the name if the acting user may not see it.
    :param start: when it begins, in UTC; an all-day event begins at midnight UTC of its first day.
    :param end: when it ends, in UTC; an all-day event ends at midnight UTC after its last day.
    :param zone: name of its time zone; ``None`` for all-day events.
    :param calendar_type: ``user``, ``group`` or ``company_calendar``.
    :param owner_id: user or group that owns the calendar; 0 for the company's.
    :param host_id: the organiser; ``None`` if the row names none.
    :param status: answer of the row's owner, not of the acting user; ``None`` for an event that is not a meeting.
    :param attendees: everybody's answers; ``None`` if the portal does not show them. Empty for an event that is not a
        meeting.
    :param recurrence_id: for an edited occurrence, the series it was split from.
    :param location: where it takes place; ``calendar_`` and two numbers for a booked room.
    :param recurrence_rule: of a series, its rule of iCalendar, such as ``FREQ=DAILY;INTERVAL=1``; ``None`` also
        if the portal's date of its end can be read in several ways.
    :param original_start: for an edited occurrence, the start that it had in its series, in UTC; ``None`` also if the
        portal's date can be read in several ways.
    :param created: when the row was created, ISO text without a zone: the portal names none. ``None`` if the portal's
        date can be read in several ways.
    :param changed: the same for its last change. An answer is no change.
    :param crm_links: the CRM items that it is linked to, such as ``D_12`` for a deal; ``None`` if the portal does not
        show them.
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
    location: str | None = None
    recurrence_rule: str | None = None
    original_start: datetime | None = None
    created: str | None = None
    changed: str | None = None
    crm_links: tuple[str, ...] | None = None

    @property
    def key(self) -> tuple[int, datetime]:
        """The key of an occurrence: id and start."""
        return self.id, self.start

    @property
    def guests(self) -> tuple[Attendee, ...] | None:
        """Attendees without the organiser; ``None`` if the portal does not show them.

        In meetings of groups and of the company the organiser is listed as an attendee who has accepted.
        """
        if self.attendees is None:
            return None
        return tuple(
            one for one in self.attendees if one.status is not MeetingStatus.ORGANISER and one.user_id != self.host_id
        )


@dataclass(frozen=True, slots=True)
class Span:
    """When an event takes place; the fields are those of :class:`CalendarEvent`."""

    start: datetime
    end: datetime
    all_day: bool


@dataclass(frozen=True, slots=True)
class UnreadableRow:
    """A row of a reply with a field that cannot be read.

    :param event_id: ``None`` if it is unreadable too.
    :param parent_id: id of the meeting; ``None`` if it or ``event_id`` is unreadable.
    :param span: when the event takes place; ``None`` if that is unreadable too.
    :param reason: the field, what is expected and what came; without secrets.
    """

    event_id: int | None
    parent_id: int | None
    span: Span | None
    reason: str


@dataclass(frozen=True, slots=True)
class EventList:
    """The events of a reply, and the rows that cannot be read."""

    events: tuple[CalendarEvent, ...] = ()
    unreadable: tuple[UnreadableRow, ...] = ()

    def __iter__(self) -> Iterator[CalendarEvent]:
        """Iterate over the events."""
        return iter(self.events)


def read_event(row: Mapping[str, Any], dates: DateFormats | None = None) -> CalendarEvent:
    """Return the event that a portal's row describes.

    :param dates: how to read a row without ``DATE_FROM_FORMATTED``; ``None`` refuses such a row.
    :raises RowError: a field that every row has is missing, or one cannot be read.
    """
    span = _span(row, dates)
    event_id, parent_id = _ids(row)
    is_meeting = truth(row, "IS_MEETING")
    return CalendarEvent(
        id=event_id,
        parent_id=parent_id,
        name=text(row, "NAME") or "",
        start=span.start,
        end=span.end,
        zone=None if span.all_day else text(row, "TZ_FROM", ZONE_LENGTH),
        all_day=span.all_day,
        calendar_type=text(row, "CAL_TYPE", TYPE_LENGTH) or "user",
        owner_id=positive_number(row, "OWNER_ID") or 0,
        host_id=positive_number(row, "MEETING_HOST"),
        is_meeting=is_meeting,
        is_recurring=_is_recurring(row),
        # Portals fill in a letter and an attendee, the owner or nobody, also for other events than meetings.
        status=_status(row, "MEETING_STATUS") if is_meeting and not is_empty(row.get("MEETING_STATUS")) else None,
        attendees=_attendees(row.get("ATTENDEE_LIST")) if is_meeting else (),
        recurrence_id=positive_number(row, "RECURRENCE_ID"),
        location=details.location(row),
        recurrence_rule=details.recurrence_rule(row, lambda value: _only_reading(row, value, dates)),
        original_start=_original_start(row, span, dates),
        created=_stamp(row, "DATE_CREATE", dates),
        changed=_stamp(row, "TIMESTAMP_X", dates),
        crm_links=details.crm_links(row),
    )


def unreadable_row(row: Mapping[str, Any], reason: str, dates: DateFormats | None = None) -> UnreadableRow:
    """Return the readable parts of a row that :func:`read_event` has refused.

    :param reason: its error.
    """
    event_id = parent_id = span = None
    with suppress(RowError):
        event_id = needed_number(row, "ID")
        _, parent_id = _ids(row)
    with suppress(RowError):
        span = _span(row, dates)
    return UnreadableRow(event_id, parent_id, span, reason)


def _ids(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return the ids of a row and of its meeting."""
    event_id = needed_number(row, "ID")
    return event_id, positive_number(row, "PARENT_ID") or event_id


def _original_start(row: Mapping[str, Any], span: Span, dates: DateFormats | None) -> datetime | None:
    wall = _only_reading(row, row.get("ORIGINAL_DATE_FROM"), dates)
    if wall is None:
        return None
    return wall.replace(hour=0, minute=0, second=0) if span.all_day else instant(wall, row, "FROM")


def _stamp(row: Mapping[str, Any], field: str, dates: DateFormats | None) -> str | None:
    wall = _only_reading(row, row.get(field), dates)
    return None if wall is None else wall.replace(tzinfo=None).isoformat()


def _only_reading(row: Mapping[str, Any], value: object, dates: DateFormats | None) -> datetime | None:
    """Return a date of a row in the format of the portal's culture, if it can be read in one way only."""
    return (dates or DateFormats()).only_reading(value, row.get("DATE_FROM"), lambda: _known_start(row))


def _known_start(row: Mapping[str, Any]) -> datetime | None:
    with suppress(RowError):
        return _formatted(row, "DATE_FROM_FORMATTED")
    return None


def _is_recurring(row: Mapping[str, Any]) -> bool:
    return not is_empty(row.get("RRULE"))


def _attendees(listed: Any) -> tuple[Attendee, ...] | None:
    if not isinstance(listed, list | dict):
        if is_empty(listed):
            return None
        raise RowError("ATTENDEE_LIST", "a list", listed)
    # An object when PHP has filtered a list and kept its keys.
    rows = listed if isinstance(listed, list) else list(listed.values())
    for row in rows:
        if not isinstance(row, dict):
            raise RowError("ATTENDEE_LIST", "a list of objects", listed)
    given = [(row.get("id"), row.get("status"), row.get("entryId")) for row in rows]
    try:
        found = [_attendee(*values) for values in given]
    except TypeError:  # a list, which no cache can hold
        found = [_attendee.__wrapped__(*values) for values in given]
    return tuple(one for one in found if one is not None)


@lru_cache(maxsize=4096, typed=True)
def _attendee(user_id: Any, status: Any, entry_id: Any) -> Attendee | None:
    """Return an attendee; the dates of a series have the same ones."""
    row = {"id": user_id, "status": status, "entryId": entry_id}
    found = positive_number(row, "id")
    return None if found is None else Attendee(found, _status(row, "status"), positive_number(row, "entryId"))


def _status(row: Mapping[str, Any], field: str) -> MeetingStatus:
    letter = row.get(field)
    status = STATUSES.get(letter) if isinstance(letter, str) else None
    if status is None:
        raise RowError(field, "one capital letter", letter)
    return status


def _span(row: Mapping[str, Any], dates: DateFormats | None) -> Span:
    all_day = truth(row, "DT_SKIP_TIME")
    if dates is not None and is_empty(row.get("DATE_FROM_FORMATTED")) and not is_empty(row.get("DATE_FROM")):
        # The timestamp of a series is that of its first date, so it fits only the reply about one event.
        listed = dates.window is not None
        timestamp = None if listed and _is_recurring(row) else number(row, "DATE_FROM_TS_UTC")
        walls = dates.wall_clocks(row, EVENT_FIELDS, timestamp)
    else:
        walls = _formatted(row, "DATE_FROM_FORMATTED"), _formatted(row, "DATE_TO_FORMATTED")
    if all_day:
        start, end = (wall.replace(hour=0, minute=0, second=0) for wall in walls)
        end += DAY
    else:
        start, end = (instant(wall, row, side) for wall, side in zip(walls, ("FROM", "TO"), strict=True))
    return Span(start, max(start, end), all_day)


def _formatted(row: Mapping[str, Any], field: str) -> datetime:
    """Return the wall clock of a field in fixed English, with UTC as a placeholder for its zone."""
    given = row.get(field)
    try:
        found = _wall_clock(given) if isinstance(given, str) else None
    except ValueError:
        raise RowError(field, "a time of the calendar", given) from None
    if found is None:
        raise RowError(field, "a time such as Mon Feb 10 2025 00:45:00", given)
    return found


@lru_cache(maxsize=4096)
def _wall_clock(given: str) -> datetime | None:
    """Return a wall clock in fixed English, or ``None`` if the text has another form.

    :raises ValueError: there is no such time.
    """
    found = _WALL_CLOCK.fullmatch(given)
    if found is None or int(found[3]) not in YEARS:
        return None
    hour, minute, second = (int(part or 0) for part in found.group(4, 5, 6))
    return datetime(int(found[3]), _MONTHS.index(found[1]) + 1, int(found[2]), hour, minute, second, tzinfo=UTC)
