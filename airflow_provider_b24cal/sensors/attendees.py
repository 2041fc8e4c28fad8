"""The sensor that waits for the answers of attendees, of one event or of many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.sensors.base import Bitrix24WaitSensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow_provider_b24cal._airflow import Templated
    from airflow_provider_b24cal.waiting.conditions import AttendeesCondition, ManyAttendeesCondition


class Bitrix24AttendeesSensor(Bitrix24WaitSensor):
    """
    Wait until the attendees of an event have accepted, all of them or as many as required; or those of many events.

    One request reads all answers to fifty events, with the webhook of any user who can see them. The organiser is not
    counted: a portal stores no answer of theirs. An attendee who declines may still change their mind, unless
    ``fail_when_declined`` is set. The try fails as soon as ``require`` cannot be met any more, because users are not
    invited or have declined for good. It fails at once when an event is unknown, is no meeting, or the portal does not
    show its attendees. ``soft_fail`` skips only a time-out. Users who are invited or removed during the wait count, or
    do not count, from the next poll on.

    Of many events, each has to meet ``require`` by itself. Every poll reads all of them. The wait succeeds at the first
    poll in which each of them meets it; if somebody takes an answer back, the wait continues.

    XCom ``return_value``: user ids, on a time-out or failure too::

        {"accepted": [2, 3], "declined": [], "silent": [5]}

    With ``event_ids`` the same for each event that was read, ``{"651": {"accepted": [2, 3], ...}}``; beyond 48 KiB
    their counts, ``{"counts": {"accepted": 5000, "declined": 20, "silent": 300}}``.

    .. seealso:: `calendar.event.getbyid
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-by-id.html>`__

    :param event_id: the event, a positive whole number or its decimal text. Of a series, answers to single dates
        are not in its list. (templated)
    :param event_ids: the events, a list of such ids; exactly one of this and ``event_id``. With an empty list the
        wait succeeds at once. A deferrable wait takes 2,500 events and users at most. (templated)
    :param users: the attendees whose answers count, a list of user ids; default all who are invited. Of many events,
        each of the users has to be invited to each event, as far as ``require`` needs them. (templated)
    :param count: which answers count: ``accepted`` (default), or ``answered`` for acceptances and declines.
        (templated)
    :param require: how many attendees have to answer so, of each event: ``all`` (default), ``any``, a number, or a
        share such as ``60%``, which is rounded up. (templated)
    :param fail_when_declined: treat a decline as final. Default ``False``: a person who declines may still change
        their mind. Refused with ``count="answered"``. (templated)
    :param deadline_before_start: end the wait as a time-out, this long before the event starts, also if the event is
        moved; a ``timedelta`` or seconds, which may be negative. Of many events the first one counts that does not meet
        ``require`` yet. By default only ``timeout`` applies. A series has no single start and is refused. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.
    :param deferrable: wait in the triggerer, without a worker slot; default from
        ``[operators] default_deferrable``.

    All other arguments are those of every sensor, with the meaning that they have for
    :class:`~airflow_provider_b24cal.sensors.meeting_status.Bitrix24MeetingStatusSensor`.
    """

    template_fields: Sequence[str] = (
        "event_id",
        "event_ids",
        "users",
        "count",
        "require",
        "fail_when_declined",
        "deadline_before_start",
        "bitrix24_conn_id",
    )

    def __init__(
        self,
        *,
        event_id: Templated[int] | None = None,
        event_ids: Templated[Sequence[Templated[int]]] | None = None,
        users: Templated[Sequence[Templated[int]]] | None = None,
        count: Templated[str] = "accepted",
        require: Templated[int] = "all",
        fail_when_declined: Templated[bool] = False,
        deadline_before_start: Templated[timedelta | float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_id = event_id
        self.event_ids = event_ids
        self.users = users
        self.count = count
        self.require = require
        self.fail_when_declined = fail_when_declined
        self.deadline_before_start = deadline_before_start

    def _condition(self) -> AttendeesCondition | ManyAttendeesCondition:
        from airflow_provider_b24cal.bitrix24.validation import check_event_id, check_ids, check_seconds, exactly_one
        from airflow_provider_b24cal.waiting.arguments import (
            check_attendees,
            check_attendees_rule,
            check_users_suffice,
        )
        from airflow_provider_b24cal.waiting.conditions import AttendeesCondition, ManyAttendeesCondition

        exactly_one(event_id=self.event_id, event_ids=self.event_ids)
        rule = check_attendees_rule(self.count, self.fail_when_declined, self.require)
        users = None if self.users is None else tuple(check_ids(self.users, "users"))
        check_users_suffice(users, rule.quorum)
        seconds = check_seconds(self.deadline_before_start, "deadline_before_start")
        wait: AttendeesCondition | ManyAttendeesCondition
        if self.event_id is not None:
            wait = AttendeesCondition(check_event_id(self.event_id), rule, users, seconds)
        else:
            wait = ManyAttendeesCondition(tuple(check_ids(self.event_ids)), rule, users, seconds)
        return check_attendees(wait, deferrable=self.deferrable)
