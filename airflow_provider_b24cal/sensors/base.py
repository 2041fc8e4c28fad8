"""The base class of the sensors: one wait in three modes, with the same results."""

from __future__ import annotations

import json
from abc import abstractmethod
from datetime import timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, NoReturn

from airflow_provider_b24cal import clock
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
from airflow_provider_b24cal.operators.base import Bitrix24BaseOperator, fail_fast

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_provider_b24cal._airflow import Context
    from airflow_provider_b24cal.waiting.conditions import WaitCondition
    from airflow_provider_b24cal.waiting.evaluate import Evaluation, Statuses
    from airflow_provider_b24cal.waiting.trigger_event import ResultKind


DEFERRABLE: Final = conf.getboolean("operators", "default_deferrable", fallback=False)
"""The default of Airflow's configuration."""

_STATE_KEY: Final = "bitrix24_seen"
_BEFORE_START: Final = "The deadline before the event's start has passed."


class Bitrix24WaitSensor(BaseSensorOperator, Bitrix24BaseOperator):
    """
    Wait for answers in a portal, in poke, reschedule or deferrable mode.

    A subclass returns the condition; time, modes and results are handled here.

    :param deferrable: wait in the triggerer, without a worker slot. The first poll is made in the worker, later
        ones in the triggerer.
    """

    _statuses: Statuses  # of the last poll
    _until: float | None  # the deadline before the event's start
    _evaluation: Evaluation | None  # of the last poll, until it is logged as the end of the wait
    _logged: Statuses  # that the log has shown
    _logged_at: float | None

    def __init__(self, *, deferrable: bool = DEFERRABLE, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self._reset()

    @abstractmethod
    def _condition(self) -> WaitCondition:
        """Return the condition to wait for.

        :raises InvalidArgumentError: an argument is invalid.
        """

    def execute(self, context: Context) -> Any:
        """Poll until the wait is over; in deferrable mode poll once and defer.

        :raises InvalidArgumentError: an argument is invalid; the task fails at once in every mode.
        """
        # By name, since BaseSensorOperator comes first among the base classes.
        return Bitrix24BaseOperator.execute(self, context)

    def _execute(self, context: Context) -> Any:
        from airflow_provider_b24cal.bitrix24.validation import check_conn_id
        from airflow_provider_b24cal.waiting.schedule import MAX_DEFERRAL, MIN_DEFERRAL

        check_conn_id(self.bitrix24_conn_id)
        self._condition()
        self._reset()
        time_limit = self._time_limit()
        if not self.deferrable or time_limit <= MIN_DEFERRAL:
            return self._execute_in_worker(context)
        deadline = clock.time() + min(time_limit, MAX_DEFERRAL)
        try:
            first = self.poke(context)
        except (AirflowSensorTimeout, AirflowSkipException, AirflowTaskTimeout) as error:
            self._finish(context, error)
            raise
        except Exception as error:  # noqa: BLE001 - silent_fail and never_fail apply to any error
            if not self.silent_fail:
                self._finish(context, error)
                self._fail(error)
            self.log.error("First poll failed; continuing because silent_fail is set: %s", error)
        else:
            if first.is_done:
                return first.xcom_value
        return self._defer_until(deadline)

    def poke(self, context: Context) -> PokeReturnValue:
        """Poll the portal once and evaluate the statuses."""
        from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
        from airflow_provider_b24cal.waiting.evaluate import State
        from airflow_provider_b24cal.waiting.schedule import POLL_RETRY
        from airflow_provider_b24cal.waiting.trigger_event import ResultKind

        wait = self._condition()
        with Bitrix24CalendarHook(self.bitrix24_conn_id, retry=POLL_RETRY.within(self._time_limit())) as hook:
            if self._logged_at is None:
                self.log.info("Acting as %s", hook.acting_as())
            evaluation = wait.evaluate(hook.call_many(wait.calls(self._statuses)), self._statuses)
        self._statuses, self._evaluation = evaluation.statuses, evaluation
        self._until = self._until if evaluation.until is None else evaluation.until
        if evaluation.failure is not None:
            raise evaluation.failure
        if evaluation.state is State.ARRIVED:
            self._log_poll(ResultKind.ARRIVED)
            return PokeReturnValue(is_done=True, xcom_value=wait.xcom(evaluation.statuses))
        if evaluation.until is not None and clock.time() >= evaluation.until:
            self._log_poll(ResultKind.EVENT_DEADLINE)
            self._time_out(wait, _BEFORE_START)
        return PokeReturnValue(is_done=False)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the result that the trigger's event carries, or raise its error.

        :raises TriggerEventError: the event is missing or unknown, or does not fulfil the condition.
        """
        from airflow_provider_b24cal.bitrix24.protocol.errors import TriggerEventError
        from airflow_provider_b24cal.waiting.trigger_event import ResultKind, result_from_event

        wait, result = self._condition(), result_from_event(event)
        self._statuses = result.statuses
        if result.ending is not ResultKind.ARRIVED:
            self._push_statuses(context)
        if result.ending in {ResultKind.TIMED_OUT, ResultKind.EVENT_DEADLINE}:
            self._time_out(wait, _BEFORE_START if result.ending is ResultKind.EVENT_DEADLINE else "")
        if result.error is not None:
            raise result.error
        if not wait.is_met_by(result.statuses):
            raise TriggerEventError(f"The trigger reports arrived with {ascii(wait.xcom(result.statuses))[:200]}.")
        return wait.xcom(result.statuses)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume a deferred task, with the same result as in poke mode on every version of Airflow.

        Airflow's own sensors skip any ``AirflowException`` of a deferred wait when ``soft_fail`` is set, and those of
        2.11 retry a wait that timed out.
        """
        with fail_fast(permanent_errors=self.retry_permanent_errors):
            try:
                # BaseOperator's method, not BaseSensorOperator's.
                return super(BaseSensorOperator, self).resume_execution(next_method, next_kwargs, context)
            except (AirflowSensorTimeout, AirflowSkipException):
                raise
            except Exception as error:  # noqa: BLE001 - never_fail applies to any error
                failure = error
            if deferral_timed_out(failure):
                self._time_out(self._condition())
            self._fail(failure)

    def _execute_in_worker(self, context: Context) -> Any:
        # None before Airflow 3.3: then a rescheduled sensor reads every status again at each poll.
        memory = task_memory(context) if self.mode == "reschedule" else None
        if memory is not None:
            self._restore(memory.get(_STATE_KEY), context["ti"].try_number)
        try:
            return super().execute(context)
        except AirflowRescheduleException:
            if memory is not None:
                wait = self._condition()
                seen = {"statuses": wait.pack(self._statuses), "logged_at": self._logged_at}
                memory.set(_STATE_KEY, {"try": context["ti"].try_number, "wait": _identity(wait), **seen})
            raise
        except AirflowSkipException as skip:
            self._finish(context, skip)
            # Airflow's loop also skips a time-out that was raised within a poll.
            late = skip.__cause__
            if isinstance(late, AirflowTaskTimeout) or (self.never_fail and isinstance(late, AirflowSensorTimeout)):
                raise late from None
            raise
        except (Exception, AirflowTaskTimeout) as error:  # in some versions the latter is no subclass of the former
            self._finish(context, error)
            raise

    def _get_next_poke_interval(self, started_at: Any, run_duration: Callable[[], float], poke_count: int) -> float:
        """Return Airflow's own interval, bounded, and not past the deadline before the event's start.

        Airflow calls it after each poll that does not end the wait.
        """
        from airflow_provider_b24cal.waiting.schedule import MAX_DEFERRAL, MIN_DEFERRAL

        now = clock.time()
        seconds = min(float(super()._get_next_poke_interval(started_at, run_duration, poke_count)), MAX_DEFERRAL)
        if self._until is not None:
            # Airflow may mistake a task that is back within seconds for a dead one.
            least = MIN_DEFERRAL if self.mode == "reschedule" else 1.0
            seconds = min(seconds, max(least, self._until - now))
        # When rescheduled, execution_timeout bounds each poll alone.
        bound = self.timeout if self.mode == "reschedule" else self._time_limit()
        self._log_poll(next_poll=seconds, deadline=now + bound - run_duration())
        return seconds

    def _restore(self, seen: Any, try_number: int) -> None:
        """Restore the statuses of the last poll, if it belongs to this try and to the same condition.

        Templates are rendered for every poll, and may name other events then.
        """
        wait = self._condition()
        if isinstance(seen, dict) and (seen.get("try"), seen.get("wait")) == (try_number, _identity(wait)):
            self._statuses = wait.unpack(seen["statuses"])
            self._logged_at = seen.get("logged_at")
            self._logged = self._statuses

    def _reset(self) -> None:
        self._statuses, self._logged = {}, {}
        self._evaluation = self._until = self._logged_at = None

    def _finish(self, context: Context, error: BaseException) -> None:
        """Log and push the statuses last seen, of a wait that ended without arriving."""
        from airflow_provider_b24cal.waiting.trigger_event import ResultKind

        if isinstance(error, AirflowSkipException):
            error = error.__cause__ or error  # the error that soft_fail or never_fail has skipped
        late = isinstance(error, AirflowSensorTimeout | AirflowSkipException | AirflowTaskTimeout)
        self._log_poll(ResultKind.TIMED_OUT if late else ResultKind.FAILED)
        self._push_statuses(context)

    def _push_statuses(self, context: Context) -> None:
        if self._statuses and self.do_xcom_push:
            context["ti"].xcom_push(key="return_value", value=self._condition().xcom(self._statuses))

    def _log_poll(self, ending: ResultKind | None = None, *, next_poll: float = 0.0, deadline: float = 0.0) -> None:
        """Log the last poll; of a wait that has ended, only once."""
        from airflow_provider_b24cal.waiting.log_lines import log_lines
        from airflow_provider_b24cal.waiting.schedule import HEARTBEAT

        if self._evaluation is None:
            return
        now = clock.time()
        lines = log_lines(
            self._condition(),
            self._logged,
            self._evaluation,
            ending=ending,
            next_poll=next_poll,
            deadline=deadline if self._until is None else min(deadline, self._until),
            heartbeat_due=self._logged_at is None or now - self._logged_at >= HEARTBEAT,
        )
        for line in lines:
            self.log.info("%s", line)
        if lines:
            self._logged_at = now
        self._logged = self._evaluation.statuses
        if ending is not None:
            self._evaluation = None

    def _time_limit(self) -> float:
        """Return the seconds that one try may take.

        Airflow does not apply ``timeout`` to a deferred task, and only 2.11 applies ``execution_timeout``.
        """
        if self.execution_timeout is None:
            return self.timeout
        return min(self.timeout, self.execution_timeout.total_seconds())

    def _defer_until(self, deadline: float) -> NoReturn:
        from airflow_provider_b24cal.triggers.attendance import Bitrix24AttendanceTrigger
        from airflow_provider_b24cal.waiting.arguments import pack_for_trigger
        from airflow_provider_b24cal.waiting.schedule import MIN_DEFERRAL, POLL_RETRY

        now = clock.time()
        # The first poll may have used up most of the time.
        deadline = max(deadline, now + MIN_DEFERRAL)
        self._log_poll(next_poll=max(self.poke_interval, MIN_DEFERRAL), deadline=deadline)
        retry_timeout = POLL_RETRY.within(self._time_limit()).total
        wait = self._condition()
        self.defer(
            trigger=Bitrix24AttendanceTrigger(
                bitrix24_conn_id=self.bitrix24_conn_id,
                wait=wait.to_dict(),
                seen=pack_for_trigger(wait, self._statuses),
                poke_interval=self.poke_interval,
                deferred_at=now,
                deadline=deadline,
                until=self._until,
                retry_timeout=retry_timeout,
                exponential_backoff=bool(self.exponential_backoff),
                max_wait=self.max_wait.total_seconds() if self.max_wait is not None else None,
                silent_fail=self.silent_fail,
            ),
            method_name="execute_complete",
            # The trigger keeps the deadline itself; this is for a trigger that hangs. Its last poll may retry
            # transient errors, as in poke mode.
            timeout=timedelta(seconds=deadline - now + retry_timeout),
        )
        raise AssertionError("defer() does not return")

    def _time_out(self, wait: WaitCondition, why: str = "") -> NoReturn:
        message = why or f"Timed out after {self._time_limit():g} s."
        message = f"{message} Waited for {wait} to be {wait.rule.label} (require={wait.rule.quorum.text})."
        if not why and self._time_limit() < self.timeout:
            raise AirflowTaskTimeout(message)
        if self.soft_fail:
            raise AirflowSkipException(f"{message} Skipping because soft_fail is set.")
        raise AirflowSensorTimeout(message)

    def _fail(self, failure: Exception) -> NoReturn:
        if self.never_fail:
            raise AirflowSkipException(f"Skipping because never_fail is set: {failure}")
        raise failure


def _identity(wait: WaitCondition) -> str:
    """Return a short text that identifies a condition."""
    return sha256(json.dumps(wait.to_dict(), sort_keys=True).encode()).hexdigest()[:16]
