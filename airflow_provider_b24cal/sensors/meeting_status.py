"""The sensor that waits for the acting user's participation status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.sensors.base import Bitrix24WaitSensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal._airflow import Templated
    from airflow_provider_b24cal.waiting.conditions import MeetingsCondition


class Bitrix24MeetingStatusSensor(Bitrix24WaitSensor):
    """
    Wait until the acting user's participation status in one meeting or many is ``Y``, or another one.

    ``Q`` waits. ``N`` waits too, since people change their minds, unless it is listed in
    ``fail_on_statuses``. A meeting can never reach the target if the user is the organiser (``H``) or is
    not invited, or if there is no such meeting. The try fails as soon as the other meetings cannot meet ``require``;
    with one meeting, or ``require="all"``, that is at once. A refused credential fails it at once too. This holds
    in every mode, also with ``soft_fail``, which skips only a time-out. Each poll retries transient errors, for fifteen
    minutes at most and no longer than ``timeout``; after that the task fails and its ``retries`` apply.

    One request reads fifty meetings. A meeting that has reached the target is not read again, even if its answer
    changes later. Only a rescheduled sensor on Airflow before 3.3 reads all of them: it is a new process at each poll
    and has no memory.

    XCom ``return_value``: the statuses last seen, for example ``{"651": "Y"}``; on a time-out or failure too. Beyond
    48 KiB their counts: ``{"counts": {"Y": 5000}}``.

    .. seealso:: `calendar.meeting.status.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html>`__

    :param event_id: the meeting, a positive whole number or its decimal text. (templated)
    :param event_ids: the meetings, a list of such ids; exactly one of this and ``event_id``. With an empty list the
        wait succeeds at once if ``require`` is ``all`` or a share; ``any`` and a number are refused. A deferrable wait
        takes 2,500 at most. (templated)
    :param target_status: ``Y`` (default), ``N`` or ``Q``, in any case. (templated)
    :param require: how many meetings have to reach the target: ``all`` (default), ``any``, a number, or a share such
        as ``60%``, which is rounded up. (templated)
    :param fail_on_statuses: letters that count as never becoming the target, for example ``("N",)``. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.
    :param deferrable: wait in the triggerer, without a worker slot; default from
        ``[operators] default_deferrable``. The first poll is made in the worker, later ones in the triggerer,
        together with those of all other waits that have the same connection id and ``poke_interval``.

    ``poke_interval``, ``timeout``, ``soft_fail``, ``never_fail``, ``silent_fail``, ``exponential_backoff`` and
    ``max_wait`` mean the same in poke, reschedule and deferrable mode. ``execution_timeout`` bounds the whole
    wait in poke and deferrable mode, and each single poke in reschedule mode. When deferred, the first poll
    comes no earlier than ten seconds after the deferral.
    """

    template_fields: Sequence[str] = (
        "event_id",
        "event_ids",
        "target_status",
        "require",
        "fail_on_statuses",
        "bitrix24_conn_id",
    )

    def __init__(
        self,
        *,
        event_id: Templated[int] | None = None,
        event_ids: Templated[Sequence[Templated[int]]] | None = None,
        target_status: Templated[str] = "Y",
        require: Templated[int] = "all",
        fail_on_statuses: Templated[Sequence[Templated[str]]] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_id = event_id
        self.event_ids = event_ids
        self.target_status = target_status
        self.require = require
        self.fail_on_statuses = fail_on_statuses

    def _condition(self) -> MeetingsCondition:
        from airflow_provider_b24cal.bitrix24.validation import check_event_id, check_ids, exactly_one
        from airflow_provider_b24cal.waiting.arguments import check_meetings, check_rule
        from airflow_provider_b24cal.waiting.conditions import MeetingsCondition

        exactly_one(event_id=self.event_id, event_ids=self.event_ids)
        ids = check_ids(self.event_ids) if self.event_id is None else [check_event_id(self.event_id)]
        rule = check_rule(self.target_status, self.fail_on_statuses, self.require)
        return check_meetings(MeetingsCondition(tuple(ids), rule), deferrable=self.deferrable)
