"""The hook: an Airflow connection in, the portal's typed methods out, blocking and asynchronous."""

from __future__ import annotations

from contextlib import aclosing, closing
from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal._airflow import BaseHook
from airflow_provider_b24cal.bitrix24.auth.credentials import AccessToken, Webhook
from airflow_provider_b24cal.bitrix24.calendar import event_methods, listing, methods
from airflow_provider_b24cal.bitrix24.calendar.set_status import Change, change_statuses, order_writes, recheck
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome, command
from airflow_provider_b24cal.bitrix24.protocol.errors import (
    Bitrix24Error,
    NotJsonError,
    PortalError,
    ReplyError,
    TransportError,
    UnexpectedReplyError,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import run_call, run_calls
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.bitrix24.validation import (
    check_calls,
    check_event_id,
    check_ids,
    check_method,
    check_params,
    check_wanted_status,
    check_wanted_statuses,
)
from airflow_provider_b24cal.client.client import Client
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
    from typing import Self

    import requests

    from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, EventList
    from airflow_provider_b24cal.bitrix24.calendar.methods import Profile
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
    from airflow_provider_b24cal.bitrix24.calendar.window import Window
    from airflow_provider_b24cal.bitrix24.protocol.call import Call
    from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, Steps
    from airflow_provider_b24cal.bitrix24.settings import Settings

NEEDED_SCOPE = "calendar"
_TEST_TIMEOUT = 10.0
_REFUSED = 400


class Bitrix24CalendarHook(BaseHook):
    """
    Talk to a Bitrix24 portal's calendar as the user of a connection's webhook.

    Every method acts for that user only: the portal has no parameter for somebody else's status. Nothing
    is read or sent before the first call. A hook may be used in ``with`` to close its connections; the
    asynchronous twins (``a...``) belong to one event loop and are closed by :meth:`aclose`. Threads may share a
    hook. In a forked process it opens connections of its own, and a copy, also a pickled one, begins unused.

    .. seealso:: `Calendar methods <https://apidocs.bitrix24.com/api-reference/calendar/index.html>`__

    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``.
    :param retry: bounds of repeating what failed in passing; by default eight attempts and five minutes of
        waiting for one call, one request of fifty, or one bringing of meetings to their statuses.
    """

    conn_name_attr = "bitrix24_conn_id"
    default_conn_name = "bitrix24_default"
    conn_type = "bitrix24"
    hook_name = "Bitrix24"

    def __init__(self, bitrix24_conn_id: str = default_conn_name, *, retry: RetryPolicy | None = None) -> None:
        super().__init__()
        self.bitrix24_conn_id = bitrix24_conn_id
        self.retry = retry or RetryPolicy()
        self._client = self._new_client()

    def _new_client(self) -> Client:
        return Client(self.bitrix24_conn_id, self.get_connection, self.retry, self.log)

    def __getstate__(self) -> dict[str, Any]:
        # A copy begins unused: connections, locks and secrets stay with the original.
        return {name: value for name, value in vars(self).items() if name not in {"_client", "_log"}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._client = self._new_client()

    def get_meeting_status(self, event_id: int | str) -> MeetingStatus:
        """
        Return the acting user's participation status in a meeting.

        `calendar.meeting.status.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html>`__

        :param event_id: a positive whole number or its decimal text.
        :return: ``Y`` accepted, ``N`` declined, ``Q`` not answered, ``H`` organiser.
        :raises InvalidArgumentError: the id is not acceptable; nothing is sent.
        :raises NotInvitedError: the acting user is not among the attendees.
        :raises NoSuchMeetingError: unknown, deleted, or not a meeting.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        return self._client.run(partial(run_call, methods.get_status(check_event_id(event_id))))

    def get_meeting_statuses(self, event_ids: Iterable[int | str]) -> dict[int, Outcome[MeetingStatus]]:
        """
        Return the acting user's status in each of many meetings, fifty to a request.

        :param event_ids: ids as for :meth:`get_meeting_status`; one given twice is asked once.
        :return: an outcome per event, in the order given: a status or an error. One bad event never hides
            the others.
        :raises InvalidArgumentError: an id is not acceptable; nothing is sent.
        """
        checked = check_ids(event_ids)
        outcomes = self._client.run_chunks(checked, _ask_statuses, _refused_call)
        return _by_event(checked, outcomes)

    def set_meeting_status(self, event_id: int | str, status: str) -> Change:
        """
        Set the acting user's participation status, and prove it.

        The status is read first and left alone where it is as wanted already, for the portal notifies the
        organiser of every set. Then it is written and read back. To somebody who was removed from a meeting
        a portal keeps reading back what they set, though the organiser does not see it any more.

        `calendar.meeting.status.set
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-set.html>`__

        :param event_id: a positive whole number or its decimal text.
        :param status: ``Y``, ``N`` or ``Q`` in any case, or a :class:`MeetingStatus`. The portal tells the
            organiser of a reset to ``Q`` as of a decline.
        :return: the change: ``previous``, ``current`` and whether it ``changed``.
        :raises InvalidArgumentError: an argument is not acceptable; nothing is sent.
        :raises NotInvitedError: the acting user is not among the attendees.
        :raises OrganiserError: the acting user is the organiser.
        :raises NoSuchMeetingError: unknown, deleted, or not a meeting.
        :raises StatusNotAppliedError: the portal confirmed, but reading back shows another status.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        wanted = {check_event_id(event_id): check_wanted_status(status)}
        (change,) = self.set_meeting_statuses(wanted).values()
        return change.unwrap()

    def set_meeting_statuses(self, statuses: Mapping[int, str] | Mapping[str, str]) -> dict[int, Change]:
        """
        Set the acting user's status in each of many meetings, as :meth:`set_meeting_status` does for one.

        Every ``Y`` is set before any other status: a ``Y`` on a series accepts all of its dates, also those that
        were declined.

        :param statuses: wanted status by event id. A meeting has several ids (the organiser's, and one for
            each attendee); name each meeting by one of them, for two are written twice.
        :return: a change per event, in the order given; a change with an error is not proven. One bad event
            never hides the others.
        :raises InvalidArgumentError: an id or status is not acceptable, or one event is given two statuses;
            nothing is sent.
        """
        wanted = check_wanted_statuses(statuses)
        stages = order_writes(wanted)
        parts = self._client.parts(stages, _change_statuses, _refused_change)
        changes = {change.event_id: change for part in parts for change in part}
        *earlier, last = [[changes[event_id] for event_id, _ in stage] for stage in stages]
        proven = [change.event_id for stage in earlier for change in stage if change.error is None]
        if proven and any(change.changed or change.error for stage in (*earlier[1:], last) for change in stage):
            for event_id, outcome in self.get_meeting_statuses(proven).items():
                changes[event_id] = recheck(changes[event_id], outcome)
        return {event_id: changes[event_id] for event_id in wanted}

    def call(self, method: str, params: Mapping[str, Any] | None = None, *, writes: bool = True) -> Any:
        """
        Call any REST method, with the same repeating, time-outs and secrecy as the others.

        :param method: for example ``calendar.event.getbyid``.
        :param params: its parameters, JSON values.
        :param writes: ``False`` for a method known to change nothing: it is repeated also when the portal
            may have run it already.
        :return: the ``result`` as the portal gave it.
        :raises InvalidArgumentError: method or params are not acceptable; nothing is sent.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        return self._client.run(partial(run_call, _raw(method, params, writes=writes)))

    def batch(
        self, calls: Iterable[tuple[str, Mapping[str, Any] | None]], *, writes: bool = True
    ) -> list[Outcome[Any]]:
        """
        Call many REST methods, fifty to a request.

        :param calls: pairs of method and parameters.
        :param writes: as for :meth:`call`, for all of them.
        :return: an outcome per call, in the order given.
        :raises InvalidArgumentError: a call is not acceptable, or a parameter holds what a batch would replace
            (``$result[...]`` or the like) or drop (``None``, an empty list or mapping); nothing is sent.
        """
        checked = [methods.raw(method, params, writes=writes) for method, params in check_calls(calls)]
        for call in checked:
            command(call)
        return self._client.run_chunks(checked, partial(run_calls, packed=True), _refused_call)

    def call_many(self, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        """
        Make typed calls, fifty to a request.

        :param calls: from :mod:`~airflow_provider_b24cal.bitrix24.calendar.methods` and its neighbours.
        :return: an outcome per call, in the order given.
        """
        return self._client.run_chunks(calls, run_calls, _refused_call)

    def whoami(self) -> Profile:
        """
        Return the acting user: the webhook's URL is no proof of who that is.

        `profile <https://apidocs.bitrix24.com/api-reference/common/users/profile.html>`__

        :return: id and name; the id is ``None`` when the user is not active.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        return self._client.run(partial(run_call, methods.profile()))

    def scopes(self) -> tuple[str, ...]:
        """
        Return the credential's scopes.

        `scope <https://apidocs.bitrix24.com/api-reference/common/system/scope.html>`__

        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        return self._client.run(partial(run_call, methods.scope()))

    def get_event(self, event_id: int | str) -> CalendarEvent:
        """
        Return one event as the acting user sees it.

        `calendar.event.getbyid
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-by-id.html>`__

        :param event_id: a positive whole number or its decimal text.
        :return: the event; of a series the first date. Its ``status`` is that of the row's owner: ``H`` for
            the meeting's own id, whoever asks.
        :raises InvalidArgumentError: the id is not acceptable; nothing is sent.
        :raises NoSuchEventError: unknown, deleted, or not visible to the acting user.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        return self._client.run(partial(run_call, event_methods.get_event(check_event_id(event_id))))

    def list_events(
        self,
        window: Window,
        *,
        calendar_type: str = "user",
        owner_id: int | str | None = None,
        only_meetings: bool = False,
        statuses: Iterable[str] | None = None,
        sections: Iterable[int | str] | None = None,
    ) -> list[CalendarEvent]:
        """
        Return the events of one calendar that lie in a window, each occurrence of a series by itself.

        `calendar.event.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get.html>`__

        :param window: from when to when, at most four years. One request reads four years.
        :param calendar_type: ``user``, ``group`` or ``company_calendar``.
        :param owner_id: user or group; by default the acting user, asked for in a request of its own. An id
            that the portal does not know has no events, and is no error.
        :param only_meetings: leave out events without attendees.
        :param statuses: only events to which the calendar's owner has given one of these answers: a list of
            ``Y``, ``N``, ``Q`` and ``H``.
        :param sections: only events in these sections of this calendar, a list of ids; one that is not of this
            calendar finds nothing, and is no error. Invitations lie in a section of their own.
        :return: the events in order of their start and id. A row that cannot be read is left out, and named in the
            log with its id and what is wrong with it.
        :raises InvalidArgumentError: an argument is not acceptable; nothing is sent.
        :raises UnexpectedReplyError: there are rows, and none of them can be read.
        :raises Bitrix24Error: the portal refused or could not be asked; no part of the window is missing.
        """
        wanted = listing.check_listing(window, calendar_type, owner_id, only_meetings, statuses, sections)
        return list(self.read_listing(wanted))

    def read_listing(self, wanted: listing.Listing) -> EventList:
        """
        Return what :meth:`list_events` does, beside the rows that are left out because they cannot be read.

        :param wanted: from :func:`~airflow_provider_b24cal.bitrix24.calendar.listing.check_listing`.
        :raises Bitrix24Error: as :meth:`list_events`.
        """
        return self._log_unreadable(self._client.run(partial(listing.list_events, wanted)))

    def _log_unreadable(self, found: EventList) -> EventList:
        UnreadableRows(self.log).add(("", row) for row in found.unreadable)
        return found

    def nearest_events(
        self,
        *,
        days: int = listing.NEAREST_DAYS,
        most: int = listing.NEAREST_MOST,
        calendar_type: str | None = None,
    ) -> list[CalendarEvent]:
        """
        Return what comes next and what is under way, each occurrence of a series by itself.

        Meetings that the calendar's owner has declined are left out. For one owner's calendar, for more than 75
        events, or for a window that begins at another time there is :meth:`list_events`.

        `calendar.event.get.nearest
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-nearest.html>`__

        :param days: how many days from now, 0 to 1461; the last one is whole, in the portal's own zone. 0 is the
            rest of today.
        :param most: how many events at most, 0 to 75. For 0 the portal is not asked.
        :param calendar_type: in place of the acting user's own calendar, all of this type that they may see:
            ``user``, ``group`` or ``company_calendar``.
        :return: the events in order of their start and id. A row that cannot be read is left out, and named in the
            log with its id and what is wrong with it.
        :raises InvalidArgumentError: an argument is not acceptable; nothing is sent.
        :raises NoSuchEventError: an event was deleted while its time zone was asked for; ask again.
        :raises UnexpectedReplyError: there are rows, and none of them can be read.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        wanted = listing.check_nearest(days, most, calendar_type)
        return list(self._log_unreadable(self._client.run(partial(listing.list_nearest, wanted))))

    def get_accessibility(self, users: Iterable[int | str], window: Window) -> dict[int, list[BusyPeriod]]:
        """
        Return when people are busy, which a portal tells also of those whose events it does not show.

        `calendar.accessibility.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-accessibility-get.html>`__

        :param users: user ids; one given twice is asked once.
        :param window: from when to when, at most four years.
        :return: by user what lies in the window, in order of the start. Declined meetings and those marked as
            free time are left out; unanswered ones are not.
        :raises InvalidArgumentError: an argument is not acceptable; nothing is sent.
        :raises Bitrix24Error: the portal refused or could not be asked.
        """
        checked, span = listing.check_users(users), listing.check_window(window)
        return self._client.run(partial(listing.list_busy, checked, span))

    def acting_as(self) -> str:
        """Return in words whom this connection acts as, from the connection alone; nothing is sent."""
        credential = self._client.settings().endpoint.credential
        return f"user {credential.user_id}" if isinstance(credential, Webhook) else "the user of the access token"

    def acting_user_id(self) -> int | None:
        """
        Return the id of the user whom this connection acts as, as far as it is known here; nothing is sent.

        A webhook names its user. Of tokens it is known once they have been renewed, which happens in the first hour.

        :return: ``None`` when it is not known; :meth:`whoami` asks the portal.
        :raises Bitrix24Error: the connection or the token store cannot be used.
        """
        credential = self._client.credential()
        if isinstance(credential, AccessToken):
            return credential.user_id
        return int(credential.user_id) if credential.user_id.isdecimal() else None

    def portal_url(self) -> str:
        """Return the portal's address, such as ``https://example.bitrix24.com``; nothing in it is secret."""
        return self._client.settings().endpoint.origin

    async def aget_meeting_status(self, event_id: int | str) -> MeetingStatus:
        """Return one status without blocking the event loop; see :meth:`get_meeting_status`."""
        return await self._client.arun(partial(run_call, methods.get_status(check_event_id(event_id))))

    async def aget_meeting_statuses(self, event_ids: Iterable[int | str]) -> dict[int, Outcome[MeetingStatus]]:
        """Return many statuses without blocking the event loop; see :meth:`get_meeting_statuses`."""
        checked = check_ids(event_ids)
        outcomes = await self._client.arun_chunks(checked, _ask_statuses, _refused_call)
        return _by_event(checked, outcomes)

    async def acall_many_iter(self, calls: Sequence[Call[Any]]) -> AsyncGenerator[list[Outcome[Any]], None]:
        """
        Make typed calls as :meth:`make` does, and yield the outcomes of each request when it is done.

        :return: outcomes in the order of the calls, some at a time; close the iterator when leaving it early.
        """
        async with aclosing(self._client.aparts(calls, run_calls, _refused_call)) as parts:
            async for outcomes in parts:
                yield outcomes

    async def awhoami(self) -> Profile:
        """Return the acting user without blocking the event loop; see :meth:`whoami`."""
        return await self._client.arun(partial(run_call, methods.profile()))

    async def ascopes(self) -> tuple[str, ...]:
        """Return the credential's scopes without blocking the event loop; see :meth:`scopes`."""
        return await self._client.arun(partial(run_call, methods.scope()))

    async def aget_event(self, event_id: int | str) -> CalendarEvent:
        """Return one event without blocking the event loop; see :meth:`get_event`."""
        return await self._client.arun(partial(run_call, event_methods.get_event(check_event_id(event_id))))

    async def alist_events(
        self,
        window: Window,
        *,
        calendar_type: str = "user",
        owner_id: int | str | None = None,
        only_meetings: bool = False,
        statuses: Iterable[str] | None = None,
        sections: Iterable[int | str] | None = None,
    ) -> list[CalendarEvent]:
        """Return the events of a window without blocking the event loop; see :meth:`list_events`."""
        wanted = listing.check_listing(window, calendar_type, owner_id, only_meetings, statuses, sections)
        found = await self._client.arun(partial(listing.list_events, wanted))
        return list(self._log_unreadable(found))

    async def anearest_events(
        self,
        *,
        days: int = listing.NEAREST_DAYS,
        most: int = listing.NEAREST_MOST,
        calendar_type: str | None = None,
    ) -> list[CalendarEvent]:
        """Return what comes next without blocking the event loop; see :meth:`nearest_events`."""
        wanted = listing.check_nearest(days, most, calendar_type)
        found = await self._client.arun(partial(listing.list_nearest, wanted))
        return list(self._log_unreadable(found))

    async def aget_accessibility(self, users: Iterable[int | str], window: Window) -> dict[int, list[BusyPeriod]]:
        """Return when people are busy without blocking the event loop; see :meth:`get_accessibility`."""
        checked, span = listing.check_users(users), listing.check_window(window)
        return await self._client.arun(partial(listing.list_busy, checked, span))

    def get_conn(self) -> requests.Session:
        """Return the HTTP session; it holds no credential and follows the connection's proxy and TLS."""
        return self._client.session()

    def test_connection(self) -> tuple[bool, str]:
        """
        Tell the portal, the acting user and the scopes, or what is wrong and what to do about it.

        :return: whether the connection can be used for attendance, and a text without secrets.
        """
        try:
            # A person waits for this, and the web server with them.
            with closing(self._client.with_timeout(_TEST_TIMEOUT, RetryPolicy(attempts=2))) as client:
                profile, scopes = client.run(partial(run_calls, [methods.profile(), methods.scope()]))
                good, told = _judge_connection(client.settings(), profile.unwrap(), scopes.unwrap())
                return good, " ".join([told, *client.warnings])
        except (PortalError, ReplyError, TransportError) as error:
            return False, f"{self.portal_url()}: {error}{_advice(error)}"
        except Bitrix24Error as error:
            return False, str(error)

    def close(self) -> None:
        """Close the blocking connections, and end what waits in other threads; used again, the hook opens new ones."""
        self._client.close()

    async def aclose(self) -> None:
        """Close the asynchronous connections, on the loop that used them."""
        await self._client.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """Return the form fields for the web UI of Airflow before 3.2; later ones read the provider info."""
        from airflow_provider_b24cal.hooks.form import widgets

        return widgets()

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return labels and placeholders for the web UI of Airflow before 3.2."""
        from airflow_provider_b24cal.get_provider_info import UI_FIELD_BEHAVIOUR

        return UI_FIELD_BEHAVIOUR


def _ask_statuses(event_ids: Sequence[int], context: ExchangeContext) -> Steps[list[Outcome[MeetingStatus]]]:
    return run_calls([methods.get_status(event_id) for event_id in event_ids], context)


def _change_statuses(items: Sequence[tuple[int, MeetingStatus]], context: ExchangeContext) -> Steps[list[Change]]:
    return change_statuses(dict(items), context)


def _by_event(
    event_ids: Sequence[int], outcomes: Sequence[Outcome[MeetingStatus]]
) -> dict[int, Outcome[MeetingStatus]]:
    return dict(zip(event_ids, outcomes, strict=True))


def _refused_call(_: object, error: Bitrix24Error) -> Outcome[Any]:
    return Outcome(error=error)


def _refused_change(item: tuple[int, MeetingStatus], error: Bitrix24Error) -> Change:
    return Change(*item, error=error)


def _raw(method: str, params: Mapping[str, Any] | None, *, writes: bool) -> Call[Any]:
    return methods.raw(check_method(method), check_params({} if params is None else params), writes=writes)


def _advice(error: Bitrix24Error) -> str:
    """Return what to check when something answered, but not as a portal does."""
    strange = isinstance(error, NotJsonError | UnexpectedReplyError) and (error.http_status or 200) < _REFUSED
    return " Check that this is the portal's address." if strange else ""


def _judge_connection(settings: Settings, profile: Profile, scopes: tuple[str, ...]) -> tuple[bool, str]:
    origin, credential = settings.endpoint.origin, settings.endpoint.credential
    # A token says nothing of whose it is.
    user_id = credential.user_id if isinstance(credential, Webhook) else ""
    if profile.user_id is None:
        return False, f"Connected to {origin}, but the acting user is not active."
    who = f"{profile.name} (user {profile.user_id})"
    if user_id.isdecimal() and int(user_id) != profile.user_id:
        return False, (
            f"Connected to {origin}, but the webhook of user {user_id} acts as {who}: its owner may have been "
            "dismissed. Create a new webhook for the person whose answers you want to manage."
        )
    told = f"Connected to {origin} as {who}; scopes: {', '.join(scopes) or 'none'}."
    if NEEDED_SCOPE not in scopes:
        owner = "webhook" if user_id else "application"
        return False, f"{told} The scope `{NEEDED_SCOPE}` is missing: add it to the {owner}'s permissions."
    return True, told
