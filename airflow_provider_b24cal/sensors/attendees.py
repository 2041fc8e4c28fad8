"""The sensor that waits for the answers of an event's attendees."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.sensors.base import DEFERRABLE, Bitrix24WaitSensor

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow_provider_b24cal._airflow import Templated
    from airflow_provider_b24cal.waiting.conditions import AttendeesCondition


class Bitrix24AttendeesSensor(Bitrix24WaitSensor):
    """
    Wait until an event's attendees have accepted, all of them or as many as required.

    One request reads everybody's answers, with the webhook of anybody who may see the event. The organiser
    is not counted, for a portal holds no answer of theirs. Somebody who declines may still change their mind,
    unless ``fail_when_declined`` is set. The try fails as soon as ``require`` cannot be met any more: those
    named are not invited, or have declined for good; and at once when the event is unknown, no meeting, or the
    portal does not show its attendees. Only a time-out may be skipped by ``soft_fail``. Whoever is invited or
    removed meanwhile is counted, or not, from the next poll on.

    XCom ``return_value``: user ids, on a time-out or failure too::

        {"accepted": [2, 3], "declined": [], "silent": [5]}

    .. seealso:: `calendar.event.getbyid
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-event-get-by-id.html>`__

    :param event_id: the event, a positive whole number or its decimal text. Of a series, answers to single dates
        are not in its list. (templated)
    :param users: whose answers count, a list of user ids; by default those of everybody invited. (templated)
    :param require: how many have to accept: ``all`` (default), ``any``, a number, or a share such as ``60%``, which
        is rounded up. (templated)
    :param fail_when_declined: count whoever declines as lost. Default ``False``: they may change their
        minds. (templated)
    :param deadline_before_start: end the wait, as a time-out, so long before the event starts, also when it is
        moved meanwhile; a ``timedelta`` or seconds, which may be negative. By default only ``timeout`` bounds
        it. A series has no one start and is refused. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
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
        bitrix24_conn_id: str = "bitrix24_default",
        deferrable: bool = DEFERRABLE,
        **kwargs: Any,
    ) -> None:
        super().__init__(bitrix24_conn_id=bitrix24_conn_id, deferrable=deferrable, **kwargs)
        self.event_id = event_id
        self.users = users
        self.require = require
        self.fail_when_declined = fail_when_declined
        self.deadline_before_start = deadline_before_start

    def _wait(self) -> AttendeesCondition:
        from airflow_provider_b24cal.bitrix24.calendar.listing import check_users
        from airflow_provider_b24cal.bitrix24.validation import check_event_id, check_flag, check_seconds
        from airflow_provider_b24cal.waiting.conditions import (
            AttendeesCondition,
            check_rule,
            check_users_suffice,
        )

        fail_on = ["N"] if check_flag(self.fail_when_declined, "fail_when_declined") else []
        wait = AttendeesCondition(
            check_event_id(self.event_id),
            check_rule("Y", fail_on, self.require),
            None if self.users is None else tuple(check_users(self.users)),
            check_seconds(self.deadline_before_start, "deadline_before_start"),
        )
        return check_users_suffice(wait)
