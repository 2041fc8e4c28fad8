"""Shared polls: waits in one triggerer with the same connection and interval poll in the same requests."""

from __future__ import annotations

import asyncio
import os
from contextlib import aclosing
from contextvars import Context
from random import random
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_provider_b24cal._airflow import METRICS_ON
from airflow_provider_b24cal.bitrix24.protocol.batch import Outcome, command
from airflow_provider_b24cal.bitrix24.protocol.errors import Bitrix24Error
from airflow_provider_b24cal.bitrix24.protocol.limits import RetryPolicy
from airflow_provider_b24cal.hooks.bitrix24 import Bitrix24CalendarHook

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_provider_b24cal.bitrix24.protocol.call import Call

# Each wait retries its own calls.
_ONCE: Final = RetryPolicy(attempts=1)
_GATHERING: Final = 0.05
"""Seconds without a new wait after which a poll is sent."""
_LONGEST_GATHERING: Final = 20
"""Rounds of gathering after which a poll is sent even if new waits keep coming."""
_SLICE: Final = 250
"""Calls that are added to a poll without yielding to the loop."""


class SharedPoll:
    """The ticks and requests that the waits on one connection share, within one event loop.

    There is no poller that could die, and no list of members: the calls that waits make at the same moment are packed
    into the same batches, and a wait that has ended makes no calls. Waits with the same interval have the same ticks.

    :ivar jitter: a number from 0 up to 1 for the delays of retries. It is the same for all waits, so that those that
        failed together are retried together.
    """

    def __init__(self, conn_id: str) -> None:
        self.jitter = random()  # noqa: S311 - nothing secret depends on it
        self._conn_id = conn_id
        self._origins: dict[float, float] = {}
        self._joinable: _PollBatch | None = None

    @property
    def members(self) -> int:
        """The number of waits in the poll that can still be joined."""
        return 0 if self._joinable is None else self._joinable.members

    def origin(self, step: float, proposed: float) -> float:
        """Return the moment from which ticks of this step are counted: the first one that was proposed."""
        return self._origins.setdefault(step, proposed)

    async def call_many(self, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        """Make calls that only read, together with other waits. A call that several waits have is made once.

        :return: an outcome per call, in the order given.
        """
        if not calls:
            return []
        joined = self._joinable
        if joined is None or joined.abandoned:
            joined = self._joinable = _PollBatch(self._conn_id)
            # In a context of its own: the log lines of a shared request belong to no single task.
            joined.task = asyncio.get_running_loop().create_task(self._send(joined), context=Context())
        return await joined.take_part(calls)

    async def _send(self, joined: _PollBatch) -> None:
        await joined.gather()
        # Later waits begin a new one.
        self._joinable = None
        await joined.settle()
        await joined.send()


class _PendingCall:
    """One call of a poll, and how many waits need its outcome."""

    __slots__ = ("answer", "call", "wanted")

    def __init__(self, call: Call[Any]) -> None:
        self.call = call
        self.answer: asyncio.Future[Outcome[Any]] = asyncio.get_running_loop().create_future()
        self.wanted = 0

    def fail(self, error: Exception) -> None:
        """Set an error as the outcome, unless there is one already."""
        if not self.answer.done():
            self.answer.set_exception(error)
            # A wait raises one error of several; asyncio would log the others as never retrieved.
            self.answer.exception()


class _PollBatch:
    """The calls of one poll.

    :ivar abandoned: all waits have left, and the poll is cancelled.
    :ivar members: the number of waits.
    """

    def __init__(self, conn_id: str) -> None:
        self.abandoned = False
        self.members = 0
        self.task: asyncio.Task[None] | None = None
        self._conn_id = conn_id
        self._pending: dict[str, _PendingCall] = {}
        self._adding = 0
        self._answered = False

    async def take_part(self, calls: Sequence[Call[Any]]) -> list[Outcome[Any]]:
        """Add calls and wait for their outcomes."""
        own: list[_PendingCall] = []
        self.members += 1
        try:
            await self._add(calls, own)
            # When this task is cancelled, wait() does not cancel the futures, which other waits may need.
            await asyncio.wait([pending.answer for pending in own])
            return [pending.answer.result() for pending in own]
        finally:
            for pending in own:
                pending.wanted -= 1
            self.members -= 1
            # A poll with outcomes is closing its connections and must not be cancelled.
            if not self.members and not self._answered and self.task is not None:
                self.abandoned = True
                self.task.cancel()

    async def _add(self, calls: Sequence[Call[Any]], own: list[_PendingCall]) -> None:
        """Add calls, some at a time: thousands would block the loop."""
        self._adding += 1
        try:
            for number, call in enumerate(calls, 1):
                pending = self._pending.setdefault(command(call), _PendingCall(call))
                pending.wanted += 1
                own.append(pending)
                if not number % _SLICE:
                    await asyncio.sleep(0)
        finally:
            self._adding -= 1

    async def gather(self) -> None:
        """Wait until no further wait joins."""
        for _ in range(_LONGEST_GATHERING):
            before = len(self._pending), self.members
            await asyncio.sleep(_GATHERING)
            if before == (len(self._pending), self.members):
                break

    async def settle(self) -> None:
        """Wait until all waits have added all of their calls."""
        while self._adding:  # noqa: ASYNC110 - as short as what it waits for
            await asyncio.sleep(0)

    async def send(self) -> None:
        """Make the calls that are still wanted, and set their outcomes."""
        pending = [one for one in self._pending.values() if one.wanted]
        if METRICS_ON:
            from airflow_provider_b24cal._airflow import stats
            from airflow_provider_b24cal.metrics import Metrics

            Metrics(stats(), self._conn_id).add_poll(self.members)
        # A hook for each poll: the connection may have changed since the last one.
        hook = Bitrix24CalendarHook(self._conn_id, retry=_ONCE)
        rest = iter(pending)
        try:
            async with aclosing(hook.acall_many_iter([one.call for one in pending])) as parts:
                async for outcomes in parts:
                    for outcome, one in zip(outcomes, rest, strict=False):
                        one.answer.set_result(outcome)
        except Bitrix24Error as error:  # the connection itself cannot be used
            for one in rest:
                one.answer.set_result(Outcome(error=error.with_traceback(None)))
        except Exception as error:  # noqa: BLE001 - each wait raises it
            for one in rest:
                one.fail(error)
        finally:
            self._answered = True
            for one in pending:
                one.fail(RuntimeError("The poll ended without an outcome of this call."))
            await hook.aclose()


_POLLS: WeakKeyDictionary[asyncio.AbstractEventLoop, WeakValueDictionary[str, SharedPoll]] = WeakKeyDictionary()
# A poll that was begun in a parent process is sent there.
os.register_at_fork(after_in_child=_POLLS.clear)


def shared_poll(conn_id: str) -> SharedPoll:
    """Return the shared poll of a connection in the running loop; it lives as long as one of its waits."""
    polls = _POLLS.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    poll = polls.get(conn_id)
    if poll is None:
        poll = polls[conn_id] = SharedPoll(conn_id)
    return poll
