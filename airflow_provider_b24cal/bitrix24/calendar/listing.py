"""Reading calendars: checked arguments, few requests, and filtering of the replies."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from airflow_provider_b24cal.bitrix24.calendar.event_methods import (
    EVENT_GET_NEAREST,
    check_readable,
    get_busy,
    get_events,
    get_nearest,
    get_zone,
    read_nearest,
    timed_ids,
)
from airflow_provider_b24cal.bitrix24.calendar.events import EventList
from airflow_provider_b24cal.bitrix24.calendar.methods import profile
from airflow_provider_b24cal.bitrix24.calendar.window import MAX_WINDOW, Window
from airflow_provider_b24cal.bitrix24.protocol.exchange import run_call, run_calls
from airflow_provider_b24cal.bitrix24.validation import (
    check_calendar_type,
    check_event_id,
    check_flag,
    check_letters,
    check_number,
    check_sections,
    invalid,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, UnreadableRow
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
    from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, Steps

MAX_CALL_SPAN: Final = timedelta(days=31)
"""The longest part of a window in one call: a portal returns it as one list, without pages."""
MAX_BUSY_SPAN: Final = timedelta(days=14)
"""Shorter than a month, the distance between two readings of a date, day or month first."""
NEAREST_DAYS: Final = 60
NEAREST_MOST: Final = 75
"""The maximum number of occurrences that a portal returns."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The events to list; made by :func:`check_listing`.

    :param owner_id: ``None`` for the acting user.
    :param statuses: answers of the rows' owners; ``None`` for all events, also those without an answer.
    :param sections: ids of the calendar's sections; empty for all of them.
    """

    window: Window
    calendar_type: str
    owner_id: int | None
    only_meetings: bool
    statuses: frozenset[MeetingStatus] | None
    sections: tuple[int, ...] = ()

    def wants(self, event: CalendarEvent) -> bool:
        """Return whether an event is to be listed."""
        return (
            self.window.touches(event)
            and (event.is_meeting or not self.only_meetings)
            and (self.statuses is None or event.status in self.statuses)
        )

    def may_want(self, row: UnreadableRow) -> bool:
        """Return whether an unreadable row may be an event to list: most of its fields are unknown."""
        return row.span is None or self.window.touches(row.span)


def check_window(value: object) -> Window:
    """Return a window.

    :raises InvalidArgumentError: the value is anything else.
    """
    if not isinstance(value, Window):
        raise invalid("window", value, "a Window")
    return value


def check_listing(
    window: object,
    calendar_type: object = "user",
    owner_id: object = None,
    only_meetings: object = False,
    statuses: object = None,
    sections: object = None,
) -> Listing:
    """Return the events to list.

    :raises InvalidArgumentError: an argument is invalid.
    """
    kind = check_calendar_type(calendar_type)
    return Listing(
        window=check_window(window),
        calendar_type=kind,
        owner_id=check_owner(kind, owner_id),
        only_meetings=check_flag(only_meetings, "only_meetings"),
        statuses=None if statuses is None else check_letters(statuses),
        sections=check_sections(sections),
    )


def check_owner(kind: str, owner_id: object) -> int | None:
    """Return the owner of a calendar; ``None`` for the acting user.

    :param kind: the type of the calendar.
    :raises InvalidArgumentError: a calendar of this type has no such owner.
    """
    if kind in {"company_calendar", "location"}:
        if owner_id is None or (owner_id == 0 and not isinstance(owner_id, bool)):
            return 0
        raise invalid("owner_id", owner_id, f"None or 0 with calendar_type={kind!r}")
    return None if kind == "user" and owner_id is None else check_event_id(owner_id, "owner_id")


def list_events(listing: Listing, context: ExchangeContext) -> Steps[EventList]:
    """Return the events to list, sorted by start and id, and the unreadable rows of the window.

    :raises Bitrix24Error: a part of the window could not be read, so the list would be incomplete.
    """
    owner_id = listing.owner_id
    if owner_id is None:
        user = yield from run_call(profile(), context)
        owner_id = user.active_id()
    parts = listing.window.chunks(MAX_CALL_SPAN)
    calls = [get_events(listing.calendar_type, owner_id, part, listing.sections) for part in parts]
    outcomes = yield from run_calls(calls, context)
    lists: list[EventList] = [outcome.unwrap() for outcome in outcomes]
    check_readable(lists)
    # An event that spans two parts is in both replies.
    found = {event.key: event for one in lists for event in one.events}
    unreadable: Counter[UnreadableRow] = Counter()
    for one in lists:
        unreadable |= Counter(filter(listing.may_want, one.unreadable))
    return EventList(_in_order(filter(listing.wants, found.values())), tuple(unreadable.elements()))


def _in_order(events: Iterable[CalendarEvent]) -> tuple[CalendarEvent, ...]:
    return tuple(sorted(events, key=lambda event: (event.start, event.id)))


@dataclass(frozen=True, slots=True)
class Nearest:
    """The next events to list; made by :func:`check_nearest`."""

    days: int
    most: int
    calendar_type: str | None


def check_nearest(days: object, most: object, calendar_type: object) -> Nearest:
    """Return the next events to list.

    :raises InvalidArgumentError: an argument is invalid.
    """
    return Nearest(
        int(check_number(days, "days", 0, MAX_WINDOW.days, whole=True)),
        int(check_number(most, "most", 0, NEAREST_MOST, whole=True)),
        None if calendar_type is None else check_calendar_type(calendar_type),
    )


def list_nearest(nearest: Nearest, context: ExchangeContext) -> Steps[EventList]:
    """Return the next events, sorted by start and id, and the unreadable rows.

    The rows have no time zone, and their other times are unreliable. So the zones are read by id, in one request.

    :raises Bitrix24Error: the list or a zone could not be read.
    """
    if not nearest.most:
        return EventList()
    rows = yield from run_call(get_nearest(nearest.days, nearest.most, nearest.calendar_type), context)
    ids = timed_ids(rows)
    outcomes = yield from run_calls([get_zone(event_id) for event_id in ids], context)
    zones = {event_id: outcome.unwrap() for event_id, outcome in zip(ids, outcomes, strict=True)}
    found = read_nearest(rows, zones, context.source.endpoint.scrub)
    check_readable([found], EVENT_GET_NEAREST)
    return EventList(_in_order(found.events), found.unreadable)


def list_busy(users: Iterable[int], window: Window, context: ExchangeContext) -> Steps[dict[int, list[BusyPeriod]]]:
    """Return the busy periods of users, sorted by start.

    :raises Bitrix24Error: a part of the window could not be read, so the periods would be incomplete.
    """
    ids = list(users)
    if not ids:
        return {}
    calls = [get_busy(ids, part, window.start.tzinfo) for part in window.chunks(MAX_BUSY_SPAN)]
    outcomes = yield from run_calls(calls, context)
    answers: list[dict[int, list[BusyPeriod]]] = [outcome.unwrap() for outcome in outcomes]
    return {
        user: sorted(
            {busy for answer in answers for busy in answer[user] if window.touches(busy)},
            key=lambda busy: (busy.start, busy.event_id),
        )
        for user in ids
    }
