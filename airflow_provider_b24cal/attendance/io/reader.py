"""Reading of calendars for the transfers: a call for each calendar and part of a window, fifty to a request."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from airflow_provider_b24cal.attendance.calendars import Calendar, check_calendars, parts
from airflow_provider_b24cal.attendance.models import Person
from airflow_provider_b24cal.attendance.reconcile import Snapshot, people_of
from airflow_provider_b24cal.bitrix24.calendar.event_methods import check_readable, get_event, get_events
from airflow_provider_b24cal.bitrix24.calendar.listing import MAX_CALL_SPAN, check_listing
from airflow_provider_b24cal.bitrix24.calendar.methods import get_names, profile
from airflow_provider_b24cal.bitrix24.protocol.errors import CredentialsError, InvalidArgumentError, NoSuchEventError
from airflow_provider_b24cal.bitrix24.protocol.exchange import in_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, EventList
    from airflow_provider_b24cal.bitrix24.calendar.methods import Profile
    from airflow_provider_b24cal.bitrix24.calendar.window import Window
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook


def portal_name(hook: Bitrix24CalendarHook) -> str:
    """Return the portal's host, with its port if it is not the usual one."""
    return urlsplit(hook.portal_url()).netloc


def resolve(hook: Bitrix24CalendarHook, calendars: Sequence[Calendar]) -> list[Calendar]:
    """Return the calendars with the acting user's id in place, each once.

    :raises CredentialsError: the acting user is not active, or not who they should be.
    """
    if all(calendar.owner_id is not None for calendar in calendars):
        return list(calendars)
    user_id = check_acting(hook, hook.whoami())
    whole = (Calendar(one.kind, user_id if one.owner_id is None else one.owner_id) for one in calendars)
    return list(dict.fromkeys(whole))


def check_acting(hook: Bitrix24CalendarHook, user: Profile) -> int:
    """Return the acting user's id, if they are who the connection says.

    :raises CredentialsError: they are not, or not active. Who sees other calendars would take much for gone.
    """
    named, user_id = hook.acting_user_id(), user.active_id()
    if named not in {None, user_id}:
        raise CredentialsError(
            f"The webhook of user {named} acts as user {user_id}: its owner may have been dismissed. "
            "Create a new one, for a person who may look at the calendars.",
            method="profile",
        )
    return user_id


def _make_as_expected(hook: Bitrix24CalendarHook, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
    """Make calls, and ask in the same request as whom."""
    user, *outcomes = hook.call_many([profile(), *calls])
    check_acting(hook, user.unwrap())
    return outcomes


def read_calendars(hook: Bitrix24CalendarHook, calendars: Sequence[Calendar], window: Window) -> Iterator[Snapshot]:
    """Yield a reading of all calendars for each part of a window.

    :param calendars: resolved ones.
    :raises UnexpectedReplyError: there are rows, and none of them can be read.
    :raises Bitrix24Error: a calendar could not be read; what is not shown would be taken for gone.
    """
    for part in parts(window):
        listings = [check_listing(part, one.kind, one.owner_id, only_meetings=True) for one in calendars]
        # A part and its margins are what one call reads.
        (asked,) = part.chunks(MAX_CALL_SPAN)
        started = datetime.now(UTC)
        calls = [get_events(one.calendar_type, one.owner_id or 0, asked) for one in listings]
        outcomes: list[Outcome[EventList]] = (
            _make_as_expected(hook, calls) if part.start == window.start else hook.call_many(calls)
        )
        lists = [outcome.unwrap() for outcome in outcomes]
        check_readable(lists)
        named = list(zip(map(str, calendars), listings, lists, strict=True))
        seen = [(name, event) for name, listing, one in named for event in filter(listing.wants, one.events)]
        unreadable = [(name, row) for name, listing, one in named for row in filter(listing.may_want, one.unreadable)]
        names = frozenset(map(str, calendars))
        yield Snapshot(started, datetime.now(UTC), tuple(seen), names, part, unreadable=tuple(unreadable))


def read_events(hook: Bitrix24CalendarHook, event_ids: Sequence[int]) -> Snapshot:
    """Return a reading of single meetings.

    :param event_ids: checked ids. Of a series the first date is read. What is no meeting any more is gone.
    :raises InvalidArgumentError: an id is that of a person's own row.
    :raises Bitrix24Error: an event could not be read.
    """
    started = datetime.now(UTC)
    outcomes: list[Outcome[CalendarEvent]] = _make_as_expected(hook, [get_event(event_id) for event_id in event_ids])
    events: list[CalendarEvent] = []
    gone: list[int] = []
    for event_id, outcome in zip(event_ids, outcomes, strict=True):
        if isinstance(outcome.error, NoSuchEventError):
            gone.append(event_id)
            continue
        event = outcome.unwrap()
        if event.id != event.parent_id:
            raise InvalidArgumentError(
                f"event_ids: {event_id} is one person's row of meeting {event.parent_id}, and goes when that person is "
                "removed; accepted is the id of the meeting, which is its parent_id."
            )
        if event.is_meeting:
            events.append(event)
        else:
            gone.append(event_id)
    seen = tuple((str(_home(event)), event) for event in events)
    return Snapshot(started, datetime.now(UTC), seen, gone=frozenset(gone))


def read_again(hook: Bitrix24CalendarHook, reading: Snapshot) -> Snapshot:
    """Return what is shown now of the calendars and the part of a window, or of the meetings, of a reading."""
    if reading.window is None:
        return read_events(hook, sorted({event.id for _, event in reading.seen} | reading.gone))
    (again,) = read_calendars(hook, check_calendars(sorted(reading.calendars)), reading.window)
    return again


class People:
    """What people are called, as far as the portal tells; each is asked for once.

    :ivar names: by user id.
    """

    def __init__(self, hook: Bitrix24CalendarHook) -> None:
        self._hook = hook
        self._asked: set[int] = set()
        self.names: dict[int, str] = {}

    def fetch_names(self, reading: Snapshot) -> list[Person]:
        """Ask for those of a reading who are new, and return their rows.

        :raises ScopeError: the credential may not ask.
        """
        pages = list(in_chunks(sorted(people_of(reading) - self._asked)))
        if not pages:
            return []
        asked_at = datetime.now(UTC)
        outcomes: list[Outcome[dict[int, str]]] = self._hook.call_many([get_names(page) for page in pages])
        found = {user_id: name for outcome in outcomes for user_id, name in outcome.unwrap().items()}
        self._asked.update(*pages)
        self.names |= found
        return [Person(user_id, name, asked_at) for user_id, name in sorted(found.items())]


def _home(event: CalendarEvent) -> Calendar:
    return Calendar(event.calendar_type, event.owner_id)
