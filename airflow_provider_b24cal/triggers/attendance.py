"""The trigger behind the deferrable sensors."""

from __future__ import annotations

from asyncio import sleep
from time import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.protocol.exchange import Pause, retry_loop
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryState
from airflow_provider_b24cal.triggers.shared_poll import shared_poll
from airflow_provider_b24cal.waiting.conditions import condition_from_dict
from airflow_provider_b24cal.waiting.evaluate import Evaluation, State
from airflow_provider_b24cal.waiting.log_lines import log_lines
from airflow_provider_b24cal.waiting.schedule import (
    HEARTBEAT,
    PATIENCE,
    SOONEST_EVENT,
    interval,
    tick_from,
    tick_until,
)
from airflow_provider_b24cal.waiting.trigger_event import ResultKind, WaitResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome
    from airflow_provider_b24cal.triggers.shared_poll import SharedPoll
    from airflow_provider_b24cal.waiting.conditions import Statuses, WaitCondition


class Bitrix24AttendanceTrigger(BaseTrigger):
    """
    Poll a portal until a wait is over, then fire one event.

    It only reads. Its arguments are ids, letters and times: after a restart of the triggerer it goes on from
    them, and a poll that is overdue is made at once. Waits on the same connection id in one triggerer poll
    together, see :class:`~airflow_provider_b24cal.triggers.shared_poll.SharedPoll`.

    :param bitrix24_conn_id: a connection of type ``bitrix24``.
    :param wait: what is waited for, as
        :meth:`~airflow_provider_b24cal.waiting.conditions.WaitCondition.to_dict` describes it.
    :param seen: statuses that the first poll, made in the worker, has read, as
        :meth:`~airflow_provider_b24cal.waiting.conditions.WaitCondition.pack` writes them.
    :param poke_interval: seconds between polls.
    :param deferred_at: time of the deferral, in seconds since the epoch.
    :param deadline: time at which the wait ends, in seconds since the epoch; a last poll is made then.
    :param until: an earlier end that the first poll has told, as the event was then; every later poll tells it anew.
    :param patience: seconds that one poll may spend on errors in passing, at most.
    :param exponential_backoff: double the interval after each poll.
    :param max_wait: the longest interval, in seconds; ``None`` for no bound.
    :param silent_fail: log errors and go on, as sensors do.
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
        patience: float,
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
        self.patience = patience
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.silent_fail = silent_fail

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments; no secret, no host, no row is among them."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "bitrix24_conn_id": self.bitrix24_conn_id,
            "wait": self.wait,
            "seen": self.seen,
            "poke_interval": self.poke_interval,
            "deferred_at": self.deferred_at,
            "deadline": self.deadline,
            "until": self.until,
            "patience": self.patience,
            "exponential_backoff": self.exponential_backoff,
            "max_wait": self.max_wait,
            "silent_fail": self.silent_fail,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event of :class:`~airflow_provider_b24cal.waiting.trigger_event.WaitResult`."""
        yield TriggerEvent((await self._end()).to_event())

    async def _end(self) -> WaitResult:
        try:
            wait = condition_from_dict(self.wait)
        except Bitrix24Error as unknown:
            return WaitResult(ResultKind.FAILED, error=unknown)
        poll = shared_poll(self.bitrix24_conn_id)
        step = self._interval(0)
        statuses = wait.unpack(self.seen)
        due, deadline, polls = self._first_poll(poll, step), self._bound(self.until), 0
        # The poll before the deferral was logged in the worker.
        told_at, complained_at = self.deferred_at, time()
        complaint = ""
        while True:
            await sleep(max(0.0, min(due, deadline) - time()))
            evaluation = await self._judged(wait, poll, statuses)
            now = time()
            if evaluation.until is not None:
                deadline = self._bound(evaluation.until)
            # On the common ticks, and never later than the wait's own pace has it.
            due = tick_until(now + self._interval(polls), poll.origin(step, now), step)
            polls += 1
            failure = evaluation.error or evaluation.transient_error
            ending = self._ending(evaluation, now, deadline)
            lines = log_lines(
                wait,
                statuses,
                evaluation,
                ending=ending,
                next_poll=min(due, deadline) - now,
                deadline=deadline,
                heartbeat_due=now - told_at >= HEARTBEAT,
            )
            for line in lines:
                self.log.info("%s", line)
            if lines:
                told_at = now
            if ending is not None:
                return WaitResult(ending, evaluation.statuses, failure if ending is ResultKind.FAILED else None)
            if failure is not None and (str(failure) != complaint or now - complained_at >= HEARTBEAT):
                self.log.error("Poll failed, going on because of silent_fail: %s", failure)
                complained_at = now
            complaint = "" if failure is None else str(failure)
            statuses = evaluation.statuses

    def _ending(self, evaluation: Evaluation, now: float, deadline: float) -> ResultKind | None:
        """Return how the wait has ended with a poll; ``None`` while it goes on."""
        if evaluation.state is State.ARRIVED:
            return ResultKind.ARRIVED
        if (evaluation.error or evaluation.transient_error) is not None and not self.silent_fail:
            return ResultKind.FAILED
        if now < deadline:
            return None
        return ResultKind.TIMED_OUT if now >= self.deadline else ResultKind.EVENT_DEADLINE

    def _bound(self, until: float | None) -> float:
        """Return when the wait ends at the latest, never sooner than an event may be fired."""
        return self.deadline if until is None else min(self.deadline, max(until, self.deferred_at + SOONEST_EVENT))

    def _interval(self, polls: int) -> float:
        return interval(self.poke_interval, polls, exponential_backoff=self.exponential_backoff, max_wait=self.max_wait)

    def _first_poll(self, poll: SharedPoll, step: float) -> float:
        """Return when to ask first: by oneself an interval after the deferral, beside others at their next tick."""
        own, now = self.deferred_at + max(step, SOONEST_EVENT), time()
        if own <= now:
            return now  # the triggerer was down
        return tick_from(max(now, self.deferred_at + SOONEST_EVENT), poll.origin(step, own), step)

    async def _judged(self, wait: WaitCondition, poll: SharedPoll, before: Statuses) -> Evaluation:
        try:
            return wait.judge(await self._ask(wait, poll, before), before)
        except Bitrix24Error as error:  # the connection itself is not usable
            return Evaluation(State.UNREACHABLE, before, error=error)
        except Exception as error:
            if not self.silent_fail:
                raise
            self.log.exception("Poll failed, going on because of silent_fail: %s", type(error).__name__)
            return Evaluation(State.WAITING, before)

    async def _ask(self, wait: WaitCondition, poll: SharedPoll, before: Statuses) -> list[Outcome[Any]]:
        """Make a wait's calls together with others, and repeat within its own patience what failed in passing.

        What is refused is not waited for when the other answers end the wait without it.
        """
        calls = wait.calls(before)
        known: dict[int, Outcome[Any]] = {}
        # The same chance for all, or those who failed together would come back one by one.
        repeating = retry_loop(calls, RetryState(PATIENCE.within(self.patience)), lambda: poll.jitter)
        step = next(repeating)
        while True:
            answers = None
            if isinstance(step, Pause):
                outcomes = [known[id(call)] for call in calls]
                if wait.judge(outcomes, before).state is not State.WAITING:
                    return outcomes
                self.log.warning("Waiting %.1f s before trying again: %s", step.seconds, step.error)
                await sleep(step.seconds)
            else:
                answers = await poll.ask(step)
                known.update(zip(map(id, step), answers, strict=True))
            try:
                step = repeating.send(answers)
            except StopIteration as end:
                done: list[Outcome[Any]] = end.value[0]
                return done
