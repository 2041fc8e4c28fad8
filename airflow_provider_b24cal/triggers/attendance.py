"""The trigger behind the deferrable sensors."""

from __future__ import annotations

from inspect import signature
from itertools import count
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_b24cal import clock
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error, Permanence
from airflow_provider_b24cal.bitrix24.protocol.exchange import plan_retries
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryState
from airflow_provider_b24cal.triggers.shared_poll import shared_poll
from airflow_provider_b24cal.waiting.conditions import condition_from_dict
from airflow_provider_b24cal.waiting.evaluate import Evaluation, State
from airflow_provider_b24cal.waiting.log_lines import log_lines
from airflow_provider_b24cal.waiting.schedule import (
    HEARTBEAT,
    MIN_DEFERRAL,
    POLL_RETRY,
    interval,
    tick_from,
    tick_until,
)
from airflow_provider_b24cal.waiting.trigger_event import ResultKind, WaitResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_b24cal._airflow import Logger
    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
    from airflow_provider_b24cal.triggers.shared_poll import SharedPoll
    from airflow_provider_b24cal.waiting.conditions import WaitCondition
    from airflow_provider_b24cal.waiting.evaluate import Statuses


class Bitrix24AttendanceTrigger(BaseTrigger):
    """
    Poll a portal until a wait is over, then fire one event.

    It only reads. Its arguments are ids, letters and times: after a restart of the triggerer it continues from
    them, and makes an overdue poll at once. Waits in one triggerer poll together if they have the same connection id
    and ``poke_interval``, see :class:`~airflow_provider_b24cal.triggers.shared_poll.SharedPoll`.

    :param bitrix24_conn_id: a connection of type ``bitrix24``.
    :param wait: the condition, as its method ``to_dict`` returns it.
    :param seen: statuses that the first poll, made in the worker, has read, as the condition's method ``pack`` writes
        them.
    :param poke_interval: seconds between polls.
    :param deferred_at: time of the deferral, in seconds since the epoch.
    :param deadline: time at which the wait ends, in seconds since the epoch; a last poll is made then.
    :param until: an earlier deadline, from the event's start at the first poll; every later poll updates it.
    :param retry_timeout: seconds that the retries of one poll may take.
    :param exponential_backoff: double the interval after each poll.
    :param max_wait: the longest interval, in seconds; ``None`` for no bound.
    :param silent_fail: log errors and continue, as sensors do.
    """

    def __init__(
        self,
        *,
        bitrix24_conn_id: str,
        wait: Mapping[str, Any],
        seen: str,
        poke_interval: float,
        deferred_at: float,
        deadline: float,
        retry_timeout: float,
        until: float | None = None,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it unannotated
        self.bitrix24_conn_id = bitrix24_conn_id
        self.wait = wait
        self.seen = seen
        self.poke_interval = poke_interval
        self.deferred_at = deferred_at
        self.deadline = deadline
        self.until = until
        self.retry_timeout = retry_timeout
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.silent_fail = silent_fail

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, without secrets, hosts and rows."""
        arguments = {name: getattr(self, name) for name in signature(type(self)).parameters}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event of :class:`~airflow_provider_b24cal.waiting.trigger_event.WaitResult`."""
        yield TriggerEvent((await self._wait()).to_event())

    async def _wait(self) -> WaitResult:
        try:
            wait = condition_from_dict(self.wait)
        except Bitrix24Error as unknown:
            return WaitResult(ResultKind.FAILED, error=unknown)
        poll = shared_poll(self.bitrix24_conn_id)
        step = self._interval(0)
        # The worker has logged the poll before the deferral.
        log = _WaitLog(self.log, wait, logged_at=self.deferred_at, failed_at=clock.time())
        statuses = wait.unpack(self.seen)
        due, deadline = self._first_poll(poll, step), self._bound(self.until)
        for polls in count():
            await clock.asleep(max(0.0, min(due, deadline) - clock.time()))
            evaluation = await self._evaluate(wait, poll, statuses)
            now = clock.time()
            if evaluation.until is not None:
                deadline = self._bound(evaluation.until)
            # On a tick that all waits of this step share, never later than the interval of this one.
            due = tick_until(now + self._interval(polls), poll.origin(step, now), step)
            ending = self._ending(evaluation, now, deadline)
            log.add(statuses, evaluation, ending, now=now, next_poll=min(due, deadline) - now, deadline=deadline)
            if ending is not None:
                error = evaluation.failure if ending is ResultKind.FAILED else None
                return WaitResult(ending, evaluation.statuses, error)
            statuses = evaluation.statuses
        raise AssertionError("count() does not end")

    def _ending(self, evaluation: Evaluation, now: float, deadline: float) -> ResultKind | None:
        """Return how a poll has ended the wait; ``None`` if it continues."""
        if evaluation.state is State.ARRIVED:
            return ResultKind.ARRIVED
        if evaluation.failure is not None and not self.silent_fail:
            return ResultKind.FAILED
        if now < deadline:
            return None
        return ResultKind.TIMED_OUT if now >= self.deadline else ResultKind.EVENT_DEADLINE

    def _bound(self, until: float | None) -> float:
        """Return when the wait ends at the latest, not before an event may be fired."""
        return self.deadline if until is None else min(self.deadline, max(until, self.deferred_at + MIN_DEFERRAL))

    def _interval(self, polls: int) -> float:
        return interval(self.poke_interval, polls, exponential_backoff=self.exponential_backoff, max_wait=self.max_wait)

    def _first_poll(self, poll: SharedPoll, step: float) -> float:
        """Return when to poll first: an interval after the deferral, or at the next tick of other waits."""
        own, now = self.deferred_at + max(step, MIN_DEFERRAL), clock.time()
        if own <= now:
            return now  # the triggerer was down
        return tick_from(max(now, self.deferred_at + MIN_DEFERRAL), poll.origin(step, own), step)

    async def _evaluate(self, wait: WaitCondition, poll: SharedPoll, before: Statuses) -> Evaluation:
        try:
            return wait.evaluate(await self._poll(wait, poll, before), before)
        except Bitrix24Error as error:  # the connection itself cannot be used
            return Evaluation(State.UNREACHABLE, before, error=error)
        except Exception as error:
            if not self.silent_fail:
                raise
            self.log.exception("Poll failed; continuing because silent_fail is set: %s", type(error).__name__)
            return Evaluation(State.WAITING, before)

    async def _poll(self, wait: WaitCondition, poll: SharedPoll, before: Statuses) -> list[Outcome[Any]]:
        """Make the calls of a wait together with those of other waits, and retry those that failed.

        The shared poll makes each call once, so the retries are here only. There is none when the other answers end
        the wait.
        """
        calls = wait.calls(before)
        outcomes = await poll.call_many(calls)
        state = RetryState(POLL_RETRY.within(self.retry_timeout))
        while True:
            failed = {
                number: outcome.error
                for number, outcome in enumerate(outcomes)
                if outcome.error is not None and outcome.error.permanence is not Permanence.PERMANENT
            }
            # All waits have the same jitter, so that those that failed together are retried together.
            pending, pause, state = plan_retries(failed, state, poll.jitter)
            if pause is None or wait.evaluate(outcomes, before).state is not State.WAITING:
                return outcomes
            self.log.warning("Waiting %.1f s before a retry: %s", pause.seconds, pause.error)
            await clock.asleep(pause.seconds)
            answers = await poll.call_many([calls[number] for number in pending])
            for number, outcome in zip(pending, answers, strict=True):
                outcomes[number] = outcome


class _WaitLog:
    """The task log of a deferred wait: changes, a heartbeat, and the errors that ``silent_fail`` tolerates."""

    def __init__(self, log: Logger, wait: WaitCondition, *, logged_at: float, failed_at: float) -> None:
        self._log = log
        self._wait = wait
        self._logged_at = logged_at
        self._failed_at = failed_at
        self._failure = ""

    def add(
        self,
        before: Statuses,
        evaluation: Evaluation,
        ending: ResultKind | None,
        *,
        now: float,
        next_poll: float,
        deadline: float,
    ) -> None:
        """Log one poll."""
        lines = log_lines(
            self._wait,
            before,
            evaluation,
            ending=ending,
            next_poll=next_poll,
            deadline=deadline,
            heartbeat_due=now - self._logged_at >= HEARTBEAT,
        )
        for line in lines:
            self._log.info("%s", line)
        if lines:
            self._logged_at = now
        if ending is not None:
            return
        failure = "" if evaluation.failure is None else str(evaluation.failure)
        if failure and (failure != self._failure or now - self._failed_at >= HEARTBEAT):
            self._log.error("Poll failed; continuing because silent_fail is set: %s", failure)
            self._failed_at = now
        self._failure = failure
