"""Operators that read and set the acting user's participation status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_provider_b24cal.operators.base import Bitrix24BaseOperator

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow_provider_b24cal._airflow import Context, Templated
    from airflow_provider_b24cal.bitrix24.calendar.status import MeetingStatus


class Bitrix24GetMeetingStatusOperator(Bitrix24BaseOperator):
    """
    Return the acting user's participation status in one meeting or many.

    XCom ``return_value``: for ``event_id`` the letter, ``"Y"``; for ``event_ids`` the letters by id, ``{"651": "Y"}``,
    without those that failed. Beyond 48 KiB their counts, ``{"counts": {"Y": 5000}}``; to use so many letters, call the
    hook in ``@task``. If meetings failed, ``failures`` holds the first hundred of them, as far as there is room, and
    ``failed`` their number; both are pushed before the task fails.

    .. seealso:: `calendar.meeting.status.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html>`__

    :param event_id: the meeting, a positive whole number or its decimal text. (templated)
    :param event_ids: the meetings, a list of such ids; exactly one of this and ``event_id``. (templated)
    :param fail_on: with ``event_ids``, when the task fails: ``any`` meeting failed (default), ``all`` did, or
        ``none``: never. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.

    The task fails with a :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.Bitrix24Error` that says which
    argument is invalid, that the user is not invited, that there is no such meeting, or what the
    portal refused.
    """

    template_fields: Sequence[str] = ("event_id", "event_ids", "fail_on", "bitrix24_conn_id")

    def __init__(
        self,
        *,
        event_id: Templated[int] | None = None,
        event_ids: Templated[Sequence[Templated[int]]] | None = None,
        fail_on: Templated[str] = "any",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_id: Any = event_id
        self.event_ids: Any = event_ids
        self.fail_on = fail_on

    def _execute(self, context: Context) -> str | dict[str, Any]:
        from airflow_provider_b24cal.bitrix24.serialization import cap_letters
        from airflow_provider_b24cal.bitrix24.validation import check_choice, exactly_one
        from airflow_provider_b24cal.operators.bulk import FAIL_ON, describe, raise_failures
        from airflow_provider_b24cal.operators.task_log import log_table, status_label

        exactly_one(event_id=self.event_id, event_ids=self.event_ids)
        fail_on = check_choice(self.fail_on, FAIL_ON, "fail_on")
        with self._connect() as hook:
            if self.event_id is not None:
                status = hook.get_meeting_status(self.event_id)
                self.log.info("Event %s: %s", self.event_id, status.label)
                return status.value
            outcomes = hook.get_meeting_statuses(self.event_ids)
        failed = {event_id: outcome.error for event_id, outcome in outcomes.items() if outcome.error is not None}
        letters = {str(event_id): outcome.unwrap().value for event_id, outcome in outcomes.items() if outcome.ok}
        self.log.info("%d meetings read, %d failed", len(letters), len(failed))
        log_table(
            self.log,
            "Statuses",
            ("event", "status"),
            [(event_id, status_label(outcome.value, outcome.error)) for event_id, outcome in outcomes.items()],
        )
        result = cap_letters(letters)
        if failed:
            context["ti"].xcom_push(key="return_value", value=result)
            context["ti"].xcom_push(key="failed", value=len(failed))
            context["ti"].xcom_push(key="failures", value=describe(failed))
            raise_failures(failed, len(outcomes), fail_on, self.log)
        return result


class Bitrix24SetMeetingStatusOperator(Bitrix24BaseOperator):
    """
    Set the acting user's participation status in one meeting or many, and verify it by reading it back.

    A status that is in place is not set again, because the portal notifies the organiser of every set. So a retried or
    cleared task sets nothing twice.

    XCom ``return_value``::

        {"total": 1, "changed": 1, "unchanged": 0, "failed": 0,
         "statuses": {"651": "Y"}, "previous": {"651": "Q"}, "failures": {}}

    ``statuses`` holds what was read back. On failure the same is pushed before the task fails, with
    ``failures`` naming the error's class, code and text, cut to 200 letters, of the first hundred as far as there
    is room; ``failed`` counts them all. When all of it would be larger than 48 KiB, ``statuses`` and ``previous``
    are counted instead of listed, ``{"counts": {"Y": 5000}}``.

    .. seealso:: `calendar.meeting.status.set
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-set.html>`__

    :param event_id: the meeting, a positive whole number or its decimal text. (templated)
    :param event_ids: the meetings, a list of such ids. (templated)
    :param statuses: the wanted status of each meeting, ``{651: "Y", 653: "N"}``; exactly one of this,
        ``event_ids`` and ``event_id``. Airflow 3.0 takes only texts as keys, ``{"651": "Y"}``. (templated)
    :param status: with ``event_id`` or ``event_ids``: ``Y`` accepted, ``N`` declined or ``Q`` not answered, in
        any case. (templated)
    :param fail_on: when the task fails: ``any`` meeting failed (default), ``all`` did, or ``none``:
        never. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param retry_permanent_errors: whether Airflow's ``retries`` apply to errors that a retry cannot resolve; default
        True. False raises ``AirflowFailException`` in their place, which ends the task at once.

    The task fails with a :class:`~airflow_provider_b24cal.bitrix24.protocol.errors.Bitrix24Error` that says which
    argument is invalid, that the user is not invited or is the organiser, that there is no such
    meeting, that the set was not applied, or what the portal refused.
    """

    template_fields: Sequence[str] = ("event_id", "event_ids", "statuses", "status", "fail_on", "bitrix24_conn_id")

    def __init__(
        self,
        *,
        event_id: Templated[int] | None = None,
        event_ids: Templated[Sequence[Templated[int]]] | None = None,
        statuses: Templated[Mapping[Any, Templated[str]]] | None = None,
        status: Templated[str] | None = None,
        fail_on: Templated[str] = "any",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_id = event_id
        self.event_ids = event_ids
        self.statuses = statuses
        self.status = status
        self.fail_on = fail_on

    def _execute(self, context: Context) -> dict[str, Any]:
        from airflow_provider_b24cal.bitrix24.validation import check_choice
        from airflow_provider_b24cal.operators.bulk import FAIL_ON, raise_failures, summarise
        from airflow_provider_b24cal.operators.task_log import log_changes

        wanted, fail_on = self._wanted(), check_choice(self.fail_on, FAIL_ON, "fail_on")
        with self._connect() as hook:
            changes = hook.set_meeting_statuses(wanted)
        summary = summarise(changes.values())
        log_changes(self.log, list(changes.values()), summary)
        failed = {event_id: change.error for event_id, change in changes.items() if change.error is not None}
        if failed:
            context["ti"].xcom_push(key="return_value", value=summary)
            raise_failures(failed, len(changes), fail_on, self.log)
        return summary

    def link_target(self) -> dict[str, Any]:
        """Return what the button opens: the meeting, or the calendar when there are many."""
        if isinstance(self.statuses, dict) and len(self.statuses) == 1:
            return {"event_id": next(iter(self.statuses))}
        return super().link_target()

    def _wanted(self) -> dict[int, MeetingStatus]:
        from airflow_provider_b24cal.bitrix24.protocol.errors import InvalidArgumentError
        from airflow_provider_b24cal.bitrix24.validation import (
            check_event_id,
            check_ids,
            check_wanted_status,
            check_wanted_statuses,
            exactly_one,
        )

        exactly_one(event_id=self.event_id, event_ids=self.event_ids, statuses=self.statuses)
        if self.statuses is not None:
            if self.status is not None:
                raise InvalidArgumentError(
                    "Invalid status: expected none together with statuses, which holds each status."
                )
            return check_wanted_statuses(self.statuses)
        event_ids = check_ids(self.event_ids) if self.event_ids is not None else [check_event_id(self.event_id)]
        return dict.fromkeys(event_ids, check_wanted_status(self.status))
