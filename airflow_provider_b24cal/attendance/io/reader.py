"""Reads calendars for the transfers: one call for each calendar and part of a window, fifty to a request."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_b24cal.attendance.calendars import Calendar
from airflow_provider_b24cal.attendance.models import Person, Snapshot
from airflow_provider_b24cal.attendance.reconcile import people_of
from airflow_provider_b24cal.bitrix24.calendar.event_methods import check_readable, get_event, get_events
from airflow_provider_b24cal.bitrix24.calendar.listing import MAX_CALL_SPAN, check_listing
from airflow_provider_b24cal.bitrix24.calendar.methods import get_contacts, get_status, profile
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    CredentialsError,
    InvalidArgumentError,
    NoSuchEventError,
    NoSuchMeetingError,
    NotInvitedError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import in_chunks

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, EventList
    from airflow_provider_b24cal.bitrix24.calendar.methods import Contact, Profile
    from airflow_provider_b24cal.bitrix24.calendar.window import Window
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook


def portal_name(hook: Bitrix24CalendarHook) -> str:
    """Return the portal's host, with its port if it is not the usual one."""
    return urlsplit(hook.portal_url()).netloc


def resolve(hook: Bitrix24CalendarHook, calendars: Sequence[Calendar]) -> list[Calendar]:
    """Return the calendars with the acting user's id filled in, each once.

    :raises CredentialsError: the acting user is not active, or is another one than the connection says.
    """
    if all(calendar.owner_id is not None for calendar in calendars):
        return list(calendars)
    user_id = check_acting(hook, hook.whoami())
    whole = (Calendar(one.kind, user_id if one.owner_id is None else one.owner_id) for one in calendars)
    return list(dict.fromkeys(whole))


def check_acting(hook: Bitrix24CalendarHook, user: Profile) -> int:
    """Return the acting user's id, if it is the one of the connection.

    :raises CredentialsError: it is another one, or not active. To another user many events would look deleted.
    """
    named, user_id = hook.acting_user_id(), user.active_id()
    if named not in {None, user_id}:
        raise CredentialsError(
            f"The webhook of user {named} acts as user {user_id}: its owner may have been dismissed. "
            "Create a new one, for a person who has access to the calendars.",
            method="profile",
        )
    return user_id


def _call_as_expected_user(hook: Bitrix24CalendarHook, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
    """Make calls, and check the acting user in the same request."""
    user, *outcomes = hook.call_many([profile(), *calls])
    check_acting(hook, user.unwrap())
    return outcomes


def read_calendars(hook: Bitrix24CalendarHook, calendars: Sequence[Calendar], part: Window) -> Snapshot:
    """Return a snapshot of all calendars in a part of a window.

    :param calendars: resolved ones.
    :raises UnexpectedReplyError: there are rows, and none of them can be read.
    :raises Bitrix24Error: a calendar could not be read; its events would look deleted.
    """
    listings = [check_listing(part, one.kind, one.owner_id, only_meetings=True) for one in calendars]
    # A part and its margins are what one call reads.
    (span,) = part.chunks(MAX_CALL_SPAN)
    outcomes: list[Outcome[EventList]] = _call_as_expected_user(
        hook, [get_events(one.calendar_type, one.owner_id or 0, span) for one in listings]
    )
    lists = [outcome.unwrap() for outcome in outcomes]
    check_readable(lists)
    named = list(zip(map(str, calendars), listings, lists, strict=True))
    seen = [(name, event) for name, listing, one in named for event in filter(listing.wants, one.events)]
    unreadable = [(name, row) for name, listing, one in named for row in filter(listing.may_want, one.unreadable)]
    names = frozenset(map(str, calendars))
    return Snapshot(datetime.now(UTC), tuple(seen), names, part, unreadable=tuple(unreadable))


def read_events(hook: Bitrix24CalendarHook, event_ids: Sequence[int]) -> Snapshot:
    """Return a snapshot of single meetings.

    :param event_ids: checked ids. Of a series the first date is read. What is no meeting any more is not found.
    :raises InvalidArgumentError: an id is that of an attendee's own row.
    :raises Bitrix24Error: an event could not be read.
    """
    outcomes: list[Outcome[CalendarEvent]] = _call_as_expected_user(
        hook, [get_event(event_id) for event_id in event_ids]
    )
    events: list[CalendarEvent] = []
    not_found: list[int] = []
    for event_id, outcome in zip(event_ids, outcomes, strict=True):
        if isinstance(outcome.error, NoSuchEventError):
            not_found.append(event_id)
            continue
        event = outcome.unwrap()
        if event.id != event.parent_id:
            raise InvalidArgumentError(
                f"Invalid event_ids {event_id}: expected the id of the meeting, its parent_id {event.parent_id}. "
                "This is one attendee's row of it, which is deleted when that attendee is removed."
            )
        if event.is_meeting:
            events.append(event)
        else:
            not_found.append(event_id)
    seen = tuple((str(_home(event)), event) for event in events)
    return Snapshot(datetime.now(UTC), seen, not_found=frozenset(not_found))


def read_by_id(hook: Bitrix24CalendarHook, snapshot: Snapshot, event_ids: Collection[int]) -> Snapshot:
    """Return a snapshot, completed by reading some meetings by their id.

    A meeting is cancelled only if its status is refused too: a status needs no rights on the calendar. What cannot be
    read is left out.

    :raises Bitrix24Error: an event or a status could not be read.
    """
    ids = sorted(event_ids)
    outcomes = _call_as_expected_user(hook, [call(event_id) for event_id in ids for call in (get_event, get_status)])
    events: list[CalendarEvent] = []
    not_found: set[int] = set()
    cancelled: set[int] = set()
    for event_id, read, status in zip(ids, outcomes[::2], outcomes[1::2], strict=True):
        if isinstance(read.error, UnexpectedReplyError):
            continue
        event: CalendarEvent | None = None if isinstance(read.error, NoSuchEventError) else read.unwrap()
        if event is not None and event.is_meeting:
            events.append(event)
        elif isinstance(status.error, NoSuchMeetingError):
            cancelled.add(event_id)
        elif isinstance(status.error, NotInvitedError) or status.unwrap():
            not_found.add(event_id)
    return replace(
        snapshot,
        read_at=datetime.now(UTC),
        by_id=tuple(events),
        not_found=frozenset(not_found),
        cancelled=frozenset(cancelled),
    )


class People:
    """The names of people; each is read once.

    :ivar found: by user id.
    """

    def __init__(self, hook: Bitrix24CalendarHook) -> None:
        self._hook = hook
        self._known: set[int] = set()
        self.found: dict[int, Person] = {}

    def fetch_names(self, snapshot: Snapshot) -> list[Person]:
        """Read the names of the people who are new in a snapshot, and return their rows.

        :raises ScopeError: the credential lacks the scope.
        """
        pages = list(in_chunks(sorted(people_of(snapshot) - self._known)))
        if not pages:
            return []
        read_at = datetime.now(UTC)
        outcomes: list[Outcome[dict[int, Contact]]] = self._hook.call_many([get_contacts(page) for page in pages])
        found = {user_id: one for outcome in outcomes for user_id, one in outcome.unwrap().items()}
        self._known.update(*pages)
        rows = [Person(user_id, one.name, read_at, one.email) for user_id, one in sorted(found.items())]
        self.found.update((row.user_id, row) for row in rows)
        return rows


def _home(event: CalendarEvent) -> Calendar:
    return Calendar(event.calendar_type, event.owner_id)
