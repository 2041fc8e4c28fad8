"""The sensor that waits for the acting user's participation status."""

from __future__ import annotations

from datetime import timedelta
from time import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow_provider_b24cal._airflow import (
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
    deferral_timed_out,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal._airflow import Context
    from airflow_provider_b24cal.waiting import Rule

SOONEST_EVENT: Final = 10.0
"""Seconds that a trigger stays silent after the deferral.

Airflow's scheduler can fail a task whose trigger fires within a few seconds: it then still takes the end of
the deferring process for an unexpected one.
"""


class Bitrix24MeetingStatusSensor(BaseSensorOperator):
    """
    Wait until the acting user's participation status in a meeting is ``Y``, or another one.

    ``Q`` waits. ``N`` waits too, since people change their minds, unless it is listed in
    ``fail_on_statuses``. What can never become the target fails the try at once, in every mode and whatever
    ``soft_fail`` says: the user is the organiser (``H``), is not invited, there is no such meeting, the
    credential is refused. Errors in passing are repeated within the bounds of
    :class:`~airflow_provider_b24cal.bitrix24.limits.RetryPolicy` at every poll; after that the task fails and
    its ``retries`` apply. Only the time-out may be skipped.

    XCom ``return_value``: the statuses, for example ``{"651": "Y"}``.

    .. seealso:: `calendar.meeting.status.get
        <https://apidocs.bitrix24.com/api-reference/calendar/calendar-event/calendar-meeting-status-get.html>`__

    :param event_id: the meeting, a positive whole number or its decimal text. (templated)
    :param target_status: ``Y`` (default), ``N`` or ``Q``, in any case. (templated)
    :param fail_on_statuses: letters that end the wait as failed, for example ``("N",)``. (templated)
    :param bitrix24_conn_id: a connection of type ``bitrix24``; default ``bitrix24_default``. (templated)
    :param deferrable: wait in the triggerer, without a worker slot; default from
        ``[operators] default_deferrable``. The first poll is made in the worker, later ones in the triggerer.

    ``poke_interval``, ``timeout``, ``soft_fail``, ``never_fail``, ``silent_fail``, ``exponential_backoff`` and
    ``max_wait`` mean the same in poke, reschedule and deferrable mode. ``execution_timeout`` bounds the whole
    wait in poke and deferrable mode, and each single poke in reschedule mode. When deferred, the first poll
    comes no earlier than ten seconds after the deferral.
    """

    template_fields: Sequence[str] = ("event_id", "target_status", "fail_on_statuses", "bitrix24_conn_id")
    ui_color = "#e5f4ff"

    def __init__(
        self,
        *,
        event_id: int | str,
        target_status: str = "Y",
        fail_on_statuses: Sequence[str] = (),
        bitrix24_conn_id: str = "bitrix24_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_id = event_id
        self.target_status = target_status
        self.fail_on_statuses = fail_on_statuses
        self.bitrix24_conn_id = bitrix24_conn_id
        self.deferrable = deferrable

    def execute(self, context: Context) -> Any:
        """Poll until the wait is over; in deferrable mode poll once and defer.

        :raises InvalidArgumentError: an argument is not acceptable; no mode and no flag makes it wait.
        """
        self._checked()
        patience = self._patience()
        if not self.deferrable or patience <= SOONEST_EVENT:
            return super().execute(context)
        deadline = time() + patience
        try:
            first = self.poke(context)
        except Exception as error:  # noqa: BLE001 - silent_fail and never_fail speak of any failure
            if not self.silent_fail:
                self._fail(error)
            self.log.error("First poll failed, going on because of silent_fail: %s", error)
        else:
            if first.is_done:
                return first.xcom_value
        return self._defer_until(deadline)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask the portal once and judge."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
        from airflow_provider_b24cal.waiting import PATIENCE, State, as_xcom, judge

        event_id, rule = self._checked()
        with Bitrix24CalendarHook(self.bitrix24_conn_id, retry=PATIENCE.within(self._patience())) as hook:
            verdict = judge(hook.get_meeting_statuses([event_id]), rule)
        error = verdict.error or verdict.trouble
        if error is not None:
            raise error
        arrived = verdict.state is State.ARRIVED
        self.log.info("%s %s; %s", "Arrived at" if arrived else "Waiting for", rule.target.value, verdict.words)
        return PokeReturnValue(arrived, as_xcom(verdict.statuses))

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, str]:
        """Take up the trigger's event.

        :raises TriggerEventError: the event is missing or unknown, or does not show what was waited for.
        """
        from airflow_provider_b24cal.bitrix24.errors import TriggerEventError
        from airflow_provider_b24cal.waiting import Ending, as_xcom, end_from_event

        event_id, rule = self._checked()
        end = end_from_event(event)
        if end.ending is Ending.TIMED_OUT:
            self._time_out()
        if end.error is not None:
            raise end.error
        if end.statuses != {event_id: rule.target}:
            raise TriggerEventError(f"The trigger says arrived, but shows {as_xcom(end.statuses)}.", event_id=event_id)
        return as_xcom(end.statuses)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Take up a deferred task, with the end that poke mode would have had on every version of Airflow.

        Airflow's own sensors skip whatever failed in a deferred wait when ``soft_fail`` is set, and those of
        2.11 retry a wait that timed out.
        """
        try:
            # Past the sensor's own handling, straight to the operator's.
            return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
        except (AirflowSensorTimeout, AirflowSkipException):
            raise
        except Exception as error:  # noqa: BLE001 - never_fail speaks of any failure
            failure = error
        if deferral_timed_out(failure):
            self._time_out()
        self._fail(failure)

    def _checked(self) -> tuple[int, Rule]:
        from airflow_provider_b24cal.bitrix24.errors import InvalidArgumentError
        from airflow_provider_b24cal.bitrix24.inputs import check_event_id, check_wanted_status
        from airflow_provider_b24cal.waiting import Rule

        event_id = check_event_id(self.event_id)
        target = check_wanted_status(self.target_status, "target_status")
        given = self.fail_on_statuses
        letters = (given,) if isinstance(given, str) else given
        fail_on = frozenset(check_wanted_status(letter, "fail_on_statuses") for letter in letters)
        if target in fail_on:
            raise InvalidArgumentError(f"fail_on_statuses holds {target.value}, which is the target_status.")
        return event_id, Rule(target, fail_on)

    def _patience(self) -> float:
        """Return the seconds that one try may last: Airflow applies neither bound to a deferred task."""
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    def _defer_until(self, deadline: float) -> NoReturn:
        from airflow_provider_b24cal.triggers.meeting_status import Bitrix24MeetingStatusTrigger
        from airflow_provider_b24cal.waiting import PATIENCE

        (event_id, rule), now = self._checked(), time()
        # The first poll may have taken its time.
        deadline = max(deadline, now + SOONEST_EVENT)
        patience = PATIENCE.within(self._patience()).total
        self.defer(
            trigger=Bitrix24MeetingStatusTrigger(
                bitrix24_conn_id=self.bitrix24_conn_id,
                event_ids=[event_id],
                target_status=rule.target.value,
                fail_on_statuses=sorted(letter.value for letter in rule.fail_on),
                poke_interval=self.poke_interval,
                first_poll_at=now + max(self.poke_interval, SOONEST_EVENT),
                deadline=deadline,
                patience=patience,
                exponential_backoff=bool(self.exponential_backoff),
                max_wait=self.max_wait.total_seconds() if self.max_wait is not None else None,
                silent_fail=self.silent_fail,
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline itself; this is for a trigger that does not end. Its last poll may
            # bear errors in passing, as poke mode's does.
            timeout=timedelta(seconds=deadline - now + patience),
        )
        raise AssertionError("defer() does not return")

    def _time_out(self) -> NoReturn:
        message = f"Not {self.target_status} after {self._patience():g} seconds (event {self.event_id})."
        if self._patience() < self.timeout:
            raise AirflowTaskTimeout(message)
        if self.soft_fail:
            raise AirflowSkipException(f"{message} Skipping because soft_fail is set.")
        raise AirflowSensorTimeout(message)

    def _fail(self, failure: Exception) -> NoReturn:
        if self.never_fail:
            raise AirflowSkipException(f"Skipping because never_fail is set: {failure}")
        raise failure
