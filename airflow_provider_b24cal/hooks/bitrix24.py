"""The calendar hook: typed methods for events and participation statuses, blocking and asynchronous."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.bitrix24.calendar import event_methods, listing, methods
from airflow_provider_b24cal.bitrix24.calendar.sections import get_sections
from airflow_provider_b24cal.bitrix24.calendar.set_status import (
    Change,
    change_statuses,
    order_writes,
    recheck,
    to_recheck,
)
from airflow_provider_b24cal.bitrix24.protocol.exchange import run_call, run_calls
from airflow_provider_b24cal.bitrix24.validation import (
    check_event_id,
    check_ids,
    check_wanted_status,
    check_wanted_statuses,
)
from airflow_provider_b24cal.hooks.base import Bitrix24Hook, refused_call
from airflow_provider_b24cal.hooks.unreadable import UnreadableRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from airflow_provider_b24cal.bitrix24.calendar.accessibility import BusyPeriod
    from airflow_provider_b24cal.bitrix24.calendar.events import CalendarEvent, EventList
    from airflow_provider_b24cal.bitrix24.calendar.sections import Section
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus
    from airflow_provider_b24cal.bitrix24.calendar.window import Window
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
    from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
    from airflow_provider_b24cal.bitrix24.protocol.exchange import ExchangeContext, Steps

__all__ = ["Bitrix24CalendarHook", "Bitrix24Hook"]


class Bitrix24CalendarHook(Bitrix24Hook):
    """
    Use a Bitrix24 portal's calendar, as the user of a connection's webhook or token.

    Every method acts for that user only: the portal has no parameter for another user's status. Connections, threads,
    forked processes and copies are handled as in
    :class:`~airflow_provider_b24cal.hooks.base.Bitrix24Hook`, whose methods this hook has too.

    .. seealso:: `Calendar methods <https://apidocs.bitrix24.com/api-reference/calendar/index.html>`__

    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``.
    :param retry: bounds of the retries of one call, of one request of fifty calls, or of the statuses that are set
        together; default eight attempts and five minutes of waiting.
    """

    needed_scope = "calendar"

    def get_meeting_status(self, event_id: int | str) -> MeetingStatus:
        """
        Return the acting user's participation status in a meeting.

        `calendar.meeting.status.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html>`__

        :param event_id: a positive whole number or its decimal text.
        :return: ``Y`` accepted, ``N`` declined, ``Q`` not answered, ``H`` organiser.
        :raises InvalidArgumentError: the id is invalid; nothing is sent.
        :raises NotInvitedError: the acting user is not among the attendees.
        :raises NoSuchMeetingError: unknown, deleted, or not a meeting.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        return self._client.run(partial(run_call, methods.get_status(check_event_id(event_id))))

    def get_meeting_statuses(self, event_ids: Iterable[int | str]) -> dict[int, Outcome[MeetingStatus]]:
        """
        Return the acting user's status in each of many meetings, fifty to a request.

        :param event_ids: ids as for :meth:`get_meeting_status`; one given twice is read once.
        :return: an outcome per event, in the order given: a status or an error. One bad event never hides
            the others.
        :raises InvalidArgumentError: an id is invalid; nothing is sent.
        """
        checked = check_ids(event_ids)
        outcomes = self._client.run_chunks(checked, _get_statuses, refused_call)
        return _by_event(checked, outcomes)

    def set_meeting_status(self, event_id: int | str, status: str) -> Change:
        """
        Set the acting user's participation status, and verify it.

        The status is read first, and not written if it is in place: the portal notifies the organiser of every set.
        Otherwise it is written and read back. If the user was removed from the meeting, the portal still returns what
        they set, though the organiser does not see it.

        `calendar.meeting.status.set
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-set.html>`__

        :param event_id: a positive whole number or its decimal text.
        :param status: ``Y``, ``N`` or ``Q`` in any case, or a :class:`MeetingStatus`. The portal
            notifies the organiser of a reset to ``Q`` as of a decline.
        :return: the change: ``previous``, ``current`` and whether it ``changed``.
        :raises InvalidArgumentError: an argument is invalid; nothing is sent.
        :raises NotInvitedError: the acting user is not among the attendees.
        :raises OrganiserError: the acting user is the organiser.
        :raises NoSuchMeetingError: unknown, deleted, or not a meeting.
        :raises StatusNotAppliedError: the portal confirmed, but reading back shows another status.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
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
        :return: a change per event, in the order given; a change with an error is not verified. One bad
            event never hides the others.
        :raises InvalidArgumentError: an id or status is invalid, or one event is given two statuses;
            nothing is sent.
        """
        wanted = check_wanted_statuses(statuses)
        stages = order_writes(wanted)
        parts = self._client.parts(stages, change_statuses, _refused_change)
        changes = {change.event_id: change for part in parts for change in part}
        if event_ids := to_recheck(stages, changes):
            changes |= recheck(changes, self.get_meeting_statuses(event_ids))
        return {event_id: changes[event_id] for event_id in wanted}

    def get_event(self, event_id: int | str) -> CalendarEvent:
        """
        Return one event as the acting user sees it.

        `calendar.event.getbyid
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-by-id.html>`__

        :param event_id: a positive whole number or its decimal text.
        :return: the event; of a series the first date. Its ``status`` is that of the row's owner: ``H`` for
            the meeting's own id, whoever asks.
        :raises InvalidArgumentError: the id is invalid; nothing is sent.
        :raises NoSuchEventError: unknown, deleted, or not visible to the acting user.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
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
        :param owner_id: user or group; by default the acting user, read in a request of its own. An unknown id has
            no events, and is no error.
        :param only_meetings: leave out events without attendees.
        :param statuses: only events to which the calendar's owner has given one of these answers: a list of
            ``Y``, ``N``, ``Q`` and ``H``.
        :param sections: only events in these sections of this calendar, a list of ids; one that is not of this
            calendar finds nothing, and is no error. Invitations lie in a section of their own.
        :return: the events in order of their start and id. A row that cannot be read is left out, and named in the
            log with its id and what is wrong with it.
        :raises InvalidArgumentError: an argument is invalid; nothing is sent.
        :raises UnexpectedReplyError: there are rows, and none of them can be read.
        :raises Bitrix24Error: the portal refused the call or could not be reached; no part of the window is missing.
        """
        wanted = listing.check_listing(window, calendar_type, owner_id, only_meetings, statuses, sections)
        return list(self.read_listing(wanted))

    def read_listing(self, wanted: listing.Listing) -> EventList:
        """
        Return what :meth:`list_events` does, and the rows that are left out because they cannot be read.

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
        Return the next events and those in progress, each occurrence of a series by itself.

        Meetings that the calendar's owner has declined are left out. For one owner's calendar, for more than 75
        events, or for a window that begins at another time there is :meth:`list_events`.

        `calendar.event.get.nearest
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-nearest.html>`__

        :param days: how many days from now, 0 to 1461; the last one is whole, in the portal's own zone. 0 is the
            rest of today.
        :param most: how many events at most, 0 to 75. For 0 no request is sent.
        :param calendar_type: in place of the acting user's own calendar, all of this type that they may see:
            ``user``, ``group`` or ``company_calendar``.
        :return: the events in order of their start and id. A row that cannot be read is left out, and named in the
            log with its id and what is wrong with it.
        :raises InvalidArgumentError: an argument is invalid; nothing is sent.
        :raises NoSuchEventError: an event was deleted while its time zone was read; call again.
        :raises UnexpectedReplyError: there are rows, and none of them can be read.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        wanted = listing.check_nearest(days, most, calendar_type)
        return list(self._log_unreadable(self._client.run(partial(listing.list_nearest, wanted))))

    def list_sections(self, *, calendar_type: str = "user", owner_id: int | str | None = None) -> list[Section]:
        """
        Return the sections of one calendar, such as for ``sections=`` of :meth:`list_events`.

        `calendar.section.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-section-get.html>`__

        :param calendar_type: ``user``, ``group``, ``company_calendar``, or ``location``, whose sections are rooms.
        :param owner_id: user or group; by default the acting user. An unknown id has no sections, and is no error.
        :return: the sections that the acting user may see, in the portal's order.
        :raises InvalidArgumentError: an argument is invalid; nothing is sent.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        return self._client.run(partial(run_call, get_sections(calendar_type, owner_id)))

    def get_accessibility(self, users: Iterable[int | str], window: Window) -> dict[int, list[BusyPeriod]]:
        """
        Return when users are busy; a portal returns this also for users whose events it does not show.

        `calendar.accessibility.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-accessibility-get.html>`__

        :param users: user ids; one given twice is read once.
        :param window: from when to when, at most four years.
        :return: the busy periods in the window by user, in order of the start. Declined meetings and those marked as
            free time are left out; unanswered ones are not.
        :raises InvalidArgumentError: an argument is invalid; nothing is sent.
        :raises Bitrix24Error: the portal refused the call or could not be reached.
        """
        checked, span = check_ids(users, "users"), listing.check_window(window)
        return self._client.run(partial(listing.list_busy, checked, span))

    async def aget_meeting_status(self, event_id: int | str) -> MeetingStatus:
        """Return one status without blocking the event loop; see :meth:`get_meeting_status`."""
        return await self._client.arun(partial(run_call, methods.get_status(check_event_id(event_id))))

    async def aget_meeting_statuses(self, event_ids: Iterable[int | str]) -> dict[int, Outcome[MeetingStatus]]:
        """Return many statuses without blocking the event loop; see :meth:`get_meeting_statuses`."""
        checked = check_ids(event_ids)
        outcomes = await self._client.arun_chunks(checked, _get_statuses, refused_call)
        return _by_event(checked, outcomes)

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
        """Return the next events without blocking the event loop; see :meth:`nearest_events`."""
        wanted = listing.check_nearest(days, most, calendar_type)
        found = await self._client.arun(partial(listing.list_nearest, wanted))
        return list(self._log_unreadable(found))

    async def alist_sections(self, *, calendar_type: str = "user", owner_id: int | str | None = None) -> list[Section]:
        """Return the sections of a calendar without blocking the event loop; see :meth:`list_sections`."""
        return await self._client.arun(partial(run_call, get_sections(calendar_type, owner_id)))

    async def aget_accessibility(self, users: Iterable[int | str], window: Window) -> dict[int, list[BusyPeriod]]:
        """Return when users are busy without blocking the event loop; see :meth:`get_accessibility`."""
        checked, span = check_ids(users, "users"), listing.check_window(window)
        return await self._client.arun(partial(listing.list_busy, checked, span))

    # Airflow before 3.2 looks for these two in the registered class itself, not in its bases.
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


def _get_statuses(event_ids: Sequence[int], context: ExchangeContext) -> Steps[list[Outcome[MeetingStatus]]]:
    return run_calls([methods.get_status(event_id) for event_id in event_ids], context)


def _by_event(
    event_ids: Sequence[int], outcomes: Sequence[Outcome[MeetingStatus]]
) -> dict[int, Outcome[MeetingStatus]]:
    return dict(zip(event_ids, outcomes, strict=True))


def _refused_change(item: tuple[int, MeetingStatus], error: Bitrix24Error) -> Change:
    return Change(*item, error=error)
