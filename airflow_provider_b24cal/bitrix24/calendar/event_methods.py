"""The portal's REST methods that read events, as :class:`~airflow_provider_b24cal.bitrix24.protocol.call.Call` s."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, Final, TypeVar

from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod, read_busy
from airflow_provider_b24cal.bitrix24.calendar.date_formats import formats_of
from airflow_provider_b24cal.bitrix24.calendar.events import (
    CalendarEvent,
    EventList,
    UnreadableRow,
    read_event,
    unreadable_row,
)
from airflow_provider_b24cal.bitrix24.calendar.fields import DAY, RowError, is_empty, needed_number, truth
from airflow_provider_b24cal.bitrix24.protocol.call import Call
from airflow_provider_b24cal.bitrix24.protocol.error_codes import ErrorSpec
from airflow_provider_b24cal.bitrix24.protocol.errors import NoSuchEventError, PortalError, UnexpectedReplyError
from airflow_provider_b24cal.bitrix24.protocol.replies import excerpt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import tzinfo

    from airflow_provider_b24cal.bitrix24.calendar.date_formats import DateFormats
    from airflow_provider_b24cal.bitrix24.calendar.window import Window

    Scrub = Callable[[str], str]

T = TypeVar("T")

EVENT_GET: Final = "calendar.event.get"
EVENT_GET_BY_ID: Final = "calendar.event.getbyid"
EVENT_GET_NEAREST: Final = "calendar.event.get.nearest"
ACCESSIBILITY_GET: Final = "calendar.accessibility.get"

_REFUSED: Final[Mapping[str, ErrorSpec]] = {
    # Arguments are checked before the call, so this is the only known refusal left.
    "": ErrorSpec(PortalError, "The calendar refused to show events; external (extranet) users may not read them.")
}


def get_events(calendar_type: str, owner_id: int, window: Window, sections: Sequence[int] = ()) -> Call[EventList]:
    """Return the call for the events of one calendar, each occurrence of a series by itself.

    The reply is one list, and has events outside the window too. Unreadable rows are listed beside the events, see
    :func:`check_readable`.
    https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get.html

    :param calendar_type: ``user``, ``group`` or ``company_calendar``.
    :param owner_id: user or group; 0 for the company. A calendar that does not exist is an empty list.
    :param window: both ends are always sent: without them a portal chooses, up to the year 2038.
    :param sections: only these sections; invitations are in a section of their own.
    """
    params = {"type": calendar_type, "ownerId": owner_id, **_span(window)}
    if sections:
        params["section"] = list(sections)

    def read(result: list[Any] | dict[str, Any], scrub: Scrub) -> EventList:
        rows = as_rows(result)
        # Newer portals write every time in fixed English too, and their lists are long.
        old = (row for row in rows if isinstance(row, dict) and is_empty(row.get("DATE_FROM_FORMATTED")))
        dates = formats_of(old, window)
        return _read_each(rows, lambda row: read_event(row, dates), dates, EVENT_GET, scrub)

    return Call(EVENT_GET, params, "events", read, own_codes=_REFUSED)


def get_event(event_id: int) -> Call[CalendarEvent]:
    """Return the call for one event; a series is one row, that of its first date.

    https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-by-id.html

    :param event_id: checked by :func:`~airflow_provider_b24cal.bitrix24.validation.check_event_id`.
    """

    def read(result: dict[str, Any] | list[Any] | None, scrub: Scrub) -> CalendarEvent:
        row = _existing(result, event_id)
        return read_row(lambda item: read_event(item, formats_of([item])), row, EVENT_GET_BY_ID, scrub, event_id)

    return Call(EVENT_GET_BY_ID, {"id": event_id}, "event", read, event_id=event_id, own_codes=_REFUSED)


def get_nearest(days: int, most: int, calendar_type: str | None = None) -> Call[list[Any]]:
    """Return the call for the next events, as rows: they lack the time zone that :func:`read_nearest` needs.

    https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-nearest.html

    :param days: 0 is the rest of today.
    :param most: at most 75, the maximum of a portal; 0 is none.
    :param calendar_type: everything of this type that the acting user may see, in place of their own
        calendar. A portal ignores an owner here.
    """
    params: dict[str, Any] = {"days": days, "maxEventsCount": most}
    if calendar_type is not None:
        # All three, or the portal returns the acting user's own; 0 is false also as text in a batch.
        params |= {"type": calendar_type, "ownerId": 0, "forCurrentUser": 0}
    return Call(EVENT_GET_NEAREST, params, "events", lambda result, _: as_rows(result), own_codes=_REFUSED)


def get_zone(event_id: int) -> Call[dict[str, Any]]:
    """Return the call for the time zone fields of an event."""

    def read(result: dict[str, Any] | list[Any] | None, _scrub: Scrub) -> dict[str, Any]:
        row = _existing(result, event_id)
        return {name: value for name, value in row.items() if name.startswith("TZ_")}

    return Call(EVENT_GET_BY_ID, {"id": event_id}, "event", read, event_id=event_id, own_codes=_REFUSED)


def read_nearest(rows: Sequence[Any], zones: Mapping[int, Mapping[str, Any]], scrub: Scrub) -> EventList:
    """Return the events of the rows of :func:`get_nearest`.

    Their other times are in the acting user's zone, so rows without fixed English are unreadable.

    :param zones: from :func:`get_zone`, by event id.
    """

    def read(row: Mapping[str, Any]) -> CalendarEvent:
        return read_event(row if _is_all_day(row) else {**row, **zones[needed_number(row, "ID")]})

    return _read_each(rows, read, None, EVENT_GET_NEAREST, scrub)


def timed_ids(rows: Sequence[Any]) -> list[int]:
    """Return the ids of rows whose times need a zone, each once; rows without a readable id are left out."""
    found = (unreadable_row(row, "").event_id for row in rows if isinstance(row, dict) and not _is_all_day(row))
    return list(dict.fromkeys(event_id for event_id in found if event_id is not None))


def _is_all_day(row: Mapping[str, Any]) -> bool:
    return truth(row, "DT_SKIP_TIME")


def get_busy(users: Sequence[int], window: Window, zone: tzinfo | None = None) -> Call[dict[int, list[BusyPeriod]]]:
    """Return the call for the busy periods of users. The portal reads whole days in its server's zone.

    https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-accessibility-get.html

    :param users: checked ids, at least one.
    :param window: at most three weeks, since it decides between two readings of a date.
    :param zone: time zone of hourly absences without one; default that of the window.
    """

    def read(result: dict[str, Any] | list[Any], scrub: Scrub) -> dict[int, list[BusyPeriod]]:
        lists = result if isinstance(result, dict) else {}
        missing = [user for user in users if str(user) not in lists]
        if missing:
            # A user missing in the reply is unknown to the portal, not free.
            raise UnexpectedReplyError(
                f"Expected a list for each user; got none for {str(missing)[1:-1][:80]}.", method=ACCESSIBILITY_GET
            )
        rows = {user: as_rows(lists[str(user)]) for user in users}
        dates = formats_of(chain.from_iterable(rows.values()), window)

        def read_period(row: Mapping[str, Any]) -> BusyPeriod:
            return read_busy(row, window, dates, zone)

        return {
            user: [read_row(read_period, row, ACCESSIBILITY_GET, scrub) for row in some] for user, some in rows.items()
        }

    params = {"users": list(users), **_span(window)}
    return Call(ACCESSIBILITY_GET, params, "busy", read, own_codes=_REFUSED)


def _existing(result: dict[str, Any] | list[Any] | None, event_id: int) -> dict[str, Any]:
    if not isinstance(result, dict) or not result:
        raise NoSuchEventError(
            "The portal has no such event: the id is unknown or deleted, or the acting user may not see it.",
            method=EVENT_GET_BY_ID,
            event_id=event_id,
        )
    return result


def as_rows(rows: list[Any] | dict[str, Any]) -> list[Any]:
    """Return the rows of a list, also where PHP kept its keys."""
    return rows if isinstance(rows, list) else list(rows.values())


def _span(window: Window) -> dict[str, Any]:
    # Portals find nothing between two equal days.
    bounds = (window.start, max(window.end, window.start + DAY))
    return dict(zip(("from", "to"), (bound.isoformat(timespec="seconds") for bound in bounds), strict=True))


def check_readable(lists: Sequence[EventList], method: str = EVENT_GET) -> None:
    """Check that not all rows of some lists are unreadable, which would be an error of the reader.

    :raises UnexpectedReplyError: there are rows, and none can be read.
    """
    unreadable = [row for one in lists for row in one.unreadable]
    if unreadable and not any(one.events for one in lists):
        raise UnexpectedReplyError(unreadable[0].reason, method=method)


def _read_each(
    rows: Iterable[Any],
    read: Callable[[Mapping[str, Any]], CalendarEvent],
    dates: DateFormats | None,
    method: str,
    scrub: Scrub,
) -> EventList:
    """Return the events of rows, and the rows that cannot be read."""
    events: list[CalendarEvent] = []
    unreadable: list[UnreadableRow] = []
    for row in rows:
        if not isinstance(row, dict):
            reason = f"Expected a list of events; got list with {type(row).__name__} {excerpt(row, scrub)}."
            unreadable.append(UnreadableRow(None, None, None, reason))
            continue
        try:
            events.append(read_row(read, row, method, scrub))
        except UnexpectedReplyError as problem:
            unreadable.append(unreadable_row(row, problem.message, dates))
    return EventList(tuple(events), tuple(unreadable))


def read_row(
    read: Callable[[Mapping[str, Any]], T],
    row: Mapping[str, Any],
    method: str,
    scrub: Scrub,
    event_id: int | None = None,
) -> T:
    """Return what a reader makes of a row, with its name and place scrubbed.

    :raises UnexpectedReplyError: a field cannot be read.
    """
    # Both get into logs and XCom, and people paste webhook URLs into them.
    written = {field: scrub(row[field]) for field in ("NAME", "LOCATION") if isinstance(row.get(field), str)}
    try:
        return read({**row, **written})
    except RowError as problem:
        shown = f"{type(problem.value).__name__} {excerpt(problem.value, scrub)}"
        refusal = UnexpectedReplyError(
            f"Expected {problem.expected} as {problem.field} of a row; got {shown}.", method=method, event_id=event_id
        )
    # Outside the except block: an error raised there would keep the row as context.
    raise refusal
