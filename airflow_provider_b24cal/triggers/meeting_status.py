"""The trigger behind the deferrable sensor."""

from __future__ import annotations

from asyncio import sleep
from time import time
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_b24cal.bitrix24.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.status import MeetingStatus
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook
from airflow_provider_b24cal.waiting import PATIENCE, End, Ending, Rule, State, Verdict, interval, judge

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence


class Bitrix24MeetingStatusTrigger(BaseTrigger):
    """
    Poll the acting user's status in meetings until a wait is over, then fire one event.

    It only reads. Its arguments are ids, letters and times: after a restart of the triggerer it goes on from
    them, and a poll that is overdue is made at once.

    :param bitrix24_conn_id: a connection of type ``bitrix24``.
    :param event_ids: the meetings.
    :param target_status: the letter waited for.
    :param fail_on_statuses: letters that end the wait as failed.
    :param poke_interval: seconds between polls.
    :param first_poll_at: time of the first poll, in seconds since the epoch.
    :param deadline: time at which the wait ends, in seconds since the epoch; a last poll is made then.
    :param patience: seconds that one poll may spend on errors in passing, at most.
    :param exponential_backoff: double the interval after each poll.
    :param max_wait: the longest interval, in seconds; ``None`` for no bound.
    :param silent_fail: log errors and go on, as sensors do.
    """

    def __init__(
        self,
        *,
        bitrix24_conn_id: str,
        event_ids: Sequence[int],
        target_status: str,
        fail_on_statuses: Sequence[str],
        poke_interval: float,
        first_poll_at: float,
        deadline: float,
        patience: float,
        exponential_backoff: bool = False,
        max_wait: float | None = None,
        silent_fail: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow leaves it unannotated
        self.bitrix24_conn_id = bitrix24_conn_id
        self.event_ids = list(event_ids)
        self.target_status = target_status
        self.fail_on_statuses = list(fail_on_statuses)
        self.poke_interval = poke_interval
        self.first_poll_at = first_poll_at
        self.deadline = deadline
        self.patience = patience
        self.exponential_backoff = exponential_backoff
        self.max_wait = max_wait
        self.silent_fail = silent_fail

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments; no secret, no host, no row is among them."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "bitrix24_conn_id": self.bitrix24_conn_id,
            "event_ids": self.event_ids,
            "target_status": self.target_status,
            "fail_on_statuses": self.fail_on_statuses,
            "poke_interval": self.poke_interval,
            "first_poll_at": self.first_poll_at,
            "deadline": self.deadline,
            "patience": self.patience,
            "exponential_backoff": self.exponential_backoff,
            "max_wait": self.max_wait,
            "silent_fail": self.silent_fail,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire the one event of :class:`~airflow_provider_b24cal.waiting.End`."""
        yield TriggerEvent((await self._wait()).to_event())

    async def _wait(self) -> End:
        polls, told = 0, ""
        await self._sleep_until(self.first_poll_at)
        while True:
            verdict = await self._judged()
            if verdict.state is State.ARRIVED:
                return End(Ending.ARRIVED, verdict.statuses)
            error = verdict.error or verdict.trouble
            if error is not None and not self.silent_fail:
                return End(Ending.FAILED, verdict.statuses, error)
            if error is not None:
                self.log.error("Poll failed, going on because of silent_fail: %s", error)
            elif verdict.words != told:
                told = verdict.words
                self.log.info("Waiting for %s; %s", self.target_status, told)
            if time() >= self.deadline:
                return End(Ending.TIMED_OUT, verdict.statuses)
            pace = interval(
                self.poke_interval,
                polls,
                exponential_backoff=self.exponential_backoff,
                max_wait=self.max_wait,
            )
            polls += 1
            await self._sleep_until(time() + pace)

    async def _judged(self) -> Verdict:
        try:
            return await self._poll()
        except Bitrix24Error as error:  # the connection itself is not usable
            return Verdict(State.HOPELESS, error=error)
        except Exception as error:
            if not self.silent_fail:
                raise
            self.log.exception("Poll failed, going on because of silent_fail: %s", type(error).__name__)
            return Verdict(State.WAITING)

    async def _poll(self) -> Verdict:
        rule = Rule(MeetingStatus(self.target_status), frozenset(map(MeetingStatus, self.fail_on_statuses)))
        # A hook of its own for each poll, as in the other modes: the connection may have changed in between.
        hook = Bitrix24CalendarHook(self.bitrix24_conn_id, retry=PATIENCE.within(self.patience))
        try:
            return judge(await hook.aget_meeting_statuses(self.event_ids), rule)
        finally:
            await hook.aclose()

    async def _sleep_until(self, moment: float) -> None:
        await sleep(max(0.0, min(moment, self.deadline) - time()))
