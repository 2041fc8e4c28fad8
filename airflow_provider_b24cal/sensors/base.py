"""What sensors have in common: one wait, three modes, the same ends."""

from __future__ import annotations

import json
from abc import abstractmethod
from datetime import timedelta
from hashlib import sha256
from time import time
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow_provider_b24cal._airflow import (
    AirflowRescheduleException,
    AirflowSensorTimeout,
    AirflowSkipException,
    AirflowTaskTimeout,
    BaseSensorOperator,
    PokeReturnValue,
    conf,
    deferral_timed_out,
    task_memory,
)
from airflow_provider_b24cal.links.bitrix24 import Bitrix24BaseOperator

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal._airflow import Context
    from airflow_provider_b24cal.waiting.conditions import Statuses, WaitCondition
    from airflow_provider_b24cal.waiting.evaluate import Evaluation
    from airflow_provider_b24cal.waiting.trigger_event import ResultKind


DEFERRABLE: Final = conf.getboolean("operators", "default_deferrable", fallback=False)
"""What Airflow is configured to do when a task does not say."""

_SEEN: Final = "bitrix24_seen"
_EVENT_DEADLINE: Final = "The deadline before the event's start has passed."


class Bitrix24WaitSensor(BaseSensorOperator, Bitrix24BaseOperator):
    """
    Wait for answers in a portal, in poke, reschedule or deferrable mode.

    A subclass says what is waited for; everything about time, modes and ends is here.

    :param bitrix24_conn_id: a connection of type ``bitrix24``. (templated)
    :param deferrable: wait in the triggerer, without a worker slot. The first poll is made in the worker, later
        ones in the triggerer.
    """

    ui_color = "#e5f4ff"

    _statuses: Statuses
    _until: float | None
    _verdict: Evaluation | None
    _logged: Statuses
    _logged_at: float | None

    def __init__(self, *, bitrix24_conn_id: str, deferrable: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.bitrix24_conn_id = bitrix24_conn_id
        self.deferrable = deferrable
        self._forget()

    @abstractmethod
    def _wait(self) -> WaitCondition:
        """Return what is waited for.

        :raises InvalidArgumentError: an argument is not acceptable.
        """

    def execute(self, context: Context) -> Any:
        """Poll until the wait is over; in deferrable mode poll once and defer.

        :raises InvalidArgumentError: an argument is not acceptable; no mode and no flag makes it wait.
        """
        from airflow_provider_b24cal.bitrix24.validation import check_conn_id
        from airflow_provider_b24cal.waiting.schedule import MAX_DEFERRAL, SOONEST_EVENT

        check_conn_id(self.bitrix24_conn_id)
        self._wait()
        self._forget()
        patience = self._patience()
        if not self.deferrable or patience <= SOONEST_EVENT:
            return self._execute_here(context)
        deadline = time() + min(patience, MAX_DEFERRAL)
        try:
            first = self.poke(context)
        except (AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout) as error:
            self._leave(context, error)
            raise
        except Exception as error:  # noqa: BLE001 - silent_fail and never_fail speak of any failure
            if not self.silent_fail:
                self._leave(context, error)
                self._fail(error)
            self.log.error("First poll failed, going on because of silent_fail: %s", error)
        else:
            if first.is_done:
                return first.xcom_value
        return self._defer_until(deadline)

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask the portal once and judge."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
        from airflow_provider_b24cal.waiting.evaluate import State
        from airflow_provider_b24cal.waiting.schedule import PATIENCE
        from airflow_provider_b24cal.waiting.trigger_event import ResultKind

        wait = self._wait()
        with Bitrix24CalendarHook(self.bitrix24_conn_id, retry=PATIENCE.within(self._patience())) as hook:
            if self._logged_at is None:
                self.log.info("Acting as %s on %s", hook.acting_as(), hook.portal_url())
            evaluation = wait.judge(hook.call_many(wait.calls(self._statuses)), self._statuses)
        self._statuses, self._verdict = evaluation.statuses, evaluation
        self._until = self._until if evaluation.until is None else evaluation.until
        error = evaluation.error or evaluation.transient_error
        if error is not None:
            raise error
        if evaluation.state is State.ARRIVED:
            self._log_poll(ResultKind.ARRIVED)
            return PokeReturnValue(is_done=True, xcom_value=wait.xcom(evaluation.statuses))
        if evaluation.until is not None and time() >= evaluation.until:
            self._log_poll(ResultKind.EVENT_DEADLINE)
            self._time_out(wait, _EVENT_DEADLINE)
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Take up the trigger's event.

        :raises TriggerEventError: the event is missing or unknown, or does not show what was waited for.
        """
        from airflow_provider_b24cal.bitrix24.protocol.errors import TriggerEventError
        from airflow_provider_b24cal.waiting.trigger_event import ResultKind, end_from_event

        wait, end = self._wait(), end_from_event(event)
        self._statuses = end.statuses
        if end.ending is not ResultKind.ARRIVED:
            self._push_statuses(context)
        if end.ending in {ResultKind.TIMED_OUT, ResultKind.EVENT_DEADLINE}:
            self._time_out(wait, _EVENT_DEADLINE if end.ending is ResultKind.EVENT_DEADLINE else "")
        if end.error is not None:
            raise end.error
        if not wait.proves(end.statuses):
            raise TriggerEventError(f"The trigger says arrived, but shows {ascii(wait.xcom(end.statuses))[:200]}.")
        return wait.xcom(end.statuses)

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
            self._time_out(self._wait())
        self._fail(failure)

    def _execute_here(self, context: Context) -> Any:
        memory = task_memory(context) if self.mode == "reschedule" else None
        if memory is not None:
            self._recall(memory.get(_SEEN), context["ti"].try_number)
        try:
            return super().execute(context)
        except AirflowRescheduleException:
            if memory is not None:
                wait = self._wait()
                told = {"statuses": wait.pack(self._statuses), "told_at": self._logged_at}
                memory.set(_SEEN, {"try": context["ti"].try_number, "wait": _identity(wait), **told})
            raise
        except AirflowSkipException as skip:
            self._leave(context, skip)
            # Airflow's loop skips also a time-out that was raised within a poll.
            late = skip.__cause__
            if isinstance(late, AirflowTaskTimeout) or (self.never_fail and isinstance(late, AirflowSensorTimeout)):
                raise late from None
            raise
        except (Exception, AirflowTaskTimeout) as error:  # the latter is not always one of the former
            self._leave(context, error)
            raise

    def _get_next_poke_interval(self, started_at: Any, run_duration: Callable[[], float], poke_count: int) -> float:
        """Return Airflow's own interval, bounded, and not past the deadline before the event's start.

        Airflow asks for it after a poll with which the wait has not ended.
        """
        from airflow_provider_b24cal.waiting.schedule import MAX_DEFERRAL, SOONEST_EVENT

        now = time()
        seconds = min(float(super()._get_next_poke_interval(started_at, run_duration, poke_count)), MAX_DEFERRAL)
        if self._until is not None:
            # A rescheduled task that comes back within seconds can be taken for one that has died.
            least = SOONEST_EVENT if self.mode == "reschedule" else 1.0
            seconds = min(seconds, max(least, self._until - now))
        # When rescheduled, execution_timeout bounds each poll alone.
        bound = self.timeout if self.mode == "reschedule" else self._patience()
        self._log_poll(next_poll=seconds, deadline=now + bound - run_duration())
        return seconds

    def _recall(self, seen: Any, try_number: int) -> None:
        """Take up what the poll before has seen, if it belongs to this try and to the same wait.

        Templates are rendered anew for every poll, and may name other events then.
        """
        wait = self._wait()
        if isinstance(seen, dict) and (seen.get("try"), seen.get("wait")) == (try_number, _identity(wait)):
            self._statuses = wait.unpack(seen["statuses"])
            self._logged_at = seen.get("told_at")
            self._logged = self._statuses

    def _forget(self) -> None:
        self._statuses, self._logged = {}, {}
        self._verdict = self._until = self._logged_at = None

    def _leave(self, context: Context, error: BaseException) -> None:
        """Leave what was seen last, in the log and as the result of a wait that did not arrive."""
        from airflow_provider_b24cal.waiting.trigger_event import ResultKind

        if isinstance(error, AirflowSkipException):
            error = error.__cause__ or error  # what soft_fail and never_fail have skipped
        late = isinstance(error, AirflowSensorTimeout | AirflowSkipException | AirflowTaskTimeout)
        self._log_poll(ResultKind.TIMED_OUT if late else ResultKind.FAILED)
        self._push_statuses(context)

    def _push_statuses(self, context: Context) -> None:
        if self._statuses and self.do_xcom_push:
            context["ti"].xcom_push(key="return_value", value=self._wait().xcom(self._statuses))

    def _log_poll(self, ending: ResultKind | None = None, *, next_poll: float = 0.0, deadline: float = 0.0) -> None:
        """Log the last poll; of a wait that has ended, only once."""
        from airflow_provider_b24cal.waiting.log_lines import log_lines
        from airflow_provider_b24cal.waiting.schedule import HEARTBEAT

        if self._verdict is None:
            return
        now = time()
        lines = log_lines(
            self._wait(),
            self._logged,
            self._verdict,
            ending=ending,
            next_poll=next_poll,
            deadline=deadline if self._until is None else min(deadline, self._until),
            heartbeat_due=self._logged_at is None or now - self._logged_at >= HEARTBEAT,
        )
        for line in lines:
            self.log.info("%s", line)
        if lines:
            self._logged_at = now
        self._logged = self._verdict.statuses
        if ending is not None:
            self._verdict = None

    def _patience(self) -> float:
        """Return the seconds that one try may last: Airflow applies neither bound to a deferred task."""
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    def _defer_until(self, deadline: float) -> NoReturn:
        from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
        from airflow_provider_b24cal.waiting.schedule import PATIENCE, SOONEST_EVENT

        now = time()
        # The first poll may have taken its time.
        deadline = max(deadline, now + SOONEST_EVENT)
        self._log_poll(next_poll=max(self.poke_interval, SOONEST_EVENT), deadline=deadline)
        patience = PATIENCE.within(self._patience()).total
        wait = self._wait()
        self.defer(
            trigger=Bitrix24AttendanceTrigger(
                bitrix24_conn_id=self.bitrix24_conn_id,
                wait=wait.to_dict(),
                seen=wait.pack(self._statuses),
                poke_interval=self.poke_interval,
                deferred_at=now,
                deadline=deadline,
                until=self._until,
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

    def _time_out(self, wait: WaitCondition, why: str = "") -> NoReturn:
        from airflow_provider_b24cal.bitrix24.calendar.status import WORDS

        message = why or f"Timed out after {self._patience():g} s."
        message = f"{message} Waited for {wait} to be {WORDS[wait.rule.target]} (require={wait.rule.quorum.text})."
        if not why and self._patience() < self.timeout:
            raise AirflowTaskTimeout(message)
        if self.soft_fail:
            raise AirflowSkipException(f"{message} Skipping because soft_fail is set.")
        raise AirflowSensorTimeout(message)

    def _fail(self, failure: Exception) -> NoReturn:
        if self.never_fail:
            raise AirflowSkipException(f"Skipping because never_fail is set: {failure}")
        raise failure


def _identity(wait: WaitCondition) -> str:
    """Return a short text that another wait does not have."""
    return sha256(json.dumps(wait.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
