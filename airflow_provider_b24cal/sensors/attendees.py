"""The sensor that waits for the answers of an event's attendees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.sensors.base import Bitrix24WaitSensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow_provider_b24cal._airflow import Templated
    from airflow_provider_b24cal.waiting.conditions import AttendeesCondition


class Bitrix24AttendeesSensor(Bitrix24WaitSensor):
    """
    Wait until an event's attendees have accepted, all of them or as many as required.

    One request reads all answers, with the webhook of any user who can see the event. The organiser is not counted:
    a portal stores no answer of theirs. An attendee who declines may still change their mind, unless
    ``fail_when_declined`` is set. The try fails as soon as ``require`` cannot be met any more, because users are not
    invited or have declined for good. It fails at once when the event is unknown, is no meeting, or the portal does not
    show its attendees. ``soft_fail`` skips only a time-out. Users who are invited or removed during the wait count, or
    do not count, from the next poll on.

    XCom ``return_value``: user ids, on a time-out or failure too::

        {"accepted": [2, 3], "declined": [], "silent": [5]}

    .. seealso:: `calendar.event.getbyid
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-by-id.html>`__

    :param event_id: the event, a positive whole number or its decimal text. Of a series, answers to single dates
        are not in its list. (templated)
    :param users: the attendees whose answers count, a list of user ids; default all who are invited. (templated)
    :param require: how many have to accept: ``all`` (default), ``any``, a number, or a share such as ``60%``, which
        is rounded up. (templated)
    :param fail_when_declined: count an attendee who declines as lost. Default ``False``: they may change their
        mind. (templated)
    :param deadline_before_start: end the wait as a time-out, this long before the event starts, also if the event is
        moved; a ``timedelta`` or seconds, which may be negative. By default only ``timeout`` applies. A series has no
        single start and is refused. (templated)
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
        "users",
        "require",
        "fail_when_declined",
        "deadline_before_start",
        "bitrix24_conn_id",
    )

    def __init__(
        self,
        *,
        event_id: Templated[int],
        users: Templated[Sequence[Templated[int]]] | None = None,
        require: Templated[int] = "all",
        fail_when_declined: Templated[bool] = False,
        deadline_before_start: Templated[timedelta | float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_id = event_id
        self.users = users
        self.require = require
        self.fail_when_declined = fail_when_declined
        self.deadline_before_start = deadline_before_start

    def _condition(self) -> AttendeesCondition:
        from airflow_provider_b24cal.bitrix24.validation import check_event_id, check_flag, check_ids, check_seconds
        from airflow_provider_b24cal.waiting.conditions import (
            AttendeesCondition,
            check_rule,
            check_users_suffice,
        )

        fail_on = ["N"] if check_flag(self.fail_when_declined, "fail_when_declined") else []
        wait = AttendeesCondition(
            check_event_id(self.event_id),
            check_rule("Y", fail_on, self.require),
            None if self.users is None else tuple(check_ids(self.users, "users")),
            check_seconds(self.deadline_before_start, "deadline_before_start"),
        )
        return check_users_suffice(wait)
